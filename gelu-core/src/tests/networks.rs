//! A small network for this crate's tests (layers proper live in `gelu-nn`).

use ndarray::Array2;

use crate::circuit::{Local, Windows};
use crate::error::Result;
use crate::linear::{Axis, Dense, LinearMap, Window};
use crate::network::{LocalFunction, Loss, Network, Stage, Step};

/// y = tanh(z).
#[derive(Debug)]
pub(crate) struct Tanh;

impl LocalFunction for Tanh {
    fn name(&self) -> &str {
        "tanh"
    }
    fn outputs(&self, inputs: usize) -> Result<usize> {
        Ok(inputs)
    }
    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        z.mapv(libm::tanh)
    }
    fn backward(&self, _: &Array2<f64>, a: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        grad * &a.mapv(|a| 1.0 - a * a)
    }
    fn circuit(&self) -> Option<Local> {
        Some(Local::Steps(libm::tanh))
    }
}

/// A local function as a network has it, by its circuit's own kind.
#[derive(Debug)]
pub(crate) struct Function(pub(crate) &'static str, pub(crate) Option<Local>);

impl LocalFunction for Function {
    fn name(&self) -> &str {
        self.0
    }
    fn outputs(&self, inputs: usize) -> Result<usize> {
        Ok(match &self.1 {
            Some(Local::Max(windows) | Local::Mean(windows)) => windows.0.len(),
            _ => inputs,
        })
    }
    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        let pooled = |windows: &Windows, f: &dyn Fn(&[f64]) -> f64| {
            Array2::from_shape_fn((windows.0.len(), z.ncols()), |(w, column)| {
                f(&windows.0[w].iter().map(|i| z[[*i, column]]).collect::<Vec<_>>())
            })
        };
        match self.1.as_ref().unwrap() {
            Local::Relu => z.mapv(|z| z.max(0.0)),
            Local::Square => z.mapv(|z| z * z),
            Local::Steps(f) => z.mapv(f),
            Local::Max(windows) => {
                pooled(windows, &|w| w.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            }
            Local::Mean(windows) => {
                pooled(windows, &|w| w.iter().map(|z| z * (1.0 / w.len() as f64)).sum())
            }
        }
    }
    fn backward(&self, _: &Array2<f64>, _: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        grad.clone()
    }
    fn circuit(&self) -> Option<Local> {
        self.1.clone()
    }
}

pub(crate) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-z))
}

/// Squared distance to the one-hot label, scores as they are.
#[derive(Debug)]
pub(crate) struct Squared;

impl Loss for Squared {
    fn name(&self) -> &str {
        "squared"
    }
    fn probabilities(&self, scores: &Array2<f64>) -> Array2<f64> {
        scores.clone()
    }
    fn value(&self, p: &Array2<f64>, labels: &[usize]) -> f64 {
        self.gradient(p, labels).mapv(|d| d * d / 2.0).sum() / labels.len() as f64
    }
    fn gradient(&self, p: &Array2<f64>, labels: &[usize]) -> Array2<f64> {
        let mut d = p.clone();
        labels.iter().enumerate().for_each(|(s, &label)| d[[label, s]] -= 1.0);
        d
    }
    fn ignores_shift(&self) -> bool {
        false
    }
}

/// The same for scores without their mean.
#[derive(Debug)]
pub(crate) struct Centred;

impl Loss for Centred {
    fn name(&self) -> &str {
        "centred"
    }
    fn probabilities(&self, scores: &Array2<f64>) -> Array2<f64> {
        scores - &scores.mean_axis(ndarray::Axis(0)).expect("a class")
    }
    fn value(&self, p: &Array2<f64>, labels: &[usize]) -> f64 {
        Squared.value(p, labels)
    }
    fn gradient(&self, p: &Array2<f64>, labels: &[usize]) -> Array2<f64> {
        self.probabilities(&Squared.gradient(p, labels))
    }
    fn ignores_shift(&self) -> bool {
        true
    }
}

/// Every output from every input.
pub(crate) fn dense(inputs: u32, outputs: u32) -> LinearMap {
    Dense::new(inputs as usize, outputs as usize).expect("a dense layer").into()
}

/// A one-dimensional convolution of two taps whose neighbouring outputs are averaged, fused: one
/// filter at `(inputs − 1) / 2` positions.
pub(crate) fn pooled_convolution(inputs: u32) -> LinearMap {
    let columns = Axis::new(inputs as usize, 2, 1, 0).and_then(|axis| axis.pooled(2));
    let rows = Axis::new(1, 1, 1, 0).expect("one row");
    Window::new(1, 1, rows, columns.expect("an odd width")).expect("a fused convolution").into()
}

/// Nine inputs, a fused convolution (4 outputs), a dense layer (5), another one (3 classes).
pub(crate) fn network() -> Network {
    network_with(Box::new(Squared))
}

/// The same with another loss.
pub(crate) fn network_with(loss: Box<dyn Loss>) -> Network {
    let stages = vec![
        ("first", pooled_convolution(9), vec![Box::new(Tanh) as _]),
        ("second", dense(4, 5), vec![Box::new(Tanh) as _]),
        ("third", dense(5, 3), vec![]),
    ];
    chain(9, stages, loss)
}

/// Nine inputs; a dense layer of 6; one around which its own input leads; a block of which the shortcut has weights; scores.
///
/// ```text
/// 0 ─first─ 1 ─tanh─ 2 ─body─ 3 ─(+2)─ 4 ─tanh─ 5 ┬ left ─ 6 ─tanh─ 7 ─right─ 8 ┬(+) 10 ─tanh─ 11 ─last─ 12
///                                                └ short ──────────────────── 9 ┘
/// ```
pub(crate) fn residual(loss: Box<dyn Loss>) -> Network {
    let stage = |name: &str, linear| Stage { name: name.into(), linear };
    let stages = vec![
        stage("first", dense(9, 6)),
        stage("body", dense(6, 6)),
        stage("left", dense(6, 4)),
        stage("right", dense(4, 4)),
        stage("short", dense(6, 4)),
        stage("last", dense(4, 3)),
    ];
    let tanh = |source| Step::Local { function: Box::new(Tanh), source };
    let steps = vec![
        Step::Linear { stage: 0, source: 0 },
        tanh(1),
        Step::Linear { stage: 1, source: 2 },
        Step::Add { sources: [3, 2] },
        tanh(4),
        Step::Linear { stage: 2, source: 5 },
        tanh(6),
        Step::Linear { stage: 3, source: 7 },
        Step::Linear { stage: 4, source: 5 },
        Step::Add { sources: [8, 9] },
        tanh(10),
        Step::Linear { stage: 5, source: 11 },
    ];
    Network::new(9, stages, steps, loss).expect("a graph")
}

/// A stage by its name and its map, and the functions that follow it.
type Link = (&'static str, LinearMap, Vec<Box<dyn LocalFunction>>);

/// Each step takes the value of the one before it.
pub(crate) fn chain(inputs: usize, links: Vec<Link>, loss: Box<dyn Loss>) -> Network {
    let (mut stages, mut steps) = (Vec::new(), Vec::new());
    for (name, linear, locals) in links {
        steps.push(Step::Linear { stage: stages.len(), source: steps.len() });
        stages.push(Stage { name: name.into(), linear });
        for function in locals {
            steps.push(Step::Local { function, source: steps.len() });
        }
    }
    Network::new(inputs, stages, steps, loss).expect("a chain")
}
