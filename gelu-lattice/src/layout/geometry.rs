//! A linear map as a product of polynomials.
//!
//! A *channel* takes `area` coefficients: one pixel of a dense layer, the padded image of a convolution. A channel
//! that goes in has its pixels at `input_places`, one that comes out at `output_places`, and the entries of the
//! matrix between the two stand at `kernel_places`, such that
//!
//! ```text
//! input place + kernel place = output place    for every tap, and for no other pair of the same channels
//! ```
//!
//! | map | area | input | kernel | output |
//! |---|---|---|---|---|
//! | dense | 1 | 0 | 0 | 0 |
//! | window, forward | H·W, padded | y·W + x | (K−1−u)·W + K−1−v | (s·y + K−1)·W + s·x + K−1 |
//! | window, backward | H·W, padded | s·y·W + s·x | u·W + v | y·W + x |
//!
//! With k channels in a ciphertext and n channels in an answer, channel c of k goes in at c·area, the kernel of
//! channels (o, c) stands at o·k·area + (k−1−c)·area, and channel o comes out at o·k·area + (k−1)·area: products of
//! other channels fall elsewhere (Huang et al., *Cheetah*, USENIX Security 2022, section 4). What wraps
//! around, modulo X^N + 1, falls below the first output.

use gelu_core::linear::{LinearMap, Window};
use gelu_core::plan::Direction;

/// The places of one map: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Channels that go in.
    pub(super) inputs: usize,
    /// Channels that come out.
    pub(super) outputs: usize,
    /// Coefficients of a channel.
    pub(super) area: usize,
    pub(super) input_places: Vec<u32>,
    pub(super) output_places: Vec<u32>,
    pub(super) kernel_places: Vec<u32>,
    /// From the entries of an output channel to those of the next one; the same for input channels.
    strides: (usize, usize),
}

impl Geometry {
    /// A matrix of `outputs` rows and `inputs` columns, of which entry (o, i) is number o·inputs + i, or, if it
    /// is `transposed`, i·outputs + o.
    pub(super) fn dense(inputs: usize, outputs: usize, transposed: bool) -> Self {
        Self {
            inputs,
            outputs,
            area: 1,
            input_places: vec![0],
            output_places: vec![0],
            kernel_places: vec![0],
            strides: if transposed { (1, outputs) } else { (inputs, 1) },
        }
    }

    /// A window over images.
    pub(super) fn window(window: &Window, direction: Direction) -> Self {
        let (rows, columns) = (window.rows(), window.columns());
        // Below the limits on features and kernels, a padded image has fewer than 2^32 pixels.
        let (top, left) = (rows.padding(), columns.padding());
        let (height, width) = (rows.size() + 2 * top, columns.size() + 2 * left);
        let grid = |tall: usize, wide: usize, place: &dyn Fn(usize, usize) -> usize| {
            let all = (0..tall).flat_map(|y| (0..wide).map(move |x| (y, x)));
            all.map(|(y, x)| u32::try_from(place(y, x)).expect("below 2^32")).collect::<Vec<_>>()
        };
        let image = grid(rows.size(), columns.size(), &|y, x| (y + top) * width + x + left);
        let (down, right) = (rows.length() - 1, columns.length() - 1);
        let position = |y: usize, x: usize| rows.step() * y * width + columns.step() * x;
        let positions =
            |from: usize| grid(rows.outputs(), columns.outputs(), &|y, x| position(y, x) + from);
        let kernel =
            |place: &dyn Fn(usize, usize) -> usize| grid(rows.length(), columns.length(), place);
        let (filters, channels) = (window.filters(), window.channels());
        let (one, filter) = (rows.length() * columns.length(), window.patch());
        let area = height * width;
        match direction {
            Direction::Forward => Self {
                inputs: channels,
                outputs: filters,
                area,
                input_places: image,
                output_places: positions(down * width + right),
                kernel_places: kernel(&|u, v| (down - u) * width + right - v),
                strides: (filter, one),
            },
            Direction::Backward => Self {
                inputs: filters,
                outputs: channels,
                area,
                input_places: positions(0),
                output_places: image,
                kernel_places: kernel(&|u, v| u * width + v),
                strides: (one, filter),
            },
        }
    }

    /// The numbers of the entries between two channels, in the order of the kernel's places.
    pub(super) fn entries(&self, output: usize, input: usize) -> core::ops::Range<usize> {
        let start = output * self.strides.0 + input * self.strides.1;
        start..start + self.kernel_places.len()
    }
}

/// The entries of a map without geometry as a dense matrix, row by row.
pub(super) fn matrix(linear: &LinearMap, entries: &[i128]) -> Vec<i128> {
    let taps = linear.forward_taps();
    let mut matrix = vec![0; linear.inputs() * linear.outputs()];
    for (output, row) in matrix.chunks_mut(linear.inputs()).enumerate() {
        taps.of(output).iter().for_each(|t| row[t.source as usize] += entries[t.weight as usize]);
    }
    matrix
}
