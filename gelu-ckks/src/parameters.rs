//! Rings and chains of primes.
//!
//! ```text
//! Q = q₀·q₁·…·q_L       a ciphertext of level l is modulo q₀·…·q_l; each multiplication takes the last prime
//! P = p₀·…·pₖ₋₁         special primes, for keys alone
//! dnum digits           of ⌈(L + 1)/dnum⌉ primes each: how many parts a key has
//! ```
//!
//! | set | N | primes (bits) | special | digits | log QP | at most | for |
//! |---|---|---|---|---|---|---|---|
//! | [`Chain::N13_LEVELS4`] | 2^13 | 38 + 4·34 | 40 | 5 | 214.0 | 214 | one image through a small network |
//! | [`Chain::N13_LEVELS5`] | 2^13 | 33 + 5·28 | 41 | 6 | 214.0 | 214 | one level more, 6 bits less |
//! | [`Chain::N14_LEVELS7`] | 2^14 | 50 + 7·40 | 2·46 | 4 | 422.0 | 430 | deep networks |
//! | [`Chain::N14_LEVELS8`] | 2^14 | 46 + 8·36 | 2·46 | 5 | 426.0 | 430 | a step of training a head |
//! | [`Chain::N15_LEVELS13`] | 2^15 | 50 + 13·45 | 4·50 | 4 | 835.0 | 868 | several steps |
//! | [`Chain::N16_LEVELS40`] | 2^16 | 50 + 40·36 | 5·50 | 7 | 1740.0 | 1747 | a whole training |
//!
//! Primes are the largest below these powers of two ([`primes::descending`]), so log QP is a little below its figure.
//!
//! # Security
//! The limits are those of the guideline of 2024 for 128 bits ([`gelu_ring::limits`]).
//! Special primes count: keys are encryptions modulo P·Q. Secrets are dense; sparse ones would need estimates of their own,
//! and there are none here. Parameters beyond the limits cannot be made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gelu_ring::basis::InvalidBasis;
use gelu_ring::{Automorphism, Basis, Decomposition, Division, limits, primes};

use crate::embedding::Embedding;
use crate::error::{Error, Result};
use crate::scale::Scale;

/// What parameters are made of: widths of primes, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// N.
    pub degree: usize,
    /// Of q₀: that of the scale, and room for the values of level 0.
    pub first: u32,
    /// Of q₁ … q_L, and L.
    pub scale: (u32, usize),
    /// Of p₀ …, and how many.
    pub special: (u32, usize),
    /// dnum.
    pub digits: usize,
}

impl Chain {
    /// 38 + 4·34 + 40 bits.
    pub const N13_LEVELS4: Self =
        Self { degree: 1 << 13, first: 38, scale: (34, 4), special: (40, 1), digits: 5 };
    /// 33 + 5·28 + 41 bits.
    pub const N13_LEVELS5: Self =
        Self { degree: 1 << 13, first: 33, scale: (28, 5), special: (41, 1), digits: 6 };
    /// 50 + 7·40 + 2·46 bits.
    pub const N14_LEVELS7: Self =
        Self { degree: 1 << 14, first: 50, scale: (40, 7), special: (46, 2), digits: 4 };
    /// 46 + 8·36 + 2·46 bits.
    pub const N14_LEVELS8: Self =
        Self { degree: 1 << 14, first: 46, scale: (36, 8), special: (46, 2), digits: 5 };
    /// 50 + 13·45 + 4·50 bits.
    pub const N15_LEVELS13: Self =
        Self { degree: 1 << 15, first: 50, scale: (45, 13), special: (50, 4), digits: 4 };
    /// 50 + 40·36 + 5·50 bits.
    pub const N16_LEVELS40: Self =
        Self { degree: 1 << 16, first: 50, scale: (36, 40), special: (50, 5), digits: 7 };

