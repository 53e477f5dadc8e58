//! `layer/<scheme>/<inputs>x<outputs>`: encrypted matrix products, per multiply-accumulate.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_nn::layers::{Dense, Shape};
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

/// A dense layer with 9-bit signed weights over one-slot inputs.
fn dense<H: AdditiveHE>(c: &mut Criterion, inputs: usize, outputs: usize) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = H::keygen(2048, rng).expect("an offered key size");
    let public = H::public_key(&secret);
    let map = Dense::new(Shape::Vector(inputs), outputs).expect("a valid shape").linear_map();
    let weights: Vec<i128> = (0..map.weights()).map(|_| rng.random_range(-255..=255)).collect();
    let x: Vec<i128> = (0..inputs).map(|_| rng.random_range(-255..=255)).collect();
    let plain: Vec<_> = x.iter().map(|&v| Plaintext::new(34, vec![v]).expect("it fits")).collect();
    let encrypted = H::encrypt_many(&secret, &plain, rng).expect("they fit");

    let run = || H::matvec(public, map.forward_taps(), &weights, &encrypted).expect("a layer");
    let shape = SlotShape { bits: 34, count: 1 };
    let got: Vec<i128> = run()
        .iter()
        .map(|c| H::decrypt(&secret, c, shape).expect("within the slot").values()[0])
        .collect();
    let x = Array2::from_shape_vec((inputs, 1), x).expect("one sample");
    let expected = map.forward(&weights, &vec![0; outputs], x.view(), 1);
    assert_eq!(got, expected.into_raw_vec_and_offset().0, "the answer, before it is timed");

    let mut group = c.benchmark_group(format!("layer/{}", H::ID));
    group.sample_size(10).throughput(Throughput::Elements((inputs * outputs) as u64));
    group.bench_function(format!("{inputs}x{outputs}"), |b| b.iter(run));
    group.finish();
}

fn benches(c: &mut Criterion) {
    for (inputs, outputs) in [(38, 15), (256, 120)] {
        dense::<Paillier>(c, inputs, outputs);
    }
}

criterion_group!(layer, benches);
criterion_main!(layer);
