//! Keys, queries and answers as bytes, and what is checked when they come back.
//!
//! ```text
//! header   "gelu-bfv" ‖ version ‖ kind ‖ number of t ‖ limbs ‖ count (4 bytes)
//! key      header ‖ N (4) ‖ limbs and moduli q, t (8 each) ‖ seed (32) ‖ b₀ ‖ b₁ ‖ …
//! query    header ‖ seed (32) ‖ c₀ of every feature                c₁ follows from the seed
//! answer   header ‖ (c₀ ‖ c₁) of every result, with the limbs of answers
//! ```
//!
//! Numbers are little-endian; a polynomial is its transformed residues, limb after limb, each of as
//! many bits as its limb. A message is accepted if its header and its length are the expected ones
//! and every residue is below its limb. Any such bytes are a ciphertext of something: that a peer
//! encrypted what it should cannot be seen, and nothing here relies on it.

use gelu_core::error::{Error, PeerIncompatible, PeerMisbehaved, Result};
use gelu_ring::sample::{self, Seed};
use gelu_ring::{Basis, Evaluations, Poly};
use rayon::prelude::*;

use super::parameters::Parameters;
use super::scheme::{Ciphertext, RelinearisationKey};

const MAGIC: &[u8; 8] = b"gelu-bfv";
const VERSION: u8 = 2;
const HEADER: usize = 16;
const SEED: usize = size_of::<Seed>();

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key = 1,
    Query = 2,
    Answer = 3,
}

fn header(kind: Kind, index: usize, limbs: usize, count: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let small = |n: usize| u8::try_from(n).expect("few moduli");
    bytes.extend([VERSION, kind as u8, small(index), small(limbs)]);
    bytes.extend(u32::try_from(count).expect("a circuit has fewer features").to_le_bytes());
    bytes
}

/// The bytes after the expected header, if they are as many as they should be.
fn body<'a>(bytes: &'a [u8], header: &[u8], expected: usize) -> Result<&'a [u8], PeerMisbehaved> {
    let body = bytes.strip_prefix(header).ok_or(PeerMisbehaved::Undecodable)?;
    match body.len() == expected {
        true => Ok(body),
        false => Err(PeerMisbehaved::CiphertextLength { expected, got: body.len() }),
    }
}

/// Bytes of one polynomial.
fn poly_len(basis: &Basis) -> usize {
    Poly::<Evaluations>::bytes_len(basis)
}

fn poly_from_bytes(basis: &Basis, bytes: &[u8]) -> Result<Poly<Evaluations>> {
    Poly::from_bytes(basis, bytes).map_err(|_| PeerMisbehaved::InvalidCiphertext.into())
}

/// The parameters and the relinearisation key.
pub(super) fn key_to_bytes(parameters: &Parameters, key: &RelinearisationKey) -> Vec<u8> {
    let mut bytes = key_header(parameters);
    bytes.extend(key.seed);
    key.parts.iter().for_each(|part| bytes.extend(part.to_bytes()));
    bytes
}

fn key_header(parameters: &Parameters) -> Vec<u8> {
    let plaintexts = parameters.plaintext_moduli();
    let mut bytes = header(Kind::Key, plaintexts.len(), parameters.limbs(), parameters.limbs());
    bytes.extend(u32::try_from(parameters.slots()).expect("at most 2^15").to_le_bytes());
    parameters.moduli().iter().for_each(|q| bytes.extend(q.to_le_bytes()));
    plaintexts.for_each(|t| bytes.extend(t.to_le_bytes()));
    bytes
}

/// # Errors
/// [`PeerIncompatible::Backend`] for other parameters, [`PeerMisbehaved`] for what is no key.
pub(super) fn key_from_bytes(parameters: &Parameters, bytes: &[u8]) -> Result<RelinearisationKey> {
    let expected = key_header(parameters);
    if bytes.len() < expected.len() || !bytes.starts_with(&expected[..HEADER - 6]) {
        return Err(PeerMisbehaved::Undecodable.into());
    }
    if !bytes.starts_with(&expected) {
        let (ours, theirs) = (format!("{parameters:?}"), "other parameters".to_owned());
        return Err(Error::from(PeerIncompatible::Backend { ours, theirs }));
    }
    let basis = &parameters.top().basis;
    let each = poly_len(basis);
    let body = body(bytes, &expected, SEED + each * parameters.limbs())?;
    let (seed, parts) = body.split_first_chunk::<SEED>().expect("checked");
    let parts = parts.chunks_exact(each).map(|part| poly_from_bytes(basis, part));
    Ok(RelinearisationKey { seed: *seed, parts: parts.collect::<Result<_>>()? })
}

/// Fresh ciphertexts whose c₁ follow from one seed; `c0` makes each in turn.
pub(super) fn query_to_bytes(
    parameters: &Parameters,
    index: usize,
    seed: Seed,
    count: usize,
    c0: impl Fn(usize) -> Result<Poly<Evaluations>> + Sync,
) -> Result<Vec<u8>> {
    let each = poly_len(&parameters.top().basis);
    let mut bytes = header(Kind::Query, index, parameters.limbs(), count);
    bytes.extend(seed);
    let start = bytes.len();
    bytes.resize(start + each * count, 0);
    bytes[start..].par_chunks_exact_mut(each).enumerate().try_for_each(|(n, to)| {
        to.copy_from_slice(&c0(n)?.to_bytes());
        Ok::<_, Error>(())
    })?;
    Ok(bytes)
}

/// # Errors
/// [`PeerMisbehaved`] for what is no query of `count` features.
pub(super) fn query_from_bytes(
    parameters: &Parameters,
    index: usize,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<Ciphertext>> {
    let basis = &parameters.top().basis;
    let each = poly_len(basis);
    let header = header(Kind::Query, index, parameters.limbs(), count);
    let body = body(bytes, &header, SEED + each * count)?;
    let (seed, halves) = body.split_first_chunk::<SEED>().expect("checked");
    let halves = halves.par_chunks_exact(each).enumerate();
    let ciphertext = |(n, bytes)| {
        let c0 = poly_from_bytes(basis, bytes)?;
        Ok(Ciphertext { c0, c1: sample::uniform(basis, seed, n as u64) })
    };
    halves.map(ciphertext).collect()
}

/// Ciphertexts with the limbs of answers.
pub(super) fn answer_to_bytes(
    parameters: &Parameters,
    index: usize,
    results: &[Ciphertext],
) -> Vec<u8> {
    let mut bytes = header(Kind::Answer, index, parameters.answer_limbs(), results.len());
    for Ciphertext { c0, c1 } in results {
        bytes.extend(c0.to_bytes());
        bytes.extend(c1.to_bytes());
    }
    bytes
}

/// # Errors
/// [`PeerMisbehaved`] for what is no answer of `count` results.
pub(super) fn answer_from_bytes(
    parameters: &Parameters,
    index: usize,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<Ciphertext>> {
    let limbs = parameters.answer_limbs();
    let basis = &parameters.level(limbs).basis;
    let each = poly_len(basis);
    let body = body(bytes, &header(Kind::Answer, index, limbs, count), 2 * each * count)?;
    let ciphertext = |bytes: &[u8]| {
        let (c0, c1) = bytes.split_at(each);
        Ok(Ciphertext { c0: poly_from_bytes(basis, c0)?, c1: poly_from_bytes(basis, c1)? })
    };
    body.chunks_exact(2 * each).map(ciphertext).collect()
}
