//! Max pooling: the largest pixel of each window.
//!
//! ```text
//! a[c, y, x] = max z[c, s·y + u − p, t·x + v − q]     over 0 ≤ u < k, 0 ≤ v < l that fall on the image
//! dL/dz[c, i, j] = Σ dL/da[c, y, x]                   over the windows whose largest pixel is (i, j), the first of equals
//! ```
//! with a window of k by l, strides s and t, paddings p and q along rows and columns; what falls outside the image is left
//! out, so padding never wins.
//!
//! | tensor | shape |
//! | --- | --- |
//! | z | `[channels · height · width, batch]` |
//! | a | `[channels · rows · columns, batch]`, rows = ⌊(height + 2p − k) / s⌋ + 1, columns alike |
//!
//! Cost: nothing under encryption. The client has the pixels in the clear, compares them, and the result is exact.

use gelu_core::LocalFunction;
use gelu_core::circuit::{Local, Windows};
use gelu_core::linear::{Axis, SizeError};
use ndarray::Array2;

use super::{LayerError, Shape, Sides, outputs_of};

/// Max pooling as the client computes it: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool2d {
    name: String,
    channels: usize,
    rows: Axis,
    columns: Axis,
}

impl MaxPool2d {
    /// Pools windows, `stride` apart.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image, a size is zero or beyond the limits, the window is larger than the
    /// padded image, or the padding more than half of the window.
    pub fn new(
        input: Shape,
        window: Sides,
        stride: Sides,
        padding: Sides,
    ) -> Result<Self, LayerError> {
        let (channels, height, width) = input.check()?.sides()?;
        let axis = |size, window, stride, padding| {
            if padding > window / 2 {
                let why = format!("at most half of the window's {window}");
                return Err(SizeError::domain("the padding", padding, why));
            }
            Axis::new(size, window, stride, padding)
        };
        let rows = axis(height, window.height, stride.height, padding.height)?;
        let columns = axis(width, window.width, stride.width, padding.width)?;
        let pool = Self { name: format!("max {window}"), channels, rows, columns };
        pool.output().check()?;
        Ok(pool)
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        Shape::image(self.channels, self.rows.size(), self.columns.size())
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        Shape::image(self.channels, self.rows.outputs(), self.columns.outputs())
    }

    /// The pixels of each output's window, those of the padding left out.
    fn windows(&self) -> impl Iterator<Item = Vec<usize>> {
        let (rows, columns) = (self.rows, self.columns);
        let places = move |c| {
            let of_row = move |y| (0..columns.outputs()).map(move |x| (c, y, x));
            (0..rows.outputs()).flat_map(of_row)
        };
        (0..self.channels).flat_map(places).map(move |(c, y, x)| {
            let line = |u| (c * rows.size() + rows.source(y, u)) * columns.size();
            let of_line = |u| columns.offsets(x).map(move |v| line(u) + columns.source(x, v));
            rows.offsets(y).flat_map(of_line).collect()
        })
    }

    /// Calls `visit` with each output, sample and its largest pixel of `z`, the first of equals.
    fn each_largest(&self, z: &Array2<f64>, mut visit: impl FnMut(usize, usize, usize)) {
        for (output, pixels) in self.windows().enumerate() {
            for sample in 0..z.ncols() {
                let better = |best, &pixel| match z[[pixel, sample]] > z[[best, sample]] {
                    true => pixel,
                    false => best,
                };
                visit(output, sample, pixels.iter().fold(pixels[0], better));
            }
        }
    }
}

