//! What sealing hides, laid open: for a security laboratory, which builds servers that leave out a step.
//!
//! Behind the feature `laboratory`, which no program of ours has. Nothing here is needed to use the backend, and what
//! these functions return must not be sent.

use gelu_ring::{Coefficients, Evaluations, Poly};
use rand_core::CryptoRng;

use crate::keys::{PublicKey, SecretKey};
use crate::layout::{Sums, TileAnswer};
use crate::plain::Fraction;
use crate::upload::Ciphertext;
use crate::zero;

/// c₀ and c₁ of each answer, as they were computed: not sealed.
///
/// # Panics
/// When the layout is a packed one, whose answers are computed as they are sealed.
pub fn danger_bare(answer: &TileAnswer) -> Vec<[Poly<Evaluations>; 2]> {
    let Sums::Made(ciphertexts) = &answer.sums else { panic!("answers of a packed layout") };
    ciphertexts.iter().map(|c| [c.c0.clone(), c.c1.clone()]).collect()
}

/// c₀ and c₁ of an encryption of 0, which a seal would use once.
pub fn danger_zero(public: &PublicKey, rng: &mut dyn CryptoRng) -> [Poly<Coefficients>; 2] {
    let nothing = || Poly::zero(public.parameters().basis());
    let zero = zero::take(public, 1, rng).pop().expect("one was asked for").make(public);
    zero.hide(Ciphertext { c0: nothing(), c1: nothing() }).into()
}

/// s: an attacker knows its own.
pub fn danger_secret(secret: &SecretKey) -> &Poly<Evaluations> {
    secret.secret()
}

/// round(2^w·x/q) modulo 2^w of all coefficients, w ≤ 76: what crosses the wire of them.
pub fn switch(x: Poly<Coefficients>, wire_bits: u32) -> Vec<u128> {
    let fraction = Fraction::new(x.basis());
    fraction.switch(x, wire_bits)
}
