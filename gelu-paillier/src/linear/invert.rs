//! The inverses of many units for the price of one, and three products each.
//!
//! Montgomery's trick as a tree: the inverse of a·b, times b, is the inverse of a. Products go up
//! the tree level by level, one inverse is taken at the root, and inverses come down.

use crypto_bigint::{BoxedUint, Resize};
use num_bigint_dig::{BigUint, ModInverse};

use super::products::multiply;
use crate::elements::Elements;
use crate::kernel::Line;
use crate::ring::{Digits, Ring};

/// Inverts units. In variable time.
///
/// # Panics
/// When one of them is no unit. Ciphertexts are units: made from units or validated.
pub(super) fn invert_all(ring: &Ring, units: &[&[Line]]) -> Elements {
    match units {
        [] => return ring.empty(),
        [unit] => return invert_one(ring, unit),
        _ => {}
    }
    let (pairs, single) = units.as_chunks::<2>();
    let (a, b): (Vec<_>, Vec<_>) = pairs.iter().map(|&[a, b]| (a, b)).unzip();
    let mut products = multiply(ring, &a, &b);
    single.iter().for_each(|unit| products.push(unit));
    let inverses = invert_all(ring, &products.refs());

    let siblings: Vec<&[Line]> = pairs.iter().flat_map(|&[a, b]| [b, a]).collect();
    let of_pairs: Vec<&[Line]> = (0..siblings.len()).map(|i| inverses.get(i / 2)).collect();
    let mut result = multiply(ring, &of_pairs, &siblings);
    single.iter().for_each(|_| result.push(inverses.get(pairs.len())));
    result
}

/// c⁻¹ from its inverse x modulo n: with c·x = 1 + t·n, it is x·(1 − t·n), as n² = 0.
///
/// `num_bigint_dig` inverts 2048 bits in 50 to 60 µs, `crypto-bigint` in 75 (fixed size) or 140,
/// `num-bigint` in 340.
fn invert_one(ring: &Ring, unit: &[Line]) -> Elements {
    let n = ring.modulus(0);
    let bits = n.bits_precision();
    let big = |x: &BoxedUint| BigUint::from_bytes_le(&x.to_le_bytes());
    let low = &ring.export(&[unit])[0].low;
    let inverse = big(low).mod_inverse(big(&n)).expect("ciphertexts are units");
    let (_, bytes) = inverse.to_bytes_le();
    let low = BoxedUint::from_le_slice(&bytes, bits).expect("less than n");
    let zero = BoxedUint::zero_with_precision(bits);
    let x = ring.import(&[Digits { low, high: zero.clone() }]);

    let product = ring.multiply(&[unit], &[x.get(0)]);
    let product = ring.export(&[product.get(0)]).remove(0);
    debug_assert_eq!(product.low, BoxedUint::one().resize_unchecked(bits));
    let high = if product.high == zero { zero } else { n.wrapping_sub(&product.high) };
    let correction = ring.import(&[Digits { low: product.low.clone(), high }]);
    ring.multiply(&[x.get(0)], &[correction.get(0)])
}
