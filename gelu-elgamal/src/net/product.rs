//! Algorithm 3: shares of M·N, where A knows M and B knows N.
//!
//! In the paper B looks up N in a table of M·i − R for all i that N could be. Shares modulo 2^44 do
//! not fit a table, so N is cut into digits of two bits, and a product is a sum of small look-ups:
//!
//! ```text
//! N = Σⱼ 4^j·Nⱼ        M·N = Σⱼ 4^j·(M·Nⱼ)        M·Nⱼ − Rⱼ from a table of 4, modulo 2^(44 − 2j)
//! ```
//!
//! modulo 2^(44 − 2j) because the factor 4^j takes the rest out of the ring. With 22 digits that is
//! 132 encryptions of a limb; digits of 1, 3 or 4 bits need 132, 184 or 272, and 1 bit twice as
//! many decryptions.
//!
//! *Why not homomorphic multiplication?* B could answer Enc(M) with Enc(M·N + R). But R must hide
//! M·N, A must find M·N + R as a discrete logarithm, and its search grows with R: masks of 40 bits
//! above products of shares are out of reach. Tables hide perfectly and need small logarithms only,
//! which is where exponential ElGamal is good.

use rand::rngs::ChaCha20Rng;

use super::lookup::Table;
use super::shares::{RING_BITS, Share};

/// Bits of a digit.
const DIGIT_BITS: u32 = 2;

/// Entries of a table.
pub(super) const ENTRIES: u64 = 1 << DIGIT_BITS;

/// Digits of a share.
pub(super) const DIGITS: u32 = RING_BITS / DIGIT_BITS;

/// Digits of a feature, which is small and not negative after [`FEATURE_OFFSET`] was added.
pub(super) const FEATURE_DIGITS: u32 = 4;

/// Makes features non-negative: abs(x) < 2^7.
pub(super) const FEATURE_OFFSET: i64 = 1 << 7;

/// Bits of the messages of one digit's table.
pub(super) fn width(digit: u32) -> u32 {
    RING_BITS - DIGIT_BITS * digit
}

/// A's tables for M and B's N of so many digits, and A's share of M·N.
pub(super) fn tables(m: Share, digits: u32, rng: &mut ChaCha20Rng) -> (Vec<Table>, Share) {
    let mut share = Share::default();
    let table = |digit| {
        let mask = Share::uniform(rng);
        share = share + mask.shifted(digit * DIGIT_BITS);
        let entry = |i| (m * Share::of_bits(i) - mask).bits() & ((1 << width(digit)) - 1);
        Table { bits: width(digit), entries: (0..ENTRIES).map(entry).collect() }
    };
    let tables = (0..digits).map(table).collect();
    (tables, share)
}

/// B's choices for N.
pub(super) fn choices(n: Share, digits: u32) -> impl Iterator<Item = usize> {
    (0..digits).map(move |digit| {
        usize::try_from(n.bits() >> (digit * DIGIT_BITS) & (ENTRIES - 1)).expect("a digit")
    })
}

/// B's share of M·N from the messages of its choices.
pub(super) fn share(messages: &[u64]) -> Share {
    (0..).zip(messages).map(|(digit, m)| Share::of_bits(*m).shifted(digit * DIGIT_BITS)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::rng;
    use proptest::prelude::*;

    proptest! {
        /// Without encryption: what the tables say is shares of the product.
        #[test]
        fn digits_make_the_product(m: u64, n: u64, seed: u64, small in 0u64..256) {
            let m = Share::of_bits(m);
            for (n, digits) in [(n, DIGITS), (small, FEATURE_DIGITS)] {
                let n = Share::of_bits(n);
                let (tables, ours) = tables(m, digits, &mut rng(seed));
                let messages: Vec<_> =
                    tables.iter().zip(choices(n, digits)).map(|(t, i)| t.entries[i]).collect();
                prop_assert_eq!(ours + share(&messages), m * n);
            }
        }
    }

    #[test]
    fn digits_cover_the_ring() {
        assert_eq!(DIGITS * DIGIT_BITS, RING_BITS);
        assert_eq!(1 << (FEATURE_DIGITS * DIGIT_BITS), 2 * FEATURE_OFFSET);
    }
}
