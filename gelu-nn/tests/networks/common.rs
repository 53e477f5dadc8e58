//! Sessions of one or several clients over any backend, and the oracle beside them.

use std::sync::Arc;

use gelu_core::client::StepReport;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{Host, LearningRate, ServedModel};
use gelu_core::{Backend, Parameters, Precision};
use gelu_nn::{FixedTrainer, Model, Rate, Sequential};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

/// Mini-batches of inputs and labels.
pub(crate) type Batches = Vec<(Array2<f64>, Vec<usize>)>;

/// A model with random weights.
pub(crate) fn model(architecture: &Sequential) -> Model {
    let rng = &mut ChaCha20Rng::seed_from_u64(7);
    Model::initialise("test", architecture.clone(), Precision::TRAINING, rng).unwrap()
}

/// Random inputs between −2 and 2, random labels.
pub(crate) fn batches(architecture: &Sequential, batch: usize, steps: usize, seed: u64) -> Batches {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let features = architecture.input().features();
    (0..steps)
        .map(|_| {
            let inputs = Array2::from_shape_fn((features, batch), |_| rng.random_range(-2.0..2.0));
            let labels = (0..batch).map(|_| rng.random_range(0..architecture.classes())).collect();
            (inputs, labels)
        })
        .collect()
}

/// A server's process around a model, for any number of clients.
pub(crate) fn host(model: &Model) -> Arc<PairHost> {
    let served = ServedModel::from(model);
    Arc::new(PairHost::new(served, "test", Policy::AllowModelExtraction))
}

/// The learning rate of the server and of the oracle.
pub(crate) fn rate<H: Backend>(rate: Rate, bits: u32) -> LearningRate<H> {
    match rate {
        Rate::Public(eta) => LearningRate::Public(eta),
        Rate::Secret { g, g_max } => {
            let key = H::keygen(bits, &mut ChaCha20Rng::seed_from_u64(100)).unwrap();
            LearningRate::Secret { key: Arc::new(key), g, g_max }
        }
    }
}

/// A client with a fresh key, joined to the host.
pub(crate) fn client<H: Backend>(
    host: &Arc<PairHost>,
    learning: LearningRate<H>,
    bits: u32,
    seed: u64,
) -> (Pair<H>, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let secret = Arc::new(H::keygen(bits, &mut rng).unwrap());
    (Pair::open(Arc::clone(host), secret, learning, &mut rng).unwrap(), rng)
}

/// What the oracle makes of a model by the same mini-batches.
pub(crate) fn oracle(model: &Model, batches: &Batches, rate: Rate) -> (Parameters, Vec<f64>) {
    let mut trainer = FixedTrainer::new(model);
    let step = |(inputs, labels): &(Array2<f64>, Vec<usize>)| {
        trainer.step(inputs, labels, rate).unwrap().loss
    };
    let losses = batches.iter().map(step).collect();
    (trainer.parameters().clone(), losses)
}

/// One client, one lease: weights and losses must be the oracle's.
pub(crate) fn assert_equals_oracle<H: Backend>(
    architecture: &Sequential,
    (batch, steps): (usize, usize),
    by: Rate,
    bits: u32,
) {
    let what = format!("{}, batch {batch}, {by:?}, {}", architecture.to_json(), H::ID);
    let model = model(architecture);
    let host = host(&model);
    let (mut pair, mut rng) = client::<H>(&host, rate(by, bits), bits, 1);
    let batches = batches(architecture, batch, steps, 2);
    let reports: Vec<StepReport> = pair.train(&batches, &mut rng).unwrap();
    let (weights, losses) = oracle(&model, &batches, by);
    assert!(host.model().parameters == weights, "weights: {what}");
    assert!(weights != *model.parameters(), "nothing was learnt: {what}");
    assert_eq!(reports.iter().map(|r| r.loss).collect::<Vec<_>>(), losses, "losses: {what}");

    let trained = model.successor(weights).unwrap();
    let encrypted = pair.classify(&batches[0].0, &mut rng).unwrap();
    assert_eq!(encrypted, trained.probabilities(&batches[0].0).unwrap().0, "inference: {what}");
}
