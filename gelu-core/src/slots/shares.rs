//! Answers in slots as shares.
//!
//! The server adds a mask t to the whole plaintext, so what the client decrypts are digits of a uniform plaintext,
//! whatever it has encrypted. Slot by slot and as integers, for a product v with |v| ≤ 2^(bits−[`SIGMA`]−1):
//!
//! ```text
//! v + t  =  digit of the client,    0 ≤ v + t < 2^bits        (no carry into the next slot)
//! s = −t mod 2^l,    c = digit mod 2^l,    c + s ≡ v
//! ```
//!
//! There is no carry because the server draws again when a digit of t is so close to an end of its slot that v
//! could cross it. One draw in 2^[`SIGMA`] for each slot is refused: by so much does t differ from a uniform
//! plaintext.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::additive::AdditiveHE;
use super::backend::SlotBackend;
use super::exchange::SlotAnswer;
use super::layout::SlotLayout;
use super::plaintext::SlotShape;
use crate::backend::{Share, Shares};
use crate::error::{ApiMisuse, Result};

/// Bits by which a slot is wider than the products whose shares it carries: the distance from uniform is
/// 2^−[`SIGMA`] a slot. `docs/src/security.md` adds it up for sessions, and says what 48 would cost.
pub const SIGMA: u32 = 40;

/// A scheme that masks whole plaintexts, and reads slots that are uniform.
///
/// # Law
/// For all slot rows a with |a| ≤ 2^(bits−[`SIGMA`]−1), slot by slot:
///
/// ```text
/// digits_many(mask_many(⟦a⟧))  =  a + t  in [0, 2^bits),       both given modulo 2^64
/// ```
pub trait MaskSlots: AdditiveHE {
    /// ⟦a + t⟧ for each ⟦a⟧, whose slots have the shape beside it, under a fresh mask t, for the eyes of the key's
    /// owner; and the slots of each t modulo 2^64.
    ///
    /// t is uniform over all plaintexts, also where no slot is, but for those that could carry: so the result hides
    /// a even where it is what no honest owner has encrypted. As
    /// [`rerandomize`](AdditiveHE::rerandomize) it hides how ⟦a⟧ was made.
    fn mask_many(
        public: &Self::PublicKey,
        ciphertexts: &[(Self::Ciphertext, SlotShape)],
        rng: &mut dyn CryptoRng,
    ) -> (Vec<Self::Ciphertext>, Vec<Zeroizing<Vec<u64>>>);

    /// Decrypts slots of the given shapes as integers in [0, 2^bits), modulo 2^64.
    ///
    /// # Errors
    /// [`Error::Decryption`](crate::Error::Decryption), without detail.
    fn digits_many(
        secret: &Self::SecretKey,
        ciphertexts: &[(Self::Ciphertext, SlotShape)],
    ) -> Result<Vec<Zeroizing<Vec<u64>>>>;
}

/// Shares of a scheme that [masks slots](MaskSlots).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotShares {
    ring_bits: u32,
    value_bits: u32,
}

impl SlotShares {
    fn check(&self, layout: &SlotLayout) -> Result<()> {
        if layout.slot_bits == self.value_bits {
            return Ok(());
        }
        let (got, needed) = (layout.slot_bits, self.value_bits);
        let why = format!("has slots of {got} bits, but these shares need {needed}");
        Err(ApiMisuse::configuration("the layout", why).into())
    }
}

impl<H: SlotBackend + MaskSlots> Shares<H> for SlotShares {
    /// A slot holds a product, or a value of R, and its mask.
    fn plan(ring_bits: u32, product_bits: u32) -> Option<Self> {
        let ring = (1..=u64::BITS).contains(&ring_bits);
        ring.then(|| Self { ring_bits, value_bits: product_bits.max(ring_bits) + SIGMA })
    }

    fn value_bits(&self) -> u32 {
        self.value_bits
    }

    fn seal(
        &self,
        layout: &SlotLayout,
        public: &H::PublicKey,
        answer: SlotAnswer<H>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Share)> {
        self.check(layout)?;
        let (masked, masks) = H::mask_many(public, &answer.0, rng);
        let mut bytes = Vec::with_capacity(masked.len() * H::ciphertext_len(public));
        H::ciphertexts_to_bytes(public, &masked, &mut bytes);
        let mut s = layout.outputs_from(masks.iter().map(|mask| &mask[..]));
        s.iter_mut().for_each(|t| *t = t.wrapping_neg());
        Ok((bytes, Share::new(s, layout.batch, self.ring_bits)))
    }

    fn decrypt(&self, layout: &SlotLayout, secret: &H::SecretKey, bytes: &[u8]) -> Result<Share> {
        self.check(layout)?;
        let received = layout.answers::<H>(H::public_key(secret), bytes)?;
        let digits = H::digits_many(secret, &received)?;
        let c = layout.outputs_from(digits.iter().map(|digits| &digits[..]));
        Ok(Share::new(c, layout.batch, self.ring_bits))
    }
}
