//! The factors of a transform, in the order in which it wants them.

use super::vector::{Factor, Factors, LANES, Line, V, doubled, four_twice, load, two};
use crate::ntt::SPAN;

/// Lines of a tile.
pub(super) const TILE: usize = 8;

/// The factors of one direction.
pub(super) struct Table {
    /// Number groups + i is for group i of the stage with that many groups, as far as there are transforms of
    /// eight columns side by side.
    pub(super) blocks: Vec<Factor>,
    pub(super) tiles: Vec<Tile>,
}

/// The factors of a tile.
#[repr(align(64))]
pub(super) struct Tile {
    /// Of the stage with partners 4 apart: two for each pair of lines.
    by_four: Lines,
    /// Of that with partners 2 apart: four for each pair of lines.
    by_two: [Lines; 2],
    /// Of that with partners 1 apart: eight for each pair of lines.
    by_one: [Lines; 4],
    /// Of the three stages down the lines: one, two, four.
    pub(super) down: [Factor; 7],
}

/// Eight factors.
struct Lines {
    value: Line,
    quotient: Line,
}

/// The groups of [`Tile::by_four`]: half of them belong to two pairs of lines, in turns.
const BY_FOUR: [usize; LANES] = [0, 2, 1, 3, 4, 6, 5, 7];

/// The groups of a half of [`Tile::by_two`]: they belong to two pairs of lines, in turns.
const BY_TWO: [usize; LANES] = [0, 4, 2, 6, 1, 5, 3, 7];

/// The group of lane i in a pair of lines, partners 1 apart.
const BY_ONE: [usize; LANES] = [0, 1, 4, 5, 2, 3, 6, 7];

impl Lines {
    fn new(factors: [Factor; LANES]) -> Self {
        Self { value: factors.map(|f| f.value), quotient: factors.map(|f| f.quotient) }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn map(&self, f: impl Fn(&Line) -> V) -> Factors {
        Factors { value: f(&self.value), quotient: f(&self.quotient) }
    }
}

impl Tile {
    /// Tile `i` of `tiles`, of which each has a stage's factors in a row.
    fn new(factors: &[Factor], tiles: usize, i: usize) -> Self {
        // The stages after the three down the lines have 8, 16, 32 groups a tile.
        let stage = |groups: usize| &factors[groups * (tiles + i)..][..groups];
        let lines = |order: [usize; LANES], part: &[Factor]| Lines::new(order.map(|i| part[i]));
        let [by_two, by_one] = [stage(16), stage(32)];
        Self {
            by_four: lines(BY_FOUR, stage(8)),
            by_two: [lines(BY_TWO, &by_two[..8]), lines(BY_TWO, &by_two[8..])],
            by_one: core::array::from_fn(|k| lines(BY_ONE, &by_one[8 * k..][..8])),
            down: down(factors, tiles, i),
        }
    }

    /// Of pair `k` of lines, partners 4 apart, on the way forward: each in a half of the lanes.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn by_four(&self, k: usize) -> Factors {
        let at = 4 * (k / 2) + k % 2;
        self.by_four.map(|line| two(&line[at], &line[at + 2]))
    }

    /// The same on the way back: in the order 0 0 1 1 0 0 1 1.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn by_four_back(&self, k: usize) -> Factors {
        self.by_four.map(|line| doubled(four_twice(&line.as_chunks().0[k / 2]), k % 2 == 1))
    }

    /// Of pair `k` of lines, partners 2 apart.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn by_two(&self, k: usize) -> Factors {
        self.by_two[k / 2].map(|line| doubled(load(line), k % 2 == 1))
    }

    /// Of pair `k` of lines, partners 1 apart.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn by_one(&self, k: usize) -> Factors {
        self.by_one[k].map(|line| load(line))
    }
}

impl Table {
    pub(super) fn new(roots: &[u64], factor: impl Fn(u64) -> Factor) -> Self {
        let factors: Vec<_> = roots.iter().map(|&root| factor(root)).collect();
        let tiles = roots.len() / (TILE * LANES);
        Self {
            blocks: factors[..roots.len() / SPAN].to_vec(),
            tiles: (0..tiles).map(|i| Tile::new(&factors, tiles, i)).collect(),
        }
    }
}

/// The factors of three stages that begin with block `i` of `blocks`: one, two, four.
pub(super) fn down(factors: &[Factor], blocks: usize, i: usize) -> [Factor; 7] {
    let mut down = [Factor::default(); 7];
    down[0] = factors[blocks + i];
    down[1..3].copy_from_slice(&factors[2 * (blocks + i)..][..2]);
    down[3..].copy_from_slice(&factors[4 * (blocks + i)..][..4]);
    down
}
