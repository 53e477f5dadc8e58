//! Plaintexts modulo t = 2^v: up to the modulus q, and down again.
//!
//! ```text
//! up      ⌊q·m/t⌋                         modulo q
//! switch  round(2^w·x/q)                  modulo 2^w
//! down    round(x·2^v/2^w)                modulo 2^v
//! ```

use gelu_core::fixed::centred;
use gelu_ring::{Basis, Coefficients, Modulus, Poly};
use zeroize::Zeroizing;

/// Scales plaintexts modulo 2^v up to q.
pub(crate) struct Scale {
    value_bits: u32,
    /// q modulo 2^64.
    modulus: u64,
    /// −1/t, for each prime.
    factors: Vec<u64>,
}

impl Scale {
    pub(crate) fn new(basis: &Basis, value_bits: u32) -> Self {
        let modulus = basis.moduli().fold(1u64, |q, prime| q.wrapping_mul(prime.value()));
        let factors = basis.moduli().map(|q| q.neg(q.inverse(q.reduce(1 << value_bits)))).collect();
        Self { value_bits, modulus, factors }
    }

    /// (q·m) modulo t: with q·m = t·⌊q·m/t⌋ + this, the scaled value modulo a prime is −this/t.
    fn remainder(&self, m: i64) -> u64 {
        self.modulus.wrapping_mul(m.cast_unsigned()) & ((1 << self.value_bits) - 1)
    }

    /// ⌊q·m/t⌋ for each coefficient.
    pub(crate) fn up(&self, basis: &Basis, values: &[i64]) -> Poly<Coefficients> {
        let remainders: Zeroizing<Vec<u64>> =
            Zeroizing::new(values.iter().map(|&m| self.remainder(m)).collect());
        let mut scaled = Poly::from_unsigned(basis, &remainders);
        scaled.scale(&self.factors);
        scaled
    }

    /// ⌊q·m/t⌋ modulo prime number `i`, which is q.
    pub(crate) fn up_one(&self, m: i64, i: usize, q: Modulus) -> u64 {
        q.mul(q.reduce(self.remainder(m).into()), self.factors[i])
    }
}

/// x as a fraction of q: what remains of it modulo 1, in units of 2^−128.
///
/// With yᵢ = x·(q/qᵢ)⁻¹ modulo qᵢ, x/q is Σ yᵢ/qᵢ modulo 1. Each term is below its true value by less than
/// 2^−127, and there are at most eight.
pub(crate) struct Fraction {
    /// (q/qᵢ)⁻¹ modulo qᵢ.
    inverses: Vec<u64>,
    /// ⌊2^192/qᵢ⌋: the high 128 bits and the low 64.
    reciprocals: Vec<(u128, u64)>,
}

impl Fraction {
    pub(crate) fn new(basis: &Basis) -> Self {
        // q divides no power of two, so this is ⌊2^128/q⌋; and this what remains, times 2^64/q.
        let reciprocal = |q: Modulus| {
            let q = u128::from(q.value());
            let low = ((u128::MAX % q + 1) << 64) / q;
            (u128::MAX / q, u64::try_from(low).expect("a remainder is below q"))
        };
        let reciprocals = basis.moduli().map(reciprocal).collect();
        Self { inverses: cofactor_inverses(basis), reciprocals }
    }

    /// round(2^w·x/q) modulo 2^w of all coefficients; at most 1/2 + 2^−9 away, for w ≤ 115.
    pub(crate) fn switch(&self, mut x: Poly<Coefficients>, wire_bits: u32) -> Vec<u128> {
        x.scale(&self.inverses);
        let mut sums = vec![rounding(wire_bits); x.basis().degree()];
        for (i, &reciprocal) in self.reciprocals.iter().enumerate() {
            for (sum, &y) in sums.iter_mut().zip(x.residues(i)) {
                *sum = sum.wrapping_add(times(reciprocal, y));
            }
        }
        sums.iter_mut().for_each(|sum| *sum >>= 128 - wire_bits);
        sums
    }

