//! Butterflies in registers, of W vectors side by side to hide the latency of products.

use core::arch::x86_64::{_mm256_add_pd, _mm256_sub_pd};

use super::vector::{Factor, Field, V};

/// Factors of W vectors.
pub(super) type Factors<const W: usize> = [Factor<V>; W];

impl Field {
    /// The stages that cut a block of M values in M: number groups + k of the factors is for group k of so many.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn forward_stages<const M: usize, const W: usize>(
        &self,
        x: &mut [[V; W]; M],
        factors: &[Factors<W>; M],
    ) {
        let mut half = M / 2;
        while half > 0 {
            let groups = M / (2 * half);
            for group in 0..groups {
                for k in 2 * half * group..2 * half * group + half {
                    (x[k], x[k + half]) = self.forward(x[k], x[k + half], &factors[groups + group]);
                }
            }
            half /= 2;
        }
    }

    /// The way back.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn inverse_stages<const M: usize, const W: usize, const LAZY: bool>(
        &self,
        x: &mut [[V; W]; M],
        factors: &[Factors<W>; M],
    ) {
        let mut half = 1;
        while half < M {
            let groups = M / (2 * half);
            if !LAZY && half == 4 {
                self.centre(&mut x[0]);
                self.centre(&mut x[4]);
            }
            for group in 0..groups {
                for k in 2 * half * group..2 * half * group + half {
                    (x[k], x[k + half]) = self.inverse(x[k], x[k + half], &factors[groups + group]);
                }
            }
            half *= 2;
        }
    }

    /// x + y·w and x − y·w.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn forward<const W: usize>(
        &self,
        mut x: [V; W],
        mut y: [V; W],
        w: &Factors<W>,
    ) -> ([V; W], [V; W]) {
        for ((x, y), &w) in x.iter_mut().zip(&mut y).zip(w) {
            let product = self.times(*y, w);
            (*x, *y) = (_mm256_add_pd(*x, product), _mm256_sub_pd(*x, product));
        }
        (x, y)
    }

    /// x + y and (x − y)·w.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn inverse<const W: usize>(
        &self,
        mut x: [V; W],
        mut y: [V; W],
        w: &Factors<W>,
    ) -> ([V; W], [V; W]) {
        for ((x, y), &w) in x.iter_mut().zip(&mut y).zip(w) {
            let difference = _mm256_sub_pd(*x, *y);
            (*x, *y) = (_mm256_add_pd(*x, *y), self.times(difference, w));
        }
        (x, y)
    }

    /// All [centred](Self::centred).
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn centre(&self, x: &mut [V]) {
        for x in x {
            *x = self.centred(*x);
        }
    }
}
