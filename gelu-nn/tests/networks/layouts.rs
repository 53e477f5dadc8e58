//! Layouts: whichever the planner chooses, the numbers are the same, and it chooses the cheapest.

use gelu_core::backend::{Layout, Sealed, Task};
use gelu_core::clear::ClearKey;
use gelu_core::ledger::Exposure;
use gelu_core::plan::{Direction, Plan, Purpose};
use gelu_core::slots::{Arrangement, SlotBackend, SlotLayout};
use gelu_core::{Backend, Clear, LinearMap, Precision};
use gelu_nn::layers::{Conv2d, Conv2dConfig};
use gelu_nn::{Sequential, Sides, zoo};
use ndarray::Array2;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// A checked convolution with any stride and padding, pooled where the window fits.
fn any_convolution() -> impl Strategy<Value = LinearMap> {
    let sizes = (1..3usize, 1..9usize, 1..9usize, 1..4usize, 1..3usize);
    let sides = |range: core::ops::Range<usize>| {
        (range.clone(), range).prop_map(|(height, width)| Sides { height, width })
    };
    let window = (sides(1..5), sides(1..4), sides(0..4), sides(1..4));
    (sizes, window).prop_filter_map("a valid configuration", |(sizes, window)| {
        let (channels, height, width, filters, groups) = sizes;
        let (channels, filters) = (channels * groups, filters * groups);
        let (kernel, stride, padding, pool) = window;
        let config =
            Conv2dConfig { channels, height, width, filters, kernel, stride, padding, groups };
        let layer = Conv2d::new(config).ok()?;
        let pooled = (pool != Sides::ONE).then(|| layer.clone().pooled(pool).ok()).flatten();
        Some(pooled.map_or_else(|| layer.linear_map(), |pooled| pooled.linear_map()))
    })
}

/// Encrypt, evaluate, decrypt, as the protocol's machines do.
fn run<B: Backend>(
    layout: &B::Layout,
    key: &B::SecretKey,
    linear: &LinearMap,
    (weights, biases): (&[i128], &[i128]),
    x: &Array2<i128>,
) -> Array2<i128> {
    let (rng, public) = (&mut ChaCha20Rng::seed_from_u64(1), B::public_key(key));
    let up = layout.encrypt(key, linear, x, rng).unwrap();
    let offset = |output| i128::from(linear.divisor()) * biases[linear.bias_of(output)];
    let offsets: Vec<_> = (0..linear.outputs()).map(offset).collect();
    let weights = layout.prepare(linear, weights, Some(&offsets)).unwrap();
    let inputs = layout.read(public, &up).unwrap();
    let answer = layout.evaluate(public, &weights, &inputs).unwrap();
    let down = Sealed::seal::<B, _>(layout, public, answer, rng).into_bytes();
    layout.decrypt(key, &down).unwrap()
}

proptest! {
    #[test]
    fn positions_equal_samples_equal_the_linear_map(
        linear in any_convolution(),
        batch in 1..8usize,
        seed in 0..1000usize,
    ) {
        let integers = |n: usize, seed: usize| -> Vec<i128> {
            (0..n).map(|i| ((i + seed) * 7919 + 13) as i128 % 41 - 20).collect()
        };
        let (weights, biases) =
            (integers(linear.weights(), seed), integers(linear.biases(), seed + 1));
        let x = integers(linear.inputs() * batch, seed + 2);
        let x = Array2::from_shape_vec((linear.inputs(), batch), x).unwrap();
        let z = linear.forward(&weights, &biases, x.view(), i128::from(linear.divisor()));
        let (key, direction) = (ClearKey::new(512).unwrap(), Direction::Forward);
        let (linear, layer) = (&linear, "convolution");
        let task = Task { layer, linear, direction, batch, value_bits: 24, weight_bits: 9 };
        let mut layouts = Vec::new();
        for layout in Clear::layouts(&key, &task).unwrap() {
            prop_assert_eq!(&run::<Clear>(&layout, &key, linear, (&weights, &biases), &x), &z);
            layouts.push(layout.arrangement);
        }
        layouts.dedup();
        let LinearMap::Window(window) = &linear else { panic!("a convolution is a window") };
        let positions = window.positions();
        prop_assert_eq!(layouts, [Arrangement::Samples, Arrangement::Positions(positions)]);
    }
}

