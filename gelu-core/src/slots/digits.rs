//! What only some slots can do: move, be packed, be scaled one by one.

use super::additive::AdditiveHE;
use super::plaintext::{MAX_SLOT_BITS, Plaintext, SlotShape};
use crate::error::{ApiMisuse, Result};

/// A scheme whose slots are digits of one integer, so that multiplication by 2^bits moves a slot up.
///
/// # Laws
/// As those of [`AdditiveHE`]:
///
/// | call                          | decrypts to                                   |
/// |-------------------------------|-----------------------------------------------|
/// | `shift(⟦a⟧, n)`               | n zeros, then the slots of a                  |
/// | `pack(⟦a⟧, ⟦b⟧, …)`           | the slots of a, then those of b, …            |
/// | `matvec_packed(W, ⟦a⟧, n)`    | `pack` of every n outputs of `matvec(W, ⟦a⟧)` |
pub trait DigitSlots: AdditiveHE {
    /// Moves every slot `by` places up: slot j of ⟦a⟧ becomes slot j + `by`.
    fn shift(
        public: &Self::PublicKey,
        a: &Self::Ciphertext,
        by: usize,
        slot_bits: u32,
    ) -> Self::Ciphertext {
        debug_assert!(slot_bits <= MAX_SLOT_BITS);
        let half = 1i128 << (slot_bits / 2);
        let rest = 1i128 << (slot_bits - slot_bits / 2);
        (0..by).fold(a.clone(), |acc, _| {
            Self::mul_plain(public, &Self::mul_plain(public, &acc, half), rest)
        })
    }

    /// Puts the slots of several ciphertexts, `each.count` of each, into one (Horner's rule).
    ///
    /// # Errors
    /// [`ApiMisuse::Empty`] without ciphertexts.
    fn pack(
        public: &Self::PublicKey,
        ciphertexts: &[Self::Ciphertext],
        each: SlotShape,
    ) -> Result<Self::Ciphertext> {
        let (top, rest) = ciphertexts.split_last().ok_or(ApiMisuse::Empty("packing"))?;
        Ok(rest.iter().rev().fold(top.clone(), |acc, next| {
            Self::add(public, &Self::shift(public, &acc, each.count, each.bits), next)
        }))
    }

    /// [`matvec`](AdditiveHE::matvec), the outputs packed in groups of `group`, `each` slots of each; the
    /// last group may be smaller.
    ///
    /// Product and packing come at once so that a backend can run both chains of squarings in one.
    ///
    /// # Errors
    /// As [`matvec`](AdditiveHE::matvec); [`ApiMisuse::Empty`] for groups of 0.
    fn matvec_packed(
        public: &Self::PublicKey,
        matrix: &Self::Prepared,
        inputs: &[Self::Ciphertext],
        group: usize,
        each: SlotShape,
    ) -> Result<Vec<Self::Ciphertext>> {
        let outputs = Self::matvec(public, matrix, inputs)?;
        match group {
            0 => Err(ApiMisuse::Empty("a group of outputs").into()),
            1 => Ok(outputs),
            _ => outputs.chunks(group).map(|group| Self::pack(public, group, each)).collect(),
        }
    }
}

/// A scheme that multiplies an encrypted value by a whole row of slots.
///
/// # Law
/// `scale_slots(⟦a⟧, r, …)` decrypts to a · r for every slot of each row r, where a is one value.
pub trait ScaleSlots: AdditiveHE {
    /// ⟦a · r⟧ for each row r, where ⟦a⟧ has one slot in use.
    ///
    /// All rows come at once so that a backend can share one table of the powers of ⟦a⟧.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] for rows that a ciphertext does not hold.
    fn scale_slots(
        public: &Self::PublicKey,
        a: &Self::Ciphertext,
        rows: &[Plaintext],
    ) -> Result<Vec<Self::Ciphertext>>;
}

/// [`ScaleSlots::scale_slots`] of any scheme with digits: one product for each slot, then packing.
///
/// # Errors
/// As [`pack`](DigitSlots::pack): none, because a [`Plaintext`] has values.
pub fn scale_by_packing<H: DigitSlots>(
    public: &H::PublicKey,
    a: &H::Ciphertext,
    rows: &[Plaintext],
) -> Result<Vec<H::Ciphertext>> {
    let scaled = rows.iter().map(|row| {
        let each: Vec<_> = row.values().iter().map(|&r| H::mul_plain(public, a, r)).collect();
        H::pack(public, &each, SlotShape { count: 1, ..row.shape() })
    });
    scaled.collect()
}
