//! The scalars of a matrix modulo one prime, in the order in which a product reads them.
//!
//! Blocks of columns stand one after the other, and in each the outputs by tiles, whose sums a vector kernel keeps in
//! registers together. For each input, the scalars of a tile's outputs are neighbours.
//!
//! They are made from coefficients that stand by eights: of eight polynomials, which are neighbours in that order, one
//! coefficient after the other.

use std::ops::Range;

/// Outputs of a tile; the last may have fewer.
pub(super) const TILE: usize = 6;

/// Polynomials whose coefficients stand side by side.
pub(super) const GROUP: usize = 8;

/// How many scalars there are.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// N/step: the evaluations of a polynomial in X^step that differ, and its coefficients.
    pub(crate) blocks: usize,
}

/// The scalars.
pub(crate) struct Weights {
    pub(super) shape: Shape,
    /// [`Shape::width`] words for each block.
    pub(super) words: Vec<u64>,
    /// 2^k where all are constants below 2^k in absolute value, by the k of the kernel, which knows a faster way for
    /// them; 0 for others. It is the kernel's own affair, too, how a word stands for a scalar.
    pub(super) small: u64,
}

impl Shape {
    /// The coefficients of all polynomials, of which `fill(output, input, coefficients)` writes those of one over 0.
    pub(crate) fn coefficients(self, mut fill: impl FnMut(usize, usize, &mut [i64])) -> Vec<i64> {
        let mut all = vec![0; self.blocks * self.width()];
        let mut one = vec![0; self.blocks];
        for (place, (output, input)) in self.places().enumerate() {
            one.fill(0);
            fill(output, input, &mut one);
            let group = &mut all[place / GROUP * GROUP * self.blocks..];
            let places = group[place % GROUP..].iter_mut().step_by(GROUP);
            places.zip(&one).for_each(|(coefficient, &c)| *coefficient = c);
        }
        all
    }

    /// Words of a block: one for each output and input, and what is missing to a group.
    pub(super) fn width(self) -> usize {
        (self.outputs * self.inputs).next_multiple_of(GROUP)
    }

    /// The outputs of each tile.
    pub(super) fn tiles(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.outputs).step_by(TILE).map(move |o| o..self.outputs.min(o + TILE))
    }

    /// Output and input of each word of a block.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        let tile = move |tile: Range<usize>| {
            (0..self.inputs).flat_map(move |i| tile.clone().map(move |o| (o, i)))
        };
        self.tiles().flat_map(tile)
    }

    /// Panics when there are more or fewer rows.
    pub(super) fn check(self, outs: &[&mut [u64]], inputs: &[&[u64]]) {
        assert_eq!((outs.len(), inputs.len()), (self.outputs, self.inputs), "rows for a matrix");
    }
}

impl Weights {
    /// Those of a tile in a block: for each input, one of each output.
    pub(super) fn tile(&self, block: usize, tile: &Range<usize>) -> &[u64] {
        let inputs = self.shape.inputs;
        &self.words[block * self.shape.width()..][tile.start * inputs..tile.end * inputs]
    }
}
