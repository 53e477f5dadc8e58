//! `he/<scheme>/<operation>/<bits of the key>`: the operations of a cryptosystem, on one thread.
//!
//! Paillier, and every backend whose feature is on: `--features elgamal,bgn`. Batches, which
//! schemes may compute in lanes, are named after their size; criterion shows their items a second.
//! Tables of a key are built by the checks, before anything is timed. Plaintexts are as large as
//! weighted sums are, because some schemes have to search for them.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
#[cfg(feature = "bgn")]
use gelu_bgn::Bgn;
use gelu_core::slots::{AdditiveHE, Plaintext, SlotBackend, SlotShape};
use gelu_core::{Cryptosystem, conformance};
#[cfg(feature = "elgamal")]
use gelu_elgamal::ElGamal;
use gelu_paillier::{Noise, Paillier};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// What the public key alone can do with a batch: the trait has no such method.
type EncryptMany<H> = fn(
    &<H as Cryptosystem>::PublicKey,
    &[Plaintext],
    &mut ChaCha20Rng,
) -> gelu_core::Result<Vec<<H as AdditiveHE>::Ciphertext>>;

const BATCH: u8 = 64;

/// 27 bits, like the sums of the paper's networks.
const VALUE: i128 = 123_456_789;

fn operations<H: SlotBackend>(c: &mut Criterion, bits: u32, encrypt_many: EncryptMany<H>) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = H::keygen(bits, rng).expect("an offered key size");
    conformance::check::<H>(&secret, 1, rng);
    let public = H::public_key(&secret);
    let shape = SlotShape { bits: 32, count: 1 };
    let plain = Plaintext::new(32, vec![VALUE]).expect("it fits");
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

    let row = |i: u8| Plaintext::new(32, vec![VALUE - 1000 * i128::from(i)]).expect("it fits");
    let plain: Vec<_> = (0..BATCH).map(row).collect();
    let shaped = |ciphertexts: Vec<H::Ciphertext>| -> Vec<_> {
        let shaped: Vec<_> = ciphertexts.into_iter().map(|c| (c, shape)).collect();
        assert_eq!(H::decrypt_many(&secret, &shaped).expect("in range"), plain, "then timed");
        shaped
    };
    let ours = shaped(H::encrypt_many(&secret, &plain, rng).expect("they fit"));
    shaped(encrypt_many(public, &plain, rng).expect("they fit"));
    shaped(H::rerandomize_many(public, &ours, rng));
    let id = |operation: &str| format!("{operation}_{BATCH}/{bits}");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function(id("encrypt"), |x| x.iter(|| encrypt_many(public, &plain, rng)));
    group.bench_function(id("encrypt_as_owner"), |x| {
        x.iter(|| H::encrypt_many(&secret, &plain, rng));
    });
    group.bench_function(id("decrypt"), |x| x.iter(|| H::decrypt_many(&secret, &ours)));
    group.bench_function(id("rerandomize"), |x| {
        x.iter(|| H::rerandomize_many(public, &ours, rng));
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    gelu_bench::on_one_thread();
    for bits in [2048, 3072] {
        operations::<Paillier>(c, bits, |public, plain, rng| {
            public.encrypt_with(Noise::HalfExponent, plain, rng)
        });
    }
    #[cfg(feature = "elgamal")]
    operations::<ElGamal>(c, gelu_elgamal::KEY_BITS, one_by_one::<ElGamal>);
    #[cfg(feature = "bgn")]
    operations::<Bgn>(c, gelu_bgn::KEY_BITS, one_by_one::<Bgn>);
}

/// Where a scheme has no batches for the public key.
#[cfg(any(feature = "elgamal", feature = "bgn"))]
fn one_by_one<H: AdditiveHE>(
    public: &H::PublicKey,
    plain: &[Plaintext],
    rng: &mut ChaCha20Rng,
) -> gelu_core::Result<Vec<H::Ciphertext>> {
    plain.iter().map(|plain| H::encrypt(public, plain, rng)).collect()
}

criterion_group!(he, benches);
criterion_main!(he);
