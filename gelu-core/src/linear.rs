//! One linear layer of any kind: a matrix whose entries are shared weights.
//!
//! ```text
//! Z[o] = Σ_{(i,e) ∈ taps(o)} E[e] · X[i]  +  c · B[bias(o)]        z = Z / (divisor · scale)
//! E    = fold(W)
//! ```
//!
//! | map | taps of an output | its bias | E |
//! | --- | --- | --- | --- |
//! | [`Dense`] | every input | its own | W |
//! | [`Window`]: convolution, also fused with mean pooling | a patch of the image | its filter's | sums of W |
//! | [`Listed`] | whatever is listed | as listed | W |
//!
//! A map is its geometry: counts, gains and components are arithmetic on it, and *taps* (for every output
//! which input meets which entry) are derived where somebody wants a list.
//!
//! `fold` is the identity except for groups of channels, which have zeros between them, and for fused pooling, where
//! several weights of the small kernel add up to one entry of the large one: a 5x5 convolution followed by a 2x2 mean is one 6x6 kernel of
//! stride 2, divided by 4 when decoded. `c` is the integer that stands for
//! `divisor` in the inputs' scale, so a bias is a weight of a constant input; that keeps one format
//! for all parameters and the masks of biases exactly like those of weights.
//!
//! From this one definition follow the transposed product, the gradient, the masks (all by
//! linearity), the homomorphic evaluation and the count of equations for the ledger.

pub mod axis;
mod components;
mod dense;
mod integers;
mod run;
mod scalar;
mod size;
mod taps;
#[cfg(test)]
mod tests;
pub mod window;

use ndarray::{Array2, ArrayView2};

use crate::error::Result;
pub use axis::Axis;
pub use components::Component;
pub use dense::Dense;
use run::{Order, Run};
pub use scalar::Scalar;
use scalar::{add_scaled, dot};
pub use size::{
    MAX_FEATURES, MAX_GATHERED, MAX_MULTIPLY_ACCUMULATES, MAX_PARAMETERS, SizeError,
    check_multiply_accumulates, check_parameters, check_size,
};
pub use taps::{Listed, Tap, Taps};
pub use window::Window;

/// A linear layer: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinearMap {
    /// Every output from every input.
    Dense(Dense),
    /// The same filters at every position of an image.
    Window(Window),
    /// Any other matrix.
    Taps(Listed),
}

impl From<Dense> for LinearMap {
    fn from(dense: Dense) -> Self {
        Self::Dense(dense)
    }
}

impl From<Window> for LinearMap {
    fn from(window: Window) -> Self {
        Self::Window(window)
    }
}

