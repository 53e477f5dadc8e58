//! What a base takes, before anything starts: ring, levels, bytes, memory, time.

use std::collections::BTreeMap;

use gelu_ckks::{Chain, KeyKind, Parameters, Scale};

use crate::error::{Error, Result};
use crate::price::Ring;

/// log₂ of the noise that hides over the noise that is hidden.
pub const HIDING_BITS: u32 = 30;
/// log₂ of the scale of inputs: half of what values have after each layer, as the first one's real parts double it.
const INPUT_BITS: u32 = 59;
/// log₂ of the scale of weights.
pub(super) const WEIGHT_BITS: u32 = 20;
/// Of all primes.
const PRIME_BITS: u32 = 50;
/// Pairs of inputs, with a ciphertext each, of a message.
const PAIRS_OF_MESSAGE: usize = 16;
/// Of numbers that a peer names.
const MOST: usize = 1 << 20;

/// What both parties know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaseSettings {
    /// Of the data party: those to train on and those to judge by.
    pub rows: usize,
    /// Numbers of a row.
    pub inputs: usize,
    /// Numbers that the base makes of a row.
    pub features: usize,
    /// Layers of the base.
    pub squares: usize,
    /// No input is below.
    pub least: f64,
    /// No input is above.
    pub most: f64,
}

/// Where numbers are, and how long messages are.
#[derive(Debug, Clone)]
pub struct BasePlan {
    settings: BaseSettings,
    parameters: Parameters,
}

impl BasePlan {
    /// The smallest ring that bears the squares.
    ///
    /// # Errors
    /// [`Error::Base`] for numbers that cannot be, [`Error::TooDeep`] when there is no such ring.
    pub fn new(settings: BaseSettings) -> Result<Self> {
        let BaseSettings { rows, inputs, features, squares, least, most } = settings;
        if [rows, inputs, features, squares].iter().any(|n| !(1..=MOST).contains(n)) {
            return Err(Error::Base("takes 1 to 2^20 rows, inputs, features and layers"));
        }
        let bound = f64::from(1 << 16);
        if !(least < most && least >= -bound && most <= bound) {
            return Err(Error::Base("takes inputs from -65536 to 65536, and bounds in order"));
        }
        let levels = 2 * squares + 1;
        let chain = |degree| Chain {
            degree,
            first: PRIME_BITS,
            scale: (PRIME_BITS, levels),
            special: (PRIME_BITS, 2),
            digits: squares + 1,
        };
        let degrees = (14..=16).map(|log| 1 << log);
        let parameters = degrees.filter_map(|degree| Parameters::new(&chain(degree)).ok()).next();
        let parameters = parameters.ok_or(Error::TooDeep { levels })?;
        Ok(Self { settings, parameters })
    }

