//! The factors of a transform.

use super::stages::Factors;
use super::vector::{Factor, V, even_and_odd, load_factors};
use crate::modulus::Modulus;
use crate::ntt::SPAN;

/// The factors of one direction.
pub(super) struct Table {
    /// Number groups + i is for group i of the stage with that many groups, as far as there are blocks above tiles.
    pub(super) blocks: Vec<Factor<f64>>,
    pub(super) tiles: Vec<Tree<SPAN>>,
}

/// The factors of all stages that cut a block of M parts: number groups + k is for group k of the stage with that many
/// groups, and number 0 for nothing.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Tree<const M: usize> {
    values: [f64; M],
    quotients: [f64; M],
}

impl Table {
    pub(super) fn new(q: Modulus, roots: &[u64]) -> Self {
        let factors: Vec<_> = roots.iter().map(|&root| Factor::new(q, root)).collect();
        let tiles = roots.len() / SPAN;
        Self {
            blocks: factors[..tiles].to_vec(),
            tiles: (0..tiles).map(|i| Tree::new(&factors, tiles, i).by_lanes()).collect(),
        }
    }

    /// For the stages that cut block `i` of `blocks` in M parts.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn down<const M: usize, const W: usize>(
        &self,
        blocks: usize,
        i: usize,
    ) -> [Factors<W>; M] {
        splat(&[&Tree::<M>::new(&self.blocks, blocks, i); W])
    }
}

/// The first of W trees, side by side.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn splat<const N: usize, const M: usize, const W: usize>(
    trees: &[&Tree<N>; W],
) -> [Factors<W>; M] {
    let mut all = [[Factor::splat(Factor { value: 0.0, quotient: 0.0 }); W]; M];
    for (k, all) in all.iter_mut().enumerate().skip(1) {
        for (all, tree) in all.iter_mut().zip(trees) {
            *all = Factor::splat(Factor { value: tree.values[k], quotient: tree.quotients[k] });
        }
    }
    all
}

impl<const M: usize> Tree<M> {
    /// Of block `i` of `blocks`, among all factors.
    #[inline(always)]
    fn new(factors: &[Factor<f64>], blocks: usize, i: usize) -> Self {
        let mut tree = Self { values: [0.0; M], quotients: [0.0; M] };
        let mut groups = 1;
        while groups < M {
            let stage = &factors[groups * (blocks + i)..][..groups];
            for (k, factor) in stage.iter().enumerate() {
                tree.values[groups + k] = factor.value;
                tree.quotients[groups + k] = factor.quotient;
            }
            groups *= 2;
        }
        tree
    }
}

impl Tree<SPAN> {
    /// The last eight in the order of the lanes of two lines.
    fn by_lanes(self) -> Self {
        const LANES: [usize; SPAN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        let Self { values, quotients } = self;
        Self { values: LANES.map(|i| values[i]), quotients: LANES.map(|i| quotients[i]) }
    }

    /// Four factors in a row.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn four(&self, first: usize) -> Factor<V> {
        let part = |all| load_factors(all, first);
        Factor { value: part(&self.values), quotient: part(&self.quotients) }
    }
}

/// Of the stage with partners 2 apart: for lines 0 and 2 of W tiles, and for 1 and 3.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn by_two<const W: usize>(trees: &[&Tree<SPAN>; W]) -> [Factors<W>; 2] {
    let mut all = [[trees[0].four(4); W]; 2];
    for (k, tree) in trees.iter().enumerate() {
        let Factor { value, quotient } = tree.four(4);
        let ([first], [second]) = even_and_odd([value], [value]);
        (all[0][k].value, all[1][k].value) = (first, second);
        let ([first], [second]) = even_and_odd([quotient], [quotient]);
        (all[0][k].quotient, all[1][k].quotient) = (first, second);
    }
    all
}

/// The same of that with partners 1 apart.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn by_one<const W: usize>(trees: &[&Tree<SPAN>; W]) -> [Factors<W>; 2] {
    let mut all = [[trees[0].four(8); W]; 2];
    for (k, tree) in trees.iter().enumerate() {
        (all[0][k], all[1][k]) = (tree.four(8), tree.four(12));
    }
    all
}
