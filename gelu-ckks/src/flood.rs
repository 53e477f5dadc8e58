//! Decryptions, and what must happen before someone else sees one.
//!
//! Decrypting an approximate ciphertext gives the number *and* its noise, c₀ + c₁·s exactly. Whoever sees both the
//! ciphertext and that has N linear equations for s: Li and Micciancio, *On the security of homomorphic
//! encryption on approximate numbers*, EUROCRYPT 2021, recover the key from one decryption (IND-CPA-D). So
//! decrypted numbers stay with the owner of the key, or fresh noise hides the old one first: with
//!
//! ```text
//! deviation  ρ = √(12·τ)·2^(s/2)·noise          τ decryptions are shown in all, s bits, noise: of a coefficient
//! ```
//! no adversary tells better than by 2^-s the flooded decryptions from those of an exact scheme
//! (Li, Micciancio, Schultz and Sorrell, *Securing approximate homomorphic encryption using differential privacy*, CRYPTO 2022).
//! For s = 30 and one decryption that is 2^16.8 times the noise, for τ = 2^16 2^24.8 times: about 25 bits of the scale.
//!
//! `noise` must bound the deviation that the *worst* honest computation leaves: [`Parameters`] has the figures of each
//! operation. An owner who lets others choose what is computed must take the bound of the whole circuit, not of a mean input.

use std::fmt;

use gelu_ring::Poly;
use num_complex::Complex64;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::ciphertext::Ciphertext;
use crate::embedding::Complex;
use crate::error::{Error, Result};
use crate::keys::PublicKey;
use crate::parameters::Parameters;
use crate::plaintext::{self, Plaintext};
use crate::scale::Scale;

/// The least bits of flooding.
pub const LEAST_FLOOD_BITS: u32 = 30;

/// What a secret key makes of a ciphertext: for its owner's eyes alone.
///
/// ```compile_fail
/// # fn shown(decryption: gelu_ckks::Decryption) -> Vec<f64> {
/// decryption.values() // no such function: flood it, or say that it is dangerous
/// # }
/// ```
///
/// `Debug` shows nothing, and it is wiped on drop.
pub struct Decryption {
    parameters: Parameters,
    integers: Zeroizing<Vec<f64>>,
    scale: Scale,
}

/// Numbers that may be shown to others.
#[derive(Debug, Clone, PartialEq)]
pub struct Shareable {
    /// All slots.
    slots: Vec<Complex64>,
    /// ρ in a slot.
    deviation: f64,
}

/// How much noise is to be hidden, and how well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flooding {
    /// τ: decryptions under one key that others see in all.
    pub queries: u64,
    /// s, at least [`LEAST_FLOOD_BITS`].
    pub bits: u32,
    /// The deviation of the noise in a coefficient, at most.
    pub noise: f64,
}

impl Decryption {
    pub(crate) fn new(parameters: Parameters, integers: Zeroizing<Vec<f64>>, scale: Scale) -> Self {
        Self { parameters, integers, scale }
    }

    /// All slots, with the noise that gives the key away to whoever has the ciphertext: only where they stay with
    /// the owner of the key, who wipes them.
    #[must_use]
    pub fn danger_slots(&self) -> Vec<Complex64> {
        self.slots().iter().map(|x| x.0).collect()
    }

    /// The real parts of all slots, with the same warning. Wiped on drop.
    #[must_use]
    pub fn danger_values(&self) -> Zeroizing<Vec<f64>> {
        Zeroizing::new(self.slots().iter().map(|x| x.0.re).collect())
    }

    /// The real and the imaginary parts of all slots, with the same warning. Wiped on drop.
    #[must_use]
    pub fn danger_pairs(&self) -> Zeroizing<Vec<[f64; 2]>> {
        Zeroizing::new(self.slots().iter().map(|x| [x.0.re, x.0.im]).collect())
    }

    fn slots(&self) -> Zeroizing<Vec<Complex>> {
        plaintext::slots(&self.parameters, &self.integers, &self.scale)
    }

