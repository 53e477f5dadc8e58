//! A two-dimensional convolution (as everywhere in deep learning: a correlation).
//!
//! ```text
//! z[f, y, x] = Σ_{c,u,v} w[f, c, u, v] · in[c, s·y + u − p, t·x + v − q]  +  b[f]
//! ```
//! with a kernel of k by l, strides s and t, paddings p and q along rows and columns; taps that fall outside the image
//! are dropped. In g groups, filter f sees the channels of its own group alone, `channels / g` of them: g = channels is a depthwise convolution.
//!
//! | tensor | shape |
//! | --- | --- |
//! | in | `[channels · height · width, batch]` |
//! | w | `[filters, channels / g, k, l]`, row-major |
//! | b | `[filters]` |
//! | z | `[filters · rows · columns, batch]`, rows = ⌊(height + 2p − k) / s⌋ + 1, columns alike |
//!
//! Cost: `filters · channels / g · T(height) · T(width)` operations, where T counts the taps along one
//! axis (`rows · k` without padding); `channels · height · width` ciphertexts up,
//! `filters · rows · columns` down. Gathered by positions ([`Window::gather`]) instead:
//! `filters · channels · k·l` operations and `channels · k·l` ciphertexts up, `filters` down, for each
//! row of slots that `rows · columns · batch` fill, whatever g is: there zeros stand between groups.

use gelu_core::linear::{Axis, LinearMap, Window};

use super::{Cost, LayerError, MeanPool2d, PooledConv2d, Shape, Sides};

/// What a convolution looks like; [`Conv2d::new`] checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub channels: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Filters: channels of the output.
    pub filters: usize,
    /// Rows and columns of the kernel.
    pub kernel: Sides,
    /// Steps of the kernel.
    pub stride: Sides,
    /// Zeros around the image: rows above and below, columns to the left and to the right.
    pub padding: Sides,
    /// Groups of channels that do not meet; 1 for an ordinary convolution.
    pub groups: usize,
}

/// A convolution: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv2d {
    config: Conv2dConfig,
    window: Window,
}

impl Conv2d {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`LayerError`] when a size is zero or beyond the limits, the kernel is larger than the
    /// padded image, the padding not smaller than the kernel, a weight would never meet a pixel, or the groups
    /// do not divide channels and filters.
    pub fn new(config: Conv2dConfig) -> Result<Self, LayerError> {
        let Conv2dConfig { channels, height, width, filters, kernel, stride, padding, groups } =
            config;
        Shape::image(channels, height, width).check()?;
        let rows = Axis::new(height, kernel.height, stride.height, padding.height)?;
        let columns = Axis::new(width, kernel.width, stride.width, padding.width)?;
        let window = Window::grouped(channels, filters, groups, rows, columns)?;
        Ok(Self { config, window })
    }

    /// The checked configuration.
    pub fn config(&self) -> &Conv2dConfig {
        &self.config
    }

    /// Fuses this convolution with the mean pooling that directly follows it.
    ///
    /// # Errors
    /// [`LayerError`] when the pooling's window does not divide the image.
    pub fn pooled(self, window: Sides) -> Result<PooledConv2d, LayerError> {
        MeanPool2d::new(self.output(), window)?;
        PooledConv2d::new(self, window)
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        Shape::image(self.config.channels, self.config.height, self.config.width)
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        output(&self.window)
    }

    /// `[filters, channels / groups, rows, columns of the kernel]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        let Conv2dConfig { channels, filters, kernel, groups, .. } = self.config;
        vec![filters, channels / groups, kernel.height, kernel.width]
    }

    /// See the [module](self).
    pub fn cost(&self) -> Cost {
        Cost::of(&self.linear_map())
    }

    /// The layer as the protocol runs it.
    pub fn linear_map(&self) -> LinearMap {
        self.window.into()
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }
}

