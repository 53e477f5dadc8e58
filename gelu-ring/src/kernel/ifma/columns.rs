//! The parts of a row that are in registers together.

use core::arch::x86_64::_mm512_setzero_si512;

use super::factors::TILE;
use super::vector::{Factor, Factors, Line, RADIX, V, Vectors, load, splat, store};
use crate::modulus::Modulus;

/// Columns that are worked on together, to hide the latency of products.
pub(super) const COLUMNS: usize = 2;

/// Tiles that are worked on together, to hide the latency of products.
pub(super) const TILES: usize = 2;

/// Multiples of q in registers.
pub(super) struct Constants {
    pub(super) modulus: Vectors,
    pub(super) three_q: V,
    pub(super) four_q: V,
    pub(super) eight_q: V,
    /// ⌊2^52 / q⌋.
    pub(super) ratio: V,
}

impl Constants {
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn new(q: Modulus) -> Self {
        let modulus = Vectors::new(q);
        let [three_q, four_q, eight_q] = [3, 4, 8].map(|k| k * q.value());
        let ratio = splat((1 << RADIX) / q.value());
        Self {
            modulus,
            three_q: splat(three_q),
            four_q: splat(four_q),
            eight_q: splat(eight_q),
            ratio,
        }
    }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn read_tiles(tiles: &[[Line; TILE]; TILES]) -> [[V; TILE]; TILES] {
    let mut x = [[_mm512_setzero_si512(); TILE]; TILES];
    for (x, line) in x.as_flattened_mut().iter_mut().zip(tiles.as_flattened()) {
        *x = load(line);
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

/// Neighbouring lines of a row.
pub(super) type Neighbours = [Line; COLUMNS];

/// A block's parts, which stand below each other.
#[inline(always)]
pub(super) fn rows<const M: usize>(block: &mut [Line]) -> [&mut [Neighbours]; M] {
    let size = block.len() / M / COLUMNS;
    let mut rest = block.as_chunks_mut().0;
    core::array::from_fn(|_| {
        let (row, after) = core::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        row
    })
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn read<const M: usize>(rows: &[&mut [Neighbours]; M], at: usize) -> [[V; COLUMNS]; M] {
    let mut x = [[_mm512_setzero_si512(); COLUMNS]; M];
    for (x, row) in x.iter_mut().zip(rows) {
        for (x, line) in x.iter_mut().zip(&row[at]) {
            *x = load(line);
        }
    }
    x
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn write<const M: usize>(
    rows: &mut [&mut [Neighbours]; M],
    at: usize,
    x: &[[V; COLUMNS]; M],
) {
    for (x, row) in x.iter().zip(rows) {
        for (x, line) in x.iter().zip(&mut row[at]) {
            store(line, *x);
        }
    }
}
