//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-bgn-secret-key", "version": 1, "bits": 381, "s1": "0c3…", "s2": "4e9…" }
//! ```
//!
//! s₁ and s₂ are hexadecimal, big-endian, 64 digits each.

use std::path::Path;

use gelu_keyfile::{Header, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::group::Scalar;
use crate::keys::{InvalidSecretKey, KEY_BITS, SecretKey};

const HEADER: Header = Header { format: "gelu-bgn-secret-key", version: 1 };

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<InvalidSecretKey>;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeyFile {
    format: String,
    version: u32,
    bits: u32,
    s1: String,
    s2: String,
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
        let (s1, s2) = self.secrets();
        KeyFile {
            format: HEADER.format.into(),
            version: HEADER.version,
            bits: KEY_BITS,
            s1: digits(s1),
            s2: digits(s2),
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
        let invalid = |why| KeyFileError::Key(path.to_owned(), why);
        let secret = |text: &str| {
            let bytes = bytes(text).ok_or_else(unknown)?;
            Scalar::from_bytes(&bytes).ok_or_else(|| invalid(InvalidSecretKey::Range))
        };
        Self::new(secret(&file.s1)?, secret(&file.s2)?).map_err(invalid)
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
