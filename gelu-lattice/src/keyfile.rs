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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretKey {
    /// There is no ring of this degree.
    #[error("there is no ring of degree {0}, only of 4096 and 8192")]
    Degree(u32),
    /// The root is not 32 bytes long.
    #[error("the root is not 32 bytes long")]
    Root,
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::key;
    use gelu_keyfile::conformance::check;

    #[test]
    fn keys_come_back_and_damaged_files_are_refused() {
        let (key, _) = key(4096, 1);
        let Fields { root, .. } = &key.fields();
        let same =
            |a: &SecretKey, b: &SecretKey| a.root() == b.root() && a.public_key() == b.public_key();
        check(
            &key,
            same,
            &[
                ("degree", 2048.into(), Unread::Key(InvalidSecretKey::Degree(2048))),
                ("degree", "4096".into(), Unread::Format),
                ("root", "xyz".into(), Unread::Format),
                ("root", 7.into(), Unread::Format),
                ("root", root[2..].into(), Unread::Key(InvalidSecretKey::Root)),
                ("root", format!("{root}00").into(), Unread::Key(InvalidSecretKey::Root)),
            ],
        );
    }
}
