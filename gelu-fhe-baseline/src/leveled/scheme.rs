//! BFV: ciphertexts that add and multiply (Brakerski 2012; Fan and Vercauteren 2012).
//!
//! ```text
//! ⟦m⟧ = (Δm + e − a·s, a)        c₀ + c₁·s = Δm + v (mod q)        m = round(t/q · (c₀ + c₁·s)) mod t
//! ```
//!
//! with Δm = round(q·m/t) coefficient by coefficient, a uniform, s ternary and e small. A plaintext is
//! a polynomial modulo t; its *slots* are its values at the N roots of X^N + 1 modulo t, so that sums
//! and products of plaintexts act on the slots one by one. Here a slot is one sample of the batch.
//!
//! Arithmetic in residues, transforms and rescaling are those of `fhe-math`, the base of the crate
//! `fhe`. Encryption, keys and bytes are ours, because that crate draws some of its randomness by
//! itself and accepts residues out of range; the tests compare the two.
//!
//! # Security
//! IND-CPA under ring learning with errors. Operations on the secret, on errors and on messages take
//! a time that does not depend on them. Ciphertexts are malleable by design.

use core::fmt;

use fhe_math::rq::traits::TryConvertFrom;
use fhe_math::rq::{Poly, Representation};
use gelu_core::error::{ApiMisuse, Result};
use ndarray::Array2;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use super::parameters::Parameters;
use super::sampling::{self, Seed};

/// ⟦m⟧ = (c₀, c₁), transformed, modulo as many limbs as are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ciphertext {
    pub(super) c0: Poly,
    pub(super) c1: Poly,
}

impl Ciphertext {
    pub(super) fn limbs(&self) -> usize {
        self.c0.ctx().moduli().len()
    }

    /// ⟦m + b⟧ for a constant b in all slots: Δb is added to every coefficient of the transform.
    pub(super) fn add_constant(&mut self, parameters: &Parameters, index: usize, b: i128) {
        let t = &parameters.plaintext(index).modulus;
        let level = parameters.level(self.limbs());
        let (q_mod_t, minus_inverse) = &level.delta[index];
        let b = u64::try_from(b.rem_euclid(i128::from(**t))).expect("below t");
        let r = t.mul(b, *q_mod_t);
        let mut rows = sampling::rows(&self.c0);
        let limbs = level.context.moduli_operators().iter().zip(minus_inverse);
        for (mut row, (q, &factor)) in rows.outer_iter_mut().zip(limbs) {
            let constant = q.mul(q.reduce(r), factor);
            row.mapv_inplace(|c| q.add(c, constant));
        }
        self.c0 = sampling::public(&level.context, rows.into_raw_vec_and_offset().0);
    }

    /// The same message modulo fewer limbs: noise shrinks with q.
    pub(super) fn drop_to(&mut self, parameters: &Parameters, limbs: usize) {
        if limbs < self.limbs() {
            for c in [&mut self.c0, &mut self.c1] {
                c.change_representation(Representation::PowerBasis);
                c.switch_down_to(&parameters.level(limbs).context).expect("a lower level");
                c.change_representation(Representation::Ntt);
            }
        }
    }
}

