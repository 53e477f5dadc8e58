//! Products of ciphertexts.
//!
//! ```text
//! (c₀ + c₁·s)·(d₀ + d₁·s)  =  c₀d₀ + (c₀d₁ + c₁d₀)·s + c₁d₁·s²            a product of three parts
//! ```
//! A [relinearisation](crate::switching) turns the part of s² into parts of 1 and s. Products add up before: a sum of many
//! costs one relinearisation ([`Product`]).
//!
//! # Cost
//! At level l with k special primes, β digits, in transforms of one row:
//!
//! | | transforms |
//! |---|---|
//! | [`multiply`](Ciphertext::multiply) alone | 0 |
//! | decomposition of c₁d₁ | (l + 1) + β(l + 1 + k) − (l + 1) |
//! | division by P·q_l, fused: relinearisation *and* rescaling | 2(k + 1) + 2l |
//! | together, set N13_LEVELS4 at the top | 30 + 12 = 42 |
//!
//! A separate rescaling would take 2(l + 1) transforms more, and round twice.
//!
//! # Precision
//! For |x|, |y| ≤ B in the slots, off by δ each: B·2δ + δ², and
//! [`switching_noise`](crate::Parameters::switching_noise)`/q_l` before the division and
//! [`rounding_noise`](crate::Parameters::rounding_noise) after it, of which only the second counts.

use std::fmt;

use gelu_ring::{Evaluations, Poly};

use crate::ciphertext::{Ciphertext, add_integer, check_scale, check_scales, lowered, products};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::scale::Scale;
use crate::switching::{EvaluationKeys, KeyKind};

/// A product of ciphertexts, or a sum of such, not yet relinearised.
#[derive(Clone)]
pub struct Product {
    parameters: Parameters,
    /// Parts of 1, s and s².
    parts: [Poly<Evaluations>; 3],
    scale: Scale,
    level: usize,
}

impl Ciphertext {
    /// x·y, relinearised and rescaled: one level below the lower of the two, at the scale Δ₁·Δ₂/q_l.
    ///
    /// # Errors
    /// [`Error::NoLevelLeft`]; [`Error::MissingKey`], [`Error::KeyLevel`]; [`Error::OtherParameters`],
    /// [`Error::ScaleOutOfRange`].
    pub fn mul(&self, other: &Self, keys: &EvaluationKeys) -> Result<Self> {
        self.multiply(other)?.relinearize_and_rescale(keys)
    }

    /// x², as [`mul`](Self::mul): fewer products of rows.
    ///
    /// # Errors
    /// As [`mul`](Self::mul).
    pub fn square(&self, keys: &EvaluationKeys) -> Result<Self> {
        let scale = self.scale.times(&self.scale);
        check_scale(&self.parameters, &scale, self.level)?;
        let [first, mut middle] = products(&self.c0, [&self.c0, &self.c1]);
        let once = middle.clone();
        middle += &once;
        let parts = [first, middle, &self.c1 * &self.c1];
        let (parameters, level) = (self.parameters.clone(), self.level);
        Product { parameters, parts, scale, level }.relinearize_and_rescale(keys)
    }

    /// x·y in three parts, at the lower level of the two and the product of the scales.
    ///
    /// # Errors
    /// [`Error::OtherParameters`], [`Error::ScaleOutOfRange`].
    pub fn multiply(&self, other: &Self) -> Result<Product> {
        self.parameters.check_same(&other.parameters)?;
        let (scale, level) = (self.scale.times(&other.scale), self.level.min(other.level));
        check_scale(&self.parameters, &scale, level)?;
        let [d0, d1] = [&other.c0, &other.c1].map(|d| lowered(d, level));
        let [first, mut middle] = products(&lowered(&self.c0, level), [&d0, &d1]);
        let [other_middle, last] = products(&lowered(&self.c1, level), [&d0, &d1]);
        middle += &other_middle;
        let parts = [first, middle, last];
        Ok(Product { parameters: self.parameters.clone(), parts, scale, level })
    }
}

impl Product {
    /// Σ x·y over all pairs, at the lowest level of all: one pass over the rows, where [`plus`](Self::plus) takes one for each
    /// product.
    ///
    /// # Errors
    /// [`Error::Empty`] when there are none; [`Error::ScalesDiffer`] when the products are not all at one scale,
    /// [`Error::OtherParameters`], [`Error::ScaleOutOfRange`].
    pub fn sum(pairs: &[(&Ciphertext, &Ciphertext)]) -> Result<Self> {
        let &(x, y) = pairs.first().ok_or(Error::Empty("a sum of no products"))?;
        let (parameters, scale) = (&x.parameters, x.scale.times(&y.scale));
        for (x, y) in pairs {
            parameters.check_same(&x.parameters)?;
            parameters.check_same(&y.parameters)?;
            check_scales(&scale, &x.scale.times(&y.scale))?;
        }
        let levels = pairs.iter().flat_map(|(x, y)| [x.level, y.level]);
        let level = levels.min().expect("a pair at least");
        check_scale(parameters, &scale, level)?;
        let basis = &parameters.level(level).basis;
        let list = |part: fn(&Ciphertext) -> &Poly<Evaluations>| {
            pairs.iter().map(|(x, y)| (part(x), [&y.c0, &y.c1])).collect()
        };
        let sums = Poly::sums_of_products(basis, &[list(|x| &x.c0), list(|x| &x.c1)]);
        let [[first, mut middle], [other, last]] =
            <[_; 2]>::try_from(sums).expect("a sum for each list");
        middle += &other;
        let parts = [first, middle, last];
        Ok(Self { parameters: parameters.clone(), parts, scale, level })
    }

