//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-elgamal-secret-key", "version": 1, "bits": 256, "x": "c3…" }
//! ```
//!
//! x is the exponent in 64 hexadecimal digits, its least significant byte first.

use std::path::Path;

use gelu_keyfile::{Header, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::{InvalidSecretKey, KEY_BITS, SecretKey};

const HEADER: Header = Header { format: "gelu-elgamal-secret-key", version: 1 };

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeyFile {
    format: String,
    version: u32,
    bits: u32,
    x: String,
}

impl SecretKey {
    /// Writes the key to a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] rather than overwrite anything.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        gelu_keyfile::create(path.as_ref(), &self.to_file())
    }

    /// Writes the key in place of whatever is at `path`, all or nothing.
    ///
    /// # Errors
    /// [`KeyFileError::Io`], and then the old file is still there.
    pub fn save_replacing(&self, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
        gelu_keyfile::replace(path.as_ref(), &self.to_file())
    }

    fn to_file(&self) -> KeyFile {
        KeyFile {
            format: HEADER.format.into(),
            version: HEADER.version,
            bits: KEY_BITS,
            x: to_hex(&*self.to_bytes()),
        }
    }

    /// Reads a key that [`save`](Self::save) wrote, and checks it again.
    ///
    /// # Errors
    /// [`KeyFileError::Exposed`] when others may read the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let file: KeyFile = gelu_keyfile::read(path)?;
        HEADER.check(path, &file.format, file.version)?;
        let unknown = || KeyFileError::Format(path.to_owned());
        if file.bits != KEY_BITS {
            return Err(unknown());
        }
        let x = from_hex(&file.x).ok_or_else(unknown)?;
        Self::from_bytes(&x).map_err(|why| KeyFileError::Key(path.to_owned(), why))
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
