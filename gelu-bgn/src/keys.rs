//! Keys: one of ElGamal's in each source group.

use std::sync::Arc;

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use crate::group::{G1, G2, Group, Gt, Scalar, pair};

/// The number by which a key of this curve is known, to registries and handshakes: the bits of the
/// field. (Secrets have 255 bits, the size of the groups; but the field is what an attack on GT
/// works in, and what the curve is named after.)
pub const KEY_BITS: u32 = 381;

/// What everybody may know: y₁ = s₁·g₁ and y₂ = s₂·g₂.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Public>);

struct Public {
    y1: G1,
    y2: G2,
    /// e(y₁, g₂), e(g₁, y₂) and e(y₁, y₂).
    lifted: [Gt; 3],
}

impl PublicKey {
    /// From two points; `None` if one is the identity, which encrypts nothing.
    pub(crate) fn new(y1: G1, y2: G2) -> Option<Self> {
        if y1 == G1::identity() || y2 == G2::identity() {
            return None;
        }
        let (g1, g2) = (G1::generator(), G2::generator());
        let lifted = [pair(&[y1], &[g2]), pair(&[g1], &[y2]), pair(&[y1], &[y2])];
        Some(Self(Arc::new(Public { y1, y2, lifted })))
    }

    pub(crate) fn y1(&self) -> &G1 {
        &self.0.y1
    }

    pub(crate) fn y2(&self) -> &G2 {
        &self.0.y2
    }

    /// s₁·e, s₂·e and s₁·s₂·e with e = e(g₁, g₂).
    pub(crate) fn lifted(&self) -> &[Gt; 3] {
        &self.0.lifted
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (self.y1(), self.y2()) == (other.y1(), other.y2())
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut bytes = Vec::new();
        self.y1().write(&mut bytes);
        let start: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        f.debug_struct("PublicKey").field("y1", &start).finish_non_exhaustive()
    }
}

/// Why two numbers are no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecretKey {
    /// A number is not below the order of the groups.
    #[error("a secret is not below the order of the groups")]
    Range,
    /// A secret is zero: its half of the key encrypts nothing.
    #[error("a secret is zero")]
    Zero,
}

/// What only the owner may know: s₁ and s₂.
///
/// Wiped on drop, redacted in [`Debug`], and not [`Clone`]: a second copy must be asked for with
/// [`StoredKey`](gelu_keyfile::StoredKey).
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    #[zeroize(skip)]
    public: PublicKey,
    s1: Scalar,
    s2: Scalar,
    /// −s₁, −s₂ and s₁·s₂: what the parts of a product are weighed with.
    weights: [Scalar; 3],
}

impl SecretKey {
    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        loop {
            // A zero comes once in 2^254 times.
            if let Ok(key) = Self::new(Scalar::random(rng), Scalar::random(rng)) {
                return key;
            }
        }
    }

    /// The key with these secrets.
    pub(crate) fn new(s1: Scalar, s2: Scalar) -> Result<Self, InvalidSecretKey> {
        if s1.is_zero() || s2.is_zero() {
            return Err(InvalidSecretKey::Zero);
        }
        let y = (G1::generator().times(&s1), G2::generator().times(&s2));
        let public = PublicKey::new(y.0, y.1).ok_or(InvalidSecretKey::Zero)?;
        let weights = [s1.negated(), s2.negated(), s1.product(&s2)];
        Ok(Self { public, s1, s2, weights })
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// s₁ and s₂, for files.
    pub(crate) fn secrets(&self) -> (&Scalar, &Scalar) {
        (&self.s1, &self.s2)
    }

    /// −s₁, −s₂ and s₁·s₂.
    pub(crate) fn weights(&self) -> &[Scalar; 3] {
        &self.weights
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::ChaCha20Rng};

    fn key(seed: u64) -> SecretKey {
        SecretKey::generate(&mut ChaCha20Rng::seed_from_u64(seed))
    }

    #[test]
    fn the_seed_determines_the_key() {
        assert_eq!(key(1).public_key(), key(1).public_key());
        assert_ne!(key(1).public_key(), key(2).public_key());
        let (key, e) = (key(1), Gt::generator());
        let (s1, s2) = key.secrets();
        let lifted = [e.times(s1), e.times(s2), e.times(&s1.product(s2))];
        assert_eq!(*key.public_key().lifted(), lifted);
    }

    #[test]
    fn keys_that_encrypt_nothing_are_refused() {
        let (zero, one) = (|| Scalar::from_i128(0), || Scalar::from_i128(1));
        assert_eq!(SecretKey::new(zero(), one()).unwrap_err(), InvalidSecretKey::Zero);
        assert_eq!(SecretKey::new(one(), zero()).unwrap_err(), InvalidSecretKey::Zero);
        assert!(PublicKey::new(G1::identity(), G2::generator()).is_none());
        assert!(PublicKey::new(G1::generator(), G2::identity()).is_none());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = key(3);
        let shown = format!("{key:?}");
        let (s1, s2) = key.secrets();
        for secret in [s1, s2] {
            let bytes = secret.to_bytes();
            let start: String = bytes[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(&start), "{shown}");
        }
        assert!(shown.contains("y1"));
    }
}
