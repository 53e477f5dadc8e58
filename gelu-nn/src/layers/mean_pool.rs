//! Mean pooling: the average of each window of q·q pixels.
//!
//! ```text
//! a[c, y, x] = 1/q² · Σ_{0 ≤ u, v < q} z[c, q·y + u, q·x + v]
//! dL/dz[c, y, x] = 1/q² · dL/da[c, y / q, x / q]
//! ```
//!
//! | tensor | shape |
//! | --- | --- |
//! | z | `[channels · height · width, batch]` |
//! | a | `[channels · height / q · width / q, batch]`; q divides both sides |
//!
//! Cost: nothing under encryption. Directly after a convolution it is folded into the kernel
//! ([`PooledConv2d`](super::PooledConv2d)); elsewhere it stands between two activations, has no
//! weights, and the client computes it by itself.

use gelu_core::LocalFunction;
use gelu_core::circuit::{Local, Windows};
use gelu_core::error::ApiMisuse;
use gelu_core::linear::SizeError;
use ndarray::{Array2, Axis};

use super::{LayerError, Shape};

/// Mean pooling as the client computes it: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeanPool2d {
    name: String,
    channels: usize,
    height: usize,
    width: usize,
    window: usize,
}

impl MeanPool2d {
    /// Pools windows of `window · window` pixels, side by side.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image, or the window does not divide its sides.
    pub fn new(input: Shape, window: usize) -> Result<Self, LayerError> {
        let Shape::Image { channels, height, width } = input.check()? else {
            let expected = "an image (channels, height, width)".into();
            return Err(LayerError::Shape { expected, got: input });
        };
        if window == 0 || !height.is_multiple_of(window) || !width.is_multiple_of(window) {
            let why = format!("a divisor of the image's sides {height} and {width}");
            return Err(SizeError::domain("the window", window, why).into());
        }
        let name = format!("mean {window}x{window}");
        Ok(Self { name, channels, height, width, window })
    }

    /// Side of the window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        Shape::image(self.channels, self.height, self.width)
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        Shape::image(self.channels, self.height / self.window, self.width / self.window)
    }

    /// 1/q².
    pub(crate) fn share(&self) -> f64 {
        1.0 / (self.window * self.window) as f64
    }

    /// For each input pixel the output pixel that it goes into.
    pub(crate) fn target(&self, pixel: usize) -> usize {
        let (line, x) = (pixel / self.width, pixel % self.width);
        let (c, y) = (line / self.height, line % self.height);
        let (rows, columns) = (self.height / self.window, self.width / self.window);
        (c * rows + y / self.window) * columns + x / self.window
    }
}

impl LocalFunction for MeanPool2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn outputs(&self, inputs: usize) -> gelu_core::Result<usize> {
        let expected = self.input().features();
        if inputs != expected {
            let why = format!("takes {expected} features, but gets {inputs}");
            return Err(ApiMisuse::configuration(&self.name, why).into());
        }
        Ok(self.output().features())
    }

    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        let mut a = Array2::zeros((self.output().features(), z.ncols()));
        for (pixel, z) in z.outer_iter().enumerate() {
            a.index_axis_mut(Axis(0), self.target(pixel)).scaled_add(self.share(), &z);
        }
        a
    }

    fn backward(&self, z: &Array2<f64>, _: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        let mut result = Array2::zeros(z.dim());
        for (pixel, mut row) in result.outer_iter_mut().enumerate() {
            row.scaled_add(self.share(), &grad.index_axis(Axis(0), self.target(pixel)));
        }
        result
    }

    fn circuit(&self) -> Option<Local> {
        let mut windows = vec![Vec::new(); self.output().features()];
        (0..self.input().features()).for_each(|pixel| windows[self.target(pixel)].push(pixel));
        Some(Local::Mean(Windows(windows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::laws;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn pools_by_hand() {
        let pool = MeanPool2d::new(Shape::image(1, 2, 4), 2).unwrap();
        let z = array![[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]];
        assert_eq!(pool.forward(&z), array![[3.5], [5.5]]);
        assert_eq!(pool.outputs(8), Ok(2));
        assert!(pool.outputs(9).is_err());
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        assert!(MeanPool2d::new(Shape::Vector(4), 2).is_err());
        assert!(MeanPool2d::new(Shape::image(1, 5, 4), 2).is_err());
        assert!(MeanPool2d::new(Shape::image(1, 4, 4), 0).is_err());
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_gradient(values in prop::array::uniform32(-3.0..3.0f64)) {
            let pool = MeanPool2d::new(Shape::image(2, 2, 2), 2).unwrap();
            let at = |start: usize, rows| {
                Array2::from_shape_fn((rows, 1), |(i, _)| values[start + i])
            };
            laws::gradient_law(&pool, &at(0, 8), &at(8, 8), &at(16, 2), 1e-6);
        }
    }
}
