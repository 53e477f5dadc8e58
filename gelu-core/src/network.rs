//! A network as the protocol sees it: linear maps on the server, everything else at the client.
//!
//! ```text
//! value 0 = the input        value n + 1 = step n of earlier values        the last value = the scores
//! ```
//! | step | who computes it | of |
//! | --- | --- | --- |
//! | [`Step::Linear`] | the server, under encryption | one value: the linear map of the next [`Stage`] |
//! | [`Step::Local`] | the client, in the clear | one value: an activation, a pooling |
//! | [`Step::Add`] | the client, in the clear | two values: a shortcut of a residual network |
//!
//! So a network is a directed graph without cycles, and the server sees stages only: which of them share an input, and
//! what is added, is the client's affair and changes no message. A chain is the case in which every step takes the
//! value of the one before it. [`Tape`](crate::tape::Tape) runs the steps in both directions.

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

/// One linear map.
#[derive(Debug)]
pub struct Stage {
    /// Unique name, for errors, tables and files.
    pub name: String,
    /// What the server computes under encryption.
    pub linear: LinearMap,
}

/// How a value is made of earlier ones, which are told by their numbers: see the [module](self).
#[derive(Debug)]
pub enum Step {
    /// z = W·a + b of a stage. Stages come in their order, each once.
    Linear {
        /// Which stage.
        stage: usize,
        /// What it takes.
        source: usize,
    },
    /// f of a value.
    Local {
        /// f.
        function: Box<dyn LocalFunction>,
        /// What it takes.
        source: usize,
    },
    /// The sum of two values of the same width.
    Add {
        /// Its terms.
        sources: [usize; 2],
    },
}

impl Step {
    /// The values that it takes.
    pub fn sources(&self) -> &[usize] {
        match self {
            Self::Linear { source, .. } | Self::Local { source, .. } => {
                core::slice::from_ref(source)
            }
            Self::Add { sources } => sources,
        }
    }
}

/// Checked stages and steps.
///
/// Its first stages may be [frozen](Self::freeze): no lease changes their weights. They take forward exchanges
/// with the true weights, as in an inference, and neither masks nor updates; errors are propagated down to
/// stages that are trained and no further.
#[derive(Debug)]
pub struct Network {
    stages: Vec<Stage>,
    steps: Vec<Step>,
    /// Features of each value.
    widths: Vec<usize>,
    /// Whether a value depends on weights that are trained: whether anybody asks for its gradient.
    live: Vec<bool>,
    loss: Box<dyn Loss>,
    frozen: usize,
}

impl Network {
    /// Checks that each step takes what earlier ones give.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the first part that does not fit: a width, a value that is not there yet,
    /// stages out of order, a value that nobody takes.
    pub fn new(
        inputs: usize,
        stages: Vec<Stage>,
        steps: Vec<Step>,
        loss: Box<dyn Loss>,
    ) -> Result<Self> {
        let wrong = |what: &str, why: String| Err(ApiMisuse::configuration(what, why).into());
        if stages.is_empty() {
            return wrong("network", "has no linear layer".into());
        }
        let (mut widths, mut taken, mut reached) = (vec![inputs], vec![false], 0);
        for (number, step) in steps.iter().enumerate() {
            if let Some(later) = step.sources().iter().find(|&&source| source > number) {
                return wrong("network", format!("takes value {later} in step {number}"));
            }
            step.sources().iter().for_each(|&source| taken[source] = true);
            let width = match step {
                &Step::Linear { stage, source } => {
                    let Some(Stage { name, linear }) =
                        stages.get(stage).filter(|_| stage == reached)
                    else {
                        return wrong("network", format!("reaches stage {stage} out of order"));
                    };
                    reached += 1;
                    let (takes, gets) = (linear.inputs(), widths[source]);
                    if takes != gets {
                        return wrong(name, format!("takes {takes} inputs, but gets {gets}"));
                    }
                    linear.outputs()
                }
                Step::Local { function, source } => function.outputs(widths[*source])?,
                Step::Add { sources: [a, b] } => {
                    let (a, b) = (widths[*a], widths[*b]);
                    if a != b {
                        return wrong("add", format!("takes equal widths, but gets {a} and {b}"));
                    }
                    a
                }
            };
            widths.push(width);
            taken.push(false);
        }
        if reached != stages.len() {
            return wrong("network", format!("has steps for {reached} of {} stages", stages.len()));
        }
        if let Some(lost) = taken[..steps.len()].iter().position(|taken| !taken) {
            return wrong("network", format!("has no use for value {lost}"));
        }
        let network = Self { stages, steps, widths, live: Vec::new(), loss, frozen: 0 };
        Ok(network.with_live())
    }

