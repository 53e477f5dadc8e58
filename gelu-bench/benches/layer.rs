//! `layer/<scheme>/<inputs>x<outputs>`: encrypted matrix products with signed 8-bit weights, on one
//! thread.
//!
//! Paillier with keys of 2048 bits, and every backend whose feature is on: `--features
//! elgamal,bgn`. An element is a multiply-accumulate, so the inverse of criterion's throughput is its time. How
//! it falls as layers grow is the table from 10x10 to 1000x1000.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
#[cfg(feature = "bgn")]
use gelu_bgn::Bgn;
use gelu_core::slots::{AdditiveHE, Matrix, Plaintext, SlotShape};
#[cfg(feature = "elgamal")]
use gelu_elgamal::ElGamal;
use gelu_nn::layers::{Dense, Shape};
use gelu_paillier::Paillier;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

/// Of the paper's networks, then square ones.
const SHAPES: [(usize, usize); 6] =
    [(38, 15), (256, 120), (784, 300), (10, 10), (100, 100), (1000, 1000)];

/// Without the last, for schemes of which one such product takes seconds.
#[cfg(feature = "bgn")]
const SMALLER: &[(usize, usize)] = SHAPES.split_last().expect("six").1;

/// A dense layer over one-slot inputs.
fn dense<H: AdditiveHE>(
    c: &mut Criterion,
    secret: &H::SecretKey,
    (inputs, outputs): (usize, usize),
    rng: &mut ChaCha20Rng,
) {
    let public = H::public_key(secret);
    let map = Dense::new(Shape::Vector(inputs), outputs).expect("a valid shape").linear_map();
    let weights: Vec<i128> = (0..map.weights()).map(|_| rng.random_range(-128..=127)).collect();
    let x: Vec<i128> = (0..inputs).map(|_| rng.random_range(-255..=255)).collect();
    let plain: Vec<_> = x.iter().map(|&v| Plaintext::new(34, vec![v]).expect("it fits")).collect();
    let encrypted = H::encrypt_many(secret, &plain, rng).expect("they fit");

    let matrix = Matrix { taps: map.forward_taps(), entries: weights.clone() }.into();
    let run = || H::matvec(public, &matrix, &encrypted).expect("a layer");
    let shape = SlotShape { bits: 34, count: 1 };
    let sums: Vec<_> = run().into_iter().map(|sum| (sum, shape)).collect();
    let got = H::decrypt_many(secret, &sums).expect("within the slot");
    let got: Vec<i128> = got.iter().map(|sum| sum.values()[0]).collect();
    let x = Array2::from_shape_vec((inputs, 1), x).expect("one sample");
    let expected = map.forward(&weights, &vec![0; outputs], x.view(), 1);
    assert_eq!(got, expected.into_raw_vec_and_offset().0, "the answer, before it is timed");

    let mut group = c.benchmark_group(format!("layer/{}", H::ID));
    group.sample_size(10).throughput(Throughput::Elements((inputs * outputs) as u64));
    group.bench_function(format!("{inputs}x{outputs}"), |b| b.iter(run));
    group.finish();
}

/// Dense layers of these shapes under one key.
fn layers<H: AdditiveHE>(c: &mut Criterion, bits: u32, shapes: &[(usize, usize)]) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = H::keygen(bits, rng).expect("an offered key size");
    for &shape in shapes {
        dense::<H>(c, &secret, shape, rng);
    }
}

fn benches(c: &mut Criterion) {
    gelu_bench::on_one_thread();
    layers::<Paillier>(c, 2048, &SHAPES);
    #[cfg(feature = "elgamal")]
    layers::<ElGamal>(c, gelu_elgamal::KEY_BITS, &SHAPES);
    #[cfg(feature = "bgn")]
    layers::<Bgn>(c, gelu_bgn::KEY_BITS, SMALLER);
}

criterion_group!(layer, benches);
criterion_main!(layer);
