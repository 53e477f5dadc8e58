//! Sums of products, reduced at the end.
//!
//! Two roundings cut a product in halves of k bits, without a carry: with C = 3·2^(k + 51) and M = 3·2^51,
//!
//! ```text
//! C + h  =  fma(a, b, C)                       h is the multiple of 2^k next to a·b, as numbers from 2^(k + 52)
//! M + l  =  fma(a, b, (C + M) − (C + h))       to 2^(k + 53) are multiples of 2^k;  l = a·b − h, exactly
//! ```
//!
//! (Emmart, Zheng and Weems, *Faster modular exponentiation using double precision floating point arithmetic on the GPU*,
//! ARITH 2018.) The bits of C + h are those of C and h/2^k as an integer, those of M + l are those of M and l: so sums of bits are sums
//! of halves, and what C and M have added is known by the number of products.
//!
//! # Bounds
//! For |a·b| < 2^2k and k ≤ 50, |h/2^k| ≤ 2^k and |l| ≤ 2^(k − 1). So C + h stays between 2^(k + 52) and 2^(k + 53), and
//! (C + M) − (C + h) = M − h is exact: a multiple of 2^min(k, 51), below 2^52 times that. After 2^(50 − k) products
//! and a residue, sums of halves are still below 2^51, and doubles again when one C or M is left in; after
//! 2^11 products, they are below 2^61 + 2^50, and with a multiple of q between 2^62 and 2^62 + 2^50 words below 2^63.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_add_pd, _mm256_and_si256, _mm256_castpd_si256,
    _mm256_castsi256_pd, _mm256_fmadd_pd, _mm256_or_si256, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_srli_epi64, _mm256_sub_pd,
};
use core::ops::Range;

use super::super::MAX_TERMS;
use super::vector::{Factor, Field, LANES, Line, ROUND, V, WORD, load, splat};
use super::{BLOCK, Rows};
use crate::modulus::{MAX_BITS, Modulus};

/// Four integers in a register.
pub(super) type I = __m256i;

/// Lines that are summed together.
pub(super) const LINES: usize = 2;

/// Their numbers, to be summed.
pub(super) type Block = [Line; LINES];

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
    /// C.
    high: f64,
    /// After so many products, sums of halves are [doubles](self#bounds).
    few: usize,
    /// A multiple of q.
    raise: u64,
    /// 2^k.
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
    /// For products of so many bits.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn new(q: Modulus, bits: u32) -> Self {
        let power = |bits: u32| Factor::splat(Factor::new(q, q.reduce(1 << bits)));
        let k = bits.div_ceil(2);
        Self {
            field: Field::new(q),
            high: ROUND * (1u64 << k) as f64,
            few: 1 << (MAX_BITS - k),
            raise: (1u64 << 62).next_multiple_of(q.value()),
            unit: power(k),
            half: power(32),
        }
    }

    /// sum + a·b, and the bits of C and M.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn add(&self, sum: &mut Sum, a: V, b: V) {
        let high = _mm256_fmadd_pd(a, b, splat(self.high));
        let low = _mm256_fmadd_pd(a, b, _mm256_sub_pd(splat(self.high + ROUND), high));
        sum.high = _mm256_add_epi64(sum.high, _mm256_castpd_si256(high));
        sum.low = _mm256_add_epi64(sum.low, _mm256_castpd_si256(low));
    }

    /// The residue, centred, of a sum of so many products.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn reduce(&self, sum: Sum, products: usize) -> V {
        let less = |sum: I, one: f64, base: u64| {
            let surplus = one.to_bits().wrapping_mul(products as u64);
            _mm256_add_epi64(sum, _mm256_set1_epi64x(base.wrapping_sub(surplus).cast_signed()))
        };
        let (high, low) = if products <= self.few {
            let half = |sum, one| {
                let double = _mm256_castsi256_pd(less(sum, one, ROUND.to_bits()));
                _mm256_sub_pd(double, splat(ROUND))
            };
            (half(sum.high, self.high), half(sum.low, ROUND))
        } else {
            let half = |sum, one| self.word(less(sum, one, self.raise));
            (half(sum.high, self.high), half(sum.low, ROUND))
        };
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
        let arithmetic = Sums::new(self.q, 2 * self.q.bits());
        let none = |_: &Line| Sum::of(_mm256_setzero_si256());
        let there = |line: &Line| Sum::of(integers(line));
        let most = count.min(MAX_TERMS);
        match ADD {
            true => some_sums(&arithmetic, &mut outs, 0..most, 0, there, &blocks, &term),
            false => some_sums(&arithmetic, &mut outs, 0..most, 0, none, &blocks, &term),
        }
        for first in (most..count).step_by(MAX_TERMS) {
            let range = first..count.min(first + MAX_TERMS);
            some_sums(&arithmetic, &mut outs, range, 0, there, &blocks, &term);
        }
    }
}

/// Some of the terms, added to what `start` makes of what there is with so many products.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn some_sums<const K: usize, T: Copy>(
    arithmetic: &Sums,
    outs: &mut [&mut [Block]; K],
    terms: Range<usize>,
    products: usize,
    start: impl Fn(&Line) -> Sum,
    blocks: &impl Fn(usize, usize) -> T,
    term: &impl Fn(T, usize) -> (V, [V; K]),
) {
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
