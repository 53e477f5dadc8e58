//! A product of two limbs in two halves, by two fused multiplications and additions.
//!
//! Between 2^102 and 2^103, doubles are multiples of 2^50, and from 2^52 to 2^53 they are integers.
//! So for integers x and y with x·y < 2^102,
//!
//! ```text
//! high = fma(x, y, 2^102)                       = 2^102 + 2^50·h     |x·y − 2^50·h| ≤ 2^49
//! low  = fma(x, y, (2^102 + 3·2^51) − high)     = 3·2^51 + (x·y − 2^50·h)
//! ```
//!
//! where the difference in the middle, 3·2^51 − 2^50·h, is a multiple of 2^50 with fewer than 53
//! bits, so that only the first line rounds (to nearest, as Rust wants the processor to be set).
//! The bits of both, as 64-bit integers, exceed h and the signed rest by constants, [`HIGH`] and
//! [`LOW`]. Sums of them are sums of the halves once as many constants are taken away ([`offset`]),
//! modulo 2^64; both constants are 0 modulo 2^50.
//!
//! No number here is subnormal, and no step depends on the values. (Emmart, Zheng and Weems,
//! *Faster modular exponentiation using double precision floating point arithmetic on the GPU*,
//! ARITH 2018, round toward zero; here the low half is signed.)

use core::arch::x86_64::{
    _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_fmadd_pd, _mm256_set1_epi64x, _mm256_sub_pd,
};

use super::lanes::{D, I};

/// The bits of 2^102.
const HIGH: u64 = (1023 + 102) << 52;

/// The bits of 3·2^51.
const LOW: u64 = (1023 + 52) << 52 | 1 << 51;

/// The bits of 2^102 + 3·2^51.
const BOTH: u64 = HIGH | 3 << 1;

/// What is added to a sum to take away what comes with `low` low and `high` high halves.
pub(super) const fn offset(low: usize, high: usize) -> i64 {
    let sum = (low as u64).wrapping_mul(LOW).wrapping_add((high as u64).wrapping_mul(HIGH));
    sum.wrapping_neg().cast_signed()
}

/// 2^102, and 2^102 + 3·2^51.
#[derive(Clone, Copy)]
pub(super) struct Constants(pub(super) D, pub(super) D);

impl Constants {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn new() -> Self {
        let splat = |bits: u64| _mm256_castsi256_pd(_mm256_set1_epi64x(bits.cast_signed()));
        Self(splat(HIGH), splat(BOTH))
    }

    /// h, and [`HIGH`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn high(self, x: D, y: D) -> I {
        _mm256_castpd_si256(_mm256_fmadd_pd(x, y, self.0))
    }

    /// The halves of x·y, low and high, with [`LOW`] and [`HIGH`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn halves(self, x: D, y: D) -> (I, I) {
        let high = self.high(x, y);
        let rest = _mm256_sub_pd(self.1, _mm256_castsi256_pd(high));
        (_mm256_castpd_si256(_mm256_fmadd_pd(x, y, rest)), high)
    }
}

/// The assembly of [`Constants::halves`], added to the sums in registers `$low` and `$high`: of ymm12 and the operand,
/// with the constants in ymm13 and ymm14, by way of ymm15.
macro_rules! product_text {
    ([$($operand:literal)+] $low:literal $high:literal) => {
        concat!(
            "vmovapd ymm15, ymm13\n",
            "vfmadd231pd ymm15, ymm12, ", $($operand,)+ "\n",
            "vpaddq ymm", $high, ", ymm", $high, ", ymm15\n",
            "vsubpd ymm15, ymm14, ymm15\n",
            "vfmadd231pd ymm15, ymm12, ", $($operand,)+ "\n",
            "vpaddq ymm", $low, ", ymm", $low, ", ymm15\n",
        )
    };
}
pub(super) use product_text;

#[cfg(test)]
mod tests {
    use super::super::is_available;
    use super::*;

    /// Σ of both halves is the product, at the edges of what limbs can be.
    #[test]
    fn halves_are_exact() {
        if !is_available() {
            println!("skipped: this processor has no AVX2 and FMA");
            return;
        }
        let top = (1u64 << 50) - 1;
        let edges =
            [0, 1, 2, 3, (1 << 25) - 1, 1 << 25, 1 << 49, (1 << 49) + 1, top - 1, top, 2 * top];
        for x in edges {
            for y in edges.into_iter().filter(|&y| u128::from(x) * u128::from(y) < 1 << 101) {
                // SAFETY: the instructions are available; vectors and arrays have one size.
                let (low, high): ([i64; 4], [i64; 4]) = unsafe {
                    let vector = |x: u64| core::mem::transmute::<[f64; 4], D>([x as f64; 4]);
                    core::mem::transmute(Constants::new().halves(vector(x), vector(y)))
                };
                for (low, high) in low.into_iter().zip(high) {
                    let low = i128::from(low.wrapping_add(offset(1, 0)));
                    let high = i128::from(high.wrapping_add(offset(0, 1)));
                    assert!(low.abs() <= 1 << 49 && high >= 0, "{x} {y}");
                    assert_eq!((high << 50) + low, i128::from(x) * i128::from(y), "{x} {y}");
                }
            }
        }
    }
}
