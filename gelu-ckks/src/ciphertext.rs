//! Ciphertexts, and what needs no key: sums, plaintext factors, rescaling.
//!
//! ```text
//! c₀ + c₁·s  =  Δ·x + noise        modulo q₀·…·q_l
//! ```
//! | operation | decrypts to | level | scale | transforms | products of rows |
//! |---|---|---|---|---|---|
//! | [`add`](Ciphertext::add), [`sub`](Ciphertext::sub) | x ± y | the lower | the same | 0 | 0 |
//! | [`add_plain`](Ciphertext::add_plain) | x + p | the lower | the same | 0 | 0 |
//! | [`mul_plain`](Ciphertext::mul_plain) | x·p | the lower | Δ·Δₚ | 0 | 2(l + 1) |
//! | [`mul_constant`](Ciphertext::mul_constant) | c·x | the same | Δ·Δ_c | 0 | 2(l + 1) |
//! | [`rescale`](Ciphertext::rescale) | x | l − 1 | Δ/q_l | 2 + 2l | 4l |
//!
//! Sums add noises; a rescaling adds [`rounding_noise`](crate::Parameters::rounding_noise). A product with a plaintext that is
//! off by 1/2 in its coefficients adds |x|·√(N/12)/Δₚ to the slots.

use std::borrow::Cow;
use std::fmt;

use gelu_ring::{Evaluations, Poly};

use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::plaintext::Plaintext;
use crate::scale::Scale;

/// N/2 encrypted complex numbers at a scale.
#[derive(Clone)]
pub struct Ciphertext {
    pub(crate) parameters: Parameters,
    pub(crate) c0: Poly<Evaluations>,
    pub(crate) c1: Poly<Evaluations>,
    pub(crate) scale: Scale,
    pub(crate) level: usize,
}

