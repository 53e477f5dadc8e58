//! Ciphertexts as bytes, and what is checked when they come back.
//!
//! ```text
//! public key   h           32 bytes
//! ciphertext   c₁ ‖ c₂     32 bytes each
//! ```
//!
//! Elements are in Ristretto's canonical encoding (RFC 9496): one encoding an element, and every
//! encoding that is accepted is an element of the group of prime order. So nothing is left to
//! check: no cofactor, no subgroup, no second spelling. The identity is no key, but it is a
//! ciphertext's good right: 0 times anything is one.

use curve25519_dalek::RistrettoPoint;
use curve25519_dalek::ristretto::CompressedRistretto;

use crate::multiscalar::Pair;

/// Bytes of a ciphertext.
pub(crate) const CIPHERTEXT_BYTES: usize = 64;

pub(crate) fn to_bytes((c1, c2): &Pair) -> [u8; CIPHERTEXT_BYTES] {
    let mut bytes = [0; CIPHERTEXT_BYTES];
    bytes[..32].copy_from_slice(c1.compress().as_bytes());
    bytes[32..].copy_from_slice(c2.compress().as_bytes());
    bytes
}

/// `None` unless these are two canonical encodings.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Pair> {
    let (c1, c2) = bytes.split_at_checked(32)?;
    Some((element(c1)?, element(c2)?))
}

fn element(bytes: &[u8]) -> Option<RistrettoPoint> {
    CompressedRistretto::from_slice(bytes).ok()?.decompress()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, rng};
    use crate::scheme::ElGamal;
    use gelu_core::error::{Error, PeerMisbehaved};
    use gelu_core::{AdditiveHE, Plaintext};
    use proptest::prelude::*;

    fn good() -> Vec<u8> {
        let (public, mut out) = (KEY.public_key(), Vec::new());
        let c =
            ElGamal::encrypt(public, &Plaintext::new(8, vec![7]).unwrap(), &mut rng(3)).unwrap();
        ElGamal::ciphertext_to_bytes(public, &c, &mut out);
        out
    }

    #[test]
    fn lengths_are_exact() {
        let public = KEY.public_key();
        for length in [0, 1, 32, 63, 65, 128] {
            let error = ElGamal::ciphertext_from_bytes(public, &vec![0; length]).unwrap_err();
            let expected = PeerMisbehaved::CiphertextLength { expected: 64, got: length };
            assert_eq!(error, expected.into());
        }
        let two = [good(), good()].concat();
        assert_eq!(ElGamal::ciphertexts_from_bytes(public, &two, 2).unwrap().len(), 2);
        assert!(ElGamal::ciphertexts_from_bytes(public, &two, 1).is_err());
        assert!(ElGamal::ciphertexts_from_bytes(public, &two, usize::MAX).is_err());
        assert!(ElGamal::ciphertexts_from_bytes(public, &[], 0).unwrap().is_empty());
    }

    #[test]
    fn garbage_in_either_half_of_any_ciphertext_is_refused() {
        let public = KEY.public_key();
        for at in [0, 32, 64, 96] {
            let mut bytes = [good(), good()].concat();
            bytes[at] ^= 1; // odd: a negative field element
            let error = ElGamal::ciphertexts_from_bytes(public, &bytes, 2).unwrap_err();
            assert_eq!(error, Error::from(PeerMisbehaved::InvalidCiphertext), "byte {at}");
        }
        assert!(ElGamal::ciphertext_from_bytes(public, &[255; 64]).is_err());
        assert!(ElGamal::ciphertext_from_bytes(public, &[0; 64]).is_ok(), "0 · anything");
    }

    proptest! {
        /// Whatever is accepted is what we would have written: there is no second spelling.
        #[test]
        fn bytes_are_canonical_or_refused(mut bytes in prop::array::uniform32(any::<u8>())) {
            bytes[0] &= 0xfe;
            bytes[31] &= 0x7f;
            let ciphertext = [bytes, bytes].concat();
            if let Some(points) = from_bytes(&ciphertext) {
                prop_assert_eq!(to_bytes(&points).to_vec(), ciphertext);
            }
        }
    }
}
