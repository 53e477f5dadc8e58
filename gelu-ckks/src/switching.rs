//! Keys that switch keys: from a secret s′ to the secret s, without either.
//!
//! With digits dⱼ of c and constants gⱼ of which Σ dⱼ·gⱼ = P·c modulo P·Q ([`gelu_ring::digits`]),
//!
//! ```text
//! key j:   aⱼ = uniform(seed, j),   bⱼ = −aⱼ·s + eⱼ + gⱼ·s′            modulo P·Q_l
//! Σ dⱼ·bⱼ + (Σ dⱼ·aⱼ)·s  =  P·c·s′ + Σ dⱼ·eⱼ
//! ```
//! which is divided by P. A *relinearisation* has s′ = s². A *rotation* φ: X → X^g could have s′ = φ(s), applied after φ; it is
//! the other way round here: from s to φ⁻¹(s), then φ, so one decomposition serves all rotations of a ciphertext
//! (Halevi and Shoup, *Faster homomorphic linear transformations in HElib*, CRYPTO 2018) and two polynomials are mapped
//! instead of all digits.
//!
//! # Levels
//! A key is made for a level l: modulo P·q₀·…·q_l, with the digits that this level has. It serves all levels up to l, which
//! need a part of its rows. A ciphertext of a higher level, or another ring, is refused by name. No key is
//! ever made modulo more than the P·Q that the parameters were checked for.

use std::collections::BTreeMap;
use std::fmt;

use gelu_ring::sample::{self, Seed, Small};
use gelu_ring::{Automorphism, Basis, Evaluations, Packed, Poly};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::keys::SecretKey;
use crate::parameters::Parameters;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Products of ciphertexts.
    Relinearization,
    /// Rotations to the left by so many slots, below N/2.
    Rotation(usize),
    /// Complex conjugation.
    Conjugation,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearization => f.write_str("relinearisation key"),
            Self::Rotation(steps) => write!(f, "key of rotations by {steps}"),
            Self::Conjugation => f.write_str("conjugation key"),
        }
    }
}

impl KeyKind {
    /// The power g of X → X^g: 5^steps, or −1; none for relinearisation.
    pub(crate) fn power(self, degree: usize) -> Option<usize> {
        match self {
            Self::Relinearization => None,
            Self::Rotation(steps) => Some(power_of_five(steps, degree)),
            Self::Conjugation => Some(2 * degree - 1),
        }
    }
}

/// 5^steps modulo 2N, of order N/2.
fn power_of_five(steps: usize, degree: usize) -> usize {
    let (mut power, mut square) = (1, 5);
    let mut rest = steps;
    while rest > 0 {
        if rest & 1 == 1 {
            power = power * square % (2 * degree);
        }
        square = square * square % (2 * degree);
        rest >>= 1;
    }
    power
}

/// A key for switching, at a level.
#[derive(Clone)]
pub struct SwitchingKey {
    pub(crate) parameters: Parameters,
    pub(crate) kind: KeyKind,
    pub(crate) level: usize,
    pub(crate) seed: Seed,
    /// b₀, a₀, b₁, a₁, ….
    pub(crate) pairs: Packed,
}

