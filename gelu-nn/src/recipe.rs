//! How a network is trained: epochs, mini-batches, learning rate.

use core::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate goes over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the same.
    #[default]
    Constant,
    /// rate · (1 + cos(π · epoch / epochs)) / 2.
    Cosine,
    /// rate · factor^⌊epoch / every⌋.
    Step {
        /// Epochs between two steps.
        every: usize,
        /// What each step multiplies by.
        factor: f64,
    },
}

/// Hyper-parameters of stochastic gradient descent.
///
/// ```text
/// v ← momentum · v + dW + l2 · W        W ← W − rate(epoch) · v
/// ```
/// with dW the mean gradient of a mini-batch. The encrypted protocol and its oracle, the
/// [`FixedTrainer`](crate::FixedTrainer), run the plain kind: no momentum, no L2, no shift.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How often every sample is seen.
    pub epochs: usize,
    /// Samples of a mini-batch.
    pub batch: usize,
    /// The learning rate at the start.
    pub rate: f64,
    /// How it goes on.
    #[serde(default)]
    pub schedule: Schedule,
    /// Share of the step before that is kept.
    #[serde(default)]
    pub momentum: f64,
    /// Weight decay; biases do not decay.
    #[serde(default)]
    pub l2: f64,
    /// Images are shifted at random by up to so many pixels along each axis, each time anew.
    #[serde(default)]
    pub shift: usize,
}

impl Default for Recipe {
    /// Ten epochs of plain SGD, batches of 32, rate 0.1.
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 32,
            rate: 0.1,
            schedule: Schedule::Constant,
            momentum: 0.0,
            l2: 0.0,
            shift: 0,
        }
    }
}

impl Recipe {
    /// The learning rate of `epoch`, counted from 0.
    pub fn rate_at(&self, epoch: usize) -> f64 {
        match self.schedule {
            Schedule::Constant => self.rate,
            Schedule::Cosine => {
                let progress = epoch as f64 / self.epochs as f64;
                self.rate * 0.5 * (1.0 + libm::cos(PI * progress))
            }
            Schedule::Step { every, factor } => {
                self.rate * libm::pow(factor, (epoch / every) as f64)
            }
        }
    }

    /// Checks the domain of every value.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the value and its domain.
    pub fn validate(&self) -> Result<()> {
        let rule = |ok: bool, what, got: String, expected| match ok {
            true => Ok(()),
            false => Err(Error::Recipe { what, got, expected }),
        };
        let in_0_1 = |x: f64| (0.0..1.0).contains(&x);
        rule(self.batch >= 1, "batch", self.batch.to_string(), "at least 1")?;
        let positive = self.rate > 0.0 && self.rate.is_finite();
        rule(positive, "rate", self.rate.to_string(), "a positive number")?;
        rule(in_0_1(self.momentum), "momentum", self.momentum.to_string(), "0 or more, below 1")?;
        rule(in_0_1(self.l2), "l2", self.l2.to_string(), "0 or more, below 1")?;
        if let Schedule::Step { every, factor } = self.schedule {
            rule(every >= 1, "epochs of a step", every.to_string(), "at least 1")?;
            let factor_fits = factor > 0.0 && factor <= 1.0;
            rule(factor_fits, "factor of a step", factor.to_string(), "above 0, at most 1")?;
        }
        Ok(())
    }

    /// Checks that this is what the encrypted protocol runs.
    ///
    /// # Errors
    /// [`Error::Recipe`] when there is momentum, L2 or a shift, otherwise as
    /// [`validate`](Self::validate).
    pub fn validate_plain(&self) -> Result<()> {
        self.validate()?;
        let plain = [("momentum", self.momentum), ("l2", self.l2), ("shift", self.shift as f64)];
        match plain.into_iter().find(|&(_, value)| value != 0.0) {
            None => Ok(()),
            Some((what, got)) => {
                let expected = "0: fixed-point training is plain SGD";
                Err(Error::Recipe { what, got: got.to_string(), expected })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let recipe = |schedule| Recipe { epochs: 10, rate: 0.8, schedule, ..Recipe::default() };
        assert_eq!(recipe(Schedule::Constant).rate_at(9), 0.8);
        let cosine = recipe(Schedule::Cosine);
        assert_eq!(cosine.rate_at(0), 0.8);
        assert!((cosine.rate_at(5) - 0.4).abs() < 1e-12);
        assert!(cosine.rate_at(9) > 0.0);
        let step = recipe(Schedule::Step { every: 4, factor: 0.5 });
        assert_eq!([step.rate_at(3), step.rate_at(4), step.rate_at(8)], [0.8, 0.4, 0.2]);
    }

    #[test]
    fn values_outside_their_domain_are_refused() {
        let good = Recipe::default();
        good.validate_plain().unwrap();
        let bad = [
            Recipe { batch: 0, ..good },
            Recipe { rate: 0.0, ..good },
            Recipe { rate: f64::NAN, ..good },
            Recipe { momentum: 1.0, ..good },
            Recipe { l2: -0.1, ..good },
            Recipe { schedule: Schedule::Step { every: 0, factor: 0.5 }, ..good },
            Recipe { schedule: Schedule::Step { every: 1, factor: 0.0 }, ..good },
        ];
        for recipe in bad {
            assert!(recipe.validate().is_err(), "{recipe:?}");
        }
        let fast = Recipe { momentum: 0.9, ..good };
        fast.validate().unwrap();
        assert!(fast.validate_plain().is_err());
    }
}
