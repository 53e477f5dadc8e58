//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-paillier-secret-key", "version": 1, "bits": 2048, "p": "c3…", "q": "e9…" }
//! ```
//!
//! p and q are hexadecimal.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::{InvalidSecretKey, SecretKey};

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    bits: u32,
    p: String,
    q: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-paillier-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = InvalidSecretKey;

    fn fields(&self) -> Fields {
        let (p, q) = self.primes();
        let hex = |x: &crypto_bigint::BoxedUint| to_hex(&Zeroizing::new(x.to_be_bytes()));
        Fields { bits: self.public_key().bits(), p: hex(&p), q: hex(&q) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<InvalidSecretKey>> {
        let prime = |digits| from_hex(digits).ok_or(Unread::Format);
        let key = Self::from_primes(&prime(&fields.p)?, &prime(&fields.q)?)?;
        if key.public_key().bits() != fields.bits {
            return Err(InvalidSecretKey::Size.into());
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::oracle::KEY;

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), KEY.public_key());
        assert_eq!(*loaded.primes().0, *KEY.primes().0);
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
        let p = good["p"].as_str().unwrap();
        assert!(load("bits", 512.into()).is_ok());
        assert!(matches!(load("format", "else".into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("version", 2.into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", "xyz".into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", format!("é{p}").into()), Err(KeyFileError::Format(_))));
        assert!(matches!(load("p", 7.into()), Err(KeyFileError::Format(_))));
        for (name, value) in [
            ("bits", 1024.into()),
            ("p", good["q"].clone()),
            ("p", format!("{}1", &p[..p.len() - 1]).into()),
            ("q", p[..p.len() - 2].into()),
        ] {
            let unchanged = good[name] == value;
            assert!(unchanged || matches!(load(name, value), Err(KeyFileError::Key(..))), "{name}");
        }
    }
}
