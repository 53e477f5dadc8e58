//! Training in the protocol's integers, in the clear: the oracle of the encrypted training.
//!
//! ```text
//! Z = W·A + c·B        Q = W'·D        W ← W − U,  U = round(eta · dW · 2^f_w)
//! ```
//!
//! It drives the same [`Pass`] as the encrypted client and multiplies where that one asks the
//! server. With the same model, the same batches and the same rate it ends, bit for bit, in
//! the same weights.

use std::sync::Arc;

use gelu_core::fixed::Saturations;
use gelu_core::pass::{Rounding, update};
use gelu_core::{Network, Parameters, Pass, Precision};
use ndarray::Array2;

use crate::data::{Batches, Dataset, check_fit};
use crate::error::{Error, Result};
use crate::model::{Model, forward};
use crate::recipe::Recipe;
use crate::report::{EpochReport, StepReport, Tally};

/// The learning rate of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Any positive number: the client rounds eta · dW.
    Public(f64),
    /// 2^−g, which only the server knows; the client rounds dW for the largest g allowed.
    Secret {
        /// The exponent.
        g: u32,
        /// The largest exponent allowed.
        g_max: u32,
    },
}

impl Rate {
    fn rounding(self, precision: &Precision) -> Result<Rounding> {
        let wrong = |what, got: String, expected| Err(Error::Recipe { what, got, expected });
        match self {
            Self::Public(eta) if eta > 0.0 && eta.is_finite() => Ok(Rounding::Rate(eta)),
            Self::Public(eta) => wrong("rate", eta.to_string(), "a positive number"),
            Self::Secret { g, g_max } if g > g_max => {
                wrong("the exponent g of the rate", g.to_string(), "at most g_max")
            }
            Self::Secret { g_max, .. } if g_max > precision.most_g_max() => {
                let expected = "less than the update's bits, at most the weights' fraction";
                wrong("g_max", g_max.to_string(), expected)
            }
            Self::Secret { g_max, .. } => Ok(Rounding::PowerOfTwo { g_max }),
        }
    }
}

/// Trains in fixed point: see the [module](self).
#[derive(Debug, Clone)]
pub struct FixedTrainer {
    network: Arc<Network>,
    precision: Precision,
    parameters: Parameters,
}

impl FixedTrainer {
    /// Starts from a model.
    pub fn new(model: &Model) -> Self {
        let (network, precision) = (Arc::clone(model.network()), *model.precision());
        Self { network, precision, parameters: model.parameters().clone() }
    }

    /// The weights so far. [`Model::successor`] makes a model of them.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Runs all epochs of a plain recipe with a public rate; `seed` fixes the order of samples.
    ///
    /// `report` is called after each epoch.
    ///
    /// # Errors
    /// [`Error::Recipe`] when the recipe asks for more than plain SGD; [`Error::Data`] when the data
    /// does not fit; as [`step`](Self::step).
    pub fn train(
        &mut self,
        data: &Dataset,
        recipe: &Recipe,
        seed: u64,
        mut report: impl FnMut(&EpochReport),
    ) -> Result<()> {
        recipe.validate_plain()?;
        check_fit(data, &self.network)?;
        let batches = Batches::new(data.len(), recipe.batch, seed)?;
        for epoch in 0..recipe.epochs {
            let rate = recipe.rate_at(epoch);
            let mut tally = Tally::default();
            for samples in batches.epoch(epoch) {
                let (inputs, labels) = data.batch(&samples);
                tally.add(self.descend(&inputs, &labels, Rate::Public(rate))?);
            }
            report(&tally.report(epoch, recipe.epochs, rate));
        }
        Ok(())
    }

    /// One mini-batch: `inputs` are `[features, batch]`.
    ///
    /// # Errors
    /// [`Error::Recipe`] for a rate outside its domain; [`Error::Core`] when shapes or labels do not
    /// fit, or a weight leaves the bound for which the protocol's slots are planned (the error
    /// names the layer; the trainer stays as it was before the step).
    pub fn step(
        &mut self,
        inputs: &Array2<f64>,
        labels: &[usize],
        rate: Rate,
    ) -> Result<StepReport> {
        Ok(self.descend(inputs, labels, rate)?.step())
    }

