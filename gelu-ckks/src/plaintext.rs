//! Numbers to plaintexts and back.
//!
//! ```text
//! encode(x, Δ)  =  round(Δ·embedding⁻¹(x))         decode(m)  =  embedding(m)/Δ
//! ```
//! Rounding moves each coefficient by at most 1/2, uniformly: each slot by a complex number of deviation √(N/12)/Δ. With
//! Δ = 2^34 and N = 2^13 that is 2^-29.3; f64 adds what `embedding` says.

use std::fmt;

use gelu_ring::{Coefficients, Evaluations, Modulus, Poly};
use num_complex::Complex64;
use zeroize::{Zeroize, Zeroizing};

use crate::embedding::Complex;
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::scale::Scale;

/// N/2 complex numbers at a scale, as a polynomial modulo the primes of a level.
///
/// # Security
/// It may hold a client's values or a server's weights: it is never printed. A client wipes it with
/// [`Zeroize`]; encoding wipes what it had on the way.
#[derive(Clone)]
pub struct Plaintext {
    pub(crate) parameters: Parameters,
    pub(crate) poly: Poly<Evaluations>,
    pub(crate) scale: Scale,
    pub(crate) level: usize,
}

impl Plaintext {
    /// Real numbers in the first slots, 0 in the others, for ciphertexts up to a level.
    ///
    /// # Errors
    /// [`Error::TooManyValues`], [`Error::NoSuchLevel`]; [`Error::ValueTooLarge`] when a value at this scale does not fit
    /// the modulus of the level, or is not finite; [`Error::OtherParameters`] for a scale of other primes.
    pub fn encode(
        parameters: &Parameters,
        values: &[f64],
        scale: &Scale,
        level: usize,
    ) -> Result<Self> {
        Self::from_slots(parameters, values, scale, level)
    }

    /// The same of complex numbers.
    ///
    /// # Errors
    /// The same.
    pub fn encode_complex(
        parameters: &Parameters,
        values: &[impl Copy + Into<Complex64>],
        scale: &Scale,
        level: usize,
    ) -> Result<Self> {
        Self::from_slots(parameters, values, scale, level)
    }

    fn from_slots(
        parameters: &Parameters,
        values: &[impl Copy + Into<Complex64>],
        scale: &Scale,
        level: usize,
    ) -> Result<Self> {
        let rounded = coefficients(parameters, values, scale, level)?;
        let poly = rounded.over(&parameters.level(level).basis).into_evaluations();
        Ok(Self { parameters: parameters.clone(), poly, scale: scale.clone(), level })
    }

    /// The numbers in all slots: the real parts.
    #[must_use]
    pub fn decode(&self) -> Vec<f64> {
        self.slots().iter().map(|x| x.0.re).collect()
    }

    /// The numbers in all slots.
    #[must_use]
    pub fn decode_complex(&self) -> Vec<Complex64> {
        self.slots().iter().map(|x| x.0).collect()
    }

    fn slots(&self) -> Zeroizing<Vec<Complex>> {
        slots(&self.parameters, &integers(&self.poly, &self.scale), &self.scale)
    }

    /// The scale.
    #[must_use]
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// For ciphertexts up to this level.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }
}

impl Zeroize for Plaintext {
    fn zeroize(&mut self) {
        self.poly.zeroize();
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext(level {}, scale {:?})", self.level, self.scale)
    }
}

/// Rounded coefficients: words where they fit.
pub(crate) enum Rounded {
    Words(Zeroizing<Vec<i64>>),
    Wide(Zeroizing<Vec<i128>>),
}

impl Rounded {
    /// Modulo the primes of a basis.
    pub(crate) fn over(&self, basis: &gelu_ring::Basis) -> Poly<Coefficients> {
        match self {
            Self::Words(words) => Poly::from_words(basis, words),
            Self::Wide(wide) => Poly::from_signed(basis, wide),
        }
    }
}

