//! Whether a word is a prime.

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
}
