//! From client to server: encryptions under the secret key, half of which is a seed.
//!
//! ```text
//! c₁ = uniform(seed)      c₀ = −c₁·s + e + ⌊Δ·m⌋
//! bytes: the seed (32), the residues of c₀
//! ```
//! −c₁·s + e is a *pad*: it does not depend on m and can be made before.

use gelu_core::error::PeerMisbehaved;
use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Basis, Coefficients, Evaluations, Poly};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::keys::SecretKey;

/// The polynomial of an upload's seed.
const INDEX: u64 = 0;

/// An encryption of 0 that waits for its message. Used up by it: the same pad under two messages would
/// give their difference away.
pub(crate) struct Pad {
    seed: Seed,
    c0: Zeroizing<Poly<Coefficients>>,
}

impl Pad {
    fn new(secret: &SecretKey, mut rng: ChaCha20Rng) -> Self {
        let basis = secret.parameters().basis();
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let c1 = sample::uniform(basis, &seed, INDEX);
        let mut c0 = -(&c1 * secret.secret()).into_coefficients();
        c0 += &Small::error(basis.degree(), &mut rng).coefficients(basis);
        Self { seed, c0: Zeroizing::new(c0) }
    }

    /// The bytes of an encryption of a scaled message.
    fn encrypt(self, message: &Poly<Coefficients>) -> Vec<u8> {
        let mut c0 = self.c0;
        *c0 += message;
        [&self.seed[..], &c0.to_bytes()].concat()
    }
}

/// Makes `count` pads.
pub(crate) fn pads(secret: &SecretKey, count: usize, rng: &mut dyn CryptoRng) -> Vec<Pad> {
    streams(count, rng).into_par_iter().map(|rng| Pad::new(secret, rng)).collect()
}

/// `count` generators, to be used in parallel.
pub(crate) fn streams(count: usize, rng: &mut dyn CryptoRng) -> Vec<ChaCha20Rng> {
    let stream = |_| {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        ChaCha20Rng::from_seed(*seed)
    };
    (0..count).map(stream).collect()
}

/// Encrypts scaled messages, with pads made before as far as there are any.
pub(crate) fn encrypt(
    secret: &SecretKey,
    count: usize,
    message: impl Fn(usize) -> Zeroizing<Poly<Coefficients>> + Sync,
    rng: &mut dyn CryptoRng,
) -> Vec<u8> {
    let mut ready = secret.pads().take(count);
    ready.extend(pads(secret, count - ready.len(), rng));
    let blocks: Vec<_> =
        ready.into_par_iter().enumerate().map(|(i, pad)| pad.encrypt(&message(i))).collect();
    blocks.concat()
}

/// Bytes of one upload.
pub(crate) fn bytes(basis: &Basis) -> usize {
    size_of::<Seed>() + Poly::<Coefficients>::bytes_len(basis)
}

/// Two polynomials c₀, c₁ with c₀ + c₁·s = Δ·m + noise.
pub(crate) struct Ciphertext {
    pub(crate) c0: Poly<Evaluations>,
    pub(crate) c1: Poly<Evaluations>,
}

/// Uploads, one part of all of them after the other.
pub struct Uploads {
    pub(crate) c0: Vec<Poly<Evaluations>>,
    pub(crate) c1: Vec<Poly<Evaluations>>,
}

/// Reads `count` uploads.
pub(crate) fn read(basis: &Basis, count: usize, block: &[u8]) -> Result<Uploads, PeerMisbehaved> {
    let expected = count * bytes(basis);
    if block.len() != expected {
        return Err(PeerMisbehaved::CiphertextLength { expected, got: block.len() });
    }
    let one = |upload: &[u8]| {
        let (seed, c0) = upload.split_first_chunk().ok_or(PeerMisbehaved::InvalidCiphertext)?;
        let c0 = Poly::<Coefficients>::from_bytes(basis, c0);
        let c0 = c0.map_err(|_| PeerMisbehaved::InvalidCiphertext)?.into_evaluations();
        Ok((c0, sample::uniform(basis, seed, INDEX)))
    };
    let uploads = block.par_chunks_exact(bytes(basis)).map(one).collect::<Result<Vec<_>, _>>()?;
    let (c0, c1) = uploads.into_iter().unzip();
    Ok(Uploads { c0, c1 })
}
