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
    use super::*;
    use gelu_keyfile::conformance::check;
    use rand::{SeedableRng, rngs::ChaCha20Rng};

    #[test]
    fn keys_come_back_and_damaged_files_are_refused() {
        let key = SecretKey::generate(&mut ChaCha20Rng::seed_from_u64(1));
        let Fields { s1, .. } = &key.fields();
        let bytes = |key: &SecretKey| (*key.secrets().0.to_bytes(), *key.secrets().1.to_bytes());
        let same = |a: &SecretKey, b: &SecretKey| bytes(a) == bytes(b);
        check(
            &key,
            same,
            &[
                ("bits", 255.into(), Unread::Format),
                ("s1", "xyz".into(), Unread::Format),
                ("s1", format!("é{}", &s1[2..]).into(), Unread::Format),
                ("s1", format!("+{}", &s1[1..]).into(), Unread::Format),
                ("s1", 7.into(), Unread::Format),
                ("s2", s1[1..].into(), Unread::Format),
                ("s2", "0".repeat(64).into(), Unread::Key(InvalidSecretKey::Zero)),
                ("s2", "f".repeat(64).into(), Unread::Key(InvalidSecretKey::Range)),
            ],
        );
    }
}
