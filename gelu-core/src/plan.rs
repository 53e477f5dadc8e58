//! The plan: slot widths, layouts and costs of every exchange, fixed before any key is used.
//!
//! Client and server derive the same [`Plan`] from the network, its [`Precision`], the batch and
//! the purpose. The range analysis inside it is exact arithmetic on bounds:
//!
//! ```text
//! forward   |Z~| ≤ gain · 2^(i_a+f_a) · |W~| + divisor · 2^f_a · |W~|
//! backward  |Q~| ≤ gain' · 2^(i_d+f_d) · |W~|
//! |W~|      ≤ 2^(i_w+f_w) + steps · (2^(l+sigma) + 2^(l−1))      (inference: the first term alone)
//! ```
//!
//! and whatever does not fit a slot is refused with the layer and both numbers.
//!
//! Of the [layouts](crate::layout) that fit, an exchange gets the one that the prices of the
//! client's key say is the cheapest.

use crate::error::{ApiMisuse, RangeError, Result};
use crate::exchange::Exchange;
use crate::fixed::{Precision, exp2};
use crate::he::AdditiveHE;
use crate::layout::Widths;
use crate::linear::LinearMap;
use crate::network::Network;
use crate::slots::{MAX_SLOT_BITS, SlotShape};

/// What the exchanges are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Forward exchanges with the true weights.
    Inference,
    /// Forward and backward exchanges with weights under the masks of up to `steps` updates.
    Training {
        /// Mini-batches of the lease.
        steps: u32,
    },
}

/// Which way an exchange goes through its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Activations in, weighted sums out.
    Forward,
    /// Errors in, propagated errors out.
    Backward,
}

impl core::fmt::Display for Direction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// The exchanges of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// The stage's name.
    pub name: String,
    /// Activations in, weighted sums out.
    pub forward: Exchange,
    /// Errors in, propagated errors out; none for the first stage and for inference.
    pub backward: Option<Exchange>,
}

/// Every exchange of one mini-batch: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each stage.
    pub stages: Vec<StagePlan>,
    /// Samples of a mini-batch.
    pub batch: usize,
    /// What it is for.
    pub purpose: Purpose,
}

impl Plan {
    /// Plans all exchanges for a client with the key `public`.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the layer, the bits that it needs and those that there are;
    /// [`ApiMisuse::Configuration`] for a batch of 0 or above 2^16, or more than 2^20 steps.
    pub fn new<H: AdditiveHE>(
        network: &Network,
        precision: &Precision,
        batch: usize,
        purpose: Purpose,
        public: &H::PublicKey,
    ) -> Result<Self> {
        precision.validate()?;
        if !(1..=MAX_BATCH).contains(&batch) {
            return Err(ApiMisuse::configuration("batch", "needs 1 to 65536 samples").into());
        }
        if matches!(purpose, Purpose::Training { steps } if !(1..=MAX_STEPS).contains(&steps)) {
            return Err(ApiMisuse::configuration("lease", "needs 1 to 2^20 steps").into());
        }
        let weight = weight_bound(precision, purpose);
        let exchange = |name: &str, linear: &LinearMap, direction| {
            let slot_bits = signed_bits_for(widest_value(linear, precision, direction, weight));
            fit::<H>(&format!("{name} ({direction})"), slot_bits, public)?;
            let weight_bits = signed_bits_for(weight * linear.entry_gain() as f64);
            let widths = Widths { slot_bits, weight_bits };
            Ok(Exchange::cheapest::<H>(public, linear, direction, batch, widths))
        };
        let training = matches!(purpose, Purpose::Training { .. });
        let stages = network.stages().iter().enumerate().map(|(i, stage)| {
            let propagates = training && i > 0;
            Ok(StagePlan {
                name: stage.name.clone(),
                forward: exchange(&stage.name, &stage.linear, Direction::Forward)?,
                backward: propagates
                    .then(|| exchange(&stage.name, &stage.linear, Direction::Backward))
                    .transpose()?,
            })
        });
        Ok(Self { stages: stages.collect::<Result<_, RangeError>>()?, batch, purpose })
    }

    /// The exchange of a stage in a direction, if there is one.
    pub fn exchange(&self, stage: usize, direction: Direction) -> Option<&Exchange> {
        let stage = self.stages.get(stage)?;
        match direction {
            Direction::Forward => Some(&stage.forward),
            Direction::Backward => stage.backward.as_ref(),
        }
    }

    /// All exchanges of a mini-batch with their stage and direction, in the protocol's order.
    pub fn exchanges(&self) -> impl Iterator<Item = (usize, Direction, &Exchange)> {
        let forward = self.stages.iter().enumerate();
        let backward = self.stages.iter().enumerate().rev();
        forward.map(|(i, s)| (i, Direction::Forward, &s.forward)).chain(
            backward.filter_map(|(i, s)| Some((i, Direction::Backward, s.backward.as_ref()?))),
        )
    }
}

