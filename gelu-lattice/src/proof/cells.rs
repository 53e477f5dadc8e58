//! Numbers modulo q in cells of D = 2^bits: the first numbers of a cell stand for all.
//!
//! With yᵢ = x·(q/qᵢ)⁻¹ modulo qᵢ, x is Σ yᵢ·q/qᵢ less v·q for v = ⌊Σ yᵢ/qᵢ⌋, and the rest of a division by a power
//! of two can be computed in words that wrap.
//!
//! v is computed with 126 bits after the point, rounded down. Where that makes it one too small, the rest is that of
//! x + q: still below D, and a function of x, which is all that the proof of smallness needs. It happens for
//! x below q·2^−78 only.

use gelu_ring::{Basis, Coefficients, Poly};
use zeroize::Zeroizing;

use crate::plain::cofactor_inverses;

/// Divides by 2^bits.
pub(super) struct Cells {
    bits: u32,
    /// (q/qᵢ)⁻¹ modulo qᵢ.
    inverses: Vec<u64>,
    /// q/qᵢ modulo 2^64, and ⌊2^126/qᵢ⌋.
    terms: Vec<(u64, u128)>,
    /// q modulo 2^64.
    modulus: u64,
}

impl Cells {
    /// For 2^bits below 2^63.
    pub(super) fn new(basis: &Basis, bits: u32) -> Self {
        let product = |primes: &mut dyn Iterator<Item = u64>| primes.fold(1, u64::wrapping_mul);
        let primes = || basis.moduli().map(|q| q.value());
        let term = |(i, q): (usize, u64)| {
            let mut others = primes().enumerate().filter(|(j, _)| *j != i).map(|(_, q)| q);
            (product(&mut others), (1 << 126) / u128::from(q))
        };
        Self {
            bits,
            inverses: cofactor_inverses(basis),
            terms: primes().enumerate().map(term).collect(),
            modulus: product(&mut primes()),
        }
    }

    /// x modulo 2^bits for each coefficient 0 ≤ x < q, in time independent of x.
    pub(super) fn rests(&self, x: &Poly<Coefficients>) -> Zeroizing<Vec<u64>> {
        let mut y = Zeroizing::new(x.clone());
        y.scale(&self.inverses);
        let rest = |place: usize| {
            let (mut sum, mut quotient) = (0u64, 0u128);
            for (i, &(cofactor, reciprocal)) in self.terms.iter().enumerate() {
                let y = y.residues(i)[place];
                sum = sum.wrapping_add(y.wrapping_mul(cofactor));
                // Below 2^126 each, for at most four primes.
                quotient += u128::from(y) * reciprocal;
            }
            let v = (quotient >> 126) as u64;
            sum.wrapping_sub(v.wrapping_mul(self.modulus)) & ((1 << self.bits) - 1)
        };
        Zeroizing::new((0..x.basis().degree()).map(rest).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameters;
    use proptest::prelude::*;

    proptest! {
        /// x = high·q₀·q₁ + low below q, at every kind of place between 0 and q.
        #[test]
        fn rests_are_those_of_integers(
            low in 0u128..1 << 69, high in 0u64..1 << 34, bits in 1u32..63,
            degree in prop::sample::select(&[4096u32, 8192][..]),
        ) {
            let basis = Parameters::of_degree(degree).unwrap().basis().clone();
            let pair = basis.moduli().take(2).map(|q| u128::from(q.value())).product::<u128>();
            let word = pair.wrapping_mul(high.into()).wrapping_add(low);
            let rest = u64::try_from(word & ((1 << bits) - 1)).unwrap();
            let moduli: Vec<_> = basis.moduli().collect();
            let x = Poly::from_residues(&basis, |i, row| {
                let q = moduli[i];
                row[5] = q.add(q.reduce(low), q.mul(q.reduce(pair), q.reduce(high.into())));
            });
            let rests = Cells::new(&basis, bits).rests(&x);
            prop_assert_eq!((rests[4], rests[5]), (0, rest));
        }
    }

    #[test]
    fn the_last_number_is_in_the_last_cell() {
        for degree in Parameters::KEY_BITS {
            let basis = Parameters::of_degree(degree).unwrap().basis().clone();
            let product = basis.moduli().fold(1u64, |product, q| product.wrapping_mul(q.value()));
            let x = Poly::from_signed(&basis, &vec![-1; degree as usize]);
            let rest = product.wrapping_sub(1) & ((1 << 20) - 1);
            assert!(Cells::new(&basis, 20).rests(&x).iter().all(|&x| x == rest));
        }
    }
}
