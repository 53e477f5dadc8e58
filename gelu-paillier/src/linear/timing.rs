//! How long layers take: `cargo test --release -p gelu-paillier linear::timing -- --ignored
//! --nocapture`, pinned to a core with `taskset -c 0` and `RAYON_NUM_THREADS=1`.
//!
//! Times beside those of single products, taken in between, as other programs disturb both alike; on
//! one thread, processor time. *Overhead* is what a layer takes beyond the
//! products of the formula in [`cost`](super::cost); *packed* includes the packing of 32-bit slots.

use std::sync::LazyLock;
use std::time::Instant;

use gelu_core::linear::Taps;
use gelu_core::stats::median;
use rand_core::Rng;

use super::cost::{self, Algorithm, Workload};
use super::layer::Layer;
use super::tests::{Pair, convolution, dense};
use crate::kernel::Choice;
use crate::oracle::rng;

/// Microseconds that this thread has had a processor; on other systems, that have gone by.
fn now() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let wall = || START.elapsed().as_secs_f64() * 1e6;
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat");
    let cpu = statistics.ok().and_then(|s| s.split(' ').next()?.parse::<f64>().ok());
    if rayon::current_num_threads() == 1 { cpu.map_or_else(wall, |ns| ns / 1e3) } else { wall() }
}

/// Microseconds of one call, from several of them (Linux counts the time in steps of up to 4 ms).
fn time(guess: f64, mut f: impl FnMut()) -> f64 {
    let (start, mut rounds) = (now(), 0.0);
    while rounds < 2.0 || rounds * guess < 150e3 {
        f();
        rounds += 1.0;
    }
    (now() - start) / rounds
}

#[test]
#[ignore = "prints times, and checks none; run by hand"]
fn timing() {
    let bits = std::env::var("KEY").map_or(2048, |bits| bits.parse().unwrap());
    let only = std::env::var("ONLY").unwrap_or_default();
    let forced = match std::env::var("ALGORITHM").as_deref() {
        Ok("subsets") => Some(Algorithm::Subsets),
        Ok("powers") => Some(Algorithm::Powers),
        Ok("buckets") => Some(Algorithm::Buckets),
        _ => None,
    };
    let pair = Pair::new(bits, Choice::Best);
    let x = pair.units(1000, 1);
    let inputs = pair.import(&x);
    let inputs = inputs.refs();
    println!(
        "{} bits, {}, {} threads",
        bits,
        pair.ring.kernel().name(),
        rayon::current_num_threads()
    );
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
        "layer", "ms", "us/MAC", "prod/MAC", "us/prod", "overhead", "packed ms"
    );
    let shapes: [(&str, Taps, usize); 14] = [
        ("dense 784x300, 8 bit", dense(300, 784), 8),
        ("dense 784x300, 12 bit", dense(300, 784), 12),
        ("dense 784x300, 62 bit", dense(300, 784), 62),
        ("dense 300x784, 62 bit", dense(784, 300), 62),
        ("dense 784x10, 8 bit", dense(10, 784), 8),
        ("dense 300x10, 62 bit", dense(10, 300), 62),
        ("dense 784x1, 8 bit", dense(1, 784), 8),
        ("conv 5x5x1>6 of 28", convolution(28, 1, 5, 1, 6), 8),
        ("conv 6x6x1>6 /2 of 28", convolution(28, 1, 6, 2, 6), 9),
        ("conv 6x6x6>16 /2 of 12", convolution(12, 6, 6, 2, 16), 9),
        ("dense 256x120, 8 bit", dense(120, 256), 8),
        ("dense 120x84, 8 bit", dense(84, 120), 8),
        ("dense 84x10, 8 bit", dense(10, 84), 8),
        ("dense 36x6, 8 bit", dense(6, 36), 8),
    ];
    for (name, taps, weight_bits) in shapes.iter().filter(|shape| shape.0.contains(&only)) {
        let count = (0..taps.outputs()).flat_map(|o| taps.of(o)).map(|t| t.weight + 1).max();
        let mut rng = rng(5);
        let weights: Vec<i128> = (0..count.unwrap())
            .map(|_| i128::from(rng.next_u64().cast_signed()) >> (64 - weight_bits))
            .collect();
        let sources = (0..taps.outputs()).flat_map(|o| taps.of(o)).map(|t| t.source as usize + 1);
        let inputs = &inputs[..sources.max().unwrap()];
        let layer = Layer::new(taps, &weights, inputs);
        assert_eq!(layer.planes, *weight_bits);

        let run = |group| {
            let layer = Layer::new(taps, &weights, inputs);
            let load = Workload::new(&pair.ring, &layer);
            let choice = || cost::choose(&load, &layer.groups, &layer.outputs);
            let algorithm = forced.unwrap_or_else(choice);
            super::evaluate(&pair.ring, &layer, &load, algorithm, group, 32)
        };
        let got = pair.export(&run(1));
        for output in [0, taps.outputs() / 2, taps.outputs() - 1] {
            let one = Taps::from_rows([taps.of(output)]);
            assert_eq!(pair.matvec(&one, &weights, &x), [got[output].clone()], "{name}");
        }

        let load = Workload::new(&pair.ring, &layer);
        let (columns, rows) = (&layer.groups, &layer.outputs);
        let algorithm = forced.unwrap_or_else(|| cost::choose(&load, columns, rows));
        let rest = taps.outputs() * load.planes;
        let squarings = 0.8 * rest as f64;
        let products = cost::cost(algorithm, &load, columns, rows) + rest as f64 + squarings;

        let some = &inputs[..inputs.len().min(64) / 8 * 8];
        let (mut one, mut layers, mut packed) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        for round in 0..3 {
            one[round] = time(0.4 * some.len() as f64, || {
                std::hint::black_box(pair.ring.multiply(some, some));
            });
            layers[round] = time(0.5 * products, || drop(run(1)));
            packed[round] = time(0.5 * products, || drop(run(60)));
        }
        let [one, time, packed] =
            [one, layers, packed].map(|times| median(times).expect("some runs"));
        let one = one / some.len() as f64;
        let macs = taps.len() as f64;
        println!(
            "{name:<24} {:>8.2} {:>8.3} {:>8.3} {one:>8.3} {:>8.1}% {:>9.2}  {algorithm:?}",
            time / 1e3,
            time / macs,
            products / macs,
            (time / products / one - 1.0) * 100.0,
            packed / 1e3,
        );
    }
}
