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
use gelu_ring::{Coefficients, Evaluations, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::upload::{Ciphertext, streams};

/// Twice an encryption of 0. Used up by the answer that it hides: under two, their difference would show.
pub(crate) struct Zero {
    /// 2·b·u and 2·a·u.
    products: Zeroizing<[Poly<Evaluations>; 2]>,
    /// e₁.
    error: Small,
}

impl Zero {
    fn new(public: &PublicKey, mut rng: ChaCha20Rng) -> Self {
        let (basis, rng) = (public.parameters().basis(), &mut rng);
        let mut double = Small::ternary(basis.degree(), rng).evaluations(basis);
        double.scale(&basis.residues(2));
        let products = Zeroizing::new([public.b(), public.a()].map(|a| &a * &*double));
        Self { products, error: Small::error(basis.degree(), rng) }
    }

    /// Adds it to an answer.
    pub(crate) fn hide(self, answer: Ciphertext) -> (Poly<Coefficients>, Poly<Coefficients>) {
        let Ciphertext { mut c0, mut c1 } = answer;
        c0 += &self.products[0];
        c1 += &self.products[1];
        let (c0, mut c1) = (c0.into_coefficients(), c1.into_coefficients());
        let mut error = self.error.coefficients(c1.basis());
        error.scale(&c1.basis().residues(2));
        c1 += &error;
        (c0, c1)
    }
}

/// An encryption of 0 that was made before, or what to make it from.
pub(crate) enum Source {
    Made(Zero),
    Fresh(Box<ChaCha20Rng>),
}

impl Source {
    pub(crate) fn make(self, public: &PublicKey) -> Zero {
        match self {
            Self::Made(zero) => zero,
            Self::Fresh(rng) => Zero::new(public, *rng),
        }
    }
}

/// Makes `count` encryptions of 0.
pub(crate) fn zeros(public: &PublicKey, count: usize, rng: &mut dyn CryptoRng) -> Vec<Zero> {
    streams(count, rng).into_par_iter().map(|rng| Zero::new(public, rng)).collect()
}

/// `count` encryptions of 0, of which those made before are used up first. The others are made when they are needed: many at once
/// would take more memory than is reused.
pub(crate) fn take(public: &PublicKey, count: usize, rng: &mut dyn CryptoRng) -> Vec<Source> {
    let ready = public.zeros().take(count);
    let missing = streams(count - ready.len(), rng).into_iter().map(Box::new);
    ready.into_iter().map(Source::Made).chain(missing.map(Source::Fresh)).collect()
}
