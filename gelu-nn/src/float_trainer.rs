//! Ordinary deep learning in floating point: the reference for everything else.
//!
//! ```text
//! v ← momentum · v + mean over the batch of dW + l2 · W        W ← W − rate(epoch) · v
//! ```
//!
//! The linear maps are those of the protocol, with `f32` or `f64` in place of integers; activations
//! and loss are the exact ones. A mini-batch is cut into parts of 64 samples, which run on all
//! cores and whose gradients are added in order: the result does not depend on the machine.

use std::sync::Arc;

use gelu_core::Network;
use gelu_core::error::ApiMisuse;
use gelu_core::linear::Scalar;
use gelu_core::tape::Tape;
use ndarray::{Array2, Axis};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use rayon::prelude::*;

use crate::data::{Batches, Dataset, check_fit, shift_images};
use crate::error::Result;
use crate::model::{accuracy, predictions};
use crate::parameters::{FloatLayer, FloatParameters};
use crate::recipe::Recipe;
use crate::report::{EpochReport, StepReport, Tally};
use crate::sequential::Sequential;

/// Samples that one core works on at a time: long enough rows for vector instructions.
const PART: usize = 64;

/// A floating-point number to train with.
pub trait Real: Scalar + Send + Sync + core::iter::Sum + core::ops::Sub<Output = Self> {
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
    /// The same number as `f64`.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
    fn from_f64(x: f64) -> Self {
        x as Self
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Weights and biases of one layer, or their gradients.
#[derive(Debug, Clone)]
struct Values<T> {
    weights: Vec<T>,
    biases: Vec<T>,
}

impl<T: Real> Values<T> {
    fn from_f64(layer: &FloatLayer) -> Self {
        let convert = |values: &[f64]| values.iter().map(|&v| T::from_f64(v)).collect();
        Self { weights: convert(&layer.weights), biases: convert(&layer.biases) }
    }

    fn to_f64(&self) -> FloatLayer {
        let convert = |values: &[T]| values.iter().map(|v| v.to_f64()).collect();
        FloatLayer { weights: convert(&self.weights), biases: convert(&self.biases) }
    }

    fn zeros(&self) -> Self {
        let zeros = |values: &[T]| vec![T::zero(); values.len()];
        Self { weights: zeros(&self.weights), biases: zeros(&self.biases) }
    }

    fn add(&mut self, other: &Self) {
        let pairs = |a: &mut [T], b: &[T]| a.iter_mut().zip(b).for_each(|(a, &b)| *a += b);
        pairs(&mut self.weights, &other.weights);
        pairs(&mut self.biases, &other.biases);
    }
}

/// Trains in floating point: see the [module](self).
///
/// `T` is `f32` (fast, the default of deep learning) or `f64` (to compare with fixed point).
#[derive(Debug, Clone)]
pub struct FloatTrainer<T = f32> {
    architecture: Sequential,
    network: Arc<Network>,
    recipe: Recipe,
    layers: Vec<Values<T>>,
    velocities: Vec<Values<T>>,
}

impl<T: Real> FloatTrainer<T> {
    /// Starts with random weights: see [`FloatParameters::initialise`].
    ///
    /// # Errors
    /// [`Error::Recipe`](crate::Error::Recipe) for a value outside its domain.
    pub fn new(architecture: &Sequential, recipe: Recipe, rng: &mut dyn CryptoRng) -> Result<Self> {
        let start = FloatParameters::initialise(architecture, rng);
        Self::starting_from(architecture, recipe, &start)
    }

    /// Starts with given weights.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Core`](crate::Error::Core) when the weights have other shapes.
    pub fn starting_from(
        architecture: &Sequential,
        recipe: Recipe,
        start: &FloatParameters,
    ) -> Result<Self> {
        recipe.validate()?;
        start.check_shapes(architecture)?;
        let layers: Vec<_> = start.layers.iter().map(Values::from_f64).collect();
        let velocities = layers.iter().map(Values::zeros).collect();
        let (architecture, network) = (architecture.clone(), Arc::new(architecture.network()));
        Ok(Self { architecture, network, recipe, layers, velocities })
    }

    /// The weights.
    pub fn parameters(&self) -> FloatParameters {
        FloatParameters { layers: self.layers.iter().map(Values::to_f64).collect() }
    }

    /// Runs all epochs; `seed` fixes the order of samples and the shifts of images.
    ///
    /// `report` is called after each epoch.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when the data does not fit the network.
    pub fn train(
        &mut self,
        data: &Dataset,
        seed: u64,
        mut report: impl FnMut(&EpochReport),
    ) -> Result<()> {
        check_fit(data, &self.network)?;
        let batches = Batches::new(data.len(), self.recipe.batch, seed)?;
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rng.set_stream(u64::MAX);
        for epoch in 0..self.recipe.epochs {
            let rate = self.recipe.rate_at(epoch);
            let mut tally = Tally::default();
            for samples in batches.epoch(epoch) {
                let (mut inputs, labels) = data.batch(&samples);
                if self.recipe.shift > 0 {
                    let shape = self.architecture.input();
                    inputs = shift_images(&inputs, shape, self.recipe.shift, &mut rng);
                }
                tally.add(self.learn(&inputs, &labels, rate));
            }
            report(&tally.report(epoch, self.recipe.epochs, rate));
        }
        Ok(())
    }

    /// Share of samples whose class is found.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn accuracy(&self, data: &Dataset) -> Result<f64> {
        check_fit(data, &self.network)?;
        let samples: Vec<_> = (0..data.len()).collect();
        let parts = samples.par_chunks(PART).map(|samples| {
            let (inputs, _) = data.batch(samples);
            let (tape, _) = self.forward(inputs);
            predictions(&self.network.loss().probabilities(scores(&tape)))
        });
        let predictions: Vec<_> = parts.collect::<Vec<_>>().concat();
        Ok(accuracy(&predictions, data.labels()))
    }

    /// Class probabilities, `[classes, batch]`, of `inputs`, `[features, batch]`.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when they have another number of features.
    pub fn probabilities(&self, inputs: &Array2<f64>) -> Result<Array2<f64>> {
        let (expected, got) =
            (vec![self.network.inputs(), inputs.ncols()], inputs.shape().to_vec());
        if expected != got {
            return Err(gelu_core::Error::from(ApiMisuse::Shape { expected, got }).into());
        }
        let (tape, _) = self.forward(inputs.clone());
        Ok(self.network.loss().probabilities(scores(&tape)))
    }

    /// One mini-batch at `rate`, whatever the schedule says: `inputs` are `[features, batch]`.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when shapes or labels do not fit the network.
    pub fn step(
        &mut self,
        inputs: &Array2<f64>,
        labels: &[usize],
        rate: f64,
    ) -> Result<StepReport> {
        let (expected, got) = (vec![self.network.inputs(), labels.len()], inputs.shape().to_vec());
        if expected != got || labels.is_empty() {
            return Err(gelu_core::Error::from(ApiMisuse::Shape { expected, got }).into());
        }
        let classes = self.network.classes();
        if labels.iter().any(|&label| label >= classes) {
            let why = format!("must be below {classes}");
            return Err(gelu_core::Error::from(ApiMisuse::configuration("labels", why)).into());
        }
        Ok(self.learn(inputs, labels, rate).step())
    }

    /// One mini-batch that fits.
    fn learn(&mut self, inputs: &Array2<f64>, labels: &[usize], rate: f64) -> Tally {
        let samples: Vec<_> = (0..labels.len()).collect();
        let parts: Vec<_> = samples
            .par_chunks(PART)
            .map(|part| {
                let labels: Vec<_> = part.iter().map(|&s| labels[s]).collect();
                self.gradient(inputs.select(Axis(1), part), &labels)
            })
            .collect();
        let mut parts = parts.into_iter();
        let (mut gradients, mut tally) = parts.next().expect("a batch has samples");
        for (more, other) in parts {
            gradients.iter_mut().zip(&more).for_each(|(sum, part)| sum.add(part));
            tally.add(other);
        }
        self.descend(&gradients, labels.len(), rate);
        tally
    }

    /// v ← momentum · v + dW / batch + l2 · W, W ← W − rate · v.
    fn descend(&mut self, gradients: &[Values<T>], batch: usize, rate: f64) {
        let number = T::from_f64;
        let (share, momentum) = (number(1.0 / batch as f64), number(self.recipe.momentum));
        let descend = |values: &mut [T], velocities: &mut [T], gradients: &[T], l2: T| {
            let rate = number(rate);
            for ((w, v), &g) in values.iter_mut().zip(velocities).zip(gradients) {
                *v = momentum * *v + share * g + l2 * *w;
                *w = *w - rate * *v;
            }
        };
        let (l2, frozen) = (number(self.recipe.l2), self.network.frozen());
        let trained = self.layers.iter_mut().zip(&mut self.velocities).skip(frozen);
        for ((w, v), g) in trained.zip(gradients) {
            descend(&mut w.weights, &mut v.weights, &g.weights, l2);
            descend(&mut w.biases, &mut v.biases, &g.biases, T::zero());
        }
    }

    /// The gradients of some samples, summed: of the stages that are trained.
    fn gradient(&self, inputs: Array2<f64>, labels: &[usize]) -> (Vec<Values<T>>, Tally) {
        let loss = self.network.loss();
        let (mut tape, inputs) = self.forward(inputs);
        let probabilities = loss.probabilities(scores(&tape));
        let tally = Tally::of(&probabilities, labels, loss);
        tape.turn(loss.gradient(&probabilities, labels));
        let mut gradients = Vec::new();
        while let Some((stage, errors)) = tape.errors() {
            let linear = &self.network.stages()[stage].linear;
            let divisor = f64::from(linear.divisor());
            let delta = errors.mapv(|d| T::from_f64(d / divisor));
            let (weights, biases) =
                linear.gradient(inputs[stage].view(), delta.view(), T::from_f64(divisor));
            gradients.push(Values { weights, biases });
            tape.retreat(self.network.propagates(stage).then(|| {
                linear.backward(&self.layers[stage].weights, delta.view()).mapv(T::to_f64)
            }));
        }
        gradients.reverse();
        (gradients, tally)
    }

    /// The way forward, and the inputs of every stage.
    fn forward(&self, inputs: Array2<f64>) -> (Tape, Vec<Array2<T>>) {
        let mut tape = Tape::new(Arc::clone(&self.network), inputs);
        let mut inputs = Vec::new();
        while let Some((stage, a)) = tape.stage() {
            let (linear, layer) = (&self.network.stages()[stage].linear, &self.layers[stage]);
            let (x, divisor) = (a.mapv(T::from_f64), f64::from(linear.divisor()));
            let z = linear.forward(&layer.weights, &layer.biases, x.view(), T::from_f64(divisor));
            inputs.push(x);
            tape.advance(z.mapv(|z| z.to_f64() / divisor));
        }
        (tape, inputs)
    }
}

fn scores(tape: &Tape) -> &Array2<f64> {
    tape.scores().expect("the way forward is over")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Activation, Shape};
    use crate::sequential::LayerSpec;
    use proptest::prelude::*;
    use rand::RngExt;