/// How the masked updates of the `secret` mode sit in ciphertexts under the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateLayout {
    /// Parameters of the network.
    pub values: usize,
    /// Bits of a slot: |G + R·2^g| < 2^(l−1+g_max) + 2^(l+sigma+g_max).
    pub slot_bits: u32,
    /// Slots of one ciphertext.
    pub slots: usize,
}

impl UpdateLayout {
    /// Plans the update of `values` parameters.
    ///
    /// # Errors
    /// [`RangeError::Slot`] when a masked update does not fit.
    pub fn new<H: AdditiveHE>(
        values: usize,
        precision: &Precision,
        g_max: u32,
        public: &H::PublicKey,
    ) -> Result<Self> {
        let update = exp2(precision.update_bits - 1 + g_max);
        let needed =
            signed_bits_for(update + exp2(precision.update_bits + precision.mask_bits + g_max));
        let slots = fit::<H>("masked update", needed, public)?;
        Ok(Self { values, slot_bits: needed, slots })
    }

    /// Ciphertexts of one update.
    pub fn ciphertexts(&self) -> usize {
        self.values.div_ceil(self.slots)
    }

    /// The shape of ciphertext `n`.
    pub fn shape(&self, n: usize) -> SlotShape {
        let count = self.slots.min(self.values - n * self.slots);
        SlotShape { bits: self.slot_bits, count }
    }
}

/// Samples of a mini-batch at most.
pub const MAX_BATCH: usize = 1 << 16;
/// Mini-batches of a lease at most.
pub const MAX_STEPS: u32 = 1 << 20;

/// How many slots of `needed` bits there are: at least one, or what would fit is said.
fn fit<H: AdditiveHE>(
    layer: &str,
    needed: u32,
    public: &H::PublicKey,
) -> Result<usize, RangeError> {
    let fits = |&bits: &u32| H::slots(public, bits) > 0;
    if needed > MAX_SLOT_BITS || !fits(&needed) {
        let available = (1..=MAX_SLOT_BITS).rev().find(fits).unwrap_or(0);
        return Err(RangeError::Slot { layer: layer.into(), needed, available });
    }
    Ok(H::slots(public, needed))
}

/// max|W~| in weight units.
fn weight_bound(precision: &Precision, purpose: Purpose) -> f64 {
    let own = exp2(precision.weights.integer + precision.weights.fraction);
    match purpose {
        Purpose::Inference => own,
        Purpose::Training { steps } => {
            let masked = exp2(precision.update_bits + precision.mask_bits);
            own + f64::from(steps) * (masked + exp2(precision.update_bits - 1))
        }
    }
}

/// max|Z~| or max|Q~|.
fn widest_value(linear: &LinearMap, p: &Precision, direction: Direction, weight: f64) -> f64 {
    match direction {
        Direction::Forward => {
            let input = exp2(p.activations.integer + p.activations.fraction);
            let constant = f64::from(linear.divisor()) * exp2(p.activations.fraction);
            (linear.forward_gain() as f64 * input + constant) * weight
        }
        Direction::Backward => {
            let error = exp2(p.errors.integer + p.errors.fraction);
            linear.backward_gain() as f64 * error * weight
        }
    }
}

/// The least b with `bound` < 2^(b−1), a hair above for the rounding of `bound` itself.
pub fn signed_bits_for(bound: f64) -> u32 {
    let (_, exponent) = libm::frexp(bound * (1.0 + 1e-9));
    u32::try_from(exponent + 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::tests::networks;

    #[test]
    fn bits_for_bounds() {
        for (bound, bits) in [(0.5, 1), (1.0, 2), (127.0, 8), (128.0, 9), (1e30, 101)] {
            assert_eq!(signed_bits_for(bound), bits, "{bound}");
        }
    }

    #[test]
    fn range_errors_name_the_layer_and_both_numbers() {
        let (network, precision) = (networks::network(), Precision::TRAINING);
        let refused = |precision: &Precision, purpose, key_bits| {
            let key = ClearKey::new(key_bits).unwrap();
            Plan::new::<Clear>(&network, precision, 1, purpose, &key).unwrap_err().to_string()
        };
        let training = Purpose::Training { steps: 1 << 20 };
        let wide = Precision { mask_bits: 100, ..precision };
        assert_eq!(
            refused(&wide, training, 2048),
            "the numbers do not fit: first (forward) needs 161 bits, the plaintext slot has 127"
        );
        let training = Purpose::Training { steps: 1 };
        assert_eq!(
            refused(&precision, training, 64),
            "the numbers do not fit: first (forward) needs 105 bits, the plaintext slot has 62"
        );
    }
}
