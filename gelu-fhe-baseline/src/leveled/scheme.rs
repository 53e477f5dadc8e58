//! BFV: ciphertexts that add and multiply (Brakerski 2012; Fan and Vercauteren 2012).
//!
//! ```text
//! ⟦m⟧ = (Δm + e − a·s, a)        c₀ + c₁·s = Δm + v (mod q)        m = round(t/q · (c₀ + c₁·s)) mod t
//! ```
//!
//! with Δm = ⌊q·m/t⌋ coefficient by coefficient, a uniform, s ternary and e small. A plaintext is
//! a polynomial modulo t; its *slots* are its values at the N roots of X^N + 1 modulo t, so that sums
//! and products of plaintexts act on the slots one by one. Here a slot is one sample of the batch.
//!
//! Polynomials, their transforms and their randomness are those of `gelu-ring`; the tests compare with the crate
//! `fhe`.
//!
//! # Security
//! IND-CPA under ring learning with errors. Operations on the secret, on errors and on messages take
//! a time that does not depend on them. Ciphertexts are malleable by design.

use core::fmt;

use gelu_core::error::{ApiMisuse, Result};
use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Conversion, Evaluations, Poly};
use rand::RngExt;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::parameters::Parameters;

/// ⟦m⟧ = (c₀, c₁), transformed, modulo as many limbs as are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ciphertext {
    pub(super) c0: Poly<Evaluations>,
    pub(super) c1: Poly<Evaluations>,
}

impl Ciphertext {
    pub(super) fn limbs(&self) -> usize {
        self.c0.basis().moduli().len()
    }

    /// ⟦m + b⟧ for a constant b in all slots: Δb is added to every coefficient of the transform.
    pub(super) fn add_constant(&mut self, parameters: &Parameters, index: usize, b: i128) {
        let t = parameters.plaintext_modulus(index);
        let level = parameters.level(self.limbs());
        let (q_mod_t, minus_inverse) = &level.delta[index];
        let r = t.mul(t.reduce_signed(b), *q_mod_t);
        let limbs: Vec<_> = level.basis.moduli().zip(minus_inverse).collect();
        self.c0 += &Poly::from_residues(&level.basis, |i, row| {
            let (q, factor) = limbs[i];
            row.fill(q.mul(r, *factor));
        });
    }

    /// The same message modulo fewer limbs: noise shrinks with q.
    pub(super) fn drop_to(&mut self, limbs: usize) {
        while self.limbs() > limbs {
            for c in [&mut self.c0, &mut self.c1] {
                *c = c.divide_by_last().expect("more than one limb");
            }
        }
    }
}