    /// The sets of the [table](self).
    pub const ALL: [Self; 6] = [
        Self::N13_LEVELS4,
        Self::N13_LEVELS5,
        Self::N14_LEVELS7,
        Self::N14_LEVELS8,
        Self::N15_LEVELS13,
        Self::N16_LEVELS40,
    ];
}

/// A ring, its primes, and what is computed once for them. Cheap to clone.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    /// The special primes, then q₀ … q_L.
    all: Basis,
    special: usize,
    digits: usize,
    scale_bits: u32,
    levels: Vec<OnceLock<Level>>,
    automorphisms: Mutex<BTreeMap<usize, Arc<Automorphism>>>,
    embedding: OnceLock<Embedding>,
}

/// What a level needs.
pub(crate) struct Level {
    /// q₀ … q_l.
    pub(crate) basis: Basis,
    /// The special primes, then q₀ … q_l.
    pub(crate) extended: Basis,
    /// Of polynomials over `basis`, to digits over `extended`.
    pub(crate) decomposition: Decomposition,
    /// By P, from `extended` to `basis`.
    pub(crate) by_special: Division,
    /// By P·q_l, from `extended` to the level below.
    pub(crate) by_special_and_last: Option<Division>,
}

/// The most primes of Q and P: their product is limited, and none is below 2^12.
const MOST_PRIMES: usize = 146;

impl Parameters {
    /// The parameters of a chain.
    ///
    /// # Errors
    /// [`Error::Insecure`] with both numbers when P·Q is too large for N; [`Error::Chain`], [`Error::Basis`],
    /// [`Error::SmallSpecialPrimes`] when the numbers do not fit together.
    pub fn new(chain: &Chain) -> Result<Self> {
        let Chain { degree, first, scale, special, digits } = *chain;
        let widths = [first, scale.0, special.0];
        most_bits(degree)?;
        if widths.iter().any(|bits| !(13..=50).contains(bits)) {
            return Err(Error::Chain("primes have 13 to 50 bits"));
        }
        if scale.1.saturating_add(special.1) >= MOST_PRIMES {
            return Err(Error::Chain("too many primes"));
        }
        let mut taken: Vec<u64> = Vec::new();
        // The special primes choose first: they must be the largest.
        for (bits, count) in [special, (first, 1), scale] {
            let fresh: Vec<_> = primes::descending(bits, degree)
                .map(|q| q.value())
                .filter(|q| !taken.contains(q))
                .take(count)
                .collect();
            if fresh.len() < count {
                return Err(Error::Chain("there are not enough primes of this width"));
            }
            taken.extend(fresh);
        }
        let (special, primes) = taken.split_at(special.1);
        Self::of_primes(degree, primes, special, digits)
    }

