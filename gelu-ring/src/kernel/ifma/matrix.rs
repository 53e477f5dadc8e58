//! Matrices of scalars times rows.
//!
//! The sums of a tile of outputs, in a few lines of columns, are in registers while all inputs go by: so a line that is
//! loaded has a product with each output of the tile. The inputs' lines are first copied next to each other, for
//! all tiles to read.
//!
//! # Small constants
//! With k = 51 − ⌈log₂ q⌉, constants from −2^k to 2^k − 1 are held as w + 2^k: a product with a residue is then below
//! 2^52, so its low half is all there is, and takes one instruction instead of two. What that is too much, 2^k times the
//! sum of the inputs, is the same for all outputs, whose sums start with its negative.
//!
//! # Bounds
//! Sums of 2^11 halves of 52 bits, and a residue, fit a word. When the sum of the products may be too large for a
//! reduction, the high halves are first reduced themselves.

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_setzero_si512,
    _mm512_xor_si512,
};

use zeroize::Zeroizing;

use super::super::MAX_TERMS;
use super::super::weights::{Shape, TILE, Weights};
use super::vector::{LANES, Line, RADIX, V, load, splat, store};
use super::{Reduction, Rows, max_terms};
use crate::modulus::Modulus;

/// Lines of columns for which inputs are copied.
const PANEL: usize = 8;

/// The words for [constants](self#small-constants) that are small, and 2^k.
pub(super) fn small(q: Modulus, shape: Shape, coefficients: &[i64]) -> Option<Weights> {
    let offset = 1 << (RADIX - 1 - q.bits());
    let small = |c: &i64| (-offset..offset).contains(c);
    if shape.blocks > 1 || !coefficients.iter().all(small) {
        return None;
    }
    let words = coefficients.iter().map(|c| (c + offset).cast_unsigned()).collect();
    Some(Weights { shape, words, small: offset.cast_unsigned() })
}

impl Rows {
    /// From coefficients to evaluations, eight polynomials at a time.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn evaluate(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        // Coefficients are reduced as c + 2^63 ≥ 0.
        let (raise, surplus) = (splat(1 << 63), splat(self.q.neg(self.q.reduce(1 << 63))));
        let width = shape.width();
        let mut words = vec![0; shape.blocks * width];
        let mut column = Zeroizing::new(vec![[0; LANES]; shape.blocks]);
        let groups = coefficients.as_chunks().0.chunks_exact(shape.blocks);
        for (at, group) in groups.enumerate() {
            for (line, c) in column.iter_mut().zip(group) {
                let raised = _mm512_xor_si512(load(&c.map(i64::cast_unsigned)), raise);
                let residue = field.reduce(raised, zero);
                store(line, field.modulus.canonical(_mm512_add_epi64(residue, surplus)));
            }
            self.transform.forward_lines(&mut column);
            for (words, line) in words.chunks_exact_mut(width).zip(&*column) {
                words.as_chunks_mut().0[at] = *line;
            }
        }
        Weights { shape, words, small: 0 }
    }

    /// See [`Kernel::product`](super::Kernel::product). A tile's sums take 24 of the 32 registers: two lines of low and
    /// high halves, or four of low ones.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn product_lines(
        &self,
        outs: &mut [&mut [Line]],
        weights: &Weights,
        inputs: &[&[Line]],
    ) {
        match weights.small {
            0 => self.by_panels::<2, false>(outs, weights, inputs),
            _ => self.by_panels::<4, true>(outs, weights, inputs),
        }
    }

    /// The product, `L` lines of columns at a time, for `SMALL` weights or others.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn by_panels<const L: usize, const SMALL: bool>(
        &self,
        outs: &mut [&mut [Line]],
        weights: &Weights,
        inputs: &[&[Line]],
    ) {
        let (field, lines, count) = (self.field(), self.degree / LANES, inputs.len());
        let block = lines / weights.shape.blocks;
        let columns = block.min(PANEL);
        let wide = count > max_terms(2 * self.q.bits());
        // What takes the offset away.
        let factors = vec![self.q.neg(self.q.reduce(weights.small.into())); count];
        let mut panel = Zeroizing::new(vec![[[0; LANES]; L]; columns / L * count]);
        let mut starts = Zeroizing::new(vec![[[0; LANES]; L]; columns / L]);
        for first in (0..lines).step_by(columns) {
            for (i, input) in inputs.iter().enumerate() {
                let parts = input[first..][..columns].as_chunks().0;
                panel[i..].iter_mut().step_by(count).zip(parts).for_each(|(a, part)| *a = *part);
            }
            let parts = |c: usize| &panel[c * count..][..count];
            if SMALL {
                for (c, start) in starts.iter_mut().enumerate() {
                    let zero = &[[0; LANES]; L];
                    tile::<1, L, false>(&field, wide, &mut [start], 0, zero, &factors, parts(c));
                }
            }
            for outputs in weights.shape.tiles() {
                let scalars = weights.tile(first / block, &outputs);
                let outs = &mut outs[outputs];
                for (c, start) in starts.iter().enumerate() {
                    let (at, panel) = (first + c * L, parts(c));
                    match outs.len() {
                        1 => tile::<1, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                        2 => tile::<2, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                        3 => tile::<3, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                        4 => tile::<4, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                        5 => tile::<5, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                        _ => tile::<TILE, L, SMALL>(&field, wide, outs, at, start, scalars, panel),
                    }
                }
            }
        }
    }
}

/// `L` lines of `O` outputs, from line `at`: `start`, and `O` scalars times `L` lines for each input. `wide` where the
/// high halves need a reduction of their own.
#[target_feature(enable = "avx512f,avx512ifma")]
fn tile<const O: usize, const L: usize, const SMALL: bool>(
    field: &Reduction,
    wide: bool,
    outs: &mut [&mut [Line]],
    at: usize,
    start: &[Line; L],
    scalars: &[u64],
    panel: &[[Line; L]],
) {
    let zero = _mm512_setzero_si512();
    let mut low = [load_all(start); O];
    for (scalars, panel) in
        scalars.as_chunks::<O>().0.chunks(MAX_TERMS).zip(panel.chunks(MAX_TERMS))
    {
        let mut high = [[zero; L]; O];
        for (scalars, lines) in scalars.iter().zip(panel) {
            let a = load_all(lines);
            for o in 0..O {
                let w = splat(scalars[o]);
                for l in 0..L {
                    low[o][l] = _mm512_madd52lo_epu64(low[o][l], a[l], w);
                    if !SMALL {
                        high[o][l] = _mm512_madd52hi_epu64(high[o][l], a[l], w);
                    }
                }
            }
        }
        for (low, high) in low.as_flattened_mut().iter_mut().zip(high.as_flattened()) {
            let high = if wide && !SMALL { field.reduce(*high, zero) } else { *high };
            *low = field.reduce(*low, high);
        }
    }
    for (low, out) in low.iter().zip(outs) {
        for (low, line) in low.iter().zip(&mut out[at..]) {
            store(line, *low);
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn load_all<const L: usize>(lines: &[Line; L]) -> [V; L] {
    let mut all = [_mm512_setzero_si512(); L];
    for (v, line) in all.iter_mut().zip(lines) {
        *v = load(line);
    }
    all
}
