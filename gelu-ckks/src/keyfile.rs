//! Secret keys on disk: see [`gelu_keyfile`].
//!
//! ```json
//! { "format": "gelu-ckks-secret-key", "version": 1, "parameters": "0020…", "root": "c3…" }
//! ```
//!
//! The parameters are those [bytes](crate::bytes), and checked like any: a file for parameters that are not secure holds no key. All
//! else follows from the 32 bytes of the root.

use gelu_keyfile::{StoredKey, Unread, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::bytes::Unreadable;
use crate::keys::SecretKey;
use crate::parameters::Parameters;

/// Why well-formed fields hold no key.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidSecretKey {
    /// The parameters are none.
    #[error("its parameters: {0}")]
    Parameters(#[from] Unreadable),
    /// The root is not 32 bytes long.
    #[error("the root is not 32 bytes long")]
    Root,
}

/// What stands in a key file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Fields {
    parameters: String,
    root: String,
}

impl StoredKey for SecretKey {
    const FORMAT: &'static str = "gelu-ckks-secret-key";
    const VERSION: u32 = 1;
    type Fields = Fields;
    type Invalid = InvalidSecretKey;

    fn fields(&self) -> Fields {
        Fields { parameters: to_hex(&self.parameters().to_bytes()), root: to_hex(self.root()) }
    }

    fn parse(fields: &Fields) -> Result<Self, Unread<InvalidSecretKey>> {
        let bytes = from_hex(&fields.parameters).ok_or(Unread::Format)?;
        let parameters = Parameters::from_bytes(&bytes).map_err(InvalidSecretKey::Parameters)?;
        let root = from_hex(&fields.root).ok_or(Unread::Format)?;
        let root = root.first_chunk().filter(|_| root.len() == 32).ok_or(InvalidSecretKey::Root)?;
        Ok(Self::from_root(parameters, root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secret;

    #[test]
    fn a_key_comes_back_from_its_file_and_each_field_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        secret().save(&path).unwrap();
        let again = SecretKey::load(&path).unwrap();
        assert_eq!(again.parameters(), secret().parameters());
        assert!(again.secret() == secret().secret());

        let parse = |change: fn(&mut Fields)| {
            let mut fields = secret().fields();
            change(&mut fields);
            SecretKey::parse(&fields).unwrap_err()
        };
        let key = |why| matches!(why, Unread::Key(InvalidSecretKey::Root));
        assert!(key(parse(|fields| fields.root.truncate(62))));
        assert!(matches!(parse(|fields| fields.root.replace_range(0..1, "x")), Unread::Format));
        let length = parse(|fields| fields.parameters.truncate(20));
        assert!(matches!(
            length,
            Unread::Key(InvalidSecretKey::Parameters(Unreadable::Length { .. }))
        ));
        // The degree 2^12: too small for these primes.
        let insecure = parse(|fields| fields.parameters.replace_range(0..4, "0010"));
        assert!(matches!(
            insecure,
            Unread::Key(InvalidSecretKey::Parameters(Unreadable::Value(_)))
        ));
    }
}
