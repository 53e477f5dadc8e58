//! Keys and ciphertexts as bytes, and what is checked when they come back.
//!
//! ```text
//! public key   version (1 byte) ‖ seed (32) ‖ b      81,953 bytes
//! ciphertext   mask ‖ body                            81,936 bytes
//! ```
//!
//! Words are big-endian, 16 bytes each. Every string of the right length is a ciphertext, and every
//! b may be a key's: a good one looks like random words. What a bad one can do is said in `seal`;
//! there is no bad matrix, because a key brings the seed alone.
//!
//! Most of an answer is digits that say nothing: with its 70 low bits rounded away, a word of the
//! mask moves the phase by 5120·2^69 < 2^82 at most, a sixteenth of what a cell allows. Answers
//! could then be 37 KiB instead of 80; but the trait has one length for both directions.

use gelu_core::error::{PeerIncompatible, PeerMisbehaved, Result};

use super::ciphertext::Ciphertext;
use super::keys::PublicKey;
use super::noise::NoiseBound;
use super::parameters::{DIMENSION, KEY_BITS, PUBLIC_NOISE};

/// The version of the public key's bytes.
const VERSION: u8 = 1;
const SEED_LEN: usize = 32;
const WORD_LEN: usize = 16;
/// Bytes of a ciphertext.
pub(crate) const CIPHERTEXT_LEN: usize = WORD_LEN * (DIMENSION + 1);

pub(crate) fn public_key_to_bytes(public: &PublicKey) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&public.seed());
    append(public.b(), &mut bytes);
    bytes
}

pub(crate) fn public_key_from_bytes(bytes: &[u8]) -> Result<PublicKey> {
    let Some((&VERSION, bytes)) = bytes.split_first() else {
        return Err(PeerMisbehaved::InvalidKey("an unknown version").into());
    };
    let Some((seed, b)) = bytes.split_first_chunk::<SEED_LEN>() else {
        return Err(PeerMisbehaved::InvalidKey("a wrong length").into());
    };
    if b.is_empty() || !b.len().is_multiple_of(WORD_LEN) {
        return Err(PeerMisbehaved::InvalidKey("a wrong length").into());
    }
    if b.len() != WORD_LEN * DIMENSION {
        let got = u32::try_from(b.len() / WORD_LEN).unwrap_or(u32::MAX);
        return Err(PeerIncompatible::KeySize { got, accepted: KEY_BITS.to_string() }.into());
    }
    Ok(PublicKey::new(*seed, words(b)))
}

pub(crate) fn ciphertext_to_bytes(public: &PublicKey, ciphertext: &Ciphertext, out: &mut Vec<u8>) {
    append(ciphertext.under(public), out);
}

/// Whoever made it, its noise is taken to be that of an encryption by others than the owner. More
/// noise than that is in answers, which are decrypted and nothing else, and in what no honest peer
/// sends; it spoils the sender's own results.
pub(crate) fn ciphertext_from_bytes(public: &PublicKey, bytes: &[u8]) -> Result<Ciphertext> {
    if bytes.len() != CIPHERTEXT_LEN {
        let (expected, got) = (CIPHERTEXT_LEN, bytes.len());
        return Err(PeerMisbehaved::CiphertextLength { expected, got }.into());
    }
    Ok(Ciphertext::new(public, words(bytes), NoiseBound(PUBLIC_NOISE)))
}

fn append(words: &[u128], out: &mut Vec<u8>) {
    out.reserve(WORD_LEN * words.len());
    words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
}

fn words(bytes: &[u8]) -> Vec<u128> {
    let (words, rest) = bytes.as_chunks::<WORD_LEN>();
    debug_assert!(rest.is_empty());
    words.iter().map(|word| u128::from_be_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lwe::keys::tests::KEY;
    use gelu_core::Error;
    use proptest::prelude::*;

    #[test]
    fn bad_keys_are_refused() {
        let good = public_key_to_bytes(KEY.public_key());
        assert_eq!(good.len(), 81_953);
        assert_eq!(&public_key_from_bytes(&good).unwrap(), KEY.public_key());
        let invalid = |bytes: &[u8]| {
            let error = public_key_from_bytes(bytes).unwrap_err();
            matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidKey(_)))
        };
        assert!(invalid(&[]) && invalid(&[VERSION]) && invalid(&good[..33]));
        assert!(invalid(&good[..good.len() - 1]) && invalid(&[&good[..], &[0]].concat()));
        assert!(invalid(&[&[2], &good[1..]].concat()));
        let other_size = public_key_from_bytes(&good[..33 + 16 * 4096]).unwrap_err();
        let expected = PeerIncompatible::KeySize { got: 4096, accepted: "5120".into() };
        assert_eq!(other_size, expected.into());
    }

    #[test]
    fn ciphertexts_have_one_length() {
        let public = KEY.public_key();
        let bytes: Vec<u8> = (0..=250).cycle().take(CIPHERTEXT_LEN).collect();
        let read = ciphertext_from_bytes(public, &bytes).unwrap();
        let mut again = vec![7];
        ciphertext_to_bytes(public, &read, &mut again);
        assert_eq!((again[0], &again[1..]), (7, &bytes[..]));
        for wrong in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
            let error = ciphertext_from_bytes(public, wrong).unwrap_err();
            let (expected, got) = (CIPHERTEXT_LEN, wrong.len());
            assert_eq!(error, PeerMisbehaved::CiphertextLength { expected, got }.into());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ciphertext_from_bytes(KEY.public_key(), &bytes).is_err());
            prop_assert!(public_key_from_bytes(&bytes).is_err());
        }
    }
}
