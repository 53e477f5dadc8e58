//! ElGamal-Net on Iris: a few iterations in seconds, the whole run by
//! `cargo test --release -p gelu-elgamal --test iris -- --ignored --nocapture`.

#[path = "../examples/iris_parties/mod.rs"]
mod iris_parties;

use gelu_elgamal::net::{Clear, Config, Trainer, Weights, formula};
use gelu_nn::Batches;
use iris_parties::{IRIS, samples};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

const SEED: u64 = 7;
const EPOCHS: usize = 4;

/// The paper's way: every sample an iteration; η = 1/2.
fn start() -> (Config, Weights) {
    let config = Config::new(IRIS, 1, 1).unwrap();
    (config, Weights::random(IRIS, &mut ChaCha20Rng::seed_from_u64(SEED)))
}

/// Trains both for `iterations`, comparing every number that is opened.
fn run(iterations: usize) -> (Clear, Trainer) {
    let (train, _) = samples(SEED).unwrap();
    let (config, weights) = start();
    let mut clear = Clear::new(config, weights.clone());
    let rng = &mut ChaCha20Rng::seed_from_u64(SEED + 1);
    let mut trainer = Trainer::new(config, weights, rng).unwrap();
    let batches = Batches::new(train.len(), 1, SEED).unwrap();
    let order = (0..EPOCHS).flat_map(|epoch| batches.epoch(epoch)).take(iterations);
    for sample in order.map(|indices| &train[indices[0]..=indices[0]]) {
        assert_eq!(trainer.step(sample).unwrap(), clear.step(sample).unwrap());
        assert_eq!(trainer.weights(0), clear.weights());
        assert_eq!(trainer.weights(1), clear.weights());
    }
    (clear, trainer)
}

#[test]
fn a_few_iterations_equal_the_clear_network_and_the_formula() {
    let (clear, trainer) = run(3);
    assert_ne!(*clear.weights(), start().1, "something was learnt");
    let [a, b] = trainer.tallies();
    let (sum, one) = (a + b, formula(IRIS, 1));
    assert_eq!(sum, one + one + one);
    // By hand: 55 products of 132 limbs, 10 of 32, 5 sigmoids of 514.
    assert_eq!(one.encryptions, 55 * 132 + 10 * 32 + 5 * 514);
    assert_eq!(one.messages, 14);
}

/// The run in the clear is the encrypted run, so its accuracy is what the encrypted run reaches.
#[test]
fn the_network_learns_iris() {
    let mut mean = 0.0;
    for seed in 0..10 {
        let (train, test) = samples(seed).unwrap();
        let (config, _) = start();
        let weights = Weights::random(IRIS, &mut ChaCha20Rng::seed_from_u64(seed));
        let mut clear = Clear::new(config, weights);
        let batches = Batches::new(train.len(), 1, seed).unwrap();
        for indices in (0..EPOCHS).flat_map(|epoch| batches.epoch(epoch)) {
            clear.step(&train[indices[0]..=indices[0]]).unwrap();
        }
        mean += clear.weights().accuracy(&test) / 10.0;
    }
    println!("mean test accuracy after {EPOCHS} epochs: {:.1} %", 100.0 * mean);
    assert!(mean > 0.9, "{mean}");
}

#[test]
#[ignore = "480 encrypted iterations: about five minutes of one core"]
fn the_whole_run() {
    let (clear, trainer) = run(usize::MAX);
    let (_, test) = samples(SEED).unwrap();
    let accuracy = trainer.weights(0).accuracy(&test);
    println!(
        "test accuracy {:.1} %; {}",
        100.0 * accuracy,
        trainer.tallies()[0] + trainer.tallies()[1]
    );
    assert_eq!(accuracy, clear.weights().accuracy(&test));
    assert!(accuracy > 0.9, "{accuracy}");
}
