//! Negative planes become positive ones.
//!
//! An output's negative planes are joined to one number, from the lowest of them that it has; that
//! is inverted, all outputs' together; and it is multiplied into the positive plane as low.

use super::horner::{self, Chain};
use super::invert::invert_all;
use super::products::multiply;
use super::sums::Sums;
use crate::kernel::Line;
use crate::ring::Ring;

/// Multiplies the inverse of each output's negative planes into its positive ones.
pub(super) fn fold(ring: &Ring, sums: &mut Sums, outputs: usize) {
    let slots = sums.slots();
    let mut chains: Vec<Chain<'_>> = Vec::new();
    let mut targets = Vec::new();
    for output in 0..outputs {
        let negative = |plane| sums.get(slots.negative(output, plane)).map(|sum| (plane, sum));
        let mut chain: Chain<'_> =
            (slots.lowest..slots.planes).rev().filter_map(negative).collect();
        if let Some(&(lowest, _)) = chain.last() {
            chain.iter_mut().for_each(|factor| factor.0 -= lowest);
            chains.push(chain);
            targets.push(slots.positive(output, lowest));
        }
    }
    let joined = horner::evaluate(ring, chains);
    let inverses = invert_all(ring, &joined.refs());

    let (mut slot, mut a, mut b) = (Vec::new(), Vec::new(), Vec::<&[Line]>::new());
    let mut alone = Vec::new();
    for (&target, inverse) in targets.iter().zip(inverses.iter()) {
        match sums.get(target) {
            Some(positive) => {
                slot.push(target);
                a.push(positive);
                b.push(inverse);
            }
            None => alone.push((target, inverse)),
        }
    }
    let products = multiply(ring, &a, &b);
    slot.into_iter().zip(products.iter()).chain(alone).for_each(|(slot, sum)| sums.set(slot, sum));
}
