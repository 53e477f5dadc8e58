//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-paillier-secret-key", "version": 1, "bits": 2048, "p": "c3…", "q": "e9…" }
//! ```
//!
//! p and q are hexadecimal.

use std::path::Path;

use gelu_keyfile::{Header, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::{InvalidSecretKey, SecretKey};

const HEADER: Header = Header { format: "gelu-paillier-secret-key", version: 1 };

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeyFile {
    format: String,
    version: u32,
    bits: u32,
    p: String,
    q: String,
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
        let (p, q) = self.primes();
        let hex = |x: &crypto_bigint::BoxedUint| to_hex(&Zeroizing::new(x.to_be_bytes()));
        KeyFile {
            format: HEADER.format.into(),
            version: HEADER.version,
            bits: self.public_key().bits(),
            p: hex(&p),
            q: hex(&q),
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
        let p = from_hex(&file.p).ok_or_else(unknown)?;
        let q = from_hex(&file.q).ok_or_else(unknown)?;
        let invalid = |why| KeyFileError::Key(path.to_owned(), why);
        let key = Self::from_primes(&p, &q).map_err(invalid)?;
        if key.public_key().bits() != file.bits {
            return Err(invalid(InvalidSecretKey::Size));
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