    /// The sum, at the lower level of the two.
    ///
    /// # Errors
    /// [`Error::ScalesDiffer`], [`Error::OtherParameters`].
    pub fn plus(self, other: Self) -> Result<Self> {
        self.parameters.check_same(&other.parameters)?;
        check_scales(&self.scale, &other.scale)?;
        let level = self.level.min(other.level);
        let (mut sum, other) = (self.at_level(level), other.at_level(level));
        sum.parts.iter_mut().zip(&other.parts).for_each(|(a, b)| *a += b);
        Ok(sum)
    }

    /// The sum with a ciphertext that is at the scale of the product.
    ///
    /// # Errors
    /// As [`plus`](Self::plus).
    pub fn add_ciphertext(self, other: &Ciphertext) -> Result<Self> {
        self.parameters.check_same(&other.parameters)?;
        check_scales(&self.scale, &other.scale)?;
        let level = self.level.min(other.level);
        let (mut sum, other) = (self.at_level(level), other.at_level(level)?);
        sum.parts[0] += &other.c0;
        sum.parts[1] += &other.c1;
        Ok(sum)
    }

    /// The sum with a real constant in all slots.
    ///
    /// # Errors
    /// [`Error::ValueTooLarge`].
    pub fn add_constant(mut self, constant: f64) -> Result<Self> {
        let integer = crate::ciphertext::integer(constant, &self.scale)?;
        add_integer(&mut self.parts[0], integer);
        Ok(self)
    }

    fn at_level(self, level: usize) -> Self {
        if level == self.level {
            return self;
        }
        let parts = self.parts.map(|part| part.part(0..level + 1));
        Self { parts, level, ..self }
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// A ciphertext one level below, at the scale over q_l: one division by P·q_l.
    ///
    /// # Errors
    /// [`Error::NoLevelLeft`]; [`Error::MissingKey`], [`Error::KeyLevel`].
    pub fn relinearize_and_rescale(self, keys: &EvaluationKeys) -> Result<Ciphertext> {
        let level = self.parameters.level(self.level);
        let division = level.by_special_and_last.as_ref().ok_or(Error::NoLevelLeft)?;
        let scale = self.scale.over(&self.parameters.prime_scale(self.level));
        let lower = self.level - 1;
        self.relinearize_by(keys, division, scale, lower)
    }

    /// A ciphertext of the same level and scale.
    ///
    /// # Errors
    /// [`Error::MissingKey`], [`Error::KeyLevel`].
    pub fn relinearize(self, keys: &EvaluationKeys) -> Result<Ciphertext> {
        let division = &self.parameters.level(self.level).by_special;
        self.relinearize_by(keys, division, self.scale.clone(), self.level)
    }

    fn relinearize_by(
        &self,
        keys: &EvaluationKeys,
        division: &gelu_ring::Division,
        scale: Scale,
        level: usize,
    ) -> Result<Ciphertext> {
        let key = keys.get(KeyKind::Relinearization, &self.parameters, self.level)?;
        let decomposition = &self.parameters.level(self.level).decomposition;
        let [c0, c1, c2] = &self.parts;
        let [k0, k1] = decomposition.inner_products(c2, &key.pairs);
        let [c0, c1] = division.quotients([(k0, Some(c0)), (k1, Some(c1))]);
        Ok(Ciphertext { parameters: self.parameters.clone(), c0, c1, scale, level })
    }
}

impl fmt::Debug for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Product(level {}, scale {:?})", self.level, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use num_complex::Complex64;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{encrypted, keys, open, random, secret, shallow, worst};

    fn each_product(x: &[Complex64], y: &[Complex64]) -> Vec<Complex64> {
        x.iter().zip(y).map(|(x, y)| x * y).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]

