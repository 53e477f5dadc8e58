//! Polynomials over ℤ modulo 2^128 and X^N + 1, as far as a public key needs them.
//!
//! A public matrix A of k × k polynomials is multiplied by rows of *binary* polynomials, exactly.
//! Each coefficient of A is four digits of 32 bits, and with digits the whole product fits a prime
//! p < 2^50 without wrapping, so it is computed by tfhe's number theoretic transform modulo p:
//!
//! ```text
//! A·r = Σ_d 2^(32d) · A_d·r        |(A_d·r)ₜ| ≤ n·(2^32 − 1) < 2^44.4 < p/2
//! ```
//!
//! The transforms of the digits are kept (800 KiB a key). A product takes k transforms forward and
//! 4k back; tfhe's transforms have no branches on data. The plain twin is tfhe's product of
//! polynomials.

use std::sync::LazyLock;

use tfhe_ntt::prime64::Plan;
use zeroize::Zeroizing;

use super::parameters::{DIMENSION, POLYNOMIAL_SIZE as N, RANK};
use super::sample::Sampler;

/// 2^50 − 2^14 + 1: 1 modulo 2N, so that there are roots of unity.
const PRIME: u64 = (1 << 50) - (1 << 14) + 1;
/// Digits of a coefficient.
const DIGITS: usize = 4;
const DIGIT_BITS: usize = 32;

static PLAN: LazyLock<Plan> =
    LazyLock::new(|| Plan::try_new(N, PRIME).expect("a prime with roots of unity"));

/// Which way a [`Matrix`] is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A·r.
    Rows,
    /// Aᵀ·r.
    Columns,
}

/// A uniform k × k matrix of polynomials, as the transforms of its coefficients' digits.
pub(crate) struct Matrix(Vec<u64>);

impl Matrix {
    /// The matrix that a seed stands for: the ChaCha20 stream under it, 16 bytes a coefficient, row
    /// by row. Nobody chooses a matrix; whoever chooses seeds can do no more than try many.
    pub(crate) fn expand(seed: [u8; 32]) -> Self {
        let coefficients = coefficients(seed);
        let mut digits = vec![0; RANK * RANK * DIGITS * N];
        let polynomials = coefficients.chunks_exact(N);
        for (polynomial, digits) in polynomials.zip(digits.chunks_exact_mut(DIGITS * N)) {
            for (d, digit) in digits.chunks_exact_mut(N).enumerate() {
                for (digit, coefficient) in digit.iter_mut().zip(polynomial) {
                    *digit = low_digit(coefficient >> (DIGIT_BITS * d));
                }
                PLAN.fwd(digit);
                // The inverse transform wants a division by N; here it costs nothing.
                PLAN.normalize(digit);
            }
        }
        Self(digits)
    }

    fn digit(&self, row: usize, column: usize, d: usize) -> &[u64] {
        let start = ((row * RANK + column) * DIGITS + d) * N;
        &self.0[start..start + N]
    }

    /// The k polynomials A·r or Aᵀ·r, one after the other, for k binary polynomials r.
    pub(crate) fn times(&self, side: Side, binary: &[u128]) -> Vec<u128> {
        let mut transformed = Zeroizing::new(vec![0; DIMENSION]);
        for (to, &from) in transformed.iter_mut().zip(binary) {
            debug_assert!(from <= 1, "the bound on the product counts on it");
            *to = low_digit(from);
        }
        transformed.chunks_exact_mut(N).for_each(|polynomial| PLAN.fwd(polynomial));
        let mut product = vec![0u128; DIMENSION];
        let mut sum = Zeroizing::new(vec![0; N]);
        for (at, product) in product.chunks_exact_mut(N).enumerate() {
            for d in 0..DIGITS {
                sum.fill(0);
                for (i, factor) in transformed.chunks_exact(N).enumerate() {
                    let digit = match side {
                        Side::Rows => self.digit(at, i, d),
                        Side::Columns => self.digit(i, at, d),
                    };
                    PLAN.mul_accumulate(&mut sum, digit, factor);
                }
                PLAN.inv(&mut sum);
                for (to, &from) in product.iter_mut().zip(sum.iter()) {
                    *to = to.wrapping_add(centred(from) << (DIGIT_BITS * d));
                }
            }
        }
        product
    }
}

/// The coefficients of A, row by row, polynomial by polynomial.
fn coefficients(seed: [u8; 32]) -> Vec<u128> {
    let mut words = vec![0; RANK * RANK * N];
    Sampler::new(seed).uniform(&mut words);
    words
}

