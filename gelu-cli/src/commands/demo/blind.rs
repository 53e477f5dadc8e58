//! `gelu demo --blind`: queries of a convolutional network that open queries would give away.

use std::path::Path;

use anyhow::Result;
use gelu_core::Precision;
use gelu_core::blind::{Answer, Circuits};
use gelu_core::ledger::Exposure;
use gelu_nn::{
    Activation, FloatTrainer, LayerSpec, Model, Recipe, Schema, Sequential, Shape, Sides, Split,
};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use serde::Serialize;

use super::Args;
use crate::commands::audit;
use crate::commands::infer::Ask;
use crate::ending::{Ended, Results};
use crate::mode::{self, Mode, ModeArgs};
use crate::output::Output;
use crate::phases::{Phases, bytes, say, seconds};
use crate::queries::Queries;

const EPOCHS: usize = 12;
/// Digits that are asked about, all in one query.
const COUNT: usize = 32;

/// What is printed with --json.
#[derive(Debug, Serialize)]
struct Shown {
    layers: String,
    parameters: usize,
    /// What an open query would come to, and what a blind one does.
    open: String,
    blind: String,
    asked: usize,
    answered: usize,
    /// Answers that equal the model's in the clear.
    equal: usize,
    /// Answers that are the digit.
    right: usize,
    bytes: u64,
    rounds: u64,
    seconds: f64,
}

/// Trains in the clear, and asks blindly.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    let architecture = network();
    let (split, _) = Split::load("digits", Path::new(""), args.seed)?;
    say(&format!("8x8 digits, {architecture}, trained in the clear by the server's owner"));
    let model = train(&architecture, &split, args.seed)?;
    let (network, precision) = (model.network(), model.precision());
    let open = audit::verdict(network, precision)?;
    let circuits = Circuits::new(network, precision, Answer::Class)?;
    let blind = Exposure::blind(network, precision, &circuits).verdict();
    say(&format!("Open queries: {open}.\nBlind queries: {blind}."));

    let samples = split.test.head(COUNT);
    let read = |_: Option<&Schema>| Ok(("digits".to_owned(), samples.clone()));
    let mode = ModeArgs {
        mode: Some(Mode::Blind),
        answer: Some(mode::Answer::Class),
        tickets: Some(COUNT),
    };
    let (cryptosystem, threads) = (args.cryptosystem, args.threads);
    let queries = Queries { server: None, model: Some(&model), mode, cryptosystem, threads };
    let asked = cryptosystem.backend.run(Ask { queries, batch: Some(COUNT), read: &read })?;
    let answered = asked.predictions.len();
    let in_clear = model.evaluate(&samples.head(answered))?.predictions;
    let same =
        |other: &[usize]| asked.predictions.iter().zip(other).filter(|(a, b)| a == b).count();
    let total = asked.spent.statistics.total();
    let shown = Shown {
        layers: architecture.to_string(),
        parameters: architecture.parameters(),
        open,
        blind,
        asked: samples.len(),
        answered,
        equal: same(&in_clear),
        right: same(samples.labels()),
        bytes: total.up + total.down,
        rounds: total.rounds,
        seconds: asked.phases.elapsed().as_secs_f64(),
    };
    let ended = asked.ended.clone().map(|ended: Ended| {
        (ended, format!("{answered} of {} digits are answered", samples.len()))
    });
    let text = shown.text();
    Results { report: None, saved: Ok(()), ended }.deliver(
        output,
        |_| serde_json::json!(shown),
        |_| text,
    )
}

/// LeNet's shape at the size of the digits: a convolution fused with a mean, and two dense layers.
fn network() -> Sequential {
    let relu = LayerSpec::Activation { function: Activation::Relu };
    let layers = vec![
        LayerSpec::Conv2d {
            filters: 6,
            kernel: 3.into(),
            stride: 1.into(),
            padding: Sides::ZERO,
            groups: 1,
        },
        LayerSpec::MeanPool2d { window: 2.into() },
        relu,
        LayerSpec::Dense { outputs: 32 },
        relu,
        LayerSpec::Dense { outputs: 10 },
    ];
    Sequential::new(Shape::image(1, 8, 8), layers).expect("sizes are in order")
}

fn train(architecture: &Sequential, split: &Split, seed: u64) -> Result<Model> {
    let mut phases = Phases::start();
    let running = phases.begin("training in the clear", EPOCHS as u64);
    let recipe = Recipe { epochs: EPOCHS, batch: 32, rate: 0.2, ..Recipe::default() };
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let mut trainer = FloatTrainer::<f32>::new(architecture, recipe, rng)?;
    trainer.train(&split.train, seed, |_| running.step())?;
    let weights = trainer.parameters();
    let precision = Precision::INFERENCE.fitted(weights.largest());
    let model = Model::from_float("digits-conv", architecture.clone(), precision, &weights)?;
    let accuracy = 100.0 * model.evaluate(&split.test)?.accuracy;
    let said = format!("trained: {accuracy:.1}% of {} new digits are right", split.test.len());
    phases.end(running, "training", &said);
    Ok(model)
}

impl Shown {
    fn text(&self) -> String {
        let Self { answered, equal, right, .. } = *self;
        let compared = match equal == answered {
            true => "✓ every blind answer equals the model's in the clear".to_owned(),
            false => format!("✗ only {equal} of {answered} equal the answers in the clear"),
        };
        format!(
            "{answered} digits asked about: {right} right\n{compared}\n\
             The client was told a class for each digit and saw no sum; the server saw no digit.\n\
             {} with keys, tickets and queries; {} in {} rounds",
            seconds(self.seconds),
            bytes(self.bytes),
            self.rounds,
        )
    }
}
