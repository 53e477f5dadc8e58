//! Encryptions of zero by others than the owner, and the seals made of them.
//!
//! ```text
//! zero   r ∈ {0,1}^n      u = Aᵀ·r + e₁      v = ⟨b, r⟩₀ + e₂
//!        v − ⟨u, s⟩₀  =  ⟨e, r⟩₀ + e₂ − ⟨e₁, s⟩₀
//! seal   c + zero, with a flood for e₂, + R·2^(87 + bits)
//! ```
//!
//! v is one coefficient, and (u, v) becomes an LWE ciphertext by sample extraction. Every
//! ciphertext gets an r of its own: with the transforms of `ring` that costs less than a hundred
//! multiply-accumulates of a layer, and then nothing need be said about secrets that are used
//! twice.
//!
//! # What a seal hides, and from whom
//! The client knows s and all about the ciphertexts that it sent, so it sees the mask of the answer
//! and its phase.
//!
//! - *The phase, towards an honest client.* The noise of the sum, at most 2^47 with the seal's, is
//!   under a uniform flood 2^40 times as wide: the distribution of the phase is within 2^-40 of one
//!   that depends on the value alone. Above the slot is a uniform mask R. The flood and the mask
//!   are the same whatever the weights are; the bound that a [`Ciphertext`] carries is compared with
//!   a constant, never used to scale anything.
//! - *The mask.* Σ kᵢ·aᵢ is covered by u, which looks uniform by the decisional module LWE problem
//!   with the secret r, as long as A is uniform; A is expanded from a seed, so that nobody chooses
//!   it.
//! - *A client in bad faith* may choose b and its ciphertexts as it likes. Then the body is any
//!   function of r and the weights that it likes, but still under the flood and R: only
//!   2^(87 + bits) bodies are distinct, and the flood spreads each over 2^87 − 2^48 of them. So a body tells
//!   at most `bits` + 2^-38 bits *in all*, which is what the ledger counts, and if they are about r,
//!   u still hides the weights: it is an LWE sample of which at most 41 bits of the secret have
//!   leaked, and its noise is wider than tfhe's curve wants with 500 dimensions less.
//!
//! # What does not fit
//! Noise beyond the budget (`parameters`) would come through the flood. `seal` cannot return an
//! error, so such a ciphertext is replaced by an encryption of −2^(bits − 1), which is no slot's
//! value: decryption fails without saying why. `linear_combination` and `matvec` refuse before.

use gelu_core::SlotShape;
use rand_core::CryptoRng;
use rayon::prelude::*;
use tfhe::core_crypto::algorithms::slice_algorithms::slice_wrapping_dot_product;
use zeroize::Zeroizing;

use super::ciphertext::{Ciphertext, encode, fits};
use super::keys::PublicKey;
use super::noise::NoiseBound;
use super::parameters::{
    DELTA_BITS, DIMENSION, HALF_CELL, NOISE_BITS, PUBLIC_NOISE, SEAL_NOISE_BITS,
};
use super::ring::{Side, constant_coefficient};
use super::sample::{Sampler, seeds};

impl PublicKey {
    /// Encrypts a value of at most 41 bits by the public key alone.
    pub(crate) fn encrypt_value(&self, value: i128, rng: &mut dyn CryptoRng) -> Ciphertext {
        let mut sampler = Sampler::new(seeds(1, rng)[0]);
        let mut words = self.zero(NOISE_BITS, &mut sampler);
        let body = &mut words[DIMENSION..];
        body[0] = body[0].wrapping_add(encode(value));
        sampler.add_noise(NOISE_BITS, body);
        Ciphertext::new(self, words, NoiseBound(PUBLIC_NOISE))
    }

    /// Seals each ciphertext, on all processors.
    ///
    /// # Panics
    /// When a shape does not fit, or a ciphertext belongs to another key.
    pub(crate) fn seal_all(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        let seeds = seeds(ciphertexts.len(), rng);
        let seal = |((ciphertext, shape), seed): (&(Ciphertext, SlotShape), &[u8; 32])| {
            self.seal(ciphertext, *shape, Sampler::new(*seed))
        };
        ciphertexts.par_iter().zip(&*seeds).map(seal).collect()
    }

    fn seal(&self, ciphertext: &Ciphertext, shape: SlotShape, mut sampler: Sampler) -> Ciphertext {
        assert!(fits(shape), "a shape that a ciphertext holds");
        let spoilt;
        let ciphertext = if ciphertext.noise.can_be_sealed() {
            ciphertext
        } else {
            spoilt = Ciphertext::trivial(self, -(1 << (shape.bits - 1)));
            &spoilt
        };
        let mut words = self.zero(SEAL_NOISE_BITS, &mut sampler);
        for (word, old) in words.iter_mut().zip(ciphertext.under(self)) {
            *word = word.wrapping_add(*old);
        }
        let mask = sampler.word().checked_shl(DELTA_BITS + shape.bits).unwrap_or(0);
        let body = &mut words[DIMENSION];
        *body = body.wrapping_add(sampler.flood()).wrapping_add(mask);
        // The cell is full: this decrypts, and nothing can be added to it.
        Ciphertext::new(self, words, NoiseBound(HALF_CELL - 1))
    }

    /// (u, ⟨b, r⟩₀) for a fresh r, as the words of an LWE ciphertext: an encryption of zero whose
    /// body still lacks its noise.
    pub(crate) fn zero(&self, noise_bits: u32, sampler: &mut Sampler) -> Vec<u128> {
        let mut r = Zeroizing::new(vec![0; DIMENSION]);
        sampler.binary(&mut r);
        let mut u = self.matrix().times(Side::Columns, &r);
        sampler.add_noise(noise_bits, &mut u);
        let mut words = constant_coefficient(&u);
        words.push(slice_wrapping_dot_product(self.b_constant(), &r));
        words
    }
}
