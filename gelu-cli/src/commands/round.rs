//! `gelu round MODEL --out FILE`: a finished model with the bits that queries need.

use std::path::PathBuf;

use anyhow::Result;
use gelu_core::{Format, Precision};
use serde::Serialize;

use crate::destination::{Destination, Kind};
use crate::model;
use crate::output::Output;

/// Round a finished model to the few bits that queries need, which makes them faster
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu round trained.safetensors --out served.safetensors
  gelu plan served.safetensors                what a query of it costs now

Training needs many bits, queries few: 6 after the point, and before it as many as the largest
weight needs. `gelu train --plaintext` rounds by itself; this is for models that were trained under
encryption, and for older files. It is not meant to be trained further.")]
pub(crate) struct Args {
    /// The model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Write the rounded model to this file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite what stands at --out, be it the model itself or a file of another kind
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Rounded {
    name: String,
    version: u64,
    before: Precision,
    after: Precision,
    largest_weight: f64,
    model: String,
}

/// Rounds and saves.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let model = model::load(&args.model)?;
    let out = Destination::check(&args.out, Kind::Model, &[&args.model], args.force)?;
    let largest_weight = model.weights().largest();
    let rounded = model.requantised(Precision::INFERENCE.fitted(largest_weight))?;
    out.write(&rounded.to_bytes()?)?;
    let shown = Rounded {
        name: model.name().into(),
        version: model.version(),
        before: *model.precision(),
        after: *rounded.precision(),
        largest_weight,
        model: args.out.display().to_string(),
    };
    let bits = |Format { integer, fraction }| format!("{integer} + {fraction} bits");
    let text = format!(
        "{}, version {}: weights of {} are now of {}; the largest is {largest_weight:.3}\nmodel: {}",
        shown.name,
        shown.version,
        bits(shown.before.weights),
        bits(shown.after.weights),
        shown.model,
    );
    output.show(&shown, text)
}
