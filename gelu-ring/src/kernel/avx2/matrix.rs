//! Matrices of scalars times rows.
//!
//! Scalars are doubles below q/2 in absolute value. The sums of a few outputs, in two lines of columns, are in registers
//! while all inputs go by. The inputs' lines are first copied next to each other, as doubles, for all outputs to read.
//!
//! # Small constants
//! Constants below 2^k in absolute value, for k = 48 − ⌈log₂ q⌉, have products with residues below 2^48: sixteen and
//! what is left of those before, at most q/2, are below 2^53, so one instruction adds a product exactly.

use core::arch::x86_64::{_mm256_fmadd_pd, _mm256_set1_epi64x, _mm256_sub_pd, _mm256_xor_si256};

use zeroize::Zeroizing;

use super::super::MAX_TERMS;
use super::super::weights::{GROUP, Shape, TILE, Weights};
use super::Rows;
use super::sums::{Block, LINES, Sum, Sums, integers};
use super::vector::{Factor, LANES, Line, V, load, read, splat, store};
use crate::modulus::Modulus;

/// Blocks of columns for which inputs are copied.
const PANEL: usize = 8;

/// Products of [small constants](self#small-constants) between reductions.
const FEW: usize = 16;

/// The outputs whose sums of halves fit the registers.
const OUTPUTS: usize = 2;

/// The scalars when all are [small](self#small-constants) constants.
pub(super) fn small(q: Modulus, shape: Shape, coefficients: &[i64]) -> Option<Weights> {
    let bound = 1u64.checked_shl(48u32.checked_sub(q.bits())?)?;
    if shape.blocks > 1 || !coefficients.iter().all(|c| c.unsigned_abs() < bound) {
        return None;
    }
    let words = coefficients.iter().map(|&c| (c as f64).to_bits()).collect();
    Some(Weights { shape, words, small: bound })
}

/// As many lines as a group's polynomials.
type Column = [Line; GROUP / LANES];

impl Rows {
    /// From coefficients to evaluations, eight polynomials at a time.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn evaluate(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        let sums = Sums::new(self.q, 2 * self.q.bits());
        // Coefficients are reduced as c + 2^63 ≥ 0.
        let raise = _mm256_set1_epi64x(i64::MIN);
        let surplus = splat(Factor::new(self.q, self.q.reduce(1 << 63)).value);
        let width = shape.width();
        let mut words = vec![0; shape.blocks * width];
        let mut column: Zeroizing<Vec<Column>> =
            Zeroizing::new(vec![Column::default(); shape.blocks]);
        let groups = coefficients.as_chunks::<GROUP>().0.chunks_exact(shape.blocks);
        for (at, group) in groups.enumerate() {
            for (lines, c) in
                column.as_flattened_mut().iter_mut().zip(group.as_flattened().as_chunks().0)
            {
                let raised = _mm256_xor_si256(integers(&c.map(i64::cast_unsigned)), raise);
                store(lines, _mm256_sub_pd(sums.word(raised), surplus));
            }
            self.transform.forward_lines(&mut column);
            for (words, lines) in words.chunks_exact_mut(width).zip(&*column) {
                words[at * GROUP..][..GROUP].copy_from_slice(lines.as_flattened());
            }
        }
        Weights { shape, words, small: 0 }
    }

    /// See [`Kernel::product`](super::Kernel::product).
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn product_blocks(
        &self,
        outs: &mut [&mut [Block]],
        weights: &Weights,
        inputs: &[&[Block]],
    ) {
        let (sums, count) = (Sums::new(self.q, 2 * self.q.bits()), inputs.len());
        let all = self.degree / (LINES * LANES);
        let block = all / weights.shape.blocks;
        let columns = block.min(PANEL);
        let mut panel = Zeroizing::new(vec![Block::default(); columns * count]);
        for first in (0..all).step_by(columns) {
            for (i, input) in inputs.iter().enumerate() {
                let places = panel[i..].iter_mut().step_by(count);
                for (place, lines) in places.zip(&input[first..][..columns]) {
                    place.iter_mut().zip(lines).for_each(|(a, line)| store(a, read(line)));
                }
            }
            for tile in weights.shape.tiles() {
                let scalars = weights.tile(first / block, &tile);
                for c in 0..columns {
                    let (at, panel) = (first + c, &panel[c * count..][..count]);
                    let outs = &mut outs[tile.clone()];
                    match weights.small {
                        0 => wide_tile(&sums, outs, at, scalars, panel),
                        _ => small_tile(&sums, outs, at, scalars, panel),
                    }
                }
            }
        }
    }
}

