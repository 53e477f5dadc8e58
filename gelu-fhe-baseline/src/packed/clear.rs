//! The same networks layer by layer, in the clear: what every packing must agree with.

use super::error::Result;
use super::networks::{Layer, Network};

impl Network {
    /// The scores of an image.
    ///
    /// # Errors
    /// [`Error::Shape`](super::Error::Shape) for layers or an image of another network.
    pub fn evaluate(self, layers: &[Layer<'_>], pixels: &[f64]) -> Result<Vec<f64>> {
        self.check(layers)?;
        Self::check_image(pixels)?;
        let squares = |x: Vec<f64>| x.iter().map(|x| x * x).collect::<Vec<_>>();
        Ok(match self {
            Self::Conv1 => {
                let x = squares(convolution(pixels, 28, layers[0], 2));
                dense(&squares(mean(&x, 12)), layers[1])
            }
            Self::LeNet5 => {
                let x = squares(mean(&convolution(pixels, 28, layers[0], 1), 24));
                let x = squares(mean(&convolution(&x, 12, layers[1], 1), 8));
                layers[2..].iter().fold(x, |x, layer| dense(&x, *layer))
            }
            Self::Dense300 => dense(&squares(dense(pixels, layers[0])), layers[1]),
        })
    }
}

/// z\[f, y, x\] = Σ w\[f, c, u, v\]·in\[c, s·y + u, s·x + v\] + b\[f\] for kernels of 5×5.
fn convolution(input: &[f64], side: usize, layer: Layer<'_>, stride: usize) -> Vec<f64> {
    let (channels, out) = (input.len() / side / side, (side - 5) / stride + 1);
    let mut z = Vec::new();
    for (kernels, bias) in layer.weights.chunks(25 * channels).zip(layer.biases) {
        for (y, x) in (0..out).flat_map(|y| (0..out).map(move |x| (y, x))) {
            let tap = |(i, w): (usize, &f64)| {
                let (c, u, v) = (i / 25, i / 5 % 5, i % 5);
                w * input[(c * side + stride * y + u) * side + stride * x + v]
            };
            z.push(bias + kernels.iter().enumerate().map(tap).sum::<f64>());
        }
    }
    z
}

/// The mean of each window of 2×2.
fn mean(input: &[f64], side: usize) -> Vec<f64> {
    let half = side / 2;
    let window = |i: usize| {
        let at = i / half * 2 * side + i % half * 2;
        (input[at] + input[at + 1] + input[at + side] + input[at + side + 1]) / 4.0
    };
    (0..input.len() / 4).map(window).collect()
}

fn dense(x: &[f64], layer: Layer<'_>) -> Vec<f64> {
    let rows = layer.weights.chunks(x.len()).zip(layer.biases);
    rows.map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}
