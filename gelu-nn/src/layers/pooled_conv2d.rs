//! A convolution and the mean pooling that directly follows it, as one linear map.
//!
//! ```text
//! mean of q·r neighbours of z  =  1/(q·r) · Σ_{c,U,V} E[f, c, U, V] · in[c, s·q·y + U − p, …]  +  b[f]
//! E[f, c, U, V]  =  Σ w[f, c, u, v]   over u = U − s·i, v = V − t·j,  0 ≤ i < q, 0 ≤ j < r
//! ```
//! Along each axis a kernel of side k and stride s becomes one of side K = k + s·(q − 1) and stride s·q: a 5x5
//! convolution with a 2x2 mean is one 6x6 kernel of stride 2. Fewer values are computed, sent and
//! decrypted, and the division by q·r happens where decoding divides anyway. The trainable weights
//! stay those of the small kernel.
//!
//! | tensor | shape |
//! | --- | --- |
//! | in | `[channels · height · width, batch]` |
//! | w | `[filters, channels / g, k, l]` in g groups |
//! | E | `[filters, channels, K, L]` |
//! | z | `[filters · rows / q · columns / r, batch]`, rows and columns of the convolution |
//!
//! Cost: `filters · channels · T(height) · T(width)` operations with T for kernel K and stride s·q
//! (`rows / q · K` without padding); `channels · height · width` ciphertexts up,
//! `filters · rows / q · columns / r` down. Gathered by positions ([`Window::gather`])
//! instead: `filters · channels · K·L` operations and `channels · K·L` ciphertexts up, `filters` down,
//! for each row of slots that `rows / q · columns / r · batch` fill.

use gelu_core::linear::{LinearMap, Window};

use super::conv2d::output;
use super::{Conv2d, Cost, LayerError, Shape, Sides};

/// A fused convolution and mean pooling: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PooledConv2d {
    convolution: Conv2d,
    window: Window,
}

impl PooledConv2d {
    /// Fuses a convolution with the means of windows of its outputs.
    pub(super) fn new(convolution: Conv2d, pool: Sides) -> Result<Self, LayerError> {
        let window = convolution.window();
        let rows = window.rows().pooled(pool.height)?;
        let columns = window.columns().pooled(pool.width)?;
        let groups = convolution.config().groups;
        let window = Window::grouped(window.channels(), window.filters(), groups, rows, columns)?;
        Ok(Self { convolution, window })
    }

    /// The convolution, which holds the trainable weights.
    pub fn convolution(&self) -> &Conv2d {
        &self.convolution
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        output(&self.window)
    }

    /// See the [module](self).
    pub fn cost(&self) -> Cost {
        Cost::of(&self.linear_map())
    }

    /// The layer as the protocol runs it.
    pub fn linear_map(&self) -> LinearMap {
        self.window.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::conv2d::tests::{any_conv2d, any_sides, integers, naive};
    use crate::layers::{Affine, Conv2dConfig, MeanPool2d, laws};
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        /// Fused times q·r = the sum over each window of the naive convolution.
        #[test]
        fn equals_convolution_then_pooling(
            layer in any_conv2d(),
            pool in any_sides(1..4),
            seed in 0..1000usize,
        ) {
            let Ok(fused) = layer.clone().pooled(pool) else {
                let (rows, columns) = (layer.window().rows(), layer.window().columns());
                let (rows, columns) = (rows.outputs(), columns.outputs());
                let Conv2dConfig { kernel, stride, .. } = *layer.config();
                let divides = rows % pool.height == 0 && columns % pool.width == 0;
                let fits = stride.height <= kernel.height && stride.width <= kernel.width;
                prop_assert!(!(divides && fits));
                return Ok(());
            };
            let map = fused.linear_map();
            let w = integers(map.weights(), seed);
            let b = integers(map.biases(), seed + 1);
            let x = integers(map.inputs(), seed + 2);
            let column = Array2::from_shape_vec((x.len(), 1), x.clone()).unwrap();
            let area = (pool.height * pool.width) as i64;
            let z = map.forward(&w, &b, column.view(), area).into_raw_vec_and_offset().0;

            let apart = naive(&layer, &w, &b, &x);
            let apart: Vec<_> = apart.iter().map(|&z| z as f64).collect();
            let pooling = MeanPool2d::new(layer.output(), pool).unwrap();
            let apart = Array2::from_shape_vec((apart.len(), 1), apart).unwrap();
            let apart = gelu_core::LocalFunction::forward(&pooling, &apart);
            let fused_mean: Vec<_> = z.iter().map(|&z| z as f64 / area as f64).collect();
            for (a, b) in apart.iter().zip(&fused_mean) {
                prop_assert!((a - b).abs() < 1e-9);
            }
            prop_assert_eq!(apart.len(), fused_mean.len());
            laws::counts_agree(&Affine::PooledConv2d(fused));
        }
    }

    #[test]
    fn a_5x5_kernel_with_a_2x2_mean_is_a_6x6_kernel_of_stride_2() {
        let config = Conv2dConfig {
            channels: 1,
            height: 28,
            width: 28,
            filters: 6,
            kernel: 5.into(),
            stride: Sides::ONE,
            padding: Sides::ZERO,
            groups: 1,
        };
        let fused = Conv2d::new(config).unwrap().pooled(2.into()).unwrap();
        assert_eq!(fused.output(), Shape::image(6, 12, 12));
        let cost = fused.cost();
        assert_eq!((cost.operations, cost.upload, cost.download), (6 * 144 * 36, 784, 864));
        let map = fused.linear_map();
        assert_eq!((map.weights(), map.divisor()), (150, 4));
    }
}