    /// Adds normal noise of deviation ρ to each coefficient.
    ///
    /// # Errors
    /// [`Error::TooFewFloodBits`]; [`Error::NothingLeft`] when ρ in a slot is as large as the scale.
    pub fn flood(mut self, flooding: &Flooding, rng: &mut dyn CryptoRng) -> Result<Shareable> {
        let Flooding { queries, bits, noise } = *flooding;
        if bits < LEAST_FLOOD_BITS {
            return Err(Error::TooFewFloodBits { got: bits, least: LEAST_FLOOD_BITS });
        }
        let deviation = flooding.deviation();
        let slot = deviation * (self.parameters.degree() as f64).sqrt();
        let (flood_bits, scale_bits) = (slot.log2(), self.scale.log2());
        // Also when it is not a number.
        if !(queries > 0 && noise > 0.0 && flood_bits < scale_bits) {
            return Err(Error::NothingLeft { flood_bits, scale_bits });
        }
        for pair in self.integers.as_chunks_mut::<2>().0 {
            let flood = normal_pair(rng);
            pair.iter_mut().zip(flood).for_each(|(x, flood)| *x += (deviation * flood).round());
        }
        let slots = self.slots().iter().map(|x| x.0).collect();
        Ok(Shareable { slots, deviation: slot / self.scale.to_f64() })
    }
}

impl PublicKey {
    /// The same numbers for the owner of this key, with nothing left of how they were computed: plus an encryption of 0 and
    /// normal noise of this deviation in each coefficient.
    ///
    /// This is the other direction than [`Decryption::flood`]: a server that computed with weights of its own hides from the
    /// owner what the noise says about them. The encryption of 0 makes c₁ look uniform. Noise of a coefficient that was e is
    /// within e/deviation of what anybody could have made of the numbers alone (statistical distance of two normal
    /// distributions, at most 0.4·e/deviation), so 30 bits take a deviation of 2^30 times the noise.
    ///
    /// # Errors
    /// [`Error::OtherParameters`]; [`Error::ValueTooLarge`] when the noise does not fit the modulus. It may be as large as the
    /// scale, as where many slots hold one number and the owner takes their mean.
    pub fn hide_computation(
        &self,
        answer: &Ciphertext,
        deviation: f64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Ciphertext> {
        let parameters = answer.parameters();
        // Normal numbers are below 2^3.2; a word holds 63 bits, and the message needs its own.
        let (bits, most) = (deviation.log2() + 3.2, parameters.level_bits(answer.level()) - 2.0);
        let most = most.min(62.0);
        // Also when it is not a number.
        if !(deviation > 0.0 && bits < most) {
            return Err(Error::ValueTooLarge { bits, most });
        }
        let mut flood = Zeroizing::new(vec![0i64; parameters.degree()]);
        for pair in flood.as_chunks_mut::<2>().0 {
            #[expect(clippy::cast_possible_truncation, reason = "checked above")]
            let words = normal_pair(rng).map(|flood| (deviation * flood).round() as i64);
            *pair = words;
        }
        let basis = &parameters.level(answer.level()).basis;
        let poly = Poly::from_words(basis, &flood).into_evaluations();
        let (scale, level) = (answer.scale().clone(), answer.level());
        let parameters = parameters.clone();
        let plain = Zeroizing::new(Plaintext { parameters, poly, scale, level });
        answer.add(&self.encrypt(&plain, rng)?)
    }
}

impl Flooding {
    /// ρ.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (12.0 * self.queries as f64).sqrt() * (f64::from(self.bits) / 2.0).exp2() * self.noise
    }
}

impl Shareable {
    /// All slots.
    #[must_use]
    pub fn slots(&self) -> &[Complex64] {
        &self.slots
    }

    /// The real parts.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.slots.iter().map(|x| x.re)
    }

    /// −log₂ of the deviation of a slot: bits behind the point that mean something.
    #[must_use]
    pub fn precision_bits(&self) -> f64 {
        -self.deviation.log2()
    }
}

impl fmt::Debug for Decryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decryption(scale {:?})", self.scale)
    }
}