/// Shape of what comes out of a window.
pub(super) fn output(window: &Window) -> Shape {
    Shape::image(window.filters(), window.rows().outputs(), window.columns().outputs())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::layers::{Affine, laws};
    use ndarray::{Array2, Array4};
    use proptest::prelude::*;

    /// The equation at the top of this file, read aloud.
    pub(in crate::layers) fn naive(layer: &Conv2d, w: &[i64], b: &[i64], x: &[i64]) -> Vec<i64> {
        let Conv2dConfig { channels, height, width, filters, kernel, stride, padding, groups } =
            *layer.config();
        let seen = channels / groups;
        let w = Array4::from_shape_vec((filters, seen, kernel.height, kernel.width), w.to_vec())
            .unwrap();
        let pixel = |c: usize, y: usize, x_: usize| {
            let (y, x_) = (y.checked_sub(padding.height)?, x_.checked_sub(padding.width)?);
            (y < height && x_ < width).then(|| x[(c * height + y) * width + x_])
        };
        let mut z = Vec::new();
        for f in 0..filters {
            for y in 0..(height + 2 * padding.height - kernel.height) / stride.height + 1 {
                for x_ in 0..(width + 2 * padding.width - kernel.width) / stride.width + 1 {
                    let mut sum = b[f];
                    for c in 0..seen {
                        let of_image = f / (filters / groups) * seen + c;
                        for (u, v) in
                            (0..kernel.height).flat_map(|u| (0..kernel.width).map(move |v| (u, v)))
                        {
                            let (y, x_) = (stride.height * y + u, stride.width * x_ + v);
                            sum += w[[f, c, u, v]] * pixel(of_image, y, x_).unwrap_or(0);
                        }
                    }
                    z.push(sum);
                }
            }
        }
        z
    }

    /// As often equal as not.
    pub(in crate::layers) fn any_sides(
        range: core::ops::Range<usize>,
    ) -> impl Strategy<Value = Sides> {
        let equal = range.clone().prop_map(Sides::equal);
        prop_oneof![
            equal,
            (range.clone(), range).prop_map(|(height, width)| Sides { height, width })
        ]
    }

    /// Some checked convolution.
    pub(in crate::layers) fn any_conv2d() -> impl Strategy<Value = Conv2d> {
        let groups = prop_oneof![Just(1usize), 1..4usize];
        let window = (any_sides(1..5), any_sides(1..4), any_sides(0..4));
        (1..3usize, 1..9usize, 1..9usize, 1..4usize, window, groups)
            .prop_map(|(channels, height, width, filters, (kernel, stride, padding), groups)| {
                let (channels, filters) = (channels * groups, filters * groups);
                Conv2dConfig { channels, height, width, filters, kernel, stride, padding, groups }
            })
            .prop_filter_map("a valid configuration", |config| Conv2d::new(config).ok())
    }

    /// Small integers from a seed.
    pub(in crate::layers) fn integers(n: usize, seed: usize) -> Vec<i64> {
        (0..n).map(|i| (((i + seed) * 7919 + 13) % 41) as i64 - 20).collect()
    }

    proptest! {
        #[test]
        fn equals_the_naive_convolution(layer in any_conv2d(), seed in 0..1000usize) {
            let map = layer.linear_map();
            let w = integers(map.weights(), seed);
            let b = integers(map.biases(), seed + 1);
            let x = integers(map.inputs(), seed + 2);
            let column = Array2::from_shape_vec((x.len(), 1), x.clone()).unwrap();
            let z = map.forward(&w, &b, column.view(), 1);
            prop_assert_eq!(z.into_raw_vec_and_offset().0, naive(&layer, &w, &b, &x));
            laws::counts_agree(&Affine::Conv2d(layer));
        }
    }

    #[test]
    fn cost_without_padding_is_the_product_of_the_sizes() {
        let config = Conv2dConfig {
            channels: 1,
            height: 28,
            width: 28,
            filters: 5,
            kernel: 5.into(),
            stride: 2.into(),
            padding: 0.into(),
            groups: 1,
        };
        let layer = Conv2d::new(config).unwrap();
        assert_eq!(layer.output(), Shape::image(5, 12, 12));
        let cost = layer.cost();
        assert_eq!((cost.operations, cost.upload, cost.download), (5 * 144 * 25, 784, 720));
    }

    #[test]
    fn malformed_configurations_are_refused() {
        let good = Conv2dConfig {
            channels: 1,
            height: 4,
            width: 4,
            filters: 1,
            kernel: 3.into(),
            stride: 1.into(),
            padding: 0.into(),
            groups: 1,
        };
        assert!(Conv2d::new(good).is_ok());
        let huge = usize::MAX;
        let bad = [
            Conv2dConfig { channels: 0, ..good },
            Conv2dConfig { filters: 0, ..good },
            Conv2dConfig { kernel: 0.into(), ..good },
            Conv2dConfig { stride: [1, 0].into(), ..good },
            Conv2dConfig { kernel: [1, 5].into(), ..good },
            Conv2dConfig { padding: [0, 3].into(), ..good },
            Conv2dConfig { groups: 0, ..good },
            Conv2dConfig { groups: 2, ..good },
            Conv2dConfig { groups: huge, ..good },
            Conv2dConfig { padding: huge.into(), ..good },
            Conv2dConfig { kernel: huge.into(), padding: huge.into(), ..good },
            Conv2dConfig { stride: huge.into(), ..good },
            Conv2dConfig { filters: huge, ..good },
            Conv2dConfig { height: huge, ..good },
            Conv2dConfig { channels: 1 << 10, height: 32, width: 32, filters: 1 << 10, ..good },
        ];
        for config in bad {
            assert!(Conv2d::new(config).is_err(), "{config:?}");
        }
    }
}
