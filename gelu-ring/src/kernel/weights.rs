//! The scalars of a matrix modulo one prime, in the order in which a product reads them.
//!
//! Blocks of columns stand one after the other, and in each the outputs by tiles, whose sums a vector kernel keeps in
//! registers together. For each input, the scalars of a tile's outputs are neighbours.

use std::ops::Range;

/// Outputs of a tile; the last may have fewer.
pub(crate) const TILE: usize = 6;

/// How many scalars there are.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// N/step: the evaluations of a polynomial in X^step that differ.
    pub(crate) blocks: usize,
}

/// The scalars.
pub(crate) struct Weights {
    pub(super) shape: Shape,
    /// [`Shape::width`] words for each block.
    pub(super) words: Vec<u64>,
    /// What words have too much: a scalar is the word less this, modulo q.
    pub(super) offset: u64,
}

impl Shape {
    /// Words of a block, which are a multiple of a vector.
    pub(crate) fn width(self) -> usize {
        (self.outputs * self.inputs).next_multiple_of(8)
    }

    /// Output and input of the first words of each block; the others are for nothing.
    pub(crate) fn places(self) -> impl Iterator<Item = (usize, usize)> {
        let tile = move |tile: Range<usize>| {
            (0..self.inputs).flat_map(move |i| tile.clone().map(move |o| (o, i)))
        };
        self.tiles().flat_map(tile)
    }

    /// Panics when there are more or fewer words.
    pub(super) fn check(self, words: &[i64]) {
        assert_eq!(words.len(), self.blocks * self.width(), "the words of a matrix");
    }

    /// Panics when there are more or fewer rows.
    pub(super) fn check_product(self, outs: &[&mut [u64]], inputs: &[&[u64]]) {
        assert_eq!((outs.len(), inputs.len()), (self.outputs, self.inputs), "rows for a matrix");
    }

    /// The outputs of each tile.
    pub(super) fn tiles(self) -> impl ExactSizeIterator<Item = Range<usize>> {
        (0..self.outputs).step_by(TILE).map(move |o| o..self.outputs.min(o + TILE))
    }
}

impl Weights {
    /// Those of a tile in a block: for each input, one of each output.
    pub(super) fn tile(&self, block: usize, tile: &Range<usize>) -> &[u64] {
        let inputs = self.shape.inputs;
        &self.words[block * self.shape.width()..][tile.start * inputs..tile.end * inputs]
    }
}
