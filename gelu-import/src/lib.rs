//! Models from elsewhere: ONNX files and PyTorch's weights, as a network of ours.
//!
//! ```text
//!  ONNX ─▶ proto ─▶ graph ─▶ lower ─▶ assemble ─┐
//!                                               ├─▶ Imported ─▶ calibrate ─▶ gelu_nn::Model
//!  safetensors, architecture ─▶ state_dict ─────┘                   ▲
//!                                        samples (npy) ─────────────┘
//! ```
//!
//! Nothing is approximated and nothing is guessed: what comes out computes what the file computes, up to the rounding
//! of fixed point, or the file is refused with all the nodes that are in the way. Files may come from anywhere: sizes
//! are limited before anything is allocated for them. The crate reads bytes and writes none.
//!
//! | of ONNX | becomes |
//! | --- | --- |
//! | `Gemm`, `MatMul` with `Add`, `Conv` | dense layers and convolutions, which the server computes |
//! | `BatchNormalization`, products and sums with constants | folded into the layer beside it |
//! | `Relu`, `Sigmoid`, `Tanh`, `LeakyRelu`, `Clip`, `HardSwish`, `Gelu`, x·x, however written | activations |
//! | `AveragePool`, `MaxPool`, `GlobalAveragePool`, `ReduceMean` over an image | poolings |
//! | `Reshape`, `Flatten`, `Transpose`, `Cast`, `Dropout`, … | an order of features |
//! | scikit-learn's `Imputer` and `Scaler`, and any scaling of the sample | what clients do before they encrypt |
//! | `Softmax`, `ArgMax`, `ZipMap`, a last `Sigmoid` | the end: the client computes probabilities from scores |
#![forbid(unsafe_code)]

mod assemble;
pub mod calibrate;
mod curve;
pub mod error;
mod graph;
mod lower;
pub mod npy;
pub mod proto;
mod state_dict;
mod tensor;
mod wire;

use gelu_nn::{FloatParameters, FloatTrainer, Recipe, Sequential};
use ndarray::{Array2, Axis};

pub use calibrate::{Calibrated, Report, Samples, StageRange, calibrate, uncalibrated};
pub use error::{Error, Result, Unsupported};
pub use graph::{MAX_NODES, OPSETS};
pub use lower::{Outputs, Scaling};
pub use state_dict::{is_safetensors, state_dict};
pub use wire::{MAX_FILE_BYTES, MAX_MESSAGES};

/// A network from elsewhere, as real numbers.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network.
    pub architecture: Sequential,
    /// Its weights.
    pub weights: FloatParameters,
    /// What is done to each feature of a sample before the network takes it, in the network's order.
    pub scaling: Option<Scaling>,
    /// What stands for each feature where a sample lacks it, before the scaling (scikit-learn's `SimpleImputer`).
    pub missing: Option<Vec<f64>>,
    /// For each feature of the network its place in a sample of the file, where the file has another order of axes
    /// (channels last).
    pub input_order: Option<Vec<u32>>,
    /// Shape of one sample as the file has it.
    pub input_shape: Vec<usize>,
    /// Names of the classes, where the file has them.
    pub classes: Option<Vec<String>>,
    /// What the file's own output is; the network's is always scores.
    pub outputs: Outputs,
    /// The version of the operators, for ONNX.
    pub opset: Option<u64>,
    /// Where it comes from, in words: the format, the program that wrote it.
    pub source: String,
    /// What a person should know about how the file was read.
    pub notes: Vec<String>,
}

/// Reads an ONNX file.
///
/// # Errors
/// [`Error::NotA`] and [`Error::TooLarge`] for what is no such file or beyond the limits; [`Error::Unsupported`] with
/// every node that cannot be run exactly; [`Error::Network`] for a network that is too large.
pub fn onnx(bytes: &[u8]) -> Result<Imported> {
    let graph = graph::Graph::parse(bytes)?;
    let lowered = lower::lower(&graph)?;
    let assemble::Assembled { architecture, weights, scaling } = assemble::assemble(&lowered)?;
    let mut notes = Vec::new();
    if lowered.ending.is_logistic {
        notes.push("one probability p became the two classes of 1 − p and p".into());
    }
    if lowered.input_order.is_some() {
        notes.push(format!(
            "images of the file are of shape {:?}, channels last; those of the model are {}",
            graph.input.shape,
            architecture.input()
        ));
    }
    Ok(Imported {
        architecture,
        weights,
        scaling,
        missing: lowered.missing,
        input_order: lowered.input_order,
        input_shape: graph.input.shape,
        classes: lowered.classes,
        outputs: lowered.ending.outputs,
        opset: u64::try_from(graph.opset).ok(),
        source: ["ONNX", &graph.producer].join(" of ").trim_end_matches(" of ").to_owned(),
        notes,
    })
}

impl Imported {
    /// Samples of the file, `[features, batch]` with the features of a sample one after the other, as the network
    /// takes them.
    ///
    /// # Errors
    /// [`Error::Samples`] for another number of features.
    pub fn prepare(&self, samples: &Array2<f64>) -> Result<Array2<f64>> {
        let expected = self.architecture.input().features();
        if samples.nrows() != expected {
            let got = samples.nrows();
            return Err(Error::Samples(format!("{got} features, the model takes {expected}")));
        }
        let mut prepared = match &self.input_order {
            None => samples.clone(),
            Some(order) => {
                let order: Vec<_> = order.iter().map(|place| *place as usize).collect();
                samples.select(Axis(0), &order)
            }
        };
        for (mut row, value) in prepared.outer_iter_mut().zip(self.missing.iter().flatten()) {
            row.mapv_inplace(|x| if x.is_nan() { *value } else { x });
        }
        if let Some(Scaling { scale, shift }) = &self.scaling {
            for (mut row, (s, t)) in prepared.outer_iter_mut().zip(scale.iter().zip(shift)) {
                row.mapv_inplace(|x| s * x + t);
            }
        }
        Ok(prepared)
    }

    /// Class probabilities, `[classes, batch]`, in floating point, of samples as [`prepare`](Self::prepare) takes them.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn probabilities(&self, samples: &Array2<f64>) -> Result<Array2<f64>> {
        let network = FloatTrainer::<f64>::starting_from(
            &self.architecture,
            Recipe::default(),
            &self.weights,
        )?;
        Ok(network.probabilities(&self.prepare(samples)?)?)
    }
}