    /// Convolution with fused pooling, a local pooling, dense layers, every activation.
    fn everything() -> Sequential {
        let f = |function| LayerSpec::Activation { function };
        let layers = vec![
            LayerSpec::Conv2d {
                filters: 2,
                kernel: 3.into(),
                stride: 1.into(),
                padding: 1.into(),
                groups: 1,
            },
            LayerSpec::MeanPool2d { window: 2.into() },
            f(Activation::Tanh),
            LayerSpec::Conv2d {
                filters: 2,
                kernel: [1, 3].into(),
                stride: [2, 1].into(),
                padding: [0, 1].into(),
                groups: 1,
            },
            f(Activation::Tanh),
            LayerSpec::MeanPool2d { window: [1, 2].into() },
            LayerSpec::Dense { outputs: 5 },
            f(Activation::Sigmoid),
            LayerSpec::Dense { outputs: 4 },
            f(Activation::Relu),
            LayerSpec::Dense { outputs: 3 },
        ];
        Sequential::new(Shape::image(1, 8, 8), layers).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// The gradient of the whole network against finite differences of the whole network.
        #[test]
        fn the_gradient_is_the_gradient(seed in 0..1000u64) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let architecture = everything();
            let mut start = FloatParameters::initialise(&architecture, &mut rng);
            // Away from the kink of relu.
            start.layers[3].biases.fill(3.0);
            let at = |parameters: &FloatParameters| {
                let recipe = Recipe::default();
                FloatTrainer::<f64>::starting_from(&architecture, recipe, parameters).unwrap()
            };
            let inputs = Array2::from_shape_fn((64, 2), |(i, s)| ((i * 7 + s * 3) % 10) as f64 / 10.0);
            let labels = [0, 2];
            let (gradients, _) = at(&start).gradient(inputs.clone(), &labels);
            let loss = |parameters: &FloatParameters| {
                at(parameters).gradient(inputs.clone(), &labels).1.loss()
            };
            for (layer, gradient) in gradients.iter().enumerate() {
                let place = rng.random_range(0..gradient.weights.len());
                let h = 1e-5;
                let numeric = |change: fn(&mut FloatLayer, usize, f64)| {
                    let moved = |by: f64| {
                        let mut parameters = start.clone();
                        change(&mut parameters.layers[layer], place, by);
                        loss(&parameters)
                    };
                    2.0 * (moved(h) - moved(-h)) / (2.0 * h)
                };
                let by_weight = numeric(|l, place, by| l.weights[place] += by);
                let by_bias = numeric(|l, _, by| l.biases[0] += by);
                prop_assert!((by_weight - gradient.weights[place]).abs() < 1e-6);
                prop_assert!((by_bias - gradient.biases[0]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn single_steps_are_those_of_an_epoch_and_refuse_what_does_not_fit() {
        let data = Dataset::iris();
        let recipe = Recipe { epochs: 1, batch: 50, rate: 0.2, ..Recipe::default() };
        let new = || {
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            FloatTrainer::<f64>::new(&crate::zoo::iris(), recipe, &mut rng).unwrap()
        };
        let (mut whole, mut single) = (new(), new());
        whole.train(&data, 3, |_| ()).unwrap();
        for samples in Batches::new(data.len(), 50, 3).unwrap().epoch(0) {
            let (inputs, labels) = data.batch(&samples);
            let report = single.step(&inputs, &labels, 0.2).unwrap();
            assert!(report.loss.is_finite() && report.accuracy <= 1.0);
        }
        assert_eq!(whole.parameters(), single.parameters());
        let (inputs, _) = data.batch(&[0, 1]);
        assert!(single.step(&inputs, &[0], 0.2).is_err());
        assert!(single.step(&inputs, &[0, 3], 0.2).is_err());
    }

    #[test]
    fn training_is_repeatable_and_data_must_fit() {
        let iris = Dataset::iris();
        let run = |seed| {
            let recipe = Recipe { epochs: 2, batch: 100, momentum: 0.9, ..Recipe::default() };
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            let mut trainer =
                FloatTrainer::<f32>::new(&crate::zoo::iris(), recipe, &mut rng).unwrap();
            let mut reports = Vec::new();
            trainer.train(&iris, seed, |r| reports.push(*r)).unwrap();
            (trainer.parameters(), reports)
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).0, run(2).0);
        assert_eq!(run(1).1.len(), 2);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut other =
            FloatTrainer::<f32>::new(&crate::zoo::diabetes(), Recipe::default(), &mut rng).unwrap();
        assert!(other.train(&iris, 1, |_| ()).is_err());
        assert!(other.accuracy(&iris).is_err());
    }
}
