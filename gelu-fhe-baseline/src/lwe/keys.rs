//! Keys: what everybody may know and what only the owner may.
//!
//! ```text
//! secret   s ∈ {0,1}^n, as k polynomials
//! public   a seed, from which anybody expands A, and b = A·s + e
//! ```

use core::fmt;
use std::sync::Arc;

use rand_core::CryptoRng;
use tfhe::core_crypto::prelude::LweSecretKey;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::parameters::{DIMENSION, KEY_BITS, NOISE_BITS};
use super::ring::{Matrix, Side, constant_coefficient};
use super::sample::Sampler;

/// The public key: encrypts, and makes the encryptions of zero that seal results.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Public>);

struct Public {
    seed: [u8; 32],
    b: Vec<u128>,
    /// The words c with ⟨c, r⟩ = (b·r)₀.
    b_constant: Vec<u128>,
    matrix: Matrix,
}

impl PublicKey {
    /// The key with this seed and this b, of [`DIMENSION`] words.
    pub(crate) fn new(seed: [u8; 32], b: Vec<u128>) -> Self {
        assert_eq!(b.len(), DIMENSION);
        let (matrix, b_constant) = (Matrix::expand(seed), constant_coefficient(&b));
        Self(Arc::new(Public { seed, b, b_constant, matrix }))
    }

    /// The bits of the secret: the dimension.
    pub fn bits(&self) -> u32 {
        KEY_BITS
    }

    /// The first bytes of the seed, to tell keys apart.
    pub fn fingerprint(&self) -> [u8; 8] {
        *self.0.seed.first_chunk().expect("32 bytes")
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        self.0.seed
    }

    pub(crate) fn b(&self) -> &[u128] {
        &self.0.b
    }

    pub(crate) fn b_constant(&self) -> &[u128] {
        &self.0.b_constant
    }

    pub(crate) fn matrix(&self) -> &Matrix {
        &self.0.matrix
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.seed == other.0.seed && self.0.b == other.0.b
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint =
            format_args!("{:016x}", u64::from_be_bytes(self.fingerprint())).to_string();
        f.debug_struct("PublicKey").field("fingerprint", &fingerprint).finish_non_exhaustive()
    }
}

/// The secret key, wiped on drop.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    /// Everything else follows from it.
    seed: Zeroizing<[u8; 32]>,
    s: Zeroizing<Vec<u128>>,
    #[zeroize(skip)]
    public: PublicKey,
}

impl SecretKey {
    /// A fresh key: 256 bits from `rng`, and all else from those.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(seed)
    }

    /// The key that these 32 bytes stand for. Key files depend on it: the order of draws is part of
    /// their format.
    pub(crate) fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let mut sampler = Sampler::new(*seed);
        let mut s = Zeroizing::new(vec![0; DIMENSION]);
        sampler.binary(&mut s);
        let public_seed: [u8; 32] = {
            let words = [sampler.word(), sampler.word()].map(u128::to_be_bytes);
            words.as_flattened().try_into().expect("32 bytes")
        };
        let mut b = Matrix::expand(public_seed).times(Side::Rows, &s);
        sampler.add_noise(NOISE_BITS, &mut b);
        Self { seed, s, public: PublicKey::new(public_seed, b) }
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The secret as tfhe has it.
    pub(crate) fn lwe(&self) -> LweSecretKey<&[u128]> {
        LweSecretKey::from_container(&self.s[..])
    }

    /// What a key file holds.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use rand::{SeedableRng, rngs::ChaCha20Rng};

    use super::*;
    use crate::lwe::parameters::OWNER_NOISE;

    pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    /// One key for all tests.
    pub(crate) static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::generate(&mut rng(1)));
    /// And another one.
    pub(crate) static OTHER_KEY: LazyLock<SecretKey> =
        LazyLock::new(|| SecretKey::generate(&mut rng(2)));

    #[test]
    fn a_public_key_is_its_secret_and_little_noise() {
        let public = KEY.public_key();
        let product = public.matrix().times(Side::Rows, &KEY.s);
        let noise: Vec<_> = public
            .b()
            .iter()
            .zip(&product)
            .map(|(b, p)| b.wrapping_sub(*p).cast_signed())
            .collect();
        assert!(noise.iter().all(|e| e.unsigned_abs() <= OWNER_NOISE));
        // All 33 values occur among 5120: missed with probability 33·(1 − 1/64)^5120 < 2^-110.
        for value in -16..=16 {
            assert!(noise.contains(&value), "{value}");
        }
    }

    /// 5120 fair bits: outside 2560 ± 430, which is 12σ, with probability 2^-106.
    #[test]
    fn secrets_are_balanced_bits() {
        assert!(KEY.s.iter().all(|&bit| bit <= 1));
        let ones = KEY.s.iter().filter(|&&bit| bit == 1).count();
        assert!((2130..2990).contains(&ones), "{ones}");
    }

    #[test]
    fn the_seed_determines_the_key() {
        let again = SecretKey::generate(&mut rng(1));
        assert_eq!(again.public_key(), KEY.public_key());
        assert_eq!(*again.s, *KEY.s);
        assert_ne!(OTHER_KEY.public_key(), KEY.public_key());
        assert_ne!(*OTHER_KEY.s, *KEY.s);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let fingerprint = u64::from_be_bytes(KEY.public_key().fingerprint());
        let expected = format!(
            "SecretKey {{ public: PublicKey {{ fingerprint: \"{fingerprint:016x}\", .. }}, .. }}"
        );
        assert_eq!(format!("{:?}", *KEY), expected);
    }
}
