//! The factors of a transform.

use super::vector::{Factor, V, even_and_odd, load_factors};
use crate::modulus::Modulus;
use crate::ntt::SPAN;

/// The factors of one direction.
pub(super) struct Table {
    /// Number groups + i is for group i of the stage with that many groups, as far as there are blocks above tiles.
    blocks: Vec<Factor<f64>>,
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
    pub(super) fn down<const M: usize>(&self, blocks: usize, i: usize) -> [Factor<V>; M] {
        Tree::<M>::new(&self.blocks, blocks, i).splat()
    }
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

    /// The first.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn splat<const K: usize>(&self) -> [Factor<V>; K] {
        let mut all = [Factor::splat(Factor { value: 0.0, quotient: 0.0 }); K];
        for (k, all) in all.iter_mut().enumerate().skip(1) {
            *all = Factor::splat(Factor { value: self.values[k], quotient: self.quotients[k] });
        }
        all
    }
}

impl Tree<SPAN> {
    /// The last eight in the order of the lanes of two lines.
    fn by_lanes(self) -> Self {
        const LANES: [usize; SPAN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        let Self { values, quotients } = self;
        Self { values: LANES.map(|i| values[i]), quotients: LANES.map(|i| quotients[i]) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn four(&self, groups: usize) -> Factor<V> {
        Factor { value: load_factors(&self.values, groups), quotient: load_factors(&self.quotients, groups) }
    }

    /// Of the stage with partners 2 apart, for lines 0 and 2 of a tile, and 1 and 3.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn by_two(&self) -> [Factor<V>; 2] {
        let all = self.four(4);
        let (value, quotient) = (even_and_odd(all.value, all.value), even_and_odd(all.quotient, all.quotient));
        [Factor { value: value.0, quotient: quotient.0 }, Factor { value: value.1, quotient: quotient.1 }]
    }

    /// The same of that with partners 1 apart.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn by_one(&self) -> [Factor<V>; 2] {
        [self.four(8), self.four(12)]
    }
}