/// Of all that it could have chosen, nothing is cheaper; backwards there is one layout.
#[test]
fn the_plan_is_the_cheapest_by_its_own_formula() {
    for entry in zoo::entries() {
        let network = (entry.architecture)().network();
        for (bits, batch) in [(2048, 1), (2048, 30), (3072, 1), (3072, 64)] {
            let key = ClearKey::new(bits).unwrap();
            let training = (Precision::TRAINING, Purpose::Training { steps: 5 });
            for (precision, purpose) in [(Precision::INFERENCE, Purpose::Inference), training] {
                let plan = Plan::new::<Clear>(&network, &precision, batch, purpose, &key).unwrap();
                for (_, direction, exchange) in plan.exchanges() {
                    let price = |e: &SlotLayout| e.nanoseconds(&Clear::slot_prices(&key));
                    let all = exchange.layouts();
                    let least = all.iter().map(price).min();
                    assert_eq!(Some(price(exchange.layout())), least);
                    assert!(all.contains(exchange.layout()));
                    let backward = direction == Direction::Backward;
                    let samples = |e: &SlotLayout| e.arrangement == Arrangement::Samples;
                    assert!(!backward || all.iter().all(samples));
                }
            }
        }
    }
}

/// Planned and audited by both parties, from the text of its architecture, in a process of its own: the
/// peak of a process is that of everything that it ever did.
#[test]
fn resnet20_is_planned_in_a_second_and_100_mb() {
    let name = "resnet20_is_planned_in_a_second_and_100_mb";
    if std::env::var_os("GELU_PLANS_HERE").is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child =
            child.args(["--exact", &format!("layouts::{name}")]).env("GELU_PLANS_HERE", "1");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let text = zoo::resnet20().to_json();
    let start = std::time::Instant::now();
    let network = Sequential::from_json(&text).unwrap().network();
    let products = network.stages().iter().map(|s| s.linear.multiply_accumulates()).sum::<u64>();
    let key = ClearKey::new(3072).unwrap();
    let training = (Precision::TRAINING, Purpose::Training { steps: 5 });
    for (precision, purpose) in [(Precision::INFERENCE, Purpose::Inference), training] {
        let plan = Plan::new::<Clear>(&network, &precision, 8, purpose, &key).unwrap();
        Exposure::new(&network, &precision, &plan);
    }
    let elapsed = start.elapsed();
    assert_eq!((products, network.parameters()), (37_219_648, 271_690));
    assert!(elapsed.as_secs_f64() < 1.0, "{elapsed:?}");
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 100_000, "{kilobytes} kB");
    }
}

/// One image: 6 filters of 36 taps at 144 positions, which fill two rows of slots.
#[test]
fn the_first_layer_of_lenet5() {
    let key = ClearKey::new(2048).unwrap();
    let network = zoo::lenet5().network();
    let plan =
        Plan::new::<Clear>(&network, &Precision::INFERENCE, 1, Purpose::Inference, &key).unwrap();
    let first = plan.exchange(0, Direction::Forward).unwrap().layout();
    assert_eq!((first.arrangement, first.rows()), (Arrangement::Positions(144), 2));
    assert_eq!(first.ciphertexts_up(), 36 * 2);
    assert_eq!(first.cost().multiply_accumulates, 6 * 36 * 2);
    assert!(first.cost().multiply_accumulates < 2000);

    // 120 sums of one sample: one wave of 8 shorter chains instead of two long ones.
    let dense = plan.exchange(2, Direction::Forward).unwrap().layout();
    assert_eq!((dense.outputs, dense.group, dense.ciphertexts_down()), (120, 15, 8));
    assert!(dense.ciphertexts_down() <= Clear::slot_prices(&key).lanes as usize);
}
