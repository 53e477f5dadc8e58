//! Keys, queries and answers as bytes, and what is checked when they come back.
//!
//! ```text
//! header   "gelu-bfv" ‖ version ‖ kind ‖ number of t ‖ limbs ‖ count (4 bytes)
//! key      header ‖ N (4) ‖ limbs and moduli q, t (8 each) ‖ seed (32) ‖ b₀ ‖ b₁ ‖ …
//! query    header ‖ seed (32) ‖ c₀ of every feature                c₁ follows from the seed
//! answer   header ‖ (c₀ ‖ c₁) of every result, one limb each
//! ```
//!
//! Numbers are little-endian; a polynomial is its transformed residues, limb after limb, each of as
//! many bits as its limb. A message is accepted if its header and its length are the expected ones
//! and every residue is below its limb. Any such bytes are a ciphertext of something: that a peer
//! encrypted what it should cannot be seen, and nothing here relies on it.

use std::sync::Arc;

use fhe_math::rq::{Context, Poly};
use gelu_core::error::{Error, PeerIncompatible, PeerMisbehaved, Result};
use rayon::prelude::*;

use super::parameters::Parameters;
use super::sampling::{self, Seed};
use super::scheme::{Ciphertext, RelinearisationKey};

const MAGIC: &[u8; 8] = b"gelu-bfv";
const VERSION: u8 = 1;
const HEADER: usize = 16;
const SEED: usize = 32;

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
fn poly_len(context: &Context, degree: usize) -> usize {
    context.moduli_operators().iter().map(|q| q.serialization_length(degree)).sum()
}

fn poly_to_bytes(poly: &Poly) -> Vec<u8> {
    let limbs = poly.coefficients().into_outer_iter().zip(poly.ctx().moduli_operators());
    limbs.flat_map(|(row, q)| q.serialize_vec(row.to_slice().expect("standard layout"))).collect()
}

/// A polynomial from exactly [`poly_len`] bytes.
fn poly_from_bytes(mut bytes: &[u8], context: &Arc<Context>, degree: usize) -> Result<Poly> {
    let mut residues = Vec::with_capacity(context.moduli().len() * degree);
    for q in context.moduli_operators() {
        let (limb, rest) = bytes.split_at(q.serialization_length(degree));
        residues.extend(q.deserialize_vec(limb));
        bytes = rest;
        if residues[residues.len() - degree..].iter().any(|&r| r >= **q) {
            return Err(PeerMisbehaved::InvalidCiphertext.into());
        }
    }
    Ok(sampling::public(context, residues))
}

/// The parameters and the relinearisation key.
pub(super) fn key_to_bytes(parameters: &Parameters, key: &RelinearisationKey) -> Vec<u8> {
    let mut bytes = key_header(parameters);
    bytes.extend(key.seed);
    key.parts.iter().for_each(|part| bytes.extend(poly_to_bytes(part)));
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
    let context = &parameters.level(parameters.limbs()).context;
    let each = poly_len(context, parameters.slots());
    let body = body(bytes, &expected, SEED + each * parameters.limbs())?;
    let (seed, parts) = body.split_first_chunk::<SEED>().expect("checked");
    let parts = parts.chunks_exact(each);
    let parts = parts.map(|part| poly_from_bytes(part, context, parameters.slots()));
    Ok(RelinearisationKey { seed: *seed, parts: parts.collect::<Result<_>>()? })
}

/// Fresh ciphertexts whose c₁ follow from one seed; `c0` makes each in turn.
pub(super) fn query_to_bytes(
    parameters: &Parameters,
    index: usize,
    seed: Seed,
    count: usize,
    c0: impl Fn(usize) -> Result<Poly> + Sync,
) -> Result<Vec<u8>> {
    let each = poly_len(&parameters.level(parameters.limbs()).context, parameters.slots());
    let mut bytes = header(Kind::Query, index, parameters.limbs(), count);
    bytes.extend(seed);
    let start = bytes.len();
    bytes.resize(start + each * count, 0);
    bytes[start..].par_chunks_exact_mut(each).enumerate().try_for_each(|(n, to)| {
        to.copy_from_slice(&poly_to_bytes(&c0(n)?));
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
    let (slots, limbs) = (parameters.slots(), parameters.limbs());
    let context = &parameters.level(limbs).context;
    let each = poly_len(context, slots);
    let body = body(bytes, &header(Kind::Query, index, limbs, count), SEED + each * count)?;
    let (seed, halves) = body.split_first_chunk::<SEED>().expect("checked");
    let halves = halves.par_chunks_exact(each).enumerate();
    let ciphertext = |(n, bytes)| {
        let c0 = poly_from_bytes(bytes, context, slots)?;
        Ok(Ciphertext { c0, c1: sampling::uniform(context, slots, *seed, n as u64) })
    };
    halves.map(ciphertext).collect()
}

/// Ciphertexts of one limb.
pub(super) fn answer_to_bytes(index: usize, results: &[Ciphertext]) -> Vec<u8> {
    let mut bytes = header(Kind::Answer, index, 1, results.len());
    for Ciphertext { c0, c1 } in results {
        bytes.extend(poly_to_bytes(c0));
        bytes.extend(poly_to_bytes(c1));
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
    let (slots, context) = (parameters.slots(), &parameters.level(1).context);
    let each = poly_len(context, slots);
    let body = body(bytes, &header(Kind::Answer, index, 1, count), 2 * each * count)?;
    let ciphertext = |bytes: &[u8]| {
        let (c0, c1) = bytes.split_at(each);
        let poly = |bytes| poly_from_bytes(bytes, context, slots);
        Ok(Ciphertext { c0: poly(c0)?, c1: poly(c1)? })
    };
    body.chunks_exact(2 * each).map(ciphertext).collect()
}
