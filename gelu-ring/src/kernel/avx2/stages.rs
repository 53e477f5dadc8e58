//! Butterflies in registers.

use super::vector::{Factor, Field, V};
use core::arch::x86_64::{_mm256_add_pd, _mm256_sub_pd};

/// Stages that cut M values into M blocks: number groups + k of the factors is for group k.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn forth<const M: usize>(field: &Field, x: &mut [V; M], factors: &[Factor<V>; M]) {
    let mut half = M / 2;
    while half > 0 {
        let groups = M / (2 * half);
        for group in 0..groups {
            for k in 2 * half * group..2 * half * group + half {
                (x[k], x[k + half]) = field.forth(x[k], x[k + half], factors[groups + group]);
            }
        }
        half /= 2;
    }
}

/// The way back.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn back<const M: usize, const LAZY: bool>(
    field: &Field,
    x: &mut [V; M],
    factors: &[Factor<V>; M],
) {
    let mut half = 1;
    while half < M {
        let groups = M / (2 * half);
        if !LAZY && half == 4 {
            (x[0], x[4]) = (field.centred(x[0]), field.centred(x[4]));
        }
        for group in 0..groups {
            for k in 2 * half * group..2 * half * group + half {
                (x[k], x[k + half]) = field.back(x[k], x[k + half], factors[groups + group]);
            }
        }
        half *= 2;
    }
}

impl Field {
    /// x + y·w and x − y·w.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn forth(&self, x: V, y: V, w: Factor<V>) -> (V, V) {
        let product = self.times(y, w);
        (_mm256_add_pd(x, product), _mm256_sub_pd(x, product))
    }

    /// x + y and (x − y)·w.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn back(&self, x: V, y: V, w: Factor<V>) -> (V, V) {
        (_mm256_add_pd(x, y), self.times(_mm256_sub_pd(x, y), w))
    }
}
