//! How many outputs of a layer come down in one ciphertext.

use rand_core::CryptoRng;

use super::additive::AdditiveHE;
use super::digits::DigitSlots;
use super::laws::{self, Rows};
use super::plaintext::SlotShape;
use crate::backend::laws::Broken;
use crate::error::Result;

/// Whether several outputs of a layer come down in one ciphertext.
pub trait Packing<H: AdditiveHE> {
    /// The laws that [`laws`](Self::laws) checks: a call, and what it decrypts to.
    const LAWS: &'static [(&'static str, &'static str)];

    /// The most outputs in one ciphertext of `slots` slots, where each takes `columns` of them.
    fn most(slots: usize, columns: usize) -> usize;

    /// [`matvec`](AdditiveHE::matvec) in groups of `group` outputs, at most [`most`](Self::most).
    ///
    /// # Errors
    /// As [`matvec`](AdditiveHE::matvec).
    fn matvec(
        public: &H::PublicKey,
        matrix: &H::Prepared,
        inputs: &[H::Ciphertext],
        group: usize,
        each: SlotShape,
    ) -> Result<Vec<H::Ciphertext>>;

    /// Checks the laws of what it asks of the scheme, on these rows.
    ///
    /// # Errors
    /// The first [`Broken`] law.
    fn laws(secret: &H::SecretKey, rows: &Rows<'_>, rng: &mut dyn CryptoRng) -> Result<(), Broken>;
}

/// One output in each ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacked {}

impl<H: AdditiveHE> Packing<H> for Unpacked {
    const LAWS: &'static [(&'static str, &'static str)] = &[];

    fn most(_: usize, _: usize) -> usize {
        1
    }

    fn matvec(
        public: &H::PublicKey,
        matrix: &H::Prepared,
        inputs: &[H::Ciphertext],
        _: usize,
        _: SlotShape,
    ) -> Result<Vec<H::Ciphertext>> {
        H::matvec(public, matrix, inputs)
    }

    fn laws(_: &H::SecretKey, _: &Rows<'_>, _: &mut dyn CryptoRng) -> Result<(), Broken> {
        Ok(())
    }
}

/// As many outputs in a ciphertext as its digits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {}

impl<H: DigitSlots> Packing<H> for Packed {
    const LAWS: &'static [(&'static str, &'static str)] = laws::DIGITS;

    fn most(slots: usize, columns: usize) -> usize {
        slots / columns
    }

    fn matvec(
        public: &H::PublicKey,
        matrix: &H::Prepared,
        inputs: &[H::Ciphertext],
        group: usize,
        each: SlotShape,
    ) -> Result<Vec<H::Ciphertext>> {
        H::matvec_packed(public, matrix, inputs, group, each)
    }

    fn laws(secret: &H::SecretKey, rows: &Rows<'_>, rng: &mut dyn CryptoRng) -> Result<(), Broken> {
        laws::digits::<H>(secret, rows, rng)
    }
}