    fn descend(&mut self, inputs: &Array2<f64>, labels: &[usize], rate: Rate) -> Result<Tally> {
        let rounding = rate.rounding(&self.precision)?;
        let mut pass = Pass::new(Arc::clone(&self.network), self.precision, inputs)?;
        forward(&mut pass, &self.network, &self.precision, &self.parameters)?;
        pass.compare(labels)?;
        while let Some(stage) = pass.backward_stage() {
            let weights = &self.parameters.layers[stage].weights;
            let linear = &self.network.stages()[stage].linear;
            let propagated = linear.backward_integers(weights, pass.errors(stage).view());
            pass.retreat(&propagated)?;
        }
        let cut = Saturations::default();
        let mut change = update(&pass.gradient()?, labels.len(), rounding, &self.precision, &cut);
        if let Rate::Secret { g, .. } = rate {
            // Exact: g ≤ g_max, and every value is a multiple of 2^g_max.
            change = change.map(|v| v >> g);
        }
        let mut next = self.parameters.clone();
        next.subtract(&change.reveal());
        self.network.check(&next, self.precision.weights)?;
        self.parameters = next;

        let mut tally = Tally::of(&pass.probabilities()?, labels, self.network.loss());
        tally.saturations = pass.saturations().total() + cut.total();
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Split, Standardiser};
    use crate::float_trainer::FloatTrainer;
    use crate::parameters::FloatParameters;
    use crate::zoo;
    use gelu_core::Format;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn iris() -> Split {
        let mut split =
            Dataset::iris().stratified_split(0.2, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let standardiser = Standardiser::fit(&split.train);
        standardiser.apply(&mut split.train).unwrap();
        standardiser.apply(&mut split.test).unwrap();
        split
    }

    fn model(precision: Precision) -> Model {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        Model::initialise("iris", zoo::iris(), precision, &mut rng).unwrap()
    }

    /// After 20 epochs (240 steps) no weight of the fixed-point trainer is further than 0.005 from
    /// the floating-point trainer's, which started in the same place and saw the same batches.
    #[test]
    fn fixed_point_follows_floating_point() {
        let split = iris();
        let recipe = Recipe { epochs: 20, batch: 10, rate: 0.1, ..Recipe::default() };
        let start = model(Precision::TRAINING);
        let mut fixed = FixedTrainer::new(&start);
        let mut float =
            FloatTrainer::<f64>::starting_from(start.architecture(), recipe, &start.weights())
                .unwrap();
        let (mut by_fixed, mut by_float) = (Vec::new(), Vec::new());
        fixed.train(&split.train, &recipe, 3, |r| by_fixed.push(*r)).unwrap();
        float.train(&split.train, 3, |r| by_float.push(*r)).unwrap();

        let weights = FloatParameters::dequantise(fixed.parameters(), Precision::TRAINING.weights);
        let mut largest = 0.0f64;
        for (a, b) in weights.layers.iter().zip(&float.parameters().layers) {
            let pairs = a.weights.iter().zip(&b.weights).chain(a.biases.iter().zip(&b.biases));
            largest = pairs.map(|(a, b)| (a - b).abs()).fold(largest, f64::max);
        }
        assert!(largest < 0.005, "{largest}");
        for (a, b) in by_fixed.iter().zip(&by_float) {
            assert!((a.loss - b.loss).abs() < 0.002, "{a:?} {b:?}");
        }
        let trained = start.successor(fixed.parameters().clone()).unwrap();
        let (in_fixed, in_float) =
            (trained.evaluate(&split.test).unwrap().accuracy, float.accuracy(&split.test).unwrap());
        assert!((in_fixed - in_float).abs() <= 1.0 / 30.0 + 1e-9, "{in_fixed} {in_float}");
    }

    #[test]
    fn a_secret_rate_is_the_public_one_up_to_rounding() {
        let (inputs, labels) = iris().train.batch(&[0, 1, 2, 3, 4, 5, 6, 7]);
        let start = model(Precision::TRAINING);
        let step = |rate| {
            let mut trainer = FixedTrainer::new(&start);
            trainer.step(&inputs, &labels, rate).unwrap();
            trainer.parameters().clone()
        };
        let public = step(Rate::Public(0.125));
        let secret = step(Rate::Secret { g: 3, g_max: 6 });
        let units = public.values().zip(secret.values()).map(|(a, b)| (a - b).abs()).max().unwrap();
        assert!(units <= 1 << 3, "{units} units apart, rounding is to 2^(6 − 3) of them");
        assert_ne!(public, *start.parameters());
    }

    #[test]
    fn rates_and_recipes_outside_their_domain_are_refused() {
        let (inputs, labels) = iris().train.batch(&[0]);
        let mut trainer = FixedTrainer::new(&model(Precision::TRAINING));
        let bad = [
            Rate::Public(0.0),
            Rate::Public(f64::NAN),
            Rate::Secret { g: 3, g_max: 2 },
            Rate::Secret { g: 3, g_max: 19 },
            Rate::Secret { g: 3, g_max: u32::MAX },
        ];
        for rate in bad {
            assert!(trainer.step(&inputs, &labels, rate).is_err(), "{rate:?}");
        }
        let momentum = Recipe { momentum: 0.9, ..Recipe::default() };
        assert!(trainer.train(&iris().train, &momentum, 1, |_| ()).is_err());
        assert!(trainer.step(&inputs, &[3], Rate::Public(0.1)).is_err(), "no such class");
        assert!(trainer.step(&inputs, &[0, 1], Rate::Public(0.1)).is_err());
    }

    #[test]
    fn weights_that_leave_their_bound_stop_the_training() {
        let narrow = Precision { weights: Format::new(1, 20), ..Precision::TRAINING };
        let mut trainer = FixedTrainer::new(&model(narrow));
        let (inputs, labels) = iris().train.batch(&[0, 1, 2]);
        let before = loop {
            let before = trainer.parameters().clone();
            match trainer.step(&inputs, &labels, Rate::Public(1.0)) {
                Ok(_) => {}
                Err(error) => {
                    assert!(error.to_string().contains("exceeds the bound"), "{error}");
                    break before;
                }
            }
        };
        assert_eq!(*trainer.parameters(), before);
    }
}
