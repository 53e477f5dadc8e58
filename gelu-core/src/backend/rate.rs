//! Learning rates that the client must not know: updates under the server's key.

use rand_core::CryptoRng;

use super::Cryptosystem;
use crate::error::{RangeError, Result};
use crate::fixed::Precision;

/// How masked updates travel under the server's key, scaled by a rate 1/eta = 2^g that the client does
/// not know.
///
/// # Law
/// For gradients G and masks R within the bounds of the precision:
///
/// ```text
/// decrypt(mask(read_rate(encrypt_rate(g)), G, R)) = G + R·2^g
/// ```
///
/// [`conformance`](crate::conformance) checks it.
pub trait SecretRate<C: Cryptosystem>: Sized + Send + Sync + 'static {
    /// ⟦2^g⟧, validated.
    type Rate: Send + Sync + 'static;

    /// Plans updates of `values` parameters under `public`, for every g up to `g_max`.
    ///
    /// # Errors
    /// [`RangeError::Slot`] when a masked update does not fit.
    fn plan(
        values: usize,
        precision: &Precision,
        g_max: u32,
        public: &C::PublicKey,
    ) -> Result<Self, RangeError>;

    /// Server: ⟦2^g⟧ as bytes.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`](crate::error::ApiMisuse::SlotOverflow) for a g above `g_max`.
    fn encrypt_rate(&self, key: &C::SecretKey, g: u32, rng: &mut dyn CryptoRng) -> Result<Vec<u8>>;

    /// Client: reads and validates ⟦2^g⟧.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for what is no ciphertext.
    fn read_rate(&self, public: &C::PublicKey, bytes: &[u8]) -> Result<Self::Rate>;

    /// Client: ⟦G + R·2^g⟧ as bytes. The server knows how ⟦2^g⟧ was made: the result must hide R from it
    /// as an answer hides W from the client.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`](crate::error::ApiMisuse::SlotOverflow) for numbers beyond the bounds.
    fn mask(
        &self,
        public: &C::PublicKey,
        rate: &Self::Rate,
        updates: &[i128],
        masks: &[i128],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>>;

    /// Server: G + R·2^g.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved), [`Error::Decryption`](crate::Error::Decryption).
    fn decrypt(&self, key: &C::SecretKey, bytes: &[u8]) -> Result<Vec<i128>>;
}

/// There is no secret rate: of a cryptosystem whose plaintexts are too small for a masked update. No
/// value of this type exists, so nothing is ever asked of it but to [`plan`](SecretRate::plan).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSecretRate {}

impl<C: Cryptosystem> SecretRate<C> for NoSecretRate {
    type Rate = Self;

    fn plan(_: usize, _: &Precision, _: u32, _: &C::PublicKey) -> Result<Self, RangeError> {
        Err(RangeError::NoSecretRate { backend: C::ID })
    }

    fn encrypt_rate(&self, _: &C::SecretKey, _: u32, _: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        match *self {}
    }

    fn read_rate(&self, _: &C::PublicKey, _: &[u8]) -> Result<Self> {
        match *self {}
    }

    fn mask(
        &self,
        _: &C::PublicKey,
        _: &Self,
        _: &[i128],
        _: &[i128],
        _: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        match *self {}
    }

    fn decrypt(&self, _: &C::SecretKey, _: &[u8]) -> Result<Vec<i128>> {
        match *self {}
    }
}
