//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-bgn-secret-key", "version": 1, "bits": 381, "s1": "0c3…", "s2": "4e9…" }
//! ```
//!
//! s₁ and s₂ are hexadecimal, big-endian, 64 digits each.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::group::Scalar;
use crate::keys::{InvalidSecretKey, KEY_BITS, SecretKey};

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    bits: u32,
    s1: String,
    s2: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-bgn-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = InvalidSecretKey;

    fn fields(&self) -> Fields {
        let (s1, s2) = self.secrets();
        Fields { bits: KEY_BITS, s1: digits(s1), s2: digits(s2) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<InvalidSecretKey>> {
        if fields.bits != KEY_BITS {
            return Err(Unread::Format);
        }
        let secret = |text: &str| {
            let bytes = bytes(text).ok_or(Unread::Format)?;
            Scalar::from_bytes(&bytes).ok_or(Unread::Key(InvalidSecretKey::Range))
        };
        Ok(Self::new(secret(&fields.s1)?, secret(&fields.s2)?)?)
    }
}

fn digits(secret: &Scalar) -> String {
    let mut bytes = secret.to_bytes();
    bytes.reverse();
    to_hex(&*bytes)
}

/// Of exactly 64 digits, the highest first; bytes come out lowest first.
fn bytes(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    let highest_first = from_hex(digits)?;
    let mut bytes = Zeroizing::new(<[u8; 32]>::try_from(&highest_first[..]).ok()?);
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};
    use std::sync::LazyLock;

    static KEY: LazyLock<SecretKey> =
        LazyLock::new(|| SecretKey::generate(&mut ChaCha20Rng::seed_from_u64(1)));

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), KEY.public_key());
        let bytes = |key: &SecretKey| (*key.secrets().0.to_bytes(), *key.secrets().1.to_bytes());
        assert_eq!(bytes(&loaded), bytes(&KEY));
    }

    #[test]
    fn damaged_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let good: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let load = |name: &str, value: serde_json::Value| {
            let mut file = good.clone();
            file[name] = value;
            fs::write(&path, file.to_string()).unwrap();
            SecretKey::load(&path).map(|_| ())
        };
        let s1 = good["s1"].as_str().unwrap();
        assert!(load("bits", 381.into()).is_ok());
        for (name, value) in [
            ("format", "else".into()),
            ("version", 2.into()),
            ("bits", 255.into()),
            ("s1", "xyz".into()),
            ("s1", format!("é{}", &s1[2..]).into()),
            ("s1", format!("+{}", &s1[1..]).into()),
            ("s1", 7.into()),
            ("s2", s1[1..].into()),
        ] {
            assert!(matches!(load(name, value), Err(KeyFileError::Format(_))), "{name}");
        }
        let why = |text: &str| match load("s2", text.into()) {
            Err(KeyFileError::Key(_, why)) => Some(why),
            _ => None,
        };
        assert_eq!(why(&"0".repeat(64)), Some(InvalidSecretKey::Zero));
        assert_eq!(why(&"f".repeat(64)), Some(InvalidSecretKey::Range));
        assert_eq!(why(s1), None, "any two secrets are a key");
    }
}
