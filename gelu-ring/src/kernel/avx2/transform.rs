//! The transforms, three or two stages at a time.
//!
//! A block of 16·2^k residues is taken by columns, its eighths or quarters standing below each other: three or
//! two stages in registers, one load and store a residue. Then its parts follow, one after the other, so
//! that what fits the first cache stays there. A tile of 16 residues takes four stages: two down its four
//! lines, and two within pairs of lines, which shuffles bring together:
//!
//! ```text
//! lines i and i + 2    a₀a₁a₂a₃     b₀b₁b₂b₃
//! partners 2 apart     a₀a₁b₀b₁     a₂a₃b₂b₃
//! partners 1 apart     a₀a₂b₀b₂     a₁a₃b₁b₃       stays like that
//! ```
//!
//! Rows are doubles between the first load and the last store, where residues are converted.
//!
//! # Bounds
//! Products want factors y below 2^52 in absolute value, and are below q·(1/2 + |y|/2^54). *Lazily*, for q < 2^47, 32q
//! fit, and a product is below q·(1/2 + |y/q|/128); *strictly*, for all others, 4q fit, and it is below q·(1/2 + |y/q|/16). In
//! absolute values:
//!
//! - Forward, each stage takes x to x ± t for a product t. Lazily, 16 stages from residues lead below 10q; nothing is
//!   reduced until the end. Strictly, the first pass leads below 2.8q; each other one centres the upper half of its numbers, those that
//!   no product reduces, and so three stages lead below 2.4q again, and the four of a tile below 3.1q.
//! - Back, x and y become x + y and (x − y)·w, so what is nothing but sums doubles in each stage, and the first of a pass's
//!   numbers is. Lazily, it alone is centred at the end of a pass: others are sums of four products at most, and passes
//!   begin below 2.2q, so their sums stay below 18q. Strictly, passes begin with at most q + 2: sums are centred after two
//!   stages, when they may be 4q, and at the end of a pass.

use super::factors::{self, Table, Tree};
use super::stages::Factors;
use super::vector::{
    Factor, Field, LANES, Line, V, even_and_odd, halves, load, read, splat, store,
};
use crate::modulus::Modulus;
use crate::ntt::{SPAN, roots};

/// Lines of a tile.
const TILE: usize = SPAN / LANES;

type Tile = [Line; TILE];

/// Tiles that are worked on together, to hide the latency of products.
const TILES: usize = 2;

/// The roots of unity for one q and N.
pub(super) struct Transform {
    q: Modulus,
    lazy: bool,
    forward: Table,
    inverse: Table,
    /// 1/N.
    scale: Factor<f64>,
}

