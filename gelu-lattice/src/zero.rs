//! Encryptions of 0 under the public key, which hide how an answer was made.
//!
//! The c₁ of an answer is Σ wᵢ·c₁ᵢ: a known function of the weights, as the client knows all c₁ᵢ. With u ternary
//! and e₁ an error, both fresh, an answer becomes
//!
//! ```text
//! c₀ + 2·b·u      c₁ + 2·(a·u + e₁)
//! ```
//! a·u + e₁ looks uniform to whoever does not know u (ring-LWE), and so does its double, as q is odd.
//!
//! # Why twice
//! What c₀ shows must not depend on u and e₁. For a key made in bad faith, the [proof](crate::proof) gives small s′ and
//! e′ with 2·b = −a·s′ + e′; so what is added to c₀ is, by what is added to c₁,
//!
//! ```text
//! 2·b·u = −(s′/2)·2·(a·u + e₁) + (e′·u + s′·e₁)        1/2 modulo q
//! ```
//! where the first part follows from c₁, and the second is small and flooded. In b·u alone, it would be divided by
//! 2 modulo q, and not be small. For an honest key the phase gets 2·(e·u + s·e₁). No error is added to c₀ besides.

use gelu_ring::sample::Small;
use gelu_ring::{Coefficients, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::upload::{Ciphertext, streams};

/// Twice an encryption of 0. Used up by the answer that it hides: under two, their difference would show.
pub(crate) struct Zero {
    c0: Zeroizing<Poly<Coefficients>>,
    c1: Zeroizing<Poly<Coefficients>>,
}

impl Zero {
    fn new(public: &PublicKey, mut rng: ChaCha20Rng) -> Self {
        let (basis, rng) = (public.parameters().basis(), &mut rng);
        let u = Small::ternary(basis.degree(), rng).evaluations(basis);
        let mut c0 = Zeroizing::new((public.b() * &*u).into_coefficients());
        let mut c1 = Zeroizing::new((public.a() * &*u).into_coefficients());
        *c1 += &Small::error(basis.degree(), rng).coefficients(basis);
        let two = basis.residues(2);
        c0.scale(&two);
        c1.scale(&two);
        Self { c0, c1 }
    }

    /// Adds it to an answer.
    pub(crate) fn hide(self, answer: Ciphertext) -> (Poly<Coefficients>, Poly<Coefficients>) {
        let (mut c0, mut c1) = (answer.c0.into_coefficients(), answer.c1.into_coefficients());
        c0 += &self.c0;
        c1 += &self.c1;
        (c0, c1)
    }
}

/// Makes `count` encryptions of 0.
pub(crate) fn zeros(public: &PublicKey, count: usize, rng: &mut dyn CryptoRng) -> Vec<Zero> {
    streams(count, rng).into_par_iter().map(|rng| Zero::new(public, rng)).collect()
}

/// `count` encryptions of 0, of which those made before are used up first.
pub(crate) fn take(public: &PublicKey, count: usize, rng: &mut dyn CryptoRng) -> Vec<Zero> {
    let mut ready = public.zeros().take(count);
    ready.extend(zeros(public, count - ready.len(), rng));
    ready
}
