//! Keys: a secret polynomial, and an encryption of 0 under it.
//!
//! ```text
//! secret  s   ternary, dense
//! public  a = uniform(seed), b = −a·s + e                  modulo Q
//! ```
//! Who encrypts under the secret key sends half: c₁ follows from a seed ([`Upload`]).

use std::fmt;

use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Evaluations, Poly};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::ciphertext::Ciphertext;
use crate::error::Result;
use crate::flood::Decryption;
use crate::parameters::Parameters;
use crate::plaintext::Plaintext;
use crate::scale::Scale;

/// The polynomial of a public key's or an upload's seed.
const INDEX: u64 = 0;

/// What only the client may know. Wiped on drop.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey {
    /// All else follows from it.
    root: Seed,
    /// s modulo the special primes and Q.
    secret: Zeroizing<Poly<Evaluations>>,
    #[zeroize(skip)]
    parameters: Parameters,
}

/// What everybody may know, to encrypt.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) parameters: Parameters,
    pub(crate) seed: Seed,
    pub(crate) a: Poly<Evaluations>,
    pub(crate) b: Poly<Evaluations>,
}

/// An encryption under the secret key, half of which is a seed.
#[derive(Clone)]
pub struct Upload {
    pub(crate) parameters: Parameters,
    pub(crate) seed: Seed,
    pub(crate) c0: Poly<Evaluations>,
    pub(crate) scale: Scale,
    pub(crate) level: usize,
}

impl SecretKey {
    /// A fresh key.
    pub fn generate(parameters: Parameters, rng: &mut dyn CryptoRng) -> Self {
        let mut root = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *root);
        Self::from_root(parameters, &root)
    }

    /// The key that follows from 32 secret bytes.
    #[must_use]
    pub fn from_root(parameters: Parameters, root: &Seed) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*root);
        let small = Small::ternary(parameters.degree(), &mut rng);
        let secret = small.evaluations(parameters.all());
        Self { root: *root, secret, parameters }
    }

    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What the key follows from.
    pub(crate) fn root(&self) -> &Seed {
        &self.root
    }

    /// s modulo the special primes and Q.
    pub(crate) fn secret(&self) -> &Poly<Evaluations> {
        &self.secret
    }

    /// A public key.
    pub fn public_key(&self, rng: &mut dyn CryptoRng) -> PublicKey {
        let (seed, b) = self.zero(self.parameters.top_level(), rng);
        PublicKey::from_parts(self.parameters.clone(), seed, b)
    }

    /// A seed and −uniform(seed)·s + e at a level.
    fn zero(&self, level: usize, rng: &mut dyn CryptoRng) -> (Seed, Poly<Evaluations>) {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let basis = &self.parameters.level(level).basis;
        let a = sample::uniform(basis, &seed, INDEX);
        let mut b = -(&a * &self.at(level));
        b += &Small::error(basis.degree(), rng).evaluations(basis);
        (seed, b)
    }

    /// s modulo the primes of a level.
    fn at(&self, level: usize) -> Zeroizing<Poly<Evaluations>> {
        let special = self.parameters.special();
        Zeroizing::new(self.secret.part(special..special + level + 1))
    }

    /// Encrypts, at the level of the plaintext.
    ///
    /// # Errors
    /// [`Error::OtherParameters`](crate::Error::OtherParameters).
    pub fn encrypt(&self, plain: &Plaintext, rng: &mut dyn CryptoRng) -> Result<Upload> {
        self.parameters.check_same(&plain.parameters)?;
        let (seed, mut c0) = self.zero(plain.level, rng);
        c0 += &plain.poly;
        let (parameters, scale, level) =
            (self.parameters.clone(), plain.scale.clone(), plain.level);
        Ok(Upload { parameters, seed, c0, scale, level })
    }

    /// Decrypts. What comes out is for the owner of this key alone: see [`Decryption`].
    ///
    /// # Errors
    /// [`Error::OtherParameters`](crate::Error::OtherParameters).
    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<Decryption> {
        self.parameters.check_same(&ciphertext.parameters)?;
        let needed = crate::plaintext::needed(&ciphertext.c0, &ciphertext.scale);
        let secret = self.at(needed - 1);
        let mut phase = Zeroizing::new(ciphertext.c0.part(0..needed));
        phase.multiply_accumulate(&[(&ciphertext.c1.part(0..needed), &secret)]);
        let integers = crate::plaintext::integers(&phase, &ciphertext.scale);
        Ok(Decryption::new(self.parameters.clone(), integers, ciphertext.scale.clone()))
    }
}

