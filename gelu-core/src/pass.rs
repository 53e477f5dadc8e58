//! One mini-batch through a network, seen by the owner of the data.
//!
//! A [`Pass`] encodes, applies exact activations, computes errors and gradients. It does not know
//! where the weighted sums come from: the encrypted client asks the server, the fixed-point oracle
//! multiplies in the clear. That both drive the same `Pass` with the same integers is why the
//! encrypted run equals the oracle bit for bit; that they must obtain the same integers is what
//! the equality tests.
//!
//! ```text
//! forward,  stage i:  A = encode(a)      →  Z = W·A + 2^f_a·divisor·B   →  a' = f(Z / scale)
//! backward, stage i:  D = encode(δ/divisor)  →  Q = W'·D  →  δ' = f'(z) ∘ Q / 2^(f_w+f_d)
//! gradient, stage i:  dW = A·D', dB = 2^f_a·divisor·ΣD        (every trained stage, the last one too)
//! ```
//! Between stages a [`Tape`] runs: what is added at a shortcut are real numbers in the clear, before they are encoded for the
//! next stage, and gradients that meet add up before they are encoded as its errors.
//!
//! Source: the paper's Algorithms 1 and 2. Its listing of Algorithm 2 skips the update of the last
//! layer; it is updated here.

use std::sync::Arc;

use ndarray::Array2;

use crate::error::{ApiMisuse, Result};
use crate::fixed::{Format, Precision, Saturations, exp2};
use crate::linear::LinearMap;
use crate::network::{Layer, Network, Parameters};
use crate::tape::Tape;
use crate::update::Update;

/// The owner's arithmetic of one mini-batch. Arrays are `[features, batch]`.
#[derive(Debug)]
pub struct Pass {
    network: Arc<Network>,
    precision: Precision,
    saturations: Saturations,
    tape: Tape,
    /// Encoded inputs of the stages reached so far.
    activations: Vec<Array2<i128>>,
    /// Encoded errors of each stage, once they are reached; nothing before the comparison.
    errors: Vec<Option<Array2<i128>>>,
}

impl Pass {
    /// Starts with `inputs` of shape `[network.inputs(), batch]`.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`].
    pub fn new(network: Arc<Network>, precision: Precision, inputs: &Array2<f64>) -> Result<Self> {
        if inputs.nrows() != network.inputs() || inputs.ncols() == 0 {
            let expected = vec![network.inputs(), inputs.ncols().max(1)];
            return Err(ApiMisuse::Shape { expected, got: inputs.shape().to_vec() }.into());
        }
        let saturations = Saturations::default();
        let tape = Tape::new(Arc::clone(&network), inputs.clone());
        let (activations, errors) = (Vec::new(), Vec::new());
        let mut pass = Self { network, precision, saturations, tape, activations, errors };
        pass.encode_activations();
        Ok(pass)
    }

    /// Samples in this mini-batch.
    pub fn batch(&self) -> usize {
        self.activations[0].ncols()
    }

    /// The stage whose weighted sums come next; `None` when the forward pass is over.
    pub fn stage(&self) -> Option<usize> {
        self.tape.stage().map(|(stage, _)| stage)
    }

    /// The encoded inputs of `stage`, which must have been reached.
    pub fn activations(&self, stage: usize) -> &Array2<i128> {
        &self.activations[stage]
    }

    /// Takes the true weighted sums of the current stage and goes on to the next one.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`]; [`ApiMisuse::State`] when the forward pass is over.
    pub fn advance(&mut self, sums: &Array2<i128>) -> Result<()> {
        let stage = self.stage().ok_or(ApiMisuse::State {
            asked: "take weighted sums",
            state: "has finished the forward pass",
        })?;
        let linear = &self.network.stages()[stage].linear;
        check_shape([linear.outputs(), self.batch()], sums)?;
        let scale = scale(linear, &self.precision);
        self.tape.advance(sums.mapv(|z| z as f64 / scale));
        self.encode_activations();
        Ok(())
    }

    /// A of the stage that was reached, if any.
    fn encode_activations(&mut self) {
        if let Some((stage, a)) = self.tape.stage() {
            let saturations = self.saturations.of_layer(stage);
            self.activations.push(self.precision.activations.encode_all(a, saturations));
        }
    }

    /// Class probabilities, `[classes, batch]`, once the forward pass is over.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] before that.
    pub fn probabilities(&self) -> Result<Array2<f64>> {
        Ok(self.network.loss().probabilities(self.scores()?))
    }

    fn scores(&self) -> Result<&Array2<f64>> {
        let state = "is still in the forward pass";
        let early = ApiMisuse::State { asked: "give scores", state };
        self.tape.scores().ok_or_else(|| early.into())
    }

    /// Compares with the labels, which starts the backward pass; returns the mean loss.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] out of turn, [`ApiMisuse::Configuration`] for a label that is no class.
    pub fn compare(&mut self, labels: &[usize]) -> Result<f64> {
        let classes = self.network.classes();
        if labels.len() != self.batch() || labels.iter().any(|&l| l >= classes) {
            let why = format!("need {} labels below {classes}", self.batch());
            return Err(ApiMisuse::configuration("labels", why).into());
        }
        if !self.errors.is_empty() {
            let state = "is in the backward pass";
            return Err(ApiMisuse::State { asked: "compare labels", state }.into());
        }
        let loss = self.network.loss();
        let probabilities = loss.probabilities(self.scores()?);
        let value = loss.value(&probabilities, labels);
        let gradient = loss.gradient(&probabilities, labels);
        self.errors = vec![None; self.network.stages().len()];
        self.tape.turn(gradient);
        self.encode_errors();
        Ok(value)
    }

