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
    use super::*;
    use crate::oracle::KEY;
    use gelu_keyfile::conformance::check;

    #[test]
    fn keys_come_back_and_damaged_files_are_refused() {
        let Fields { x, .. } = &KEY.fields();
        let not_canonical = || Unread::Key(InvalidSecretKey::NotCanonical);
        check(
            &*KEY,
            |a, b| *a.to_bytes() == *b.to_bytes(),
            &[
                ("bits", 255.into(), Unread::Format),
                ("x", "xyz".into(), Unread::Format),
                ("x", format!("é{x}").into(), Unread::Format),
                ("x", 7.into(), Unread::Format),
                ("x", x[2..].into(), not_canonical()),
                ("x", "ff".repeat(32).into(), not_canonical()),
                ("x", "".into(), not_canonical()),
                ("x", "00".repeat(32).into(), Unread::Key(InvalidSecretKey::Zero)),
            ],
        );
    }
}
