//! Sums of products, reduced at the end.
//!
//! Two roundings cut a product in halves of 50 bits, without a carry: with C = 3·2^101 and M = 3·2^51,
//!
//! ```text
//! C + h  =  fma(a, b, C)                 h is the multiple of 2^50 next to a·b, as C is from 2^102 to 2^103
//! M + l  =  fma(a, b, (C + M) − (C + h))    l = a·b − h, exactly
//! ```
//!
//! The bits of C + h are those of C and h/2^50 as an integer, those of M + l are those of M and l: so sums of bits are sums
//! of halves, and what C and M have added is known by the number of products.
//!
//! # Bounds
//! |a·b| < 2^100, so C + h stays between 2^102 and 2^103; |h/2^50| ≤ 2^50 and |l| ≤ 2^49. (C + M) − (C + h) = M − h is
//! a multiple of 2^50 below 2^101, so exact. Sums of 2^11 products have halves below 2^61 in absolute value, and with a
//! multiple of q between 2^62 and 2^62 + 2^50 they are words from 2^61 to 2^63.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_add_pd, _mm256_and_si256, _mm256_castpd_si256,
    _mm256_castsi256_pd, _mm256_fmadd_pd, _mm256_or_si256, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_srli_epi64, _mm256_sub_pd,
};
use core::ops::Range;

use super::super::MAX_TERMS;
use super::vector::{Factor, Field, LANES, Line, ROUND, V, WORD, load, splat};
use super::{BLOCK, Rows};
use crate::modulus::Modulus;

/// Four integers in a register.
pub(super) type I = __m256i;

/// Lines that are summed together.
pub(super) const LINES: usize = 2;

/// Their numbers, to be summed.
pub(super) type Block = [Line; LINES];

/// C.
const HIGH: f64 = 1.5 * (1u128 << 102) as f64;

/// The halves of a sum.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) high: I,
    pub(super) low: I,
}

/// What products and reductions need.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) field: Field,
    high: V,
    both: V,
    /// A multiple of q.
    raise: u64,
    /// 2^50.
    unit: Factor<V>,
    /// 2^32.
    half: Factor<V>,
}

impl Sum {
    /// Of a number so far.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn of(low: I) -> Self {
        Self { high: _mm256_setzero_si256(), low }
    }
}

impl Sums {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn new(q: Modulus) -> Self {
        let power = |bits: u32| Factor::splat(Factor::new(q, q.reduce(1 << bits)));
        Self {
            field: Field::new(q),
            high: splat(HIGH),
            both: splat(HIGH + ROUND),
            raise: (1u64 << 62).next_multiple_of(q.value()),
            unit: power(50),
            half: power(32),
        }
    }

    /// sum + a·b, and the bits of C and M.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn add(&self, sum: &mut Sum, a: V, b: V) {
        let high = _mm256_fmadd_pd(a, b, self.high);
        let low = _mm256_fmadd_pd(a, b, _mm256_sub_pd(self.both, high));
        sum.high = _mm256_add_epi64(sum.high, _mm256_castpd_si256(high));
        sum.low = _mm256_add_epi64(sum.low, _mm256_castpd_si256(low));
    }

    /// The residue, centred, of a sum of so many products.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn reduce(&self, sum: Sum, products: usize) -> V {
        let raise = |bits: f64| {
            let surplus = bits.to_bits().wrapping_mul(products as u64);
            _mm256_set1_epi64x(self.raise.wrapping_sub(surplus).cast_signed())
        };
        let high = self.word(_mm256_add_epi64(sum.high, raise(HIGH)));
        let low = self.word(_mm256_add_epi64(sum.low, raise(ROUND)));
        self.field.centred(_mm256_add_pd(self.field.times(high, self.unit), low))
    }

    /// Any word modulo q, below q + 2^32 in absolute value.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn word(&self, x: I) -> V {
        let low = _mm256_and_si256(x, _mm256_set1_epi64x(u32::MAX.into()));
        let (high, low) = (double(_mm256_srli_epi64::<32>(x)), double(low));
        _mm256_add_pd(self.field.times(high, self.half), low)
    }
}

/// Words below 2^52 as doubles.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn double(x: I) -> V {
    let word = splat(WORD);
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(word))), word)
}

/// Words in memory as integers.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn integers(line: &Line) -> I {
    _mm256_castpd_si256(load(line))
}

pub(super) fn blocks(part: &[u64]) -> &[Block] {
    const { assert!(BLOCK.is_multiple_of(LINES * LANES)) };
    part.as_chunks().0.as_chunks().0
}

pub(super) fn blocks_mut(part: &mut [u64]) -> &mut [Block] {
    part.as_chunks_mut().0.as_chunks_mut().0
}

impl Rows {
    /// Each of `outs` ← itself where `ADD`, and Σ a·b over all j of `term`(`blocks`(i, j), line): an a of a line in
    /// block i, and a b for each of `outs`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn sums<const K: usize, const ADD: bool, T: Copy>(
        &self,
        mut outs: [&mut [Block]; K],
        count: usize,
        blocks: impl Fn(usize, usize) -> T,
        term: impl Fn(T, usize) -> (V, [V; K]),
    ) {
        let none = |_: &Line| Sum::of(_mm256_setzero_si256());
        let there = |line: &Line| Sum::of(integers(line));
        let most = count.min(MAX_TERMS);
        match ADD {
            true => self.some_sums(&mut outs, 0..most, 0, there, &blocks, &term),
            false => self.some_sums(&mut outs, 0..most, 0, none, &blocks, &term),
        }
        for first in (most..count).step_by(MAX_TERMS) {
            let range = first..count.min(first + MAX_TERMS);
            self.some_sums(&mut outs, range, 0, there, &blocks, &term);
        }
    }

    /// Some of the terms, added to what `start` makes of what there is with so many products.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn some_sums<const K: usize, T: Copy>(
        &self,
        outs: &mut [&mut [Block]; K],
        terms: Range<usize>,
        products: usize,
        start: impl Fn(&Line) -> Sum,
        blocks: &impl Fn(usize, usize) -> T,
        term: &impl Fn(T, usize) -> (V, [V; K]),
    ) {
        let arithmetic = Sums::new(self.q);
        let products = products + terms.len();
        for i in 0..outs[0].len() {
            let mut sums = [[Sum::of(_mm256_setzero_si256()); K]; LINES];
            for (line, sums) in sums.iter_mut().enumerate() {
                for (sum, out) in sums.iter_mut().zip(&*outs) {
                    *sum = start(&out[i][line]);
                }
            }
            for j in terms.clone() {
                let blocks = blocks(i, j);
                for (line, sums) in sums.iter_mut().enumerate() {
                    let (a, b) = term(blocks, line);
                    for (sum, b) in sums.iter_mut().zip(b) {
                        arithmetic.add(sum, a, b);
                    }
                }
            }
            for (line, sums) in sums.into_iter().enumerate() {
                for (sum, out) in sums.into_iter().zip(&mut *outs) {
                    let residue = arithmetic.reduce(sum, products);
                    arithmetic.field.write(&mut out[i][line], residue);
                }
            }
        }
    }
}
