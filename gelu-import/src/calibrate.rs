//! From real numbers to the protocol's integers, by a sample of the data.
//!
//! All stages of a network share one format of activations and one of weights. So
//!
//! 1. the *range* of each stage's inputs is measured: the magnitude that 99.99 % of them stay below;
//! 2. stages are *equalised*: since ReLU(2^k·z) = 2^k·ReLU(z), a layer's outputs are made smaller or larger by a power
//!    of two, which rounds nothing, and the next layer's weights the other way, until all inputs have the range of the
//!    widest stage that cannot be changed (the sample itself, or the output of a sigmoid);
//!    Networks with shortcuts are left as they are;
//! 3. the format of activations gets the bits of the largest range and one more; that of weights holds them all;
//! 4. fractional bits are added, from the fewest on, until fixed point is as good as floating point: in the classes that it
//!    gives, and to 0.05 in their probabilities.
//!
//! Source of the equalisation: Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*,
//! 2019, there with any factor for each channel.

use std::sync::Arc;

use gelu_core::tape::Tape;
use gelu_core::{Format, Precision};
use gelu_nn::{Activation, Dataset, FloatParameters, LayerSpec, Model};
use ndarray::{Array2, Axis};

use crate::Imported;
use crate::error::{Error, Result};

/// Fractional bits of activations and of weights that are tried, in this order.
const FRACTIONS: [(u32, u32); 4] = [(8, 6), (10, 8), (12, 10), (14, 12)];

/// What is taken without a sample: it holds values up to 64.
pub const DEFAULT: Precision = Precision {
    activations: Format::new(6, 10),
    weights: Format::new(1, 8),
    ..Precision::INFERENCE
};

/// Bits are added while a probability differs by more.
pub const LARGEST_DIFFERENCE: f64 = 0.05;

/// No stage is made larger or smaller by more than two to this power: a stage that is nearly dead would need large weights.
const MOST_SHIFT: i32 = 8;

/// The share of values that a range holds.
const SHARE: f64 = 0.9999;

/// Samples, as the network takes them.
#[derive(Debug, Clone)]
pub struct Samples {
    /// `[features, batch]`: see [`Imported::prepare`].
    pub inputs: Array2<f64>,
    /// The class of each sample, where they are known.
    pub labels: Option<Vec<usize>>,
}

/// A model in fixed point, and how it compares with the real one.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// The model.
    pub model: Model,
    /// What was measured.
    pub report: Report,
}

/// How fixed point compares with floating point on the samples.
#[derive(Debug, Clone)]
pub struct Report {
    /// The stages.
    pub stages: Vec<StageRange>,
    /// Number of samples.
    pub rows: usize,
    /// Share of samples that floating point gets right, where classes are known.
    pub accuracy_float: Option<f64>,
    /// The same of fixed point.
    pub accuracy_fixed: Option<f64>,
    /// Share of samples to which both give the same class.
    pub agreement: f64,
    /// The largest difference of a probability.
    pub largest_difference: f64,
    /// Values that were cut off at the bound, by stage; stages after the last one with any are left out.
    pub cut_off: Vec<u64>,
}

/// What the values of one stage are like.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRange {
    /// Its name.
    pub name: String,
    /// 99.99 % of its inputs are not larger in magnitude, before equalisation.
    pub range: f64,
    /// Its inputs were multiplied by two to this power.
    pub exponent: i32,
}

impl Report {
    /// What fixed point loses: of accuracy, or of agreement where classes are not known.
    pub fn loss(&self) -> f64 {
        match (self.accuracy_float, self.accuracy_fixed) {
            (Some(float), Some(fixed)) => float - fixed,
            _ => 1.0 - self.agreement,
        }
    }
}

