//! Training in the clear: for models that are to be served, and as a reference.

use anyhow::Result;
use gelu_core::Precision;
use gelu_nn::{FloatTrainer, Model, Recipe};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use serde::Serialize;
use serde_json::Value;

use super::{Args, PrecisionArg};
use crate::cut_off::CutOff;
use crate::data::Chosen;
use crate::output::Output;
use crate::phases::{Phases, say};
use crate::problem::Advise;

#[derive(Serialize)]
struct Trained {
    network: String,
    dataset: String,
    layers: String,
    parameters: usize,
    recipe: Recipe,
    seed: u64,
    train_samples: usize,
    test_samples: usize,
    /// Test accuracy in floating point.
    accuracy_float: f64,
    /// Test accuracy in the protocol's integers, which is what encrypted queries get.
    accuracy_fixed: f64,
    saturations: u64,
    saturations_by_layer: Value,
    precision: Precision,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
}

/// Trains, evaluates, saves.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    let out = args.out()?;
    let start = args.start()?;
    let samples = args.samples(start.as_ref())?;
    let Chosen { name, architecture, recipe } = args.network(&samples, start.as_ref())?;
    let schema = samples.schema_for_model(&architecture);
    let recipe = with_arguments(recipe, args);
    let (split, seed) = (&samples.split, args.data.seed);
    say(&format!("{name}, {architecture}\n{} rows, {} epochs", split.train.len(), recipe.epochs));

    let mut phases = Phases::start();
    let running = phases.begin("training in the clear", recipe.epochs as u64);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut trainer = match start {
        Some(start) => FloatTrainer::<f32>::starting_from(&architecture, recipe, &start.weights())?,
        None => FloatTrainer::<f32>::new(&architecture, recipe, &mut rng)?,
    };
    trainer.train(&split.train, seed, |epoch| {
        running.step();
        running.note(format!("loss {:.4}, accuracy {:.4}", epoch.loss, epoch.accuracy));
        tracing::info!(epoch = epoch.epoch + 1, loss = epoch.loss, accuracy = epoch.accuracy);
    })?;
    phases.end(running, "training", &format!("trained for {} epochs", recipe.epochs));

    let running = phases.begin("testing", 0);
    let accuracy_float = trainer.accuracy(&split.test)?;
    let (weights, parameters) = (trainer.parameters(), architecture.parameters());
    let precision = match args.precision {
        PrecisionArg::Inference => Precision::INFERENCE.fitted(weights.largest()),
        PrecisionArg::Training => Precision::TRAINING,
    };
    let layers = architecture.to_string();
    let model = Model::from_float(&name, architecture, precision, &weights)
        .advise(|| "train with a smaller --rate".into())?;
    let fixed = model.evaluate(&split.test)?;
    phases.end(running, "testing", &format!("tested on {} new rows", split.test.len()));

    let accuracy = format!("{:.4}", fixed.accuracy);
    let model = model
        .with_metadata("dataset", &samples.name)
        .with_metadata("test accuracy", accuracy)
        .with_metadata("seed", seed.to_string());
    let model = match schema {
        Some(schema) => model.with_schema(schema)?,
        None => model,
    };
    let saved = out.as_ref().map_or(Ok(()), |out| out.write(&model.to_bytes()?));
    let cut_off = CutOff::new(model.network(), &fixed.saturations);
    let trained = Trained {
        network: name,
        dataset: samples.name.clone(),
        layers,
        parameters,
        recipe,
        seed,
        train_samples: split.train.len(),
        test_samples: split.test.len(),
        accuracy_float,
        accuracy_fixed: fixed.accuracy,
        saturations: cut_off.total(),
        saturations_by_layer: cut_off.by_layer(),
        precision,
        seconds: phases.elapsed().as_secs_f64(),
        model: args.out.as_ref().filter(|_| saved.is_ok()).map(|path| path.display().to_string()),
    };
    let model = trained.model.as_ref().map(|path| format!("\nmodel: {path}")).unwrap_or_default();
    let text = format!(
        "accuracy on {} new rows: {:.2}% in floating point, {:.2}% in the protocol's integers \
         ({cut_off}){model}",
        trained.test_samples,
        100.0 * accuracy_float,
        100.0 * fixed.accuracy,
    );
    output.show(&trained, text)?;
    saved
}

/// A recipe with what was asked for in its place.
fn with_arguments(own: Recipe, args: &Args) -> Recipe {
    Recipe {
        epochs: args.epochs.unwrap_or(own.epochs),
        batch: args.batch.unwrap_or(own.batch),
        rate: args.rate.rate.unwrap_or(own.rate),
        ..own
    }
}