/// Block `at` of a tile's outputs.
#[target_feature(enable = "avx2,fma")]
fn wide_tile(sums: &Sums, outs: &mut [&mut [Block]], at: usize, scalars: &[u64], panel: &[Block]) {
    let step = outs.len();
    for (o, outs) in outs.chunks_mut(OUTPUTS).enumerate() {
        // The first of what is left of each input's.
        let scalars = scalars[o * OUTPUTS..].chunks(step);
        match outs.len() {
            1 => wide_sums::<1>(sums, outs, at, scalars, panel),
            _ => wide_sums::<OUTPUTS>(sums, outs, at, scalars, panel),
        }
    }
}

/// The same of [small constants](self#small-constants).
#[target_feature(enable = "avx2,fma")]
fn small_tile(sums: &Sums, outs: &mut [&mut [Block]], at: usize, scalars: &[u64], panel: &[Block]) {
    match outs.len() {
        1 => small_sums::<1>(sums, outs, at, scalars, panel),
        2 => small_sums::<2>(sums, outs, at, scalars, panel),
        3 => small_sums::<3>(sums, outs, at, scalars, panel),
        4 => small_sums::<4>(sums, outs, at, scalars, panel),
        5 => small_sums::<5>(sums, outs, at, scalars, panel),
        _ => small_sums::<TILE>(sums, outs, at, scalars, panel),
    }
}

/// Block `at` of `O` outputs: `O` scalars times the lines of each input.
#[target_feature(enable = "avx2,fma")]
fn wide_sums<'a, const O: usize>(
    sums: &Sums,
    outs: &mut [&mut [Block]],
    at: usize,
    scalars: impl Iterator<Item = &'a [u64]>,
    panel: &[Block],
) {
    let mut scalars = scalars.filter_map(<[u64]>::first_chunk::<O>);
    let mut residues = [Block::default(); O];
    for panel in panel.chunks(MAX_TERMS) {
        let mut all = [[Sum::of(_mm256_set1_epi64x(0)); LINES]; O];
        for (all, lines) in all.iter_mut().zip(&residues) {
            all.iter_mut().zip(lines).for_each(|(sum, line)| *sum = Sum::of(integers(line)));
        }
        for (lines, scalars) in panel.iter().zip(&mut scalars) {
            let a = load_all(lines);
            for (all, &w) in all.iter_mut().zip(scalars) {
                let w = splat(f64::from_bits(w));
                all.iter_mut().zip(a).for_each(|(sum, a)| sums.add(sum, a, w));
            }
        }
        for (all, lines) in all.into_iter().zip(&mut residues) {
            for (sum, line) in all.into_iter().zip(lines) {
                sums.field.write(line, sums.reduce(sum, panel.len()));
            }
        }
    }
    outs.iter_mut().zip(residues).for_each(|(out, lines)| out[at] = lines);
}

/// The same of [small constants](self#small-constants).
#[target_feature(enable = "avx2,fma")]
fn small_sums<const O: usize>(
    sums: &Sums,
    outs: &mut [&mut [Block]],
    at: usize,
    scalars: &[u64],
    panel: &[Block],
) {
    let mut all = [[splat(0.0); LINES]; O];
    for (scalars, panel) in scalars.as_chunks::<O>().0.chunks(FEW).zip(panel.chunks(FEW)) {
        for (scalars, lines) in scalars.iter().zip(panel) {
            let a = load_all(lines);
            for (all, &w) in all.iter_mut().zip(scalars) {
                let w = splat(f64::from_bits(w));
                all.iter_mut().zip(a).for_each(|(sum, a)| *sum = _mm256_fmadd_pd(a, w, *sum));
            }
        }
        sums.field.centre(all.as_flattened_mut());
    }
    for (all, out) in all.iter().zip(outs) {
        for (sum, line) in all.iter().zip(&mut out[at]) {
            sums.field.write(line, *sum);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn load_all(lines: &Block) -> [V; LINES] {
    let mut all = [splat(0.0); LINES];
    all.iter_mut().zip(lines).for_each(|(v, line)| *v = load(line));
    all
}