impl Upload {
    /// The ciphertext.
    #[must_use]
    pub fn expand(self) -> Ciphertext {
        let basis = &self.parameters.level(self.level).basis;
        let c1 = sample::uniform(basis, &self.seed, INDEX);
        Ciphertext {
            c0: self.c0,
            c1,
            scale: self.scale,
            level: self.level,
            parameters: self.parameters,
        }
    }
}

impl PublicKey {
    /// The ring.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// b·u + e₀ + m and a·u + e₁, for a ternary u: 2^6.7 times the noise of an encryption under the secret key at N = 2^13.
    ///
    /// # Errors
    /// [`Error::OtherParameters`](crate::Error::OtherParameters).
    pub fn encrypt(&self, plain: &Plaintext, rng: &mut dyn CryptoRng) -> Result<Ciphertext> {
        self.parameters.check_same(&plain.parameters)?;
        let (basis, primes) = (plain.poly.basis(), 0..plain.level + 1);
        let u = Small::ternary(basis.degree(), rng).evaluations(basis);
        let mut error = || Small::error(basis.degree(), rng).evaluations(basis);
        let mut c0 = plain.poly.clone();
        c0.multiply_accumulate(&[(&self.b.part(primes.clone()), &u)]);
        c0 += &error();
        let mut c1 = &self.a.part(primes) * &*u;
        c1 += &error();
        let (parameters, scale) = (self.parameters.clone(), plain.scale.clone());
        Ok(Ciphertext { parameters, c0, c1, scale, level: plain.level })
    }

    pub(crate) fn from_parts(parameters: Parameters, seed: Seed, b: Poly<Evaluations>) -> Self {
        let a = sample::uniform(&parameters.level(parameters.top_level()).basis, &seed, INDEX);
        Self { parameters, seed, a, b }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?})", self.parameters)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.parameters)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload(level {}, scale {:?})", self.level, self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::testing::{random, rng, secret, shallow, worst};

    fn open(key: &SecretKey, ciphertext: &Ciphertext) -> Vec<num_complex::Complex64> {
        key.decrypt(ciphertext).unwrap().danger_slots()
    }

    #[test]
    fn numbers_come_back_within_the_noise_under_both_keys_at_all_levels() {
        let (parameters, secret, rng) = (shallow(), secret(), &mut rng(1));
        let public = secret.public_key(rng);
        let (values, scale) = (random(&parameters, 1), parameters.scale());
        let rounding = (1.0 / 12.0f64).sqrt();
        for level in 1..=parameters.top_level() {
            let plain = Plaintext::encode_complex(&parameters, &values, &scale, level).unwrap();
            let upload = secret.encrypt(&plain, rng).unwrap().expand();
            let off = worst(&open(secret, &upload), &values);
            let bound = parameters.slot_bound(parameters.fresh_noise() + rounding, &scale);
            assert!(off < bound && off > bound / 20.0, "{off:e} {bound:e}");
            let public = public.encrypt(&plain, rng).unwrap();
            let off = worst(&open(secret, &public), &values);
            let bound = parameters.slot_bound(parameters.public_noise() + rounding, &scale);
            assert!(off < bound && off > bound / 20.0, "{off:e} {bound:e}");
        }
    }

    #[test]
    fn a_root_gives_the_same_key_and_another_gives_nothing() {
        let parameters = shallow();
        let values = random(&parameters, 2);
        let plain =
            Plaintext::encode_complex(&parameters, &values, &parameters.scale(), 4).unwrap();
        let upload = secret().encrypt(&plain, &mut rng(2)).unwrap().expand();
        let again = SecretKey::from_root(parameters.clone(), secret().root());
        assert!(worst(&open(&again, &upload), &values) < 1e-6);
        let other = SecretKey::generate(parameters, &mut rng(3));
        assert!(worst(&open(&other, &upload), &values) > 1e6);
    }

    #[test]
    fn another_ring_is_refused_and_secrets_are_wiped_and_not_printed() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        wiped(secret());
        let other = Parameters::new(&crate::Chain::N13_LEVELS5).unwrap();
        let plain = Plaintext::encode(&other, &[1.0], &other.scale(), 3).unwrap();
        assert_eq!(secret().encrypt(&plain, &mut rng(1)).unwrap_err(), Error::OtherParameters);
        assert!(format!("{:?}", secret()).starts_with("SecretKey(Parameters(degree 8192"));
    }
}
