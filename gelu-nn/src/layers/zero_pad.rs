//! Zeros around an image.
//!
//! ```text
//! a[c, y + top, x + left] = z[c, y, x], all else 0        dL/dz[c, y, x] = dL/da[c, y + top, x + left]
//! ```
//!
//! | tensor | shape |
//! | --- | --- |
//! | z | `[channels · height · width, batch]` |
//! | a | `[channels · (top + height + bottom) · (left + width + right), batch]` |
//!
//! Cost: nothing at the server, but the next layer takes so many more inputs. A convolution has the same number of zeros on each
//! side by its own padding, for which nothing is sent; this is for what differs from side to side.

use gelu_core::LocalFunction;
use ndarray::{Array2, Axis};

use super::{LayerError, Shape, outputs_of};

/// Zeros around an image, as the client adds them: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZeroPad2d {
    input: Shape,
    output: Shape,
    /// Rows above and columns to the left.
    corner: (usize, usize),
}

impl ZeroPad2d {
    /// Adds `rows` above and below, and `columns` to the left and to the right.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image, or the output beyond the limits.
    pub fn new(input: Shape, rows: [usize; 2], columns: [usize; 2]) -> Result<Self, LayerError> {
        let (channels, height, width) = input.check()?.sides()?;
        let sum =
            |side: usize, zeros: [usize; 2]| side.saturating_add(zeros[0]).saturating_add(zeros[1]);
        let output = Shape::image(channels, sum(height, rows), sum(width, columns)).check()?;
        Ok(Self { input, output, corner: (rows[0], columns[0]) })
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        self.output
    }

    /// For each input pixel its place in the output.
    pub(crate) fn target(&self, pixel: usize) -> usize {
        let sides = |shape: Shape| shape.sides().expect("an image, checked at construction");
        let ((_, height, width), (_, tall, wide)) = (sides(self.input), sides(self.output));
        let (line, x) = (pixel / width, pixel % width);
        let (c, y) = (line / height, line % height);
        (c * tall + y + self.corner.0) * wide + x + self.corner.1
    }
}

impl LocalFunction for ZeroPad2d {
    fn name(&self) -> &str {
        "zero pad"
    }

    fn outputs(&self, inputs: usize) -> gelu_core::Result<usize> {
        outputs_of(self, self.input, self.output, inputs)
    }

    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        let mut a = Array2::zeros((self.output.features(), z.ncols()));
        for (pixel, z) in z.outer_iter().enumerate() {
            a.index_axis_mut(Axis(0), self.target(pixel)).assign(&z);
        }
        a
    }

    fn backward(&self, z: &Array2<f64>, _: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        let places: Vec<_> = (0..z.nrows()).map(|pixel| self.target(pixel)).collect();
        grad.select(Axis(0), &places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::laws;
    use ndarray::array;
    use proptest::prelude::*;

    /// Two channels of one row: a row below, and a column to the left.
    #[test]
    fn pads_by_hand() {
        let pad = ZeroPad2d::new(Shape::image(2, 1, 2), [0, 1], [1, 0]).unwrap();
        assert_eq!((pad.output(), pad.outputs(4)), (Shape::image(2, 2, 3), Ok(12)));
        let a = pad.forward(&array![[1.0], [2.0], [3.0], [4.0]]);
        let expected = [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0];
        assert_eq!(a.into_raw_vec_and_offset().0, expected);
        assert!(pad.outputs(5).is_err());
    }

    #[test]
    fn what_is_no_image_or_too_large_is_refused() {
        let huge = usize::MAX;
        assert!(ZeroPad2d::new(Shape::Vector(4), [1, 1], [1, 1]).is_err());
        for (rows, columns) in
            [([huge, 1], [0, 0]), ([huge, huge], [huge, 0]), ([0, 0], [1 << 20, 0])]
        {
            assert!(ZeroPad2d::new(Shape::image(1, 2, 2), rows, columns).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_gradient(
            values in prop::array::uniform32(-3.0..3.0f64),
            (top, bottom, left, right) in (0..3usize, 0..3usize, 0..3usize, 0..3usize),
        ) {
            let pad = ZeroPad2d::new(Shape::image(2, 2, 2), [top, bottom], [left, right]).unwrap();
            let at = |start: usize, rows| {
                Array2::from_shape_fn((rows, 1), |(i, _)| values[(start + i) % 32])
            };
            let outputs = pad.output().features();
            laws::gradient_law(&pad, &at(0, 8), &at(8, 8), &at(16, outputs), 1e-6);
        }
    }
}
