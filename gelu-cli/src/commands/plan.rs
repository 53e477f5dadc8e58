//! `gelu plan MODEL`: how each exchange travels in ciphertexts, and what it costs.

use anyhow::Result;
use gelu_core::Precision;
use gelu_core::plan::Purpose;
use serde::Serialize;

use super::audit::open;
use crate::args::{self, KeySize};
use crate::cost::{self, Costs};
use crate::output::{Output, table};
use crate::phases::{bytes, seconds};

/// Show how each layer travels in ciphertexts, and what it costs, before anything is encrypted
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu plan lenet5                             one query, layer by layer
  gelu plan mnist.safetensors --batch 32       32 samples at a time, a model file
  gelu plan lenet5 --train --batch 17          a mini-batch of a training
  gelu plan iris --train --sigma 80 --steps 5  with longer masks, in shorter leases
  gelu plan conv1 --key-bits 3072 --json       for programs

How to read it: a ciphertext has `slots` slots of `bits` bits. In the layout `samples` it holds one
feature of all samples; in the layout `positions` it holds what one weight of a convolution's
kernel meets, everywhere in the image. What does not fit into the slots takes several rows.
On the way down, `group` sums are packed into one ciphertext: few, so that all ciphertexts go
through the processor side by side, rather than many, one after the other.

The expected time is that of one core of the reference machine for both parties, with 1 Gbit/s
between them. It is what the planner minimises, layer by layer; client and server come to the
same plan because nothing in it is measured.")]
pub(crate) struct Args {
    /// A model file, or the name of a network
    #[arg(value_name = "MODEL")]
    model: String,
    /// Samples at a time [default: 1, or 10 with --train]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// A mini-batch of a training instead of a query
    #[arg(long)]
    train: bool,
    /// Mini-batches of a lease: each one's mask makes the slots wider
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = args::lease_steps(), requires = "train")]
    steps: u32,
    /// Bits by which a mask is longer than what it hides, 40 to 100 [default: the model's]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(40..=100), requires = "train")]
    sigma: Option<u32>,
    #[command(flatten)]
    key: KeySize,
}

#[derive(Serialize)]
struct Shown<'a> {
    model: &'a str,
    layers: String,
    purpose: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sigma: Option<u32>,
    key_bits: u32,
    costs: Costs,
}

/// Prints the plan.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let (architecture, inference, training) = open(&args.model)?;
    let (precision, purpose, batch) = match args.train {
        false => (inference, Purpose::Inference, 1),
        true => {
            let mask_bits = args.sigma.unwrap_or(training.mask_bits);
            let precision = Precision { mask_bits, ..training };
            (precision, Purpose::Training { steps: args.steps }, 10)
        }
    };
    let (batch, key_bits) = (args.batch.unwrap_or(batch), args.key.key_bits);
    let plan = cost::plan(&architecture.network(), &precision, batch, purpose, key_bits)?;
    let shown = Shown {
        model: &args.model,
        layers: architecture.to_string(),
        purpose: if args.train { "training" } else { "inference" },
        steps: args.train.then_some(args.steps),
        sigma: args.train.then_some(precision.mask_bits),
        key_bits,
        costs: Costs::of(&plan, key_bits)?,
    };
    output.show(&shown, text(&shown))
}

fn text(shown: &Shown<'_>) -> String {
    let mut rows = table(&[
        "layer",
        "direction",
        "layout",
        "#slots × bits",
        "#rows",
        "#group",
        "#ciphertexts\nup + down",
        "#operations",
        "#expected\ntime",
        "#sent",
    ]);
    let costs = &shown.costs;
    for e in &costs.exchanges {
        rows.add_row([
            e.layer.clone(),
            e.direction.clone(),
            e.layout.clone(),
            format!("{} × {}", e.slots, e.slot_bits),
            e.rows.to_string(),
            e.group.to_string(),
            format!("{} + {}", e.ciphertexts_up, e.ciphertexts_down),
            e.operations.to_string(),
            seconds(e.seconds()),
            bytes(e.bytes),
        ]);
    }
    let what = match (shown.steps, shown.sigma) {
        (Some(steps), Some(sigma)) => {
            format!("Training: one of {steps} mini-batches of a lease, sigma {sigma}")
        }
        _ => "Inference".to_owned(),
    };
    format!(
        "{layers}\n{what}, {batch} at a time, keys of {bits} bits\n\n{rows}\n\
         Total: {rounds} rounds, {ciphertexts} ciphertexts, {operations} operations, {time} expected, \
         {sent} sent.",
        layers = shown.layers,
        batch = match costs.batch {
            1 => "one sample".to_owned(),
            n => format!("{n} samples"),
        },
        bits = shown.key_bits,
        rounds = costs.rounds,
        ciphertexts = costs.ciphertexts,
        operations = costs.operations,
        time = seconds(costs.nanoseconds as f64 / 1e9),
        sent = bytes(costs.bytes),
    )
}
