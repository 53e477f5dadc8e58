//! Keys: what everybody may know and what only the owner may.

use std::sync::Arc;

use crypto_bigint::{BoxedUint, ConcatenatingMul, Gcd, Limb, Odd};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};
use gelu_core::error::PeerMisbehaved;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::arithmetic::Modulus;
use crate::certificate::{Certificate, check_modulus};
use crate::kernel::Choice;
use crate::owner::{KEY_BITS, Owner, OwnerNoise};
use crate::ring::Ring;
use crate::stock::Stock;
use crate::tables::Tables;

/// Sizes for real use: about 112, 128 and 150 bits of security.
pub const STANDARD_KEY_BITS: [u32; 3] = [2048, 3072, 4096];

/// Paillier's public key: the modulus n, with the proof that it is a sound one.
///
/// Cheap to clone; clones share the tables that speed up encryption and sealing, which are built
/// at the first use.
#[derive(Clone)]
pub struct PublicKey(Arc<Public>);

struct Public {
    bits: u32,
    fingerprint: [u8; 8],
    mod_n: Modulus,
    ring: Ring,
    certificate: Option<Certificate>,
    tables: Tables,
    seals: Stock,
}

impl PublicKey {
    fn new(n: Odd<BoxedUint>, ring: Ring, certificate: Option<Certificate>) -> Self {
        let hash = Sha256::digest(n.to_be_bytes());
        Self(Arc::new(Public {
            bits: n.bits_precision(),
            fingerprint: *hash.first_chunk().expect("32 bytes"),
            mod_n: Modulus::new_vartime(n),
            ring,
            certificate,
            tables: Tables::default(),
            seals: Stock::default(),
        }))
    }

    /// A peer's modulus, checked and certified.
    pub(crate) fn certified(
        n: &BoxedUint,
        bits: u32,
        certificate: &[u8],
    ) -> Result<Self, PeerMisbehaved> {
        let n = check_modulus(n, bits)?;
        let certificate = Certificate::verify(&Modulus::new_vartime(n.clone()), certificate)?;
        let ring = ring(&n).ok_or(PeerMisbehaved::InvalidKey("a modulus of an unusual size"))?;
        Ok(Self::new(n, ring, Some(certificate)))
    }

    /// A bare modulus, as other programs exchange it: good for encrypting to its owner.
    ///
    /// Only what anybody can see of a modulus is checked. **Do not seal results under such a key**
    /// for an owner you do not trust: [`Noise`](crate::Noise) says what its certificate is for.
    ///
    /// # Errors
    /// [`PeerMisbehaved::InvalidKey`] for a modulus that cannot be one.
    pub fn from_uncertified_modulus(big_endian: &[u8]) -> Result<Self, PeerMisbehaved> {
        let skip = big_endian.iter().take_while(|&&byte| byte == 0).count();
        let bytes = &big_endian[skip..];
        let bits = u32::try_from(8 * bytes.len()).ok().filter(|bits| KEY_BITS.contains(bits));
        let bits = bits.ok_or(PeerMisbehaved::InvalidKey("a modulus of an unusual size"))?;
        let n = BoxedUint::from_be_slice(bytes, bits).expect("as many bytes");
        let n = check_modulus(&n, bits)?;
        let ring = ring(&n).ok_or(PeerMisbehaved::InvalidKey("a modulus of an unusual size"))?;
        Ok(Self::new(n, ring, None))
    }

    /// The length of n.
    pub fn bits(&self) -> u32 {
        self.0.bits
    }

    /// The modulus n, big-endian, `bits() / 8` bytes.
    pub fn modulus(&self) -> Vec<u8> {
        self.0.mod_n.value().to_be_bytes().into_vec()
    }

    /// Whether gcd(n, φ(n)) = 1 has been proven to us.
    pub fn is_certified(&self) -> bool {
        self.0.certificate.is_some()
    }

    /// The first bytes of SHA-256(n), to tell keys apart.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.0.fingerprint
    }

    /// Arithmetic modulo n.
    pub(crate) fn mod_n(&self) -> &Modulus {
        &self.0.mod_n
    }

    /// Arithmetic modulo n², where ciphertexts live.
    pub(crate) fn ring(&self) -> &Ring {
        &self.0.ring
    }

    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        self.0.certificate.as_ref()
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.0.tables
    }

    /// Noise for seals to come.
    pub(crate) fn seals(&self) -> &Stock {
        &self.0.seals
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.mod_n.value() == other.0.mod_n.value()
    }
}

