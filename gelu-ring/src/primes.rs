//! Primes q ≡ 1 mod 2N, modulo which there are primitive roots of unity of order 2N.

use crate::modulus::Modulus;

/// The primes q ≡ 1 mod 2·`degree` below 2^`bits`, largest first, down to 2^12.
///
/// The same for everyone: parameters can be said as a number of bits and a count. Near 2^`bits`, few
/// draws of a [uniform](crate::sample::uniform) residue are rejected.
///
/// # Panics
/// Unless `degree` is a power of two below 2^50, and `bits` at most 50.
pub fn descending(bits: u32, degree: usize) -> impl Iterator<Item = Modulus> {
    assert!(degree.is_power_of_two() && bits <= crate::modulus::MAX_BITS);
    let step = 2 * degree as u64;
    let top = ((1u64 << bits) - 2) / step;
    (1..=top).rev().filter_map(move |k| Modulus::new(k * step + 1).ok())
}

/// A root of unity of order exactly 2·`degree`, where q ≡ 1 mod 2·`degree`: x^((q − 1) / 2N) for the
/// smallest x ≥ 2 that gives one.
pub(crate) fn root_of_unity(q: Modulus, degree: usize) -> u64 {
    let degree = degree as u64;
    let mut candidates = (2..q.value()).map(|x| q.pow(x, (q.value() - 1) / (2 * degree)));
    let minus_one = q.value() - 1;
    // Its power N is −1, so its order divides 2N and not N.
    candidates.find(|&root| q.pow(root, degree) == minus_one).expect("a field has them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_same_for_everyone() {
        let values = |bits, degree, count| -> Vec<u64> {
            descending(bits, degree).take(count).map(Modulus::value).collect()
        };
        assert_eq!(values(36, 4096, 3), [68_719_403_009, 68_719_230_977, 68_719_206_401]);
        assert_eq!(values(50, 1 << 16, 1), [1_125_899_903_827_969]);
        assert!(descending(13, 4096).next().is_none());
    }

    #[test]
    fn roots_have_their_order() {
        for degree in [1 << 11, 1 << 16] {
            for q in descending(40, degree).take(3) {
                let root = root_of_unity(q, degree);
                assert_eq!(q.pow(root, degree as u64), q.value() - 1);
            }
        }
    }
}
