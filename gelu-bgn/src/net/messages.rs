//! What the parties send each other: bytes, and who they are for.

use gelu_core::Result;
use gelu_core::error::{ApiMisuse, PeerMisbehaved};
use rand_core::CryptoRng;

use super::plan::Plan;
use crate::backend::with_generators;
use crate::group::{G1, G2};
use crate::keys::PublicKey;
use crate::scheme::{Ciphertext, Half, Product, SealedProduct};

macro_rules! message {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Vec<u8>);

        impl $name {
            /// The bytes to send.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Bytes that came; they are checked when they are used.
            pub fn from_bytes(bytes: Vec<u8>) -> Self {
                Self(bytes)
            }
        }
    };
}

message!(
    /// Weights and biases in G2, row by row: from who trained the network to the cloud, once.
    EncryptedModel
);
message!(
    /// A query in G1: from the parties to the cloud.
    EncryptedInputs
);
message!(
    /// ⟦v + r⟧ on level 2, sealed: from the cloud to the key holder.
    MaskedValues
);
message!(
    /// ⟦(v + r)/d⟧ on level 1: first all in G1, then all in G2, as far as the step needs them; from
    /// the key holder to the cloud.
    RefreshedValues
);
message!(
    /// The scores on level 2, sealed: from the cloud to the key holder.
    EncryptedScores
);

impl EncryptedModel {
    pub(super) fn new(weights: &[Ciphertext<G2>]) -> Self {
        Self(write(weights))
    }

    pub(super) fn read(&self, count: usize) -> Result<Vec<Ciphertext<G2>>, PeerMisbehaved> {
        Ciphertext::read_many(&self.0, count)
    }
}

impl EncryptedInputs {
    /// One party's features, in the scale of `plan`.
    ///
    /// # Errors
    /// As [`Plan::encode`].
    pub fn encrypt(
        public: &PublicKey,
        plan: &Plan,
        features: &[f64],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let values: Vec<i64> = features.iter().map(|&x| plan.encode(x)).collect::<Result<_>>()?;
        let encrypted: Vec<Ciphertext<G1>> =
            with_generators(&values, rng, |&x, rng| public.encrypt(x, rng));
        Ok(Self(write(&encrypted)))
    }

    /// The features of several parties side by side: vertically divided data.
    ///
    /// # Errors
    /// [`ApiMisuse::Empty`] without parts.
    pub fn join(parts: &[Self]) -> Result<Self> {
        if parts.is_empty() {
            return Err(ApiMisuse::Empty("a query").into());
        }
        Ok(Self(parts.iter().flat_map(|part| part.0.iter().copied()).collect()))
    }

    pub(super) fn read(&self, count: usize) -> Result<Vec<Ciphertext<G1>>, PeerMisbehaved> {
        Ciphertext::read_many(&self.0, count)
    }
}

impl MaskedValues {
    pub(super) fn new(values: &[SealedProduct]) -> Self {
        Self(write_sealed(values))
    }

    pub(super) fn read(&self, count: usize) -> Result<Vec<Product>, PeerMisbehaved> {
        Product::read_many(&self.0, count)
    }
}

impl RefreshedValues {
    pub(super) fn new(g1: &[Ciphertext<G1>], g2: &[Ciphertext<G2>]) -> Self {
        Self([write(g1), write(g2)].concat())
    }

    /// `counts` of ciphertexts in G1 and in G2.
    pub(super) fn read(&self, counts: (usize, usize)) -> Result<Refreshed, PeerMisbehaved> {
        let expected = counts.0 * Ciphertext::<G1>::LEN + counts.1 * Ciphertext::<G2>::LEN;
        let (g1, g2) = self
            .0
            .split_at_checked(counts.0 * Ciphertext::<G1>::LEN)
            .filter(|_| self.0.len() == expected)
            .ok_or(PeerMisbehaved::CiphertextLength { expected, got: self.0.len() })?;
        let g1 = Ciphertext::read_many(g1, counts.0)?;
        Ok(Refreshed { g1, g2: Ciphertext::read_many(g2, counts.1)? })
    }
}

/// What [`RefreshedValues`] hold.
pub(super) struct Refreshed {
    pub(super) g1: Vec<Ciphertext<G1>>,
    pub(super) g2: Vec<Ciphertext<G2>>,
}

impl EncryptedScores {
    pub(super) fn new(values: &[SealedProduct]) -> Self {
        Self(write_sealed(values))
    }

    pub(super) fn read(&self, count: usize) -> Result<Vec<Product>, PeerMisbehaved> {
        Product::read_many(&self.0, count)
    }
}

fn write<G: Half>(ciphertexts: &[Ciphertext<G>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ciphertexts.len() * Ciphertext::<G>::LEN);
    ciphertexts.iter().for_each(|c| c.write(&mut bytes));
    bytes
}

fn write_sealed(values: &[SealedProduct]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * SealedProduct::LEN);
    values.iter().for_each(|c| c.write(&mut bytes));
    bytes
}
