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
//! Stages that the network has [frozen](Network::freeze) are asked forward alone, with |W| as in an inference.
//!
//! Where values [wrap](Backend::WRAPS), masks are [modular](mask::Kind::Modular): only true values must fit,
//! with |W| ≤ 2^(i_w+f_w) + steps · 2^(l−1) in place of |W~|, and masked weights have as many bits as the
//! widest value of the trained stages. Whatever does not fit a slot is refused with the layer and both numbers.
//!
//! For each exchange the backend says in which [layouts](crate::backend::Layout) it can be carried. The
//! client takes the cheapest by its prices and names it; the server looks the name up in its own plan.

use core::fmt::Display;
use core::iter;

pub use crate::backend::Direction;
use crate::backend::{Backend, Layout, MAX_WRAPPING_BITS, Task};
use crate::error::{ApiMisuse, PeerMisbehaved, RangeError, Result};
use crate::fixed::{Precision, exp2, signed_bits_for};
use crate::linear::LinearMap;
use crate::mask;
use crate::network::Network;

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

/// One exchange: every layout that carries it, and the cheapest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<L> {
    layouts: Vec<L>,
    cheapest: usize,
    value_bits: u32,
    revealed_bits: u64,
}

impl<L> Exchange<L> {
    /// Of the layouts of a task for values of `value_bits` bits, the cheapest by `prices`.
    pub(crate) fn new<B: Backend<Layout = L>>(
        layouts: Vec<L>,
        value_bits: u32,
        prices: &B::Prices,
    ) -> Self
    where
        L: Layout<B>,
    {
        let price = |&i: &usize| B::nanoseconds(&layouts[i], prices);
        let cheapest = (0..layouts.len()).min_by_key(price).expect("a task has a layout");
        let revealed_bits = layouts.iter().map(|l| l.cost().revealed_bits).max();
        let revealed_bits = revealed_bits.expect("a task has a layout");
        Self { layouts, cheapest, value_bits, revealed_bits }
    }

    /// The cheapest layout; of equals the first.
    pub fn layout(&self) -> &L {
        &self.layouts[self.cheapest]
    }

    /// Every layout, at least one.
    pub fn layouts(&self) -> &[L] {
        &self.layouts
    }

    /// Bits of the widest value that the exchange is for, sign included.
    pub fn value_bits(&self) -> u32 {
        self.value_bits
    }

    /// Bits of plaintext that one output of one sample reveals at most, whichever layout is taken.
    pub fn revealed_bits_per_output(&self) -> u64 {
        self.revealed_bits
    }
}

impl<L: Display> Exchange<L> {
    /// The layout that a peer names.
    ///
    /// # Errors
    /// [`PeerMisbehaved::UnknownLayout`] with the name.
    pub fn named(&self, name: &str) -> Result<&L, PeerMisbehaved> {
        let known = self.layouts.iter().find(|layout| layout.to_string() == name);
        known.ok_or_else(|| PeerMisbehaved::UnknownLayout { name: name.into() })
    }
}

/// The exchanges of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan<L> {
    /// The stage's name.
    pub name: String,
    /// Activations in, weighted sums out.
    pub forward: Exchange<L>,
    /// Errors in, propagated errors out; none for inference, and none where nothing is trained below.
    pub backward: Option<Exchange<L>>,
}

/// Every exchange of one mini-batch: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<L> {
    /// One for each stage.
    pub stages: Vec<StagePlan<L>>,
    /// Samples of a mini-batch.
    pub batch: usize,
    /// What it is for.
    pub purpose: Purpose,
    /// The masks of updates; none for inference.
    pub masks: Option<mask::Kind>,
}

impl<L> Plan<L> {
    /// Plans all exchanges for a client with the key `public`, by the backend's own prices.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the layer, the bits that it needs and those that there are;
    /// [`ApiMisuse::Configuration`] for a batch of 0 or above 2^16, or more than 2^20 steps.
    pub fn new<B: Backend<Layout = L>>(
        network: &Network,
        precision: &Precision,
        batch: usize,
        purpose: Purpose,
        public: &B::PublicKey,
    ) -> Result<Self>
    where
        L: Layout<B>,
    {
        Self::priced::<B>(network, precision, batch, purpose, public, &B::prices(public))
    }

