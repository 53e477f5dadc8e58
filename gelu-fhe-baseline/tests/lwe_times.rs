//! What operations take on one core: what `Tfhe::prices` was read from.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo test --release -p gelu-fhe-baseline --features tfhe --test lwe_times \
//!     -- --ignored --nocapture
//! ```
#![cfg(feature = "tfhe")]

use std::hint::black_box;
use std::time::Instant;

use gelu_core::linear::{Tap, Taps};
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_fhe_baseline::lwe::{KEY_BITS, SecretKey, Tfhe};
use rand::{RngExt, SeedableRng, rngs::ChaCha20Rng};

/// Microseconds of the fastest of a few runs.
fn time<T>(what: &str, each: usize, mut run: impl FnMut() -> T) {
    let once = || {
        let start = Instant::now();
        black_box(run());
        start.elapsed().as_secs_f64() * 1e6 / each as f64
    };
    let fastest = core::iter::repeat_with(once).take(5).fold(f64::INFINITY, f64::min);
    println!("{what:<40} {fastest:>10.2} us");
}

#[test]
#[ignore = "a measurement"]
fn times() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    time("key", 1, || Tfhe::keygen(KEY_BITS, rng).unwrap());
    let secret = SecretKey::generate(rng);
    let public = secret.public_key();
    time("public key read", 1, || {
        Tfhe::public_key_from_bytes(&Tfhe::public_key_to_bytes(public)).unwrap()
    });

    let shape = SlotShape { bits: 34, count: 1 };
    let plaintexts: Vec<_> =
        (0..784).map(|_| Plaintext::new(9, vec![rng.random_range(-255..256)]).unwrap()).collect();
    time("encrypt as owner", 1, || Tfhe::encrypt_as_owner(&secret, &plaintexts[0], rng).unwrap());
    time("encrypt as owner, of 64", 64, || {
        Tfhe::encrypt_many(&secret, &plaintexts[..64], rng).unwrap()
    });
    time("encrypt by the public key", 1, || Tfhe::encrypt(public, &plaintexts[0], rng).unwrap());
    let inputs = Tfhe::encrypt_many(&secret, &plaintexts, rng).unwrap();
    let pairs: Vec<_> = inputs[..64].iter().map(|c| (c.clone(), shape)).collect();
    time("rerandomize", 1, || Tfhe::rerandomize(public, &inputs[0], shape, rng));
    time("rerandomize, of 64", 64, || Tfhe::rerandomize_many(public, &pairs, rng));
    time("add", 1, || Tfhe::add(public, &inputs[0], &inputs[1]));
    time("mul_plain", 1, || Tfhe::mul_plain(public, &inputs[0], -77));
    time("decrypt", 1, || Tfhe::decrypt(&secret, &inputs[0], shape).unwrap());
    time("decrypt, of 64", 64, || Tfhe::decrypt_many(&secret, &pairs).unwrap());

    let rows =
        (0..300u32).map(|o| (0..784).map(|i| Tap { source: i, weight: o * 784 + i }).collect());
    let taps = Taps::from_rows(rows.collect::<Vec<Vec<_>>>());
    let weights: Vec<i128> = (0..300 * 784).map(|_| rng.random_range(-127..128)).collect();
    time("matvec 300 x 784, each term", 300 * 784, || {
        Tfhe::matvec(public, &taps, &weights, &inputs).unwrap()
    });
    println!("ciphertext {} bytes", Tfhe::ciphertext_len(public));
    println!("public key {} bytes", Tfhe::public_key_to_bytes(public).len());
}
