//! Bits with signs that suit a group of weights, so that it needs no more planes than its range.
//!
//! Two's complement of b bits is one of 2^b ways to give the planes signs. Let those planes be
//! negative whose bits an *offset* m has. Then every w from −m to 2^b − 1 − m is, in one way,
//!
//! ```text
//! w = Σ_p ±2^p·d_p   (− where m has bit p),       d = (w + m) ⊕ m
//! ```
//!
//! because −d = (1 − d) − 1. Two's complement has m = 2^(b − 1). Trained weights are short but for a
//! few (about Laplace distributed), so that two's complement of the longest weight's length repeats
//! the sign in the upper planes of nearly all others. With an offset of its own, a group of weights
//! from −x to y needs only as many planes as x + y has bits.
//!
//! The negative planes of an output are multiplied apart, joined, and inverted, which costs about one
//! squaring more for each plane that may be negative. So a layer has a *grain* 2^k, of which all
//! offsets are multiples: the planes below k are positive. The highest grain is two's complement as
//! long as the longest weight. [`Fit`] chooses the grain from a sample of groups.

use super::digits::MOST;
use super::layer::Layer;

/// Groups that are looked at to learn how long their weights are.
const SAMPLE: usize = 64;

/// Numbers from −`below` to `above`, and 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Range {
    below: u128,
    above: u128,
}

impl Range {
    pub(super) fn of(numbers: &[i128]) -> Self {
        let mut range = Self::default();
        numbers.iter().for_each(|&k| range.extend(k));
        range
    }

    fn extend(&mut self, k: i128) {
        let side = if k < 0 { &mut self.below } else { &mut self.above };
        *side = k.unsigned_abs().max(*side);
    }

    /// The least multiple of 2^`grain` that is an offset for these numbers; `grain` ≤ 127.
    fn least(self, grain: usize) -> u128 {
        // No overflow: below ≤ 2^127.
        self.below.div_ceil(1 << grain) << grain
    }

    /// How many planes these numbers need with offsets that are multiples of 2^`grain`.
    pub(super) fn planes(self, grain: usize) -> usize {
        // No overflow: the first is at most 2^127, the second less.
        (u128::BITS - (self.least(grain) + self.above).leading_zeros()) as usize
    }

    /// Of the offsets that need the fewest planes, the one with the most zeros at its end: its
    /// negative planes are the highest.
    pub(super) fn offset(self, grain: usize) -> u128 {
        let Some(below) = self.least(grain).checked_sub(1) else { return 0 };
        // Between `below`, exclusively, and this.
        let most = (u128::MAX >> (u128::BITS as usize - self.planes(grain))) - self.above;
        let shared = (below ^ most).ilog2();
        most >> shared << shared
    }
}

/// Replaces numbers by their digits for an `offset` that allows them.
pub(super) fn digits(numbers: &mut [i128], offset: u128) {
    for number in numbers {
        *number = (number.cast_unsigned().wrapping_add(offset) ^ offset).cast_signed();
    }
}

/// How offsets suit a layer.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    /// Offsets are multiples of 2^`grain`.
    pub(super) grain: usize,
    /// The mean number of planes of a group, for each size.
    pub(super) planes: [f64; MOST + 1],
}

impl Fit {
    /// The highest grain of which a finer one would cost more, by `cost`.
    pub(super) fn new(layer: &Layer<'_>, widest: usize, cost: impl Fn(&Self) -> f64) -> Self {
        let groups = sample(layer, widest);
        let with = |grain| Self::with(grain, widest, &groups);
        let mut best = with(layer.planes.saturating_sub(1));
        let mut least = cost(&best);
        while layer.signed && best.grain > 0 {
            let finer = with(best.grain - 1);
            let cost = cost(&finer);
            if cost >= least {
                break;
            }
            (best, least) = (finer, cost);
        }
        best
    }

