//! One linear layer of any kind: a matrix whose entries are shared weights.
//!
//! A dense layer, a convolution with stride and padding and a convolution fused with mean pooling
//! are the same thing here: for every output a list of *taps* (which input, which weight).
//!
//! ```text
//! Z[o] = Σ_{(i,e) ∈ taps(o)} E[e] · X[i]  +  c · B[bias(o)]        z = Z / (divisor · scale)
//! E    = fold(W)
//! ```
//!
//! `fold` is the identity except for fused pooling, where several weights of the small kernel add
//! up to one entry of the large one: a 5x5 convolution followed by a 2x2 mean is one 6x6 kernel of
//! stride 2, divided by 4 when decoded. `c` is the integer that stands for
//! `divisor` in the inputs' scale, so a bias is a weight of a constant input; that keeps one format
//! for all parameters and the masks of biases exactly like those of weights.
//!
//! Where the same weights are applied at many [`Positions`], as in a convolution, a layer may say so.
//!
//! From this one definition follow the transposed product, the gradient, the masks (all by
//! linearity), the homomorphic evaluation and the count of equations for the ledger.

mod positions;
mod taps;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use num_traits::Zero;

use crate::error::{ApiMisuse, Result};
pub use positions::Positions;
pub use taps::{Tap, Taps};

/// The arithmetic that a linear map needs of its numbers.
pub trait Scalar: Copy + Zero + core::ops::Mul<Output = Self> + core::ops::AddAssign {}
impl<T: Copy + Zero + core::ops::Mul<Output = T> + core::ops::AddAssign> Scalar for T {}

/// A linear layer: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearMap {
    inputs: usize,
    weights: usize,
    biases: usize,
    forward: Taps,
    backward: Taps,
    bias_of: Vec<u32>,
    fold: Option<Vec<Vec<u32>>>,
    divisor: u32,
    positions: Option<Positions>,
}

impl LinearMap {
    /// A layer over `inputs` inputs and `weights` weights, with one row of taps and one bias index
    /// for each output.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when an index is out of range, an output has no tap, or a
    /// bias or weight is never used.
    pub fn new(
        inputs: usize,
        weights: usize,
        rows: &[Vec<Tap>],
        bias_of: Vec<u32>,
    ) -> Result<Self> {
        Self::build(inputs, weights, rows, bias_of, None, 1)
    }

