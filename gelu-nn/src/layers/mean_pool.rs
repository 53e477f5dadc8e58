//! Mean pooling: the average of each window of p·q pixels.
//!
//! ```text
//! a[c, y, x] = 1/(p·q) · Σ_{0 ≤ u < p, 0 ≤ v < q} z[c, p·y + u, q·x + v]
//! dL/dz[c, y, x] = 1/(p·q) · dL/da[c, y / p, x / q]
//! ```
//! Windows are square, p = q, or the whole image: *global* average pooling.
//!
//! | tensor | shape |
//! | --- | --- |
//! | z | `[channels · height · width, batch]` |
//! | a | `[channels · height / p · width / q, batch]`; p and q divide the sides |
//!
//! Cost: nothing under encryption. Directly after a convolution it is folded into the kernel
//! ([`PooledConv2d`](super::PooledConv2d)); elsewhere it stands between two activations, has no
//! weights, and the client computes it by itself.

use gelu_core::LocalFunction;
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
    /// Rows and columns of a window.
    window: (usize, usize),
}

impl MeanPool2d {
    /// Pools windows of `window · window` pixels, side by side.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image, or the window does not divide its sides.
    pub fn new(input: Shape, window: usize) -> Result<Self, LayerError> {
        let (channels, height, width) = input.check()?.sides()?;
        if window == 0 || !height.is_multiple_of(window) || !width.is_multiple_of(window) {
            let why = format!("a divisor of the image's sides {height} and {width}");
            return Err(SizeError::domain("the window", window, why).into());
        }
        let name = format!("mean {window}x{window}");
        Ok(Self { name, channels, height, width, window: (window, window) })
    }

    /// Pools each channel as a whole.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image.
    pub fn global(input: Shape) -> Result<Self, LayerError> {
        let (channels, height, width) = input.check()?.sides()?;
        let name = format!("mean {height}x{width}");
        Ok(Self { name, channels, height, width, window: (height, width) })
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        Shape::image(self.channels, self.height, self.width)
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        let (rows, columns) = self.window;
        Shape::image(self.channels, self.height / rows, self.width / columns)
    }

    /// 1/(p·q).
    pub(crate) fn share(&self) -> f64 {
        1.0 / (self.window.0 * self.window.1) as f64
    }

    /// For each input pixel the output pixel that it goes into.
    pub(crate) fn target(&self, pixel: usize) -> usize {
        let (line, x) = (pixel / self.width, pixel % self.width);
        let (c, y) = (line / self.height, line % self.height);
        let (p, q) = self.window;
        (c * (self.height / p) + y / p) * (self.width / q) + x / q
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

    /// Neither square nor alone.
    #[test]
    fn whole_images_are_pooled_by_hand() {
        let pool = MeanPool2d::global(Shape::image(2, 1, 4)).unwrap();
        assert_eq!(pool.output(), Shape::image(2, 1, 1));
        let z = array![[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]];
        assert_eq!(pool.forward(&z), array![[2.5], [6.5]]);
        assert!(MeanPool2d::global(Shape::Vector(4)).is_err());
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
            let at = |start: usize, rows| {
                Array2::from_shape_fn((rows, 1), |(i, _)| values[start + i])
            };
            for pool in [
                MeanPool2d::new(Shape::image(2, 2, 2), 2),
                MeanPool2d::global(Shape::image(2, 1, 4)),
            ] {
                laws::gradient_law(&pool.unwrap(), &at(0, 8), &at(8, 8), &at(16, 2), 1e-6);
            }
        }
    }
}
