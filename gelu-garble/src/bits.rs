//! Bits that go into circuits, and labels that stand for them.

use core::fmt;

use gelu_core::error::{ApiMisuse, PeerMisbehaved, Result};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A list of secret bits, packed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct Bits {
    blocks: Vec<u128>,
    len: usize,
}

impl Bits {
    /// The lowest `bits` bits of each value, the lowest one first: shares modulo 2^`bits`.
    ///
    /// # Panics
    /// If `bits` is above 64.
    pub fn of_shares(shares: &[u64], bits: u32) -> Self {
        assert!(bits <= 64, "a share has at most 64 bits");
        let len = shares.len() * bits as usize;
        let mut blocks = vec![0; len.div_ceil(128)];
        for (n, share) in shares.iter().enumerate() {
            let share = u128::from(*share) & !(u128::MAX << bits);
            let (block, place) = (n * bits as usize / 128, n * bits as usize % 128);
            blocks.get_mut(block).into_iter().for_each(|b| *b |= share << place);
            let rest = (share >> 1) >> (127 - place);
            blocks.get_mut(block + 1).into_iter().for_each(|b| *b |= rest);
        }
        Self { blocks, len }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// 128 bits in each; what is behind the last bit is 0.
    pub(crate) fn blocks(&self) -> &[u128] {
        &self.blocks
    }

    /// All ones where the bit is set.
    pub(crate) fn mask(&self, n: usize) -> u128 {
        0u128.wrapping_sub(self.blocks[n / 128] >> (n % 128) & 1)
    }
}

/// How many, not which.
impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({})", self.len)
    }
}

/// Labels of wires, 16 bytes each: for the evaluator those of its bits, for the garbler those of 0.
///
/// They are used once: garbling and evaluation consume them.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Labels(pub(crate) Vec<u128>);

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first `count`, taken off: the labels of one batch of several that one transfer brought.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] when there are fewer.
    pub fn split_off_first(&mut self, count: usize) -> Result<Self> {
        if count > self.len() {
            let (expected, got) = (vec![count], vec![self.len()]);
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let first = Self(self.0[..count].to_vec());
        self.0[..count].zeroize();
        self.0.drain(..count);
        Ok(first)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Labels({})", self.len())
    }
}

/// Appends blocks as bytes.
pub(crate) fn write_blocks(blocks: &[u128], out: &mut Vec<u8>) {
    // Block by block: an iterator over bytes takes as long as the garbling itself.
    blocks.iter().for_each(|block| out.extend_from_slice(&block.to_le_bytes()));
}

/// Bytes as blocks.
pub(crate) fn read_blocks(bytes: &[u8]) -> Vec<u128> {
    bytes.as_chunks().0.iter().map(|block| u128::from_le_bytes(*block)).collect()
}

/// Refuses a message of another length.
///
/// # Errors
/// [`PeerMisbehaved::OutOfBounds`].
pub(crate) fn check_length(what: &'static str, expected: usize, bytes: &[u8]) -> Result<()> {
    match bytes.len() == expected {
        true => Ok(()),
        false => Err(PeerMisbehaved::out_of_bounds(what, bytes.len(), expected).into()),
    }
}

/// Refuses bits or labels of our own caller's that are not as many as the circuits take.
///
/// # Errors
/// [`ApiMisuse::Shape`].
pub(crate) fn check_count(expected: usize, got: usize) -> Result<()> {
    match expected == got {
        true => Ok(()),
        false => Err(ApiMisuse::Shape { expected: vec![expected], got: vec![got] }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_their_lowest_bits() {
        let bits = Bits::of_shares(&[0b101, 0b110, u64::MAX], 3);
        assert_eq!((bits.len(), bits.blocks()), (9, &[0b111_110_101][..]));
        assert_eq!([bits.mask(0), bits.mask(1)], [u128::MAX, 0]);
        let many = Bits::of_shares(&[1; 5], 32);
        assert_eq!(many.blocks()[1], 1, "bit 128 is the first of the fifth");
        assert_eq!(format!("{many:?}"), "Bits(160)");
    }

    #[test]
    fn labels_are_taken_off_once() {
        let mut labels = Labels(vec![1, 2, 3]);
        assert_eq!(labels.split_off_first(2).unwrap().0, [1, 2]);
        assert_eq!(labels.0, [3]);
        assert!(labels.split_off_first(2).is_err());
        assert_eq!(format!("{labels:?}"), "Labels(1)");
    }
}
