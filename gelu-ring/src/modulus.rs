//! A prime below 2^50, and arithmetic modulo it.

use std::fmt;

use crate::primality::is_prime;

/// Primes have at most this many bits: a vector kernel multiplies words of 52, and four residues must fit one.
pub const MAX_BITS: u32 = 50;

/// A prime q with 2^12 < q < 2^50.
///
/// Residues are words below q. Every function that takes one says so, and gives one back; a larger word
/// gives a wrong result, never a panic and never undefined behaviour.
///
/// # Security
/// The operations on residues are constant-time in the residues; [`pow`](Self::pow) is not in its exponent.
/// The modulus itself is public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modulus {
    value: u64,
    /// ⌊2^128 / q⌋.
    ratio: u128,
}

/// Why a number is no [`Modulus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModulus {
    /// It is not between 2^12 and 2^50.
    #[error("the modulus {0} is not between 2^12 and 2^50")]
    OutOfRange(u64),
    /// It is not a prime.
    #[error("the modulus {0} is not a prime")]
    Composite(u64),
}

impl Modulus {
    /// The modulus `value`.
    ///
    /// # Errors
    /// When it is not a prime between 2^12 and 2^50. The test is exact, not probabilistic.
    pub fn new(value: u64) -> Result<Self, InvalidModulus> {
        if !(1 << 12..1 << MAX_BITS).contains(&value) {
            return Err(InvalidModulus::OutOfRange(value));
        }
        if !is_prime(value) {
            return Err(InvalidModulus::Composite(value));
        }
        Ok(Self { value, ratio: u128::MAX / u128::from(value) })
    }

    /// q.
    #[must_use]
    pub fn value(self) -> u64 {
        self.value
    }

    /// ⌈log₂ q⌉: the bits of a residue.
    #[must_use]
    pub fn bits(self) -> u32 {
        u64::BITS - self.value.leading_zeros()
    }

    /// x mod q for every x.
    ///
    /// Barrett's reduction: the quotient is estimated from three of the four partial products of x and
    /// ⌊2^128 / q⌋. Each of the four things that are cut off is less than 1, so the rest is below 4q.
    #[must_use]
    #[inline]
    pub fn reduce(self, x: u128) -> u64 {
        let (x0, x1) = halves(x);
        let (r0, r1) = halves(self.ratio);
        let quotient = x1.wrapping_mul(r1).wrapping_add(high(x1, r0)).wrapping_add(high(x0, r1));
        let rest = x0.wrapping_sub(quotient.wrapping_mul(self.value));
        self.below(below(rest, 2 * self.value))
    }

    /// x mod q for signed x.
    #[must_use]
    #[inline]
    pub fn reduce_signed(self, x: i128) -> u64 {
        // All ones where x is negative.
        let negative = 0u64.wrapping_sub(u64::from(x < 0));
        let residue = self.reduce(x.unsigned_abs());
        (residue & !negative) | (self.neg(residue) & negative)
    }

    /// The representative of the residue x between −(q − 1)/2 and (q − 1)/2.
    #[must_use]
    #[inline]
    pub fn centre(self, x: u64) -> i64 {
        // All ones where x is above (q − 1)/2.
        let above = (self.value / 2).wrapping_sub(x).cast_signed() >> 63;
        x.cast_signed() - (above & self.value.cast_signed())
    }

    /// a + b for residues.
    #[must_use]
    #[inline]
    pub fn add(self, a: u64, b: u64) -> u64 {
        self.below(a.wrapping_add(b))
    }

    /// a − b for residues.
    #[must_use]
    #[inline]
    pub fn sub(self, a: u64, b: u64) -> u64 {
        let difference = a.wrapping_sub(b);
        difference.min(difference.wrapping_add(self.value))
    }