    /// As [`new`](Self::new), by prices from elsewhere: measured ones, or those of the backend that
    /// [`Clear`](crate::Clear) is the twin of.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn priced<B: Backend<Layout = L>>(
        network: &Network,
        precision: &Precision,
        batch: usize,
        purpose: Purpose,
        public: &B::PublicKey,
        prices: &B::Prices,
    ) -> Result<Self>
    where
        L: Layout<B>,
    {
        precision.validate()?;
        if !(1..=MAX_BATCH).contains(&batch) {
            return Err(ApiMisuse::configuration("batch", "needs 1 to 65536 samples").into());
        }
        if matches!(purpose, Purpose::Training { steps } if !(1..=MAX_STEPS).contains(&steps)) {
            return Err(ApiMisuse::configuration("lease", "needs 1 to 2^20 steps").into());
        }
        let training = matches!(purpose, Purpose::Training { .. });
        let tasks = network.stages().iter().enumerate().map(|(i, stage)| {
            let (layer, linear) = (stage.name.as_str(), &stage.linear);
            let purpose = if network.trains(i) { purpose } else { Purpose::Inference };
            let weight = weight_bound(precision, purpose, B::WRAPS);
            let weight_bits = signed_bits_for(weight * linear.entry_gain() as f64);
            let task = |direction| {
                let value_bits =
                    signed_bits_for(widest_value(linear, precision, direction, weight));
                Task { layer, linear, direction, batch, value_bits, weight_bits }
            };
            let propagates = training && network.propagates(i);
            (task(Direction::Forward), propagates.then(|| task(Direction::Backward)))
        });
        let tasks: Vec<_> = tasks.collect();
        let widest_from = |first: usize| {
            let tasks = tasks[first..].iter();
            let all = tasks.flat_map(|(forward, backward)| iter::once(forward).chain(backward));
            all.max_by_key(|task| task.value_bits).expect("a network trains a stage")
        };
        let widest = widest_from(0);
        if B::WRAPS && widest.value_bits > MAX_WRAPPING_BITS {
            return Err(widest.too_wide(MAX_WRAPPING_BITS).into());
        }
        let masks = training.then_some(match B::WRAPS {
            false => mask::Kind::Statistical { bits: precision.update_bits + precision.mask_bits },
            true => mask::Kind::Modular { bits: widest_from(network.frozen()).value_bits },
        });
        let exchange = |task: &Task<'_>, trained: bool| {
            let weight_bits = match masks {
                Some(mask::Kind::Modular { bits }) if trained => bits,
                _ => task.weight_bits,
            };
            let layouts = B::layouts(public, &Task { weight_bits, ..*task })?;
            Ok(Exchange::new::<B>(layouts, task.value_bits, prices))
        };
        let stages = tasks.iter().enumerate().map(|(i, (forward, backward))| {
            let of = |task| exchange(task, network.trains(i));
            Ok(StagePlan {
                name: forward.layer.into(),
                forward: of(forward)?,
                backward: backward.as_ref().map(of).transpose()?,
            })
        });
        Ok(Self { stages: stages.collect::<Result<_, RangeError>>()?, batch, purpose, masks })
    }

    /// The exchange of a stage in a direction, if there is one.
    pub fn exchange(&self, stage: usize, direction: Direction) -> Option<&Exchange<L>> {
        let stage = self.stages.get(stage)?;
        match direction {
            Direction::Forward => Some(&stage.forward),
            Direction::Backward => stage.backward.as_ref(),
        }
    }

    /// All exchanges of a mini-batch with their stage and direction, in the protocol's order.
    pub fn exchanges(&self) -> impl Iterator<Item = (usize, Direction, &Exchange<L>)> {
        let forward = self.stages.iter().enumerate();
        let backward = self.stages.iter().enumerate().rev();
        forward.map(|(i, s)| (i, Direction::Forward, &s.forward)).chain(
            backward.filter_map(|(i, s)| Some((i, Direction::Backward, s.backward.as_ref()?))),
        )
    }
}

/// Samples of a mini-batch at most.
pub const MAX_BATCH: usize = 1 << 16;
/// Mini-batches of a lease at most.
pub const MAX_STEPS: u32 = 1 << 20;

/// max|W~| in weight units; where values wrap, max|W|.
pub(crate) fn weight_bound(precision: &Precision, purpose: Purpose, wraps: bool) -> f64 {
    let own = exp2(precision.weights.integer + precision.weights.fraction);
    match purpose {
        Purpose::Inference => own,
        Purpose::Training { steps } => {
            let mask = if wraps { 0.0 } else { exp2(precision.update_bits + precision.mask_bits) };
            own + f64::from(steps) * (mask + exp2(precision.update_bits - 1))
        }
    }
}

/// max|Z~| or max|Q~|, for |W~| ≤ `weight`; or the same of true values.
pub(crate) fn widest_value(
    linear: &LinearMap,
    p: &Precision,
    direction: Direction,
    weight: f64,
) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::tests::networks;

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
