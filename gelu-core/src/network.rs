//! A network as the protocol sees it: linear maps on the server, everything else at the client.

use core::fmt::Debug;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::circuit::Local;
use crate::error::{ApiMisuse, Error, RangeError, Result};
use crate::fixed::Format;
use crate::linear::LinearMap;

/// What the client computes in the clear between two linear maps: an exact activation, or a linear
/// layer without weights such as a mean pooling between two activations.
///
/// Arrays are `[features, batch]`.
///
/// # Law
/// `backward` is the gradient: for small e, f(z + e) − f(z) ≈ J·e and
/// ⟨grad, J·e⟩ = ⟨backward(z, f(z), grad), e⟩ for every `grad`.
pub trait LocalFunction: Debug + Send + Sync {
    /// Name in tables.
    fn name(&self) -> &str;
    /// Features that come out of `inputs` features, or what is wrong with them.
    fn outputs(&self, inputs: usize) -> Result<usize>;
    /// a = f(z).
    fn forward(&self, z: &Array2<f64>) -> Array2<f64>;
    /// dL/dz from z, a = f(z) and dL/da.
    fn backward(&self, z: &Array2<f64>, a: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64>;
    /// How a [circuit](crate::circuit) computes it on shares; none where none does.
    fn circuit(&self) -> Option<Local> {
        None
    }
}

/// The last step of a network: how scores become probabilities, and how wrong they are.
pub trait Loss: Debug + Send + Sync {
    /// Name in tables.
    fn name(&self) -> &str;
    /// Class probabilities from scores, both `[classes, batch]`.
    fn probabilities(&self, scores: &Array2<f64>) -> Array2<f64>;
    /// The mean loss of the batch.
    fn value(&self, probabilities: &Array2<f64>, labels: &[usize]) -> f64;
    /// dL/dscore of each sample (not averaged).
    fn gradient(&self, probabilities: &Array2<f64>, labels: &[usize]) -> Array2<f64>;
    /// Whether a constant added to all scores of a sample changes nothing, as with softmax. Then its
    /// errors add up to zero, which the [ledger](crate::ledger) counts.
    fn ignores_shift(&self) -> bool;
}

/// One linear map and the local functions that follow it.
#[derive(Debug)]
pub struct Stage {
    /// Unique name, for errors, tables and files.
    pub name: String,
    /// What the server computes under encryption.
    pub linear: LinearMap,
    /// What the client then computes in the clear, in order.
    pub locals: Vec<Box<dyn LocalFunction>>,
}

/// A checked chain of stages.
///
/// Its first stages may be [frozen](Self::freeze): no lease changes their weights. They take forward exchanges
/// with the true weights, as in an inference, and neither masks nor updates; errors are propagated down to the
/// first stage that is trained and no further.
#[derive(Debug)]
pub struct Network {
    inputs: usize,
    prelude: Vec<Box<dyn LocalFunction>>,
    stages: Vec<Stage>,
    loss: Box<dyn Loss>,
    frozen: usize,
}

impl Network {
    /// Checks that each part takes what the one before it gives.
    ///
    /// `prelude` is what the client computes before the first linear map.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the first part that does not fit.
    pub fn new(
        inputs: usize,
        prelude: Vec<Box<dyn LocalFunction>>,
        stages: Vec<Stage>,
        loss: Box<dyn Loss>,
    ) -> Result<Self> {
        if stages.is_empty() {
            return Err(ApiMisuse::configuration("network", "has no linear layer").into());
        }
        let mut width = inputs;
        for local in &prelude {
            width = local.outputs(width)?;
        }
        for stage in &stages {
            if stage.linear.inputs() != width {
                let why = format!("takes {} inputs, but gets {width}", stage.linear.inputs());
                return Err(ApiMisuse::configuration(&stage.name, why).into());
            }
            width = stage.linear.outputs();
            for local in &stage.locals {
                width = local.outputs(width)?;
            }
        }
        Ok(Self { inputs, prelude, stages, loss, frozen: 0 })
    }

    /// The same network with its first `stages` stages frozen, 0 for none.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when that leaves no stage to train.
    pub fn freeze(self, stages: usize) -> Result<Self> {
        let all = self.stages.len();
        if stages >= all {
            let why = format!("are {stages} of {all}: at least the last one must be trained");
            return Err(ApiMisuse::configuration("frozen stages", why).into());
        }
        Ok(Self { frozen: stages, ..self })
    }

    /// How many stages, from the first on, no lease changes.
    pub fn frozen(&self) -> usize {
        self.frozen
    }

    /// Whether leases change the weights of `stage`.
    pub fn trains(&self, stage: usize) -> bool {
        stage >= self.frozen
    }

    /// Features of one sample.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Classes that the network tells apart.
    pub fn classes(&self) -> usize {
        let last = &self.stages[self.stages.len() - 1];
        let width = last.linear.outputs();
        last.locals.iter().fold(width, |w, f| f.outputs(w).expect("checked at construction"))
    }

