//! The network that both parties know, its numbers and their bounds.

use gelu_core::Result;
use gelu_core::error::{ApiMisuse, RangeError};
use rand_core::CryptoRng;

use super::SUM_BOUND;
use super::product::FEATURE_OFFSET;
use super::shares::RING_BITS;
use super::sigmoid::{ACTIVATION_BITS, SUM_BITS, sigmoid};

/// Fractional bits of features.
pub const FEATURE_BITS: u32 = 4;
/// Features lie within ± this many units: ±4.
pub const FEATURE_BOUND: i64 = 4 << FEATURE_BITS;
/// Fractional bits of weights as they are used.
pub const WEIGHT_BITS: u32 = 5;
/// Weights lie within ± this many such units: ±4.
pub const WEIGHT_BOUND: i64 = 4 << WEIGHT_BITS;
/// Fractional bits of weights as they are kept.
pub const MASTER_BITS: u32 = 16;

/// How many nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Features of A and of B.
    pub features: [usize; 2],
    /// Hidden nodes.
    pub hidden: usize,
    /// Output nodes: classes.
    pub outputs: usize,
}

impl Shape {
    /// Features of both.
    pub fn inputs(self) -> usize {
        self.features[0] + self.features[1]
    }

    /// Weights and thresholds.
    pub fn parameters(self) -> usize {
        self.hidden * (self.inputs() + 1) + self.outputs * (self.hidden + 1)
    }

    /// Where hidden node j's weight of feature k is; its threshold at k = `inputs()`.
    pub(super) fn at_hidden(self, j: usize, k: usize) -> usize {
        j * (self.inputs() + 1) + k
    }

    /// Where output node i's weight of hidden node j is; its threshold at j = `hidden`.
    pub(super) fn at_output(self, i: usize, j: usize) -> usize {
        self.hidden * (self.inputs() + 1) + i * (self.hidden + 1) + j
    }

    /// Fractional bits of the gradient of each parameter.
    fn gradient_bits(self) -> impl Iterator<Item = u32> {
        let threshold = 2 * WEIGHT_BITS + 3 * ACTIVATION_BITS;
        let hidden = (0..self.hidden).flat_map(move |_| {
            (0..=self.inputs())
                .map(move |k| threshold + FEATURE_BITS * u32::from(k < self.inputs()))
        });
        let threshold = WEIGHT_BITS + ACTIVATION_BITS;
        hidden.chain((0..self.outputs).flat_map(move |_| {
            (0..=self.hidden).map(move |j| threshold + ACTIVATION_BITS * u32::from(j < self.hidden))
        }))
    }
}

/// A training run that cannot leave the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    shape: Shape,
    batch: usize,
    rate_shift: u32,
}

impl Config {
    /// Batches of at most `batch` samples, whose gradients are *summed*, at a learning rate of
    /// 2^−`rate_shift`.
    ///
    /// ```text
    /// |e| ≤ (m + 1)·2^6·W + 2^11      |δ| ≤ k·W·|e|      |p| ≤ |δ|·2^10      |Δw| ≤ batch·|p|·X
    /// ```
    ///
    /// # Errors
    /// [`RangeError::Slot`] if one of these bounds reaches 2^43;
    /// [`ApiMisuse::Configuration`] without nodes, samples or with a rate below 2^−16.
    pub fn new(shape: Shape, batch: usize, rate_shift: u32) -> Result<Self> {
        if shape.inputs() == 0 || shape.hidden == 0 || shape.outputs == 0 || batch == 0 {
            return Err(ApiMisuse::configuration("ElGamal-Net", "no nodes or no samples").into());
        }
        if rate_shift > MASTER_BITS {
            return Err(ApiMisuse::configuration("learning rate", "less than 2^-16").into());
        }
        let [hidden, outputs, batch_size] =
            [shape.hidden, shape.outputs, batch].map(|n| i128::try_from(n).unwrap_or(i128::MAX));
        let (weight, one) = (i128::from(WEIGHT_BOUND), 1i128 << ACTIVATION_BITS);
        let error = hidden
            .saturating_add(1)
            .saturating_mul(one * weight)
            .saturating_add(one << WEIGHT_BITS);
        let delta = outputs.saturating_mul(weight).saturating_mul(error);
        let widest = delta
            .saturating_mul(one * one / 4)
            .saturating_mul(FEATURE_BOUND.into())
            .saturating_mul(batch_size);
        if widest >= 1 << (RING_BITS - 1) {
            let needed = gelu_core::slots::signed_bits(widest);
            let layer = "ElGamal-Net, the gradient of a hidden weight".to_owned();
            return Err(RangeError::Slot { layer, needed, available: RING_BITS }.into());
        }
        Ok(Self { shape, batch, rate_shift })
    }

