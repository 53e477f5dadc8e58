//! Encrypted training against the one in the clear.

use gelu_ckks::SecretKey;
use gelu_transfer::plain::Training;
use gelu_transfer::{
    Activation, ComputeParty, DataParty, Plan, Preparation, Rows, Settings, Sigmoid,
};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Rows of a few classes that differ in their means.
fn data(rows: usize, features: usize, classes: usize) -> (Rows, Vec<usize>) {
    let rng = &mut rng(7);
    let mut number = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
    let labels: Vec<usize> = (0..rows).map(|i| i * i % 7 % classes).collect();
    let values = labels.iter().flat_map(|&class| {
        (0..features).map(move |f| if f % classes == class { 0.25 } else { 0.0 })
    });
    let raw = Rows::new(values.map(|mean| mean + number()).collect(), features).unwrap();
    (Preparation::fit(&raw).unwrap().apply(&raw).unwrap(), labels)
}

/// Both parties, and one training in the clear for each head.
struct Pair {
    data: DataParty,
    compute: ComputeParty,
    rng: ChaCha20Rng,
}

fn pair(settings: &Settings, classes: usize) -> Pair {
    let (x, labels) = data(settings.rows, settings.features, classes);
    let plan = Plan::new(settings.clone()).unwrap();
    let mut rng = rng(1);
    let secret = SecretKey::generate(plan.parameters().clone(), &mut rng);
    let data = DataParty::new(plan.clone(), secret, x, &labels).unwrap();
    let keys = data.evaluation_keys(&mut rng).unwrap();
    let mut compute = ComputeParty::new(plan.clone(), &keys).unwrap();
    for index in 0..plan.batches() {
        compute.receive_batch(&data.batch(index, &mut rng).unwrap()).unwrap();
    }
    Pair { data, compute, rng }
}

/// Trains and compares after each refresh. The bound is relative to the largest weight.
fn check(settings: &Settings, classes: usize, refreshes: &[usize], bound: f64) {
    let mut pair = pair(settings, classes);
    let (x, labels) = data(settings.rows, settings.features, classes);
    let y: Vec<Vec<bool>> = match settings.heads {
        1 => vec![labels.iter().map(|&class| class == 1).collect()],
        heads => (0..heads).map(|h| labels.iter().map(|&class| class == h).collect()).collect(),
    };
    let activation = Activation::Polynomial(settings.sigmoid.clone());
    let mut plain: Vec<_> = y
        .iter()
        .map(|y| Training::new(&x, y, settings.batch, settings.rate, activation.clone()).unwrap())
        .collect();
    for &iterations in refreshes {
        let heads = pair.data.heads(iterations, &mut pair.rng).unwrap();
        let gradients = pair.compute.train(&heads).unwrap();
        pair.data.receive(&gradients).unwrap();
        for _ in 0..iterations {
            plain.iter_mut().for_each(Training::step);
        }
        let mut worst: f64 = 0.0;
        for (head, plain) in pair.data.state().heads().iter().zip(&plain) {
            let largest = plain.head().weights().iter().map(|w| w.abs()).fold(0.0, f64::max);
            let pairs = head.weights().iter().zip(plain.head().weights());
            let pairs = pairs.chain(head.lookahead().iter().zip(plain.head().lookahead()));
            worst = pairs.map(|(a, b)| (a - b).abs() / largest).fold(worst, f64::max);
        }
        let iteration = pair.data.state().iteration();
        println!("degree {}, iteration {iteration}: {worst:.1e}", settings.sigmoid.degree());
        assert!(worst < bound && worst > bound / 1e4, "iteration {iteration}: {worst:e}");
    }
}

fn settings(degree: usize, range: f64, heads: usize, unattended: usize) -> Settings {
    let sigmoid = Sigmoid::fit(degree, range).unwrap();
    Settings { rows: 256, features: 20, heads, batch: 128, sigmoid, rate: 1.0, unattended }
}

#[test]
fn refreshed_training_follows_the_clear_one_cubic_and_binary() {
    check(&settings(3, 12.0, 1, 1), 2, &[1; 4], 1e-5);
}

#[test]
fn refreshed_training_follows_the_clear_one_linear_with_three_classes() {
    check(&settings(1, 8.0, 3, 1), 3, &[1; 3], 2e-6);
}
