//! Masked updates in slots under the server's key.

use rand_core::CryptoRng;

use super::additive::{AdditiveHE, seal};
use super::backend::slots_of;
use super::digits::ScaleSlots;
use super::plaintext::{Plaintext, SlotShape};
use crate::backend::SecretRate;
use crate::error::{RangeError, Result};
use crate::fixed::Precision;

/// How the masked updates of the `secret` mode sit in ciphertexts under the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateLayout {
    /// Parameters of the network.
    pub values: usize,
    /// Bits of a slot: [`Precision::masked_update_bits`].
    pub slot_bits: u32,
    /// Slots of one ciphertext.
    pub slots: usize,
}

impl UpdateLayout {
    /// Plans the update of `values` parameters.
    ///
    /// # Errors
    /// [`RangeError::Slot`] when a masked update does not fit.
    pub fn new<H: AdditiveHE>(
        values: usize,
        precision: &Precision,
        g_max: u32,
        public: &H::PublicKey,
    ) -> Result<Self, RangeError> {
        let slot_bits = precision.masked_update_bits(g_max);
        let slots = slots_of::<H>(public, slot_bits).map_err(|available| RangeError::Slot {
            layer: "masked update".into(),
            needed: slot_bits,
            available,
        })?;
        Ok(Self { values, slot_bits, slots })
    }

    /// Ciphertexts of one update.
    pub fn ciphertexts(&self) -> usize {
        self.values.div_ceil(self.slots)
    }

    /// The shape of ciphertext `n`.
    pub fn shape(&self, n: usize) -> SlotShape {
        let count = self.slots.min(self.values - n * self.slots);
        SlotShape { bits: self.slot_bits, count }
    }

    fn rows(&self, values: &[i128]) -> Result<Vec<Plaintext>> {
        let rows = values.chunks(self.slots);
        rows.map(|row| Plaintext::new(self.slot_bits, row.to_vec())).collect()
    }
}

impl<H: ScaleSlots> SecretRate<H> for UpdateLayout {
    type Rate = H::Ciphertext;

    fn plan(
        values: usize,
        precision: &Precision,
        g_max: u32,
        public: &H::PublicKey,
    ) -> Result<Self, RangeError> {
        Self::new::<H>(values, precision, g_max, public)
    }

    fn encrypt_rate(&self, key: &H::SecretKey, g: u32, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let plain = Plaintext::new(self.slot_bits, vec![1 << g])?;
        let rate = H::encrypt_as_owner(key, &plain, rng)?;
        let mut bytes = Vec::new();
        H::ciphertext_to_bytes(H::public_key(key), &rate, &mut bytes);
        Ok(bytes)
    }

    fn read_rate(&self, public: &H::PublicKey, bytes: &[u8]) -> Result<H::Ciphertext> {
        Ok(H::ciphertexts_from_bytes(public, bytes, 1)?.remove(0))
    }

    fn mask(
        &self,
        public: &H::PublicKey,
        rate: &H::Ciphertext,
        updates: &[i128],
        masks: &[i128],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let scaled = H::scale_slots(public, rate, &self.rows(masks)?)?;
        let updates = self.rows(updates)?;
        let sums: Vec<_> = scaled
            .iter()
            .zip(&updates)
            .map(|(mask, g)| (H::add_plain(public, mask, g), g.shape()))
            .collect();
        Ok(seal::<H>(public, &sums, rng))
    }

    fn decrypt(&self, key: &H::SecretKey, bytes: &[u8]) -> Result<Vec<i128>> {
        let received = H::ciphertexts_from_bytes(H::public_key(key), bytes, self.ciphertexts())?;
        let shaped: Vec<_> =
            received.into_iter().enumerate().map(|(n, c)| (c, self.shape(n))).collect();
        let plaintexts = H::decrypt_many(key, &shaped)?;
        Ok(plaintexts.iter().flat_map(Plaintext::values).copied().collect())
    }
}