impl Eq for PublicKey {}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PublicKey")
            .field("bits", &self.bits())
            .field("fingerprint", &format_args!("{:016x}", u64::from_be_bytes(self.fingerprint())))
            .finish_non_exhaustive()
    }
}

/// Why two numbers are no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecretKey {
    /// n has a length that this crate was not built for.
    #[error("the modulus must have 512, 1024, 2048, 3072 or 4096 bits, with factors half as long")]
    Size,
    /// The factors are equal.
    #[error("the factors are equal")]
    EqualFactors,
    /// A factor is composite.
    #[error("a factor is not prime")]
    NotPrime,
    /// A proof that was made with the key is wrong. It was not shown to anybody.
    #[error("this machine has computed wrongly with the key: check its memory, then try again")]
    Fault,
}

/// Paillier's secret key: the factors p and q of n.
///
/// Wiped on drop, redacted in [`Debug`], and not [`Clone`]: a second copy must be asked for with
/// [`StoredKey`](gelu_keyfile::StoredKey).
pub struct SecretKey {
    public: PublicKey,
    owner: Owner,
    owner_noise: OwnerNoise,
    encryptions: Stock,
}

/// `Owner` does, and a stock's elements do; the rest is public.
impl ZeroizeOnDrop for SecretKey {}

impl SecretKey {
    /// A fresh key of [standard](STANDARD_KEY_BITS) size; `None` for any other size.
    ///
    /// # Panics
    /// When this machine computes wrongly ([`InvalidSecretKey::Fault`]).
    pub fn generate(bits: u32, rng: &mut dyn CryptoRng) -> Option<Self> {
        STANDARD_KEY_BITS.contains(&bits).then(|| Self::generate_any_size(bits, rng))?
    }

    /// A fresh key that may be as short as 512 bits: for tests, where speed matters and secrecy
    /// does not. `None` for sizes other than 512, 1024 and the standard ones.
    ///
    /// # Panics
    /// As [`generate`](Self::generate).
    pub fn insecure_generate(bits: u32, rng: &mut dyn CryptoRng) -> Option<Self> {
        Self::generate_any_size(bits, rng)
    }

    /// p and q are random primes of half the length with their two top bits set (so n has exactly
    /// `bits` bits), both 3 modulo 4 with gcd(p − 1, q − 1) = 2, as Damgård, Jurik and Nielsen
    /// (2010, section 4.2) want for short exponents.
    ///
    /// # Panics
    /// When this machine computes wrongly ([`InvalidSecretKey::Fault`]).
    pub(crate) fn generate_any_size(bits: u32, rng: &mut dyn CryptoRng) -> Option<Self> {
        if !KEY_BITS.contains(&bits) {
            return None;
        }
        loop {
            let (p, q) = (blum_prime(bits / 2, rng), blum_prime(bits / 2, rng));
            let minus_one = |x: &BoxedUint| Zeroizing::new(x.wrapping_sub(Limb::ONE));
            let gcd = Zeroizing::new(minus_one(&p).gcd(&*minus_one(&q)));
            if *gcd == BoxedUint::from(2u64) {
                return Some(Self::assemble(&p, &q).expect("a sound key, and a sound machine"));
            }
        }
    }

    /// The key with these factors, big-endian.
    ///
    /// # Errors
    /// [`InvalidSecretKey`] says what is wrong with them.
    pub fn from_primes(p: &[u8], q: &[u8]) -> Result<Self, InvalidSecretKey> {
        let significant = |x: &[u8]| x.iter().skip_while(|&&byte| byte == 0).count();
        let bytes = significant(p);
        let half = u32::try_from(8 * bytes).unwrap_or(0);
        if !KEY_BITS.contains(&half.saturating_mul(2)) || significant(q) != bytes {
            return Err(InvalidSecretKey::Size);
        }
        let read = |x: &[u8]| {
            let significant = &x[x.len() - bytes..];
            Zeroizing::new(BoxedUint::from_be_slice(significant, half).expect("as many bytes"))
        };
        let (p, q) = (read(p), read(q));
        if p == q {
            return Err(InvalidSecretKey::EqualFactors);
        }
        if p.bits() != half || q.bits() != half || p.concatenating_mul(&*q).bits() != 2 * half {
            return Err(InvalidSecretKey::Size);
        }
        if !is_prime(Flavor::Any, &*p) || !is_prime(Flavor::Any, &*q) {
            return Err(InvalidSecretKey::NotPrime);
        }
        Self::assemble(&p, &q)
    }

