//! Several primes at once: Q = q₀·q₁·…, a degree N, and all that is computed once for them.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, OnceLock};

use crate::kernel::{Choice, Kernel, kernel};
use crate::memory::Pool;
use crate::modulus::{InvalidModulus, Modulus};

/// The degrees N that there are transforms for.
pub const DEGREES: RangeInclusive<usize> = 1 << 11..=1 << 16;

/// A degree N and different primes, with all that is computed once for them. Cheap to clone.
#[derive(Clone)]
pub struct Basis(Arc<Inner>);

struct Inner {
    degree: usize,
    primes: Vec<Arc<Prime>>,
    pool: Arc<Pool>,
    /// Without the last prime, once somebody has asked.
    lower: OnceLock<Basis>,
}

/// A prime with its transform.
pub(crate) struct Prime {
    pub(crate) modulus: Modulus,
    pub(crate) kernel: Box<dyn Kernel>,
}

/// Why there is no [`Basis`] of a degree and primes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBasis {
    /// N is no power of two in [`DEGREES`].
    #[error("the degree {0} is no power of two between 2^11 and 2^16")]
    Degree(usize),
    /// There are no primes.
    #[error("a basis needs a prime")]
    Empty,
    /// A number is no modulus.
    #[error(transparent)]
    Modulus(#[from] InvalidModulus),
    /// A prime is not 1 modulo 2N.
    #[error("the prime {prime} is not 1 modulo {}, so there is no transform of degree {degree}", 2 * degree)]
    NoTransform {
        /// The prime.
        prime: u64,
        /// N.
        degree: usize,
    },
    /// A prime comes twice.
    #[error("the prime {0} comes twice")]
    Twice(u64),
}

impl Basis {
    /// The basis of these primes, in this order.
    ///
    /// # Errors
    /// When the degree or a prime does not do, or a prime comes twice.
    pub fn new(degree: usize, primes: &[u64]) -> Result<Self, InvalidBasis> {
        Self::with(degree, primes, Choice::Best)
    }

    /// [`new`](Self::new) by the portable kernel, which gives the same residues: to compare with.
    ///
    /// # Errors
    /// The same.
    pub fn portable(degree: usize, primes: &[u64]) -> Result<Self, InvalidBasis> {
        Self::with(degree, primes, Choice::Portable)
    }

    /// By a certain kernel.
    pub(crate) fn with(
        degree: usize,
        primes: &[u64],
        choice: Choice,
    ) -> Result<Self, InvalidBasis> {
        if !degree.is_power_of_two() || !DEGREES.contains(&degree) {
            return Err(InvalidBasis::Degree(degree));
        }
        if primes.is_empty() {
            return Err(InvalidBasis::Empty);
        }
        let mut made: Vec<Arc<Prime>> = Vec::with_capacity(primes.len());
        for &prime in primes {
            let modulus = Modulus::new(prime)?;
            if prime % (2 * degree as u64) != 1 {
                return Err(InvalidBasis::NoTransform { prime, degree });
            }
            if made.iter().any(|other| other.modulus == modulus) {
                return Err(InvalidBasis::Twice(prime));
            }
            made.push(Arc::new(Prime { modulus, kernel: kernel(modulus, degree, choice) }));
        }
        Ok(Self::of(degree, made, Pool::new(degree)))
    }

    fn of(degree: usize, primes: Vec<Arc<Prime>>, pool: Arc<Pool>) -> Self {
        Self(Arc::new(Inner { degree, primes, pool, lower: OnceLock::new() }))
    }

    /// N.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.0.degree
    }

    /// The primes, in order.
    pub fn moduli(&self) -> impl ExactSizeIterator<Item = Modulus> + DoubleEndedIterator {
        self.0.primes.iter().map(|prime| prime.modulus)
    }

    /// The name of the kernel that computes: `avx512ifma`, `avx2` or `portable`.
    #[must_use]
    pub fn kernel_name(&self) -> &'static str {
        self.0.primes[0].kernel.name()
    }

    /// Without the last prime; `None` when there is but one.
    #[must_use]
    pub fn without_last(&self) -> Option<Self> {
        let (_, rest) = self.0.primes.split_last()?;
        let lower = || Self::of(self.0.degree, rest.to_vec(), self.0.pool.clone());
        (!rest.is_empty()).then(|| self.0.lower.get_or_init(lower).clone())
    }

    /// The primes at these places, with what is computed for them.
    ///
    /// # Panics
    /// When there are none, or no such places.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        assert!(!places.is_empty(), "a part of a basis has a prime");
        if places == (0..self.primes().len()) {
            return self.clone();
        }
        self.choose(places)
    }

    /// These primes of this basis, in this order.
    pub(crate) fn choose(&self, places: impl Iterator<Item = usize>) -> Self {
        let primes = places.map(|i| self.0.primes[i].clone()).collect();
        Self::of(self.0.degree, primes, self.0.pool.clone())
    }

    /// Whether another basis of this degree is the first part of this one.
    pub(crate) fn begins_with(&self, part: &Self) -> bool {
        let primes = self.moduli().take(part.primes().len());
        self == part || self.degree() == part.degree() && primes.eq(part.moduli())
    }

    /// The residues of an integer, one for each prime.
    #[must_use]
    pub fn residues(&self, x: i128) -> Vec<u64> {
        self.moduli().map(|q| q.reduce_signed(x)).collect()
    }

    pub(crate) fn primes(&self) -> &[Arc<Prime>] {
        &self.0.primes
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }
}

/// The same degree and the same primes in the same order.
impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.degree() == other.degree() && self.moduli().eq(other.moduli())
    }
}

impl Eq for Basis {}

impl fmt::Debug for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let primes: Vec<_> = self.moduli().map(Modulus::value).collect();
        f.debug_struct("Basis").field("degree", &self.degree()).field("primes", &primes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::descending;

    const N: usize = 1 << 11;

    #[test]
    fn what_is_no_basis_is_refused_by_its_reason() {
        let q = descending(36, N).next().unwrap().value();
        let error = |degree, primes: &[u64]| Basis::new(degree, primes).unwrap_err();
        for degree in [0, 1000, 1 << 10, 3000, 1 << 17] {
            assert_eq!(error(degree, &[q]), InvalidBasis::Degree(degree));
        }
        assert_eq!(error(N, &[]), InvalidBasis::Empty);
        assert_eq!(error(N, &[q, q]), InvalidBasis::Twice(q));
        assert_eq!(error(N, &[q - 2]), InvalidModulus::Composite(q - 2).into());
        assert_eq!(error(N, &[4099]), InvalidBasis::NoTransform { prime: 4099, degree: N });
    }
}
