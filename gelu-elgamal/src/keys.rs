//! Keys: what everybody may know and what only the owner may.

use std::sync::{Arc, OnceLock};

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoBasepointTable};
use curve25519_dalek::traits::{Identity, IsIdentity};
use curve25519_dalek::{RistrettoPoint, Scalar};
use gelu_core::error::PeerMisbehaved;
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The one size that keys come in: points and scalars of 256 bits.
///
/// The group's order is a prime of 252.0 bits (ℓ = 2^252 + 27742317777372353535851937790883648493),
/// so the best known attack, Pollard's rho, takes about 2^126 additions: security of about 126
/// bits, next to which 3072 bits of RSA or Paillier are usually set. It is not 256 bits of security.
pub const KEY_BITS: u32 = 256;

/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// ElGamal's public key: h = x·G, never the identity.
///
/// Cheap to clone; clones share a table of multiples of h (30 KB), built at the first use.
#[derive(Clone)]
pub struct PublicKey(Arc<Public>);

struct Public {
    point: RistrettoPoint,
    bytes: [u8; PUBLIC_KEY_BYTES],
    table: OnceLock<Box<RistrettoBasepointTable>>,
}

impl PublicKey {
    /// The key h; `None` for the identity, under which everything would be in the clear.
    pub(crate) fn new(point: RistrettoPoint) -> Option<Self> {
        let bytes = point.compress().to_bytes();
        (!point.is_identity())
            .then(|| Self(Arc::new(Public { point, bytes, table: OnceLock::new() })))
    }

    /// A peer's key: 32 bytes, the canonical encoding of an element of the group.
    ///
    /// Every such element except the identity has a secret key, so nothing else can be checked.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerMisbehaved> {
        let bytes = CompressedRistretto::from_slice(bytes)
            .map_err(|_| PeerMisbehaved::InvalidKey("a wrong length"))?;
        let point = bytes.decompress().ok_or(PeerMisbehaved::InvalidKey("no group element"))?;
        Self::new(point).ok_or(PeerMisbehaved::InvalidKey("the identity"))
    }

    /// The canonical encoding of h.
    pub fn to_bytes(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.0.bytes
    }

    /// The first bytes of the key, to tell keys apart: encodings are as good as random.
    pub fn fingerprint(&self) -> [u8; 8] {
        *self.0.bytes.first_chunk().expect("32 bytes")
    }

    /// The key of two owners together: h₁ + h₂, which neither can decrypt under alone.
    ///
    /// Safe between semi-honest owners only: the second to speak could choose its key so that the
    /// sum is one whose secret it knows. `None` if the keys cancel out.
    pub(crate) fn joint(&self, other: &Self) -> Option<Self> {
        Self::new(self.0.point + other.0.point)
    }

    /// r·h in constant time.
    pub(crate) fn multiply(&self, r: &Scalar) -> RistrettoPoint {
        let table =
            self.0.table.get_or_init(|| Box::new(RistrettoBasepointTable::create(&self.0.point)));
        &**table * r
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes
    }
}

impl Eq for PublicKey {}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PublicKey")
            .field("fingerprint", &format_args!("{:016x}", u64::from_be_bytes(self.fingerprint())))
            .finish_non_exhaustive()
    }
}

/// Why a number is no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecretKey {
    /// Not 32 bytes of a number below the group's order.
    #[error("the key must be a number below the order of the group, 32 bytes little-endian")]
    NotCanonical,
    /// The exponent 0, whose public key is the identity.
    #[error("the key is zero")]
    Zero,
}

/// ElGamal's secret key: the exponent x.
///
/// Wiped on drop, redacted in [`Debug`], and not [`Clone`].
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    x: Zeroizing<Scalar>,
    #[zeroize(skip)]
    public: PublicKey,
}

