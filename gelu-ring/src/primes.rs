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
    let candidates = (2..q.value()).map(|x| q.pow(x, (q.value() - 1) / (2 * degree)));
    let minus_one = q.value() - 1;
    // Its power N is −1, so its order divides 2N and not N.
    candidates.into_iter().find(|&root| q.pow(root, degree) == minus_one).expect("a field has them")
}

/// Whether n is a prime, for sure: Miller and Rabin's test to the first twelve primes as bases errs
/// for no n < 3.18·10^23 (Sorenson and Webster, *Strong pseudoprimes to twelve prime bases*, Math.
/// Comp. 86, 2017).
pub(crate) fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(divisor) = BASES.into_iter().find(|b| n.is_multiple_of(*b)) {
        return n == divisor;
    }
    let times = |a: u64, b: u64| u64::try_from(u128::from(a) * u128::from(b) % u128::from(n));
    let times = |a, b| times(a, b).expect("a residue");
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.into_iter().all(|base| {
        let mut power = (0..u64::BITS).rev().fold(1, |power, bit| {
            let square = times(power, power);
            if odd >> bit & 1 == 1 { times(square, base) } else { square }
        });
        if power == 1 {
            return true;
        }
        for _ in 1..twos {
            if power == n - 1 {
                break;
            }
            power = times(power, power);
        }
        power == n - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_agrees_with_trial_division() {
        let by_trial =
            |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        for n in (0..5000).chain((1 << 32) - 50..(1 << 32) + 50) {
            assert_eq!(is_prime(n), by_trial(n), "{n}");
        }
    }

    #[test]
    fn strong_pseudoprimes_are_found_out() {
        // To bases 2; 2 to 7; 2 to 17; 2 to 31 (OEIS A014233).
        for n in [2047, 3_215_031_751, 341_550_071_728_321, 3_825_123_056_546_413_051] {
            assert!(!is_prime(n));
        }
        for n in [(1 << 31) - 1, (1 << 61) - 1, u64::MAX - 58] {
            assert!(is_prime(n));
        }
    }

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
