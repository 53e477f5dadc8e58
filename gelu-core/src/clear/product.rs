//! Products of a matrix with inputs in the open: what the terms one after the other give, in a fraction of the time.

use core::sync::atomic::Ordering;

use super::{ClearCiphertext, Meter};
use crate::slots::Matrix;

/// A matrix and its inputs, none of whose products and sums leaves `i128`.
pub(super) struct Rows<'a> {
    matrix: &'a Matrix,
    /// Slots of an input.
    count: usize,
    /// The slots of one input after those of another.
    values: Vec<i128>,
}

impl<'a> Rows<'a> {
    /// `None` without slots, for inputs with different numbers of them, or where a sum could leave `i128`.
    pub(super) fn new(matrix: &'a Matrix, inputs: &[ClearCiphertext]) -> Option<Self> {
        let count = inputs.first()?.slots.len();
        if count == 0 || inputs.iter().any(|input| input.slots.len() != count) {
            return None;
        }
        let slots = inputs.iter().flat_map(|input| &input.slots);
        let values = slots.copied().collect::<Option<Vec<_>>>()?;
        let most = |values: &[i128]| values.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0);
        let bound = most(&values).checked_mul(most(&matrix.entries))?;
        let bound = bound.checked_mul(matrix.taps.len() as u128)?;
        (bound <= i128::MAX as u128).then_some(Self { matrix, count, values })
    }

    pub(super) fn product(&self, meter: &Meter) -> Vec<ClearCiphertext> {
        let Matrix { taps, entries } = self.matrix;
        let mut widest = 0;
        let mut row = vec![0; self.count];
        let outputs = (0..taps.outputs()).map(|output| {
            row.fill(0);
            for tap in taps.of(output) {
                let entry = entries[tap.weight as usize];
                let values = &self.values[tap.source as usize * self.count..][..self.count];
                for (sum, value) in row.iter_mut().zip(values) {
                    let product = entry * value;
                    *sum += product;
                    // The highest bit of several values is that of their union.
                    widest |= product.unsigned_abs() | sum.unsigned_abs();
                }
            }
            let [products, sums] = match taps.of(output).len() as u64 {
                0 => [1, 0],
                terms => [terms, terms - 1],
            };
            meter.plain_multiplications.fetch_add(products, Ordering::Relaxed);
            meter.additions.fetch_add(sums, Ordering::Relaxed);
            ClearCiphertext { slots: row.iter().copied().map(Some).collect() }
        });
        let outputs = outputs.collect();
        meter
            .widest
            .fetch_max(u64::from(u128::BITS + 1 - widest.leading_zeros()), Ordering::Relaxed);
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::linear::{Tap, Taps};
    use crate::slots::{AdditiveHE, matvec_by_terms};
    use proptest::prelude::*;

    proptest! {
        /// With overflows and inputs of several lengths, which have no fast way.
        #[test]
        fn a_product_is_that_of_its_terms(
            bits in 2u32..127, lengths in prop::collection::vec(0u32..3, 1..5), even: bool,
            seed in any::<[i128; 8]>(),
        ) {
            let draw = |i: u32| seed[i as usize % 8].rotate_left(11 * i) >> (127 - bits);
            let sources = u32::try_from(lengths.len()).unwrap();
            let tap = |i| Tap { source: i % sources, weight: i };
            let taps = [vec![], (0..sources).map(tap).collect(), vec![tap(5), tap(1), tap(3)]];
            let entries = (0..sources.max(6)).map(|i| draw(i) >> (bits / 2)).collect();
            let matrix = Matrix { taps: Taps::from_rows(taps), entries };
            let input = |(i, &length): (u32, &u32)| ClearCiphertext {
                slots: (0..if even { 2 } else { length }).map(|j| Some(draw(7 + 3 * i + j))).collect(),
            };
            let inputs: Vec<_> = (0..).zip(&lengths).map(input).collect();
            let [fast, plain] = [(); 2].map(|()| ClearKey::new(2048).unwrap());
            prop_assert_eq!(
                Clear::matvec(&fast, &matrix, &inputs).unwrap(),
                matvec_by_terms::<Clear>(&plain, &matrix, &inputs).unwrap(),
            );
            prop_assert_eq!(fast.meter().take(), plain.meter().take());
        }
    }
}
