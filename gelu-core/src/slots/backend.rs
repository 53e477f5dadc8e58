//! A slot scheme as a backend.

use rand_core::CryptoRng;

use super::additive::AdditiveHE;
use super::layout::SlotLayout;
use super::packing::Packing;
use super::plaintext::MAX_SLOT_BITS;
use super::prices::Prices;
use crate::backend::{Backend, SecretRate, Shares, Task};
use crate::error::RangeError;

/// An [`AdditiveHE`] that is a [`Backend`] by [`SlotLayout`]s alone.
///
/// A backend with layouts of its own implements [`Backend`] and not this.
pub trait SlotBackend: AdditiveHE {
    /// [`Packed`](super::Packed) for a scheme with [`DigitSlots`](super::DigitSlots), otherwise
    /// [`Unpacked`](super::Unpacked).
    type Packing: Packing<Self>;
    /// [`UpdateLayout`](super::UpdateLayout) for a scheme that can [`ScaleSlots`](super::ScaleSlots) as
    /// wide as masked updates, otherwise [`NoSecretRate`](crate::backend::NoSecretRate).
    type Updates: SecretRate<Self>;
    /// [`SlotShares`](super::SlotShares) for a scheme with [`MaskSlots`](super::MaskSlots), otherwise
    /// [`NoShares`](crate::backend::NoShares).
    type Masking: Shares<Self>;

    /// What operations under this key cost; [`Prices::UNMEASURED`] without a word of its own.
    fn slot_prices(public: &Self::PublicKey) -> Prices {
        let _ = public;
        Prices::UNMEASURED
    }
}

impl<H: SlotBackend> Backend for H {
    type Layout = SlotLayout;
    type Rate = H::Updates;
    type Shares = H::Masking;
    type Prices = Prices;

    fn layouts(public: &H::PublicKey, task: &Task<'_>) -> Result<Vec<SlotLayout>, RangeError> {
        let needed = task.value_bits;
        let slots = slots_of::<H>(public, needed).map_err(|most| task.too_wide(most))?;
        let most = |columns| H::Packing::most(slots, columns);
        Ok(SlotLayout::all(task, slots, most, H::ciphertext_len(public)))
    }

    fn prices(public: &H::PublicKey) -> Prices {
        H::slot_prices(public)
    }

    fn nanoseconds(layout: &SlotLayout, prices: &Prices) -> u64 {
        layout.nanoseconds(prices)
    }

    fn prepare_encryptions(
        secret: &H::SecretKey,
        layouts: &[&SlotLayout],
        rng: &mut dyn CryptoRng,
    ) {
        let count = layouts.iter().map(|layout| layout.ciphertexts_up()).sum();
        <H as AdditiveHE>::precompute_encryptions(secret, count, rng);
    }

    fn prepare_seals(public: &H::PublicKey, layouts: &[&SlotLayout], rng: &mut dyn CryptoRng) {
        let count = layouts.iter().map(|layout| layout.ciphertexts_down()).sum();
        <H as AdditiveHE>::precompute_seals(public, count, rng);
    }
}

/// How many slots of `needed` bits there are: at least one, or the bits of the widest there is.
pub(super) fn slots_of<H: AdditiveHE>(public: &H::PublicKey, needed: u32) -> Result<usize, u32> {
    let fits = |&bits: &u32| H::slots(public, bits) > 0;
    if needed > MAX_SLOT_BITS || !fits(&needed) {
        return Err((1..=MAX_SLOT_BITS).rev().find(fits).unwrap_or(0));
    }
    Ok(H::slots(public, needed))
}
