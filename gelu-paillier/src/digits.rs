//! Slots: a row of signed integers as one integer modulo n.
//!
//! ```text
//! encode(v₀, v₁, …)  =  Σⱼ vⱼ·2^(w·j)                        mod n
//! decode(m)ⱼ         =  digit j of (m + B mod n) − 2^(w−1)    where B = Σⱼ 2^(w−1)·2^(w·j)
//! ```
//!
//! A negative slot borrows from the slots above. Adding the bias B to the *sum* turns every slot
//! into a non-negative digit v + 2^(w−1) < 2^w, so all borrows disappear and the digits can be cut
//! apart. Rows add and scale like plain integers, so no operation needs to know about slots.
//!
//! **Bound.** Let L = w·count ≤ bits − 2, so 2^L < n/2. For |vⱼ| < 2^(w−1) the biased row lies in
//! (0, 2^L). It stays decodable under any mask ρ·2^L with 0 ≤ ρ < ⌊n/2^L⌋, for then
//!
//! ```text
//! 0  <  row + B + ρ·2^L  <  2^L + (⌊n/2^L⌋ − 1)·2^L  ≤  n
//! ```
//!
//! and the low L bits are the biased row. [`mask`] draws ρ from all of this range.
//!
//! Values are a client's data: encoding and decoding take the same time for all values of a shape.

use crypto_bigint::{BoxedUint, NonZero, RandomMod, Resize};
use gelu_core::{Plaintext, SlotShape};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Bits that the slots of a key of `key_bits` bits may fill: one for n < 2^bits, one for the mask.
pub(crate) fn capacity(key_bits: u32) -> u32 {
    key_bits - 2
}

/// The row as an integer in [0, n).
///
/// `plaintext` must fit [`capacity`].
pub(crate) fn encode(plaintext: &Plaintext, n: &NonZero<BoxedUint>) -> Zeroizing<BoxedUint> {
    let shape = plaintext.shape();
    let half = 1i128 << (shape.bits - 1);
    let digits = plaintext.values().iter().map(|v| (v + half).unsigned_abs());
    let biased = Zeroizing::new(join(digits, shape.bits, n.bits_precision()));
    Zeroizing::new(biased.sub_mod(&bias(shape, n), n))
}

/// The values of slots of the given shape in `m`, which is below n.
pub(crate) fn decode(m: &BoxedUint, shape: SlotShape, n: &NonZero<BoxedUint>) -> Vec<i128> {
    let biased = Zeroizing::new(m.add_mod(&bias(shape, n), n));
    let words = words(&biased);
    let half = 1u128 << (shape.bits - 1);
    (0..shape.count)
        .map(|j| {
            let digit = digit(&words, j * shape.bits as usize, shape.bits);
            digit.wrapping_sub(half).cast_signed()
        })
        .collect()
}

/// A uniform multiple of 2^`shape.total_bits()`, as large as n allows: see the [module](self).
pub(crate) fn mask(
    shape: SlotShape,
    n: &NonZero<BoxedUint>,
    rng: &mut dyn CryptoRng,
) -> Zeroizing<BoxedUint> {
    let shift = u32::try_from(shape.total_bits()).expect("at most the key's bits");
    let room = NonZero::new(n.shr(shift)).expect("the shape leaves the key two bits");
    let rho = Zeroizing::new(BoxedUint::random_mod_vartime(rng, &room));
    let rho = Zeroizing::new((&*rho).resize_unchecked(n.bits_precision()));
    Zeroizing::new(rho.shl(shift))
}

/// B: half a slot's range in every slot.
fn bias(shape: SlotShape, n: &NonZero<BoxedUint>) -> BoxedUint {
    let halves = core::iter::repeat_n(1u128 << (shape.bits - 1), shape.count);
    join(halves, shape.bits, n.bits_precision())
}

/// Σ digitⱼ·2^(width·j), for digits below 2^width.
fn join(digits: impl Iterator<Item = u128>, width: u32, precision: u32) -> BoxedUint {
    let mut words = Zeroizing::new(vec![0u64; precision.div_ceil(64) as usize]);
    for (j, digit) in digits.enumerate() {
        let at = j * width as usize;
        let (low, high) = shift_left(digit, at % 64);
        for (word, part) in words[at / 64..].iter_mut().zip([low_word(low), high_word(low), high]) {
            *word |= part;
        }
    }
    let bytes: Zeroizing<Vec<u8>> =
        Zeroizing::new(words.iter().flat_map(|word| word.to_le_bytes()).collect());
    BoxedUint::from_le_slice(&bytes, precision).expect("as many words as the precision has")
}

