//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-tfhe-secret-key", "version": 1, "bits": 5120, "seed": "c3…", "check": "e9…" }
//! ```
//!
//! The seed is the 32 bytes, hexadecimal, from which the whole key is made again; the check is the
//! first word of the b that came out when it was written, so that a version that makes other keys
//! of seeds is noticed.

use std::path::Path;

use gelu_keyfile::{Header, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::SecretKey;
use super::parameters::KEY_BITS;

const HEADER: Header = Header { format: "gelu-tfhe-secret-key", version: 1 };

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<Damaged>;

/// The seed gives another key than the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or its key was made in a way that this version does not know")]
pub struct Damaged;

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct KeyFile {
    format: String,
    version: u32,
    bits: u32,
    seed: String,
    check: String,
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
            seed: to_hex(self.seed()),
            check: self.check(),
        }
    }

    /// Reads a key that [`save`](Self::save) wrote.
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
        let key = Self::from_seed(seed(&file.seed).ok_or_else(unknown)?);
        if key.check() != file.check {
            return Err(KeyFileError::Key(path.to_owned(), Damaged));
        }
        Ok(key)
    }

    /// The first word of b, which depends on the matrix, the secret and the noise. It is public.
    fn check(&self) -> String {
        format!("{:032x}", self.public_key().b()[0])
    }
}

fn seed(digits: &str) -> Option<Zeroizing<[u8; 32]>> {
    Some(Zeroizing::new(<[u8; 32]>::try_from(&from_hex(digits)?[..]).ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lwe::keys::tests::KEY;

    #[test]
    fn what_was_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        KEY.save(&path).unwrap();
        let loaded = SecretKey::load(&path).unwrap();
        assert_eq!(loaded.public_key(), KEY.public_key());
        assert_eq!(loaded.lwe().as_ref(), KEY.lwe().as_ref());
    }

    /// Files of version 1 stay readable: a seed gives the key that it gave when they were written.
    #[test]
    fn seeds_give_the_same_keys_for_ever() {
        let key = SecretKey::from_seed(Zeroizing::new([7; 32]));
        assert_eq!(key.check(), "61414b9fcac8bce7ab56789e432a3b29");
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
        let seed = good["seed"].as_str().unwrap();
        assert!(load("bits", 5120.into()).is_ok());
        for (name, value) in [
            ("format", "else".into()),
            ("version", 2.into()),
            ("bits", 4096.into()),
            ("seed", "xyz".into()),
            ("seed", 7.into()),
            ("seed", format!("é{}", &seed[2..]).into()),
            ("seed", format!("{seed}00").into()),
            ("seed", seed[..62].into()),
        ] {
            assert!(matches!(load(name, value), Err(KeyFileError::Format(_))), "{name}");
        }
        let other = if seed.starts_with('0') { "1" } else { "0" };
        for (name, value) in
            [("seed", format!("{other}{}", &seed[1..]).into()), ("check", "00".into())]
        {
            assert!(matches!(load(name, value), Err(KeyFileError::Key(..))), "{name}");
        }
    }
}