    /// The network's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The most samples of an iteration.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether a batch may be trained on.
    pub(super) fn check(&self, batch: &[Sample]) -> Result<()> {
        let outputs = self.shape.outputs;
        let fits = |s: &Sample| {
            s.features[0].len() == self.shape.features[0]
                && s.features[1].len() == self.shape.features[1]
                && s.class < outputs
        };
        if batch.is_empty() || batch.len() > self.batch || !batch.iter().all(fits) {
            let why = format!("at most {} samples of its shape", self.batch);
            return Err(ApiMisuse::configuration("a batch of ElGamal-Net", why).into());
        }
        Ok(())
    }
}

/// One sample: what A knows of it, what B knows, what both know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    features: [Vec<i64>; 2],
    class: usize,
}

impl Sample {
    /// Rounds features to 2^−4 and holds them within ±4, so they should be standardised; what is no
    /// number becomes 0.
    pub fn new(a: &[f64], b: &[f64], class: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "within ±64")]
        let fixed = |x: &f64| {
            let bound = FEATURE_BOUND as f64;
            (x * f64::from(1 << FEATURE_BITS)).round().clamp(-bound, bound) as i64
        };
        const { assert!(FEATURE_BOUND < FEATURE_OFFSET, "features plus offset are positive") };
        let features = [a, b].map(|x| x.iter().map(fixed).collect());
        Self { features, class }
    }

    /// A's features (0) or B's (1), in units of 2^−4.
    pub fn features(&self, party: usize) -> &[i64] {
        &self.features[party]
    }

    /// Its class.
    pub fn class(&self) -> usize {
        self.class
    }

    /// t_i: 1 for its class and 0 for others, at the scale of the output nodes.
    pub(super) fn target(&self, output: usize) -> i64 {
        i64::from(output == self.class) << (WEIGHT_BITS + ACTIVATION_BITS)
    }
}

/// The sum of a batch's gradients, opened: one integer a parameter, in the order of [`Weights`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gradients(pub(super) Vec<i64>);

impl Gradients {
    /// Hidden node j's gradient of feature k, and of its threshold at k = `inputs()`.
    pub fn hidden(&self, shape: Shape, j: usize, k: usize) -> i64 {
        self.0[shape.at_hidden(j, k)]
    }
}

/// Public weights and thresholds, in units of 2^−16, within ±4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    shape: Shape,
    fine: Vec<i64>,
}

impl Weights {
    /// Uniform in ±1/2, which is enough to tell hidden nodes apart.
    pub fn random(shape: Shape, rng: &mut dyn CryptoRng) -> Self {
        let half = 1i64 << (MASTER_BITS - 1);
        let draw = |_| i64::from(rng.next_u32() & 0xffff) - half;
        Self { shape, fine: (0..shape.parameters()).map(draw).collect() }
    }

    /// The network's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    fn coarse(&self, at: usize) -> i64 {
        rounded(self.fine[at], MASTER_BITS - WEIGHT_BITS)
    }

    /// w_jk, and b_j at k = `inputs()`, as they are used.
    pub(super) fn hidden(&self, j: usize, k: usize) -> i64 {
        self.coarse(self.shape.at_hidden(j, k))
    }

    /// v_ij, and c_i at j = `hidden`.
    pub(super) fn output(&self, i: usize, j: usize) -> i64 {
        self.coarse(self.shape.at_output(i, j))
    }

    /// z_A (0) or z_B (1) of each hidden node: a party's own sum, rounded, held within ±8.
    pub(super) fn partial_sums(&self, party: usize, features: &[i64]) -> Vec<i64> {
        let first = if party == 0 { 0 } else { self.shape.features[0] };
        let sum = |j| {
            let threshold = if party == 0 { self.hidden(j, self.shape.inputs()) } else { 0 };
            let products = (first..).zip(features).map(|(k, x)| self.hidden(j, k) * x);
            let sum = products.sum::<i64>() + (threshold << FEATURE_BITS);
            rounded(sum, WEIGHT_BITS + FEATURE_BITS - SUM_BITS).clamp(-SUM_BOUND, SUM_BOUND)
        };
        (0..self.shape.hidden).map(sum).collect()
    }

    /// h_j in the clear.
    pub(super) fn activations(&self, sample: &Sample) -> Vec<i64> {
        let [a, b] = [0, 1].map(|party| self.partial_sums(party, sample.features(party)));
        a.iter().zip(b).map(|(a, b)| sigmoid(a + b)).collect()
    }

    /// o_i in the clear.
    pub(super) fn outputs(&self, activations: &[i64]) -> Vec<i64> {
        let output = |i| {
            let products = activations.iter().enumerate().map(|(j, h)| self.output(i, j) * h);
            products.sum::<i64>() + (self.output(i, self.shape.hidden) << ACTIVATION_BITS)
        };
        (0..self.shape.outputs).map(output).collect()
    }

    /// The class that the network gives a sample, by somebody who has all its features.
    pub fn predict(&self, sample: &Sample) -> usize {
        let outputs = self.outputs(&self.activations(sample));
        let best = (0..outputs.len()).max_by_key(|&i| (outputs[i], core::cmp::Reverse(i)));
        best.expect("there are classes")
    }

    /// The part of the samples whose class is found.
    pub fn accuracy(&self, samples: &[Sample]) -> f64 {
        let right = samples.iter().filter(|s| self.predict(s) == s.class).count();
        right as f64 / samples.len() as f64
    }

    /// w − η·Δ, rounded to 2^−16 and held within ±4.
    pub(super) fn update(&mut self, config: &Config, gradients: &Gradients) {
        let bound = WEIGHT_BOUND << (MASTER_BITS - WEIGHT_BITS);
        let scales = self.shape.gradient_bits();
        for ((weight, gradient), bits) in self.fine.iter_mut().zip(&gradients.0).zip(scales) {
            let step = match (bits + config.rate_shift).checked_sub(MASTER_BITS) {
                Some(shift) => rounded(*gradient, shift),
                None => gradient << (MASTER_BITS - bits - config.rate_shift),
            };
            *weight = (*weight - step).clamp(-bound, bound);
        }
    }
}

