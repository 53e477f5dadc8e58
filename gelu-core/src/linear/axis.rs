//! One axis of a window: where the kernel of each output lies on the input.
//!
//! ```text
//! z[o] = Σᵤ w[u] · x[s·o + u − p]          0 ≤ u < k
//! ```
//! and, where the mean of q neighbours is taken at once, their sum as one kernel of length
//! K = k + s·(q − 1) and step s·q:
//! ```text
//! z[o] = Σᵤ E[u] · x[s·q·o + u − p]        E[u] = Σ w[u − s·i]  over 0 ≤ i < q
//! ```

use core::ops::Range;

use super::size::{SizeError, check_size};

/// One axis of a window: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    pool: usize,
}

impl Axis {
    /// A kernel that moves over `size` inputs in steps of `stride`, starting `padding` before the first.
    ///
    /// # Errors
    /// [`SizeError`] when a size is zero or beyond the limits, the kernel is longer than the padded
    /// input, the padding not shorter than the kernel, or a part of the kernel never meets an input.
    pub fn new(
        size: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self, SizeError> {
        check_size("the side of the image", size)?;
        check_size("the kernel", kernel)?;
        check_size("the stride", stride)?;
        if padding >= kernel {
            return Err(SizeError::domain("the padding", padding, format!("below {kernel}")));
        }
        if kernel > size + 2 * padding {
            let why = format!("at most {} (the padded image)", size + 2 * padding);
            return Err(SizeError::domain("the kernel", kernel, why));
        }
        let axis = Self { size, kernel, stride, padding, pool: 1 };
        if (0..kernel).any(|offset| axis.outputs_over(offset).is_empty()) {
            let why = format!("such that each weight meets the {size} pixels at least once");
            return Err(SizeError::domain("the kernel", kernel, why));
        }
        Ok(axis)
    }

    /// The same with the sums of `pool` neighbouring outputs instead of each.
    ///
    /// # Errors
    /// [`SizeError`] when `pool` does not divide the outputs, and for a stride that is longer than the kernel:
    /// in the sum there would be places without a weight.
    pub fn pooled(self, pool: usize) -> Result<Self, SizeError> {
        if self.stride > self.kernel {
            let why = format!("at most the kernel's {} before a pooling", self.kernel);
            return Err(SizeError::domain("the stride", self.stride, why));
        }
        let outputs = self.outputs();
        if pool == 0 || !outputs.is_multiple_of(pool) {
            let why = format!("a divisor of the image's side {outputs}");
            return Err(SizeError::domain("the window", pool, why));
        }
        Ok(Self { pool: self.pool * pool, ..self })
    }

    /// Number of inputs.
    pub fn size(self) -> usize {
        self.size
    }

    /// k: trainable weights of the kernel.
    pub fn kernel(self) -> usize {
        self.kernel
    }

    /// Places before the first input, and after the last.
    pub fn padding(self) -> usize {
        self.padding
    }

    /// q: outputs of the kernel that are added up.
    pub fn pool(self) -> usize {
        self.pool
    }

    /// K: matrix entries of the kernel.
    pub fn length(self) -> usize {
        self.kernel + self.stride * (self.pool - 1)
    }

    /// Inputs from one output to the next.
    pub fn step(self) -> usize {
        self.stride * self.pool
    }

    /// ⌊(size + 2·padding − K) / step⌋ + 1.
    pub fn outputs(self) -> usize {
        (self.size + 2 * self.padding - self.length()) / self.step() + 1
    }

    /// The offsets in the kernel of `output` that fall on the input.
    pub fn offsets(self, output: usize) -> Range<usize> {
        let start = output * self.step();
        let first = self.padding.saturating_sub(start);
        first..self.length().min(self.size + self.padding - start)
    }

    /// The outputs whose `offset` falls on the input.
    pub fn outputs_over(self, offset: usize) -> Range<usize> {
        let before = |input: usize| (input + self.padding).saturating_sub(offset);
        let end = before(self.size).div_ceil(self.step()).min(self.outputs());
        before(0).div_ceil(self.step()).min(end)..end
    }

    /// The input under `offset` of the kernel of `output`, where there is one.
    pub fn source(self, output: usize, offset: usize) -> usize {
        output * self.step() + offset - self.padding
    }

    /// The offsets of all outputs together: `outputs · K` without padding.
    pub fn taps(self) -> u64 {
        (0..self.length()).map(|offset| self.outputs_over(offset).len() as u64).sum()
    }

    /// The weights that add up to the entry at `offset`.
    pub fn parts(self, offset: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        let first = (offset + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        let end = self.pool.min(offset / self.stride + 1);
        (first..end).map(move |i| offset - self.stride * i)
    }

    /// Calls `visit` with every (output, offset) that meets an input, offset by offset.
    pub(super) fn each_tap(self, mut visit: impl FnMut(usize, usize)) {
        for offset in 0..self.length() {
            self.outputs_over(offset).for_each(|output| visit(output, offset));
        }
    }

    /// The most weights that reach one output, and one input.
    pub(super) fn gains(self) -> (usize, usize) {
        let (mut outputs, mut inputs) = (vec![0; self.outputs()], vec![0; self.size]);
        self.each_tap(|output, offset| {
            let weights = self.parts(offset).len();
            outputs[output] += weights;
            inputs[self.source(output, offset)] += weights;
        });
        let most = |sums: Vec<usize>| sums.into_iter().max().unwrap_or(0);
        (most(outputs), most(inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padding_is_cut_off_at_both_ends() {
        let axis = Axis::new(4, 3, 1, 1).unwrap();
        assert_eq!(axis.outputs(), 4);
        let offsets: Vec<_> = (0..4).map(|o| axis.offsets(o)).collect();
        assert_eq!(offsets, [1..3, 0..3, 0..3, 0..2]);
        assert_eq!([0, 1, 2].map(|offset| axis.outputs_over(offset)), [1..4, 0..4, 0..3]);
        assert_eq!(axis.taps(), 10);
        assert_eq!((axis.source(0, 1), axis.source(3, 1)), (0, 3));
        assert_eq!(axis.gains(), (3, 3));
    }

    /// A kernel of 5 and a mean of 2 is a kernel of 6 and a step of 2.
    #[test]
    fn pooling_makes_the_kernel_longer() {
        let axis = Axis::new(28, 5, 1, 0).unwrap().pooled(2).unwrap();
        assert_eq!((axis.length(), axis.step(), axis.outputs()), (6, 2, 12));
        let parts: Vec<Vec<_>> = (0..6).map(|offset| axis.parts(offset).collect()).collect();
        assert_eq!(parts, [vec![0], vec![1, 0], vec![2, 1], vec![3, 2], vec![4, 3], vec![4]]);
        assert_eq!(axis.gains(), (10, 5));
        assert!(axis.pooled(5).is_err());
    }

    #[test]
    fn kernels_with_dead_parts_and_huge_sizes_are_refused() {
        let huge = usize::MAX;
        for (size, kernel, stride, padding) in [
            (1, 3, 1, 1),
            (9, 3, 0, 0),
            (9, 3, 1, 3),
            (2, 3, 1, 0),
            (0, 1, 1, 0),
            (huge, 1, 1, 0),
            (9, huge, 1, huge - 1),
            (9, 3, huge, 0),
            (9, 3, 1, huge),
        ] {
            assert!(Axis::new(size, kernel, stride, padding).is_err(), "{size} {kernel}");
        }
    }

    /// As in the shortcuts of residual networks.
    #[test]
    fn a_stride_steps_over_inputs() {
        let axis = Axis::new(4, 1, 2, 0).unwrap();
        assert_eq!((axis.outputs(), axis.source(1, 0), axis.taps()), (2, 2, 2));
        assert_eq!(axis.gains(), (1, 1));
        assert!(axis.pooled(2).is_err());
    }

    proptest! {
        #[test]
        fn both_ways_of_counting_agree(
            (size, kernel, stride, padding, pool) in
                (1..20usize, 1..7usize, 1..7usize, 0..7usize, 1..4usize),
        ) {
            let axis = Axis::new(size, kernel, stride, padding).and_then(|axis| axis.pooled(pool));
            let Ok(axis) = axis else { return Ok(()) };
            let all = (0..axis.outputs()).flat_map(|o| (0..axis.length()).map(move |u| (o, u)));
            for (o, u) in all {
                let place = (o * stride * pool + u).checked_sub(padding).filter(|&i| i < size);
                prop_assert_eq!(axis.offsets(o).contains(&u), place.is_some());
                prop_assert_eq!(axis.outputs_over(u).contains(&o), place.is_some());
                prop_assert!(place.is_none_or(|i| i == axis.source(o, u)));
            }
            for u in 0..axis.length() {
                let parts = (0..pool).filter_map(|i| u.checked_sub(i * stride));
                let parts: Vec<_> = parts.filter(|&part| part < kernel).collect();
                prop_assert_eq!(axis.parts(u).collect::<Vec<_>>(), parts);
            }
            prop_assert_eq!(axis.taps(), (0..axis.outputs()).map(|o| axis.offsets(o).len() as u64).sum());
        }
    }
}
