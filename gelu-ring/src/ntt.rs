//! The negacyclic number-theoretic transform: its law, its order, its roots.
//!
//! Modulo a prime q ≡ 1 mod 2N there is a ψ with ψ^N = −1, and X^N + 1 falls apart into the factors
//! X − ψ^e for the odd e below 2N. So a polynomial modulo X^N + 1 is known by its values at the N points
//! ψ^e, and a product of polynomials by the products of their values:
//!
//! ```text
//! forward(a)[k]  =  a(ψ^exponent(k))  =  Σ_j a_j · ψ^(exponent(k)·j)     mod q
//!
//! inverse(forward(a))  =  a
//! forward(a·b mod X^N + 1)[k]  =  forward(a)[k] · forward(b)[k]
//! ```
//!
//! Stage s of log₂ N splits each polynomial modulo X^2h − ψ^(2e) into those modulo X^h − ψ^e and
//! X^h + ψ^e, where 2h = N / 2^s: Cooley and Tukey's butterflies (x, y) → (x + w·y, x − w·y) going
//! forward, Gentleman and Sande's (x, y) → (x + y, (x − y)/w) coming back, with the roots in
//! bit-reversed order (Longa and Naehrig, *Speeding up the number theoretic transform for faster ideal
//! lattice-based cryptography*, CANS 2016).

use crate::modulus::Modulus;
use crate::primes::root_of_unity;

/// The exponent of ψ at which evaluation `k` of a transform of N = `degree` values is taken.
///
/// That is 2·r + 1 for r the log₂ N bits of an index i in reverse, where k and i differ within spans of
/// sixteen: the bits i₃i₂i₁i₀ stand at place i₀i₂i₃i₁. Butterflies leave the order of i, and a vector
/// kernel that of k, when its last stages run in registers. A map a(X) → a(X^g) multiplies the
/// exponents by g, so it moves whole spans, with one permutation in each.
///
/// # Panics
/// Unless `degree` is a power of two ≥ 16 and `k` is below it.
#[must_use]
pub fn exponent(k: usize, degree: usize) -> usize {
    assert!(degree.is_power_of_two() && degree >= SPAN && k < degree);
    let i = k / SPAN * SPAN + SPAN_ORDER[k % SPAN];
    2 * bit_reversed(i, degree) + 1
}

/// Evaluations whose order differs from the bit-reversed one.
pub(crate) const SPAN: usize = 16;

/// The index, in bit-reversed order, of the evaluation at each place of a span.
pub(crate) const SPAN_ORDER: [usize; SPAN] = [0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15];

/// The powers of ψ, and of 1/ψ, with bit-reversed exponents: number groups + i is for group i of the stage
/// with that many groups.
pub(crate) fn roots(q: Modulus, degree: usize) -> (Vec<u64>, Vec<u64>) {
    let root = root_of_unity(q, degree);
    let powers = |root: u64| {
        let mut table = vec![0; degree];
        let mut power = 1;
        for exponent in 0..degree {
            table[bit_reversed(exponent, degree)] = power;
            power = q.mul(power, root);
        }
        table
    };
    (powers(root), powers(q.inverse(root)))
}

/// The log₂ `degree` bits of i in reverse.
pub(crate) fn bit_reversed(i: usize, degree: usize) -> usize {
    i.reverse_bits() >> (usize::BITS - degree.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Choice, kernel};
    use crate::primes::descending;
    use crate::testing::{residues, schoolbook};
    use proptest::prelude::*;

    /// Widths of primes on both sides of every bound of a kernel.
    const BITS: [u32; 6] = [36, 45, 46, 47, 48, 50];

    fn settings() -> impl Strategy<Value = (Modulus, usize, Choice)> {
        (proptest::sample::select(&BITS[..]), 11..14u32, Choice::any()).prop_map(
            |(bits, log, choice)| (descending(bits, 1 << log).next().unwrap(), 1 << log, choice),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn evaluations_are_values_at_their_points((q, n, choice) in settings(), seed: u64, k: usize) {
            let (k, kernel) = (k % n, kernel(q, n, choice));
            let a = residues(q, n, seed);
            let mut row = a.clone();
            kernel.forward(&mut [&mut row]);
            let root = q.pow(root_of_unity(q, n), exponent(k, n) as u64);
            let horner = a.iter().rev().fold(0, |value, &c| q.add(q.mul(value, root), c));
            prop_assert_eq!(row[k], horner);
        }

        #[test]
        fn the_product_is_the_schoolbooks((q, n, choice) in settings(), seed: u64) {
            let kernel = kernel(q, n, choice);
            let (a, b) = (residues(q, n, seed), residues(q, n, !seed));
            let expected = schoolbook(q, &a, &b);
            let (mut a, mut b, mut product) = (a, b, vec![0; n]);
            kernel.forward(&mut [&mut a, &mut b]);
            kernel.multiply_accumulate(&mut product, &[(&a, &b)]);
            kernel.inverse(&mut [&mut product]);
            prop_assert_eq!(product, expected);
        }
    }

    #[test]
    fn all_kernels_agree_in_every_size_and_the_transforms_are_inverse() {
        for log in 11..=16 {
            let n = 1 << log;
            for bits in BITS {
                let q = descending(bits, n).next().unwrap();
                let [best, avx2, portable] = Choice::ALL.map(|choice| kernel(q, n, choice));
                let extremes = [vec![0; n], vec![q.value() - 1; n], residues(q, n, log)];
                // One row alone, and two together.
                let lists = [&extremes[..1], &extremes[1..], &extremes];
                for (rows, best) in
                    lists.into_iter().flat_map(|rows| [(rows, &best), (rows, &avx2)])
                {
                    let mut fast = rows.to_vec();
                    let mut plain = rows.to_vec();
                    let each = |rows: &mut [Vec<u64>], f: &dyn Fn(&mut [&mut [u64]])| {
                        f(&mut rows.iter_mut().map(|row| &mut row[..]).collect::<Vec<_>>());
                    };
                    each(&mut fast, &|rows| best.forward(rows));
                    each(&mut plain, &|rows| portable.forward(rows));
                    assert_eq!(fast, plain, "forward, 2^{log}, {bits} bits");
                    each(&mut fast, &|rows| best.inverse(rows));
                    each(&mut plain, &|rows| portable.inverse(rows));
                    assert_eq!(fast, rows, "inverse, 2^{log}, {bits} bits");
                    assert_eq!(plain, rows, "inverse of the twin, 2^{log}, {bits} bits");
                    // Any row is a row of evaluations.
                    each(&mut fast, &|rows| best.inverse(rows));
                    each(&mut plain, &|rows| portable.inverse(rows));
                    assert_eq!(fast, plain, "inverse, 2^{log}, {bits} bits");
                }
            }
        }
    }

    #[test]
    fn every_odd_exponent_is_there_once() {
        let mut all: Vec<_> = (0..2048).map(|k| exponent(k, 2048)).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((1..4096).step_by(2)));
    }
}
