//! A window that moves over an image: a convolution, also one fused with mean pooling.
//!
//! ```text
//! Z[f, y, x] = Σ_{c,u,v} E[f, c, u, v] · X[c, s·y + u − p, s·x + v − p]
//! E[f, c, u, v] = Σ W[f, c, u', v']     over the parts u' of u and v' of v on their axes
//! ```
//!
//! The same filters apply at every *position* (y, x). With the inputs gathered into columns (im2col)
//! the layer is one dense product of a small matrix, filters × T, by T × positions, T = channels·K·K:
//!
//! ```text
//! Z[f, s] = Σₜ E[f, t] · C[t, s]       C[t, s] = X[source(t, s)], 0 where t meets the padding
//! ```
//! The client, who has the inputs in the clear, gathers for nothing, and the server multiplies all
//! positions in the slots of one ciphertext at once. A dense layer is the case of one position.

use ndarray::{Array2, ArrayView2};

use super::axis::Axis;
use super::dense::Dense;
use super::run::{Order, Run};
use super::scalar::Scalar;
use super::size::{
    MAX_GATHERED, MAX_PARAMETERS, SizeError, at_most, check_multiply_accumulates, check_parameters,
    check_size, product,
};

/// A window: see the [module](self).
///
/// Weight, entry and output are numbered row-major: W\[f, c, u', v'\], E\[f, c, u, v\], Z\[f, y, x\], where W has of
/// a filter only the channels that it sees; each filter has one bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    channels: usize,
    filters: usize,
    groups: usize,
    rows: Axis,
    columns: Axis,
}

impl Window {
    /// `filters` filters over an image of `channels` channels.
    ///
    /// # Errors
    /// [`SizeError`] for a size of zero or beyond the limits.
    pub fn new(
        channels: usize,
        filters: usize,
        rows: Axis,
        columns: Axis,
    ) -> Result<Self, SizeError> {
        Self::grouped(channels, filters, 1, rows, columns)
    }

    /// The same in `groups` groups: see the [module](self#groups).
    ///
    /// # Errors
    /// As [`new`](Self::new); for a number of groups that does not divide channels and filters.
    pub fn grouped(
        channels: usize,
        filters: usize,
        groups: usize,
        rows: Axis,
        columns: Axis,
    ) -> Result<Self, SizeError> {
        check_size("the number of channels", channels)?;
        check_size("the number of filters", filters)?;
        if groups == 0 || !channels.is_multiple_of(groups) || !filters.is_multiple_of(groups) {
            let why = format!("a divisor of {channels} channels and of {filters} filters");
            return Err(SizeError::domain("the number of groups", groups, why));
        }
        let features = |sizes| usize::try_from(product(sizes)).unwrap_or(usize::MAX);
        let inputs = features([channels, rows.size(), columns.size()]);
        check_size("the number of features", inputs)?;
        let outputs = features([filters, rows.outputs(), columns.outputs()]);
        check_size("the number of features", outputs)?;
        let window = Self { channels, filters, groups, rows, columns };
        check_multiply_accumulates(window.multiply_accumulates())?;
        let weights = product([filters, channels / groups, rows.kernel(), columns.kernel()]);
        check_parameters(weights.saturating_add(filters as u64))?;
        let entries = product([filters, channels, rows.length(), columns.length()]);
        at_most("matrix entries", entries, MAX_PARAMETERS)?;
        let gathered = product([window.patch(), window.positions()]);
        at_most("values of all positions", gathered, MAX_GATHERED)?;
        Ok(window)
    }

    /// Channels of the image.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels of what comes out.
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// Channels that a filter sees.
    pub fn channels_per_filter(&self) -> usize {
        self.channels / self.groups
    }

    /// Filters that see a channel.
    pub fn filters_per_channel(&self) -> usize {
        self.filters / self.groups
    }

    /// The channels that filter `f` sees.
    fn channels_of(&self, f: usize) -> core::ops::Range<usize> {
        let start = f / self.filters_per_channel() * self.channels_per_filter();
        start..start + self.channels_per_filter()
    }