/// Makes a model of the fewest bits that lose at most `tolerance` of accuracy (of agreement, without classes) on the
/// samples and move no probability by more than [`LARGEST_DIFFERENCE`]; of the most bits, if none do:
/// [`Report::loss`] tells.
///
/// # Errors
/// [`Error::Samples`] for none, and for samples that do not fit; [`Error::Network`] for weights beyond all formats.
pub fn calibrate(
    imported: &Imported,
    name: &str,
    samples: &Samples,
    tolerance: f64,
) -> Result<Calibrated> {
    check(imported, samples)?;
    imported.weights.check_shapes(&imported.architecture)?;
    let (ranges, float) = measure(imported, samples.inputs.clone());
    let plain = vec![0; ranges.len()];
    let mut last = None;
    for fractions in FRACTIONS {
        for exponents in [equalised(imported, &ranges), plain.clone()] {
            let precision = fitted(&ranges, &exponents, fractions);
            let weights = scaled(&imported.weights, &exponents);
            let precision = precision.fitted(weights.largest());
            let model =
                Model::from_float(name, imported.architecture.clone(), precision, &weights)?;
            let report = compare(&model, samples, &float, &ranges, &exponents)?;
            let is_good =
                report.loss() <= tolerance && report.largest_difference <= LARGEST_DIFFERENCE;
            last = Some(Calibrated { model, report });
            if is_good {
                return last.ok_or_else(none);
            }
        }
    }
    last.ok_or_else(none)
}

/// A model by [`DEFAULT`], whose weights fit and whose activations may not.
///
/// # Errors
/// [`Error::Network`] for weights beyond all formats.
pub fn uncalibrated(imported: &Imported, name: &str) -> Result<Model> {
    let precision = DEFAULT.fitted(imported.weights.largest());
    Ok(Model::from_float(name, imported.architecture.clone(), precision, &imported.weights)?)
}

fn none() -> Error {
    Error::Samples("there are none".into())
}

fn check(imported: &Imported, samples: &Samples) -> Result<()> {
    let (features, rows) = samples.inputs.dim();
    let (expected, classes) =
        (imported.architecture.input().features(), imported.architecture.classes());
    if rows == 0 {
        return Err(none());
    }
    if features != expected {
        return Err(Error::Samples(format!("{features} features, the model takes {expected}")));
    }
    let Some(labels) = &samples.labels else { return Ok(()) };
    if labels.len() != rows {
        return Err(Error::Samples(format!("{} classes for {rows} samples", labels.len())));
    }
    match labels.iter().find(|&&label| label >= classes) {
        None => Ok(()),
        Some(label) => {
            Err(Error::Samples(format!("a class of number {label}, the model has {classes}")))
        }
    }
}

/// The range of each stage's inputs, and class probabilities, in floating point; `inputs` fit.
fn measure(imported: &Imported, inputs: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let network = Arc::new(imported.architecture.network());
    let mut tape = Tape::new(Arc::clone(&network), inputs);
    let mut ranges = Vec::new();
    while let Some((stage, a)) = tape.stage() {
        ranges.push(range(a));
        let (linear, layer) = (&network.stages()[stage].linear, &imported.weights.layers[stage]);
        let divisor = f64::from(linear.divisor());
        let z = linear.forward(&layer.weights, &layer.biases, a.view(), divisor) / divisor;
        tape.advance(z);
    }
    let scores = tape.scores().expect("all stages are done");
    (ranges, network.loss().probabilities(scores))
}

/// The magnitude that all but one in ten thousand numbers stay below.
fn range(values: &Array2<f64>) -> f64 {
    let mut magnitudes: Vec<_> = values.iter().map(|v| v.abs()).collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the length"
    )]
    let place = (SHARE * (magnitudes.len() - 1) as f64).ceil() as usize;
    let (_, range, _) = magnitudes.select_nth_unstable_by(place, f64::total_cmp);
    *range
}

/// The least e with |range| ≤ 2^e; of a stage that is always 0, small.
fn exponent(range: f64) -> i32 {
    match range > 0.0 {
        true => {
            let (mantissa, exponent) = libm::frexp(range);
            exponent - i32::from(mantissa == 0.5)
        }
        false => -16,
    }
}

/// The powers of two by which the inputs of each stage are multiplied: the first stage's are the sample's, and stay.
fn equalised(imported: &Imported, ranges: &[f64]) -> Vec<i32> {
    let is_free = free(imported.architecture.layers(), ranges.len());
    let fixed = ranges.iter().zip(&is_free).filter(|(_, free)| !**free);
    let target = fixed.map(|(range, _)| exponent(*range)).max().unwrap_or_default();
    let shift = |(range, free): (&f64, &bool)| match *free && *range > 0.0 {
        true => (target - exponent(*range)).clamp(-MOST_SHIFT, MOST_SHIFT),
        false => 0,
    };
    ranges.iter().zip(&is_free).map(shift).collect()
}