    /// For distinct primes of the same length whose product is twice as long.
    fn assemble(p: &BoxedUint, q: &BoxedUint) -> Result<Self, InvalidSecretKey> {
        let n = Odd::new(p.concatenating_mul(q)).expect("a product of odd primes");
        let ring = ring(&n).ok_or(InvalidSecretKey::Size)?;
        let owner = Owner::new(p, q, &ring).ok_or(InvalidSecretKey::Size)?;
        let modulus = Modulus::new_vartime(n.clone());
        let certificate = Certificate::prove(&modulus, |challenge| owner.nth_root(challenge));
        let certificate = certificate.ok_or(InvalidSecretKey::Fault)?;
        let public = PublicKey::new(n, ring, Some(certificate));
        let owner_noise = OwnerNoise::default();
        Ok(Self { public, owner, owner_noise, encryptions: Stock::default() })
    }

    /// The same key, which encrypts with another kind of noise from now on.
    #[must_use]
    pub fn with_owner_noise(self, owner_noise: OwnerNoise) -> Self {
        Self { owner_noise, encryptions: Stock::default(), ..self }
    }

    /// How this key makes the noise of its encryptions.
    pub fn owner_noise(&self) -> OwnerNoise {
        self.owner_noise
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Noise for encryptions to come.
    pub(crate) fn encryptions(&self) -> &Stock {
        &self.encryptions
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// p and q, for files.
    pub(crate) fn primes(&self) -> (Zeroizing<BoxedUint>, Zeroizing<BoxedUint>) {
        self.owner.primes()
    }
}

impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The ring modulo n²; `None` for a length that this crate was not built for.
fn ring(n: &Odd<BoxedUint>) -> Option<Ring> {
    KEY_BITS.contains(&n.bits_precision()).then(|| Ring::new(&[n.as_ref()], Choice::Best)).flatten()
}

/// A random prime p = 3 mod 4 of exactly `bits` bits, the two top ones set.
fn blum_prime(bits: u32, mut rng: &mut dyn CryptoRng) -> Zeroizing<BoxedUint> {
    let sieve = SmallFactorsSieveFactory::new(Flavor::Any, bits, SetBits::TwoMsb)
        .expect("a length above the smallest primes");
    let found = sieve_and_find(&mut rng, sieve, |_, candidate: &BoxedUint| {
        candidate.bit_vartime(1) && is_prime(Flavor::Any, candidate)
    });
    Zeroizing::new(found.expect("the generator works").expect("candidates never run out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{KEY, OTHER_KEY, big, rng};
    use num_bigint_dig::BigUint;

    #[test]
    fn generated_keys_have_the_promised_form() {
        for bits in [512, 1024] {
            let key = SecretKey::insecure_generate(bits, &mut rng(9)).unwrap();
            let (p, q) = key.primes();
            let n = big(key.public_key().mod_n().value());
            assert_eq!(big(&p) * big(&q), n);
            assert_eq!(n.bits(), bits as usize);
            for prime in [&p, &q] {
                assert_eq!(prime.bits(), bits / 2);
                assert_eq!(big(prime) % 4u8, 3u8.into());
                for base in [2u8, 3, 5, 7] {
                    let power = BigUint::from(base).modpow(&(big(prime) - 1u8), &big(prime));
                    assert_eq!(power, 1u8.into(), "Fermat");
                }
            }
            assert!(key.public_key().is_certified());
        }
        assert!(SecretKey::insecure_generate(640, &mut rng(9)).is_none());
        assert!(SecretKey::generate(1024, &mut rng(9)).is_none(), "too short for real use");
    }

    #[test]
    fn the_seed_determines_the_key() {
        let again = SecretKey::insecure_generate(512, &mut rng(1)).unwrap();
        assert_eq!(again.public_key(), KEY.public_key());
        assert_ne!(KEY.public_key(), OTHER_KEY.public_key());
    }

    #[test]
    fn factors_are_checked() {
        let (p, q) = KEY.primes();
        let (p, q) = (p.to_be_bytes(), q.to_be_bytes());
        let key = SecretKey::from_primes(&p, &q).unwrap();
        assert_eq!(key.public_key(), KEY.public_key());
        let padded = [&[0; 3][..], &q].concat();
        assert!(SecretKey::from_primes(&p, &padded).is_ok(), "leading zeros do not count");

        let why = |p: &[u8], q: &[u8]| SecretKey::from_primes(p, q).unwrap_err();
        assert_eq!(why(&p, &p), InvalidSecretKey::EqualFactors);
        assert_eq!(why(&p, &q[1..]), InvalidSecretKey::Size);
        assert_eq!(why(&p[8..], &q[8..]), InvalidSecretKey::Size);
        assert_eq!(why(&[], &[]), InvalidSecretKey::Size);
        let mut composite = q.to_vec();
        composite[31] ^= 2;
        assert_eq!(why(&p, &composite), InvalidSecretKey::NotPrime);
        assert_eq!(why(&composite, &p), InvalidSecretKey::NotPrime);
        let mut small = q.to_vec();
        small[0] = 1;
        assert_eq!(why(&p, &small), InvalidSecretKey::Size);
        assert_eq!(why(&small, &p), InvalidSecretKey::Size);
        // Of the right length each, but not their product.
        let edge = |last: u8| [&[0x80][..], &[0; 30], &[last]].concat();
        assert_eq!(why(&edge(1), &edge(3)), InvalidSecretKey::Size);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let shown = format!("{:?} {:?}", *KEY, KEY.public_key());
        let (p, q) = KEY.primes();
        for secret in [&p, &q] {
            let digits = secret.to_string().to_lowercase();
            assert!(!shown.to_lowercase().contains(&digits[..8]), "{shown}");
            let decimal = big(secret).to_string();
            assert!(!shown.contains(&decimal[..8]), "{shown}");
        }
        assert!(shown.contains("bits: 512"));
    }

    /// What a server says to p·q, with a valid proof.
    fn verdict(p: &BigUint, q: &BigUint) -> Result<PublicKey, PeerMisbehaved> {
        let n = p * q;
        let bits = u32::try_from(n.bits()).unwrap();
        let order = (p - 1u8) * (q - 1u8);
        let root = num_bigint_dig::ModInverse::mod_inverse(&n, &order).unwrap();
        let root = root.to_biguint().unwrap();
        let boxed = |x: &BigUint| crate::oracle::boxed(x, bits);
        let modulus = Modulus::new_vartime(Odd::new(boxed(&n)).unwrap());
        let oracle = |x: &BoxedUint| Some(boxed(&big(x).modpow(&root, &n)));
        let mut proof = Vec::new();
        Certificate::prove(&modulus, oracle).unwrap().to_bytes(&mut proof);
        assert!(Certificate::verify(&modulus, &proof).is_ok());
        PublicKey::certified(&boxed(&n), bits, &proof)
    }

    #[test]
    fn a_valid_proof_excuses_nothing() {
        let prime = |bits: u32, seed: u64| big(&blum_prime(bits, &mut rng(seed)));
        assert!(verdict(&prime(256, 1), &prime(256, 2)).is_ok());
        assert!(verdict(&65_537u32.into(), &prime(496, 3)).is_ok(), "nobody sees that it is weak");
        let why = |p: &BigUint, q: &BigUint| match verdict(p, q) {
            Err(PeerMisbehaved::InvalidKey(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            why(&65_521u32.into(), &prime(496, 3)),
            "the modulus has a prime factor below 2^16"
        );
        assert_eq!(why(&prime(288, 1), &prime(288, 2)), "a modulus of an unusual size");
        let unusual = prime(288, 1) * prime(288, 2);
        assert!(PublicKey::from_uncertified_modulus(&unusual.to_bytes_be()).is_err());
    }
}
