//! What travels, as bytes.
//!
//! | message | bytes |
//! |---|---|
//! | a batch | its number (4), K uploads of features, an upload of labels for each head |
//! | heads | iteration (4), iterations (1), an upload of v for each head, and then of w if there may be several iterations |
//! | gradients | iteration (4), iterations (1), a ciphertext for each head, and then of v and of w likewise |
//!
//! An upload or ciphertext is its length (4) and its bytes, as in [`gelu_ckks::bytes`]. Keys are
//! [`EvaluationKeys::to_bytes`](gelu_ckks::EvaluationKeys::to_bytes). Readers know how many parts there must be, and at which
//! level and scale.

use gelu_ckks::{Ciphertext, Scale};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Writes a message.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// With some fixed bytes first.
    pub(crate) fn new(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    pub(crate) fn part(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a ciphertext has less than 2^32 bytes");
        self.0.extend(length.to_le_bytes());
        self.0.extend(bytes);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a message.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const M: usize>(&mut self) -> Result<[u8; M]> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Error::Peer("bytes end early"))?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn word(&mut self) -> Result<usize> {
        let word = u32::from_le_bytes(self.array()?);
        usize::try_from(word).map_err(|_| Error::Peer("a number is too large"))
    }

    pub(crate) fn parts(&mut self, count: usize) -> Result<Vec<&'a [u8]>> {
        let part = |_| {
            let length = self.word()?;
            let split = self.0.split_at_checked(length).ok_or(Error::Peer("bytes end early"))?;
            self.0 = split.1;
            Ok(split.0)
        };
        (0..count).map(part).collect()
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Peer("bytes go on after the end")) }
    }
}

/// Fails unless a ciphertext is at this level and scale.
pub(crate) fn check(ciphertext: Ciphertext, level: usize, scale: &Scale) -> Result<Ciphertext> {
    if ciphertext.level() != level || ciphertext.scale() != scale {
        return Err(Error::Peer("a ciphertext of another level or scale"));
    }
    Ok(ciphertext)
}

/// A generator of its own for one of many parts that are made at the same time.
pub(crate) fn seeded(rng: &mut dyn CryptoRng) -> ChaCha20Rng {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    ChaCha20Rng::from_seed(*seed)
}