    /// A layer whose matrix entries are sums of weights: entry e is Σ W\[k\] over k in `fold[e]`,
    /// and whose outputs are divided by `divisor` when they are decoded.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn folded(
        inputs: usize,
        weights: usize,
        rows: &[Vec<Tap>],
        bias_of: Vec<u32>,
        fold: Vec<Vec<u32>>,
        divisor: u32,
    ) -> Result<Self> {
        Self::build(inputs, weights, rows, bias_of, Some(fold), divisor)
    }

    fn build(
        inputs: usize,
        weights: usize,
        rows: &[Vec<Tap>],
        bias_of: Vec<u32>,
        fold: Option<Vec<Vec<u32>>>,
        divisor: u32,
    ) -> Result<Self> {
        let wrong = |why: &str| Err(ApiMisuse::configuration("linear map", why).into());
        let entries = fold.as_ref().map_or(weights, Vec::len);
        if rows.is_empty() || rows.len() != bias_of.len() || divisor == 0 {
            return wrong("needs outputs, one bias index for each, and a divisor above 0");
        }
        if rows.iter().map(Vec::len).sum::<usize>() > u32::MAX as usize {
            return wrong("has more than 2^32 taps");
        }
        if rows.iter().any(Vec::is_empty) {
            return wrong("has an output without a tap");
        }
        let in_range =
            |tap: &Tap| (tap.source as usize) < inputs && (tap.weight as usize) < entries;
        if !rows.iter().flatten().all(in_range) {
            return wrong("has a tap outside its inputs or weights");
        }
        let mut used = vec![false; weights];
        let mut folded_weights: Box<dyn Iterator<Item = u32>> = match &fold {
            Some(fold) => Box::new(fold.iter().flatten().copied()),
            None => Box::new(rows.iter().flatten().map(|tap| tap.weight)),
        };
        if folded_weights.any(|k| used.get_mut(k as usize).map(|u| *u = true).is_none()) {
            return wrong("folds a weight that does not exist");
        }
        drop(folded_weights);
        let biases = bias_of.iter().max().map_or(0, |&b| b as usize + 1);
        if biases > rows.len() {
            return wrong("has more biases than outputs");
        }
        let mut biases_used = vec![false; biases];
        bias_of.iter().for_each(|&b| biases_used[b as usize] = true);
        if used.contains(&false) || biases_used.contains(&false) {
            return wrong("has a weight or bias that nothing uses");
        }
        let forward = Taps::from_rows(rows);
        let backward = forward.transposed(inputs);
        let positions = None;
        Ok(Self { inputs, weights, biases, forward, backward, bias_of, fold, divisor, positions })
    }

    /// Declares that the outputs are filters at `count` [`Positions`], which lets the planner gather
    /// the inputs of each position into a column.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] when the taps or biases do not have this structure.
    pub fn with_positions(self, count: usize) -> Result<Self> {
        let positions = Positions::new(&self.forward, self.entry_count(), &self.bias_of, count)?;
        Ok(Self { positions: Some(positions), ..self })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.forward.outputs()
    }

    /// Number of trainable weights.
    pub fn weights(&self) -> usize {
        self.weights
    }

    /// Number of trainable biases.
    pub fn biases(&self) -> usize {
        self.biases
    }

    /// What an output is divided by when it is decoded (the area of a fused mean pooling).
    pub fn divisor(&self) -> u32 {
        self.divisor
    }

    /// The taps of Z = W·X.
    pub fn forward_taps(&self) -> &Taps {
        &self.forward
    }

    /// The taps of Q = W'·D.
    pub fn backward_taps(&self) -> &Taps {
        &self.backward
    }

    /// The bias index of each output.
    pub fn bias_of(&self) -> &[u32] {
        &self.bias_of
    }

    /// The positions of the filters, if they were [declared](Self::with_positions).
    pub fn positions(&self) -> Option<&Positions> {
        self.positions.as_ref()
    }

    /// Number of distinct entries of the matrix: the weights, or their sums where they are folded.
    pub fn entry_count(&self) -> usize {
        self.fold.as_ref().map_or(self.weights, Vec::len)
    }

    /// The weights that add up to one matrix entry.
    pub fn weights_of_entry(&self, entry: u32) -> Vec<u32> {
        self.fold.as_ref().map_or_else(|| vec![entry], |fold| fold[entry as usize].clone())
    }

    /// The most weights that add up to one matrix entry: |E| ≤ `entry_gain` · max|W|.
    pub fn entry_gain(&self) -> usize {
        let parts = self.fold.as_ref().and_then(|fold| fold.iter().map(Vec::len).max());
        parts.unwrap_or(1)
    }

    /// The most weights that reach one output: |Z| ≤ `forward_gain` · max|W| · max|X|, bias aside.
    pub fn forward_gain(&self) -> usize {
        self.gain(&self.forward)
    }

    /// The most weights that reach one input: |Q| ≤ `backward_gain` · max|W| · max|D|.
    pub fn backward_gain(&self) -> usize {
        self.gain(&self.backward)
    }

    fn gain(&self, taps: &Taps) -> usize {
        let weights_in =
            |tap: &Tap| self.fold.as_ref().map_or(1, |fold| fold[tap.weight as usize].len());
        let row = |o| taps.of(o).iter().map(weights_in).sum();
        (0..taps.outputs()).map(row).max().unwrap_or(0)
    }

    /// E = fold(W): the entries of the matrix.
    pub fn entries<T: Scalar>(&self, weights: &[T]) -> Vec<T> {
        match &self.fold {
            None => weights.to_vec(),
            Some(fold) => fold
                .iter()
                .map(|parts| parts.iter().fold(T::zero(), |sum, &k| sum + weights[k as usize]))
                .collect(),
        }
    }

    /// Z = E·X + constant·B; `x` is `[inputs, batch]`, the result `[outputs, batch]`.
    ///
    /// `constant` stands for `divisor` in the scale of the inputs.
    ///
    /// # Panics
    /// When a slice or array has another length than this layer (like `ndarray`).
    pub fn forward<T: Scalar>(
        &self,
        weights: &[T],
        biases: &[T],
        x: ArrayView2<'_, T>,
        constant: T,
    ) -> Array2<T> {
        assert_eq!((weights.len(), biases.len()), (self.weights, self.biases));
        let mut z = apply(&self.forward, &self.entries(weights), x, self.inputs);
        for (mut row, &bias) in z.outer_iter_mut().zip(&self.bias_of) {
            let shift = constant * biases[bias as usize];
            row.iter_mut().for_each(|z| *z += shift);
        }
        z
    }

    /// Q = E'·D; `d` is `[outputs, batch]`, the result `[inputs, batch]`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn backward<T: Scalar>(&self, weights: &[T], d: ArrayView2<'_, T>) -> Array2<T> {
        assert_eq!(weights.len(), self.weights);
        apply(&self.backward, &self.entries(weights), d, self.outputs())
    }

    /// The gradient, summed over the batch: dW\[k\] = Σ X\[i\]·D\[o\] over the taps that use k, and
    /// dB\[b\] = constant · Σ D\[o\] over the outputs with that bias.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn gradient<T: Scalar>(
        &self,
        x: ArrayView2<'_, T>,
        d: ArrayView2<'_, T>,
        constant: T,
    ) -> (Vec<T>, Vec<T>) {
        assert_eq!((x.nrows(), d.nrows()), (self.inputs, self.outputs()));
        let (x, d) = (x.as_standard_layout(), d.as_standard_layout());
        let mut d_entries = vec![T::zero(); self.entry_count()];
        let mut d_biases = vec![T::zero(); self.biases];
        for (output, (errors, &bias)) in d.outer_iter().zip(&self.bias_of).enumerate() {
            let errors = errors.to_slice().expect("standard layout");
            for tap in self.forward.of(output) {
                let inputs = x.index_axis(Axis(0), tap.source as usize);
                let inputs = inputs.to_slice().expect("standard layout");
                d_entries[tap.weight as usize] += dot(inputs, errors);
            }
            let sum = errors.iter().fold(T::zero(), |sum, &e| sum + e);
            d_biases[bias as usize] += constant * sum;
        }
        let Some(fold) = &self.fold else { return (d_entries, d_biases) };
        let mut d_weights = vec![T::zero(); self.weights];
        for (parts, &entry) in fold.iter().zip(&d_entries) {
            parts.iter().for_each(|&k| d_weights[k as usize] += entry);
        }
        (d_weights, d_biases)
    }
}

