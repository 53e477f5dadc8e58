//! The only way out of a server.

use rand_core::CryptoRng;

use super::{Backend, Cryptosystem, Layout, Share, Shares};
use crate::error::Result;

/// The bytes of an answer that may leave the server: it hides how it was made.
///
/// There is no other way to make one than [`seal`](Self::seal) and [`share`](Self::share), and a server machine
/// writes nothing else into its messages. The randomness of a result is a function of the weights and of the
/// inputs' randomness, which the key's owner knows; without this step one response gives a layer away (the paper
/// does not say so).
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Seals an answer in its layout.
    pub fn seal<C: Cryptosystem, L: Layout<C>>(
        layout: &L,
        public: &C::PublicKey,
        answer: L::Answer,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        Self(layout.seal(public, answer, rng))
    }

    /// Seals an answer under a mask; and the server's share.
    ///
    /// # Errors
    /// As [`Shares::seal`].
    pub fn share<B: Backend>(
        shares: &B::Shares,
        layout: &B::Layout,
        public: &B::PublicKey,
        answer: <B::Layout as Layout<B>>::Answer,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Share)> {
        let (bytes, share) = shares.seal(layout, public, answer, rng)?;
        Ok((Self(bytes), share))
    }

    /// What crosses the wire.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl core::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
