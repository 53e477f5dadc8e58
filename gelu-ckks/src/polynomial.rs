//! Polynomials of encrypted numbers.
//!
//! ```text
//! p(x)  =  lo(x) + x^(2^(m−1))·hi(x)            deg lo, deg hi < 2^(m−1),   m = ⌈log₂(deg p + 1)⌉
//! ```
//! again and again, down to c₀ + c₁·x: m levels, the least there can be, as x^(2^i) is i levels down and so is every hi that
//! it is multiplied by (Paterson and Stockmeyer, *On the number of nonscalar multiplications necessary to evaluate
//! polynomials*, SIAM J. Comput. 2, 1973; split to the least depth). Of lo, products are added before they are relinearised.
//!
//! | degree | levels | squares | products | relinearisations, squares' included |
//! |---|---|---|---|---|
//! | 1 | 1 | 0 | 0 | 0 |
//! | 3 | 2 | 1 | 1 | 2 |
//! | 5 | 3 | 2 | 2 | 3 |
//! | 7 | 3 | 2 | 3 | 4 |
//! | 15 | 4 | 3 | 7 | 7 |
//!
//! Coefficients that are 0 save their part.
//!
//! # Scales
//! A square of a scale over a prime is another scale, so the powers all have different ones. The scale of the result is
//! chosen first; each part then has a scale that it must come out at, which is that of the whole over that of the power it is
//! multiplied by, and a coefficient is an integer round(c·Δ′) for the rational Δ′ that is missing. So all
//! sums are of equal scales, exactly, and the only error is that rounding, 2^-33 of a power for primes of 34 bits.
//!
//! # Precision
//! For |x| ≤ 1 off by δ, the result is off by at most Σ k·|c_k|·δ and [`switching_noise`](crate::Parameters::switching_noise) times
//! about Σ k·|c_k| for the products on the way. Values and all powers must stay below q₀/Δ in size; scale x to ±1 by the
//! coefficients.

use crate::ciphertext::Ciphertext;
use crate::error::{Error, Result};
use crate::multiply::Product;
use crate::scale::Scale;
use crate::switching::EvaluationKeys;

/// A part of a sum at its scale, before the rescaling.
enum Part {
    Linear(Ciphertext),
    Product(Product),
}

impl Ciphertext {
    /// Σ c_k·x^k, ⌈log₂(degree + 1)⌉ levels below, at the scale of x.
    ///
    /// # Errors
    /// [`Error::Empty`] without coefficients, [`Error::NoLevelLeft`] with too few levels; [`Error::MissingKey`],
    /// [`Error::KeyLevel`], [`Error::ValueTooLarge`].
    pub fn evaluate(&self, coefficients: &[f64], keys: &EvaluationKeys) -> Result<Self> {
        self.evaluate_at(coefficients, &self.scale, keys)
    }

    /// The same at any scale.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::ScaleOutOfRange`].
    pub fn evaluate_at(
        &self,
        coefficients: &[f64],
        scale: &Scale,
        keys: &EvaluationKeys,
    ) -> Result<Self> {
        if coefficients.is_empty() {
            return Err(Error::Empty("a polynomial without coefficients"));
        }
        let coefficients = trimmed(coefficients);
        let depth = depth(coefficients);
        let level = self.level.checked_sub(depth).ok_or(Error::NoLevelLeft)?;
        let mut powers = vec![self.clone()];
        for _ in 1..depth {
            powers.push(powers[powers.len() - 1].square(keys)?);
        }
        Evaluation { powers, keys }.rescaled(coefficients, scale, level)
    }
}

/// The levels that a polynomial takes: ⌈log₂(degree + 1)⌉, and 1 for a constant.
#[must_use]
pub fn depth(coefficients: &[f64]) -> usize {
    let degree = trimmed(coefficients).len().saturating_sub(1);
    (usize::BITS - degree.leading_zeros()).max(1) as usize
}

/// Without zeros at the end; at least one coefficient of one.
fn trimmed(coefficients: &[f64]) -> &[f64] {
    let last = coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0);
    &coefficients[..coefficients.len().min(last + 1)]
}

struct Evaluation<'a> {
    /// x^(2^i).
    powers: Vec<Ciphertext>,
    keys: &'a EvaluationKeys,
}

