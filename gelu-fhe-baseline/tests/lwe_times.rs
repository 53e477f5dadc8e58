//! What operations take on one core: what `Tfhe::prices` was read from.
//!
//! Time is that of processors, so that a busy machine disturbs it less; where the system does not
//! tell, it is the clock's, which is right with one thread on an idle machine.
//!
//! ```text
//! cargo test --release -p gelu-fhe-baseline --features tfhe --test lwe_times \
//!     -- --ignored --nocapture
//! ```
#![cfg(feature = "tfhe")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gelu_core::ledger::Policy;
use gelu_core::linear::{Tap, Taps};
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{AdditiveHE, Backend, Cryptosystem, Plaintext, Precision, SlotShape};
use gelu_fhe_baseline::lwe::{KEY_BITS, SecretKey, Tfhe};
use gelu_nn::{Model, zoo};
use ndarray::Array2;
use rand::{RngExt, SeedableRng, rngs::ChaCha20Rng};

/// Nanoseconds of processor time that all threads of this process have had.
fn processor_time(start: Instant) -> u128 {
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| -> Option<u128> {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").ok();
    let times: Option<Vec<_>> = tasks.and_then(|tasks| tasks.map(of_thread).collect());
    times.map_or(start.elapsed().as_nanos(), |times| times.iter().sum())
}

/// Prints the microseconds of an operation that does `each` of something: the fastest of three
/// rows of runs, each row as long as it takes for the system's ticks not to matter.
fn time<T>(what: &str, each: usize, mut run: impl FnMut() -> T) {
    let clock = Instant::now();
    let row = || {
        let (start, clock_start, mut runs) = (processor_time(clock), clock.elapsed(), 0u32);
        while clock.elapsed() - clock_start < Duration::from_millis(300) {
            black_box(run());
            runs += 1;
        }
        (processor_time(clock) - start) as f64 / 1e3 / f64::from(runs) / each as f64
    };
    let fastest = core::iter::repeat_with(row).take(3).fold(f64::INFINITY, f64::min);
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
    let matrix = gelu_core::slots::Matrix { taps, entries: weights };
    time("matvec 300 x 784, each term", 300 * 784, || {
        Tfhe::matvec(public, &matrix, &inputs).unwrap()
    });
    println!("ciphertext {} bytes", Tfhe::ciphertext_len(public));
    println!("public key {} bytes", Tfhe::public_key_to_bytes(public).len());
}

/// One image through the paper's networks for MNIST, both parties in this process, on all
/// processors, without a network between them; the answer must be the plaintext network's.
#[test]
#[ignore = "a measurement"]
fn whole_queries() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    for (name, architecture) in [("Conv-1", zoo::conv1()), ("LeNet-5", zoo::lenet5())] {
        let model = Model::initialise(name, architecture, Precision::INFERENCE, rng).unwrap();
        let inputs = Array2::from_shape_fn((28 * 28, 1), |_| rng.random_range(0.0..1.0));
        let (expected, _) = model.probabilities(&inputs).unwrap();
        let host = PairHost::new(ServedModel::from(&model), "test", Policy::AllowModelExtraction);
        let secret = Arc::new(SecretKey::generate(rng));
        let mut pair = Pair::<Tfhe>::open(Arc::new(host), secret, LearningRate::Public(0.1), rng)
            .expect("a session");
        let before: usize = pair.transcript.iter().map(|frame| frame.bytes().len()).sum();
        let (clock, processors) = (Instant::now(), processor_time(Instant::now()));
        let answer = pair.classify(&inputs, rng).unwrap();
        let (elapsed, used) = (clock.elapsed(), processor_time(clock) - processors);
        assert_eq!(answer, expected, "{name}");
        let bytes: usize = pair.transcript.iter().map(|frame| frame.bytes().len()).sum();
        println!(
            "{name:<10} {:>6.2} s, {:>6.2} s of processor, {:>6.1} MB",
            elapsed.as_secs_f64(),
            used as f64 / 1e9,
            (bytes - before) as f64 / 1e6,
        );
    }
}
