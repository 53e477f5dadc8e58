//! Training in the clear with any activation, watched epoch by epoch: it says when it diverges.
//!
//! The exact activations are trained in the protocol's integers wherever that is fast enough
//! ([`in_integers`]); the polynomials in floating point ([`in_floating_point`]), because the systems
//! that use them hold other numbers than ours, and no fault of a fixed-point format shall be theirs.

use gelu_core::Precision;
use gelu_nn::{
    Batches, Dataset, FixedTrainer, FloatParameters, FloatTrainer, Model, Recipe, Sequential,
};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::Error;

/// A network, how it is trained, and by which samples it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The network.
    pub architecture: &'a Sequential,
    /// Epochs, batches, rate.
    pub recipe: Recipe,
    /// To learn from.
    pub train: &'a Dataset,
    /// To be judged by.
    pub test: &'a Dataset,
    /// Fixes the first weights and the order of samples, the same for every activation.
    pub seed: u64,
}

/// How an epoch ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Mean loss of the training samples, as they went by.
    pub loss: f64,
    /// Share of test samples whose class is found.
    pub accuracy: f64,
}

/// A training, whole or up to where it diverged.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it was like before the first step: accuracy on the test samples.
    pub before: f64,
    /// The epochs that ended with finite weights.
    pub epochs: Vec<Epoch>,
    /// Where it diverged, if it did.
    pub diverged: Option<Divergence>,
    /// The last weights; not all finite if it diverged.
    pub weights: FloatParameters,
}

/// Where a weight was no longer a finite number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// After how many epochs, in parts of one.
    pub at: f64,
    /// Mean loss of the training samples since the last whole epoch.
    pub loss: f64,
}

impl Run {
    /// The accuracy at the end; none if it diverged.
    pub fn accuracy(&self) -> Option<f64> {
        match self.diverged {
            Some(_) => None,
            None => Some(self.epochs.last().map_or(self.before, |epoch| epoch.accuracy)),
        }
    }
}

impl Task<'_> {
    /// The first weights.
    pub(crate) fn start(&self) -> FloatParameters {
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        FloatParameters::initialise(self.architecture, &mut rng)
    }
}

/// Trains in single precision by a whole recipe; `epoch` is called after each one.
pub(crate) fn trained(
    architecture: &Sequential,
    recipe: Recipe,
    train: &Dataset,
    seed: u64,
    mut epoch: impl FnMut(),
) -> Result<FloatParameters, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let mut trainer = FloatTrainer::<f32>::new(architecture, recipe, rng)?;
    trainer.train(train, seed, |_| epoch())?;
    Ok(trainer.parameters())
}

/// A model of these weights, rounded to the bits that queries need.
pub(crate) fn for_queries(
    name: &str,
    architecture: Sequential,
    weights: &FloatParameters,
) -> Result<Model, Error> {
    let precision = Precision::INFERENCE.fitted(weights.largest());
    Ok(Model::from_float(name, architecture, precision, weights)?)
}

/// Trains in single precision, as deep learning does; stops where a weight is no longer finite.
///
/// `watched`: the accuracy is wanted after every epoch, not only at the end.
///
/// # Errors
/// When data and network do not fit, or the recipe is more than plain SGD.
pub fn in_floating_point(task: &Task<'_>, watched: bool) -> Result<Run, Error> {
    let Task { recipe, train, test, .. } = *task;
    recipe.validate_plain()?;
    let start = task.start();
    let mut trainer = FloatTrainer::<f32>::starting_from(task.architecture, recipe, &start)?;
    let batches = Batches::new(train.len(), recipe.batch, task.seed)?;
    let before = trainer.accuracy(test)?;
    let mut epochs = Vec::new();
    for epoch in 0..recipe.epochs {
        let (mut loss, mut seen) = (0.0, 0);
        for (done, samples) in batches.epoch(epoch).enumerate() {
            let (inputs, labels) = train.batch(&samples);
            let report = trainer.step(&inputs, &labels, recipe.rate_at(epoch))?;
            loss += report.loss * labels.len() as f64;
            seen += labels.len();
            let weights = trainer.parameters();
            if !is_finite(&weights) {
                let part = (done + 1) as f64 / batches.per_epoch() as f64;
                let divergence = Divergence { at: epoch as f64 + part, loss: loss / seen as f64 };
                return Ok(Run { before, epochs, diverged: Some(divergence), weights });
            }
        }
        let wanted = watched || epoch + 1 == recipe.epochs;
        let accuracy = if wanted { trainer.accuracy(test)? } else { f64::NAN };
        epochs.push(Epoch { loss: loss / seen as f64, accuracy });
    }
    Ok(Run { before, epochs, diverged: None, weights: trainer.parameters() })
}

