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
    use super::*;
    use crate::oracle::KEY;
    use gelu_keyfile::conformance::check;

    #[test]
    fn keys_come_back_and_damaged_files_are_refused() {
        let Fields { p, q, .. } = &KEY.fields();
        let key = Unread::Key;
        check(
            &*KEY,
            |a, b| *a.primes().0 == *b.primes().0 && *a.primes().1 == *b.primes().1,
            &[
                ("bits", 1024.into(), key(InvalidSecretKey::Size)),
                ("p", "xyz".into(), Unread::Format),
                ("p", format!("é{p}").into(), Unread::Format),
                ("p", 7.into(), Unread::Format),
                ("p", q.as_str().into(), key(InvalidSecretKey::EqualFactors)),
                // p is 3 modulo 4.
                ("p", format!("{}1", &p[..p.len() - 1]).into(), key(InvalidSecretKey::NotPrime)),
                ("q", p[..p.len() - 2].into(), key(InvalidSecretKey::Size)),
            ],
        );
    }
}
