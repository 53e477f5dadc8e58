//! Keys and ciphertexts as bytes, and what is checked when they come back.
//!
//! ```text
//! public key   version (1 byte) ‖ n ‖ σ₁ ‖ … ‖ σ₈     the certificate's roots, as long as n each
//! ciphertext   c, big-endian, twice as long as n
//! ```
//!
//! The length of n follows from the length of the whole. A ciphertext is accepted if 0 < c < n²
//! and gcd(c, n) = 1; a block takes one gcd, of the product of all. (A non-unit would reveal a
//! factor of n to whoever sees it, and inverting it would fail.)

use crypto_bigint::BoxedUint;
use gelu_core::error::PeerMisbehaved;
use rayon::prelude::*;

use crate::arithmetic::Modulus;
use crate::certificate::ROOTS;
use crate::keys::PublicKey;
use crate::scheme::Ciphertext;

/// The version of the public key's bytes.
const VERSION: u8 = 1;

/// A key's bytes; without the roots when it is not certified, and then nobody accepts them.
pub(crate) fn public_key_to_bytes(public: &PublicKey) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&public.modulus());
    if let Some(certificate) = public.certificate() {
        certificate.to_bytes(&mut bytes);
    }
    bytes
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
    public.mod_n2().precision() as usize / 8
}

/// Reads a block of whole ciphertexts.
pub(crate) fn ciphertexts_from_bytes(
    public: &PublicKey,
    bytes: &[u8],
) -> Result<Vec<Ciphertext>, PeerMisbehaved> {
    let (n, n2) = (public.mod_n(), public.mod_n2());
    let values: Vec<_> = bytes
        .par_chunks_exact(ciphertext_len(public))
        .map(|chunk| BoxedUint::from_be_slice(chunk, n2.precision()).expect("exact width"))
        .collect();
    if values.iter().any(|value| value >= n2.value().as_ref()) || !all_units(n, &values) {
        return Err(PeerMisbehaved::InvalidCiphertext);
    }
    let ciphertext = |value| Ciphertext::new(public, n2.residue(value));
    Ok(values.par_iter().map(ciphertext).collect())
}

/// Whether every value is a unit modulo n: then so is their product, and the other way around.
fn all_units(n: &Modulus, values: &[BoxedUint]) -> bool {
    let mut product = n.accumulator();
    values.iter().for_each(|value| product.mul(&n.residue(&n.reduce_vartime(value))));
    product.finish().is_none_or(|product| n.is_unit_vartime(&product.value()))
}