    /// The vertical axis.
    pub fn rows(&self) -> Axis {
        self.rows
    }

    /// The horizontal axis.
    pub fn columns(&self) -> Axis {
        self.columns
    }

    /// Pixels of all channels.
    pub fn inputs(&self) -> usize {
        self.channels * self.rows.size() * self.columns.size()
    }

    /// Places at which each filter applies.
    pub fn positions(&self) -> usize {
        self.rows.outputs() * self.columns.outputs()
    }

    /// T: entries of one filter, and rows of the gathered columns.
    pub fn patch(&self) -> usize {
        self.channels * self.rows.length() * self.columns.length()
    }

    /// Trainable weights of all filters.
    pub fn weights(&self) -> usize {
        self.filters * self.channels_per_filter() * self.rows.kernel() * self.columns.kernel()
    }

    /// One for each tap: `filters · channels / groups · taps(rows) · taps(columns)`.
    pub fn multiply_accumulates(&self) -> u64 {
        product([self.filters, self.channels_per_filter()])
            .saturating_mul(self.rows.taps())
            .saturating_mul(self.columns.taps())
    }

    /// Whether entries are not the weights themselves: sums of them, or zeros between them.
    pub(super) fn folds(&self) -> bool {
        self.pool() > 1 || self.groups > 1
    }

    /// Outputs of the kernel that are added up, along both axes.
    pub(super) fn pool(&self) -> usize {
        self.rows.pool() * self.columns.pool()
    }

    /// The matrix E of filters × T.
    pub fn product(&self) -> Dense {
        Dense { inputs: self.patch(), outputs: self.filters }
    }

    /// im2col: from X of shape `[inputs, batch]` to C of shape `[T, positions · batch]`, column
    /// s·batch + j for position s and sample j.
    ///
    /// # Panics
    /// When `x` has another number of rows than this layer has inputs.
    pub fn gather<T: Scalar>(&self, x: ArrayView2<'_, T>) -> Array2<T> {
        assert_eq!(x.nrows(), self.inputs());
        let batch = x.ncols();
        let x = x.as_standard_layout();
        let x = x.as_slice().expect("standard layout");
        let mut columns = Array2::zeros((self.patch(), self.positions() * batch));
        let one_filter = Self { filters: 1, groups: 1, ..*self };
        one_filter.each_run(Order::ByEntry, |Run { output, source, entry, len }| {
            let mut row = columns.row_mut(entry);
            let row = row.as_slice_mut().expect("standard layout");
            row[output * batch..][..len * batch]
                .copy_from_slice(&x[source * batch..][..len * batch]);
        });
        columns
    }

