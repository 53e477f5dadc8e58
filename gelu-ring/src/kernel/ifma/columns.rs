//! The parts of a row that are in registers together.

use core::arch::x86_64::{
    _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_setzero_si512,
};
use core::marker::PhantomData;

use super::factors::TILE;
use super::vector::{Factor, Factors, Line, RADIX, V, Vectors, load, splat, store};
use crate::modulus::Modulus;

/// Tiles that are worked on together, to hide the latency of products.
pub(super) const TILES: usize = 2;

/// Multiples of q in registers, and what lazy steps need.
pub(super) struct Constants {
    pub(super) modulus: Vectors,
    pub(super) four_q: V,
    pub(super) eight_q: V,
    pub(super) sixteen_q: V,
    pub(super) twenty_five_q: V,
    pub(super) thirty_two_q: V,
    /// ⌊2^52 / q⌋.
    ratio: V,
    /// 2^52 − q.
    minus_q: V,
    /// 2^52 − 1.
    mask: V,
}

impl Constants {
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(q: Modulus) -> Self {
        let (modulus, q, radix) = (Vectors::new(q), q.value(), 1 << RADIX);
        Self {
            modulus,
            four_q: splat(4 * q),
            eight_q: splat(8 * q),
            sixteen_q: splat(16 * q),
            twenty_five_q: splat(25 * q),
            thirty_two_q: splat(32 * q),
            ratio: splat(radix / q),
            minus_q: splat(radix - q),
            mask: splat(radix - 1),
        }
    }

    /// x + y·w for a [lazy](Factor::lazy) factor: the product is below q + y·q/2^52.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn add_product(&self, x: V, y: V, w: Factors) -> V {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), y, w.quotient);
        let sum = _mm512_madd52lo_epu64(x, y, w.value);
        _mm512_madd52lo_epu64(sum, quotient, self.minus_q)
    }

    /// A number below 2q for any x: its quotient is estimated to less than 2 below. Upper bits are 0.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn below_two_q(&self, x: V) -> V {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, self.ratio);
        self.low_bits(_mm512_madd52lo_epu64(x, quotient, self.minus_q))
    }

    /// The 52 bits that count.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn low_bits(&self, x: V) -> V {
        _mm512_and_si512(x, self.mask)
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn read_tiles(tiles: &[&mut [Line; TILE]; TILES]) -> [[V; TILE]; TILES] {
    let mut x = [[_mm512_setzero_si512(); TILE]; TILES];
    for (x, tile) in x.iter_mut().zip(tiles) {
        x.iter_mut().zip(&**tile).for_each(|(x, line)| *x = load(line));
    }
    x
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn splat_all<const M: usize>(factors: &[Factor; M]) -> [Factors; M] {
    let zero = _mm512_setzero_si512();
    let mut all = [Factors { value: zero, quotient: zero }; M];
    for (vector, &factor) in all.iter_mut().zip(factors) {
        *vector = Factors::splat(factor);
    }
    all
}

/// A block as `M` parts that stand below each other. By a pointer: slices of the parts were made by a call, before
/// which the compiler wrote all factors to memory, and small blocks took a quarter longer.
pub(super) struct Parts<'a, const M: usize> {
    first: *mut Line,
    /// Lines of a part.
    pub(super) size: usize,
    block: PhantomData<&'a mut [Line]>,
}

impl<'a, const M: usize> Parts<'a, M> {
    #[inline(always)]
    pub(super) fn of(block: &'a mut [Line]) -> Self {
        Self { first: block.as_mut_ptr(), size: block.len() / M, block: PhantomData }
    }

    /// Line `at` of each.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn read(&self, at: usize) -> [V; M] {
        assert!(at < self.size, "a line of a part");
        let mut x = [_mm512_setzero_si512(); M];
        for (k, x) in x.iter_mut().enumerate() {
            // SAFETY: `at` was checked, so the line is in part k of the block.
            *x = load(unsafe { &*self.first.add(k * self.size + at) });
        }
        x
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn write(&mut self, at: usize, x: &[V; M]) {
        assert!(at < self.size, "a line of a part");
        for (k, x) in x.iter().enumerate() {
            // SAFETY: the same, and nobody else holds the block.
            store(unsafe { &mut *self.first.add(k * self.size + at) }, *x);
        }
    }
}
