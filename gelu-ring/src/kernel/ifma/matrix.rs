//! Matrices of scalars times rows.
//!
//! The sums of a tile of outputs, in a few lines of columns, are in registers while all inputs go by: so a line that is
//! loaded has a product with each output of the tile. The inputs' lines are first copied next to each other, for
//! all tiles to read.
//!
//! # Bounds
//! With k = 51 − ⌈log₂ q⌉, constants from −2^k to 2^k − 1 are held as w + 2^k: a product with a residue is then below
//! 2^52, so its low half is all there is, and takes one instruction instead of two. What that is too much, 2^k times the
//! sum of the inputs, is the same for all outputs.

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_setzero_si512,
};

use zeroize::Zeroizing;

use super::super::MAX_TERMS;
use super::super::weights::{Shape, TILE, Weights};
use super::vector::{LANES, Line, RADIX, V, load, splat, store};
use super::{Reduction, Rows, max_terms};
use crate::modulus::Modulus;

/// Lines of columns for which inputs are copied.
const PANEL: usize = 8;

/// The words for [constants](self#bounds) that are small, and 2^k.
pub(super) fn small(q: Modulus, shape: Shape, coefficients: &[i64]) -> Option<Weights> {
    let offset = 1 << (RADIX - 1 - q.bits());
    let raise = |c: &i64| u64::try_from(c.checked_add(offset)?).ok();
    let words: Vec<u64> = coefficients.iter().map(raise).collect::<Option<_>>()?;
    let offset = offset.cast_unsigned();
    let fits = shape.blocks == 1 && words.iter().all(|&word| word < 2 * offset);
    fits.then_some(Weights { shape, words, offset })
}

impl Rows {
    /// From words c + 2^63 to evaluations, eight polynomials at a time.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn evaluate(&self, shape: Shape, words: &mut [Line]) {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        let surplus = splat(self.q.neg(self.q.reduce(1 << 63)));
        let width = shape.width() / LANES;
        let mut column = Zeroizing::new(vec![[0; LANES]; shape.blocks]);
        for at in 0..width {
            for (line, word) in column.iter_mut().zip(words[at..].iter().step_by(width)) {
                let raised = field.reduce(load(word), zero);
                store(line, field.modulus.canonical(_mm512_add_epi64(raised, surplus)));
            }
            self.transform.forward_lines(&mut column);
            for (line, word) in column.iter().zip(words[at..].iter_mut().step_by(width)) {
                *word = *line;
            }
        }
    }

    /// The product in `L` lines of columns at once, for weights with an offset (`SMALL`) or without. `surplus` is what to
    /// add to all outputs for the offset.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn product_lines<const L: usize, const SMALL: bool>(
        &self,
        outs: &mut [&mut [Line]],
        weights: &Weights,
        inputs: &[&[Line]],
        surplus: &[Line],
    ) {
        let (field, lines) = (self.field(), self.degree / LANES);
        let block = lines / weights.shape.blocks;
        let columns = block.min(PANEL);
        let max = if SMALL { MAX_TERMS } else { max_terms(2 * self.q.bits()) };
        let mut panel = Zeroizing::new(vec![[[0; LANES]; L]; columns / L * inputs.len()]);
        for first in (0..lines).step_by(columns) {
            for (i, input) in inputs.iter().enumerate() {
                let parts = input[first..][..columns].as_chunks().0;
                for (place, part) in panel[i..].iter_mut().step_by(inputs.len()).zip(parts) {
                    *place = *part;
                }
            }
            for outputs in weights.shape.tiles() {
                let scalars = weights.tile(first / block, &outputs);
                let outs = &mut outs[outputs];
                for at in (first..first + columns).step_by(L) {
                    let panel = &panel[(at - first) / L * inputs.len()..][..inputs.len()];
                    match outs.len() {
                        1 => tile::<1, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                        2 => tile::<2, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                        3 => tile::<3, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                        4 => tile::<4, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                        5 => tile::<5, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                        _ => tile::<TILE, L, SMALL>(&field, max, outs, at, scalars, panel, surplus),
                    }
                }
            }
        }
    }
}

/// Adds to `L` lines of `O` outputs, from line `at`: `O` scalars times a line for each input, at most `max` before they
/// are reduced.
#[target_feature(enable = "avx512f,avx512ifma")]
fn tile<const O: usize, const L: usize, const SMALL: bool>(
    field: &Reduction,
    max: usize,
    outs: &mut [&mut [Line]],
    at: usize,
    scalars: &[u64],
    panel: &[[Line; L]],
    surplus: &[Line],
) {
    let zero = _mm512_setzero_si512();
    let mut low = [if SMALL { load_all(&surplus[at..]) } else { [zero; L] }; O];
    for (scalars, panel) in scalars.as_chunks().0.chunks(max).zip(panel.chunks(max)) {
        let mut high = [[zero; L]; O];
        for (scalars, lines) in scalars.iter().zip(panel) {
            let scalars: &[u64; O] = scalars;
            let a: [V; L] = load_all(lines);
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
            *low = field.reduce(*low, *high);
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
fn load_all<const L: usize>(lines: &[Line]) -> [V; L] {
    let mut all = [_mm512_setzero_si512(); L];
    for (v, line) in all.iter_mut().zip(lines) {
        *v = load(line);
    }
    all
}
