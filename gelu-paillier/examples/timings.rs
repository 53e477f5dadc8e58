//! Measured rates of the backend: `cargo run --release -p gelu-paillier --example timings [bits]`.
//!
//! Every answer is checked before its time is printed. Wall time first; then, on Linux, processor
//! time summed over all threads, which a busy machine inflates less. Rates are those of one core.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gelu_core::linear::{Tap, Taps};
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_paillier::{Ciphertext, Noise, Paillier as P};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

/// The shape of the MNIST layer.
const INPUTS: u32 = 784;
const OUTPUTS: u32 = 30;

fn main() -> gelu_core::Result<()> {
    let bits = std::env::args().nth(1).and_then(|bits| bits.parse().ok()).unwrap_or(2048);
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    println!("Paillier, {bits} bits, {} threads where parallel", rayon::current_num_threads());

    let (secret, time) = timed(|| P::keygen(bits, rng));
    let secret = secret?;
    row("key generation", time, 1);
    let bytes = P::public_key_to_bytes(secret.public_key());
    let (public, time) = timed(|| P::public_key_from_bytes(&bytes));
    let public = &public?;
    assert_eq!(public, secret.public_key());
    row("key check by a peer", time, 1);

    let shape = SlotShape { bits: 30, count: 1 };
    let plain = |v: i128| Plaintext::new(shape.bits, vec![v]);
    let check = |c: &Ciphertext, v: i128| {
        P::decrypt(&secret, c, shape).map(|got| assert_eq!(got.values(), [v], "a wrong answer"))
    };

    let (c, time) = timed(|| P::encrypt_as_owner(&secret, &plain(1)?, rng));
    check(&c?, 1)?;
    row("  tables: owner (wall)", Time { cpu: time.wall, ..time }, 1);
    let c = each("encrypt, owner", 100, |i| P::encrypt_as_owner(&secret, &plain(i)?, rng))?;
    check(&c, 99)?;
    for (noise, count) in
        [(Noise::ShortExponent, 50), (Noise::Statistical, 50), (Noise::Uniform, 5)]
    {
        let (c, time) = timed(|| public.encrypt_with(noise, &plain(-1)?, rng));
        check(&c?, -1)?;
        row(&format!("  tables: {noise:?} (wall)"), Time { cpu: time.wall, ..time }, 1);
        let name = format!("encrypt, {noise:?}");
        let c = each(&name, count, |i| public.encrypt_with(noise, &plain(i)?, rng))?;
        check(&c, count - 1)?;
    }
    let sealed = each("rerandomize", 50, |_| Ok(P::rerandomize(public, &c, shape, rng)))?;
    check(&sealed, 99)?;
    let decrypted = each("decrypt (p and q on 2 threads)", 50, |_| P::decrypt(&secret, &c, shape))?;
    assert_eq!(decrypted.values(), [99]);
    let product = each("mul_plain, 10 bits", 50, |_| Ok(P::mul_plain(public, &c, 777)))?;
    check(&product, 99 * 777)?;
    let inverse = each("neg", 20, |_| Ok(P::neg(public, &c)))?;
    check(&inverse, -99)?;

    let values: Vec<i128> = (0..i128::from(INPUTS)).map(|i| i % 256).collect();
    let rows =
        values.iter().map(|&v| Plaintext::new(127, vec![v])).collect::<Result<Vec<_>, _>>()?;
    let (inputs, time) = timed(|| P::encrypt_many(&secret, &rows, rng));
    let inputs = inputs?;
    row("encrypt_many, owner (parallel)", time, INPUTS);

    for weight_bits in [10, 90] {
        let weights: Vec<i128> = (0..INPUTS * OUTPUTS)
            .map(|_| {
                let wide = i128::from(rng.next_u64()) << 64 | i128::from(rng.next_u64());
                wide >> (128 - weight_bits)
            })
            .collect();
        let tap = |o: u32, i: u32| Tap { source: i, weight: o * INPUTS + i };
        let taps = Taps::from_rows(
            (0..OUTPUTS).map(|o| (0..INPUTS).map(|i| tap(o, i)).collect::<Vec<_>>()),
        );
        let (outputs, time) = timed(|| P::matvec(public, &taps, &weights, &inputs));
        let outputs = outputs?;
        let wide = SlotShape { bits: 127, count: 1 };
        for (output, weights) in outputs.iter().zip(weights.chunks(INPUTS as usize)) {
            let expected: i128 = weights.iter().zip(&values).map(|(w, v)| w * v).sum();
            assert_eq!(P::decrypt(&secret, output, wide)?.values(), [expected], "a wrong answer");
        }
        row(&format!("matvec 784x30, {weight_bits}-bit weights (parallel)"), time, 1);
        row("  … a product", time, INPUTS * OUTPUTS);
    }

    let small: Vec<_> =
        (0..16).map(|i| P::encrypt_as_owner(&secret, &plain(i)?, rng)).collect::<Result<_, _>>()?;
    let packed = each("pack 16 x 30 bits", 20, |_| P::pack(public, &small, shape))?;
    let got = P::decrypt(&secret, &packed, SlotShape { bits: 30, count: 16 })?;
    assert_eq!(got.values(), (0..16).collect::<Vec<i128>>());

    let mut block = Vec::new();
    inputs.iter().for_each(|c| P::ciphertext_to_bytes(public, c, &mut block));
    let (read, time) = timed(|| P::ciphertexts_from_bytes(public, &block, inputs.len()));
    assert_eq!(P::decrypt(&secret, &read?[5], shape)?.values(), [5]);
    row("read and validate a ciphertext", time, INPUTS);
    Ok(())
}

#[derive(Clone, Copy)]
struct Time {
    wall: Duration,
    cpu: Duration,
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Time) {
    let (start, cpu) = (Instant::now(), processor_time());
    let result = black_box(work());
    let wall = start.elapsed();
    let cpu = processor_time().zip(cpu).map_or(wall, |(end, start)| end.saturating_sub(start));
    (result, Time { wall, cpu })
}

/// Time on a processor of all living threads; those that ended (after building tables) are lost.
fn processor_time() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let nanoseconds = tasks.map(|task| {
        let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<Option<u64>>().map(Duration::from_nanos)
}

/// Times `count` runs and returns the last result.
fn each<T>(
    name: &str,
    count: i128,
    mut work: impl FnMut(i128) -> gelu_core::Result<T>,
) -> gelu_core::Result<T> {
    let (last, time) = timed(|| (0..count).map(&mut work).last());
    row(name, time, u32::try_from(count).unwrap_or(u32::MAX));
    last.expect("at least one run")
}

fn row(name: &str, time: Time, count: u32) {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    println!(
        "{name:<44} {:>12.1} µs {:>12.1} µs {:>12.1} /s",
        each(time.wall),
        each(time.cpu),
        1e6 / each(time.cpu)
    );
}
