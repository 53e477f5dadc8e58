//! `gelu transfer`: a head that is trained under encryption, on given features or on a model that stays.
//!
//! | file | idea |
//! | --- | --- |
//! | `source` | the rows, the model that training begins with, and what the data party did to its features before |
//! | `fit` | trains, judges, folds the preparation into the head |
//! | `judged` | scores of a head beside those of the one in the clear |
//! | `ckks` | the engine of that name, its two parties, and its plan |
//! | `predict` | one answer a row for new features |
//! | `plan` | time, bytes and rounds by cryptosystem, before anything runs |

#[cfg(feature = "lattice")]
mod ckks;
mod fit;
mod judged;
mod plan;
mod predict;
mod source;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::backend::Backend;
use crate::output::Output;

/// Train a head under encryption, on features or on the first layers of a model, and use it
///
/// Setup 2, without --base: the data party turns its rows into features by itself (an embedding, say), and only they
/// leave it, encrypted. Setup 1, with --base: the other party has the model, and its first layers, frozen, are part
/// of every step.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu transfer fit                   medical abstracts, about cancer or not: 2,048 rows, 722 to test
  gelu transfer plan                  what that costs under each cryptosystem
  gelu transfer help fit              more examples

What each party learns, and numbers: the page \"Transfer learning\" of the book.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Fit(Box<fit::Args>),
    Predict(Box<predict::Args>),
    Plan(Box<plan::Args>),
    #[cfg(feature = "lattice")]
    Features(Box<ckks::features::Args>),
    #[cfg(feature = "lattice")]
    Compute(ckks::compute::Args),
}

/// How the head is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// The split protocol: the other party multiplies ciphertexts, the data party applies exact activations, and
    /// both meet in every step. The weights equal those of the same training in the clear, bit for bit
    Exact,
    /// Leveled CKKS: the other party trains on ciphertexts, with a polynomial in place of the sigmoid, and learns
    /// neither features nor head; the data party refreshes the head now and then. For logistic heads on features
    #[cfg(feature = "lattice")]
    Ckks,
}

/// Trains, asks or plans.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match &args.command {
        Command::Fit(args) => fit::run(args, output),
        Command::Predict(args) => predict::run(args, output),
        Command::Plan(args) => plan::run(args, output),
        #[cfg(feature = "lattice")]
        Command::Features(args) => ckks::features::run(args, output),
        #[cfg(feature = "lattice")]
        Command::Compute(args) => ckks::compute::run(args, output),
    }
}

/// Batches of hundreds of rows are what lattices are fastest at.
fn default_backend() -> &'static str {
    #[cfg(feature = "lattice")]
    return Backend::Lattice.id();
    #[cfg(not(feature = "lattice"))]
    Backend::DEFAULT.id()
}
