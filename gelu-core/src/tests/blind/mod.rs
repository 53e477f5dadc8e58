//! Whole sessions of blind queries, by the mock of both the cryptosystem and the two-party protocol.

mod bytes;
mod equal;
mod faults;
mod noise;
mod refusals;
mod session;
mod states;
mod tickets;

use std::sync::Arc;

use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::networks::{Function, Squared, chain, dense, network, pooled_convolution, sigmoid};
use crate::blind::Answer;
use crate::circuit::two_party::InsecureOpen;
use crate::circuit::{Local, Windows};
use crate::clear::{Clear, ClearKey};
use crate::client::ClientOutput;
use crate::error::Result;
use crate::fixed::Precision;
use crate::ledger::Policy;
use crate::network::{LocalFunction, Network};
use crate::pair::{BlindPair, PairHost};
use crate::pass::{Pass, bias_constant};
use crate::server::{Host, ServedModel};

pub(super) type Pair = BlindPair<Clear, InsecureOpen>;

/// Chains of the layers that have circuits, by name.
fn networks() -> [(&'static str, Network); 4] {
    let local = |name, local| Box::new(Function(name, Some(local))) as Box<dyn LocalFunction>;
    let windows = |size: usize, count: usize| {
        Windows((0..count).map(|w| (0..size).map(|i| w + count * i).collect()).collect())
    };
    let relu = || local("relu", Local::Relu);
    let pools = vec![
        ("wide", dense(9, 8), vec![relu(), local("max", Local::Max(windows(2, 4)))]),
        ("narrow", dense(4, 8), vec![local("mean", Local::Mean(windows(4, 2)))]),
        ("last", dense(2, 5), vec![]),
    ];
    let curves = vec![
        ("pooled", pooled_convolution(9), vec![local("sigmoid", Local::Steps(sigmoid))]),
        ("square", dense(4, 3), vec![local("square", Local::Square)]),
        ("last", dense(3, 2), vec![]),
    ];
    let single = vec![("only", dense(9, 3), vec![])];
    let squared = || Box::new(Squared);
    [
        ("tanh", network()),
        ("poolings", chain(9, pools, squared())),
        ("curves", chain(9, curves, squared())),
        ("single", chain(9, single, squared())),
    ]
}

/// Weights over the whole range of their format.
pub(super) fn model(network: Network) -> ServedModel {
    let (network, precision) = (Arc::new(network), Precision::INFERENCE);
    let (max, rng) = (precision.weights.max(), &mut ChaCha20Rng::seed_from_u64(21));
    let parameters = network.zeros().map(|_| rng.random_range(-max..=max));
    ServedModel { network, precision, parameters, version: 1 }
}

/// Inputs of all sizes, some of which are cut off.
pub(super) fn inputs(model: &ServedModel, samples: usize) -> Array2<f64> {
    let rng = &mut ChaCha20Rng::seed_from_u64(22);
    Array2::from_shape_fn((model.network.inputs(), samples), |(_, n)| {
        rng.random_range(-1.0..1.0) * [0.2, 3.0, 15.0, 40.0][n % 4]
    })
}

/// What the clear network in fixed point gives, `[classes, samples]`.
fn clear(model: &ServedModel, inputs: &Array2<f64>) -> Array2<f64> {
    let mut pass = Pass::new(Arc::clone(&model.network), model.precision, inputs).unwrap();
    while let Some(stage) = pass.stage() {
        let linear = &model.network.stages()[stage].linear;
        let layer = &model.parameters.layers[stage];
        let constant = bias_constant(linear, model.precision.activations);
        let x = pass.activations(stage).view();
        let sums = linear.forward_integers(&layer.weights, &layer.biases, x, constant);
        pass.advance(&sums).unwrap();
    }
    pass.probabilities().unwrap()
}

/// The class of each sample.
fn classes(scores: &Array2<f64>) -> Vec<usize> {
    scores.columns().into_iter().map(|c| crate::pass::argmax(c.iter().copied())).collect()
}

/// What a query must give.
fn expected(model: &ServedModel, inputs: &Array2<f64>, answer: Answer) -> ClientOutput {
    let scores = clear(model, inputs);
    match answer {
        Answer::Class => ClientOutput::Classes(classes(&scores)),
        Answer::Scores => ClientOutput::Probabilities(scores),
    }
}

pub(super) fn pair(
    model: ServedModel,
    answer: Answer,
) -> Result<(Pair, Arc<PairHost>, ChaCha20Rng)> {
    let host = Arc::new(PairHost::new(model, "test", Policy::AllowModelExtraction));
    let key = Arc::new(ClearKey::new(2048)?);
    let mut rng = ChaCha20Rng::seed_from_u64(23);
    Ok((Pair::open(Arc::clone(&host), key, answer, &mut rng)?, host, rng))
}