    /// The stage through which errors must be propagated next; `None` when gradients are complete
    /// (nothing is propagated through a stage below which nothing is trained).
    pub fn backward_stage(&self) -> Option<usize> {
        self.tape.errors().map(|(stage, _)| stage)
    }

    /// The encoded errors of `stage`, which must have been reached.
    pub fn errors(&self, stage: usize) -> &Array2<i128> {
        self.errors[stage].as_ref().expect("a stage that was reached")
    }

    /// Takes the true W'·D of the current backward stage and goes on to the stage below.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`]; [`ApiMisuse::State`] out of turn.
    pub fn retreat(&mut self, propagated: &Array2<i128>) -> Result<()> {
        let stage = self.backward_stage().ok_or(ApiMisuse::State {
            asked: "take propagated errors",
            state: "is not in the backward pass",
        })?;
        check_shape([self.network.stages()[stage].linear.inputs(), self.batch()], propagated)?;
        let scale = exp2(self.precision.weights.fraction + self.precision.errors.fraction);
        self.tape.retreat(Some(propagated.mapv(|q| q as f64 / scale)));
        self.encode_errors();
        Ok(())
    }

    /// D of the stages that are reached, down to one that propagates.
    fn encode_errors(&mut self) {
        while let Some((stage, delta)) = self.tape.errors() {
            let divisor = f64::from(self.network.stages()[stage].linear.divisor());
            let scaled = delta.mapv(|d| d / divisor);
            let saturations = self.saturations.of_layer(stage);
            self.errors[stage] = Some(self.precision.errors.encode_all(&scaled, saturations));
            if self.network.propagates(stage) {
                return;
            }
            self.tape.retreat(None);
        }
    }

    /// The gradient, summed over the batch, in units of 2^−(f_a + f_d): exact integers; nothing for
    /// stages that are frozen.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] before the backward pass is over.
    pub fn gradient(&self) -> Result<Update> {
        let stages = self.network.stages();
        if self.errors.is_empty() || self.backward_stage().is_some() {
            let state = "has not finished the backward pass";
            return Err(ApiMisuse::State { asked: "give gradients", state }.into());
        }
        let layers = stages.iter().enumerate().map(|(i, stage)| {
            if !self.network.trains(i) {
                return Layer::default();
            }
            let (x, d) = (self.activations(i).view(), self.errors(i).view());
            let constant = bias_constant(&stage.linear, self.precision.activations);
            let (weights, biases) = stage.linear.gradient_integers(x, d, constant);
            Layer { weights, biases }
        });
        Ok(Parameters { layers: layers.collect() }.into())
    }

    /// How many values were cut off at their bounds: a layer's inputs and its errors.
    pub fn saturations(&self) -> &Saturations {
        &self.saturations
    }
}

/// What weighted sums are divided by to become real numbers.
pub fn scale(linear: &LinearMap, precision: &Precision) -> f64 {
    let fraction = precision.activations.fraction + precision.weights.fraction;
    exp2(fraction) * f64::from(linear.divisor())
}

/// `divisor` in the scale of the inputs: what a bias is multiplied by.
pub fn bias_constant(linear: &LinearMap, activations: Format) -> i128 {
    i128::from(linear.divisor()) * activations.one()
}

fn check_shape(expected: [usize; 2], got: &Array2<i128>) -> Result<()> {
    if got.shape() != expected {
        let (expected, got) = (expected.to_vec(), got.shape().to_vec());
        return Err(ApiMisuse::Shape { expected, got }.into());
    }
    Ok(())
}

/// The index of the largest value, the first of equals: the predicted class.
pub fn argmax(values: impl Iterator<Item = f64>) -> usize {
    let better = |best: (usize, f64), (i, v)| if v > best.1 { (i, v) } else { best };
    values.enumerate().fold((0, f64::NEG_INFINITY), better).0
}

/// How the gradient of a mini-batch becomes an update of the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rounding {
    /// The client knows the learning rate: U = round(eta · dW · 2^f_w).
    Rate(f64),
    /// Only the server knows the rate 2^−g: G = round(dW · 2^(f_w − g_max)) · 2^g_max, and
    /// U = G / 2^g is exact because g ≤ g_max. `g_max` bits of the weights' fraction are spent on it.
    PowerOfTwo {
        /// The largest g that the server may have chosen.
        g_max: u32,
    },
}

/// The update (or, for [`Rounding::PowerOfTwo`], the gradient G still to be divided by 2^g) that a
/// mini-batch of `batch` samples contributes, cut off so that the update stays below 2^(l−1);
/// `saturations` counts what was cut off, by layer.
pub fn update(
    gradient: &Update,
    batch: usize,
    rounding: Rounding,
    precision: &Precision,
    saturations: &Saturations,
) -> Update {
    let unit = exp2(precision.activations.fraction + precision.errors.fraction) * batch as f64;
    let weights = precision.weights.fraction;
    let of_value = |g: i128| {
        let real = g as f64 / unit;
        match rounding {
            Rounding::Rate(eta) => {
                limit(eta * real * exp2(weights), precision.update_bits - 1, saturations)
            }
            Rounding::PowerOfTwo { g_max } => {
                let bits = precision.update_bits - 1 - g_max;
                limit(real * exp2(weights - g_max), bits, saturations) << g_max
            }
        }
    };
    let mut update = gradient.clone();
    for (layer, values) in update.secret_mut().layers.iter_mut().enumerate() {
        saturations.of_layer(layer);
        values.values_mut().for_each(|value| *value = of_value(*value));
    }
    update
}

/// round(x), cut off at ±(2^bits − 1).
fn limit(x: f64, bits: u32, saturations: &Saturations) -> i128 {
    Format::new(bits, 0).encode(x, saturations)
}
