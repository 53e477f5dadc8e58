//! How fast is it here? `cargo run --release -p gelu-elgamal --example elgamal_speed`
//!
//! Times are those of one core, all threads added up. Every answer
//! is verified before its time is printed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use gelu_core::Cryptosystem;
use gelu_core::linear::{Tap, Taps};
use gelu_core::slots::{AdditiveHE, Matrix, Plaintext, SlotShape};
use gelu_elgamal::baby_steps::BABY_BITS;
use gelu_elgamal::{BabySteps, Decoder, ElGamal as E, KEY_BITS, RANGE_BITS, Search};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

fn main() -> gelu_core::Result<()> {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = E::keygen(KEY_BITS, rng)?;
    let public = E::public_key(&secret);
    let shape = SlotShape { bits: RANGE_BITS, count: 1 };
    let plain = |v: i64| Plaintext::new(RANGE_BITS, vec![v.into()]);

    let (table, time) = timed(1, || BabySteps::new(BABY_BITS));
    let mib = table.as_ref().map_or(0, BabySteps::bytes) >> 20;
    println!("table of 2^{BABY_BITS} baby steps   {time:>10.2?}, {mib} MiB");
    BabySteps::shared();

    let c = E::encrypt(public, &plain(12_345)?, rng)?;
    println!(
        "encrypt                  {:>10.2?}",
        per(50, || E::encrypt(public, &plain(-77)?, rng))
    );
    let owner = || E::encrypt_as_owner(&secret, &plain(-77)?, rng);
    println!("encrypt as owner         {:>10.2?}", per(50, owner));
    println!(
        "rerandomize              {:>10.2?}",
        per(50, || E::rerandomize(public, &c, shape, rng))
    );
    println!("add                      {:>10.2?}", per(500, || E::add(public, &c, &c)));
    println!("mul_plain, 16 bits       {:>10.2?}", per(100, || E::mul_plain(public, &c, 0xb4c3)));
    let mut bytes = Vec::new();
    E::ciphertext_to_bytes(public, &c, &mut bytes);
    println!(
        "read and validate        {:>10.2?}",
        per(100, || E::ciphertext_from_bytes(public, &bytes))
    );

    let edge = (1i64 << (RANGE_BITS - 1)) - 1;
    for (name, value) in [
        ("16-bit value", 30_000),
        ("24-bit value", -(1 << 23)),
        ("30-bit value", 1 << 29),
        ("32-bit value", 1 << 31),
        ("worst case", edge),
    ] {
        let c = E::encrypt(public, &plain(value)?, rng)?;
        assert_eq!(E::decrypt(&secret, &c, shape)?.values(), [value.into()]);
        let time = per(1, || E::decrypt(&secret, &c, shape));
        println!("decrypt, {name:<15} {time:>10.2?}");
    }
    let all = per(1, || secret.decrypt_with(&Decoder::shared(), Search::WholeRange, &c));
    println!("decrypt, whole range     {all:>10.2?}");

    let (inputs, outputs) = (784u32, 300u32);
    let values: Vec<i64> = (0..inputs).map(|_| i64::from(rng.next_u32() % 256)).collect();
    let mut x = Vec::new();
    for v in &values {
        x.push(E::encrypt(public, &plain(*v)?, rng)?);
    }
    let row =
        |o| (0..inputs).map(|i| Tap { source: i, weight: o * inputs + i }).collect::<Vec<_>>();
    let taps = Taps::from_rows((0..outputs).map(row).collect::<Vec<_>>());
    for bits in [4, 8, 16] {
        let half = 1i128 << (bits - 1);
        let draw = |_| i128::from(rng.next_u32()).rem_euclid(2 * half) - half;
        let weights: Vec<i128> = (0..inputs * outputs).map(draw).collect();
        let matrix = Matrix { taps: taps.clone(), entries: weights };
        let time = per(1, || E::matvec(public, &matrix, &x));
        let z = E::matvec(public, &matrix, &x)?;
        let expected: i128 =
            values.iter().zip(&matrix.entries).map(|(v, w)| i128::from(*v) * w).sum();
        assert_eq!(E::decrypt(&secret, &z[0], shape)?.values(), [expected]);
        let each = time / (inputs * outputs);
        println!(
            "matvec {inputs}x{outputs}, {bits:>2} bits    {each:>10.2?} a multiply-accumulate"
        );
    }

    // What the library's own sums of products would take, for both points.
    let points: Vec<_> = (0..inputs).map(|_| RistrettoPoint::random(rng)).collect();
    let scalars: Vec<_> = (0..inputs).map(|_| Scalar::from(rng.next_u32() % 128)).collect();
    let dalek = per(1, || RistrettoPoint::vartime_multiscalar_mul(&scalars, &points));
    println!("the same by dalek's sum  {:>10.2?} a multiply-accumulate", 2 * dalek / inputs);
    Ok(())
}

/// The fastest of ten means, each over `times` runs: others may be using the machine.
fn per<T>(times: u32, mut f: impl FnMut() -> T) -> Duration {
    let means = (0..10).map(|_| timed(times, &mut f).1 / times);
    means.min().expect("ten of them")
}

fn timed<T>(times: u32, mut f: impl FnMut() -> T) -> (T, Duration) {
    let (start, clock) = (Instant::now(), busy());
    for _ in 1..times {
        black_box(f());
    }
    let last = f();
    let elapsed = start.elapsed();
    // Linux counts in ticks of some milliseconds.
    let long = elapsed > Duration::from_millis(40);
    let busy = busy().zip(clock).filter(|_| long).map(|(after, before)| after - before);
    (last, busy.unwrap_or(elapsed))
}

/// What all threads together have computed so far, where Linux tells: the load does not matter.
fn busy() -> Option<Duration> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    let each = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    each.sum()
}
