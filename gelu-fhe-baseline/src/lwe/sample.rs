//! Random words: masks, bits and noise.
//!
//! tfhe's generators would do, but they take seeds of 128 bits and hand out bytes one at a time,
//! which was most of the time of an encryption (in a build for tests, five times all of this one).
//! So each item has a ChaCha20 generator with a seed of 256 bits from the caller's, which is also
//! what makes results independent of who works on which. The distributions are tfhe's.

use rand::{SeedableRng, rngs::ChaCha20Rng};
use rand_core::{CryptoRng, Rng};
use zeroize::Zeroizing;

use super::parameters::{DELTA_BITS, FLOOD};

/// Seeds for `count` items.
pub(crate) fn seeds(count: usize, rng: &mut dyn CryptoRng) -> Zeroizing<Vec<[u8; 32]>> {
    let mut seeds = Zeroizing::new(vec![[0; 32]; count]);
    seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
    seeds
}

/// The random words of one item.
pub(crate) struct Sampler(ChaCha20Rng);

impl Sampler {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Uniform modulo 2^128.
    pub(crate) fn word(&mut self) -> u128 {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// Fills with uniform words.
    pub(crate) fn uniform(&mut self, words: &mut [u128]) {
        let mut bytes = [[0; 16]; 64];
        for words in words.chunks_mut(bytes.len()) {
            self.0.fill_bytes(bytes.as_flattened_mut());
            for (word, bytes) in words.iter_mut().zip(&bytes) {
                *word = u128::from_le_bytes(*bytes);
            }
        }
    }

    /// Fills with zeros and ones.
    pub(crate) fn binary(&mut self, words: &mut [u128]) {
        for words in words.chunks_mut(64) {
            let bits = Zeroizing::new(self.0.next_u64());
            for (i, word) in words.iter_mut().enumerate() {
                *word = u128::from(*bits >> i & 1);
            }
        }
    }

    /// Adds TUniform(`bound_log2`), at most 30, to each.
    pub(crate) fn add_noise(&mut self, bound_log2: u32, words: &mut [u128]) {
        for word in words {
            *word = word.wrapping_add(t_uniform(self.0.next_u32(), bound_log2));
        }
    }

    /// Uniform on −`FLOOD` … `FLOOD` − 1. Takes another draw with probability 2^-39.
    pub(crate) fn flood(&mut self) -> u128 {
        loop {
            let drawn = self.word() >> (128 - DELTA_BITS);
            if drawn < 2 * FLOOD {
                return drawn.wrapping_sub(FLOOD);
            }
        }
    }
}

/// TUniform(b) from b + 2 random bits: b + 1 of them as a number below 2^(b+1), plus the last one,
/// less 2^b. So −2^b and 2^b have half the weight of what is between them. tfhe does the same.
fn t_uniform(random: u32, bound_log2: u32) -> u128 {
    let last = random & 1;
    let number = random >> 1 & ((2 << bound_log2) - 1);
    u128::from(number + last).wrapping_sub(1 << bound_log2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_half_weight_on_its_ends() {
        for b in [1, 4, 8] {
            let mut counts = vec![0; (2 << b) + 1];
            for random in 0..4u32 << b {
                let noise = t_uniform(random, b).cast_signed();
                counts[usize::try_from(noise + (1 << b)).unwrap()] += 1;
            }
            assert_eq!((counts[0], counts[2 << b]), (1, 1));
            assert!(counts[1..2 << b].iter().all(|&count| count == 2));
            assert_eq!(t_uniform(u32::MAX, b), 1 << b, "bits above do not matter");
        }
        let widest = t_uniform(u32::MAX, 30).cast_signed();
        assert_eq!((widest, t_uniform(0, 30).cast_signed()), (1 << 30, -(1 << 30)));
    }

    #[test]
    fn words_fill_everything_and_follow_the_seed() {
        let run = |seed| {
            let mut words = vec![0; 1000];
            Sampler::new([seed; 32]).uniform(&mut words);
            words
        };
        assert_eq!(run(1), run(1));
        // Two equal words among so many have a probability of 2^-107.
        let mut all = [run(1), run(2)].concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        let mut bits = vec![7; 100];
        Sampler::new([3; 32]).binary(&mut bits);
        assert!(bits.iter().all(|&bit| bit <= 1) && bits.contains(&0) && bits.contains(&1));
    }
}