/// The digit of `width` bits at bit `at`.
fn digit(words: &[u64], at: usize, width: u32) -> u128 {
    let word = |i: usize| u128::from(words.get(at / 64 + i).copied().unwrap_or(0));
    let low = word(0) | word(1) << 64;
    let digit = match at % 64 {
        0 => low,
        shift => low >> shift | word(2) << (128 - shift),
    };
    digit & (u128::MAX >> (128 - width))
}

fn words(x: &BoxedUint) -> Zeroizing<Vec<u64>> {
    let bytes = Zeroizing::new(x.to_le_bytes());
    let chunks = bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes")));
    Zeroizing::new(chunks.collect())
}

/// `x`·2^`by` as (low 128 bits, next 64 bits), for `by` < 64.
fn shift_left(x: u128, by: usize) -> (u128, u64) {
    (x << by, if by == 0 { 0 } else { high_word(x) >> (64 - by) })
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is what is asked for")]
fn low_word(x: u128) -> u64 {
    x as u64
}

fn high_word(x: u128) -> u64 {
    low_word(x >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{big, boxed, rng};
    use num_bigint_dig::{BigInt, BigUint};
    use proptest::prelude::*;

    fn modulus() -> NonZero<BoxedUint> {
        // The smallest and so the tightest modulus of 512 bits with our shape: 2^511 + 1.
        NonZero::new(boxed(&((BigUint::from(1u8) << 511) + 1u8), 512)).into_option().unwrap()
    }

    fn oracle(plaintext: &Plaintext, n: &BigUint) -> BigUint {
        let n = BigInt::from(n.clone());
        let bits = plaintext.shape().bits as usize;
        let row = plaintext.values().iter().enumerate();
        let sum: BigInt = row.map(|(j, &v)| BigInt::from(v) << (bits * j)).sum();
        (((sum % &n) + &n) % &n).to_biguint().unwrap()
    }

    fn row() -> impl Strategy<Value = Plaintext> {
        (1u32..=127).prop_flat_map(|bits| {
            let bound = (1i128 << (bits - 1)) - 1;
            let value = prop_oneof![Just(0), Just(bound), Just(-bound), -bound..=bound];
            let slots = (capacity(512) / bits) as usize;
            prop::collection::vec(value, 1..=slots)
                .prop_map(move |values| Plaintext::new(bits, values).unwrap())
        })
    }

    proptest! {
        #[test]
        fn encoding_is_the_signed_sum_and_decodes_under_masks(row in row(), seed in any::<u64>()) {
            let n = modulus();
            let m = encode(&row, &n);
            prop_assert_eq!(big(&m), oracle(&row, &big(&n)));
            prop_assert_eq!(decode(&m, row.shape(), &n), row.values());
            let masked = m.add_mod(&mask(row.shape(), &n, &mut rng(seed)), &n);
            prop_assert_eq!(decode(&masked, row.shape(), &n), row.values());
        }
    }

    #[test]
    fn full_rows_at_their_bounds_decode_under_the_largest_mask() {
        let n = modulus();
        for bits in [1, 2, 63, 64, 65, 102, 127] {
            let bound = (1i128 << (bits - 1)) - 1;
            let count = (capacity(512) / bits) as usize;
            let shape = SlotShape { bits, count };
            let largest = (big(&n) >> shape.total_bits()) - 1u8;
            let largest = boxed(&(largest << shape.total_bits()), 512);
            for value in [bound, -bound, 0] {
                let row = Plaintext::new(bits, vec![value; count]).unwrap();
                let masked = encode(&row, &n).add_mod(&largest, &n);
                assert_eq!(decode(&masked, shape, &n), row.values(), "{bits} bits of {value}");
            }
        }
    }

    #[test]
    fn masks_are_multiples_and_fill_their_range() {
        let n = modulus();
        let shape = SlotShape { bits: 127, count: 4 };
        let mut seen = [false; 8];
        for seed in 0..200 {
            let mask = big(&mask(shape, &n, &mut rng(seed)));
            let rho = &mask >> 508;
            assert_eq!(&rho << 508, mask);
            seen[rho.to_bytes_be()[0] as usize] = true;
        }
        assert_eq!(seen, [true; 8]);
    }
}
