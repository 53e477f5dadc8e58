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
//! **Shares.** [`full_mask`] draws t over all of ℤ/n, and [`digits`] cuts (row + t) mod n and t apart. For |vⱼ| ≤ h, with
//! h = 2^(w−sigma−1), and t = s + Σⱼ h·2^(w·j), neither a slot nor the whole carries if
//!
//! ```text
//! digit j of s  <  2^w − 2h  for all j,       s + 2·Σⱼ h·2^(w·j)  <  n
//! ```
//! and then digit j of the sum is vⱼ + digit j of t. A uniform s < n breaks a condition of the first kind once in
//! 2^sigma, and the last one less than once in 2^sigma, as 2^L < n/2: so t is within (count + 1)·2^−sigma of uniform.
//!
//! Values are a client's data: encoding and decoding take the same time for all values of a shape.

use crypto_bigint::{BoxedUint, NonZero, RandomMod, Resize};
use gelu_core::slots::SIGMA;
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

/// An almost uniform t < n that no row of products carries: see the [module](self). Its time tells how many draws
/// were refused, and nothing of the one that was not.
pub(crate) fn full_mask(
    shape: SlotShape,
    n: &NonZero<BoxedUint>,
    rng: &mut dyn CryptoRng,
) -> Zeroizing<BoxedUint> {
    let halves = repeated(1 << (shape.bits - SIGMA - 1), shape, n);
    let below = NonZero::new(n.wrapping_sub(&halves).wrapping_sub(&halves));
    let below = below.expect("the shape leaves the key two bits");
    loop {
        let s = Zeroizing::new(BoxedUint::random_mod_vartime(rng, &below));
        if !carries(&s, shape) {
            return Zeroizing::new(s.wrapping_add(&halves));
        }
    }
}

/// Whether a digit is so large that a product of slots of this shape, raised by h, could carry.
fn carries(s: &BoxedUint, shape: SlotShape) -> bool {
    let words = words(s);
    let top = |j: usize| digit(&words, (j + 1) * shape.bits as usize - SIGMA as usize, SIGMA);
    (0..shape.count).any(|j| top(j) == (1 << SIGMA) - 1)
}

/// The digits of slots of the given shape in `m`, which is below n, modulo 2^64.
pub(crate) fn digits(m: &BoxedUint, shape: SlotShape) -> Zeroizing<Vec<u64>> {
    let words = words(m);
    let digit = |j: usize| low_word(digit(&words, j * shape.bits as usize, shape.bits));
    Zeroizing::new((0..shape.count).map(digit).collect())
}

/// B: half a slot's range in every slot.
fn bias(shape: SlotShape, n: &NonZero<BoxedUint>) -> BoxedUint {
    repeated(1 << (shape.bits - 1), shape, n)
}

/// The same digit in every slot.
fn repeated(digit: u128, shape: SlotShape, n: &NonZero<BoxedUint>) -> BoxedUint {
    join(core::iter::repeat_n(digit, shape.count), shape.bits, n.bits_precision())
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

    proptest! {
        #[test]
        fn digits_under_a_full_mask_are_sums(
            bits in SIGMA + 2..=127, kinds in prop::collection::vec(0usize..5, 12), seed in any::<u64>(),
        ) {
            let h = 1i128 << (bits - SIGMA - 1);
            let values = kinds.iter().take((capacity(512) / bits) as usize);
            let values: Vec<_> = values.map(|&kind| [0, h, -h, h / 3, -1][kind]).collect();
            let row = Plaintext::new(bits, values).unwrap();
            let n = modulus();
            let t = full_mask(row.shape(), &n, &mut rng(seed));
            let sums = digits(&encode(&row, &n).add_mod(&t, &n), row.shape());
            let masks = digits(&t, row.shape());
            for ((sum, mask), v) in sums.iter().zip(&*masks).zip(row.values()) {
                prop_assert_eq!(sum.wrapping_sub(*mask), low_word(v.cast_unsigned()));
            }
        }
    }

    /// The largest digits that are drawn bear the largest products; one more, and a slot would carry.
    #[test]
    fn only_masks_that_could_carry_are_refused() {
        let (n, shape) = (modulus(), SlotShape { bits: 60, count: 8 });
        let h = 1i128 << (60 - SIGMA - 1);
        let largest = (1u128 << 60) - 2 * h.unsigned_abs() - 1;
        for (digit_of_s, exact) in [(0, true), (largest, true), (largest + 1, false)] {
            let s = repeated(digit_of_s, shape, &n);
            assert_eq!(carries(&s, shape), !exact);
            let t = s.wrapping_add(repeated(h.unsigned_abs(), shape, &n));
            for v in [h, -h] {
                let row = Plaintext::new(60, vec![v; 8]).unwrap();
                let sums = digits(&encode(&row, &n).add_mod(&t, &n), shape);
                let wanted = low_word(digit_of_s.wrapping_add_signed(h + v));
                assert_eq!(sums[1..].iter().all(|&sum| sum == wanted), exact || v < 0);
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