        #[test]
        fn products_are_products_at_all_levels(level in 1..=4usize, other in 1..=4usize, seed: u64) {
            let parameters = shallow();
            let (x, y) = (random(&parameters, seed), random(&parameters, !seed));
            let (a, b) = (encrypted(&x, level), encrypted(&y, other));
            let lower = level.min(other);
            let product = a.mul(&b, keys()).unwrap();
            let scale = parameters.scale().times(&parameters.scale()).over(&parameters.prime_scale(lower));
            prop_assert_eq!((product.level(), product.scale()), (lower - 1, &scale));
            // |x| and |y| are up to √2.
            let fresh = parameters.fresh_noise() + 0.3;
            let bound = parameters.slot_bound(3.0 * fresh + parameters.rounding_noise(), &parameters.scale());
            let off = worst(&open(&product), &each_product(&x, &y));
            prop_assert!(off < bound && off > bound / 20.0, "{off:e} {bound:e}");
            let off = worst(&open(&a.square(keys()).unwrap()), &each_product(&x, &x));
            prop_assert!(off < bound, "{off:e} {bound:e}");

            // In steps, which round more often.
            let plain = a.multiply(&b).unwrap().relinearize(keys()).unwrap();
            prop_assert_eq!(plain.level(), lower);
            let plain = plain.rescale().unwrap();
            prop_assert_eq!(plain.scale(), product.scale());
            let off = worst(&open(&plain), &open(&product));
            let bound = parameters.slot_bound(2.0 * parameters.rounding_noise(), &parameters.scale());
            prop_assert!(off < bound, "{off:e} {bound:e}");
        }
    }

    #[test]
    fn sums_of_products_are_relinearised_once() {
        let parameters = shallow();
        let [x, y, z] = [1, 2, 3].map(|seed| random(&parameters, seed));
        let [a, b, c] = [&x, &y, &z].map(|x| encrypted(x, 3));
        let sum =
            a.multiply(&b).unwrap().plus(c.at_level(2).unwrap().multiply(&a).unwrap()).unwrap();
        let c = c.mul_constant(0.5, &parameters.scale()).unwrap();
        let sum = sum.add_ciphertext(&c).unwrap().add_constant(-0.25).unwrap();
        let sum = sum.relinearize_and_rescale(keys()).unwrap();
        let expected = each_product(&x, &y).into_iter().zip(each_product(&z, &x)).zip(&z);
        let expected: Vec<_> = expected.map(|((xy, zx), z)| xy + zx + z * 0.5 - 0.25).collect();
        assert_eq!(sum.level(), 1);
        assert!(worst(&open(&sum), &expected) < f64::from(-18).exp2());
    }

    #[test]
    fn a_sum_in_one_pass_is_that_of_the_products_one_by_one() {
        let parameters = shallow();
        let [a, b, c] = [1, 2, 3].map(|seed| encrypted(&random(&parameters, seed), 3));
        let b = b.at_level(2).unwrap();
        let all = Product::sum(&[(&a, &b), (&c, &a), (&c, &c)]).unwrap();
        let each = [(&a, &b), (&c, &a), (&c, &c)].map(|(x, y)| x.multiply(y).unwrap());
        let each = each.into_iter().reduce(|x, y| x.plus(y).unwrap()).unwrap();
        assert_eq!((all.level, all.scale()), (2, each.scale()));
        assert!(all.parts == each.parts);
        assert_eq!(Product::sum(&[]).unwrap_err(), Error::Empty("a sum of no products"));
        let other = c.mul_constant(1.0, &Scale::power_of_two(3)).unwrap();
        let refused = Product::sum(&[(&a, &b), (&a, &other)]).unwrap_err();
        assert!(matches!(refused, Error::ScalesDiffer { .. }));
    }

    #[test]
    fn a_chain_goes_down_to_level_0_and_no_further() {
        let parameters = shallow();
        let x: Vec<_> = random(&parameters, 1).iter().map(|x| x * 0.7).collect();
        let (mut a, mut expected) = (encrypted(&x, 4), x);
        for level in (0..4).rev() {
            a = a.square(keys()).unwrap();
            expected = each_product(&expected, &expected);
            assert_eq!(a.level(), level);
            assert!(worst(&open(&a), &expected) < f64::from(-17).exp2(), "level {level}");
        }
        // At level 0, not even the product of the scales fits.
        assert!(matches!(a.square(keys()), Err(Error::ScaleOutOfRange { .. })));
    }

    #[test]
    fn keys_that_do_not_fit_are_refused_by_name() {
        let parameters = shallow();
        let a = encrypted(&random(&parameters, 1), 3);
        let kind = KeyKind::Relinearization;
        let none = EvaluationKeys::new(&parameters);
        assert_eq!(a.square(&none).unwrap_err(), Error::MissingKey { kind, level: 3 });
        let rng = &mut crate::testing::rng(5);
        let low = secret().evaluation_keys([(kind, 2)], rng).unwrap();
        let refused = a.square(&low).unwrap_err();
        assert_eq!(refused, Error::KeyLevel { kind, key: 2, ciphertext: 3 });
        assert!(
            refused.to_string().contains("relinearisation key is for ciphertexts up to level 2")
        );
        assert!(a.at_level(2).unwrap().square(&low).is_ok());
        let other = Parameters::new(&crate::Chain::N13_LEVELS5).unwrap();
        let other =
            crate::SecretKey::from_root(other, &[7; 32]).evaluation_keys([(kind, 3)], rng).unwrap();
        assert_eq!(a.square(&other).unwrap_err(), Error::OtherParameters);
        // A truncated key holds only its level's rows and digits, of primes that have up to 40 bits.
        let key = |level| secret().switching_key(kind, level, &mut crate::testing::rng(1)).unwrap();
        assert_eq!([key(4), key(1)].map(|k| k.memory() / (5 << 13)), [2 * 5 * 6, 2 * 2 * 3]);
    }
}
