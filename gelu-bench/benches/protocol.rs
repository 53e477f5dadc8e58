//! `protocol/<scheme>/<network>`: whole exchanges of both parties, in one process.
//!
//! Paillier with keys of 2048 bits, and every backend whose feature is on: `--features
//! elgamal,bgn`. Only Paillier trains: the plaintexts of the others are too small for masked
//! weights. Under BGN and TFHE LeNet-5 is left out, which sends hundreds of megabytes or takes seconds.

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
#[cfg(feature = "bgn")]
use gelu_bgn::Bgn;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Backend, Precision};
#[cfg(feature = "elgamal")]
use gelu_elgamal::ElGamal;
use gelu_nn::{FixedTrainer, Model, Rate, zoo};
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// A session of both parties around a network with random weights.
fn session<H: Backend>(
    name: &str,
    bits: u32,
    precision: Precision,
    rng: &mut ChaCha20Rng,
) -> (Pair<H>, Model) {
    let architecture = (zoo::by_name(name).expect("a known network").architecture)();
    let model = Model::initialise(name, architecture, precision, rng).expect("a model");
    let served = ServedModel::from(&model);
    let host = Arc::new(PairHost::new(served, "bench", Policy::AllowModelExtraction));
    let secret = Arc::new(H::keygen(bits, rng).expect("an offered key size"));
    let pair = Pair::open(host, secret, LearningRate::Public(RATE), rng).expect("a session");
    (pair, model)
}

const RATE: f64 = 0.1;

fn inference<H: Backend>(c: &mut Criterion, bits: u32, name: &str) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let (mut pair, model) = session::<H>(name, bits, Precision::INFERENCE, rng);
    let sample = Array2::from_elem((model.network().inputs(), 1), 0.5);
    let (expected, _) = model.probabilities(&sample).expect("an answer in the clear");
    assert_eq!(pair.classify(&sample, rng).expect("an answer"), expected, "checked, then timed");

    let mut group = c.benchmark_group(format!("protocol/{}", H::ID));
    group.sample_size(10);
    group.bench_function(format!("infer/{name}"), |b| b.iter(|| pair.classify(&sample, rng)));
    group.finish();
}

/// One whole lease of four steps, so the time of a step is a quarter of what is shown.
fn lease<H: Backend>(c: &mut Criterion, name: &str, batch: usize) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let (mut pair, model) = session::<H>(name, 2048, Precision::TRAINING, rng);
    let inputs = Array2::from_elem((model.network().inputs(), batch), 0.5);
    let batches = vec![(inputs, vec![0; batch]); 4];
    let losses: Vec<_> =
        pair.train(&batches, rng).expect("a lease").iter().map(|step| step.loss).collect();
    let mut oracle = FixedTrainer::new(&model);
    let step = |(x, t): &(Array2<f64>, Vec<usize>)| oracle.step(x, t, Rate::Public(RATE));
    let expected: Vec<_> = batches.iter().map(step).map(|r| r.expect("a step").loss).collect();
    assert_eq!(losses, expected, "checked, then timed");

    let mut group = c.benchmark_group(format!("protocol/{}", H::ID));
    group.sample_size(10);
    group.bench_function(format!("lease_of_4/{name}/{batch}"), |b| {
        b.iter(|| pair.train(&batches, rng).expect("a lease"));
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    for name in ["iris", "kr-vs-kp", "conv1", "lenet5"] {
        inference::<Paillier>(c, 2048, name);
        #[cfg(feature = "elgamal")]
        inference::<ElGamal>(c, gelu_elgamal::KEY_BITS, name);
    }
    #[cfg(feature = "bgn")]
    for name in ["iris", "kr-vs-kp", "conv1"] {
        inference::<Bgn>(c, gelu_bgn::KEY_BITS, name);
    }
    lease::<Paillier>(c, "iris", 16);
}

criterion_group!(protocol, benches);
criterion_main!(protocol);
