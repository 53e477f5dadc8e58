//! Mean pooling: the average of each window of p·q pixels.
//!
//! ```text
//! a[c, y, x] = 1/(p·q) · Σ_{0 ≤ u < p, 0 ≤ v < q} z[c, p·y + u, q·x + v]
//! dL/dz[c, y, x] = 1/(p·q) · dL/da[c, y / p, x / q]
//! ```
//! One window for the whole image is *global* average pooling.
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
use gelu_core::circuit::{Local, Windows};
use gelu_core::linear::SizeError;
use ndarray::{Array2, Axis};

use super::{LayerError, Shape, Sides, outputs_of};

/// Mean pooling as the client computes it: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeanPool2d {
    name: String,
    channels: usize,
    height: usize,
    width: usize,
    window: Sides,
}

impl MeanPool2d {
    /// Pools windows side by side.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image, or the window does not divide its sides.
    pub fn new(input: Shape, window: Sides) -> Result<Self, LayerError> {
        let (channels, height, width) = input.check()?.sides()?;
        for (side, window) in [(height, window.height), (width, window.width)] {
            if window == 0 || !side.is_multiple_of(window) {
                let why = format!("a divisor of the image's side {side}");
                return Err(SizeError::domain("the window", window, why).into());
            }
        }
        Ok(Self { name: format!("mean {window}"), channels, height, width, window })
    }

    /// Pools each channel as a whole.
    ///
    /// # Errors
    /// [`LayerError`] when the input is no image.
    pub fn global(input: Shape) -> Result<Self, LayerError> {
        let (_, height, width) = input.check()?.sides()?;
        Self::new(input, Sides { height, width })
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        Shape::image(self.channels, self.height, self.width)
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        let Sides { height, width } = self.window;
        Shape::image(self.channels, self.height / height, self.width / width)
    }

    /// 1/(p·q).
    pub(crate) fn share(&self) -> f64 {
        1.0 / (self.window.height * self.window.width) as f64
    }

    /// For each input pixel the output pixel that it goes into.
    pub(crate) fn target(&self, pixel: usize) -> usize {
        let (line, x) = (pixel / self.width, pixel % self.width);
        let (c, y) = (line / self.height, line % self.height);
        let Sides { height: p, width: q } = self.window;
        (c * (self.height / p) + y / p) * (self.width / q) + x / q
    }
}

impl LocalFunction for MeanPool2d {
    fn name(&self) -> &str {
        &self.name
    }

    fn outputs(&self, inputs: usize) -> gelu_core::Result<usize> {
        outputs_of(self, self.input(), self.output(), inputs)
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
        let pool = MeanPool2d::new(Shape::image(1, 2, 4), 2.into()).unwrap();
        let z = array![[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [8.0]];
        assert_eq!(pool.forward(&z), array![[3.5], [5.5]]);
        assert_eq!(pool.outputs(8), Ok(2));
        assert!(pool.outputs(9).is_err());
        let flat = MeanPool2d::new(Shape::image(1, 2, 4), [1, 2].into()).unwrap();
        assert_eq!((flat.output(), flat.name()), (Shape::image(1, 2, 2), "mean 1x2"));
        assert_eq!(flat.forward(&z), array![[1.5], [3.5], [5.5], [7.5]]);
    }

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
        assert!(MeanPool2d::new(Shape::Vector(4), 2.into()).is_err());
        assert!(MeanPool2d::new(Shape::image(1, 5, 4), 2.into()).is_err());
        assert!(MeanPool2d::new(Shape::image(1, 4, 4), [1, 0].into()).is_err());
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_gradient(values in prop::array::uniform32(-3.0..3.0f64)) {
            let at = |start: usize, rows| {
                Array2::from_shape_fn((rows, 1), |(i, _)| values[start + i])
            };
            for pool in [
                MeanPool2d::new(Shape::image(2, 2, 2), [1, 2].into()),
                MeanPool2d::global(Shape::image(2, 1, 4)),
            ] {
                let pool = pool.unwrap();
                let outputs = pool.output().features();
                laws::gradient_law(&pool, &at(0, 8), &at(8, 8), &at(16, outputs), 1e-6);
            }
        }
    }
}
