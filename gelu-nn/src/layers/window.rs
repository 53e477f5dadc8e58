//! One axis of a convolution: where the window of each output lies on the input.

use core::ops::Range;

use super::LayerError;

/// A window of `length` that moves over `size` inputs in steps of `stride`, starting `padding`
/// before the first one.
///
/// A two-dimensional convolution is the product of two of these, one along each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) size: usize,
    pub(super) length: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Window {
    /// Checks that every output touches the input and every part of the window meets it somewhere.
    ///
    /// Expects `size` and `length` to be at most `MAX_FEATURES`; stride and padding are compared with
    /// them first, so that no sum overflows.
    pub(super) fn check(self) -> Result<Self, LayerError> {
        let Self { size, length, stride, padding } = self;
        if !(1..=length).contains(&stride) {
            let why = format!("between 1 and the kernel's {length}");
            return Err(LayerError::size("the stride", stride, why));
        }
        if padding >= length {
            return Err(LayerError::size("the padding", padding, format!("below {length}")));
        }
        if length > size + 2 * padding {
            let why = format!("at most {} (the padded image)", size + 2 * padding);
            return Err(LayerError::size("the kernel", length, why));
        }
        let meets_input = |offset: usize| {
            let output = padding.saturating_sub(offset).div_ceil(stride);
            output < self.outputs() && output * stride + offset < padding + size
        };
        if !(0..length).all(meets_input) {
            let why = format!("such that each weight meets the {size} pixels at least once");
            return Err(LayerError::size("the kernel", length, why));
        }
        Ok(self)
    }

    /// ⌊(size + 2·padding − length) / stride⌋ + 1.
    pub(super) fn outputs(self) -> usize {
        (self.size + 2 * self.padding - self.length) / self.stride + 1
    }

    /// The offsets of the window that fall on the input, for one output.
    pub(super) fn offsets(self, output: usize) -> Range<usize> {
        let start = output * self.stride;
        let first = self.padding.saturating_sub(start);
        first..self.length.min(self.size + self.padding - start)
    }

    /// The input under `offset` of the window of `output`.
    pub(super) fn source(self, output: usize, offset: usize) -> usize {
        output * self.stride + offset - self.padding
    }

    /// The offsets of all outputs together: `outputs · length` without padding.
    pub(super) fn taps(self) -> u64 {
        (0..self.outputs()).map(|o| self.offsets(o).len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_off_at_both_ends() {
        let window = Window { size: 4, length: 3, stride: 1, padding: 1 }.check().unwrap();
        assert_eq!(window.outputs(), 4);
        let offsets: Vec<_> = (0..4).map(|o| window.offsets(o)).collect();
        assert_eq!(offsets, [1..3, 0..3, 0..3, 0..2]);
        assert_eq!(window.taps(), 10);
        assert_eq!(window.source(0, 1), 0);
        assert_eq!(window.source(3, 1), 3);
    }

    #[test]
    fn windows_with_dead_parts_are_refused() {
        let dead = [
            Window { size: 1, length: 3, stride: 1, padding: 1 },
            Window { size: 9, length: 3, stride: 4, padding: 0 },
            Window { size: 9, length: 3, stride: 0, padding: 0 },
            Window { size: 9, length: 3, stride: 1, padding: 3 },
            Window { size: 2, length: 3, stride: 1, padding: 0 },
        ];
        for window in dead {
            assert!(window.check().is_err(), "{window:?}");
        }
    }
}
