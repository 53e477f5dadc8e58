//! Two parties train on Iris without showing each other their columns.
//!
//! ```text
//! cargo run --release -p gelu-elgamal --example elgamal_net -- [EPOCHS] [BATCH] [HIDDEN]
//! ```
//!
//! 4 epochs of batches of 1 (the paper's way) take about five minutes of one core; 0 epochs count
//! one iteration and stop. Every iteration is checked, bit for bit, against the same network in the
//! clear.

mod iris_parties;

use std::time::{Duration, Instant};

use gelu_elgamal::net::{Clear, Config, Shape, Trainer, Weights, formula, table_2};
use gelu_nn::Batches;
use iris_parties::{IRIS, samples};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let (epochs, batch, hidden) = (argument(4)?, argument(1)?, argument(IRIS.hidden)?);
    let shape = Shape { hidden, ..IRIS };

    let (train, test) = samples(7)?;
    let config = Config::new(shape, batch, if batch == 1 { 1 } else { 2 })?;
    let rng = &mut ChaCha20Rng::seed_from_u64(7);
    let weights = Weights::random(shape, rng);
    let mut clear = Clear::new(config, weights.clone());
    let mut trainer = Trainer::new(config, weights, rng)?;

    let start = Instant::now();
    trainer.step(&train[..batch])?;
    clear.step(&train[..batch])?;
    let [a, b] = trainer.tallies();
    println!("one iteration of {batch} sample(s), network {shape:?}: {:.2?}", start.elapsed());
    println!("  A           {a}");
    println!("  B           {b}");
    println!("  both        {}", a + b);
    println!("  by formula  {}", formula(shape, u64::try_from(batch)?));
    let widest = shape.hidden.max(shape.inputs()).max(shape.outputs);
    let (operations, messages) = table_2(2, u64::try_from(widest)?, 3);
    println!("  Table 2, Z = 2, m = {widest}, n = 3: Z²m³n = {operations}, Z²m²n = {messages}");
    println!("  growth with m (m features, hidden nodes and outputs), one sample:");
    for m in [4, 8, 16, 32, 64] {
        let ours = formula(Shape { features: [m / 2, m / 2], hidden: m, outputs: m }, 1);
        let (operations, messages) = table_2(2, u64::try_from(m)?, 3);
        let (encryptions, elements) = (ours.encryptions, ours.elements);
        println!(
            "  m = {m:2}: {encryptions:8} encryptions, {elements:8} group elements; Table 2: {operations:7}, {messages:6}"
        );
    }
    assert_eq!(a + b, formula(shape, u64::try_from(batch)?));

    let batches = Batches::new(train.len(), batch, 7)?;
    let mut encrypted = Duration::ZERO;
    for epoch in 0..epochs {
        for indices in batches.epoch(epoch) {
            let batch: Vec<_> = indices.iter().map(|&i| train[i].clone()).collect();
            let start = Instant::now();
            let opened = trainer.step(&batch)?;
            encrypted += start.elapsed();
            assert_eq!(opened, clear.step(&batch)?, "the clear network's gradients, bit for bit");
        }
        assert_eq!(trainer.weights(0), clear.weights());
        assert_eq!(trainer.weights(1), clear.weights());
        let [train, test] = [&train, &test].map(|set| 100.0 * trainer.weights(0).accuracy(set));
        println!("epoch {}: training {train:.1} %, test {test:.1} %, {encrypted:.0?}", epoch + 1);
    }
    Ok(())
}