    /// What both parties know.
    #[must_use]
    pub fn settings(&self) -> &BaseSettings {
        &self.settings
    }

    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Groups of rows that are computed together.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.settings.rows.div_ceil(self.parameters.slots())
    }

    /// The rows of a group.
    #[must_use]
    pub fn rows(&self, group: usize) -> std::ops::Range<usize> {
        let (slots, rows) = (self.parameters.slots(), self.settings.rows);
        (group * slots).min(rows)..((group + 1) * slots).min(rows)
    }

    /// Messages of a group.
    #[must_use]
    pub fn messages(&self) -> usize {
        pairs(self.settings.inputs).div_ceil(PAIRS_OF_MESSAGE)
    }

    /// The pairs of inputs of a message: number p is inputs 2p and 2p + 1.
    #[must_use]
    pub fn pairs(&self, message: usize) -> std::ops::Range<usize> {
        let most = pairs(self.settings.inputs);
        (message * PAIRS_OF_MESSAGE).min(most)..((message + 1) * PAIRS_OF_MESSAGE).min(most)
    }

    /// Levels before each layer.
    pub(super) fn levels(&self) -> impl Iterator<Item = usize> + use<> {
        (1..=self.settings.squares).rev().map(|left| 2 * left + 1)
    }

    pub(super) fn input_scale() -> Scale {
        Scale::power_of_two(INPUT_BITS)
    }

    pub(super) fn weight_scale() -> Scale {
        Scale::power_of_two(WEIGHT_BITS)
    }

    /// Whether the layer that begins at a level is the first one, whose inputs are in pairs.
    pub(super) fn is_first(&self, level: usize) -> bool {
        level == self.parameters.top_level()
    }

    /// The scale of a layer before its square, which begins at a level and a scale.
    pub(super) fn layer_scale(&self, scale: &Scale, level: usize) -> Scale {
        let real_part = Scale::power_of_two(u32::from(self.is_first(level)));
        scale.times(&Self::weight_scale()).times(&real_part)
    }

    /// The scale after its square.
    pub(super) fn scale_after(&self, scale: &Scale, level: usize) -> Scale {
        let layer = self.layer_scale(scale, level);
        let [last, before] = [level, level - 1].map(|level| self.parameters.prime_scale(level));
        layer.times(&layer).over(&last).over(&before)
    }

    /// The scale of features.
    pub(super) fn feature_scale(&self) -> Scale {
        self.levels().fold(Self::input_scale(), |scale, level| self.scale_after(&scale, level))
    }

    /// All keys, each with the highest level that it is needed at.
    pub(super) fn keys(&self) -> BTreeMap<KeyKind, usize> {
        let top = self.parameters.top_level();
        [KeyKind::Relinearization, KeyKind::Conjugation].map(|kind| (kind, top)).into()
    }

    /// Bytes of the keys, sent once.
    #[must_use]
    pub fn key_bytes(&self) -> u64 {
        let (ring, top) = (self.ring(), self.parameters.top_level());
        (2 * ring.key_bits(top) + ring.row_bits(top)) / 8
    }

    /// Bytes of a message of inputs, at most.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        self.pairs(0).len() as u64 * self.input_bits() / 8
    }

    /// Bytes of all inputs of all groups.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        (self.groups() * pairs(self.settings.inputs)) as u64 * self.input_bits() / 8
    }

    /// Bytes of the features of a group.
    #[must_use]
    pub fn feature_bytes(&self) -> u64 {
        pairs(self.settings.features) as u64 * 2 * self.ring().row_bits(1) / 8
    }

    /// Bytes of memory that the data party needs for its part: its rows, the keys, and the longest message twice.
    #[must_use]
    pub fn memory_of_rows(&self) -> u64 {
        let BaseSettings { rows, inputs, features, .. } = self.settings;
        let numbers = (rows * (inputs + features)) as u64 * 8;
        numbers + self.key_memory() + 2 * self.feature_bytes().max(self.message_bytes())
    }

    pub(super) fn key_memory(&self) -> u64 {
        let top = self.parameters.top_level();
        let rows = 4 * self.ring().key_rows(top) + 2 * (top + 1);
        rows as u64 * self.parameters.degree() as u64 * 8
    }

    /// Seconds that all groups take a base, by the time of a transform of 2^13 residues and so many threads
    /// ([`price`](crate::price)).
    #[must_use]
    pub fn seconds(&self, base: &super::Base, transform: f64, threads: usize) -> f64 {
        let all = (self.groups() * base.transforms(self)) as f64 * self.ring().size();
        all * transform / threads.max(1) as f64
    }

    pub(super) fn square_transforms(&self, level: usize) -> usize {
        // Three products of rows, and the second division.
        4 * (level + 1) + self.ring().relinearized(level) + 4 * level
    }

    /// The real part of an output of the first layer.
    pub(super) fn real_part_transforms(&self) -> usize {
        self.ring().rotation(self.parameters.top_level())
    }

    /// An encryption of 0 and noise at level 1: four polynomials to transform.
    pub(super) fn hiding_transforms(&self) -> usize {
        6 * 2 * 2
    }

    fn input_bits(&self) -> u64 {
        self.ring().row_bits(self.parameters.top_level())
    }

    fn ring(&self) -> Ring<'_> {
        Ring { parameters: &self.parameters }
    }
}

/// Ciphertexts of so many numbers: two in each slot.
pub(super) fn pairs(numbers: usize) -> usize {
    numbers.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: BaseSettings =
        BaseSettings { rows: 1536, inputs: 784, features: 256, squares: 2, least: 0.0, most: 1.0 };

    #[test]
    fn rings_are_the_smallest_and_the_scale_returns() {
        for (squares, log) in [(1, 14), (2, 14), (3, 15), (6, 15), (7, 16)] {
            let plan = BasePlan::new(BaseSettings { squares, ..DIGITS }).unwrap();
            assert_eq!(plan.parameters().degree(), 1 << log, "{squares}");
            assert_eq!(plan.levels().last(), Some(3));
            assert!((plan.feature_scale().log2() - 60.0).abs() < 0.01);
        }
        let deep = BasePlan::new(BaseSettings { squares: 40, ..DIGITS }).unwrap_err();
        assert_eq!(deep, Error::TooDeep { levels: 81 });
    }

    #[test]
    fn rows_and_inputs_are_all_there_once() {
        let plan = BasePlan::new(BaseSettings { rows: 8193, inputs: 33, ..DIGITS }).unwrap();
        assert_eq!([0, 1, 2].map(|group| plan.rows(group)), [0..8192, 8192..8193, 8193..8193]);
        assert_eq!([0, 1, 2].map(|message| plan.pairs(message)), [0..16, 16..17, 17..17]);
        assert_eq!((plan.groups(), plan.messages()), (2, 2));
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for settings in [
            BaseSettings { rows: 0, ..DIGITS },
            BaseSettings { inputs: usize::MAX, ..DIGITS },
            BaseSettings { features: 0, ..DIGITS },
            BaseSettings { squares: 0, ..DIGITS },
            BaseSettings { least: f64::NAN, ..DIGITS },
            BaseSettings { most: 1e9, ..DIGITS },
            BaseSettings { most: 0.0, ..DIGITS },
        ] {
            assert!(matches!(BasePlan::new(settings), Err(Error::Base(_))), "{settings:?}");
        }
    }
}
