//! `protocol/<scheme>/<network>`: whole exchanges of both parties, in one process.
#![expect(missing_docs, reason = "criterion's macros make undocumented items")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{AdditiveHE, Precision};
use gelu_nn::{Model, zoo};
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

fn inference<H: AdditiveHE>(c: &mut Criterion, name: &str) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let architecture = (zoo::by_name(name).expect("a known network").architecture)();
    let model = Model::initialise(name, architecture, Precision::INFERENCE, rng).expect("a model");
    let served = ServedModel {
        network: Arc::clone(model.network()),
        precision: *model.precision(),
        parameters: model.parameters().clone(),
        version: 0,
    };
    let host = Arc::new(PairHost::new(served, "bench", Policy::AllowModelExtraction));
    let secret = Arc::new(H::keygen(2048, rng).expect("an offered key size"));
    let mut pair =
        Pair::<H>::open(host, secret, LearningRate::Public(0.1), rng).expect("a session");
    let sample = Array2::from_elem((model.network().inputs(), 1), 0.5);
    let (expected, _) = model.probabilities(&sample).expect("an answer in the clear");
    assert_eq!(pair.classify(&sample, rng).expect("an answer"), expected, "checked, then timed");

    let mut group = c.benchmark_group(format!("protocol/{}", H::ID));
    group.sample_size(10);
    group.bench_function(format!("infer/{name}"), |b| b.iter(|| pair.classify(&sample, rng)));
    group.finish();
}

fn benches(c: &mut Criterion) {
    for name in ["iris", "kr-vs-kp", "conv1"] {
        inference::<Paillier>(c, name);
    }
}

criterion_group!(protocol, benches);
criterion_main!(protocol);
