//! `gelu demo`: the main job, with everything that it needs inside the program.

mod blind;

use std::path::{Path, PathBuf};

use anyhow::Result;
use gelu_core::client::DataPolicy;
use gelu_nn::{Split, zoo};

use crate::args::{Cryptosystem, Threads};
use crate::experiment::Experiment;
use crate::local::Terms;
use crate::output::Output;
use crate::phases::say;
use crate::rate::RateArgs;
use crate::report;

/// Train and query a network under encryption, start to finish, in under a minute
///
/// A server process and two clients, each with a fresh key and half of the flowers, train Iris over
/// TLS on this machine, then classify the flowers that nobody trained on. The same mini-batches are
/// then repeated in the clear: the weights must be equal bit for bit.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Demonstration",
    after_help = "\
Examples:
  gelu demo                             writes gelu-demo-report.html: open it in a browser
  gelu demo --blind                     queries whose sums nobody sees, of a network of convolutions
  gelu demo --json                      one object for programs
  gelu demo --key-bits 3072             keys of the size recommended for new ones
  gelu demo --backend insecure-clear    the same without encryption, in a moment

Iris is so narrow a network that a few samples determine its weights. The leakage ledger would
refuse to train it; the demo's server is started with --allow-model-extraction, and the demo says
what that means. With --blind a network of convolutions is trained in the clear and asked about
digits: one open query would give its kernels away, a blind one tells a class."
)]
pub(crate) struct Args {
    /// Instead of training, ask blindly: nobody sees the sums of a layer
    #[arg(long, conflicts_with_all = ["epochs", "report", "force"])]
    blind: bool,
    /// How often every training row is seen
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    epochs: u32,
    /// Fixes the split, the first weights, the order of samples and of leases; never keys
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Where to write the report [default: gelu-demo-report.html, if it can be written]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    report: Option<PathBuf>,
    /// Overwrite what stands at --report, be it an input or a file of another kind
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

const SEED: u64 = 1;
const CLIENTS: usize = 2;
const BATCH: usize = 15;
const RATE: f64 = 0.8;
const LEASE_SAMPLES: u64 = 300;

/// Runs the demonstration.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    if args.blind {
        return blind::run(args, output);
    }
    let report =
        report::destination(args.report.as_deref(), "gelu-demo-report.html", &[], args.force)?;
    let (split, _) = Split::load("iris", Path::new(""), args.seed)?;
    let steps_per_epoch = split.train.len() / CLIENTS / BATCH;
    let experiment = Experiment {
        start: None,
        name: "iris".into(),
        dataset: "Fisher's Iris flowers, part of this program".into(),
        architecture: zoo::iris(),
        clients: CLIENTS,
        batch: BATCH,
        steps: args.epochs as usize * steps_per_epoch,
        seed: args.seed,
        data_policy: DataPolicy::Enforce,
        terms: Terms {
            cryptosystem: args.cryptosystem.for_training(),
            threads: args.threads,
            rate: RateArgs::public(RATE),
            lease_samples: LEASE_SAMPLES,
            lease_seed: args.seed,
            precompute: false,
        },
        split,
    };
    say(&format!(
        "Iris, {}, two clients with {} rows each, {} held out",
        experiment.architecture,
        experiment.split.train.len() / CLIENTS,
        experiment.split.test.len()
    ));
    experiment.run()?.deliver(Ok(()), report.as_ref(), output)
}
