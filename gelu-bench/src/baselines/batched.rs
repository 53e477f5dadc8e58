//! CryptoNets on BFV: Conv-1 with squares as an integer circuit, thousands of images at once.
//!
//! The circuit is exact, so encrypted scores must equal the circuit's in the clear. It is as narrow as
//! images beside the test set allow: bits of plaintext are what BFV is slow for.

use std::time::{Duration, Instant};

use gelu_core::linear::{LinearMap, Tap};
use gelu_fhe_baseline::leveled::{Client, LayerTime, Parameters, Server};
use gelu_fhe_baseline::{Circuit, Step};
use gelu_nn::{Dataset, FloatParameters, zoo};
use ndarray::Array2;
use rand::CryptoRng;
use rayon::prelude::*;

use crate::Error;

/// Share of validation images that the narrower circuit may lose.
const TOLERANCE: f64 = 0.001;
/// Filters, and side of their output, of Conv-1.
const FILTERS: usize = 5;
const SIDE: usize = 12;

/// Bits of the integers: pixels unsigned, weights with their sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Of a pixel.
    pub pixels: u32,
    /// Of a weight of the convolution.
    pub kernels: u32,
    /// Of a weight of the dense layer.
    pub dense: u32,
}

/// The circuit with the fewest bits at its end whose accuracy on `validation` is within a thousandth of
/// the best one's, for a trained Conv-1 with squares. Those tried need up to 69 bits.
///
/// # Errors
/// For weights of another network.
pub fn narrowest(
    weights: &FloatParameters,
    validation: &Dataset,
) -> Result<(Widths, Circuit), Error> {
    let measure = |widths: Widths| {
        let circuit = quantise(weights, widths).ok()?;
        let logits = circuit.evaluate(&pixels(validation, widths.pixels)).ok()?;
        let bits = circuit.requirements().last()?.bits;
        Some((bits, accuracy(&logits, validation.labels()), widths, circuit))
    };
    let all = (0..3 * 4 * 4).into_par_iter().map(|n| Widths {
        pixels: 2 + n % 3,
        kernels: 4 + n / 3 % 4,
        dense: 4 + n / 12,
    });
    let mut found: Vec<_> = all.filter_map(measure).collect();
    found.sort_by_key(|f| f.0);
    let best = found.iter().map(|f| f.1).fold(0.0, f64::max);
    let narrow = found.into_iter().find(|f| f.1 >= best - TOLERANCE);
    let (.., widths, circuit) = narrow.ok_or_else(|| Error::Missing {
        what: "a circuit of this network".into(),
        advice: "take a trained conv1-square".into(),
    })?;
    Ok((widths, circuit))
}

/// Pixels of 0..=1 as integers of 0..2^bits.
pub fn pixels(data: &Dataset, bits: u32) -> Array2<i128> {
    let most = f64::from((1 << bits) - 1);
    let samples: Vec<_> = (0..data.len()).collect();
    data.batch(&samples).0.mapv(|p| nearest(p * most))
}

/// The circuit of a trained Conv-1 with squares.
///
/// A filter f times m makes its activations after both squares m⁴ times as large; so each kernel is
/// scaled to the full range by its own m, and the dense weights of its 36 activations by m⁻⁴. With
/// pixels P times, kernels K times and sums for means of 4, those activations are (P·K)⁴·16 times
/// the real ones, which the last biases share.
///
/// # Errors
/// For weights of another network.
pub fn quantise(weights: &FloatParameters, widths: Widths) -> Result<Circuit, Error> {
    let network = zoo::conv1_square();
    weights.check_shapes(&network)?;
    let maps: Vec<_> = network.blocks().iter().map(|b| b.affine().linear_map()).collect();
    let (conv, dense) = (&weights.layers[0], &weights.layers[1]);
    let most = |values: &[f64]| values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let range = |bits: u32| f64::from((1 << (bits - 1)) - 1);
    let pixel = f64::from((1 << widths.pixels) - 1);

    let kernel = conv.weights.len() / FILTERS;
    let scales: Vec<_> =
        conv.weights.chunks(kernel).map(|k| range(widths.kernels) / most(k)).collect();
    let entries = conv.weights.iter().enumerate().map(|(i, w)| nearest(w * scales[i / kernel]));
    let biases = conv.biases.iter().zip(&scales).map(|(b, s)| nearest(b * s * pixel));
    let first = linear("conv", maps[0].clone(), entries.collect(), biases.collect());

    let inputs = dense.weights.len() / dense.biases.len();
    let activation = |i: usize| 16.0 * (pixel * scales[i % inputs / (inputs / FILTERS)]).powi(4);
    let folded: Vec<_> = dense.weights.iter().enumerate().map(|(i, w)| w / activation(i)).collect();
    let scale = range(widths.dense) / most(&folded);
    let entries = folded.iter().map(|w| nearest(w * scale)).collect();
    let biases = dense.biases.iter().map(|b| nearest(b * scale)).collect();
    let last = linear("dense", maps[1].clone(), entries, biases);
    let bound = (1 << widths.pixels) - 1;
    Ok(Circuit::new(bound, vec![first, Step::Square, pool()?, Step::Square, last])?)
}

