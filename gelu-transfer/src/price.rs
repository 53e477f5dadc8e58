//! What operations of a ring cost, in transforms of one row of N residues.
//!
//! A row of a key or of features that is read from memory and multiplied counts as one transform: it takes about as long
//! ([`gelu_ckks::linear`]).

use std::time::Instant;

use gelu_ckks::{KeyKind, Parameters, Plaintext, SecretKey};
use rand_core::CryptoRng;

use crate::error::Result;

/// How long one transform of 2^13 residues takes, in seconds, on the machine that `examples/head.rs` was written on (Zen 5,
/// AVX-512 IFMA, one thread of two that are shared). A portable build takes about ten times as long.
pub const TRANSFORM_SECONDS: f64 = 6e-6;

/// The shortest of a few rotations on this machine, as seconds a transform of 2^13 residues: for [`seconds`](crate::Plan::seconds). Machines
/// differ, and what else they do matters.
///
/// # Errors
/// None for parameters that exist.
pub fn measure_transform(parameters: &Parameters, rng: &mut dyn CryptoRng) -> Result<f64> {
    let (ring, level) = (Ring { parameters }, parameters.top_level());
    let secret = SecretKey::generate(parameters.clone(), rng);
    let keys = secret.evaluation_keys([(KeyKind::Rotation(1), level)], rng)?;
    let plain = Plaintext::encode(parameters, &[1.0], &parameters.scale(), level)?;
    let ciphertext = secret.encrypt(&plain, rng)?.expand();
    let mut shortest = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        ciphertext.rotate(1, &keys)?;
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    Ok(shortest / (ring.rotation(level) as f64 * ring.size()))
}

/// What operations of a ring cost, in transforms, and what its keys weigh.
pub(crate) struct Ring<'a> {
    pub(crate) parameters: &'a Parameters,
}

impl Ring<'_> {
    /// Of a transform, where one of 2^13 residues is 1.
    pub(crate) fn size(&self) -> f64 {
        let degree = self.parameters.degree() as f64;
        degree * degree.log2() / (8192.0 * 13.0)
    }

    pub(crate) fn special(&self) -> usize {
        self.parameters.special_primes().len()
    }

    pub(crate) fn rows(&self, level: usize) -> usize {
        level + 1 + self.special()
    }

    pub(crate) fn digits(&self, level: usize) -> usize {
        let group = (self.parameters.top_level() + 1).div_ceil(self.parameters.digits());
        level / group + 1
    }

    pub(crate) fn key_rows(&self, level: usize) -> usize {
        self.digits(level) * self.rows(level)
    }

    pub(crate) fn decomposition(&self, level: usize) -> usize {
        self.key_rows(level)
    }

    /// Both halves of a key are read.
    pub(crate) fn hoisted(&self, level: usize) -> usize {
        2 * self.key_rows(level) + 2 * self.rows(level)
    }

    pub(crate) fn rotation(&self, level: usize) -> usize {
        self.decomposition(level) + self.hoisted(level)
    }

    /// A rotation that is left modulo P·Q: the sum of many is divided once.
    pub(crate) fn extended(&self, level: usize) -> usize {
        3 * self.key_rows(level)
    }

    pub(crate) fn relinearized(&self, level: usize) -> usize {
        3 * self.key_rows(level) + 2 * (self.special() + 1) + 2 * level
    }

    /// Of a polynomial at a level on the wire.
    pub(crate) fn row_bits(&self, level: usize) -> u64 {
        let bits: u32 = self.parameters.primes().take(level + 1).map(|q| q.ilog2() + 1).sum();
        u64::from(bits) * self.parameters.degree() as u64
    }

    /// Of a key on the wire.
    pub(crate) fn key_bits(&self, level: usize) -> u64 {
        let special: u32 = self.parameters.special_primes().map(|q| q.ilog2() + 1).sum();
        let row = self.row_bits(level) + u64::from(special) * self.parameters.degree() as u64;
        self.digits(level) as u64 * row
    }
}
