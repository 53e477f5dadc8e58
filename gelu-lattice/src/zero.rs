//! Encryptions of 0 under the public key, which hide how an answer was made.
//!
//! The c₁ of an answer is Σ wᵢ·c₁ᵢ: a known function of the weights, as the client knows all c₁ᵢ. With u ternary
//! and e an error, both fresh,
//!
//! ```text
//! c₁ + a·u + e
//! ```
//! looks uniform to whoever does not know u (ring-LWE). c₀ gets b·u, so the phase c₀ + c₁·s gets
//! e′·u + e·s, small and flooded with the rest of the noise: no error is added to c₀ besides.

use gelu_ring::sample::Small;
use gelu_ring::{Coefficients, Poly};
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::upload::{Ciphertext, streams};

/// An encryption of 0. Used up by the answer that it hides: under two, their difference would show.
pub(crate) struct Zero {
    c0: Zeroizing<Poly<Coefficients>>,
    c1: Zeroizing<Poly<Coefficients>>,
}

impl Zero {
    fn new(public: &PublicKey, mut rng: ChaCha20Rng) -> Self {
        let (basis, rng) = (public.parameters().basis(), &mut rng);
        let u = Small::ternary(basis.degree(), rng).evaluations(basis);
        let c0 = (public.b() * &*u).into_coefficients();
        let mut c1 = (public.a() * &*u).into_coefficients();
        c1 += &Small::error(basis.degree(), rng).coefficients(basis);
        Self { c0: Zeroizing::new(c0), c1: Zeroizing::new(c1) }
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