    /// What the ranges of groups of each size come to.
    fn with(grain: usize, widest: usize, groups: &[[Range; MOST + 1]]) -> Self {
        let mean = |size: usize| {
            let planes: usize = groups.iter().map(|ranges| ranges[size].planes(grain)).sum();
            planes as f64 / groups.len().max(1) as f64
        };
        Self { grain, planes: core::array::from_fn(|n| if n <= widest { mean(n) } else { 0.0 }) }
    }
}

/// The ranges of weights that are neighbours in an output: for each sampled place, those of the
/// first 0, 1, … `widest`.
fn sample(layer: &Layer<'_>, widest: usize) -> Vec<[Range; MOST + 1]> {
    let taps = layer.taps;
    let count = (taps.len() / widest.max(1)).min(SAMPLE);
    let place = |i: usize| {
        let row = taps.of(i * taps.outputs() / count);
        // Multiples of the golden section fall evenly between 0 and 1.
        let start = (i * 40_503 % 65_536 * row.len()) >> 16;
        let weights = row.iter().cycle().skip(start).take(widest.min(row.len()));
        let mut ranges = [Range::default(); MOST + 1];
        let mut range = Range::default();
        let mut size = 0;
        for tap in weights {
            range.extend(layer.weights[tap.weight as usize]);
            size += 1;
            ranges[size] = range;
        }
        ranges[size..].fill(range);
        ranges
    };
    (0..count).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::super::digits::length;
    use super::*;
    use num_bigint_dig::BigInt;
    use proptest::prelude::*;

    fn numbers() -> impl Strategy<Value = Vec<i128>> {
        let edges = vec![0, 1, -1, 2, -2, 127, -128, i128::MAX, i128::MIN, i128::MIN + 1];
        let number = prop_oneof![prop::sample::select(edges), -300i128..300, any::<i128>()];
        let short = prop::collection::vec(-40i128..40, 1..=MOST);
        prop_oneof![prop::collection::vec(number, 1..=MOST), short]
    }

    proptest! {
        #[test]
        fn digits_with_their_signs_are_the_number(numbers in numbers(), grain in 0usize..=127) {
            let range = Range::of(&numbers);
            let (planes, offset) = (range.planes(grain), range.offset(grain));
            let mut cut = numbers.clone();
            digits(&mut cut, offset);
            prop_assert!(offset.trailing_zeros() as usize >= grain);
            for (k, cut) in numbers.into_iter().zip(cut) {
                let digit = |p: usize| {
                    let value = BigInt::from(cut >> p & 1) << p;
                    if offset >> p & 1 == 1 { -value } else { value }
                };
                prop_assert_eq!((0..planes).map(digit).sum::<BigInt>(), BigInt::from(k));
                prop_assert!(planes == 128 || cut.cast_unsigned() >> planes == 0);
            }
        }

        #[test]
        fn no_offset_needs_fewer_planes_or_has_more_zeros(
            numbers in prop::collection::vec(-40i128..40, 1..=MOST),
            grain in 0usize..8,
        ) {
            let range = Range::of(&numbers);
            let suits = |m: i128| {
                let bits = length(numbers.iter().max().unwrap().max(&0) + m);
                numbers.iter().all(|w| w + m >= 0).then_some((bits, m))
            };
            let all = (0..256).step_by(1 << grain).filter_map(suits);
            // Whatever fits in as many bits must have its negative planes among them.
            let all = all.map(|(bits, m)| (bits.max(length(m)), 128 - m.trailing_zeros()));
            let offset = range.offset(grain);
            let got = (range.planes(grain), 128 - offset.trailing_zeros());
            prop_assert_eq!(Some(got), all.min());
        }
    }

    #[test]
    fn the_highest_grain_is_twos_complement() {
        for numbers in [&[-128, 127][..], &[-1, 3], &[-1], &[-77, 0]] {
            let range = Range::of(numbers);
            assert_eq!((range.planes(7), range.offset(7)), (8, 1 << 7));
        }
        let positive = Range::of(&[0, 5]);
        assert_eq!((positive.planes(7), positive.offset(7)), (3, 0));
        let short = Range::of(&[-5, 40]);
        assert_eq!((short.planes(0), short.offset(0)), (6, 16));
    }
}