    /// The parameters of certain primes: q₀ … q_L, and the special ones.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_primes(
        degree: usize,
        primes: &[u64],
        special: &[u64],
        digits: usize,
    ) -> Result<Self> {
        if primes.is_empty() || special.is_empty() {
            return Err(Error::Chain("Q and P need a prime each"));
        }
        if primes.len() + special.len() > MOST_PRIMES {
            return Err(Error::Chain("too many primes"));
        }
        if !(1..=primes.len()).contains(&digits) {
            return Err(Error::Chain("there must be 1 digit at least, and no more than primes"));
        }
        // Before any table is made: what is refused costs nothing.
        let most = most_bits(degree)?;
        let bits = log2(primes) + log2(special);
        if bits > f64::from(most) {
            return Err(Error::Insecure { degree, bits, most });
        }
        let group = primes.len().div_ceil(digits);
        let (digit_bits, special_bits) =
            (primes.chunks(group).map(log2).fold(0.0, f64::max), log2(special));
        if digit_bits > special_bits {
            return Err(Error::SmallSpecialPrimes { digit_bits, special_bits });
        }
        let scale_bits = primes.last().map_or(0.0, |&q| (q as f64).log2().round());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 50")]
        let scale_bits = scale_bits as u32;
        let all = Basis::new(degree, &[special, primes].concat())?;
        let levels = primes.iter().map(|_| OnceLock::new()).collect();
        let (special, automorphisms, embedding) =
            (special.len(), Mutex::default(), OnceLock::new());
        Ok(Self(Arc::new(Inner {
            all,
            special,
            digits,
            scale_bits,
            levels,
            automorphisms,
            embedding,
        })))
    }

    /// N.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.0.all.degree()
    }

    /// N/2: numbers in a ciphertext.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.degree() / 2
    }

    /// L: multiplications that a fresh ciphertext bears.
    #[must_use]
    pub fn top_level(&self) -> usize {
        self.0.levels.len() - 1
    }

    /// q₀ … q_L.
    pub fn primes(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.all.moduli().skip(self.0.special).map(|q| q.value())
    }

    /// p₀ ….
    pub fn special_primes(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.0.all.moduli().take(self.0.special).map(|p| p.value())
    }

    /// dnum: parts of a key at the top level.
    #[must_use]
    pub fn digits(&self) -> usize {
        self.0.digits
    }

    /// log₂ of P·Q.
    #[must_use]
    pub fn modulus_bits(&self) -> f64 {
        self.0.all.moduli().map(|q| (q.value() as f64).log2()).sum()
    }

    /// log₂ of the modulus of a level.
    ///
    /// # Panics
    /// When there is no such level.
    #[must_use]
    pub fn level_bits(&self, level: usize) -> f64 {
        assert!(level <= self.top_level(), "there is no level {level}");
        self.primes().take(level + 1).map(|q| (q as f64).log2()).sum()
    }

    /// 2^b for the width b of the scale primes: what fresh ciphertexts are encoded at.
    #[must_use]
    pub fn scale(&self) -> Scale {
        Scale::power_of_two(self.0.scale_bits)
    }

    /// q_l: a plaintext at this scale leaves a ciphertext of level l its scale, once the product is rescaled.
    ///
    /// # Panics
    /// When there is no such level.
    #[must_use]
    pub fn prime_scale(&self, level: usize) -> Scale {
        Scale::of_prime(self.prime(level))
    }

    pub(crate) fn prime(&self, level: usize) -> u64 {
        self.primes().nth(level).expect("a level")
    }

    /// Primes of a digit.
    pub(crate) fn group(&self) -> usize {
        (self.top_level() + 1).div_ceil(self.0.digits)
    }

    /// The special primes, then q₀ … q_L.
    pub(crate) fn all(&self) -> &Basis {
        &self.0.all
    }

    /// How many special primes come first.
    pub(crate) fn special(&self) -> usize {
        self.0.special
    }

    pub(crate) fn level(&self, level: usize) -> &Level {
        self.0.levels[level].get_or_init(|| {
            let special = self.0.special;
            let count = special + level + 1;
            let extended = self.0.all.part(0..count);
            let (basis, group) = (extended.part(special..count), self.group());
            let decomposition = Decomposition::new(&extended, special, group);
            let by_special = Division::new(&extended, special..count);
            let lower = (level > 0).then(|| Division::new(&extended, special..count - 1));
            Level { basis, extended, decomposition, by_special, by_special_and_last: lower }
        })
    }

    /// Fails unless there is this level.
    pub(crate) fn check_level(&self, level: usize) -> Result<()> {
        let most = self.top_level();
        if level > most { Err(Error::NoSuchLevel { level, most }) } else { Ok(()) }
    }

    /// Fails unless a scale is made of primes of Q, as one of other parameters is not.
    pub(crate) fn check_primes(&self, scale: &Scale) -> Result<()> {
        let (_, primes) = scale.parts();
        let own = |q: u64| self.primes().any(|p| p == q);
        if primes.iter().all(|(q, _)| own(*q)) { Ok(()) } else { Err(Error::OtherParameters) }
    }

    pub(crate) fn check_same(&self, other: &Self) -> Result<()> {
        if self == other { Ok(()) } else { Err(Error::OtherParameters) }
    }

    pub(crate) fn embedding(&self) -> &Embedding {
        self.0.embedding.get_or_init(|| Embedding::new(self.slots()))
    }

    /// The map X → X^`power`, made once.
    pub(crate) fn automorphism(&self, power: usize) -> Arc<Automorphism> {
        let mut all = self.0.automorphisms.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Automorphism::new(self.degree(), power));
        all.entry(power).or_insert_with(fresh).clone()
    }
}