/// For each stage whether f(2^k·z) = 2^k·f(z) for all that stands between it and the stage before; never in residual
/// networks, where a factor of one branch would be one of the other.
fn free(layers: &[LayerSpec], stages: usize) -> Vec<bool> {
    let is_residual =
        |layer: &LayerSpec| matches!(layer, LayerSpec::Add { .. } | LayerSpec::Branch { .. });
    if layers.iter().any(is_residual) {
        return vec![false; stages];
    }
    let mut free = Vec::new();
    let mut here = false;
    for layer in layers {
        match layer {
            LayerSpec::Dense { .. } | LayerSpec::Conv2d { .. } => {
                free.push(here);
                here = true;
            }
            LayerSpec::MeanPool2d { .. }
            | LayerSpec::MaxPool2d { .. }
            | LayerSpec::GlobalAveragePool
            | LayerSpec::Activation {
                function: Activation::Relu | Activation::LeakyRelu { .. } | Activation::Identity,
            } => {}
            _ => here = false,
        }
    }
    free.resize(stages, false);
    free
}

/// The weights with which the inputs of stage i are 2^`exponents`[i] times what they were.
fn scaled(weights: &FloatParameters, exponents: &[i32]) -> FloatParameters {
    let mut weights = weights.clone();
    for (stage, layer) in weights.layers.iter_mut().enumerate() {
        let (before, after) =
            (exponents[stage], exponents.get(stage + 1).copied().unwrap_or_default());
        layer.weights.iter_mut().for_each(|w| *w = libm::ldexp(*w, after - before));
        layer.biases.iter_mut().for_each(|b| *b = libm::ldexp(*b, after));
    }
    weights
}

fn fitted(ranges: &[f64], exponents: &[i32], (activations, weights): (u32, u32)) -> Precision {
    let scaled = ranges.iter().zip(exponents).map(|(range, by)| exponent(*range) + by);
    let integer = u32::try_from(scaled.max().unwrap_or_default() + 1).unwrap_or_default();
    Precision {
        activations: Format::new(integer, activations),
        weights: Format::new(1, weights),
        ..Precision::INFERENCE
    }
}

