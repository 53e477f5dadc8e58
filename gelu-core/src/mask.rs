//! Masks: what lets a server apply an update that it cannot read.
//!
//! For an update |U| < 2^(l−1) the client sends U + R with R uniform in [0, 2^(l+sigma)). The
//! distribution of U + R differs from that of R by at most 2^(−sigma−1) in statistical distance,
//! whatever U is, and over the integers the mask can be removed exactly: the client keeps the sum of
//! its masks and knows that the server holds W~ = W − ΣR.
//!
//! The paper draws masks uniformly from Z_N (Algorithm 3); that hides no better in practice, makes
//! every weight a 2048-bit exponent and rounds under fixed point.

use rand_core::CryptoRng;

use crate::network::Parameters;

/// Values uniform in [0, 2^bits) in the shape of `like`.
///
/// # Panics
/// When `bits` exceeds 126.
pub fn draw(like: &Parameters, bits: u32, rng: &mut dyn CryptoRng) -> Parameters {
    assert!(bits <= 126, "masks are at most 126 bits long");
    like.map(|_| {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        i128::from_le_bytes(bytes) & ((1 << bits) - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Layer;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// Each bit of a masked update is 1 half of the time, within five standard deviations, even
    /// when the update is always the same.
    #[test]
    fn the_bits_of_masked_updates_are_uniform() {
        const SAMPLES: usize = 20_000;
        const BITS: u32 = 84;
        let update = 0x7_a5a5;
        let like = Parameters { layers: vec![Layer { weights: vec![0; SAMPLES], biases: vec![] }] };
        let masks = draw(&like, BITS, &mut ChaCha20Rng::seed_from_u64(3));
        assert!(masks.values().all(|&r| (0..1 << BITS).contains(&r)));
        for bit in 0..BITS {
            let ones = masks.values().filter(|&r| (r + update) >> bit & 1 == 1).count();
            let deviation = (ones as f64 - SAMPLES as f64 / 2.0).abs();
            assert!(deviation < 5.0 * (SAMPLES as f64 / 4.0).sqrt(), "bit {bit}: {ones} ones");
        }
    }
}
