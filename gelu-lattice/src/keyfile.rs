//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-lattice-secret-key", "version": 1, "degree": 4096, "root": "c3…" }
//! ```
//!
//! All else follows from the 32 bytes of the root.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::keys::SecretKey;
use crate::parameters::Parameters;

/// Why well-formed fields hold no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidSecretKey {
    /// There is no ring of this degree.
    Degree(u32),
    /// The root is not 32 bytes long.
    Root,
}

impl core::fmt::Display for InvalidSecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Degree(degree) => write!(f, "no ring of degree {degree} is known"),
            Self::Root => f.write_str("the root is not 32 bytes long"),
        }
    }
}

impl core::error::Error for InvalidSecretKey {}

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    degree: u32,
    root: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-lattice-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = InvalidSecretKey;

    fn fields(&self) -> Fields {
        let degree = u32::try_from(self.parameters().degree()).expect("at most 2^16");
        Fields { degree, root: to_hex(self.root()) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<InvalidSecretKey>> {
        let invalid = InvalidSecretKey::Degree(fields.degree);
        let parameters = Parameters::of_degree(fields.degree).ok_or(invalid)?;
        let root = from_hex(&fields.root).ok_or(Unread::Format)?;
        let root = root.first_chunk().filter(|_| root.len() == 32).ok_or(InvalidSecretKey::Root)?;
        Ok(Self::from_root(parameters, root))
    }
}
