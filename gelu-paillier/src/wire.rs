//! Keys and ciphertexts as bytes, and what is checked when they come back.
//!
//! ```text
//! public key   version (1 byte) ‖ n ‖ σ₁ ‖ … ‖ σ₈     the certificate's roots, as long as n each
//! ciphertext   high ‖ low, as long as n each                  c = high·n + low
//! ```
//!
//! All numbers are big-endian, and the length of n follows from the length of the whole. A
//! ciphertext travels as its two digits in base n, because that is how both parties compute with
//! it ([`Ring`](crate::ring::Ring)): nobody has to divide. It is accepted if both digits are below
//! n and gcd(c, n) = gcd(low, n) = 1; a block takes one gcd, of the product of all. (A non-unit
//! would reveal a factor of n to whoever sees it, and inverting it would fail.)

use crypto_bigint::BoxedUint;
use gelu_core::error::PeerMisbehaved;
use rayon::prelude::*;

use crate::certificate::ROOTS;
use crate::ciphertext::Ciphertext;
use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::keys::PublicKey;
use crate::ring::Digits;

/// The version of the public key's bytes.
const VERSION: u8 = 1;

impl PublicKey {
    /// The version, n and its certificate; without a certificate when there is none, and then nobody accepts them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.modulus());
        if let Some(certificate) = self.certificate() {
            certificate.to_bytes(&mut bytes);
        }
        bytes
    }
}

/// The length of the modulus that the length of the bytes announces.
pub(crate) fn announced_key_bits(bytes: &[u8]) -> Result<u32, PeerMisbehaved> {
    let Some((&VERSION, numbers)) = bytes.split_first() else {
        return Err(PeerMisbehaved::InvalidKey("an unknown version"));
    };
    let count = 1 + ROOTS as usize;
    if numbers.is_empty() || !numbers.len().is_multiple_of(count) {
        return Err(PeerMisbehaved::InvalidKey("a wrong length"));
    }
    u32::try_from(numbers.len() / count * 8).map_err(|_| PeerMisbehaved::InvalidKey("a huge key"))
}

/// Checks and certifies a key of [announced](announced_key_bits) length.
pub(crate) fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey, PeerMisbehaved> {
    let bits = announced_key_bits(bytes)?;
    let (n, certificate) = bytes[1..].split_at(bits as usize / 8);
    let n = BoxedUint::from_be_slice(n, bits).expect("as many bytes");
    PublicKey::certified(&n, bits, certificate)
}

/// Bytes of one ciphertext.
pub(crate) fn ciphertext_len(public: &PublicKey) -> usize {
    public.bits() as usize / 4
}

/// Appends the bytes of ciphertexts to `out`.
pub(crate) fn ciphertexts_to_bytes(
    public: &PublicKey,
    ciphertexts: &[Ciphertext],
    out: &mut Vec<u8>,
) {
    let parts: Vec<_> = ciphertexts
        .par_chunks(CHUNK)
        .flat_map_iter(|chunk| {
            let elements: Vec<_> = chunk.iter().map(|c| c.under(public)).collect();
            public.ring().export(&elements)
        })
        .collect();
    for Digits { low, high } in &parts {
        out.extend_from_slice(&high.to_be_bytes());
        out.extend_from_slice(&low.to_be_bytes());
    }
}

/// Reads a block of whole ciphertexts.
pub(crate) fn ciphertexts_from_bytes(
    public: &PublicKey,
    bytes: &[u8],
) -> Result<Vec<Ciphertext>, PeerMisbehaved> {
    let width = ciphertext_len(public) / 2;
    let n = public.mod_n().value().as_ref();
    let digit = |bytes: &[u8]| {
        let digit = BoxedUint::from_be_slice(bytes, public.bits()).expect("exact width");
        (digit < *n).then_some(digit).ok_or(PeerMisbehaved::InvalidCiphertext)
    };
    let blocks: Vec<Elements> = bytes
        .par_chunks(2 * width * CHUNK)
        .map(|block| {
            let digits: Vec<_> = block
                .chunks_exact(2 * width)
                .map(|c| Ok(Digits { high: digit(&c[..width])?, low: digit(&c[width..])? }))
                .collect::<Result<_, PeerMisbehaved>>()?;
            Ok(public.ring().import(&digits))
        })
        .collect::<Result<_, PeerMisbehaved>>()?;
    let ciphertexts: Vec<_> = blocks
        .iter()
        .flat_map(Elements::iter)
        .map(|element| Ciphertext::new(public, element))
        .collect();
    if !all_units(public, &ciphertexts) {
        return Err(PeerMisbehaved::InvalidCiphertext);
    }
    Ok(ciphertexts)
}

/// Ciphertexts that are converted in one go.
const CHUNK: usize = 64;

/// Whether all are units: then so is their product, and the other way around.
fn all_units(public: &PublicKey, ciphertexts: &[Ciphertext]) -> bool {
    let ring = public.ring();
    let elements: Vec<_> = ciphertexts.iter().map(|c| c.under(public)).collect();
    let product = |factors: &[&[Line]]| {
        let mut acc = ring.empty();
        for _ in 0..factors.len().min(LANES) {
            acc.push(ring.one(0));
        }
        let jobs = factors.iter().enumerate().map(|(i, factor)| (i % LANES, *factor));
        ring.update(&mut acc, 0, jobs);
        acc
    };
    let parts: Vec<Elements> = elements.par_chunks(CHUNK).map(product).collect();
    let parts: Vec<_> = parts.iter().flat_map(Elements::iter).collect();
    let lanes = product(&parts);
    if lanes.len() == 0 {
        return true;
    }
    let digits = ring.export(&ring.product(&lanes.refs(), 1).refs());
    digits.iter().all(|digits| public.mod_n().is_unit_vartime(&digits.low))
}
