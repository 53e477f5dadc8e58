//! The factors of a transform, in the order in which it wants them.

use super::vector::{Factor, Factors, LANES, Line, load};
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
    /// For each pair of lines, of the stage with partners 4 apart.
    pub(super) by_four: [Lines; 4],
    /// The same for partners 2 apart.
    pub(super) by_two: [Lines; 4],
    /// The same for partners 1 apart.
    pub(super) by_one: [Lines; 4],
    /// Of the three stages down the lines: one, two, four.
    pub(super) down: [Factor; 7],
}

/// Eight factors.
pub(super) struct Lines {
    value: Line,
    quotient: Line,
}

impl Lines {
    /// Of pair `pair` of all pairs of lines, for the stage with `count` groups in each: lane i belongs to group
    /// `groups[i]`.
    fn new(factors: &[Factor], pair: usize, count: usize, groups: [usize; LANES]) -> Self {
        let pairs = factors.len() / (2 * LANES);
        let lanes = groups.map(|group| factors[count * (pairs + pair) + group]);
        Self { value: lanes.map(|f| f.value), quotient: lanes.map(|f| f.quotient) }
    }
}

impl Table {
    pub(super) fn new(roots: &[u64], factor: impl Fn(u64) -> Factor) -> Self {
        let factors: Vec<_> = roots.iter().map(|&root| factor(root)).collect();
        let tiles = roots.len() / (TILE * LANES);
        let pairs = |i: usize, count, groups| {
            core::array::from_fn(|pair| Lines::new(&factors, 4 * i + pair, count, groups))
        };
        let tile = |i: usize| Tile {
            by_four: pairs(i, 2, [0, 0, 0, 0, 1, 1, 1, 1]),
            by_two: pairs(i, 4, [0, 0, 2, 2, 1, 1, 3, 3]),
            by_one: pairs(i, 8, [0, 1, 4, 5, 2, 3, 6, 7]),
            down: down(&factors, tiles, i),
        };
        Self {
            blocks: factors[..roots.len() / SPAN].to_vec(),
            tiles: (0..tiles).map(tile).collect(),
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

impl Lines {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn load(&self) -> Factors {
        Factors { value: load(&self.value), quotient: load(&self.quotient) }
    }
}
