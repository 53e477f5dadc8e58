//! Arithmetic on *public* residues: the one place that knows how they are represented.
//!
//! Ciphertexts live modulo n², validation works modulo n; both are [`Residue`]s of a [`Modulus`],
//! kept in Montgomery form (Montgomery 1985) so that a product costs no division. A faster
//! representation replaces this file and nothing else.
//!
//! Nothing here is meant for secrets. Products take the same time for all values, but tables are
//! indexed and inverses computed in variable time (`_vartime`). The secret key's arithmetic is in
//! [`owner`](crate::owner).

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Gcd, MontyForm, MontyMultiplier, NonZero, Odd, Resize};

/// An odd public modulus with what Montgomery multiplication needs to know about it.
#[derive(Clone, Debug)]
pub(crate) struct Modulus(BoxedMontyParams);

/// An integer modulo a [`Modulus`]. Operations on residues of different moduli are a bug.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Residue(BoxedMontyForm);

impl Modulus {
    pub(crate) fn new_vartime(modulus: Odd<BoxedUint>) -> Self {
        Self(BoxedMontyParams::new_vartime(modulus))
    }

    /// The modulus as an integer.
    pub(crate) fn value(&self) -> &NonZero<BoxedUint> {
        self.0.modulus().as_nz_ref()
    }

    /// Bits of the representation: those of the modulus, rounded up to whole words.
    pub(crate) fn precision(&self) -> u32 {
        self.0.bits_precision()
    }

    /// The residue of `x`, which must be below the modulus.
    pub(crate) fn residue(&self, x: &BoxedUint) -> Residue {
        debug_assert!(x < self.value().as_ref());
        Residue(BoxedMontyForm::new(x.resize_unchecked(self.precision()), &self.0))
    }

    /// `x` modulo this modulus, in variable time.
    pub(crate) fn reduce_vartime(&self, x: &BoxedUint) -> BoxedUint {
        x.rem_vartime(self.value())
    }

    pub(crate) fn one(&self) -> Residue {
        Residue(BoxedMontyForm::one(&self.0))
    }

    /// Whether gcd(x, modulus) = 1.
    pub(crate) fn is_unit_vartime(&self, x: &BoxedUint) -> bool {
        let gcd = self.0.modulus().gcd_vartime(&x.resize_unchecked(self.precision()));
        gcd.is_one().into()
    }

    /// The inverse of a unit; `None` for anything else.
    pub(crate) fn invert_vartime(&self, a: &Residue) -> Option<Residue> {
        a.0.invert_vartime().into_option().map(Residue)
    }

    /// Inverts units with one inversion and three products each (Montgomery 1987, section 10.3.1).
    ///
    /// `None` when one of them is no unit.
    pub(crate) fn invert_all_vartime(&self, units: &[Residue]) -> Option<Vec<Residue>> {
        let mut before = Vec::with_capacity(units.len());
        let product = units.iter().fold(self.one(), |product, unit| {
            let next = &product * unit;
            before.push(product);
            next
        });
        let mut inverse = self.invert_vartime(&product)?;
        let mut inverses = before;
        for (slot, unit) in inverses.iter_mut().zip(units).rev() {
            *slot = &inverse * &*slot;
            inverse = &inverse * unit;
        }
        Some(inverses)
    }

    /// An empty product that grows in place.
    pub(crate) fn accumulator(&self) -> Accumulator<'_> {
        Accumulator { multiplier: (&self.0).into(), value: None }
    }
}

impl Residue {
    /// The integer in [0, modulus).
    pub(crate) fn value(&self) -> BoxedUint {
        self.0.retrieve()
    }

    pub(crate) fn square(&self) -> Self {
        Self(self.0.square())
    }

    /// `self` squared `times` times: self^(2^times).
    pub(crate) fn square_repeatedly(&self, times: usize) -> Self {
        (0..times).fold(self.clone(), |power, _| power.square())
    }

    /// self^exponent. The time depends on the exponent's precision only.
    pub(crate) fn pow(&self, exponent: &BoxedUint) -> Self {
        Self(self.0.pow(exponent))
    }

    /// self^exponent in time that tells the exponent's length.
    pub(crate) fn pow_u128_vartime(&self, exponent: u128) -> Self {
        let bits = u128::BITS - exponent.leading_zeros();
        Self(self.0.pow_bounded_exp(&BoxedUint::from(exponent), bits))
    }
}

