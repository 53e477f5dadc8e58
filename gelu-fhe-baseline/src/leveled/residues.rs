//! Integers from their residues, by the Chinese remainder theorem.
//!
//! ```text
//! x = d₁ + t₁·(d₂ + t₂·(d₃ + …)),   dₖ = (… (xₖ − d₁)/t₁ − d₂)/t₂ …  mod tₖ        (Garner 1959)
//! ```
//!
//! and x is taken in −T/2..T/2 for T = t₁·t₂·…, which the parameters keep below 2^126.

use fhe_math::zq::Modulus;

/// The moduli, and the inverses that do not depend on the residues.
pub(super) struct Garner<'a> {
    moduli: Vec<&'a Modulus>,
    /// For each k: 1/t₁, 1/t₂, … modulo tₖ.
    inverses: Vec<Vec<u64>>,
}

impl<'a> Garner<'a> {
    /// Of distinct primes.
    pub(super) fn new(moduli: Vec<&'a Modulus>) -> Self {
        let inverse = |t: &Modulus, lower: u64| t.inv(t.reduce(lower)).expect("distinct primes");
        let of = |(k, t): (usize, &&Modulus)| {
            moduli[..k].iter().map(|lower| inverse(t, ***lower)).collect()
        };
        let inverses = moduli.iter().enumerate().map(of).collect();
        Self { moduli, inverses }
    }

    /// The integer x with |x| < T/2 that has these residues.
    pub(super) fn combine(&self, residues: &[u64]) -> i128 {
        let mut digits: Vec<u64> = Vec::with_capacity(residues.len());
        for ((t, inverses), &residue) in self.moduli.iter().zip(&self.inverses).zip(residues) {
            let subtract = |x, (&d, &inverse)| t.mul(t.sub(x, t.reduce(d)), inverse);
            digits.push(digits.iter().zip(inverses).fold(residue, subtract));
        }
        let (mut x, mut product) = (0u128, 1u128);
        for (digit, t) in digits.iter().zip(&self.moduli) {
            x += product * u128::from(*digit);
            product *= u128::from(***t);
        }
        let signed = |v: u128| i128::try_from(v).expect("below 2^126");
        if x > product / 2 { signed(x) - signed(product) } else { signed(x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn residues_give_the_integer_back(x in -(1i128 << 80)..(1i128 << 80), few in -1000i128..1000) {
            let moduli = [1_073_643_521u64, 1_073_479_681, 1_073_184_769].map(|t| Modulus::new(t).unwrap());
            for (x, count) in [(x, 3), (few, 1), (few, 2), (x >> 30, 2)] {
                let moduli: Vec<_> = moduli[..count].iter().collect();
                let residue = |t: &&Modulus| u64::try_from(x.rem_euclid(i128::from(***t))).unwrap();
                let residues: Vec<_> = moduli.iter().map(residue).collect();
                prop_assert_eq!(Garner::new(moduli).combine(&residues), x);
            }
        }
    }
}