impl SecretKey {
    /// A key of a kind, for ciphertexts up to a level: for each digit 2·N times the bytes of all l + 1 + k primes in memory, less
    /// than half of it on the wire.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`]; rotations are taken modulo N/2.
    pub fn switching_key(
        &self,
        kind: KeyKind,
        level: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<SwitchingKey> {
        let parameters = self.parameters().clone();
        parameters.check_level(level)?;
        let kind = match kind {
            KeyKind::Rotation(steps) => KeyKind::Rotation(steps % parameters.slots()),
            other => other,
        };
        let decomposition = &parameters.level(level).decomposition;
        let extended = decomposition.target();
        let secret = Zeroizing::new(self.secret().part(0..extended.moduli().len()));
        // φ⁻¹: a conjugation is its own inverse.
        let inverse = match kind {
            KeyKind::Rotation(steps) => KeyKind::Rotation(parameters.slots() - steps),
            other => other,
        };
        let (source, target) = match inverse.power(parameters.degree()) {
            None => (Zeroizing::new(&*secret * &secret), secret),
            Some(power) => {
                let mapped = Automorphism::new(parameters.degree(), power).apply(&secret);
                (secret, Zeroizing::new(mapped))
            }
        };
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let b = (0..decomposition.len()).map(|j| {
            let mut b = -(&uniform(extended, &seed, j) * &target);
            b += &Small::error(parameters.degree(), rng).evaluations(extended);
            let mut message = Zeroizing::new((*source).clone());
            message.scale(&decomposition.gadget(j));
            b += &message;
            b
        });
        let b: Vec<_> = b.collect();
        Ok(SwitchingKey::new(parameters, kind, level, seed, b))
    }

    /// The keys of several kinds, each for ciphertexts up to a level.
    ///
    /// # Errors
    /// [`Error::NoSuchLevel`].
    pub fn evaluation_keys(
        &self,
        kinds: impl IntoIterator<Item = (KeyKind, usize)>,
        rng: &mut dyn CryptoRng,
    ) -> Result<EvaluationKeys> {
        let mut keys = EvaluationKeys::new(self.parameters());
        for (kind, level) in kinds {
            keys.insert(self.switching_key(kind, level, rng)?)?;
        }
        Ok(keys)
    }
}

/// aⱼ of a seed.
fn uniform(basis: &Basis, seed: &Seed, j: usize) -> Poly<Evaluations> {
    sample::uniform(basis, seed, j as u64)
}

impl SwitchingKey {
    /// The key of its polynomials bⱼ.
    pub(crate) fn new(
        parameters: Parameters,
        kind: KeyKind,
        level: usize,
        seed: Seed,
        b: Vec<Poly<Evaluations>>,
    ) -> Self {
        let basis = parameters.level(level).decomposition.target();
        let (count, mut b) = (2 * b.len(), b.into_iter());
        let pairs = Packed::new(basis, count, |i| match i % 2 {
            0 => b.next().expect("one for each pair"),
            _ => uniform(basis, &seed, i / 2),
        });
        Self { parameters, kind, level, seed, pairs }
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The highest level of ciphertexts that it serves.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.pairs.memory()
    }
}

impl fmt::Debug for SwitchingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwitchingKey({}, level {})", self.kind, self.level)
    }
}

/// Keys by what they are for.
#[derive(Clone)]
pub struct EvaluationKeys {
    parameters: Parameters,
    keys: BTreeMap<KeyKind, SwitchingKey>,
}

impl EvaluationKeys {
    /// None.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone(), keys: BTreeMap::new() }
    }

    /// Adds a key; of two for the same the one of the higher level stays.
    ///
    /// # Errors
    /// [`Error::OtherParameters`].
    pub fn insert(&mut self, key: SwitchingKey) -> Result<()> {
        self.parameters.check_same(&key.parameters)?;
        if self.keys.get(&key.kind).is_none_or(|old| old.level < key.level) {
            self.keys.insert(key.kind, key);
        }
        Ok(())
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &SwitchingKey> {
        self.keys.values()
    }

    /// The key of a kind for a ciphertext.
    pub(crate) fn get(
        &self,
        kind: KeyKind,
        parameters: &Parameters,
        level: usize,
    ) -> Result<&SwitchingKey> {
        self.parameters.check_same(parameters)?;
        let key = self.keys.get(&kind).ok_or(Error::MissingKey { kind, level })?;
        if key.level < level {
            return Err(Error::KeyLevel { kind, key: key.level, ciphertext: level });
        }
        Ok(key)
    }
}

impl fmt::Debug for EvaluationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.values()).finish()
    }
}
