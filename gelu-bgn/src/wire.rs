//! Keys and ciphertexts as bytes, and what is checked when they come back.
//!
//! ```text
//! public key   version (1 byte) ‖ y₁ (48) ‖ y₂ (96)
//! level 1      two points, compressed: 2·48 in G1, 2·96 in G2
//! level 2      four elements of GT, 576 each, big-endian: twelve numbers below p each
//! ```
//!
//! An element is accepted in its one canonical encoding and if it is in the group of order r:
//! outside of it, arithmetic on ciphertexts could be made to leak. Keys are not the identity.
//! Level 2 is written from a [`SealedProduct`] only.

use gelu_core::error::PeerMisbehaved;
use rayon::prelude::*;

use crate::group::{G1, G2, Group, Gt};
use crate::keys::PublicKey;
use crate::scheme::{Ciphertext, Half, Product, SealedProduct};

/// The version of the public key's bytes.
const VERSION: u8 = 1;

impl PublicKey {
    /// The key as 145 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        self.y1().write(&mut bytes);
        self.y2().write(&mut bytes);
        bytes
    }

    /// Reads and checks a peer's key.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`] unless the points are encoded canonically, are in their groups
    /// and are not the identity.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let Some((&VERSION, points)) = bytes.split_first() else {
            return Err(PeerMisbehaved::InvalidKey("an unknown version"));
        };
        let (y1, y2) = points
            .split_at_checked(G1::LEN)
            .filter(|(_, rest)| rest.len() == G2::LEN)
            .ok_or(PeerMisbehaved::InvalidKey("a wrong length"))?;
        G1::read(y1)
            .zip(G2::read(y2))
            .and_then(|(y1, y2)| Self::new(y1, y2))
            .ok_or(PeerMisbehaved::InvalidKey("not two generators of the groups"))
    }
}

impl<G: Half> Ciphertext<G> {
    /// Bytes of a ciphertext.
    pub const LEN: usize = 2 * G::LEN;

    /// Appends [`LEN`](Self::LEN) bytes.
    ///
    /// The randomness of a result is a function of the inputs' randomness: what the key's owner is to
    /// see must be [rerandomised](PublicKey::rerandomize) first.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|part| part.write(out));
    }

    /// Reads as many ciphertexts as there are whole ones, which must be all.
    ///
    /// # Errors
    /// [`PeerMisbehaved::CiphertextLength`] unless there are `count`;
    /// [`PeerMisbehaved::InvalidCiphertext`] for what is not two elements of the group.
    pub fn read_many(bytes: &[u8], count: usize) -> Result<Vec<Self>, PeerMisbehaved> {
        let read = |bytes: &[u8]| Some(Self(read_parts(bytes)?));
        read_all(bytes, count, Self::LEN, read)
    }
}

impl SealedProduct {
    /// Bytes of a ciphertext on level 2.
    pub const LEN: usize = 4 * Gt::LEN;

    /// Appends [`LEN`](Self::LEN) bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.inner().0.iter().for_each(|part| part.write(out));
    }
}

impl Product {
    /// Reads what [`SealedProduct::write`] wrote `count` times.
    ///
    /// # Errors
    /// As [`Ciphertext::read_many`].
    pub fn read_many(bytes: &[u8], count: usize) -> Result<Vec<Self>, PeerMisbehaved> {
        let read = |bytes: &[u8]| Some(Self(read_parts(bytes)?));
        read_all(bytes, count, SealedProduct::LEN, read)
    }
}

fn read_parts<G: Group, const N: usize>(bytes: &[u8]) -> Option<[G; N]> {
    let parts: Option<Vec<G>> = bytes.chunks_exact(G::LEN).map(G::read).collect();
    parts?.try_into().ok()
}

fn read_all<T: Send>(
    bytes: &[u8],
    count: usize,
    len: usize,
    read: impl Fn(&[u8]) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, PeerMisbehaved> {
    let expected = count.saturating_mul(len);
    if bytes.len() != expected {
        return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() });
    }
    let all: Option<Vec<_>> = bytes.par_chunks_exact(len).map(read).collect();
    all.ok_or(PeerMisbehaved::InvalidCiphertext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};

    fn key() -> SecretKey {
        SecretKey::generate(&mut ChaCha20Rng::seed_from_u64(1))
    }

    fn level1<G: Half>() {
        let (key, rng) = (key(), &mut ChaCha20Rng::seed_from_u64(2));
        let all = [7, -7].map(|m| key.public_key().encrypt::<G>(m, rng));
        let mut bytes = Vec::new();
        all.iter().for_each(|c| c.write(&mut bytes));
        assert_eq!(bytes.len(), 2 * Ciphertext::<G>::LEN);
        assert_eq!(Ciphertext::<G>::read_many(&bytes, 2).unwrap(), all);
        let expected = 3 * Ciphertext::<G>::LEN;
        let wrong = PeerMisbehaved::CiphertextLength { expected, got: bytes.len() };
        assert_eq!(Ciphertext::<G>::read_many(&bytes, 3).unwrap_err(), wrong);
        assert!(Ciphertext::<G>::read_many(&bytes, usize::MAX).is_err());
        assert!(Ciphertext::<G>::read_many(&bytes[1..], 2).is_err());
        bytes.fill(0);
        let invalid = Ciphertext::<G>::read_many(&bytes, 2).unwrap_err();
        assert_eq!(invalid, PeerMisbehaved::InvalidCiphertext);
        assert_eq!(Ciphertext::<G>::read_many(&[], 0).unwrap(), []);
    }

    #[test]
    fn level_1_round_trips() {
        level1::<G1>();
        level1::<G2>();
    }

    #[test]
    fn level_2_round_trips() {
        let (key, rng) = (key(), &mut ChaCha20Rng::seed_from_u64(3));
        let sealed = key.public_key().seal(&key.public_key().trivial_product(5), rng);
        let mut bytes = Vec::new();
        sealed.write(&mut bytes);
        assert_eq!(bytes.len(), SealedProduct::LEN);
        assert_eq!(Product::read_many(&bytes, 1).unwrap(), [sealed.inner().clone()]);
        bytes[SealedProduct::LEN - 1] ^= 1;
        let invalid = Product::read_many(&bytes, 1).unwrap_err();
        assert_eq!(invalid, PeerMisbehaved::InvalidCiphertext, "a field element, not in GT");
        assert!(Product::read_many(&bytes[1..], 1).is_err());
    }

    #[test]
    fn keys_round_trip_and_are_checked() {
        let key = key();
        let bytes = key.public_key().to_bytes();
        assert_eq!(&PublicKey::from_bytes(&bytes).unwrap(), key.public_key());
        for wrong in [&bytes[1..], &bytes[..144], &[], &[VERSION]] {
            assert!(PublicKey::from_bytes(wrong).is_err());
        }
        let mut neutral = vec![VERSION];
        G1::identity().write(&mut neutral);
        neutral.extend_from_slice(&bytes[49..]);
        assert!(PublicKey::from_bytes(&neutral).is_err(), "a key that hides nothing");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn garbage_is_refused_without_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400), first in 0x80u8..=0xbf,
        ) {
            let _ = PublicKey::from_bytes(&bytes);
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            prop_assert!(Ciphertext::<G1>::read_many(&bytes, 1).is_err());
            prop_assert!(Ciphertext::<G2>::read_many(&bytes, 1).is_err());
        }
    }
}