/// Sums of 2x2 windows of each of the feature maps.
fn pool() -> Result<Step, Error> {
    let source = |f: usize, y: usize, x: usize| {
        u32::try_from((f * SIDE + y) * SIDE + x).expect("720 activations")
    };
    let window = |at: usize| -> Vec<Tap> {
        let (f, y, x) = (at / (SIDE * SIDE / 4), at / (SIDE / 2) % (SIDE / 2), at % (SIDE / 2));
        let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
        corners.map(|(v, u)| Tap { source: source(f, 2 * y + v, 2 * x + u), weight: 0 }).to_vec()
    };
    let rows: Vec<_> = (0..FILTERS * SIDE * SIDE / 4).map(window).collect();
    let map = LinearMap::new(FILTERS * SIDE * SIDE, 1, &rows, vec![0; rows.len()])?;
    Ok(linear("pool", map, vec![1], vec![0]))
}

fn linear(name: &str, map: LinearMap, weights: Vec<i128>, biases: Vec<i128>) -> Step {
    Step::Linear { name: name.into(), map: Box::new(map), weights, biases }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
fn nearest(x: f64) -> i128 {
    x.round() as i128
}

/// The class with the largest score, of each column.
pub fn predictions(scores: &Array2<i128>) -> Vec<usize> {
    let best = |column: ndarray::ArrayView1<'_, i128>| {
        (0..column.len()).rev().max_by_key(|&class| column[class]).unwrap_or(0)
    };
    scores.columns().into_iter().map(best).collect()
}

/// The share of columns whose largest score is that of their label.
pub fn accuracy(scores: &Array2<i128>, labels: &[usize]) -> f64 {
    let right = std::iter::zip(predictions(scores), labels).filter(|(p, l)| p == *l).count();
    right as f64 / labels.len() as f64
}

/// One batch, from pixels to scores; every message crosses as bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Decrypted, `[classes, images]`.
    pub scores: Array2<i128>,
    /// Client, once.
    pub keygen: Duration,
    /// Client, before.
    pub encrypt: Duration,
    /// Server, all plaintext moduli together.
    pub evaluate: Duration,
    /// Client, after.
    pub decrypt: Duration,
    /// Bytes of the key of relinearisation.
    pub key: usize,
    /// Bytes to the server.
    pub up: usize,
    /// Bytes to the client.
    pub down: usize,
}

impl Batch {
    /// Runs it; `layer` is told after each layer, for each plaintext modulus.
    ///
    /// # Errors
    /// When the images do not fit the circuit, or the circuit the parameters.
    pub fn run(
        circuit: &Circuit,
        parameters: &Parameters,
        images: &Array2<i128>,
        rng: &mut dyn CryptoRng,
        mut layer: impl FnMut(&LayerTime),
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let client = Client::generate(circuit, parameters, rng);
        let key = client.evaluation_key(rng);
        let keygen = start.elapsed();
        let server = Server::new(circuit, parameters, &key)?;
        let [mut encrypt, mut evaluate, mut decrypt] = [Duration::ZERO; 3];
        let (mut up, mut down) = (0, 0);
        let mut residues = Vec::new();
        for index in 0..parameters.plaintext_moduli().len() {
            let start = Instant::now();
            let query = client.encrypt(index, images.view(), rng)?;
            let encrypted = Instant::now();
            let answer = server.answer(index, &query, &mut layer)?;
            let answered = Instant::now();
            residues.push(client.decrypt(index, &answer)?);
            (up, down) = (up + query.len(), down + answer.len());
            encrypt += encrypted - start;
            evaluate += answered - encrypted;
            decrypt += answered.elapsed();
        }
        let start = Instant::now();
        let scores = client.combine(&residues, images.ncols())?;
        decrypt += start.elapsed();
        Ok(Self { scores, keygen, encrypt, evaluate, decrypt, key: key.len(), up, down })
    }

    /// From pixels to scores, all images together: what a single image takes as well.
    pub fn total(&self) -> Duration {
        self.encrypt + self.evaluate + self.decrypt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::Precision;
    use gelu_nn::Model;
    use rand::rngs::ChaCha20Rng;
    use rand::{RngExt, SeedableRng};

    /// In wide integers the circuit and the model agree about nearly all images, random weights or not.
    #[test]
    fn conv1_becomes_a_circuit() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let precision = Precision::INFERENCE;
        let model = Model::initialise("conv1-square", zoo::conv1_square(), precision, rng).unwrap();
        let images =
            Array2::from_shape_fn((784, 60), |_| f64::from(rng.random_range(0..=255)) / 255.0);
        let names = (0..784).map(|i| i.to_string()).collect();
        let classes = (0..10).map(|i| i.to_string()).collect();
        let images = Dataset::new(images, vec![0; 60], names, classes).unwrap();
        let widths = Widths { pixels: 8, kernels: 8, dense: 9 };
        let circuit = quantise(&model.weights(), widths).unwrap();
        let scores = circuit.evaluate(&pixels(&images, widths.pixels)).unwrap();
        let expected = model.evaluate(&images).unwrap().predictions;
        let equal = predictions(&scores).iter().zip(&expected).filter(|(a, b)| a == b).count();
        assert!(equal >= 54, "{equal} of 60");
        let other = FloatParameters::initialise(&zoo::dense12(), rng);
        assert!(quantise(&other, widths).is_err());
    }
}
