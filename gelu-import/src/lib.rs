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
//! | scikit-learn's `Imputer`, `Scaler` and `OneHotEncoder`, joined columns, any scaling of the sample | what clients do before they encrypt |
//! | its `OrdinalEncoder` (`LabelEncoder` of a column) | a feature for each word; its numbers are folded into the dense layer after it |
//! | `QuantizeLinear` with `DequantizeLinear` | weights as they are meant; computed numbers cut off, not rounded |
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
mod sample;
mod state_dict;
mod tensor;
mod wire;

use gelu_nn::{FloatParameters, FloatTrainer, Recipe, Sequential};
use ndarray::Array2;

pub use calibrate::{Calibrated, Report, Samples, StageRange, calibrate, uncalibrated};
pub use error::{Error, Result, Unsupported};
pub use graph::{MAX_NODES, OPSETS};
pub use lower::{Outputs, Scaling};
pub use sample::{Array, Sample, Table};
pub use state_dict::{is_safetensors, state_dict};
pub use wire::{MAX_FILE_BYTES, MAX_MESSAGES};

/// A network from elsewhere, as real numbers.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network.
    pub architecture: Sequential,
    /// Its weights.
    pub weights: FloatParameters,
    /// What one sample is, and what is done to it before the network takes it.
    pub sample: Sample,
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
    if lowered.rounded > 0 {
        notes.push(format!(
            "{} times the file rounds numbers to integers of few bits; here they are cut off as there, and not rounded",
            lowered.rounded
        ));
    }
    let sample = Sample::new(&graph.inputs, &lowered, scaling, architecture.input(), &mut notes)?;
    Ok(Imported {
        architecture,
        weights,
        sample,
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
    /// [`Error::Samples`] for another number of features, and for a table that has words.
    pub fn prepare(&self, samples: &Array2<f64>) -> Result<Array2<f64>> {
        self.sample.prepare(samples)
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