    /// Local functions before the first linear map.
    pub fn prelude(&self) -> &[Box<dyn LocalFunction>] {
        &self.prelude
    }

    /// The stages, first to last; at least one.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The loss.
    pub fn loss(&self) -> &dyn Loss {
        &*self.loss
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        count(&self.stages)
    }

    /// Number of weights and biases that leases change.
    pub fn trained_parameters(&self) -> usize {
        count(&self.stages[self.frozen..])
    }

    /// Checks that `parameters` have this network's shapes.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`].
    pub fn check_shapes(&self, parameters: &Parameters) -> Result<()> {
        self.check_shapes_from(0, parameters)
    }

    /// Checks that `update` has the shapes of an update: nothing for stages that are frozen.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`].
    pub fn check_update_shapes(&self, update: &Parameters) -> Result<()> {
        self.check_shapes_from(self.frozen, update)
    }

    fn check_shapes_from(&self, first: usize, parameters: &Parameters) -> Result<()> {
        let shape = |(i, s): (usize, &Stage)| match i >= first {
            true => [s.linear.weights(), s.linear.biases()],
            false => [0, 0],
        };
        let expected: Vec<_> = self.stages.iter().enumerate().flat_map(shape).collect();
        let got: Vec<_> =
            parameters.layers.iter().flat_map(|l| [l.weights.len(), l.biases.len()]).collect();
        if expected != got {
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        Ok(())
    }

    /// Checks shapes and that every parameter lies within the bound of `format`.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`], [`RangeError::Weight`] naming the layer.
    pub fn check(&self, parameters: &Parameters, format: Format) -> Result<()> {
        self.check_shapes(parameters)?;
        for (stage, layer) in self.stages.iter().zip(&parameters.layers) {
            let max = format.max().unsigned_abs();
            if let Some(&v) = layer.values().find(|v| v.unsigned_abs() > max) {
                return Err(Error::Range(RangeError::Weight {
                    layer: stage.name.clone(),
                    got: format.decode(v),
                    bound: format.decode(format.max()),
                }));
            }
        }
        Ok(())
    }

    /// All parameters zero.
    pub fn zeros(&self) -> Parameters {
        let layers = self.stages.iter().map(|s| Layer {
            weights: vec![0; s.linear.weights()],
            biases: vec![0; s.linear.biases()],
        });
        Parameters { layers: layers.collect() }
    }

    /// An update that changes nothing: zeros, and nothing at all for stages that are frozen.
    pub fn no_update(&self) -> Parameters {
        let mut zeros = self.zeros();
        zeros.layers[..self.frozen].fill(Layer::default());
        zeros
    }
}

fn count(stages: &[Stage]) -> usize {
    stages.iter().map(|s| s.linear.weights() + s.linear.biases()).sum()
}

/// The integers of one layer.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Zeroize)]
pub struct Layer {
    /// One for each weight.
    pub weights: Vec<i128>,
    /// One for each bias.
    pub biases: Vec<i128>,
}

impl Layer {
    /// Weights, then biases.
    pub fn values(&self) -> impl Iterator<Item = &i128> {
        self.weights.iter().chain(&self.biases)
    }

    /// Weights, then biases.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut i128> {
        self.weights.iter_mut().chain(&mut self.biases)
    }
}

/// The integers of a whole network, layer by layer: its weights and biases.
///
/// What a client adds to them are [updates](crate::update).
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Zeroize)]
pub struct Parameters {
    /// One for each stage.
    pub layers: Vec<Layer>,
}

impl Parameters {
    /// All values in a fixed order: layer by layer, weights before biases.
    pub fn values(&self) -> impl Iterator<Item = &i128> {
        self.layers.iter().flat_map(Layer::values)
    }

    /// As [`values`](Self::values).
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut i128> {
        self.layers.iter_mut().flat_map(Layer::values_mut)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.layers.iter().map(|l| l.weights.len() + l.biases.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// self += other, value by value; layers of which `other` holds nothing stay.
    pub fn add(&mut self, other: &Self) {
        self.pairs_mut(other).for_each(|(a, b)| *a += b);
    }

    /// self −= other, value by value; layers of which `other` holds nothing stay.
    pub fn subtract(&mut self, other: &Self) {
        self.pairs_mut(other).for_each(|(a, b)| *a -= b);
    }

    fn pairs_mut<'a>(
        &'a mut self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a mut i128, &'a i128)> {
        let layers = self.layers.iter_mut().zip(&other.layers);
        layers.flat_map(|(a, b)| a.values_mut().zip(b.values()))
    }

    /// f of each value, in the same shape.
    pub fn map(&self, mut f: impl FnMut(i128) -> i128) -> Self {
        let mut result = self.clone();
        result.values_mut().for_each(|v| *v = f(*v));
        result
    }
}

/// Parameters are the server's secret: only the shape is printed.
impl Debug for Parameters {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list()
            .entries(self.layers.iter().map(|l| (l.weights.len(), l.biases.len())))
            .finish()
    }
}

impl Debug for Layer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Layer({} weights, {} biases)", self.weights.len(), self.biases.len())
    }
}
