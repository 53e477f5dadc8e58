//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-elgamal-secret-key", "version": 1, "bits": 256, "x": "c3…" }
//! ```
//!
//! x is the exponent in 64 hexadecimal digits, its least significant byte first.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::{InvalidSecretKey, KEY_BITS, SecretKey};

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    bits: u32,
    x: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-elgamal-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = InvalidSecretKey;

    fn fields(&self) -> Fields {
        Fields { bits: KEY_BITS, x: to_hex(&*self.to_bytes()) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<InvalidSecretKey>> {
        if fields.bits != KEY_BITS {
            return Err(Unread::Format);
        }
        Ok(Self::from_bytes(&from_hex(&fields.x).ok_or(Unread::Format)?)?)
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
        assert_eq!(*loaded.to_bytes(), *KEY.to_bytes());
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
        let x = good["x"].as_str().unwrap();
        assert!(load("bits", 256.into()).is_ok());
        for (name, value) in [
            ("format", "else".into()),
            ("version", 2.into()),
            ("bits", 255.into()),
            ("x", "xyz".into()),
            ("x", format!("é{x}").into()),
            ("x", 7.into()),
        ] {
            assert!(matches!(load(name, value), Err(KeyFileError::Format(_))), "{name}");
        }
        let key = |value: String| match load("x", value.into()) {
            Err(KeyFileError::Key(_, why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(x[2..].into()), InvalidSecretKey::NotCanonical);
        assert_eq!(key("ff".repeat(32)), InvalidSecretKey::NotCanonical);
        assert_eq!(key("00".repeat(32)), InvalidSecretKey::Zero);
        assert_eq!(key(String::new()), InvalidSecretKey::NotCanonical);
    }
}
