//! The transforms, three or two stages at a time.
//!
//! A block of 64·2^k residues is taken by columns, its eighths or quarters standing below each other: three or
//! two stages in registers, one load and store a residue. One column at a time, so that the factors of a block
//! stay in registers too. Then its parts follow, one after the other, so that what fits the first cache stays
//! there. A tile of 64 residues takes six stages: three down its eight lines, and three within pairs of lines,
//! which shuffles bring together:
//!
//! ```text
//! two lines            a₀ … a₇                   b₀ … b₇
//! partners 4 apart     a₀a₁a₂a₃b₀b₁b₂b₃          a₄a₅a₆a₇b₄b₅b₆b₇
//! partners 2 apart     a₀a₁b₀b₁a₄a₅b₄b₅          a₂a₃b₂b₃a₆a₇b₆b₇
//! partners 1 apart     a₀a₂b₀b₂a₄a₆b₄b₆          a₁a₃b₁b₃a₅a₇b₅b₇       stays like that
//! ```
//!
//! On the way back partners 4 apart stand as a₀a₁b₀b₁a₂a₃b₂b₃ and a₄a₅b₄b₅a₆a₇b₆b₇, so that no shuffle needs an
//! index. These shuffles are the cheap ones: others would put equal factors where a load can repeat them, and took
//! 9 % longer. Factors are held once, 2.1 words a residue in each direction, and spread over the lanes as they are
//! loaded. That is more than the residues themselves, and tables of a ring of several primes do not stay in the
//! second cache: with each factor as often as it is used, 3.4 words, a rotation took 4 % longer at N = 2^13, and up
//! to half as long again at 2^14 beside other programs. So two rows are transformed at once where there are two, and
//! read their factors once.
//!
//! # Bounds
//! Multiplication ignores all bits above the lowest 52, so only those count, and all numbers stay below 2^52. `forward`
//! and `inverse` say how: *lazily*, for q ≤ 2^46, where 64q fit; *strictly* for all others.
//!
//! A lazy factor w comes with ⌊w·2^52 / q⌋ (Shoup): y·w − ⌊y·⌊w·2^52/q⌋ / 2^52⌋·q is lo(y·w) + lo(quotient·(2^52 − q))
//! modulo 2^52, both added to x by the multiplications themselves. What they carry above is never taken
//! away before the end.

use super::columns::{Constants, TILES};
use super::factors::{TILE, Table, Tile, down};
use super::forward::{forward_by_eight, forward_by_four, forward_lines, forward_tiles};
use super::inverse::{inverse_by_eight, inverse_by_four, inverse_tiles};
use super::vector::{Factor, Line, RADIX};
use crate::modulus::Modulus;
use crate::ntt::roots;

/// The roots of unity for one q and N, and how lazy it lets us be.
pub(super) struct Transform {
    q: Modulus,
    lazy: bool,
    forward: Table,
    inverse: Table,
    /// 1/N.
    scale: Factor,
}

impl Transform {
    /// For rows of `degree` ≥ 2^11 residues.
    pub(super) fn new(q: Modulus, degree: usize) -> Self {
        let (forward, mut inverse) = roots(q, degree);
        let scale = q.inverse(degree as u64);
        // The last stage back scales its products.
        inverse[1] = q.mul(inverse[1], scale);
        let lazy = 64 * q.value() <= 1 << RADIX;
        let factor = |w| if lazy { Factor::lazy(w, q) } else { Factor::new(w, q) };
        Self {
            q,
            lazy,
            forward: Table::new(&forward, factor),
            inverse: Table::new(&inverse, factor),
            scale: factor(scale),
        }
    }