impl Ciphertext {
    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// l: rescalings that are left.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Δ.
    #[must_use]
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The same numbers at a lower level: primes are forgotten, nothing is divided.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`] for a higher one.
    pub fn at_level(&self, level: usize) -> Result<Self> {
        if level > self.level {
            return Err(Error::NoSuchLevel { level, most: self.level });
        }
        let part = |c: &Poly<Evaluations>| c.part(0..level + 1);
        Ok(self.with(part(&self.c0), part(&self.c1), self.scale.clone(), level))
    }

    pub(crate) fn with(
        &self,
        c0: Poly<Evaluations>,
        c1: Poly<Evaluations>,
        scale: Scale,
        level: usize,
    ) -> Self {
        Self { parameters: self.parameters.clone(), c0, c1, scale, level }
    }

    /// x + y, at the lower level of the two.
    ///
    /// # Errors
    /// [`Error::ScalesDiffer`], [`Error::OtherParameters`].
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.sum(other, |a, b| *a += b)
    }

    /// x − y, at the lower level of the two.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.sum(other, |a, b| *a -= b)
    }

    fn sum(&self, other: &Self, f: fn(&mut Poly<Evaluations>, &Poly<Evaluations>)) -> Result<Self> {
        self.parameters.check_same(&other.parameters)?;
        check_scales(&self.scale, &other.scale)?;
        let level = self.level.min(other.level);
        let mut sum = self.at_level(level)?;
        f(&mut sum.c0, &lowered(&other.c0, level));
        f(&mut sum.c1, &lowered(&other.c1, level));
        Ok(sum)
    }

    /// −x.
    #[must_use]
    pub fn neg(&self) -> Self {
        self.with(-self.c0.clone(), -self.c1.clone(), self.scale.clone(), self.level)
    }

    /// x + p, at the lower level of the two.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_plain(&self, plain: &Plaintext) -> Result<Self> {
        self.parameters.check_same(&plain.parameters)?;
        check_scales(&self.scale, &plain.scale)?;
        let level = self.level.min(plain.level);
        let mut sum = self.at_level(level)?;
        sum.c0 += &*lowered(&plain.poly, level);
        Ok(sum)
    }

    /// x·p, at the lower level of the two and the product of the scales: rescale when sums are done.
    ///
    /// # Errors
    /// [`Error::OtherParameters`]; [`Error::ScaleOutOfRange`] when the product of the scales does not fit the modulus.
    pub fn mul_plain(&self, plain: &Plaintext) -> Result<Self> {
        self.parameters.check_same(&plain.parameters)?;
        let level = self.level.min(plain.level);
        let scale = self.scale.times(&plain.scale);
        check_scale(&self.parameters, &scale, level)?;
        let [c0, c1] = [&self.c0, &self.c1].map(|c| lowered(c, level));
        let [c0, c1] = products(&lowered(&plain.poly, level), [&c0, &c1]);
        Ok(self.with(c0, c1, scale, level))
    }

    /// c·x for a real constant at a scale: one integer round(c·Δ_c), so the product is exact but for its rounding.
    ///
    /// # Errors
    /// [`Error::ValueTooLarge`] when the constant at its scale has more than 2^120 or is not finite,
    /// [`Error::ScaleOutOfRange`].
    pub fn mul_constant(&self, constant: f64, scale: &Scale) -> Result<Self> {
        let product = self.scale.times(scale);
        check_scale(&self.parameters, &product, self.level)?;
        let factor = self.c0.basis().residues(integer(constant, scale)?);
        let mut out = self.with(self.c0.clone(), self.c1.clone(), product, self.level);
        out.c0.scale(&factor);
        out.c1.scale(&factor);
        Ok(out)
    }

    /// x + c for a real constant, in all slots.
    ///
    /// # Errors
    /// As [`mul_constant`](Self::mul_constant).
    pub fn add_constant(&self, constant: f64) -> Result<Self> {
        let integer = integer(constant, &self.scale)?;
        let mut out = self.clone();
        add_integer(&mut out.c0, integer);
        Ok(out)
    }

    /// The same numbers one level below: divided by q_l, rounded.
    ///
    /// # Errors
    /// [`Error::NoLevelLeft`] at level 0.
    pub fn rescale(&self) -> Result<Self> {
        let divide = |c: &Poly<Evaluations>| c.divide_by_last().ok_or(Error::NoLevelLeft);
        let scale = self.scale.over(&self.parameters.prime_scale(self.level));
        Ok(self.with(divide(&self.c0)?, divide(&self.c1)?, scale, self.level.saturating_sub(1)))
    }
}

/// The polynomial modulo the primes of a level.
pub(crate) fn lowered(c: &Poly<Evaluations>, level: usize) -> Cow<'_, Poly<Evaluations>> {
    match c.basis().moduli().len() == level + 1 {
        true => Cow::Borrowed(c),
        false => Cow::Owned(c.part(0..level + 1)),
    }
}

/// a·b and a·c.
pub(crate) fn products(
    a: &Poly<Evaluations>,
    factors: [&Poly<Evaluations>; 2],
) -> [Poly<Evaluations>; 2] {
    Poly::sums_of_products(a.basis(), &[vec![(a, factors)]]).remove(0)
}

/// round(constant·scale).
pub(crate) fn integer(constant: f64, scale: &Scale) -> Result<i128> {
    let value = (constant * scale.to_f64()).round();
    if value.is_nan() || value.abs() >= f64::from(120).exp2() {
        return Err(Error::ValueTooLarge { bits: value.abs().log2(), most: 120.0 });
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Ok(value as i128)
}

/// Adds a constant polynomial.
pub(crate) fn add_integer(c: &mut Poly<Evaluations>, integer: i128) {
    let residues = c.basis().residues(integer);
    *c += &Poly::from_residues(c.basis(), |i, row| row.fill(residues[i]));
}

/// Fails unless the scales are the same.
pub(crate) fn check_scales(left: &Scale, right: &Scale) -> Result<()> {
    if left != right {
        return Err(Error::ScalesDiffer { left: left.log2(), right: right.log2() });
    }
    Ok(())
}

/// Fails unless a scale is of these parameters, at least 1, and leaves a bit for the number and its sign.
pub(crate) fn check_scale(parameters: &Parameters, scale: &Scale, level: usize) -> Result<()> {
    parameters.check_primes(scale)?;
    let (bits, modulus) = (scale.log2(), parameters.level_bits(level));
    if !(0.0..modulus - 1.0).contains(&bits) {
        return Err(Error::ScaleOutOfRange { bits, modulus });
    }
    Ok(())
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext(level {}, scale {:?})", self.level, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use num_complex::Complex64;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{encrypted, open, random, shallow, worst};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn what_needs_no_key_is_complex_arithmetic(level in 1..=4usize, lower in 0..=3usize, seed: u64) {
            let parameters = shallow();
            let lower = 1 + lower % level;
            let (x, y, p) = (random(&parameters, seed), random(&parameters, !seed), random(&parameters, seed ^ 5));
            let (a, b) = (encrypted(&x, level), encrypted(&y, lower));
            let scale = parameters.scale();
            let fresh = parameters.fresh_noise() + 0.3;
            let bound = parameters.slot_bound(fresh * 2.0, &scale);
            let each = |f: fn(Complex64, Complex64) -> Complex64, x: &[Complex64], y: &[Complex64]| -> Vec<Complex64> {
                x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect()
            };
            prop_assert!(worst(&open(&a.add(&b).unwrap()), &each(|x, y| x + y, &x, &y)) < bound);
            prop_assert!(worst(&open(&b.sub(&a).unwrap()), &each(|x, y| y - x, &x, &y)) < bound);
            prop_assert_eq!(a.add(&b).unwrap().level(), lower);
            prop_assert!(worst(&open(&a.neg()), &each(|x, _| -x, &x, &x)) < bound);
            let plain = Plaintext::encode_complex(&parameters, &p, &scale, lower).unwrap();
            prop_assert!(worst(&open(&a.add_plain(&plain).unwrap()), &each(|x, y| x + y, &x, &p)) < bound);
            prop_assert!(worst(&open(&a.add_constant(-0.37).unwrap()), &each(|x, _| x - 0.37, &x, &x)) < bound);

            // At the scale of the prime the scale returns.
            let plain = Plaintext::encode_complex(&parameters, &p, &parameters.prime_scale(level), level).unwrap();
            let product = a.mul_plain(&plain).unwrap().rescale().unwrap();
            prop_assert_eq!((product.scale(), product.level()), (&scale, level - 1));
            // |p| and |x| are up to √2; the plaintext's rounding counts at its own scale, which is not much less.
            let bound = parameters.slot_bound(1.5 * fresh + 1.5 * 0.6 + parameters.rounding_noise(), &scale);
            let off = worst(&open(&product), &each(|x, y| x * y, &x, &p));
            prop_assert!(off < bound && off > bound / 50.0, "{off:e} {bound:e}");
            let product = a.mul_constant(-1.75, &parameters.prime_scale(level)).unwrap().rescale().unwrap();
            prop_assert!(worst(&open(&product), &each(|x, _| x * -1.75, &x, &x)) < bound);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let parameters = shallow();
        let a = encrypted(&random(&parameters, 1), 1);
        let larger = a.mul_constant(1.0, &Scale::power_of_two(3)).unwrap();
        assert!(
            matches!(a.add(&larger), Err(Error::ScalesDiffer { left, right }) if (left, right) == (34.0, 37.0))
        );
        assert!(matches!(a.at_level(2), Err(Error::NoSuchLevel { level: 2, most: 1 })));
        let low = a.at_level(0).unwrap();
        assert!(matches!(low.rescale(), Err(Error::NoLevelLeft)));
        let refused = low.mul_constant(1.0, &parameters.scale());
        assert!(matches!(refused, Err(Error::ScaleOutOfRange { .. })));
        assert!(matches!(a.add_constant(f64::NAN), Err(Error::ValueTooLarge { .. })));
        let other = Parameters::new(&crate::Chain::N13_LEVELS5).unwrap();
        let plain = Plaintext::encode(&other, &[1.0], &other.scale(), 1).unwrap();
        assert!(matches!(a.add_plain(&plain), Err(Error::OtherParameters)));
        let foreign = other.prime_scale(1);
        assert!(matches!(a.mul_constant(1.0, &foreign), Err(Error::OtherParameters)));
        let encoded = Plaintext::encode(&parameters, &[1.0], &foreign, 1);
        assert!(matches!(encoded, Err(Error::OtherParameters)));
    }
}