    /// −a for a residue.
    #[must_use]
    #[inline]
    pub fn neg(self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// The product of primes, modulo this one.
    #[must_use]
    pub fn product(self, primes: impl IntoIterator<Item = Self>) -> u64 {
        primes.into_iter().fold(1, |product, p| self.mul(product, p.value))
    }

    /// a·b for words a and b.
    #[must_use]
    #[inline]
    pub fn mul(self, a: u64, b: u64) -> u64 {
        self.reduce(u128::from(a) * u128::from(b))
    }

    /// a^exponent for a word a; the time tells the exponent.
    #[must_use]
    pub fn pow(self, a: u64, exponent: u64) -> u64 {
        (0..u64::BITS - exponent.leading_zeros()).rev().fold(1, |power, bit| {
            let square = self.mul(power, power);
            if exponent >> bit & 1 == 1 { self.mul(square, a) } else { square }
        })
    }

    /// a⁻¹ for a residue a; 0 for 0.
    #[must_use]
    pub fn inverse(self, a: u64) -> u64 {
        self.pow(a, self.value - 2)
    }

    /// x mod q for x < 2q.
    #[inline]
    pub(crate) fn below(self, x: u64) -> u64 {
        below(x, self.value)
    }
}

/// x, less `bound` where x is not below it: for x below 2·bound, both below 2^63.
#[inline]
pub(crate) fn below(x: u64, bound: u64) -> u64 {
    x.min(x.wrapping_sub(bound))
}

/// The high word of a·b.
#[inline]
pub(crate) fn high(a: u64, b: u64) -> u64 {
    halves(u128::from(a) * u128::from(b)).1
}

/// The low and the high word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
fn halves(x: u128) -> (u64, u64) {
    (x as u64, (x >> 64) as u64)
}

impl fmt::Debug for Modulus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Modulus({})", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes;
    use proptest::prelude::*;

    /// The smallest, the largest, and some between.
    pub(crate) fn moduli() -> impl Strategy<Value = Modulus> {
        let small = Modulus::new(4099).unwrap();
        let mut all: Vec<_> =
            [13, 20, 36, 47, 50].map(|bits| primes::descending(bits, 1).next().unwrap()).into();
        all.push(small);
        proptest::sample::select(all)
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_integers(q in moduli(), a: u64, b: u64, x: u128, s: i128) {
            let n = u128::from(q.value());
            let (a, b) = (q.reduce(a.into()), q.reduce(b.into()));
            let (wide_a, wide_b) = (u128::from(a), u128::from(b));
            prop_assert_eq!(u128::from(q.reduce(x)), x % n);
            prop_assert_eq!(u128::from(q.add(a, b)), (wide_a + wide_b) % n);
            prop_assert_eq!(u128::from(q.sub(a, b)), (n + wide_a - wide_b) % n);
            prop_assert_eq!(u128::from(q.mul(a, b)), wide_a * wide_b % n);
            prop_assert_eq!(q.add(a, q.neg(a)), 0);
            prop_assert_eq!(q.mul(a, q.inverse(a)), u64::from(a != 0));
            prop_assert_eq!(i128::from(q.reduce_signed(s)), s.rem_euclid(n.cast_signed()));
            let c = q.centre(a);
            prop_assert_eq!(q.reduce_signed(c.into()), a);
            prop_assert!(2 * c.unsigned_abs() < q.value());
        }
    }

    #[test]
    fn edges_are_reduced() {
        for bits in [13, 50] {
            let q = primes::descending(bits, 1).next().unwrap();
            let n = u128::from(q.value());
            for x in [0, 1, n - 1, n, n + 1, n * n - 1, n * n, u128::MAX / n * n - 1, u128::MAX] {
                assert_eq!(u128::from(q.reduce(x)), x % n);
            }
            let half = q.value() / 2;
            assert_eq!([0, 1, half].map(|x| q.centre(x)), [0, 1, half.cast_signed()]);
            assert_eq!([half + 1, q.value() - 1].map(|x| q.centre(x)), [-half.cast_signed(), -1]);
            for x in [i128::MIN, i128::MAX, 0, -1] {
                assert_eq!(i128::from(q.reduce_signed(x)), x.rem_euclid(n.cast_signed()));
            }
        }
    }

    #[test]
    fn what_is_no_prime_in_range_is_refused_by_its_name() {
        for value in [0, 1, 4095, 1 << 50, u64::MAX] {
            assert_eq!(Modulus::new(value), Err(InvalidModulus::OutOfRange(value)));
        }
        for value in [4097, (1 << 50) - 1, 1_048_583 * 1_048_589] {
            assert_eq!(Modulus::new(value), Err(InvalidModulus::Composite(value)));
        }
    }
}
