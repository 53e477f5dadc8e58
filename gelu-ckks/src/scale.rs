//! Scales, exactly: 2^a·∏ qᵢ^eᵢ.
//!
//! A ciphertext of scale Δ holds Δ·x for the number x. Products multiply scales and rescaling divides by a prime, so every
//! scale is a power of two times powers of primes. Kept like that, two scales are equal or they are not; a floating-point
//! number would drift, and sums of what is *almost* at one scale lose bits that nobody notices.

use std::fmt;

/// A positive rational number 2^a·∏ qᵢ^eᵢ.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Scale {
    two: i64,
    /// Odd primes with exponents other than 0, in order.
    primes: Vec<(u64, i64)>,
}

impl Scale {
    /// 2^bits.
    #[must_use]
    pub fn power_of_two(bits: u32) -> Self {
        Self { two: bits.into(), primes: Vec::new() }
    }

    /// An odd prime.
    pub(crate) fn of_prime(q: u64) -> Self {
        Self::from_parts(0, [(q, 1)])
    }

    /// 2^two times powers of different odd primes.
    pub(crate) fn from_parts(two: i64, primes: impl IntoIterator<Item = (u64, i64)>) -> Self {
        let mut primes: Vec<_> = primes.into_iter().filter(|(_, e)| *e != 0).collect();
        primes.sort_unstable();
        Self { two, primes }
    }

    /// a, and the primes with their exponents.
    pub(crate) fn parts(&self) -> (i64, &[(u64, i64)]) {
        (self.two, &self.primes)
    }

    /// self·other.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        self.combine(other, 1)
    }

    /// self/other.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        self.combine(other, -1)
    }

    /// self·other^sign. Exponents saturate far beyond what any modulus could hold.
    fn combine(&self, other: &Self, sign: i64) -> Self {
        let add = |a: i64, b: i64| a.saturating_add(b.saturating_mul(sign));
        let mut primes = self.primes.clone();
        for &(q, e) in &other.primes {
            match primes.iter_mut().find(|(p, _)| *p == q) {
                Some((_, own)) => *own = add(*own, e),
                None => primes.push((q, add(0, e))),
            }
        }
        Self::from_parts(add(self.two, other.two), primes)
    }

    /// log₂.
    #[must_use]
    pub fn log2(&self) -> f64 {
        let (whole, rest) = self.split();
        whole as f64 + rest / std::f64::consts::LN_2
    }

    /// The nearest number, to 50 bits as long as exponents are below 2^10. Beyond f64: 0 or not finite.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        let (whole, rest) = self.split();
        // In two steps, as 2^1023 is the largest power.
        let half = whole.clamp(-4000, 4000) / 2;
        #[expect(clippy::cast_possible_truncation, reason = "clamped")]
        let (a, b) = (half as i32, (whole.clamp(-4000, 4000) - half) as i32);
        f64::from(2).powi(a) * rest.exp() * f64::from(2).powi(b)
    }

    /// w and r with value 2^w·e^r: primes count as the nearest power of two, and what is left is small, so that little is
    /// lost.
    fn split(&self) -> (i64, f64) {
        let parts = self.primes.iter().map(|&(q, e)| {
            let bits = (q as f64).log2().round();
            let rest = (q as f64 / bits.exp2()).ln();
            #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
            (e.saturating_mul(bits as i64), e as f64 * rest)
        });
        parts.fold((self.two, 0.0), |(w, r), (bits, rest)| (w.saturating_add(bits), r + rest))
    }
}

impl fmt::Debug for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2^{}", self.two)?;
        self.primes.iter().try_for_each(|(q, e)| write!(f, "·{q}^{e}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIMES: [u64; 3] = [17_179_672_577, 274_877_816_833, 1_125_899_903_827_969];

    fn scales() -> impl Strategy<Value = Scale> {
        (-50..50i64, prop::array::uniform3(-3..=3i64))
            .prop_map(|(two, e)| Scale::from_parts(two, PRIMES.into_iter().zip(e)))
    }

    proptest! {
        #[test]
        fn scales_are_a_group(a in scales(), b in scales(), c in scales()) {
            prop_assert_eq!(a.times(&b), b.times(&a));
            prop_assert_eq!(a.times(&b).times(&c), a.times(&b.times(&c)));
            prop_assert_eq!(a.times(&b).over(&b), a.clone());
            prop_assert_eq!(a.over(&a), Scale::power_of_two(0));
        }

        #[test]
        fn the_number_is_that_of_the_factors(a in scales()) {
            let (two, primes) = a.parts();
            let value = primes.iter().fold(f64::from(2).powi(i32::try_from(two).unwrap()), |x, (q, e)| {
                x * (*q as f64).powi(i32::try_from(*e).unwrap())
            });
            prop_assert!((a.to_f64() / value - 1.0).abs() < f64::from(-49).exp2(), "{a:?}");
            prop_assert!((a.log2() - value.log2()).abs() < 1e-9);
        }
    }

    #[test]
    fn a_long_chain_of_squares_does_not_drift() {
        let (q, mut scale) = (Scale::of_prime(PRIMES[0]), Scale::power_of_two(34));
        for _ in 0..10 {
            scale = scale.times(&scale).over(&q);
        }
        assert_eq!(scale.parts(), (34 * 1024, &[(PRIMES[0], -1023)][..]));
        // Δ_k/q = (Δ/q)^(2^k).
        let expected = (f64::from(34).exp2() / PRIMES[0] as f64).powi(1024) * PRIMES[0] as f64;
        assert!((scale.to_f64() / expected - 1.0).abs() < 1e-11);
        let out = Scale::from_parts(i64::MAX, []);
        assert!(out.times(&out).to_f64().is_infinite());
    }
}
