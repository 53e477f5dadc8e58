//! `he/<scheme>/<operation>/<bits>`: the operations of a cryptosystem.

use criterion::{Criterion, criterion_group, criterion_main};
use gelu_core::{AdditiveHE, Plaintext, SlotShape, conformance};
use gelu_paillier::Paillier;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

fn operations<H: AdditiveHE>(c: &mut Criterion, bits: u32) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = H::keygen(bits, rng).expect("an offered key size");
    conformance::check::<H>(&secret, 1, rng);
    let public = H::public_key(&secret);
    let shape = SlotShape { bits: 32, count: 1 };
    let plain = Plaintext::new(32, vec![123_456]).expect("it fits");
    let a = H::encrypt_as_owner(&secret, &plain, rng).expect("it fits");
    let b = H::encrypt(public, &plain, rng).expect("it fits");
    let mut group = c.benchmark_group(format!("he/{}", H::ID));
    let id = |operation: &str| format!("{operation}/{bits}");
    group.sample_size(10);
    group.bench_function(id("encrypt"), |x| x.iter(|| H::encrypt(public, &plain, rng)));
    group.bench_function(id("encrypt_as_owner"), |x| {
        x.iter(|| H::encrypt_as_owner(&secret, &plain, rng));
    });
    group.bench_function(id("decrypt"), |x| x.iter(|| H::decrypt(&secret, &a, shape)));
    group.bench_function(id("add"), |x| x.iter(|| H::add(public, &a, &b)));
    group.bench_function(id("mul_plain_16_bit"), |x| x.iter(|| H::mul_plain(public, &a, 54_321)));
    group.bench_function(id("rerandomize"), |x| {
        x.iter(|| H::rerandomize(public, &a, shape, rng));
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    for bits in [2048, 3072] {
        operations::<Paillier>(c, bits);
    }
}

criterion_group!(he, benches);
criterion_main!(he);