    fn with_live(mut self) -> Self {
        self.live = vec![false];
        for step in &self.steps {
            let trained = matches!(step, Step::Linear { stage, .. } if *stage >= self.frozen);
            self.live.push(trained || step.sources().iter().any(|&source| self.live[source]));
        }
        self
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
        Ok(Self { frozen: stages, ..self }.with_live())
    }

    /// How many stages, from the first on, no lease changes.
    pub fn frozen(&self) -> usize {
        self.frozen
    }

    /// Whether leases change the weights of `stage`.
    pub fn trains(&self, stage: usize) -> bool {
        stage >= self.frozen
    }

    /// Whether errors are propagated through `stage`: below it there are weights that are trained.
    pub fn propagates(&self, stage: usize) -> bool {
        self.live[self.source(stage)]
    }

    /// Whether `value` has a gradient that anybody asks for.
    pub(crate) fn is_live(&self, value: usize) -> bool {
        self.live[value]
    }

    /// The value that `stage` takes.
    pub fn source(&self, stage: usize) -> usize {
        self.steps[self.step_of(stage)].sources()[0]
    }

    /// The value whose gradient is that of the sums of `stage`: the sums themselves, or where nothing but additions
    /// takes them, what those add up to. Stages whose sums meet in an addition have the same errors.
    pub fn meeting(&self, stage: usize) -> usize {
        let mut value = self.step_of(stage) + 1;
        loop {
            let takes = |step: &Step| step.sources().iter().filter(|&&s| s == value).count();
            let mut takers = self.steps.iter().enumerate().filter(|(_, step)| takes(step) > 0);
            match (takers.next(), takers.next()) {
                (Some((number, step @ Step::Add { .. })), None) if takes(step) == 1 => {
                    value = number + 1;
                }
                _ => return value,
            }
        }
    }

    pub(crate) fn step_of(&self, stage: usize) -> usize {
        let is_its = |step: &Step| matches!(step, Step::Linear { stage: s, .. } if *s == stage);
        self.steps.iter().position(is_its).expect("each stage has a step")
    }

    /// Features of one sample.
    pub fn inputs(&self) -> usize {
        self.widths[0]
    }

    /// Features of a value.
    pub fn width(&self, value: usize) -> usize {
        self.widths[value]
    }

    /// Classes that the network tells apart.
    pub fn classes(&self) -> usize {
        self.widths[self.steps.len()]
    }

    /// How each value after the input is made.
    pub fn steps(&self) -> &[Step] {
        &self.steps
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::networks::{Squared, Tanh, dense};

    /// Two stages of 4 to 4 and 4 to 3, by steps.
    fn refusal(steps: Vec<Step>) -> String {
        let stage = |name: &str, linear| Stage { name: name.into(), linear };
        let stages = vec![stage("first", dense(4, 4)), stage("second", dense(4, 3))];
        let network = Network::new(4, stages, steps, Box::new(Squared));
        network.map_or_else(|error| error.to_string(), |network| format!("{network:?}"))
    }

    #[test]
    fn graphs_that_make_no_sense_are_refused() {
        let linear = |stage, source| Step::Linear { stage, source };
        let add = |a, b| Step::Add { sources: [a, b] };
        let tanh = |source| Step::Local { function: Box::new(Tanh), source };
        for (steps, why) in [
            (vec![linear(0, 0), add(1, 0), linear(1, 2)], "Network {"),
            (vec![linear(0, 1), linear(1, 1)], "takes value 1 in step 0"),
            (vec![linear(1, 0), linear(0, 1)], "stage 1 out of order"),
            (vec![linear(0, 0), linear(1, 1), linear(2, 2)], "stage 2 out of order"),
            (vec![linear(0, 0), linear(0, 1)], "stage 0 out of order"),
            (vec![linear(0, 0)], "1 of 2 stages"),
            (vec![linear(0, 0), tanh(1), linear(1, 1)], "no use for value 2"),
            (vec![linear(0, 0), linear(1, 1), add(2, 0)], "equal widths, but gets 3 and 4"),
            (
                vec![linear(0, 0), linear(1, 1), tanh(usize::MAX)],
                "takes value 18446744073709551615",
            ),
        ] {
            let said = refusal(steps);
            assert!(said.contains(why), "{said}");
        }
        let narrow = vec![linear(0, 0), linear(1, 1)];
        let stages = vec![
            Stage { name: "first".into(), linear: dense(4, 5) },
            Stage { name: "second".into(), linear: dense(4, 3) },
        ];
        let said = Network::new(4, stages, narrow, Box::new(Squared)).unwrap_err().to_string();
        assert!(said.contains("second") && said.contains("4 inputs, but gets 5"), "{said}");
    }
}
