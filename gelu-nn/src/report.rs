//! What a trainer tells about a mini-batch or an epoch.

use gelu_core::Loss;
use ndarray::Array2;

use crate::model::predictions;

/// One epoch of training, as seen while its mini-batches went by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// How many there will be.
    pub epochs: usize,
    /// The learning rate.
    pub rate: f64,
    /// Mean loss.
    pub loss: f64,
    /// Share of training samples whose class was found.
    pub accuracy: f64,
    /// Values cut off at the bound of their format; 0 in floating point.
    pub saturations: u64,
}

/// One mini-batch of training, as seen before its step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Mean loss.
    pub loss: f64,
    /// Share of samples whose class was found.
    pub accuracy: f64,
    /// Values cut off at the bound of their format; 0 in floating point.
    pub saturations: u64,
}

/// Loss and hits of some samples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    samples: usize,
    right: usize,
    loss: f64,
    pub(crate) saturations: u64,
}

impl Tally {
    pub(crate) fn of(probabilities: &Array2<f64>, labels: &[usize], loss: &dyn Loss) -> Self {
        let predictions = predictions(probabilities);
        let samples = labels.len();
        Self {
            samples,
            right: predictions.iter().zip(labels).filter(|(a, b)| a == b).count(),
            loss: loss.value(probabilities, labels) * samples as f64,
            saturations: 0,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.right += other.right;
        self.loss += other.loss;
        self.saturations += other.saturations;
    }

    /// Mean loss.
    pub(crate) fn loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// Share of hits.
    fn accuracy(&self) -> f64 {
        self.right as f64 / self.samples.max(1) as f64
    }

    pub(crate) fn step(&self) -> StepReport {
        let (loss, accuracy) = (self.loss(), self.accuracy());
        StepReport { loss, accuracy, saturations: self.saturations }
    }

    pub(crate) fn report(&self, epoch: usize, epochs: usize, rate: f64) -> EpochReport {
        let (loss, accuracy) = (self.loss(), self.accuracy());
        EpochReport { epoch, epochs, rate, loss, accuracy, saturations: self.saturations }
    }
}
