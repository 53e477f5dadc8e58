//! A ciphertext, which knows its key.

use crate::elements::Elements;
use crate::kernel::Line;
use crate::keys::PublicKey;

/// (1 + n)^m · rⁿ mod n²: an encrypted row of slots.
///
/// Always a unit modulo n². It remembers the [fingerprint](PublicKey::fingerprint) of its key:
/// operations on ciphertexts of another key panic, decryption fails.
#[derive(Clone)]
pub struct Ciphertext {
    element: Elements,
    key: [u8; 8],
}

impl Ciphertext {
    /// From a unit modulo n².
    pub(crate) fn new(public: &PublicKey, unit: &[Line]) -> Self {
        let mut element = public.ring().empty();
        element.push(unit);
        Self { element, key: public.fingerprint() }
    }

    /// Whether this is the ciphertext's key.
    pub(crate) fn is_under(&self, public: &PublicKey) -> bool {
        self.key == public.fingerprint()
    }

    /// The residue, given the right key.
    ///
    /// # Panics
    /// When the ciphertext belongs to another key. Ciphertexts from a peer are read under the
    /// session's key, so this is a mistake of our own.
    pub(crate) fn under(&self, public: &PublicKey) -> &[Line] {
        assert!(self.is_under(public), "a ciphertext under another key");
        self.element.get(0)
    }
}

impl core::fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let key = format_args!("{:016x}", u64::from_be_bytes(self.key)).to_string();
        f.debug_struct("Ciphertext").field("key", &key).finish_non_exhaustive()
    }
}