fn compare(
    model: &Model,
    samples: &Samples,
    float: &Array2<f64>,
    ranges: &[f64],
    exponents: &[i32],
) -> Result<Report> {
    let rows = samples.inputs.ncols();
    let names = |what: &str, count: usize| (0..count).map(|i| format!("{what}{i}")).collect();
    let labels = samples.labels.clone().unwrap_or_else(|| vec![0; rows]);
    let dataset = Dataset::new(
        samples.inputs.clone(),
        labels,
        names("x", samples.inputs.nrows()),
        names("class", model.architecture().classes()),
    );
    let evaluation = model.evaluate(&dataset.map_err(|e| Error::Samples(e.to_string()))?)?;
    let (fixed, _) = model.probabilities(&samples.inputs)?;
    let predicted = |p: &Array2<f64>| -> Vec<_> {
        let argmax = |p: ndarray::ArrayView1<'_, f64>| gelu_core::pass::argmax(p.iter().copied());
        p.axis_iter(Axis(1)).map(argmax).collect()
    };
    let (float_classes, fixed_classes) = (predicted(float), evaluation.predictions);
    let share = |a: &[usize], b: &[usize]| {
        a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / rows as f64
    };
    let right = |classes: &[usize]| samples.labels.as_ref().map(|labels| share(classes, labels));
    let difference = (float - &fixed).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()));
    let blocks = model.architecture().blocks().iter().zip(ranges.iter().zip(exponents));
    let stage = |(block, (&range, &exponent)): (&gelu_nn::Block, (&f64, &i32))| StageRange {
        name: block.name().into(),
        range,
        exponent,
    };
    Ok(Report {
        stages: blocks.map(stage).collect(),
        rows,
        accuracy_float: right(&float_classes),
        accuracy_fixed: right(&fixed_classes),
        agreement: share(&float_classes, &fixed_classes),
        largest_difference: difference,
        cut_off: evaluation.saturations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::Outputs;
    use gelu_nn::{Sequential, Shape};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn imported(activation: Activation, gain: f64) -> Imported {
        let f = LayerSpec::Activation { function: activation };
        let conv = LayerSpec::Conv2d {
            filters: 3,
            kernel: 3.into(),
            stride: 1.into(),
            padding: 1.into(),
            groups: 1,
        };
        let (pool, dense) = (
            LayerSpec::MaxPool2d { window: 2.into(), stride: None, padding: 0.into() },
            |outputs| LayerSpec::Dense { outputs },
        );
        let layers = vec![conv, f, pool, dense(6), f, dense(3)];
        let architecture = Sequential::new(Shape::image(1, 4, 4), layers).unwrap();
        let mut weights =
            FloatParameters::initialise(&architecture, &mut ChaCha20Rng::seed_from_u64(5));
        weights.layers[0].weights.iter_mut().for_each(|w| *w *= gain);
        weights.layers[1].weights.iter_mut().for_each(|w| *w /= gain);
        weights.layers[1].biases.iter_mut().for_each(|b| *b += 0.25);
        Imported {
            sample: crate::Sample::of_numbers(&[1, 4, 4]),
            architecture,
            weights,
            classes: None,
            outputs: Outputs::Scores,
            opset: None,
            source: String::new(),
            notes: Vec::new(),
        }
    }

    fn samples() -> Samples {
        let inputs = Array2::from_shape_fn((16, 30), |(i, s)| ((i * 7 + s * 5) % 13) as f64 / 13.0);
        Samples { inputs, labels: None }
    }

    /// ReLU layers move by powers of two without a change of any result; sigmoids stay where they are.
    #[test]
    fn equalised_networks_are_equal() {
        for (activation, moves) in [(Activation::Relu, true), (Activation::Sigmoid, false)] {
            let mut network = imported(activation, 40.0);
            let samples = samples();
            let before = network.probabilities(&samples.inputs).unwrap();
            let (ranges, _) = measure(&network, samples.inputs.clone());
            let exponents = equalised(&network, &ranges);
            assert_eq!(exponents.iter().any(|e| *e != 0), moves, "{exponents:?}");
            network.weights = scaled(&network.weights, &exponents);
            let after = network.probabilities(&samples.inputs).unwrap();
            let difference =
                (&before - &after).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()));
            assert!(difference < 1e-12, "{difference}");
            if moves {
                let (now, _) = measure(&network, samples.inputs.clone());
                let largest = now.iter().fold(0.0, |largest: f64, r| largest.max(*r));
                assert!(largest <= 1.0 && now.iter().all(|r| *r > 0.25), "{now:?}");
            }
        }
    }

    #[test]
    fn the_fewest_bits_that_hold_the_tolerance_are_taken() {
        let network = imported(Activation::Relu, 40.0);
        let loose = calibrate(&network, "n", &samples(), 1.0).unwrap();
        let strict = calibrate(&network, "n", &samples(), 0.0).unwrap();
        let bits = |c: &Calibrated| c.model.precision().weights.fraction;
        assert_eq!(bits(&loose), FRACTIONS[0].1);
        assert!(bits(&strict) >= bits(&loose));
        assert_eq!(strict.report.loss(), 0.0);
        assert_eq!(strict.report.cut_off.iter().sum::<u64>(), 0);
        let labels = vec![0; 30];
        let labelled = Samples { labels: Some(labels), ..samples() };
        let report = calibrate(&network, "n", &labelled, 1.0).unwrap().report;
        let (float, fixed) = (report.accuracy_float.unwrap(), report.accuracy_fixed.unwrap());
        assert_eq!(report.loss(), float - fixed);
        let wrong = Samples { labels: Some(vec![3; 30]), ..samples() };
        assert!(calibrate(&network, "n", &wrong, 1.0).is_err());
    }

    #[test]
    fn ranges_leave_out_the_rare() {
        let mut values = Array2::from_elem((1, 20_001), 1.0);
        values[[0, 7]] = 1000.0;
        assert_eq!(range(&values), 1.0);
        assert_eq!([1.0, 1.01, 0.5, 0.0].map(exponent), [0, 1, -1, -16]);
        assert_eq!(range(&Array2::from_elem((1, 1), -3.0)), 3.0);
    }
}