/// The coefficients of slots at a scale, each below half of the modulus of a level in size.
pub(crate) fn coefficients(
    parameters: &Parameters,
    values: &[impl Copy + Into<Complex64>],
    scale: &Scale,
    level: usize,
) -> Result<Rounded> {
    parameters.check_level(level)?;
    parameters.check_primes(scale)?;
    let slots = parameters.slots();
    if values.len() > slots {
        return Err(Error::TooManyValues { values: values.len(), slots });
    }
    let mut all = Zeroizing::new(vec![Complex::default(); slots]);
    all.iter_mut().zip(values).for_each(|(slot, &x)| slot.0 = x.into());
    parameters.embedding().inverse(&mut all);
    let factor = scale.to_f64();
    all.iter_mut().for_each(|x| x.0 *= factor);
    let parts = || all.iter().map(|x| x.0.re).chain(all.iter().map(|x| x.0.im));
    // NaN is larger than everything.
    let size = parts().map(f64::abs).fold(0.0, |a, b| if b <= a { a } else { b });
    let bits = size.log2();
    let most = (parameters.level_bits(level) - 1.0).min(126.0);
    if !(size == 0.0 || bits < most) {
        return Err(Error::ValueTooLarge { bits, most });
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Ok(match bits < 62.0 {
        true => Rounded::Words(Zeroizing::new(parts().map(|x| x.round() as i64).collect())),
        false => Rounded::Wide(Zeroizing::new(parts().map(|x| x.round() as i128).collect())),
    })
}

/// Primes that hold what a scale leaves room for: 2^62 times the scale, or all.
pub(crate) fn needed(poly: &Poly<Evaluations>, scale: &Scale) -> usize {
    let mut bits = 0.0;
    let widths = poly.basis().moduli().map(|q| (q.value() as f64).log2());
    let enough = widths.map(|width| {
        bits += width;
        bits
    });
    let needed = scale.log2() + 64.0;
    let count = poly.basis().moduli().len();
    enough.take(count - 1).filter(|bits| *bits < needed).count() + 1
}

/// The centred coefficients of m, as f64: by mixed radix with centred digits, where the digits above a small number are 0,
/// so that nothing cancels.
pub(crate) fn integers(m: &Poly<Evaluations>, scale: &Scale) -> Zeroizing<Vec<f64>> {
    let part = Zeroizing::new(m.part(0..needed(m, scale)).into_coefficients());
    let moduli: Vec<Modulus> = part.basis().moduli().collect();
    // The product of the primes before prime i, modulo prime j ≥ i: row i; and its inverse modulo prime i.
    let before = |i: usize, q: Modulus| q.product(moduli[..i].iter().copied());
    let radix: Vec<Vec<u64>> =
        (0..moduli.len()).map(|i| moduli.iter().map(|&q| before(i, q)).collect()).collect();
    let inverses: Vec<_> =
        moduli.iter().enumerate().map(|(i, &q)| q.inverse(before(i, q))).collect();
    let mut digits = Zeroizing::new(vec![0i64; moduli.len()]);
    let integer = |place: usize| {
        for (i, q) in moduli.iter().enumerate() {
            let mut rest = part.residues(i)[place];
            for (digit, row) in digits[..i].iter().zip(&radix) {
                rest = q.sub(rest, q.mul(q.reduce_signed((*digit).into()), row[i]));
            }
            digits[i] = q.centre(q.mul(rest, inverses[i]));
        }
        let digits = digits.iter().zip(&moduli).rev();
        digits.fold(0.0, |x, (digit, q)| x * q.value() as f64 + *digit as f64)
    };
    Zeroizing::new((0..m.basis().degree()).map(integer).collect())
}

/// The slots of coefficients.
pub(crate) fn slots(
    parameters: &Parameters,
    integers: &[f64],
    scale: &Scale,
) -> Zeroizing<Vec<Complex>> {
    let (re, im) = integers.split_at(parameters.slots());
    let factor = 1.0 / scale.to_f64();
    let slot = |(re, im)| Complex(Complex64::new(re * factor, im * factor));
    let mut slots = Zeroizing::new(re.iter().zip(im).map(slot).collect::<Vec<_>>());
    parameters.embedding().forward(&mut slots);
    slots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{random, shallow, worst};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn numbers_come_back_at_every_scale_and_level(bits in 20..40u32, level in 1..=4usize, seed: u64) {
            let parameters = shallow();
            let (values, scale) = (random(&parameters, seed), Scale::power_of_two(bits));
            let plain = Plaintext::encode_complex(&parameters, &values, &scale, level).unwrap();
            // Six deviations of rounding.
            let bound = 6.0 * (parameters.degree() as f64 / 12.0).sqrt() / scale.to_f64();
            prop_assert!(worst(&plain.decode_complex(), &values) < bound);
            let real: Vec<_> = values.iter().map(|x| x.re).collect();
            let plain = Plaintext::encode(&parameters, &real, &scale, level).unwrap();
            let off = plain.decode().iter().zip(&real).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            prop_assert!(off < bound);
        }
    }

    #[test]
    fn large_scales_are_as_precise_as_f64() {
        let parameters = shallow();
        let values = random(&parameters, 1);
        for bits in [70, 100, 120] {
            let scale = Scale::power_of_two(bits);
            let plain = Plaintext::encode_complex(&parameters, &values, &scale, 4).unwrap();
            assert!(worst(&plain.decode_complex(), &values) < f64::from(-45).exp2(), "{bits}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let parameters = shallow();
        let encode = |values: &[f64], bits, level| {
            Plaintext::encode(&parameters, values, &Scale::power_of_two(bits), level).unwrap_err()
        };
        let slots = parameters.slots();
        let refused = Error::TooManyValues { values: slots + 1, slots };
        assert_eq!(encode(&vec![0.0; slots + 1], 30, 0), refused);
        assert_eq!(encode(&[1.0], 30, 5), Error::NoSuchLevel { level: 5, most: 4 });
        // A constant is its own coefficient.
        assert!(
            matches!(encode(&vec![16.0; slots], 34, 0), Error::ValueTooLarge { bits, .. } if bits == 38.0)
        );
        for value in [f64::NAN, f64::INFINITY] {
            assert!(matches!(encode(&[value], 30, 4), Error::ValueTooLarge { .. }));
        }
        assert!(
            !format!("{:?}", Plaintext::encode(&parameters, &[7.25], &Scale::power_of_two(30), 4))
                .contains("7.25")
        );
    }
}
