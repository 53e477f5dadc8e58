//! The same training again, in the clear: the oracle and the reference.

use std::sync::Arc;

use anyhow::Result;
use gelu_nn::{Dataset, FixedTrainer, FloatTrainer, Model, Recipe};

use super::Experiment;
use crate::client::Lease;

/// One mini-batch, before its update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
}

/// Both trainers at the end.
pub(super) struct Replay {
    /// In the protocol's integers: must equal the encrypted run bit for bit.
    pub(super) fixed: FixedTrainer,
    /// In floating point: the accuracy to reach.
    pub(super) float: FloatTrainer<f64>,
    /// What each step of the floating-point trainer looked like.
    pub(super) float_steps: Vec<Step>,
}

impl Replay {
    /// Repeats `leases`, which must be in the order of their versions, from `initial`.
    pub(super) fn of(
        experiment: &Experiment,
        initial: &Model,
        shares: &[Arc<Dataset>],
        leases: &[Lease],
    ) -> Result<Self> {
        let (rate, eta) = (experiment.terms.rate.rate(), experiment.terms.rate.eta());
        let recipe = Recipe { batch: experiment.batch, rate: eta, ..Recipe::default() };
        let mut fixed = FixedTrainer::new(initial);
        let architecture = initial.architecture();
        let mut float = FloatTrainer::starting_from(architecture, recipe, &initial.weights())?;
        let mut float_steps = Vec::new();
        for lease in leases {
            for samples in &lease.batches {
                let (inputs, labels) = shares[lease.client].batch(samples);
                fixed.step(&inputs, &labels, rate)?;
                let step = float.step(&inputs, &labels, eta)?;
                float_steps.push(Step { loss: step.loss, accuracy: step.accuracy });
            }
        }
        Ok(Self { fixed, float, float_steps })
    }
}