/// One matrix product over a batch, row by row of the result.
fn apply<T: Scalar>(taps: &Taps, entries: &[T], x: ArrayView2<'_, T>, inputs: usize) -> Array2<T> {
    assert_eq!(x.nrows(), inputs);
    let x = x.as_standard_layout();
    let mut z = Array2::zeros((taps.outputs(), x.ncols()));
    accumulate(taps, entries, x.view(), z.view_mut());
    z
}

fn accumulate<T: Scalar>(
    taps: &Taps,
    entries: &[T],
    x: ArrayView2<'_, T>,
    mut z: ArrayViewMut2<'_, T>,
) {
    for (output, mut row) in z.outer_iter_mut().enumerate() {
        let row = row.as_slice_mut().expect("standard layout");
        for tap in taps.of(output) {
            let weight = entries[tap.weight as usize];
            let inputs = x.index_axis(Axis(0), tap.source as usize);
            let inputs = inputs.to_slice().expect("standard layout");
            for (z, &x) in row.iter_mut().zip(inputs) {
                *z += weight * x;
            }
        }
    }
}

/// Σ aᵢ·bᵢ with eight partial sums, so that the compiler may use vectors; the order is fixed.
fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 8;
    let mut sums = [T::zero(); LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let mut total = rest.fold(T::zero(), |sum, (&a, &b)| sum + a * b);
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for sum in sums {
        total += sum;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    fn tap(source: u32, weight: u32) -> Tap {
        Tap { source, weight }
    }

    /// Two outputs over three inputs: z0 = w0 x0 + w1 x1 + b0, z1 = w0 x1 + w1 x2 + b0.
    fn convolution() -> LinearMap {
        let rows = [vec![tap(0, 0), tap(1, 1)], vec![tap(1, 0), tap(2, 1)]];
        LinearMap::new(3, 2, &rows, vec![0, 0]).unwrap()
    }

    /// The mean of both outputs of `convolution`, fused: entries w0, w0 + w1, w1.
    fn fused() -> LinearMap {
        let rows = [vec![tap(0, 0), tap(1, 1), tap(2, 2)]];
        LinearMap::folded(3, 2, &rows, vec![0], vec![vec![0], vec![0, 1], vec![1]], 2).unwrap()
    }

    #[test]
    fn forward_by_hand() {
        let z = convolution().forward(&[2, 3], &[5], array![[1], [10], [100]].view(), 1);
        assert_eq!(z, array![[2 + 30 + 5], [20 + 300 + 5]]);
    }

    #[test]
    fn fusion_is_the_sum_of_the_pooled_outputs() {
        let x = array![[1], [10], [100]];
        let z = fused().forward(&[2, 3], &[5], x.view(), 2);
        let apart = convolution().forward(&[2, 3], &[5], x.view(), 1);
        assert_eq!(z[[0, 0]], apart.sum());
    }

    #[test]
    fn malformed_layers_are_refused() {
        let row = vec![vec![tap(0, 0)]];
        assert!(LinearMap::new(1, 1, &row, vec![0]).is_ok());
        assert!(LinearMap::new(1, 1, &[vec![tap(1, 0)]], vec![0]).is_err(), "no such input");
        assert!(LinearMap::new(1, 1, &[vec![tap(0, 1)]], vec![0]).is_err(), "no such weight");
        assert!(LinearMap::new(1, 2, &row, vec![0]).is_err(), "unused weight");
        assert!(LinearMap::new(1, 1, &row, vec![1]).is_err(), "unused bias");
        assert!(LinearMap::new(1, 1, &row, vec![u32::MAX]).is_err(), "a bias of a billion");
        assert!(LinearMap::new(1, 1, &[vec![]], vec![0]).is_err(), "an output without taps");
        assert!(LinearMap::folded(1, 1, &row, vec![0], vec![vec![1]], 1).is_err(), "bad fold");
    }

    proptest! {
        /// ⟨D, W·X⟩ = ⟨W'·D, X⟩, and both are what the gradient says of W: Σ W·dW.
        #[test]
        fn transpose_and_gradient_are_adjoint(
            w in prop::array::uniform2(-99i128..99),
            x in prop::array::uniform6(-99i128..99),
            d in prop::array::uniform4(-99i128..99),
        ) {
            for layer in [convolution(), fused()] {
                let x = Array2::from_shape_fn((3, 2), |(i, s)| x[2 * i + s]);
                let d = Array2::from_shape_fn((layer.outputs(), 2), |(o, s)| d[2 * o + s]);
                let z = layer.forward(&w, &[0], x.view(), 1);
                let q = layer.backward(&w, d.view());
                let (dw, _) = layer.gradient(x.view(), d.view(), 1);
                let by_gradient: i128 = dw.iter().zip(&w).map(|(g, w)| g * w).sum();
                prop_assert_eq!((&d * &z).sum(), (&q * &x).sum());
                prop_assert_eq!((&d * &z).sum(), by_gradient);
            }
        }
    }
}