    /// One row, or two at once.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn forward<const ROWS: usize>(&self, rows: [&mut [Line]; ROWS]) {
        let c = Constants::new(self.q);
        match self.lazy {
            true => self.forward_block::<true, ROWS>(&c, rows, 1, 0),
            false => self.forward_block::<false, ROWS>(&c, rows, 1, 0),
        }
    }

    /// Eight transforms of at most N/16 values, side by side, each in bit-reversed order.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn forward_lines(&self, lines: &mut [Line]) {
        let (c, factors) = (Constants::new(self.q), &self.forward.blocks);
        match self.lazy {
            true => forward_lines::<true>(&c, lines, factors),
            false => forward_lines::<false>(&c, lines, factors),
        }
    }

    /// One row, or two at once.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn inverse<const ROWS: usize>(&self, rows: [&mut [Line]; ROWS]) {
        let c = Constants::new(self.q);
        match self.lazy {
            true => self.inverse_block::<true, ROWS>(&c, rows, 1, 0),
            false => self.inverse_block::<false, ROWS>(&c, rows, 1, 0),
        }
    }

    /// All stages of block `i` of `blocks`, of each row.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn forward_block<const LAZY: bool, const ROWS: usize>(
        &self,
        c: &Constants,
        mut rows: [&mut [Line]; ROWS],
        blocks: usize,
        i: usize,
    ) {
        let lines = rows[0].len();
        let parts = parts(lines);
        if parts == 8 {
            let down = down(&self.forward.blocks, blocks, i);
            for block in &mut rows {
                match blocks == 1 {
                    true => forward_by_eight::<LAZY, true>(c, block, &down),
                    false => forward_by_eight::<LAZY, false>(c, block, &down),
                }
            }
        } else {
            let factors = &self.forward.blocks;
            let (one, two) = (blocks + i, 2 * (blocks + i));
            let down = [factors[one], factors[two], factors[two + 1]];
            for block in &mut rows {
                match blocks == 1 {
                    true => forward_by_four::<LAZY, true>(c, block, down),
                    false => forward_by_four::<LAZY, false>(c, block, down),
                }
            }
        }
        let size = lines / parts;
        if size == TILE {
            let tables = &self.forward.tiles[parts * i..][..parts];
            each_two(rows, tables, |tiles, tables| forward_tiles::<LAZY>(c, tiles, tables));
        } else {
            for k in 0..parts {
                let part = rows.each_mut().map(|row| &mut row[k * size..][..size]);
                self.forward_block::<LAZY, ROWS>(c, part, parts * blocks, parts * i + k);
            }
        }
    }

    /// All stages of block `i` of `blocks`, of each row; the block that is all there is scaled by 1/N.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn inverse_block<const LAZY: bool, const ROWS: usize>(
        &self,
        c: &Constants,
        mut rows: [&mut [Line]; ROWS],
        blocks: usize,
        i: usize,
    ) {
        let lines = rows[0].len();
        let parts = parts(lines);
        let size = lines / parts;
        if size == TILE {
            let tables = &self.inverse.tiles[parts * i..][..parts];
            let rows = rows.each_mut().map(|row| &mut **row);
            each_two(rows, tables, |tiles, tables| inverse_tiles::<LAZY>(c, tiles, tables));
        } else {
            for k in 0..parts {
                let part = rows.each_mut().map(|row| &mut row[k * size..][..size]);
                self.inverse_block::<LAZY, ROWS>(c, part, parts * blocks, parts * i + k);
            }
        }
        let factors = &self.inverse.blocks;
        if parts == 8 {
            let down = down(factors, blocks, i);
            for block in rows {
                match blocks == 1 {
                    true => inverse_by_eight::<LAZY, true>(c, block, &down, self.scale),
                    false => inverse_by_eight::<LAZY, false>(c, block, &down, self.scale),
                }
            }
        } else {
            let (one, two) = (blocks + i, 2 * (blocks + i));
            let down = [factors[one], factors[two], factors[two + 1]];
            for block in rows {
                match blocks == 1 {
                    true => inverse_by_four::<LAZY, true>(c, block, down, self.scale),
                    false => inverse_by_four::<LAZY, false>(c, block, down, self.scale),
                }
            }
        }
    }
}

/// All tiles of one row, two after the other, or of two rows, where both have the same factors.
#[inline(always)]
fn each_two<const ROWS: usize>(
    rows: [&mut [Line]; ROWS],
    tables: &[Tile],
    mut f: impl FnMut([&mut [Line; TILE]; TILES], [&Tile; TILES]),
) {
    let mut rows = rows.map(|row| row.as_chunks_mut::<TILE>().0);
    match &mut rows[..] {
        [row, other] => {
            for ((a, b), table) in row.iter_mut().zip(other.iter_mut()).zip(tables) {
                f([a, b], [table; TILES]);
            }
        }
        rows => {
            for row in rows {
                let tables = tables.as_chunks::<TILES>().0;
                for (tiles, tables) in row.as_chunks_mut::<TILES>().0.iter_mut().zip(tables) {
                    f(tiles.each_mut(), tables.each_ref());
                }
            }
        }
    }
}

/// In how many parts a pass takes a block of so many lines: four until the stages that are left above the
/// tiles are a multiple of three.
fn parts(lines: usize) -> usize {
    if (lines / TILE).ilog2().is_multiple_of(3) { 8 } else { 4 }
}
