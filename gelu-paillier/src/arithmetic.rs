//! Arithmetic modulo n itself, for what happens once a key: hashing to units, certificates.
//!
//! Ciphertexts live modulo n², in a [`Ring`](crate::ring::Ring). Nothing here is meant for secrets.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Gcd, NonZero, Odd, Resize};

/// An odd public modulus with what Montgomery multiplication needs to know about it.
#[derive(Clone, Debug)]
pub(crate) struct Modulus(BoxedMontyParams);

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

    /// `x` modulo this modulus, in variable time.
    pub(crate) fn reduce_vartime(&self, x: &BoxedUint) -> BoxedUint {
        x.rem_vartime(self.value()).resize_unchecked(self.precision())
    }

    /// x^exponent for an x below the modulus.
    pub(crate) fn power(&self, x: &BoxedUint, exponent: &BoxedUint) -> BoxedUint {
        debug_assert!(x < self.value().as_ref());
        BoxedMontyForm::new(x.resize_unchecked(self.precision()), &self.0).pow(exponent).retrieve()
    }

    /// Whether gcd(x, modulus) = 1.
    pub(crate) fn is_unit_vartime(&self, x: &BoxedUint) -> bool {
        let gcd = self.0.modulus().gcd_vartime(&x.resize_unchecked(self.precision()));
        gcd.is_one().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{big, boxed};
    use num_bigint_dig::BigUint;
    use proptest::prelude::*;

    const BITS: u32 = 192;

    proptest! {
        #[test]
        fn agrees_with_the_oracle(
            mut n in prop::array::uniform6(any::<u32>()),
            a in prop::array::uniform12(any::<u32>()),
            e in any::<u128>(),
        ) {
            n[0] |= 1;
            n[5] |= 1 << 31;
            let (n, wide) = (BigUint::from_slice(&n), BigUint::from_slice(&a));
            let m = Modulus::new_vartime(Odd::new(boxed(&n, BITS)).into_option().unwrap());
            let a = &wide % &n;
            prop_assert_eq!(big(&m.reduce_vartime(&boxed(&wide, 2 * BITS))), a.clone());
            let power = m.power(&boxed(&a, BITS), &boxed(&e.into(), BITS));
            prop_assert_eq!(big(&power), a.modpow(&e.into(), &n));
            let unit = num_integer::Integer::gcd(&a, &n) == BigUint::from(1u8);
            prop_assert_eq!(m.is_unit_vartime(&boxed(&a, BITS)), unit);
        }
    }
}