/// Trains in the protocol's integers, which end bit for bit as the encrypted training does, and
/// judges in them; the model and its accuracy.
///
/// # Errors
/// As [`in_floating_point`]; when a weight leaves the bound for which slots are planned.
pub fn in_integers(task: &Task<'_>) -> Result<(Model, f64), Error> {
    let architecture = task.architecture.clone();
    let start = Model::from_float("exact", architecture, Precision::TRAINING, &task.start())?;
    let mut trainer = FixedTrainer::new(&start);
    trainer.train(task.train, &task.recipe, task.seed, |_| ())?;
    let model = start.successor(trainer.parameters().clone())?;
    let accuracy = model.evaluate(task.test)?.accuracy;
    Ok((model, accuracy))
}

/// The accuracy of given weights in floating point.
///
/// # Errors
/// When weights, data and network do not fit.
pub fn judge(
    architecture: &Sequential,
    weights: &FloatParameters,
    test: &Dataset,
) -> Result<f64, Error> {
    let trainer = FloatTrainer::<f64>::starting_from(architecture, Recipe::default(), weights)?;
    Ok(trainer.accuracy(test)?)
}

fn is_finite(weights: &FloatParameters) -> bool {
    let mut values = weights.layers.iter().flat_map(|l| l.weights.iter().chain(&l.biases));
    values.all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::{Activation, Standardiser, zoo};

    fn iris() -> gelu_nn::Split {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut split = Dataset::iris().stratified_split(0.2, &mut rng).unwrap();
        let scaling = Standardiser::fit(&split.train);
        scaling.apply(&mut split.train).unwrap();
        scaling.apply(&mut split.test).unwrap();
        split
    }

    /// Integers and floating point agree on a training, but for flowers on the border.
    #[test]
    fn integers_follow_floating_point() {
        let (split, architecture) = (iris(), zoo::iris());
        let recipe = Recipe { epochs: 60, batch: 10, rate: 0.1, ..Recipe::default() };
        let (train, test) = (&split.train, &split.test);
        let task = Task { architecture: &architecture, recipe, train, test, seed: 3 };
        let float = in_floating_point(&task, true).unwrap();
        let (model, accuracy) = in_integers(&task).unwrap();
        assert!((float.accuracy().unwrap() - accuracy).abs() <= 1.0 / 30.0 + 1e-9);
        assert!(accuracy > 0.9, "{accuracy}");
        assert_eq!(judge(&architecture, &model.weights(), test).unwrap(), accuracy);
        assert_eq!(float.epochs.len(), 60);
        assert!(float.epochs[59].loss < float.epochs[0].loss);
    }

    /// A rate far too large for a polynomial: the weights leave the finite numbers, and the run
    /// ends there.
    #[test]
    fn a_divergence_ends_the_run() {
        let (split, architecture) = (iris(), zoo::iris().with_activation(Activation::Taylor5));
        let recipe = Recipe { epochs: 20, batch: 10, rate: 10.0, ..Recipe::default() };
        let (train, test) = (&split.train, &split.test);
        let task = Task { architecture: &architecture, recipe, train, test, seed: 3 };
        let run = in_floating_point(&task, true).unwrap();
        let Divergence { at, loss } = run.diverged.expect("it diverges");
        assert!(at > 0.0 && at < 20.0 && run.accuracy().is_none());
        assert_eq!(run.epochs.len() as f64, at.ceil() - 1.0);
        assert!(loss.is_finite() && loss > 0.0);
        assert!(!is_finite(&run.weights));
    }
}