    pub(super) fn each_run(&self, order: Order, mut visit: impl FnMut(Run)) {
        let Self { channels, filters, rows, columns, .. } = *self;
        let (height, width) = (rows.outputs(), columns.outputs());
        let (tall, wide) = (rows.length(), columns.length());
        let mut across: Vec<_> = (0..wide).map(|v| (v, columns.outputs_over(v))).collect();
        if order == Order::ByOutput {
            across.reverse();
        }
        for f in 0..filters {
            for y in 0..height {
                for c in self.channels_of(f) {
                    for u in rows.offsets(y) {
                        let line = (c * rows.size() + rows.source(y, u)) * columns.size();
                        let kernel = ((f * channels + c) * tall + u) * wide;
                        for (v, over) in &across {
                            let start = (f * height + y) * width;
                            let mut run = |x: usize, len| {
                                let source = line + columns.source(x, *v);
                                visit(Run { output: start + x, source, entry: kernel + v, len });
                            };
                            match columns.step() {
                                1 => run(over.start, over.len()),
                                _ => over.clone().for_each(|x| run(x, 1)),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Calls `visit` with every (entry, weight) such that the weight is a part of the entry.
    pub(super) fn each_part(&self, mut visit: impl FnMut(usize, usize)) {
        let (rows, columns) = (self.rows, self.columns);
        let area = rows.length() * columns.length();
        let kernels = (0..self.filters).flat_map(|f| self.channels_of(f).map(move |c| (f, c)));
        for (kernel, (f, c)) in kernels.enumerate() {
            let mut entry = (f * self.channels + c) * area;
            for row in 0..rows.length() {
                for column in 0..columns.length() {
                    for u in rows.parts(row) {
                        let start = (kernel * rows.kernel() + u) * columns.kernel();
                        columns.parts(column).for_each(|v| visit(entry, start + v));
                    }
                    entry += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn line(size: usize, padding: usize) -> Axis {
        Axis::new(size, 2, 1, padding).unwrap()
    }

    fn still() -> Axis {
        Axis::new(1, 1, 1, 0).unwrap()
    }

    /// Two filters of two taps over three inputs, padded: positions −1, 0, 1 and 2.
    #[test]
    fn columns_by_hand() {
        let window = Window::new(1, 2, still(), line(3, 1)).unwrap();
        assert_eq!((window.positions(), window.patch(), window.weights()), (4, 2, 4));
        let x = array![[1, 2], [10, 20], [100, 200]];
        let columns = array![[0, 0, 1, 2, 10, 20, 100, 200], [1, 2, 10, 20, 100, 200, 0, 0]];
        assert_eq!(window.gather(x.view()), columns);
    }

    /// Four channels and four filters in two groups: filter 2 sees channels 2 and 3.
    #[test]
    fn groups_by_hand() {
        let window = Window::grouped(4, 4, 2, still(), still()).unwrap();
        assert_eq!((window.weights(), window.multiply_accumulates(), window.patch()), (8, 8, 4));
        let map = crate::linear::LinearMap::from(window);
        let weights = [1, 2, 3, 4, 5, 6, 7, 8];
        let entries = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]].concat();
        assert_eq!(map.entries(&weights), entries);
        let x = array![[1], [10], [100], [1000]];
        assert_eq!(map.forward(&weights, &[0; 4], x.view(), 1), array![[21], [43], [6500], [8700]]);
        for groups in [0, 3, 8, usize::MAX] {
            assert!(Window::grouped(4, 4, groups, still(), still()).is_err(), "{groups}");
        }
    }

    #[test]
    fn each_limit_has_its_name_and_both_numbers() {
        let axis = |size, kernel, padding| Axis::new(size, kernel, 1, padding).unwrap();
        let refused = |channels, filters, rows, columns| {
            Window::new(channels, filters, rows, columns).unwrap_err().to_string()
        };
        let (image, small) = (axis(32, 3, 1), axis(4, 3, 1));
        assert_eq!(
            refused(1 << 10, 1 << 10, image, image),
            format!("multiply-accumulates: {}, the limit is 4294967296", (94u64 * 94) << 20)
        );
        assert_eq!(
            refused(1 << 11, 1 << 10, small, small),
            format!("parameters: {}, the limit is 16777216", 9 * (1 << 21) + (1 << 10))
        );
        assert_eq!(
            refused(2048, 1, image, image),
            "the number of features is 2097152, must be between 1 and 1048576"
        );
        assert_eq!(
            refused(usize::MAX, 1, still(), still()),
            format!("the number of channels is {}, must be between 1 and 1048576", usize::MAX)
        );
        let pooled = axis(64, 3, 1).pooled(64).unwrap();
        assert_eq!(
            refused(16, 256, pooled, pooled),
            format!("matrix entries: {}, the limit is 16777216", 16 * 256 * 66 * 66)
        );
        // What a client unrolls: few multiply-accumulates for the server, 35 times the image for the client.
        let wide = axis(1 << 10, 6, 0);
        assert_eq!(
            refused(1, 1, wide, wide),
            format!("values of all positions: {}, the limit is 16777216", 36 * 1019 * 1019)
        );
    }
}