impl Transform {
    /// For rows of `degree` ≥ 2^11 residues.
    pub(super) fn new(q: Modulus, degree: usize) -> Self {
        let (forward, mut inverse) = roots(q, degree);
        let scale = q.inverse(degree as u64);
        // The last stage back scales its products.
        inverse[1] = q.mul(inverse[1], scale);
        Self {
            q,
            lazy: q.bits() <= 47,
            forward: Table::new(q, &forward),
            inverse: Table::new(q, &inverse),
            scale: Factor::new(q, scale),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward(&self, row: &mut [Line]) {
        let field = Field::new(self.q);
        match self.lazy {
            true => self.forward_block::<true, true>(&field, row, 1, 0),
            false => self.forward_block::<false, true>(&field, row, 1, 0),
        }
    }

    /// Transforms of at most N/16 values, side by side, each in bit-reversed order: from doubles to doubles below q/2 in
    /// absolute value.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward_lines<const W: usize>(&self, lines: &mut [[Line; W]]) {
        let field = Field::new(self.q);
        let mut half = lines.len() / 2;
        while half > 0 {
            let groups = lines.len() / (2 * half);
            for (i, group) in lines.chunks_exact_mut(2 * half).enumerate() {
                let w = [Factor::splat(self.forward.blocks[groups + i])];
                let (left, right) = group.split_at_mut(half);
                let pairs = left.as_flattened_mut().iter_mut().zip(right.as_flattened_mut());
                for (x, y) in pairs {
                    let ([sum], [difference]) =
                        field.forward([field.centred(load(x))], [load(y)], &w);
                    store(x, sum);
                    store(y, difference);
                }
            }
            half /= 2;
        }
        for line in lines.as_flattened_mut() {
            store(line, field.centred(load(line)));
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn inverse(&self, row: &mut [Line]) {
        let field = Field::new(self.q);
        match self.lazy {
            true => self.inverse_block::<true, true>(&field, row, 1, 0),
            false => self.inverse_block::<false, true>(&field, row, 1, 0),
        }
    }

    /// All stages of block `i` of `blocks`; `WHOLE` for the only one, which is residues. They end as residues.
    #[target_feature(enable = "avx2,fma")]
    fn forward_block<const LAZY: bool, const WHOLE: bool>(
        &self,
        field: &Field,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let (lines, parts) = (block.len(), parts(block.len()));
        match parts {
            8 => {
                let factors = self.forward.down(blocks, i);
                forward_columns::<8, LAZY, WHOLE>(field, eighths(block), &factors);
            }
            _ => {
                let factors = self.forward.down(blocks, i);
                forward_columns::<4, LAZY, WHOLE>(field, quarters(block), &factors);
            }
        }
        let (blocks, i) = (parts * blocks, parts * i);
        if lines == parts * TILE {
            let tiles = block.as_chunks_mut().0;
            forward_tiles::<LAZY>(field, tiles, &self.forward.tiles[i..][..parts]);
        } else {
            for (k, part) in block.chunks_exact_mut(lines / parts).enumerate() {
                self.forward_block::<LAZY, false>(field, part, blocks, i + k);
            }
        }
    }

    /// All stages of block `i` of `blocks`; `WHOLE` for the only one, which becomes residues, scaled by 1/N.
    #[target_feature(enable = "avx2,fma")]
    fn inverse_block<const LAZY: bool, const WHOLE: bool>(
        &self,
        field: &Field,
        block: &mut [Line],
        blocks: usize,
        i: usize,
    ) {
        let (lines, parts) = (block.len(), parts(block.len()));
        if lines == parts * TILE {
            let tiles = block.as_chunks_mut().0;
            inverse_tiles::<LAZY>(field, tiles, &self.inverse.tiles[parts * i..][..parts]);
        } else {
            for (k, part) in block.chunks_exact_mut(lines / parts).enumerate() {
                self.inverse_block::<LAZY, false>(field, part, parts * blocks, parts * i + k);
            }
        }
        let scale = Factor::splat(self.scale);
        match parts {
            8 => {
                let factors = self.inverse.down(blocks, i);
                inverse_columns::<8, LAZY, WHOLE>(field, eighths(block), &factors, scale);
            }
            _ => {
                let factors = self.inverse.down(blocks, i);
                inverse_columns::<4, LAZY, WHOLE>(field, quarters(block), &factors, scale);
            }
        }
    }
}

/// In how many parts a pass takes a block of so many lines: four until the stages that are left above the
/// tiles are a multiple of three.
fn parts(lines: usize) -> usize {
    if (lines / TILE).ilog2().is_multiple_of(3) { 8 } else { 4 }
}

/// The columns of a block, whose quarters stand below each other.
#[inline(always)]
fn quarters(block: &mut [Line]) -> impl Iterator<Item = [&mut Line; 4]> {
    let (top, bottom) = block.split_at_mut(block.len() / 2);
    let (a, b) = top.split_at_mut(top.len() / 2);
    let (c, d) = bottom.split_at_mut(bottom.len() / 2);
    a.iter_mut().zip(b).zip(c.iter_mut().zip(d)).map(|((a, b), (c, d))| [a, b, c, d])
}

/// The same of eighths.
#[inline(always)]
fn eighths(block: &mut [Line]) -> impl Iterator<Item = [&mut Line; 8]> {
    let (top, bottom) = block.split_at_mut(block.len() / 2);
    let both = quarters(top).zip(quarters(bottom));
    both.map(|([a, b, c, d], [e, f, g, h])| [a, b, c, d, e, f, g, h])
}

#[target_feature(enable = "avx2,fma")]
fn forward_columns<'a, const M: usize, const LAZY: bool, const WHOLE: bool>(
    field: &Field,
    columns: impl Iterator<Item = [&'a mut Line; M]>,
    factors: &[Factors<1>; M],
) {
    for column in columns {
        let mut x = [[splat(0.0)]; M];
        for (x, line) in x.iter_mut().zip(&column) {
            *x = [if WHOLE { read(line) } else { load(line) }];
        }
        if !LAZY && !WHOLE {
            field.centre(x[..M / 2].as_flattened_mut());
        }
        field.forward_stages(&mut x, factors);
        for ([x], line) in x.into_iter().zip(column) {
            store(line, x);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_columns<'a, const M: usize, const LAZY: bool, const WHOLE: bool>(
    field: &Field,
    columns: impl Iterator<Item = [&'a mut Line; M]>,
    factors: &[Factors<1>; M],
    scale: Factor<V>,
) {
    for column in columns {
        let mut x = [[splat(0.0)]; M];
        for (x, line) in x.iter_mut().zip(&column) {
            *x = [load(line)];
        }
        field.inverse_stages::<M, 1, LAZY>(&mut x, factors);
        if WHOLE {
            for x in x[..M / 2].as_flattened_mut() {
                *x = field.times(*x, scale);
            }
        } else {
            field.centre(x[..if LAZY { 1 } else { M / 2 }].as_flattened_mut());
        }
        for ([x], line) in x.into_iter().zip(column) {
            match WHOLE {
                true => field.write(line, x),
                false => store(line, x),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn forward_tiles<const LAZY: bool>(field: &Field, tiles: &mut [Tile], factors: &[Tree<SPAN>]) {
    let tiles = tiles.as_chunks_mut::<TILES>().0;
    for (tiles, factors) in tiles.iter_mut().zip(factors.as_chunks().0) {
        let factors = factors.each_ref();
        let mut x = [[splat(0.0); TILES]; TILE];
        for (k, tile) in tiles.iter().enumerate() {
            x.iter_mut().zip(tile).for_each(|(x, line)| x[k] = load(line));
        }
        if !LAZY {
            field.centre(x[..TILE / 2].as_flattened_mut());
        }
        field.forward_stages(&mut x, &factors::splat(&factors));
        let [a, b, c, d] = x;
        let [first, second] = factors::by_two(&factors);
        let ((a, c), (b, d)) = (halves(a, c), halves(b, d));
        let ((a, c), (b, d)) = (field.forward(a, c, &first), field.forward(b, d, &second));
        let [first, second] = factors::by_one(&factors);
        let ((a, c), (b, d)) = (even_and_odd(a, c), even_and_odd(b, d));
        let ((a, c), (b, d)) = (field.forward(a, c, &first), field.forward(b, d, &second));
        for (k, tile) in tiles.iter_mut().enumerate() {
            for (line, x) in tile.iter_mut().zip([a, b, c, d]) {
                field.write(line, field.centred(x[k]));
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn inverse_tiles<const LAZY: bool>(field: &Field, tiles: &mut [Tile], factors: &[Tree<SPAN>]) {
    let tiles = tiles.as_chunks_mut::<TILES>().0;
    for (tiles, factors) in tiles.iter_mut().zip(factors.as_chunks().0) {
        let factors = factors.each_ref();
        let mut x = [[splat(0.0); TILES]; TILE];
        for (k, tile) in tiles.iter().enumerate() {
            x.iter_mut().zip(tile).for_each(|(x, line)| x[k] = read(line));
        }
        let [a, b, c, d] = x;
        let [first, second] = factors::by_one(&factors);
        let ((a, c), (b, d)) = (field.inverse(a, c, &first), field.inverse(b, d, &second));
        let ((a, c), (b, d)) = (even_and_odd(a, c), even_and_odd(b, d));
        let [first, second] = factors::by_two(&factors);
        let ((mut a, c), (mut b, d)) = (field.inverse(a, c, &first), field.inverse(b, d, &second));
        if !LAZY {
            field.centre(&mut a);
            field.centre(&mut b);
        }
        let ((a, c), (b, d)) = (halves(a, c), halves(b, d));
        let mut x = [a, b, c, d];
        field.inverse_stages::<TILE, TILES, LAZY>(&mut x, &factors::splat(&factors));
        field.centre(x[..if LAZY { 1 } else { TILE / 2 }].as_flattened_mut());
        for (k, tile) in tiles.iter_mut().enumerate() {
            tile.iter_mut().zip(x).for_each(|(line, x)| store(line, x[k]));
        }
    }
}