/// Two independent normal numbers of deviation 1, of at most 8.6 in size (Box and Muller, 1958).
fn normal_pair(rng: &mut dyn CryptoRng) -> [f64; 2] {
    // Above 0, and at most 1.
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 * f64::from(-53).exp2();
    let radius = (-2.0 * uniform().ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform()).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encrypted, open, random, rng, secret, shallow, worst};

    #[test]
    fn what_is_shown_is_off_by_the_flood_and_no_more() {
        let parameters = shallow();
        let values = random(&parameters, 1);
        let ciphertext = encrypted(&values, 2);
        let noise = parameters.fresh_noise() + 0.3;
        let flooding = Flooding { queries: 1, bits: 30, noise };
        let shown = secret().decrypt(&ciphertext).unwrap().flood(&flooding, &mut rng(1)).unwrap();
        // √12·2^15·3.5 = 2^18.6 in a coefficient, √8192 times that over 2^34 in a slot.
        assert!((8.8..9.0).contains(&shown.precision_bits()), "{}", shown.precision_bits());
        let off = worst(shown.slots(), &values);
        let deviation = (-shown.precision_bits()).exp2();
        assert!(off < 6.0 * deviation && off > 2.0 * deviation, "{off:e} {deviation:e}");
        // The mean square of what was added.
        let unflooded = open(&ciphertext);
        let square = shown.slots().iter().zip(&unflooded).map(|(a, b)| (a - b).norm_sqr());
        let square = square.sum::<f64>() / parameters.slots() as f64;
        assert!((square.sqrt() / deviation - 1.0).abs() < 0.05);
    }

    #[test]
    fn too_little_is_refused_and_so_is_what_leaves_nothing() {
        let parameters = shallow();
        let decrypt = || secret().decrypt(&encrypted(&random(&parameters, 1), 1)).unwrap();
        let flood = |queries, bits, noise| {
            decrypt().flood(&Flooding { queries, bits, noise }, &mut rng(1)).unwrap_err()
        };
        assert_eq!(flood(1, 29, 3.2), Error::TooFewFloodBits { got: 29, least: 30 });
        for (queries, noise) in [(0, 3.2), (1, 0.0), (1, f64::NAN), (1 << 40, 3.2), (1, 1e7)] {
            assert!(matches!(flood(queries, 30, noise), Error::NothingLeft { .. }), "{queries}");
        }
        assert!(!format!("{:?}", decrypt()).contains("0."));
    }

    #[test]
    fn hidden_computations_are_off_by_the_flood_and_no_ciphertext_is_what_it_was() {
        let parameters = shallow();
        let values = random(&parameters, 1);
        let (a, rng) = (encrypted(&values, 2), &mut rng(7));
        let public = secret().public_key(rng);
        let deviation = f64::from(20).exp2();
        let hidden = public.hide_computation(&a, deviation, rng).unwrap();
        assert_eq!((hidden.level(), hidden.scale()), (2, a.scale()));
        let off = open(&hidden).iter().zip(&open(&a)).map(|(a, b)| (a - b).norm_sqr()).sum::<f64>();
        let off = (off / parameters.slots() as f64).sqrt();
        let expected = parameters.slot_bound(deviation, a.scale()) / 6.0;
        assert!((off / expected - 1.0).abs() < 0.05, "{off:e} {expected:e}");
        assert_ne!(hidden.c1.residues(0), a.c1.residues(0));
        for deviation in [0.0, f64::NAN, f64::from(59).exp2(), f64::INFINITY] {
            let refused = public.hide_computation(&a, deviation, rng);
            assert!(matches!(refused, Err(Error::ValueTooLarge { .. })), "{deviation}");
        }
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let rng = &mut rng(5);
        let all: Vec<f64> = (0..20_000).flat_map(|_| normal_pair(rng)).collect();
        let moment = |k: i32| all.iter().map(|x| x.powi(k)).sum::<f64>() / all.len() as f64;
        assert!(moment(1).abs() < 0.02 && (moment(2) - 1.0).abs() < 0.04);
        assert!(moment(3).abs() < 0.08 && (moment(4) - 3.0).abs() < 0.25);
        assert!(all.iter().all(|x| x.abs() < 8.7));
    }
}
