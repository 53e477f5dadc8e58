//! Masks: what lets a server apply an update that it cannot read.
//!
//! For an update |U| < 2^(l−1) the client sends U + R with R uniform in [0, 2^(l+sigma)). The
//! distribution of U + R differs from that of R by at most 2^(−sigma−1) in statistical distance,
//! whatever U is, and over the integers the mask can be removed exactly: the client keeps the sum of
//! its masks and knows that the server holds W~ = W − ΣR.
//!
//! The paper draws masks uniformly from Z_N (Algorithm 3); that hides no better in practice, makes
//! every weight a 2048-bit exponent and rounds under fixed point.

use core::ops::Deref;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::network::{Layer, Network, Parameters};
use crate::update::Update;

/// U + R under a fresh R, uniform in [0, 2^bits); and R.
///
/// # Panics
/// When `bits` exceeds 126.
pub fn mask(update: &Update, bits: u32, rng: &mut dyn CryptoRng) -> (Masked, Masks) {
    let masks = draw(update, bits, rng);
    let mut masked = masks.0.clone();
    masked.add(update.secret());
    (Masked(masked), masks)
}

/// R alone, uniform in [0, 2^bits) in the shape of `like`: to be scaled under encryption before it joins
/// an update.
///
/// # Panics
/// When `bits` exceeds 126.
pub fn draw(like: &Update, bits: u32, rng: &mut dyn CryptoRng) -> Masks {
    assert!(bits <= 126, "masks are at most 126 bits long");
    Masks(like.secret().map(|_| {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        i128::from_le_bytes(bytes) & ((1 << bits) - 1)
    }))
}

/// U + R: what a server may see. Made by [`mask()`], or read from a peer's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Masked(Parameters);

impl Masked {
    /// What a peer has masked under encryption.
    pub(crate) fn decrypted(values: Parameters) -> Self {
        Self(values)
    }
}

impl Deref for Masked {
    type Target = Parameters;

    fn deref(&self) -> &Parameters {
        &self.0
    }
}

/// R, or ΣR: secret of the client, wiped on drop. Whoever knows it reads the updates under it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Masks(Parameters);

/// Only how many values there are is printed.
impl core::fmt::Debug for Masks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Masks({} values)", self.0.len())
    }
}

impl Masks {
    /// Those of a lease before its first step.
    pub(crate) fn none(network: &Network) -> Self {
        Self(network.zeros())
    }

    /// All values, in the order of [`Parameters::values`].
    pub fn values(&self) -> impl Iterator<Item = &i128> {
        self.0.values()
    }

    pub(crate) fn layer(&self, stage: usize) -> &Layer {
        &self.0.layers[stage]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

/// Mini-batches of a lease, so that the distances of all its masked values add up to at most 2^−40.
///
/// ```text
/// values · steps · 2^(−sigma−1)  ≤  2^(−TOTAL)
/// ```
pub fn most_steps(values: usize, sigma: u32) -> u32 {
    let all = 1u128 << (sigma + 1).saturating_sub(TOTAL).min(127);
    u32::try_from(all / (values as u128).max(1)).unwrap_or(u32::MAX)
}

/// The statistical distance of a whole lease is at most 2^−TOTAL.
const TOTAL: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// By type, since nobody can look at memory that is gone.
    #[test]
    fn what_only_the_client_may_see_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Update>();
        wiped::<Masks>();
    }

    /// LeNet-5 has 431,080 parameters: 2^25 / 431,080 = 77.8 steps at sigma = 64, none at 40.
    #[test]
    fn the_distance_of_a_lease_is_bounded_as_a_whole() {
        for (values, sigma, steps) in [
            (431_080, 64, 77),
            (431_080, 65, 155),
            (44_000, 40, 0),
            (1, 40, 2),
            (2, 40, 1),
            (3, 40, 0),
            (1, 64, 1 << 25),
            (1, 100, u32::MAX),
            (0, 40, 2),
        ] {
            assert_eq!(most_steps(values, sigma), steps, "{values} values, sigma {sigma}");
        }
    }

    /// Each bit of a masked update is 1 half of the time, within five standard deviations, even
    /// when the update is always the same.
    #[test]
    fn the_bits_of_masked_updates_are_uniform() {
        const SAMPLES: usize = 20_000;
        const BITS: u32 = 84;
        let update = 0x7_a5a5;
        let like = Parameters { layers: vec![Layer { weights: vec![0; SAMPLES], biases: vec![] }] };
        let masks = draw(&like.into(), BITS, &mut ChaCha20Rng::seed_from_u64(3));
        assert!(masks.values().all(|&r| (0..1 << BITS).contains(&r)));
        for bit in 0..BITS {
            let ones = masks.values().filter(|&r| (r + update) >> bit & 1 == 1).count();
            let deviation = (ones as f64 - SAMPLES as f64 / 2.0).abs();
            assert!(deviation < 5.0 * (SAMPLES as f64 / 4.0).sqrt(), "bit {bit}: {ones} ones");
        }
    }
}