impl LocalFunction for MaxPool2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn outputs(&self, inputs: usize) -> gelu_core::Result<usize> {
        outputs_of(self, self.input(), self.output(), inputs)
    }

    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        let mut a = Array2::zeros((self.output().features(), z.ncols()));
        self.each_largest(z, |output, sample, pixel| a[[output, sample]] = z[[pixel, sample]]);
        a
    }

    fn backward(&self, z: &Array2<f64>, _: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        let mut result = Array2::zeros(z.dim());
        self.each_largest(z, |output, sample, pixel| {
            result[[pixel, sample]] += grad[[output, sample]];
        });
        result
    }

    fn circuit(&self) -> Option<Local> {
        Some(Local::Max(Windows(self.windows().collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::conv2d::tests::any_sides;
    use crate::layers::laws;
    use ndarray::array;
    use proptest::prelude::*;

    fn pool(window: usize, stride: usize, padding: usize) -> Result<MaxPool2d, LayerError> {
        let [window, stride, padding] = [window, stride, padding].map(Sides::equal);
        MaxPool2d::new(Shape::image(1, 4, 4), window, stride, padding)
    }

    /// All pixels are negative: padding must not win.
    #[test]
    fn pools_by_hand() {
        let z = Array2::from_shape_fn((16, 2), |(i, s)| {
            let negative = [-9.0, -1.0, -3.0, -4.0, -5.0, -6.0, -2.0, -8.0];
            negative[(i + s) % 8] - i as f64
        });
        let two = pool(2, 2, 0).unwrap();
        assert_eq!(two.forward(&z).column(0), array![-2.0, -5.0, -10.0, -13.0]);
        let three = pool(3, 2, 1).unwrap();
        assert_eq!((three.output(), three.outputs(16)), (Shape::image(1, 2, 2), Ok(4)));
        assert_eq!(three.forward(&z).column(0), array![-2.0, -2.0, -9.0, -8.0]);
        assert!(three.outputs(15).is_err());
        // The largest of two whole columns.
        let (window, stride) = (Sides::from([4, 2]), Sides::from([4, 1]));
        let tall = MaxPool2d::new(Shape::image(1, 4, 4), window, stride, Sides::ZERO).unwrap();
        assert_eq!((tall.output(), tall.name()), (Shape::image(1, 1, 3), "max 4x2"));
        assert_eq!(tall.forward(&z).column(0), array![-2.0, -2.0, -5.0]);
    }

    /// The first of equals takes the gradient, once for each window that it wins.
    #[test]
    fn a_gradient_goes_to_one_pixel() {
        let (pool, z) = (pool(3, 1, 0).unwrap(), Array2::zeros((16, 1)));
        let grad = array![[1.0], [2.0], [4.0], [8.0]];
        let back = pool.backward(&z, &pool.forward(&z), &grad);
        assert_eq!([0, 1, 4, 5].map(|pixel| back[[pixel, 0]]), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(back.sum(), 15.0);
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        for (window, stride, padding) in [(0, 1, 0), (2, 0, 0), (5, 1, 0), (3, 1, 2), (2, 2, 9)] {
            assert!(pool(window, stride, padding).is_err(), "{window} {stride} {padding}");
        }
        let (two, none) = (Sides::equal(2), Sides::ZERO);
        assert!(MaxPool2d::new(Shape::Vector(4), two, two, none).is_err());
        assert!(MaxPool2d::new(Shape::image(1, 4, 4), two, two, [1, 2].into()).is_err());
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_gradient(
            order in Just((0..32usize).collect::<Vec<_>>()).prop_shuffle(),
            e in prop::array::uniform32(-1.0..1.0f64),
            grad in prop::array::uniform32(-1.0..1.0f64),
            (window, stride, padding) in (any_sides(1..5), any_sides(1..4), any_sides(0..3)),
        ) {
            let Ok(pool) = MaxPool2d::new(Shape::image(2, 4, 4), window, stride, padding) else {
                return Ok(());
            };
            // Far enough from each other that a small step changes no order.
            let z = Array2::from_shape_fn((32, 1), |(i, _)| order[i] as f64 / 8.0 - 2.0);
            let at = |v: &[f64], rows| Array2::from_shape_fn((rows, 1), |(i, _)| v[i % 32]);
            let outputs = pool.output().features();
            laws::gradient_law(&pool, &z, &at(&e, 32), &at(&grad, outputs), 1e-6);
        }
    }
}