impl core::ops::Mul for &Residue {
    type Output = Residue;
    fn mul(self, rhs: &Residue) -> Residue {
        Residue(BoxedMontyForm::mul(&self.0, &rhs.0))
    }
}

/// A product that is multiplied and squared in place; the empty product costs nothing.
pub(crate) struct Accumulator<'a> {
    multiplier: <BoxedMontyForm as MontyForm>::Multiplier<'a>,
    value: Option<BoxedMontyForm>,
}

impl Accumulator<'_> {
    pub(crate) fn mul(&mut self, factor: &Residue) {
        match &mut self.value {
            Some(value) => self.multiplier.mul_assign(value, &factor.0),
            None => self.value = Some(factor.0.clone()),
        }
    }

    pub(crate) fn square(&mut self) {
        if let Some(value) = &mut self.value {
            self.multiplier.square_assign(value);
        }
    }

    /// The product, or `None` if nothing was ever multiplied in.
    pub(crate) fn finish(self) -> Option<Residue> {
        self.value.map(Residue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{big, boxed};
    use num_bigint_dig::BigUint;
    use proptest::prelude::*;

    const BITS: u32 = 192;

    /// An odd modulus and a residue of it, edges first.
    fn case() -> impl Strategy<Value = (BigUint, BigUint, BigUint)> {
        let words = || prop::array::uniform6(any::<u32>());
        let residue = |n: &BigUint, kind: u8, words: [u32; 6]| match kind {
            0 => BigUint::from(0u8),
            1 => BigUint::from(1u8),
            2 => n - 1u8,
            _ => BigUint::from_slice(&words) % n,
        };
        (words(), words(), words(), 0u8..8, 0u8..8).prop_map(move |(mut n, a, b, ka, kb)| {
            n[0] |= 1;
            n[5] |= 1 << 31;
            let n = BigUint::from_slice(&n);
            (n.clone(), residue(&n, ka, a), residue(&n, kb, b))
        })
    }

    fn modulus(n: &BigUint) -> Modulus {
        Modulus::new_vartime(Odd::new(boxed(n, BITS)).into_option().unwrap())
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle((n, a, b) in case(), e in any::<u128>(), times in 0usize..9) {
            let m = modulus(&n);
            let (ra, rb) = (m.residue(&boxed(&a, BITS)), m.residue(&boxed(&b, BITS)));
            prop_assert_eq!(big(&ra.value()), a.clone());
            prop_assert_eq!(big(&(&ra * &rb).value()), &a * &b % &n);
            prop_assert_eq!(big(&ra.square().value()), &a * &a % &n);
            let two_to = BigUint::from(1u32 << times);
            prop_assert_eq!(big(&ra.square_repeatedly(times).value()), a.modpow(&two_to, &n));
            prop_assert_eq!(big(&ra.pow_u128_vartime(e).value()), a.modpow(&e.into(), &n));
            prop_assert_eq!(big(&ra.pow(&boxed(&b, BITS)).value()), a.modpow(&b, &n));
            let wide = boxed(&(&a * &b), 2 * BITS);
            prop_assert_eq!(big(&m.reduce_vartime(&wide)), &a * &b % &n);

            let unit = num_integer::Integer::gcd(&a, &n) == BigUint::from(1u8);
            prop_assert_eq!(m.is_unit_vartime(&boxed(&a, BITS)), unit);
            match m.invert_vartime(&ra) {
                Some(inverse) => prop_assert!(unit && &inverse * &ra == m.one()),
                None => prop_assert!(!unit),
            }
            let three = [ra.clone(), rb.clone(), &ra * &rb];
            if let Some(inverses) = m.invert_all_vartime(&three) {
                for (a, b) in three.iter().zip(&inverses) {
                    prop_assert_eq!(a * b, m.one());
                }
            } else {
                prop_assert!(m.invert_vartime(&ra).is_none() || m.invert_vartime(&rb).is_none());
            }

            let mut product = m.accumulator();
            product.square();
            product.mul(&ra);
            product.square();
            product.mul(&rb);
            let product = product.finish().unwrap();
            prop_assert_eq!(big(&product.value()), &a * &a * &b % &n);
        }
    }

    #[test]
    fn empty_products() {
        let m = modulus(&BigUint::from_slice(&[1, 0, 0, 0, 0, 1 << 31]));
        assert!(m.accumulator().finish().is_none());
        assert_eq!(m.invert_all_vartime(&[]), Some(vec![]));
    }
}