/// The client's secret s. Wiped on drop.
pub(super) struct SecretKey {
    parameters: Parameters,
    /// s over the limbs of fresh ciphertexts, and of answers.
    top: Zeroizing<Poly<Evaluations>>,
    bottom: Zeroizing<Poly<Evaluations>>,
    /// For each t: from the limbs of answers to t.
    rounding: Vec<Conversion>,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl SecretKey {
    pub(super) fn generate(parameters: &Parameters, rng: &mut dyn CryptoRng) -> Self {
        let small = Small::ternary(parameters.slots(), rng);
        let answers = parameters.level(parameters.answer_limbs());
        let (top, bottom) =
            (small.evaluations(&parameters.top().basis), small.evaluations(&answers.basis));
        let rounding = (0..parameters.plaintext_moduli().len())
            .map(|index| Conversion::new(&answers.basis, parameters.plaintext(index)))
            .collect();
        Self { parameters: parameters.clone(), top, bottom, rounding }
    }

    /// c₀ of an encryption of `values`, one a slot, zero beyond; c₁ is uniform polynomial `number` of the seed.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for more values than slots.
    pub(super) fn encrypt(
        &self,
        index: usize,
        values: &[i64],
        (seed, number): (Seed, u64),
        rng: &mut dyn CryptoRng,
    ) -> Result<Poly<Evaluations>> {
        let slots = self.parameters.slots();
        if values.len() > slots {
            let (expected, got) = (vec![slots], vec![values.len()]);
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let (t, plain) =
            (self.parameters.plaintext_modulus(index), self.parameters.plaintext(index));
        let message = Poly::<Evaluations>::from_residues(plain, |_, row| {
            row.iter_mut().zip(values).for_each(|(m, &v)| *m = t.reduce_signed(v.into()));
        });
        let mut message = Zeroizing::new(message.into_coefficients());
        // Δm = (q·m − r)/t with r = q·m mod t, so Δm = −r/t modulo each limb.
        let level = self.parameters.top();
        let (q_mod_t, minus_inverse) = &level.delta[index];
        message.scale(&[*q_mod_t]);
        let mut c0 = Poly::from_unsigned(&level.basis, message.residues(0));
        c0.scale(minus_inverse);
        c0 += &Small::error(slots, rng).coefficients(&level.basis);
        let mut c0 = c0.into_evaluations();
        c0 -= &self.times_uniform(seed, number);
        Ok(c0)
    }

    /// a·s for uniform polynomial `number` of a seed.
    fn times_uniform(&self, seed: Seed, number: u64) -> Zeroizing<Poly<Evaluations>> {
        let a = sample::uniform(self.top.basis(), &seed, number);
        Zeroizing::new(&a * &*self.top)
    }

    /// The slots of an answer, in 0..t.
    pub(super) fn decrypt(&self, index: usize, answer: &Ciphertext) -> Zeroizing<Vec<u64>> {
        let mut phase = &answer.c1 * &*self.bottom;
        phase += &answer.c0;
        let phase = Zeroizing::new(phase.into_coefficients());
        let message = self.rounding[index].switch(&phase);
        let slots = Zeroizing::new(message.into_evaluations());
        Zeroizing::new(slots.residues(0).to_vec())
    }

    /// log₂ of the largest coefficient of the noise, in a time that depends on it.
    #[cfg(test)]
    pub(super) fn noise_bits_vartime(&self, index: usize, ciphertext: &Ciphertext) -> u64 {
        use num_bigint_dig::{BigUint, ModInverse};
        let basis = ciphertext.c0.basis();
        let mut phase = &ciphertext.c1 * &self.top.part(0..ciphertext.limbs());
        phase += &ciphertext.c0;
        // t·phase = q·m + t·v modulo t·q, so t·v = t·phase modulo q.
        let t = self.parameters.plaintext_modulus(index).value();
        let mut phase = phase.into_coefficients();
        phase.scale(&basis.residues(t.into()));
        let q: BigUint = basis.moduli().map(|limb| BigUint::from(limb.value())).product();
        let units = basis.moduli().map(|limb| {
            let others = &q / limb.value();
            let inverse = (&others).mod_inverse(BigUint::from(limb.value())).expect("primes");
            others * inverse.to_biguint().expect("a residue")
        });
        let units: Vec<_> = units.collect();
        let magnitude = |j: usize| {
            let terms = units.iter().enumerate().map(|(i, unit)| unit * phase.residues(i)[j]);
            let c = terms.sum::<BigUint>() % &q;
            (&q - &c).min(c)
        };
        let most = (0..basis.degree()).map(magnitude).max().expect("not empty");
        (most.bits() as u64).saturating_sub(t.ilog2().into())
    }

    #[cfg(all(test, feature = "judge"))]
    pub(super) fn coefficients(&self) -> Vec<i64> {
        let q = self.top.basis().moduli().next().expect("a limb");
        let s = (*self.top).clone().into_coefficients();
        s.residues(0).iter().map(|&x| q.centre(x)).collect()
    }
}

/// The server's key: encryptions of s² under s, one for each limb, for relinearisation.
///
/// Part i is (s²·gᵢ + eᵢ − aᵢ·s, aᵢ), where gᵢ is 1 modulo limb i and 0 modulo the others, so that
/// Σ (c mod qᵢ)·gᵢ = c. Without the later limbs it is the key of a lower level.
#[derive(Clone)]
pub(super) struct RelinearisationKey {
    pub(super) seed: Seed,
    pub(super) parts: Vec<Poly<Evaluations>>,
}

impl RelinearisationKey {
    pub(super) fn generate(secret: &SecretKey, rng: &mut dyn CryptoRng) -> Self {
        let (degree, basis) = (secret.parameters.slots(), secret.top.basis());
        let seed = rng.random();
        let square = Zeroizing::new(&*secret.top * &*secret.top);
        let part = |i: usize| {
            let mut b = Poly::from_residues(basis, |j, row| {
                if j == i {
                    row.copy_from_slice(square.residues(i));
                }
            });
            b += &Small::error(degree, rng).evaluations(basis);
            b -= &secret.times_uniform(seed, i as u64);
            b
        };
        Self { seed, parts: (0..secret.parameters.limbs()).map(part).collect() }
    }
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
        let parameters = Parameters::danger_insecure(2048, 2, 20, 2).unwrap();
        let (mut rng, secret) = (rng(), SecretKey::generate(&parameters, &mut rng()));
        let values: Vec<i64> = (0..2048).map(|i| (i - 1024) * 100).collect();
        for (index, t) in parameters.plaintext_moduli().enumerate() {
            let seed = [7; 32];
            let c0 = secret.encrypt(index, &values, (seed, 5), &mut rng).unwrap();
            let c1 = sample::uniform(&parameters.top().basis, &seed, 5);
            let mut ciphertext = Ciphertext { c0, c1 };
            assert!(secret.noise_bits_vartime(index, &ciphertext) <= 5);
            ciphertext.add_constant(&parameters, index, -17);
            ciphertext.drop_to(1);
            let expected: Vec<_> =
                values.iter().map(|v| (v - 17).rem_euclid(t as i64) as u64).collect();
            assert_eq!(*secret.decrypt(index, &ciphertext), expected);
        }
    }
}
