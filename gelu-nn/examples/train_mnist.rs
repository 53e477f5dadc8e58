//! Trains a network of the zoo on MNIST in the clear and saves it for encrypted inference.
//!
//! ```text
//! cargo run --release -p gelu-nn --example train_mnist -- lenet5 DATA 0 lenet5.safetensors
//! ```
//!
//! Arguments: architecture, folder of the data sets, epochs (0: as many as the zoo's recipe says),
//! output file. Prints the test accuracy in floating point and in the protocol's integers.

use std::path::Path;
use std::time::Instant;

use gelu_core::Precision;
use gelu_nn::{Error, FloatTrainer, Model, Split, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

const SEED: u64 = 1;

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [name, folder, epochs, output] = arguments.as_slice() else {
        eprintln!("usage: train_mnist ARCHITECTURE DATA EPOCHS OUTPUT");
        std::process::exit(2);
    };
    let (Some(entry), Ok(epochs)) = (zoo::by_name(name), epochs.parse::<usize>()) else {
        let names: Vec<_> = zoo::entries().iter().map(|entry| entry.name).collect();
        eprintln!("EPOCHS must be a number and ARCHITECTURE one of {}", names.join(", "));
        std::process::exit(2);
    };
    let mut recipe = entry.recipe;
    if epochs > 0 {
        recipe.epochs = epochs;
    }
    let architecture = (entry.architecture)();
    println!("{architecture}\n{recipe:?}");
    let (split, _) = Split::load(entry.dataset, Path::new(folder), SEED)?;

    let start = Instant::now();
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut trainer = FloatTrainer::<f32>::new(&architecture, recipe, &mut rng)?;
    trainer.train(&split.train, SEED, |report| {
        println!(
            "epoch {:>3} of {}: loss {:.4}, accuracy {:.4}, {:.1} s",
            report.epoch + 1,
            report.epochs,
            report.loss,
            report.accuracy,
            start.elapsed().as_secs_f64(),
        );
    })?;
    let in_float = trainer.accuracy(&split.test)?;

    let start = Instant::now();
    let weights = trainer.parameters();
    let precision = Precision::INFERENCE.fitted(weights.largest());
    let model = Model::from_float(entry.name, architecture, precision, &weights)?;
    let in_fixed = model.evaluate(&split.test)?;
    println!("test accuracy: {in_float:.4} in floating point");
    println!(
        "               {:.4} in fixed point, {} values cut off, {:.1} s",
        in_fixed.accuracy,
        in_fixed.saturations.iter().sum::<u64>(),
        start.elapsed().as_secs_f64(),
    );
    model
        .with_metadata("dataset", entry.dataset)
        .with_metadata("test accuracy", format!("{:.4}", in_fixed.accuracy))
        .save(Path::new(output))
}