impl Evaluation<'_> {
    /// The polynomial at a scale and level.
    fn rescaled(&self, coefficients: &[f64], scale: &Scale, level: usize) -> Result<Ciphertext> {
        let prime = self.powers[0].parameters.prime_scale(level + 1);
        match self.part(coefficients, &scale.times(&prime), level + 1)? {
            Part::Linear(sum) => sum.rescale(),
            Part::Product(sum) => sum.relinearize_and_rescale(self.keys),
        }
    }

    /// The polynomial at a level and a scale that a rescaling comes after.
    fn part(&self, coefficients: &[f64], scale: &Scale, level: usize) -> Result<Part> {
        let coefficients = trimmed(coefficients);
        let depth = depth(coefficients);
        if depth == 1 {
            let slope = coefficients.get(1).copied().unwrap_or(0.0);
            let sum = self.multiple(0, slope, scale, level)?.add_constant(coefficients[0])?;
            return Ok(Part::Linear(sum));
        }
        let (low, high) = coefficients.split_at(1 << (depth - 1));
        let high = match high {
            // A power alone takes no product.
            [c] => Part::Linear(self.multiple(depth - 1, *c, scale, level)?),
            _ => {
                let power = &self.powers[depth - 1];
                let high = self.rescaled(high, &scale.over(&power.scale), level)?;
                Part::Product(power.multiply(&high)?)
            }
        };
        let low = trimmed(low);
        if let [c] = low {
            return Ok(match high {
                Part::Linear(sum) => Part::Linear(sum.add_constant(*c)?),
                Part::Product(sum) => Part::Product(sum.add_constant(*c)?),
            });
        }
        Ok(match (self.part(low, scale, level)?, high) {
            (Part::Linear(a), Part::Linear(b)) => Part::Linear(a.add(&b)?),
            (Part::Linear(a), Part::Product(b)) | (Part::Product(b), Part::Linear(a)) => {
                Part::Product(b.add_ciphertext(&a)?)
            }
            (Part::Product(a), Part::Product(b)) => Part::Product(a.plus(b)?),
        })
    }

    /// c·x^(2^i) at a scale and level.
    fn multiple(&self, i: usize, c: f64, scale: &Scale, level: usize) -> Result<Ciphertext> {
        let power = self.powers[i].at_level(level)?;
        power.mul_constant(c, &scale.over(&power.scale))
    }
}

#[cfg(test)]
mod tests {
    use num_complex::Complex64;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{encrypted, keys, open, random, shallow, worst};

    fn horner(coefficients: &[f64], x: Complex64) -> Complex64 {
        coefficients.iter().rev().fold(Complex64::ZERO, |sum, &c| sum * x + c)
    }

    fn check(coefficients: &[f64], seed: u64) {
        let parameters = shallow();
        let x: Vec<_> = random(&parameters, seed).iter().map(|x| x * 0.7).collect();
        let a = encrypted(&x, 4);
        let got = a.evaluate(coefficients, keys()).unwrap();
        assert_eq!((got.level(), got.scale()), (4 - depth(coefficients), a.scale()));
        let expected: Vec<_> = x.iter().map(|&x| horner(coefficients, x)).collect();
        let slope: f64 = coefficients.iter().zip(0u32..).map(|(c, k)| f64::from(k) * c.abs()).sum();
        let noise = (1.0 + slope) * (parameters.fresh_noise() + 2.0 * parameters.switching_noise());
        let (off, bound) = (worst(&open(&got), &expected), parameters.slot_bound(noise, a.scale()));
        assert!(
            off < bound && (slope == 0.0 || off > bound / 200.0),
            "{coefficients:?}: {off:e} {bound:e}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn polynomials_are_polynomials_of_every_degree(
            coefficients in prop::collection::vec(-1.0..1.0f64, 1..=16), seed: u64,
        ) {
            check(&coefficients, seed);
        }
    }

    #[test]
    fn the_degrees_in_use_and_polynomials_with_gaps() {
        for degree in [1, 3, 5, 7, 15] {
            check(&(0..=degree).map(|k| 1.0 / f64::from(k + 1)).collect::<Vec<_>>(), 1);
        }
        // Constants, powers, odd, even, zeros at the end.
        check(&[0.4], 2);
        check(&[0.0, 0.0, 1.0], 3);
        check(&[0.5, 0.25, 0.0, -0.02], 4);
        check(&[0.5, 0.0, 0.3, 0.0, 0.7, 0.0, 0.0], 5);
        check(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 6);
        check(&[0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 7);
        check(&[[0.0; 15].as_slice(), &[1.0]].concat(), 8);
    }

    #[test]
    fn the_depth_is_that_of_the_highest_coefficient() {
        for (coefficients, expected) in [
            (&[1.0][..], 1),
            (&[0.0, 1.0], 1),
            (&[0.0, 0.0, 1.0], 2),
            (&[1.0; 4], 2),
            (&[1.0; 5], 3),
            (&[1.0; 8], 3),
            (&[1.0; 9], 4),
            (&[1.0; 16], 4),
            (&[1.0; 17], 5),
            (&[1.0, 2.0, 0.0, 0.0, 0.0], 1),
        ] {
            assert_eq!(depth(coefficients), expected);
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let parameters = shallow();
        let a = encrypted(&random(&parameters, 1), 1);
        assert!(matches!(a.evaluate(&[], keys()), Err(Error::Empty(_))));
        assert!(matches!(a.evaluate(&[1.0; 4], keys()), Err(Error::NoLevelLeft)));
        assert!(matches!(a.evaluate(&[f64::NAN, 1.0], keys()), Err(Error::ValueTooLarge { .. })));
        // Another scale, as asked for.
        let scale = Scale::power_of_two(30);
        let doubled = a.evaluate_at(&[0.0, 2.0], &scale, keys()).unwrap();
        assert_eq!(doubled.scale(), &scale);
    }
}