impl LinearMap {
    /// A layer over `inputs` inputs and `weights` weights, with one row of taps and one bias index
    /// for each output.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`](crate::error::ApiMisuse::Configuration) when an index is out of
    /// range, an output has no tap, a bias or weight is never used, or there are too many taps.
    pub fn new(
        inputs: usize,
        weights: usize,
        rows: &[Vec<Tap>],
        bias_of: Vec<u32>,
    ) -> Result<Self> {
        Ok(Self::Taps(Listed::new(inputs, weights, rows, bias_of)?))
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.inputs(),
            Self::Window(window) => window.inputs(),
            Self::Taps(listed) => listed.inputs(),
        }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.outputs(),
            Self::Window(window) => window.filters() * window.positions(),
            Self::Taps(listed) => listed.taps().outputs(),
        }
    }

    /// Number of trainable weights.
    pub fn weights(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.inputs() * dense.outputs(),
            Self::Window(window) => window.weights(),
            Self::Taps(listed) => listed.weights(),
        }
    }

    /// Number of trainable biases.
    pub fn biases(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.outputs(),
            Self::Window(window) => window.filters(),
            Self::Taps(listed) => listed.biases(),
        }
    }

    /// The bias index of an output.
    pub fn bias_of(&self, output: usize) -> usize {
        match self {
            Self::Dense(_) => output,
            Self::Window(window) => output / window.positions(),
            Self::Taps(listed) => listed.bias_of()[output] as usize,
        }
    }

    /// What an output is divided by when it is decoded (the area of a fused mean pooling).
    pub fn divisor(&self) -> u32 {
        match self {
            Self::Window(window) => u32::try_from(window.pool()).expect("no more than its outputs"),
            Self::Dense(_) | Self::Taps(_) => 1,
        }
    }

    /// Number of distinct entries of the matrix: the weights, or their sums where they are folded.
    pub fn entry_count(&self) -> usize {
        match self {
            Self::Window(window) => window.filters() * window.patch(),
            Self::Dense(_) | Self::Taps(_) => self.weights(),
        }
    }

    /// Multiply-accumulates of one sample, forwards or backwards: the number of taps.
    pub fn multiply_accumulates(&self) -> u64 {
        match self {
            Self::Dense(_) => self.weights() as u64,
            Self::Window(window) => window.multiply_accumulates(),
            Self::Taps(listed) => listed.taps().len() as u64,
        }
    }

    /// The most weights that add up to one matrix entry: |E| ≤ `entry_gain` · max|W|.
    pub fn entry_gain(&self) -> usize {
        match self {
            Self::Window(window) => {
                let most = |axis: Axis| (0..axis.length()).map(|u| axis.parts(u).len()).max();
                most(window.rows()).unwrap_or(1) * most(window.columns()).unwrap_or(1)
            }
            Self::Dense(_) | Self::Taps(_) => 1,
        }
    }

    /// The most weights that reach one output: |Z| ≤ `forward_gain` · max|W| · max|X|, bias aside.
    pub fn forward_gain(&self) -> usize {
        self.gains().0
    }

    /// The most weights that reach one input: |Q| ≤ `backward_gain` · max|W| · max|D|.
    pub fn backward_gain(&self) -> usize {
        self.gains().1
    }

    fn gains(&self) -> (usize, usize) {
        match self {
            Self::Dense(dense) => (dense.inputs(), dense.outputs()),
            Self::Window(window) => {
                let ((z, q), (across_z, across_q)) =
                    (window.rows().gains(), window.columns().gains());
                let (channels, filters) =
                    (window.channels_per_filter(), window.filters_per_channel());
                (channels * z * across_z, filters * q * across_q)
            }
            Self::Taps(listed) => listed.gains(),
        }
    }

    /// Outputs that share weights.
    pub fn output_components(&self) -> Vec<Component> {
        match self {
            Self::Dense(dense) => {
                let (unknowns, count) = (dense.inputs() as u64 + 1, dense.outputs() as u64);
                vec![Component { unknowns, members: 1, count }]
            }
            Self::Window(window) => window.output_components(),
            Self::Taps(listed) => listed.output_components(),
        }
    }

    /// Inputs that share weights; those that a stride steps over are left out.
    pub fn input_components(&self) -> Vec<Component> {
        match self {
            Self::Dense(dense) => {
                let (unknowns, count) = (dense.outputs() as u64, dense.inputs() as u64);
                vec![Component { unknowns, members: 1, count }]
            }
            Self::Window(window) => window.input_components(),
            Self::Taps(listed) => listed.input_components(),
        }
    }

    /// The taps of Z = E·X, listed: 8 bytes for each multiply-accumulate.
    pub fn forward_taps(&self) -> Taps {
        Taps::collect(self.outputs(), |visit| {
            self.each_run(Order::ByEntry, |run| {
                for j in 0..run.len {
                    visit(run.output + j, tap(run.source + j, run.entry));
                }
            });
        })
    }

    /// The taps of Q = E'·D, listed: for each input its (output, entry) pairs, none for an input that a
    /// stride steps over.
    pub fn backward_taps(&self) -> Taps {
        Taps::collect(self.inputs(), |visit| {
            self.each_run(Order::ByOutput, |run| {
                for j in 0..run.len {
                    visit(run.source + j, tap(run.output + j, run.entry));
                }
            });
        })
    }

    /// E = fold(W): the entries of the matrix.
    pub fn entries<T: Scalar>(&self, weights: &[T]) -> Vec<T> {
        match self {
            Self::Window(window) if window.folds() => {
                let mut entries = vec![T::zero(); self.entry_count()];
                window.each_part(|entry, weight| entries[entry] += weights[weight]);
                entries
            }
            _ => weights.to_vec(),
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
        assert_eq!((weights.len(), biases.len()), (self.weights(), self.biases()));
        let mut result = self.apply(&self.entries(weights), x);
        for (output, mut row) in result.outer_iter_mut().enumerate() {
            let shift = constant * biases[self.bias_of(output)];
            row.iter_mut().for_each(|z| *z += shift);
        }
        result
    }

    /// E·X, for the [entries](Self::entries) of the matrix.
    pub(crate) fn apply<T: Scalar>(&self, entries: &[T], x: ArrayView2<'_, T>) -> Array2<T> {
        assert_eq!(x.nrows(), self.inputs());
        let batch = x.ncols();
        let x = x.as_standard_layout();
        let x = x.as_slice().expect("standard layout");
        let mut result = Array2::zeros((self.outputs(), batch));
        let z = result.as_slice_mut().expect("standard layout");
        self.each_run(Order::ByEntry, |Run { output, source, entry, len }| {
            let sums = &mut z[output * batch..][..len * batch];
            add_scaled(sums, entries[entry], &x[source * batch..][..len * batch]);
        });
        result
    }

    /// Q = E'·D; `d` is `[outputs, batch]`, the result `[inputs, batch]`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn backward<T: Scalar>(&self, weights: &[T], d: ArrayView2<'_, T>) -> Array2<T> {
        assert_eq!((weights.len(), d.nrows()), (self.weights(), self.outputs()));
        let (entries, batch) = (self.entries(weights), d.ncols());
        let d = d.as_standard_layout();
        let d = d.as_slice().expect("standard layout");
        let mut result = Array2::zeros((self.inputs(), batch));
        let q = result.as_slice_mut().expect("standard layout");
        self.each_run(Order::ByOutput, |Run { output, source, entry, len }| {
            let sums = &mut q[source * batch..][..len * batch];
            add_scaled(sums, entries[entry], &d[output * batch..][..len * batch]);
        });
        result
    }

    /// The gradient, summed over the batch: dE = D·X' where E stands in the matrix, dW\[k\] = Σ dE\[e\]
    /// over the entries that k is a part of, and dB\[b\] = constant · Σ D\[o\] over the outputs with
    /// that bias.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn gradient<T: Scalar>(
        &self,
        x: ArrayView2<'_, T>,
        d: ArrayView2<'_, T>,
        constant: T,
    ) -> (Vec<T>, Vec<T>) {
        assert_eq!((x.nrows(), d.nrows()), (self.inputs(), self.outputs()));
        assert_eq!(x.ncols(), d.ncols());
        let batch = x.ncols();
        let mut d_biases = vec![T::zero(); self.biases()];
        for (output, errors) in d.outer_iter().enumerate() {
            let sum = errors.iter().fold(T::zero(), |sum, &e| sum + e);
            d_biases[self.bias_of(output)] += constant * sum;
        }
        let (x, d) = (x.as_standard_layout(), d.as_standard_layout());
        let x = x.as_slice().expect("standard layout");
        let d = d.as_slice().expect("standard layout");
        let mut d_entries = vec![T::zero(); self.entry_count()];
        self.each_run(Order::ByEntry, |Run { output, source, entry, len }| {
            for j in 0..len {
                let inputs = &x[(source + j) * batch..][..batch];
                d_entries[entry] += dot(inputs, &d[(output + j) * batch..][..batch]);
            }
        });
        match self {
            Self::Window(window) if window.folds() => {
                let mut d_weights = vec![T::zero(); self.weights()];
                window.each_part(|entry, weight| d_weights[weight] += d_entries[entry]);
                (d_weights, d_biases)
            }
            _ => (d_entries, d_biases),
        }
    }

    /// Every place of the matrix, once.
    fn each_run(&self, order: Order, visit: impl FnMut(Run)) {
        match self {
            Self::Dense(dense) => dense.each_run(visit),
            Self::Window(window) => window.each_run(order, visit),
            Self::Taps(listed) => listed.each_run(visit),
        }
    }
}

fn tap(source: usize, weight: usize) -> Tap {
    let index = |n| u32::try_from(n).expect("below the limits, checked at construction");
    Tap { source: index(source), weight: index(weight) }
}