impl SecretKey {
    /// A fresh key, uniform in 1 … ℓ − 1.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        loop {
            let x = Zeroizing::new(Scalar::random(rng));
            if let Ok(key) = Self::from_scalar(x) {
                return key;
            }
        }
    }

    /// The key with this exponent, 32 bytes little-endian.
    ///
    /// # Errors
    /// [`InvalidSecretKey`] says what is wrong with it.
    pub fn from_bytes(x: &[u8]) -> Result<Self, InvalidSecretKey> {
        let bytes = Zeroizing::new(x.try_into().map_err(|_| InvalidSecretKey::NotCanonical)?);
        let x: Option<Scalar> = Scalar::from_canonical_bytes(*bytes).into();
        Self::from_scalar(Zeroizing::new(x.ok_or(InvalidSecretKey::NotCanonical)?))
    }

    fn from_scalar(x: Zeroizing<Scalar>) -> Result<Self, InvalidSecretKey> {
        let public =
            PublicKey::new(RISTRETTO_BASEPOINT_TABLE * &*x).ok_or(InvalidSecretKey::Zero)?;
        Ok(Self { x, public })
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// x, for files.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.x.to_bytes())
    }

    /// r·h = (r·x)·G, by the faster of the two tables: for the owner, who knows x.
    pub(crate) fn exponent(&self, r: &Scalar) -> Zeroizing<Scalar> {
        let x: &Scalar = &self.x; // by reference: a copy would not be wiped
        Zeroizing::new(r * x)
    }

    /// x·P in constant time.
    pub(crate) fn multiply(&self, point: &RistrettoPoint) -> RistrettoPoint {
        let x: &Scalar = &self.x;
        point * x
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The neutral element, 0·G.
pub(crate) fn identity() -> RistrettoPoint {
    RistrettoPoint::identity()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, MULTIPLES, OTHER_KEY, hex, rng};

    /// RFC 9496, appendix A.1: x = 1, 2, … has the public key x·G.
    #[test]
    fn public_keys_are_the_published_multiples() {
        for (x, multiple) in MULTIPLES.iter().enumerate().skip(1) {
            let mut bytes = [0; 32];
            bytes[0] = u8::try_from(x).unwrap();
            let key = SecretKey::from_bytes(&bytes).unwrap();
            assert_eq!(hex(&key.public_key().to_bytes()), *multiple, "{x}·G");
            assert_eq!(PublicKey::from_bytes(&key.public_key().to_bytes()).unwrap(), key.public);
        }
    }

    #[test]
    fn secret_keys_are_checked() {
        let why = |x: &[u8]| SecretKey::from_bytes(x).unwrap_err();
        assert_eq!(why(&[0; 32]), InvalidSecretKey::Zero);
        assert_eq!(why(&[1; 31]), InvalidSecretKey::NotCanonical);
        assert_eq!(why(&[255; 32]), InvalidSecretKey::NotCanonical);
        let mut order = [0; 32];
        order[..16].copy_from_slice(&27742317777372353535851937790883648493u128.to_le_bytes());
        order[31] = 0x10;
        assert_eq!(why(&order), InvalidSecretKey::NotCanonical, "ℓ itself");
        order[0] -= 1;
        assert!(SecretKey::from_bytes(&order).is_ok(), "ℓ − 1");
    }

    /// RFC 9496, appendix A.2 has more of these; dalek's own tests have them all.
    #[test]
    fn what_is_no_group_element_is_no_key() {
        let why = |bytes: &[u8]| PublicKey::from_bytes(bytes).unwrap_err();
        assert_eq!(why(&[0; 32]), PeerMisbehaved::InvalidKey("the identity"));
        for length in [0, 31, 33, 64] {
            assert_eq!(why(&vec![1; length]), PeerMisbehaved::InvalidKey("a wrong length"));
        }
        let mut bytes = [0; 32];
        bytes[0] = 1; // a negative field element
        assert_eq!(why(&bytes), PeerMisbehaved::InvalidKey("no group element"));
        let mut beyond = [255; 32]; // 2^255 − 17, not below the field's prime
        (beyond[0], beyond[31]) = (0xef, 0x7f);
        assert_eq!(why(&beyond), PeerMisbehaved::InvalidKey("no group element"));
        let mut flagged = KEY.public_key().to_bytes();
        flagged[31] |= 0x80; // the top bit is never set
        assert_eq!(why(&flagged), PeerMisbehaved::InvalidKey("no group element"));
    }

    #[test]
    fn the_seed_determines_the_key() {
        assert_eq!(SecretKey::generate(&mut rng(1)).public_key(), KEY.public_key());
        assert_ne!(KEY.public_key(), OTHER_KEY.public_key());
    }

    #[test]
    fn owner_and_table_agree() {
        let r = Scalar::random(&mut rng(3));
        let point = RISTRETTO_BASEPOINT_TABLE * &*KEY.exponent(&r);
        assert_eq!(KEY.public_key().multiply(&r), point);
        assert_eq!(KEY.multiply(&(RISTRETTO_BASEPOINT_TABLE * &r)), point);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let shown = format!("{:?} {:?}", *KEY, KEY.public_key());
        let x = hex(&*KEY.to_bytes());
        assert!(!shown.contains(&x[..8]) && shown.contains("fingerprint"), "{shown}");
    }
}