    /// The same of the coefficient at `place` alone.
    pub(crate) fn switch_at(&self, x: &Poly<Coefficients>, place: u32, wire_bits: u32) -> u128 {
        self.at(x, place).wrapping_add(rounding(wire_bits)) >> (128 - wire_bits)
    }

    /// The coefficient at `place` as a fraction of q, in units of 2^−128: at most [`FRACTION_ERROR`] too low.
    pub(crate) fn at(&self, x: &Poly<Coefficients>, place: u32) -> u128 {
        let factors = self.inverses.iter().zip(&self.reciprocals);
        let terms = x.basis().moduli().enumerate().zip(factors);
        terms.fold(0u128, |sum, ((i, q), (&inverse, &reciprocal))| {
            let y = q.mul(x.residues(i)[place as usize], inverse);
            sum.wrapping_add(times(reciprocal, y))
        })
    }
}

/// How much too low a [`Fraction`] may be: 2^−124.
pub(crate) const FRACTION_ERROR: f64 = 16.0 / (u128::MAX as f64);

/// y/q modulo 1 in units of 2^−128, by the reciprocal of q.
fn times((high, low): (u128, u64), y: u64) -> u128 {
    high.wrapping_mul(y.into()).wrapping_add((u128::from(low) * u128::from(y)) >> 64)
}

/// (q/qᵢ)⁻¹ modulo qᵢ, for each prime.
pub(crate) fn cofactor_inverses(basis: &Basis) -> Vec<u64> {
    let inverse = |(i, q): (usize, Modulus)| {
        let others = basis.moduli().enumerate().filter(|(j, _)| *j != i);
        q.inverse(others.fold(1, |product, (_, other)| q.mul(product, other.value())))
    };
    basis.moduli().enumerate().map(inverse).collect()
}

/// One half of a unit of 2^−w.
fn rounding(wire_bits: u32) -> u128 {
    1 << (127 - wire_bits)
}

/// round(x·2^v/2^w), centred modulo 2^v.
pub(crate) fn down(x: u128, wire_bits: u32, value_bits: u32) -> i128 {
    let drop = wire_bits - value_bits;
    let value = x.wrapping_add(1 << (drop - 1)) >> drop;
    centred(value.cast_signed(), value_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameters;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn up_switched_and_down_is_the_same(
            m: i64, v in 1u32..=62, degree in prop::sample::select(&[4096u32, 8192][..]),
        ) {
            let basis = Parameters::of_degree(degree).unwrap().basis().clone();
            let m = i64::try_from(centred(m.into(), v)).unwrap();
            let mut values = vec![0; degree as usize];
            values[7] = m;
            let scale = Scale::new(&basis, v);
            let x = scale.up(&basis, &values);
            for (i, q) in basis.moduli().enumerate() {
                prop_assert_eq!(x.residues(i)[7], scale.up_one(m, i, q));
            }
            let w = v + 13;
            let fraction = Fraction::new(&basis);
            let alone = fraction.switch_at(&x, 7, w);
            let switched = fraction.switch(x, w);
            prop_assert_eq!(switched[7], alone);
            let others = switched.iter().enumerate().filter(|(place, x)| *place != 7 && **x != 0);
            prop_assert_eq!(others.count(), 0);
            prop_assert_eq!(down(switched[7], w, v), i128::from(m));
        }
    }

    #[test]
    fn rounding_by_hand() {
        assert_eq!(down(0b0111, 8, 5), 1);
        assert_eq!(down(0b0011, 8, 5), 0);
        assert_eq!(down(0b1111_1111, 8, 5), 0);
        assert_eq!(down(0b1000_0000, 8, 5), -16);
        assert_eq!((centred(7, 3), centred(4, 3), centred(3, 3)), (-1, -4, 3));
    }
}
