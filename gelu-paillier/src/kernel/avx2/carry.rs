//! Carries from column to column.

use core::arch::x86_64::{
    _mm256_add_epi64, _mm256_and_si256, _mm256_set1_epi64x, _mm256_srli_epi64,
};

use super::lanes::I;
use super::{MASK, RADIX};

/// Makes columns above −2^62 positive, and does not change their last 50 bits: AVX2 shifts in zeros alone.
const LIFT: i64 = 1 << 62;

/// What the columns so far carry into the next one, as much too large as LIFT is after a shift.
pub(super) struct Carry(I);

impl Carry {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn none() -> Self {
        Self(_mm256_set1_epi64x(LIFT >> RADIX))
    }

    /// The limb of a column between −2^61 and 2^61, carry included, whose rest is carried on.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn cut(&mut self, column: I) -> I {
        let lifted = _mm256_add_epi64(column, _mm256_set1_epi64x(LIFT - (LIFT >> RADIX)));
        let sum = _mm256_add_epi64(lifted, self.0);
        self.0 = _mm256_srli_epi64::<RADIX>(sum);
        _mm256_and_si256(sum, _mm256_set1_epi64x(MASK))
    }

    /// The carry itself.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn rest(self) -> I {
        _mm256_add_epi64(self.0, _mm256_set1_epi64x(-(LIFT >> RADIX)))
    }
}