/// x / 2^bits, rounded up at halves.
fn rounded(x: i64, bits: u32) -> i64 {
    if bits == 0 { x } else { (x + (1 << (bits - 1))) >> bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::rng;

    pub(crate) const IRIS: Shape = Shape { features: [2, 2], hidden: 5, outputs: 3 };

    #[test]
    fn every_parameter_has_its_place() {
        let mut places: Vec<_> =
            (0..5).flat_map(|j| (0..=4).map(move |k| IRIS.at_hidden(j, k))).collect();
        places.extend((0..3).flat_map(|i| (0..=5).map(move |j| IRIS.at_output(i, j))));
        assert_eq!(places, (0..IRIS.parameters()).collect::<Vec<_>>());
        let bits: Vec<_> = IRIS.gradient_bits().collect();
        assert_eq!(bits.len(), IRIS.parameters());
        assert_eq!([bits[0], bits[4], bits[25], bits[30]], [32, 28, 17, 11]);
    }

    #[test]
    fn ranges_are_proven_or_refused() {
        assert!(Config::new(IRIS, 4, 4).is_ok());
        let wide = Config::new(IRIS, 64, 4).unwrap_err();
        assert!(wide.to_string().contains("ElGamal-Net"), "{wide}");
        let huge = Shape { hidden: usize::MAX >> 4, ..IRIS };
        assert!(Config::new(huge, usize::MAX, 4).is_err());
        assert!(Config::new(IRIS, 0, 4).is_err() && Config::new(IRIS, 1, 17).is_err());
        let config = Config::new(IRIS, 1, 4).unwrap();
        let sample = Sample::new(&[0.1, 0.2], &[0.3, 0.4], 2);
        assert!(config.check(core::slice::from_ref(&sample)).is_ok());
        assert!(config.check(&[]).is_err() && config.check(&[sample.clone(), sample]).is_err());
        assert!(config.check(&[Sample::new(&[0.1], &[0.3, 0.4], 2)]).is_err());
        assert!(config.check(&[Sample::new(&[0.1, 0.2], &[0.3, 0.4], 3)]).is_err());
    }

    #[test]
    fn numbers_round_and_saturate() {
        assert_eq!([rounded(5, 1), rounded(-5, 1), rounded(7, 0), rounded(-8, 4)], [3, -2, 7, 0]);
        let sample = Sample::new(&[1.04, -9.0], &[f64::NAN, 0.0], 0);
        assert_eq!((sample.features(0), sample.features(1)), (&[17, -64][..], &[0, 0][..]));
    }

    #[test]
    fn partial_sums_add_up() {
        let weights = Weights::random(IRIS, &mut rng(1));
        let sample = Sample::new(&[1.0, -2.0], &[0.5, 3.0], 1);
        let [a, b] = [0, 1].map(|party| weights.partial_sums(party, sample.features(party)));
        for j in 0..5 {
            let real = |at: usize| weights.fine[IRIS.at_hidden(j, at)] as f64 / 65536.0;
            let sum = real(0) - 2.0 * real(1) + 0.5 * real(2) + 3.0 * real(3) + real(4);
            // Four weights off by 2^-6, two sums off by 2^-5.
            assert!(((a[j] + b[j]) as f64 / 16.0 - sum).abs() < 0.25, "node {j}");
        }
    }
}