fn most_bits(degree: usize) -> Result<u32> {
    Ok(limits::most_bits(degree).ok_or(InvalidBasis::Degree(degree))?)
}

/// log₂ of the product.
pub(crate) fn log2(primes: &[u64]) -> f64 {
    primes.iter().map(|&q| (q as f64).log2()).sum()
}

/// The same ring, primes and digits.
impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.all == other.0.all
                && (self.0.special, self.0.digits) == (other.0.special, other.0.digits)
    }
}

impl Eq for Parameters {}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (degree, level, bits) = (self.degree(), self.top_level(), self.modulus_bits());
        write!(f, "Parameters(degree {degree}, levels 0 to {level}, log PQ = {bits:.1})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_sets_are_secure_and_as_the_table_says() {
        let bits = [214, 214, 422, 426, 835, 1740];
        for (chain, bits) in Chain::ALL.into_iter().zip(bits) {
            let parameters = Parameters::new(&chain).unwrap();
            let got = parameters.modulus_bits();
            assert!(got < f64::from(bits) && got > f64::from(bits) - 0.2, "{parameters:?}");
            assert_eq!(parameters.top_level(), chain.scale.1);
            assert_eq!(parameters.top_level() / parameters.group() + 1, chain.digits, "{chain:?}");
            assert!(parameters.primes().skip(1).all(|q| q.ilog2() + 1 == chain.scale.0));
        }
    }

    #[test]
    fn too_large_a_modulus_is_refused_by_both_numbers() {
        for (chain, most) in Chain::ALL.into_iter().zip([214, 214, 430, 430, 868, 1747]) {
            let scale = (chain.scale.0, chain.scale.1 + 2);
            let refused = Parameters::new(&Chain { scale, digits: scale.1 + 1, ..chain });
            let Err(error @ Error::Insecure { degree, bits, most: got }) = refused else {
                panic!("{refused:?}")
            };
            assert!(degree == chain.degree && got == most && bits > f64::from(most));
            let text = error.to_string();
            assert!(text.contains(&most.to_string()) && text.contains(&format!("{bits:.1}")));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        let refused = |change: fn(&mut Chain)| {
            let mut chain = Chain::N13_LEVELS4;
            change(&mut chain);
            Parameters::new(&chain).unwrap_err()
        };
        assert!(matches!(refused(|c| c.degree = 3000), Error::Basis(_)));
        assert!(matches!(refused(|c| c.degree = 1 << 17), Error::Basis(_)));
        assert!(matches!(refused(|c| c.first = 51), Error::Chain(_)));
        assert!(matches!(refused(|c| c.scale = (12, 1)), Error::Chain(_)));
        assert!(matches!(refused(|c| c.scale = (14, 3)), Error::Chain(_)));
        assert!(matches!(refused(|c| c.scale.1 = usize::MAX), Error::Chain(_)));
        assert!(matches!(refused(|c| c.special.1 = 0), Error::Chain(_)));
        assert!(matches!(refused(|c| c.digits = 6), Error::Chain(_)));
        assert!(matches!(refused(|c| c.digits = 0), Error::Chain(_)));
        assert!(matches!(refused(|c| c.special.0 = 36), Error::SmallSpecialPrimes { .. }));
        assert!(matches!(refused(|c| c.digits = 4), Error::SmallSpecialPrimes { .. }));
        assert!(Parameters::of_primes(1 << 13, &[40_961], &[40_961], 1).is_err());
    }
}
