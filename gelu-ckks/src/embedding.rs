//! The canonical embedding: a real polynomial's values at half of the roots of X^N + 1.
//!
//! With ζ = e^(πi/N) and n = N/2, slot j of a polynomial m is
//!
//! ```text
//! m(ζ^(5^j)),  j < n           m(X^5) has in slot j what m has in slot j + 1:  a rotation
//!                              m(X^-1) has the complex conjugates
//! ```
//! The n values determine m, as the values at the other n roots are their conjugates. Since ζ^(5^j·n) = i for all j, the
//! sum m_k + i·m_(k+n) is coefficient k < n of a polynomial over ℂ modulo Xⁿ − i, and its values at the n points come from
//! log₂ n stages of butterflies (Cheon, Kim, Kim and Song, *Homomorphic encryption for arithmetic of approximate numbers*,
//! ASIACRYPT 2017; the transform is that of their HEAAN).
//!
//! # Precision
//! In f64 with ε = 2^-53: each stage adds at most 4·ε of the largest magnitude, so with |slots| ≤ B,
//!
//! ```text
//! inverse: each coefficient is off by at most  4·log₂ n · ε · B
//! forward: each slot is off by at most         4·log₂ n · ε · Σ |coefficients|
//! ```
//! 2^-47·B for n = 2^13: far below the noise of an encryption for scales up to 2^45.

use num_complex::Complex64;

/// A complex number that can be wiped.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Complex(pub(crate) Complex64);

impl zeroize::DefaultIsZeroes for Complex {}

/// The transforms of n slots.
pub(crate) struct Embedding {
    /// Those of the stage with halves of h values begin at h.
    roots: Vec<Complex64>,
}

impl Embedding {
    /// For a power of two n.
    pub(crate) fn new(slots: usize) -> Self {
        let mut roots = vec![Complex64::ONE; slots.max(2)];
        let mut half = 1;
        while half < slots {
            // ζ^(5^j), of which the order is 8·half.
            let mut power = 1;
            for root in &mut roots[half..2 * half] {
                *root = unit(power, 8 * half);
                power = power * 5 % (8 * half);
            }
            half *= 2;
        }
        Self { roots }
    }

    /// Coefficients m_k + i·m_(k+n) to slots.
    pub(crate) fn forward(&self, values: &mut [Complex]) {
        bit_reverse(values);
        let mut half = 1;
        while half < values.len() {
            for block in values.chunks_exact_mut(2 * half) {
                let (left, right) = block.split_at_mut(half);
                for ((x, y), root) in left.iter_mut().zip(right).zip(&self.roots[half..]) {
                    let product = y.0 * root;
                    (x.0, y.0) = (x.0 + product, x.0 - product);
                }
            }
            half *= 2;
        }
    }

    /// Slots to coefficients.
    pub(crate) fn inverse(&self, values: &mut [Complex]) {
        let mut half = values.len() / 2;
        while half > 0 {
            for block in values.chunks_exact_mut(2 * half) {
                let (left, right) = block.split_at_mut(half);
                for ((x, y), root) in left.iter_mut().zip(right).zip(&self.roots[half..]) {
                    (x.0, y.0) = (x.0 + y.0, (x.0 - y.0) * root.conj());
                }
            }
            half /= 2;
        }
        bit_reverse(values);
        let scale = 1.0 / values.len() as f64;
        values.iter_mut().for_each(|x| x.0 *= scale);
    }
}

/// e^(2πi·k/order).
fn unit(k: usize, order: usize) -> Complex64 {
    let (sin, cos) = (std::f64::consts::TAU * k as f64 / order as f64).sin_cos();
    Complex64::new(cos, sin)
}

fn bit_reverse(values: &mut [Complex]) {
    let bits = values.len().ilog2();
    for i in 0..values.len() {
        let j = if bits == 0 { 0 } else { i.reverse_bits() >> (usize::BITS - bits) };
        if i < j {
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<Complex> {
        let value = |i: usize| ((i * 7919 % 1009) as f64 / 504.5) - 1.0;
        (0..n).map(|i| Complex(Complex64::new(value(i), value(3 * i + 1)))).collect()
    }

    /// m(ζ^(5^j)) by its definition.
    fn plain(coefficients: &[Complex]) -> Vec<Complex64> {
        let n = coefficients.len();
        let mut power = 1;
        let slot = |_| {
            let sum = |part: fn(&Complex) -> f64, from: usize| {
                let term = |(k, c)| unit(power * (k + from) % (4 * n), 4 * n) * part(c);
                coefficients.iter().enumerate().map(term).sum::<Complex64>()
            };
            let slot = sum(|c| c.0.re, 0) + sum(|c| c.0.im, n);
            power = power * 5 % (4 * n);
            slot
        };
        (0..n).map(slot).collect()
    }

    #[test]
    fn slots_are_values_at_their_roots_within_the_bound() {
        for n in [1, 2, 16, 256, 1 << 10] {
            let (embedding, coefficients) = (Embedding::new(n), values(n));
            let mut slots = coefficients.clone();
            embedding.forward(&mut slots);
            let sum: f64 = coefficients.iter().map(|c| c.0.re.abs() + c.0.im.abs()).sum();
            // And as much for the sum by its definition.
            let bound = 2.0 * 4.0 * (1.0 + f64::from(n.ilog2())) * f64::EPSILON * sum;
            for (got, expected) in slots.iter().zip(plain(&coefficients)) {
                assert!((got.0 - expected).norm() < bound, "{n}: {got:?} {expected}");
            }
        }
    }

    #[test]
    fn slots_come_back_within_the_bound() {
        for log in [11, 15] {
            let (embedding, slots) = (Embedding::new(1 << log), values(1 << log));
            let mut coefficients = slots.clone();
            embedding.inverse(&mut coefficients);
            let sum: f64 = coefficients.iter().map(|c| c.0.norm()).sum();
            let mut again = coefficients;
            embedding.forward(&mut again);
            let bound =
                4.0 * f64::from(log) * f64::EPSILON / 2.0 * (sum + f64::from(1 << log) * 1.5);
            let worst =
                again.iter().zip(&slots).map(|(a, b)| (a.0 - b.0).norm()).fold(0.0, f64::max);
            assert!(worst < bound, "{log}: {worst:e}");
            assert!(worst < f64::from(-46).exp2(), "{log}: {worst:e}");
        }
    }
}