/// The client's secret s. Wiped on drop.
pub(super) struct SecretKey {
    parameters: Parameters,
    coefficients: Zeroizing<Vec<i64>>,
    top: Zeroizing<Poly>,
    bottom: Zeroizing<Poly>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl SecretKey {
    pub(super) fn generate(parameters: &Parameters, rng: &mut dyn CryptoRng) -> Self {
        let coefficients = sampling::ternary(parameters.slots(), rng);
        let at = |limbs| {
            let mut s = sampling::secret(&parameters.level(limbs).context, &coefficients);
            s.change_representation(Representation::NttShoup);
            s
        };
        let (top, bottom) = (at(parameters.limbs()), at(1));
        Self { parameters: parameters.clone(), coefficients, top, bottom }
    }

    /// c₀ of an encryption of `values`, one a slot, zero beyond; c₁ is [`sampling::uniform`].
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for more values than slots.
    pub(super) fn encrypt(
        &self,
        index: usize,
        values: &[i64],
        (seed, number): (Seed, u64),
        rng: &mut dyn CryptoRng,
    ) -> Result<Poly> {
        let (slots, plain) = (self.parameters.slots(), self.parameters.plaintext(index));
        if values.len() > slots {
            let (expected, got) = (vec![slots], vec![values.len()]);
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let level = self.parameters.level(self.parameters.limbs());
        let mut message = Zeroizing::new(plain.modulus.reduce_vec_i64(values));
        message.resize(slots, 0);
        plain.slots.backward(&mut message);
        // Δm = (q·m − r)/t with r = q·m mod t, so Δm = −r/t modulo each limb.
        let (q_mod_t, minus_inverse) = &level.delta[index];
        plain.modulus.scalar_mul_vec(&mut message, *q_mod_t);
        let errors = sampling::errors(slots, rng);
        let mut rows = Array2::zeros((minus_inverse.len(), slots));
        let limbs = level.context.moduli_operators().iter().zip(minus_inverse);
        for (mut row, (q, &factor)) in rows.outer_iter_mut().zip(limbs) {
            let row = row.as_slice_mut().expect("standard layout");
            row.copy_from_slice(&message);
            q.reduce_vec(row);
            q.scalar_mul_vec(row, factor);
            q.add_vec(row, &Zeroizing::new(q.reduce_vec_i64(&errors)));
        }
        let basis = Representation::PowerBasis;
        let mut c0 = Poly::try_convert_from(rows, &level.context, false, basis).expect("fits");
        c0.change_representation(Representation::Ntt);
        let mut a_s = sampling::uniform(&level.context, slots, seed, number);
        a_s.disallow_variable_time_computations();
        a_s *= &*self.top;
        c0 -= &a_s;
        a_s.zeroize();
        Ok(c0)
    }

    /// The slots of a ciphertext with one limb, in 0..t.
    pub(super) fn decrypt(&self, index: usize, ciphertext: &Ciphertext) -> Zeroizing<Vec<u64>> {
        assert_eq!(ciphertext.limbs(), 1, "answers are dropped to one limb");
        let plain = self.parameters.plaintext(index);
        let t = *plain.modulus;
        let q = &self.parameters.level(1).context.moduli_operators()[0];
        let constant_time = |c: &Poly| {
            let mut c = Zeroizing::new(c.clone());
            c.disallow_variable_time_computations();
            c
        };
        let mut phase = constant_time(&ciphertext.c1);
        *phase *= &*self.bottom;
        *phase += &*constant_time(&ciphertext.c0);
        phase.change_representation(Representation::PowerBasis);
        let inverse = inverse_mod_word(**q);
        let round = |&x: &u64| {
            // round(t·x/q) = (y − (y mod q))/q for y = t·x + (q−1)/2: exact, so by an inverse.
            let y = u128::from(t) * u128::from(x) + u128::from(**q / 2);
            let m = low_word(y).wrapping_sub(q.reduce_u128(y)).wrapping_mul(inverse);
            // m is in 0..=t.
            plain.modulus.reduce(m)
        };
        let mut slots: Zeroizing<Vec<u64>> =
            Zeroizing::new(phase.coefficients().iter().map(round).collect());
        plain.slots.forward(&mut slots);
        slots
    }

    /// log₂ of the largest coefficient of the noise, in a time that depends on it.
    #[cfg(test)]
    pub(super) fn noise_bits_vartime(&self, index: usize, ciphertext: &Ciphertext) -> u64 {
        let level = self.parameters.level(ciphertext.limbs());
        let s = sampling::secret(&level.context, &self.coefficients);
        let mut phase = ciphertext.c1.clone();
        phase *= &*s;
        phase += &ciphertext.c0;
        // t·phase = q·m + t·v modulo t·q, so t·v = t·phase modulo q.
        let t = *self.parameters.plaintext(index).modulus;
        let mut rows = sampling::rows(&phase);
        for (mut row, q) in rows.outer_iter_mut().zip(level.context.moduli_operators()) {
            q.scalar_mul_vec(row.as_slice_mut().expect("standard layout"), q.reduce(t));
        }
        let mut phase = sampling::public(&level.context, rows.into_raw_vec_and_offset().0);
        phase.change_representation(Representation::PowerBasis);
        let q = level.context.modulus();
        // Gives the elements the type of q, which is not ours to name.
        let mut lifted = vec![q.clone()];
        lifted.append(&mut Vec::from(&phase));
        let magnitudes = lifted.into_iter().map(|c| (q - &c).min(c));
        let most = magnitudes.max().expect("not empty");
        most.bits().saturating_sub(u64::from(t.ilog2()))
    }

    #[cfg(test)]
    pub(super) fn coefficients(&self) -> &[i64] {
        &self.coefficients
    }
}

/// The server's key: encryptions of s² under s, one for each limb, for relinearisation.
///
/// Part i is (s²·gᵢ + eᵢ − aᵢ·s, aᵢ), where gᵢ is 1 modulo limb i and 0 modulo the others, so that
/// Σ (c mod qᵢ)·gᵢ = c. Without the later limbs it is the key of a lower level.
#[derive(Clone)]
pub(super) struct RelinearisationKey {
    pub(super) seed: Seed,
    pub(super) parts: Vec<Poly>,
}

impl RelinearisationKey {
    pub(super) fn generate(secret: &SecretKey, rng: &mut dyn CryptoRng) -> Self {
        let parameters = &secret.parameters;
        let (slots, context) = (parameters.slots(), &parameters.level(parameters.limbs()).context);
        let seed = sampling::seed(rng);
        let mut square = sampling::secret(context, &secret.coefficients);
        *square *= &*secret.top;
        let square = Zeroizing::new(square);
        let part = |i: usize| {
            let errors = sampling::errors(slots, rng);
            let mut b = (*sampling::secret(context, &errors)).clone();
            let mut a_s = sampling::uniform(context, slots, seed, i as u64);
            a_s.disallow_variable_time_computations();
            a_s *= &*secret.top;
            b -= &a_s;
            a_s.zeroize();
            let mut only = Array2::zeros((context.moduli().len(), slots));
            only.row_mut(i).assign(&square.coefficients().row(i));
            let ntt = Representation::Ntt;
            let mut only = Poly::try_convert_from(only, context, false, ntt).expect("fits");
            b += &only;
            only.zeroize();
            b
        };
        Self { seed, parts: (0..parameters.limbs()).map(part).collect() }
    }
}

/// 1/q modulo 2⁶⁴ for odd q, by Newton: each step doubles the correct bits.
fn inverse_mod_word(q: u64) -> u64 {
    let start = q.wrapping_mul(3) ^ 2;
    (0..4).fold(start, |x, _| x.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(x))))
}

#[expect(clippy::cast_possible_truncation, reason = "the low word is meant")]
fn low_word(y: u128) -> u64 {
    y as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(7)
    }

    #[test]
    fn round_trip() {
        let parameters = Parameters::danger_insecure(64, 2, 20, 2).unwrap();
        let (mut rng, secret) = (rng(), SecretKey::generate(&parameters, &mut rng()));
        let values: Vec<i64> = (0..64).map(|i| (i - 32) * 1000).collect();
        for (index, t) in parameters.plaintext_moduli().enumerate() {
            let seed = sampling::seed(&mut rng);
            let c0 = secret.encrypt(index, &values, (seed, 5), &mut rng).unwrap();
            let c1 = sampling::uniform(&parameters.level(2).context, 64, seed, 5);
            let mut ciphertext = Ciphertext { c0, c1 };
            assert!(secret.noise_bits_vartime(index, &ciphertext) <= 5);
            ciphertext.add_constant(&parameters, index, -17);
            ciphertext.drop_to(&parameters, 1);
            let expected: Vec<_> =
                values.iter().map(|v| (v - 17).rem_euclid(t as i64) as u64).collect();
            assert_eq!(*secret.decrypt(index, &ciphertext), expected);
        }
    }
}
