//! The scheme by itself: an encrypted integer, how it is made and how it is read.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use gelu_core::{Error, Result};
use zeroize::Zeroizing;

use crate::baby_steps::{Decoder, Search, scalar};
use crate::keys::{PublicKey, SecretKey};
use crate::multiscalar::Pair;

/// (r·G, m·G + r·h): an encrypted integer.
///
/// It remembers the [fingerprint](PublicKey::fingerprint) of its key: operations on ciphertexts of
/// another key panic, decryption fails.
#[derive(Clone)]
pub struct Ciphertext {
    points: Pair,
    key: [u8; 8],
}

impl Ciphertext {
    /// From two elements of the group; any two are an encryption of something.
    pub(crate) fn new(public: &PublicKey, points: Pair) -> Self {
        Self { points, key: public.fingerprint() }
    }

    /// The points, given the right key.
    ///
    /// # Panics
    /// When the ciphertext belongs to another key. Ciphertexts from a peer are read under the
    /// session's key, so this is a mistake of our own.
    pub(crate) fn under(&self, public: &PublicKey) -> &Pair {
        assert_eq!(self.key, public.fingerprint(), "a ciphertext under another key");
        &self.points
    }
}

impl core::fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let key = format_args!("{:016x}", u64::from_be_bytes(self.key)).to_string();
        f.debug_struct("Ciphertext").field("key", &key).finish_non_exhaustive()
    }
}

impl PublicKey {
    /// (r·G, m·G + r·h), in constant time.
    pub(crate) fn encrypt_integer(&self, m: i128, r: &Scalar) -> Ciphertext {
        let zero = self.zero(r);
        let message = RISTRETTO_BASEPOINT_TABLE * &*Zeroizing::new(scalar(m));
        Ciphertext::new(self, (zero.0, message + zero.1))
    }

    /// (r·G, r·h), in constant time: what hides everything that it is added to, if r is uniform.
    pub(crate) fn zero(&self, r: &Scalar) -> Pair {
        (RISTRETTO_BASEPOINT_TABLE * r, self.multiply(r))
    }
}

impl SecretKey {
    /// Decrypts with a range and a table of one's own; [`AdditiveHE::decrypt`](gelu_core::AdditiveHE::decrypt) takes
    /// [`Decoder::shared`] and [`Search::FromZero`].
    ///
    /// The exponent is used in constant time; how long the search takes tells abs(m), unless it is
    /// [`Search::WholeRange`] (see [`Search`]).
    ///
    /// # Errors
    /// [`Error::Decryption`] when the value lies outside the range, or the ciphertext belongs to
    /// another key.
    pub fn decrypt_with(
        &self,
        decoder: &Decoder<'_>,
        search: Search,
        ciphertext: &Ciphertext,
    ) -> Result<i64> {
        if ciphertext.key != self.public_key().fingerprint() {
            return Err(Error::Decryption);
        }
        let (c1, c2) = ciphertext.points;
        decoder.decode(&(c2 - self.multiply(&c1)), search).ok_or(Error::Decryption)
    }
}
