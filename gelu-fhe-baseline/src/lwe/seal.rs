//! Encryptions of zero by others than the owner, and the seals made of them.
//!
//! ```text
//! zero   r ∈ {0,1}^n      u = Aᵀ·r + e₁      v = ⟨b, r⟩₀ + e₂
//!        v − ⟨u, s⟩₀  =  ⟨e, r⟩₀ + e₂ − ⟨e₁, s⟩₀
//! seal   c + zero, with a flood for e₂, + R·2^(86 + bits)
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
//! - *The phase, towards an honest client.* The noise of the sum, at most 2^46 with the seal's, is
//!   under a uniform flood 2^40 times as wide: the distribution of the phase is within 2^-40 of one
//!   that depends on the value alone. Above the slot is a uniform mask R. The flood and the mask
//!   are the same whatever the weights are; the bound that a [`Ciphertext`] carries is compared with
//!   a constant, never used to scale anything.
//! - *The mask.* Σ kᵢ·aᵢ is covered by u, which looks uniform by the decisional module LWE problem
//!   with the secret r, as long as A is uniform; A is expanded from a seed, so that nobody chooses
//!   it.
//! - *A client in bad faith* may choose b and its ciphertexts as it likes. Then the body is any
//!   function of r and the weights that it likes, but still under the flood and R: only
//!   2^(86 + bits) bodies are distinct, and the flood spreads each over 2^86 − 2^47. So a body tells
//!   at most `bits` + 2^-38 bits *in all*, which is what the ledger counts, and if they are about r,
//!   u still hides the weights: it is an LWE sample of which at most 42 bits of the secret have
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
use tfhe::core_crypto::commons::math::random::{RandomGenerator, Seed, Uniform, UniformBinary};
use tfhe::core_crypto::prelude::{DefaultRandomGenerator, TUniform};
use zeroize::Zeroizing;

use super::ciphertext::{Ciphertext, encode, fits};
use super::keys::{PublicKey, draw_seed};
use super::noise::NoiseBound;
use super::parameters::{
    DELTA_BITS, DIMENSION, FLOOD, HALF_CELL, PUBLIC_NOISE, noise as fresh_noise, seal_noise,
};
use super::ring::{Side, constant_coefficient};

impl PublicKey {
    /// Encrypts a value of at most 42 bits by the public key alone.
    pub(crate) fn encrypt_value(&self, value: i128, rng: &mut dyn CryptoRng) -> Ciphertext {
        let mut generator = Generator::new(draw_seed(rng));
        let mut words = self.zero(fresh_noise(), &mut generator);
        let noise: u128 = generator.random_from_distribution(fresh_noise());
        let body = &mut words[DIMENSION];
        *body = body.wrapping_add(noise).wrapping_add(encode(value));
        Ciphertext::new(self, words, NoiseBound(PUBLIC_NOISE))
    }

    /// Seals each ciphertext, on all processors, with a generator of 128 bits of seed for each.
    ///
    /// # Panics
    /// When a shape does not fit, or a ciphertext belongs to another key.
    pub(crate) fn seal_all(
        &self,
        ciphertexts: &[(Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> Vec<Ciphertext> {
        let seeds: Vec<_> = ciphertexts.iter().map(|_| draw_seed(rng)).collect();
        let seal = |((ciphertext, shape), &seed): (&(Ciphertext, SlotShape), &Seed)| {
            self.seal(ciphertext, *shape, seed)
        };
        ciphertexts.par_iter().zip(&seeds).map(seal).collect()
    }

    fn seal(&self, ciphertext: &Ciphertext, shape: SlotShape, seed: Seed) -> Ciphertext {
        assert!(fits(shape), "a shape that a ciphertext holds");
        let spoilt;
        let ciphertext = if ciphertext.noise.can_be_sealed() {
            ciphertext
        } else {
            spoilt = Ciphertext::trivial(self, -(1 << (shape.bits - 1)));
            &spoilt
        };
        let mut generator = Generator::new(seed);
        let mut words = self.zero(seal_noise(), &mut generator);
        for (word, old) in words.iter_mut().zip(ciphertext.under(self)) {
            *word = word.wrapping_add(*old);
        }
        let mask: u128 = generator.random_from_distribution(Uniform);
        let mask = mask.checked_shl(DELTA_BITS + shape.bits).unwrap_or(0);
        let body = &mut words[DIMENSION];
        *body = body.wrapping_add(flood(&mut generator)).wrapping_add(mask);
        // The cell is full: this decrypts, and nothing can be added to it.
        Ciphertext::new(self, words, NoiseBound(HALF_CELL - 1))
    }

    /// (u, ⟨b, r⟩₀) for a fresh r, as the words of an LWE ciphertext: an encryption of zero whose
    /// body still lacks its noise.
    pub(crate) fn zero(&self, noise: TUniform<u128>, generator: &mut Generator) -> Vec<u128> {
        let mut r = Zeroizing::new(vec![0; DIMENSION]);
        generator.fill_slice_with_random_from_distribution(&mut r, UniformBinary);
        let mut u = self.matrix().times(Side::Columns, &r);
        for u in &mut u {
            *u = u.wrapping_add(generator.random_from_distribution(noise));
        }
        let mut words = constant_coefficient(&u);
        words.push(slice_wrapping_dot_product(self.b_constant(), &r));
        words
    }
}

pub(crate) type Generator = RandomGenerator<DefaultRandomGenerator>;

/// Uniform on −`FLOOD` … `FLOOD` − 1. Takes another draw with probability 2^-39.
fn flood(generator: &mut Generator) -> u128 {
    loop {
        let drawn: u128 = generator.random_from_distribution(Uniform);
        let drawn = drawn >> (128 - DELTA_BITS);
        if drawn < 2 * FLOOD {
            return drawn.wrapping_sub(FLOOD);
        }
    }
}
