//! Numbers in two halves: v = a + b modulo 2^44.
//!
//! a is uniform, so either half alone says nothing. The paper takes "random numbers" without saying
//! from which set; only uniform ones from a *group* hide v perfectly, hence the modulus. Sums, and
//! products with public integers, are computed by each party on its half alone; products of two
//! shared numbers need [`product`](super::product).

use gelu_core::rand_core::CryptoRng;

/// Bits of the modulus: two limbs of 22 bits, each of which decodes in one giant step.
pub const RING_BITS: u32 = 44;

const MASK: u64 = (1 << RING_BITS) - 1;

/// One party's half of a number, or any number modulo 2^44.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share(u64);

impl Share {
    pub(crate) fn uniform(rng: &mut dyn CryptoRng) -> Self {
        Self(rng.next_u64() & MASK)
    }

    pub(crate) fn of(value: i64) -> Self {
        Self(value.cast_unsigned() & MASK)
    }

    /// From the low 44 bits.
    pub(crate) fn of_bits(bits: u64) -> Self {
        Self(bits & MASK)
    }

    /// Below 2^44.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// The representative in −2^43 … 2^43 − 1.
    pub(crate) fn signed(self) -> i64 {
        (self.0 << (64 - RING_BITS)).cast_signed() >> (64 - RING_BITS)
    }

    /// 2^`by` times as much.
    pub(crate) fn shifted(self, by: u32) -> Self {
        Self::of_bits(self.0 << by)
    }

    /// Multiplied by a public integer.
    pub(crate) fn times(self, k: i64) -> Self {
        self * Self::of(k)
    }
}

impl core::ops::Add for Share {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::of_bits(self.0.wrapping_add(other.0))
    }
}

impl core::ops::Sub for Share {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::of_bits(self.0.wrapping_sub(other.0))
    }
}

impl core::ops::Mul for Share {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::of_bits(self.0.wrapping_mul(other.0))
    }
}

impl core::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self(0), |sum, share| sum + share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn halves_add_up(v in -(1i64 << 43)..1 << 43, seed: u64) {
            let a = Share::uniform(&mut rng(seed));
            prop_assert_eq!((a + (Share::of(v) - a)).signed(), v);
        }

        #[test]
        fn arithmetic_is_that_of_integers(a in -(1i64 << 20)..1 << 20, b in -(1i64 << 22)..1 << 22) {
            let (x, y) = (Share::of(a), Share::of(b));
            prop_assert_eq!((x + y).signed(), a + b);
            prop_assert_eq!((x - y).signed(), a - b);
            prop_assert_eq!((x * y).signed(), a * b);
            prop_assert_eq!(x.times(b), x * y);
            prop_assert_eq!(x.shifted(7), x.times(128));
        }
    }
}
