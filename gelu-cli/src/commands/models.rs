//! `gelu models`: the networks of the paper, and what they cost under encryption.

use anyhow::Result;
use gelu_core::plan::Purpose;
use gelu_core::{Network, Precision};
use gelu_nn::zoo;
use serde::Serialize;

use crate::args::Cryptosystem;
use crate::cost::{Costs, Count};
use crate::output::{Output, table};
use crate::phases::bytes;

/// List the networks that gelu knows by name, with their sizes and costs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu models                    as a table
  gelu models --key-bits 3072    with larger keys
  gelu models --json             for programs

Train one in the clear:   gelu train --plaintext --network lenet5 --data DIR --out FILE
See what it would leak:   gelu audit lenet5")]
pub(crate) struct Args {
    #[command(flatten)]
    cryptosystem: Cryptosystem,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// Other names for it.
    also: &'static [&'static str],
    description: &'static str,
    dataset: &'static str,
    layers: String,
    parameters: usize,
    /// One sample at a time.
    inference: Costs,
    /// A mini-batch of the recipe.
    training: Costs,
}

/// Prints the table.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let costs = |network: &Network, precision, batch, purpose| {
        let count = Count { network, precision, batch, purpose, measured: false };
        count.under(args.cryptosystem)
    };
    let row = |entry: &zoo::Entry| -> Result<Row> {
        let architecture = (entry.architecture)();
        let network = architecture.network();
        let training = Purpose::Training { steps: 1 };
        Ok(Row {
            name: entry.name,
            also: entry.also,
            description: entry.description,
            dataset: entry.dataset,
            layers: architecture.to_string(),
            parameters: architecture.parameters(),
            inference: costs(&network, &Precision::INFERENCE, 1, Purpose::Inference)?,
            training: costs(&network, &Precision::TRAINING, entry.recipe.batch, training)?,
        })
    };
    let rows = zoo::entries().iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut text = table(&[
        "network",
        "layers",
        "#parameters",
        "#rounds",
        "#inference, one sample",
        "#training, a sample",
    ]);
    for row in &rows {
        let sent = |costs: &Costs| {
            let operations = costs.operations_per_sample;
            format!("{}\n{operations} operations", bytes(costs.bytes_per_sample))
        };
        let rounds = format!("{} / {}", row.inference.rounds, row.training.rounds);
        let parameters = row.parameters.to_string();
        let names: Vec<_> = [&row.name].into_iter().chain(row.also).copied().collect();
        text.add_row([
            &names.join("\n"),
            &format!("{}\n{}", row.description, row.layers),
            &parameters,
            &rounds,
            &sent(&row.inference),
            &sent(&row.training),
        ]);
    }
    let note = format!(
        "Ciphertexts of {backend} with keys of {bits} bits; rounds of a query / of a training step; training in the \
         mini-batches of each network's recipe.",
        backend = args.cryptosystem.backend.id(),
        bits = match (args.cryptosystem.key_bits, args.cryptosystem.for_training().key_bits) {
            (one, other) if one == other => one.to_string(),
            (one, other) => format!("{one} and {other}"),
        },
    );
    output.show(&rows, format_args!("{text}\n{note}"))
}
