//! Σ kᵢ·Pᵢ for short, public, signed kᵢ: Pippenger's buckets.
//!
//! Weights of a network have 8 to 20 bits. Multiplication by a scalar of the library takes 252
//! doublings whatever the scalar, and so do its sums of products; here the number of additions
//! follows the length of the longest weight. Each k is written in signed digits of c bits,
//! −2^(c−1) < d ≤ 2^(c−1); for each digit place, points with the same digit go into one bucket
//! (negated for −d), and the buckets are summed with their weights by a running sum:
//!
//! ```text
//! Σ d·B[d] = B[n] + (B[n] + B[n−1]) + … + (B[n] + … + B[1])
//!
//! additions = ⌈bits/c⌉ · (terms + 2·2^(c−1)) + bits        the best c is taken
//! ```
//!
//! 784 terms with weights of 8 bits take 1.3 additions a term (c = 8), 25 terms 4. The plain twin,
//! `mul_plain` and `add`, stands in a test beside it.
//!
//! Everything here is *vartime*: it branches on the weights, never on the points.

use curve25519_dalek::RistrettoPoint;

/// The two points of a ciphertext.
pub(crate) type Pair = (RistrettoPoint, RistrettoPoint);

/// Wider digits never pay: a layer would need thousands of inputs with wide weights.
const WIDEST: u32 = 12;

/// Σ kᵢ·Pᵢ, on both points of each term; `None` if that is an empty or trivial sum.
pub(crate) fn sum_vartime(terms: &[(i128, &Pair)]) -> Option<Pair> {
    let width = terms.iter().map(|(k, _)| 128 - k.unsigned_abs().leading_zeros()).max()?;
    let digit_bits = best_digit(terms.len(), width);
    let digits: Vec<Vec<i32>> = terms.iter().map(|(k, _)| signed_digits(*k, digit_bits)).collect();
    let places = digits.iter().map(Vec::len).max()?;
    let mut total: Option<Pair> = None;
    let mut buckets: Vec<Option<Pair>> = vec![None; 1 << (digit_bits - 1)];
    for place in (0..places).rev() {
        for _ in 0..digit_bits {
            total = total.map(|p| add(&p, &p));
        }
        for ((_, point), digits) in terms.iter().zip(&digits) {
            let digit = digits.get(place).copied().unwrap_or(0);
            if digit != 0 {
                let bucket = &mut buckets[digit.unsigned_abs() as usize - 1];
                accumulate(bucket, point, digit < 0);
            }
        }
        let (mut running, mut sum) = (None, total);
        for bucket in buckets.iter_mut().rev() {
            if let Some(points) = bucket.take() {
                accumulate(&mut running, &points, false);
            }
            if let Some(running) = &running {
                accumulate(&mut sum, running, false);
            }
        }
        total = sum;
    }
    total
}

/// Additions of a sum of `terms` products with factors of `bits` bits.
pub(crate) fn additions(terms: usize, bits: u32) -> u64 {
    (1..=WIDEST).map(|c| additions_with(terms, bits, c)).min().unwrap_or(0)
}

fn best_digit(terms: usize, bits: u32) -> u32 {
    (1..=WIDEST).min_by_key(|c| additions_with(terms, bits, *c)).unwrap_or(1)
}

fn additions_with(terms: usize, bits: u32, digit_bits: u32) -> u64 {
    let places = u64::from(bits.div_ceil(digit_bits));
    places * (terms as u64 + (1 << digit_bits)) + u64::from(bits)
}

/// k in base 2^c, lowest digit first, digits in (−2^(c−1), 2^(c−1)].
fn signed_digits(k: i128, digit_bits: u32) -> Vec<i32> {
    let base = 1i32 << digit_bits;
    let (mut rest, mut carry, mut digits) = (k.unsigned_abs(), 0, Vec::new());
    while rest != 0 || carry != 0 {
        let low = i32::try_from(rest & (base.unsigned_abs() - 1) as u128).expect("few bits");
        let digit = low + carry;
        carry = i32::from(digit > base / 2);
        let digit = digit - carry * base;
        digits.push(if k < 0 { -digit } else { digit });
        rest >>= digit_bits;
    }
    digits
}

pub(crate) fn add(a: &Pair, b: &Pair) -> Pair {
    (a.0 + b.0, a.1 + b.1)
}

fn accumulate(sum: &mut Option<Pair>, term: &Pair, negated: bool) {
    *sum = Some(match (&*sum, negated) {
        (None, false) => *term,
        (None, true) => (-term.0, -term.1),
        (Some(sum), false) => add(sum, term),
        (Some(sum), true) => (sum.0 - term.0, sum.1 - term.1),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baby_steps::scalar;
    use crate::keys::identity;
    use crate::oracle::rng;
    use proptest::prelude::*;

    /// Σ kᵢ·Pᵢ by the library, one full-length product a term.
    fn plain(terms: &[(i128, &Pair)]) -> Pair {
        let zero = (identity(), identity());
        terms.iter().fold(zero, |sum, (k, p)| add(&sum, &(p.0 * scalar(*k), p.1 * scalar(*k))))
    }

    fn points(count: usize) -> Vec<Pair> {
        let rng = &mut rng(count as u64);
        (0..count).map(|_| (RistrettoPoint::random(rng), RistrettoPoint::random(rng))).collect()
    }

    fn check(weights: &[i128]) {
        let points = points(weights.len());
        let terms: Vec<_> = weights.iter().copied().zip(&points).collect();
        let got = sum_vartime(&terms).unwrap_or((identity(), identity()));
        assert_eq!(got, plain(&terms), "{weights:?}");
    }

    #[test]
    fn edges() {
        check(&[]);
        for k in [0, 1, -1, 2, -2, 3, 127, 128, -128, 255, 256, i128::MAX, -i128::MAX, i128::MIN] {
            check(&[k]);
            check(&[k, 0, -1]);
            check(&[k, -k.saturating_add(1), k, k]);
        }
    }

    #[test]
    fn every_digit_width_says_the_same_number() {
        for c in 1..=WIDEST {
            for k in [0, 1, -1, 77, -12345, i128::MAX, i128::MIN] {
                let digits = signed_digits(k, c);
                let half = 1 << (c - 1);
                assert!(digits.iter().all(|d| d.abs() <= half), "c = {c}: {digits:?}");
                let value = digits
                    .iter()
                    .rev()
                    .fold(0i128, |v, d| v.wrapping_mul(1 << c).wrapping_add(i128::from(*d)));
                assert_eq!(value, k);
            }
        }
    }

    #[test]
    fn short_weights_are_cheap() {
        assert!(additions(784, 8) < 784 * 4 / 3 + 10);
        assert!(additions(25, 8) < 25 * 5);
        assert!(additions(1, 16) < 16 * 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn random_weights(weights in prop::collection::vec(-(1i128 << 20)..1 << 20, 1..40)) {
            check(&weights);
        }

        #[test]
        fn weights_of_a_byte(weights in prop::collection::vec(-128i128..128, 200..300)) {
            check(&weights);
        }
    }
}