fn low_digit(coefficient: u128) -> u64 {
    u64::try_from(coefficient & ((1 << DIGIT_BITS) - 1)).expect("32 bits")
}

/// The residue of least magnitude modulo p, modulo 2^128. Without a branch.
fn centred(residue: u64) -> u128 {
    let negative = u128::from(residue > PRIME / 2);
    u128::from(residue).wrapping_sub(negative.wrapping_mul(u128::from(PRIME)))
}

/// The words c with ⟨c, s⟩ = (p·s)₀, the constant coefficient of the product of rows of polynomials,
/// for every s: what tfhe calls sample extraction.
///
/// ```text
/// (p·s)₀ = p₀·s₀ − Σ_{t ≥ 1} p_{N−t}·sₜ
/// ```
pub(crate) fn constant_coefficient(polynomials: &[u128]) -> Vec<u128> {
    let of_one = |p: &[u128]| {
        let rest: Vec<_> = p[1..].iter().rev().map(|c| c.wrapping_neg()).collect();
        core::iter::once(p[0]).chain(rest)
    };
    polynomials.chunks_exact(N).flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfhe::core_crypto::algorithms::polynomial_algorithms::polynomial_wrapping_add_mul_assign;
    use tfhe::core_crypto::prelude::*;

    /// Everywhere at once: random binary polynomials, all ones, one coefficient.
    fn factors() -> Vec<Vec<u128>> {
        let mut random = vec![0; DIMENSION];
        Sampler::new([3; 32]).binary(&mut random);
        let mut one = vec![0; DIMENSION];
        one[DIMENSION - 1] = 1;
        vec![random, vec![1; DIMENSION], one, vec![0; DIMENSION]]
    }

    #[test]
    fn products_are_those_of_tfhe() {
        for seed in [[0; 32], [9; 32]] {
            let (matrix, plain) = (Matrix::expand(seed), coefficients(seed));
            for r in factors() {
                for side in [Side::Rows, Side::Columns] {
                    let mut expected = vec![0; DIMENSION];
                    for (at, expected) in expected.chunks_exact_mut(N).enumerate() {
                        let mut sum = Polynomial::from_container(expected);
                        for i in 0..RANK {
                            let (row, column) = if side == Side::Rows { (at, i) } else { (i, at) };
                            let entry = (row * RANK + column) * N;
                            polynomial_wrapping_add_mul_assign(
                                &mut sum,
                                &Polynomial::from_container(&plain[entry..entry + N]),
                                &Polynomial::from_container(&r[i * N..(i + 1) * N]),
                            );
                        }
                    }
                    assert_eq!(matrix.times(side, &r), expected, "{side:?}");
                }
            }
        }
    }

    /// The widest product that the bound in the module's documentation allows.
    #[test]
    fn the_widest_product_does_not_wrap() {
        let mut all = Matrix::expand([0; 32]);
        for digit in all.0.chunks_exact_mut(N) {
            digit.fill((1 << DIGIT_BITS) - 1);
            PLAN.fwd(digit);
            PLAN.normalize(digit);
        }
        let product = all.times(Side::Rows, &vec![1; DIMENSION]);
        // (Σ X^t)·(Σ X^t) has 2t + 2 − N at X^t, and each coefficient of the matrix is −1.
        for (t, c) in product[..N].iter().enumerate() {
            let count = (RANK * (2 * t + 2)) as u128;
            assert_eq!(c.wrapping_neg(), count.wrapping_sub((RANK * N) as u128));
        }
    }

    #[test]
    fn extraction_is_that_of_tfhe() {
        let polynomials = &coefficients([1; 32])[..DIMENSION];
        let glwe = GlweCiphertext::from_container(
            [polynomials, &[0; N]].concat(),
            PolynomialSize(N),
            CiphertextModulus::new_native(),
        );
        let size = LweDimension(DIMENSION).to_lwe_size();
        let mut lwe = LweCiphertext::new(0u128, size, CiphertextModulus::new_native());
        extract_lwe_sample_from_glwe_ciphertext(&glwe, &mut lwe, MonomialDegree(0));
        assert_eq!(constant_coefficient(polynomials), lwe.get_mask().as_ref());
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(coefficients([1; 32]), coefficients([1; 32]));
        assert_ne!(coefficients([1; 32]), coefficients([2; 32]));
    }
}
