//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-tfhe-secret-key", "version": 1, "bits": 5120, "seed": "c3…", "check": "e9…" }
//! ```
//!
//! The seed is the 32 bytes, hexadecimal, from which the whole key is made again; the check is the
//! first word of the b that came out when it was written, so that a version that makes other keys
//! of seeds is noticed.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::SecretKey;
use super::parameters::KEY_BITS;

/// Why a key file was not written or read.
pub type KeyFileError = gelu_keyfile::Error<Damaged>;

/// The seed gives another key than the one that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or its key was made in a way that this version does not know")]
pub struct Damaged;

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    bits: u32,
    seed: String,
    check: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-tfhe-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = Damaged;

    fn fields(&self) -> Fields {
        Fields { bits: KEY_BITS, seed: to_hex(self.seed()), check: check(self) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<Damaged>> {
        if fields.bits != KEY_BITS {
            return Err(Unread::Format);
        }
        let key = Self::from_seed(seed(&fields.seed).ok_or(Unread::Format)?);
        if check(&key) != fields.check {
            return Err(Damaged.into());
        }
        Ok(key)
    }
}

/// The first word of b, which depends on the matrix, the secret and the noise. It is public.
fn check(key: &SecretKey) -> String {
    format!("{:032x}", key.public_key().b()[0])
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
        assert_eq!(check(&key), "61414b9fcac8bce7ab56789e432a3b29");
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
