//! The command line.

use std::io::IsTerminal;
use std::ops::RangeBounds;

use anyhow::{Context, Result};
use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use gelu_core::plan::MAX_BATCH;
use tracing_subscriber::EnvFilter;

use crate::backend::Backend;
use crate::commands::{
    attack, audit, backends, bench, certs, datasets, demo, infer, keygen, models, plan, round,
    serve, train,
};
use crate::output::Output;

/// Train and query neural networks on data that the server cannot see.
///
/// A client owns the data and the keys, a server owns the model. The server computes every layer
/// on ciphertexts; the client decrypts, applies the exact activation and encrypts again. The
/// trained weights equal those of the same training in the clear, bit for bit.
#[derive(Debug, Parser)]
#[command(name = "gelu", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print one JSON object to stdout; progress and logs stay on stderr
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Log more (-v: sessions and leases, -vv: everything); RUST_LOG overrides
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Start here:
  gelu demo                     the whole thing in one command, with a report to open
  gelu models                   the networks of the paper, and what they cost
  gelu audit iris               what a training of that network would leak, to whom
  gelu plan lenet5              how its layers travel in ciphertexts, and what each of them costs
  gelu backends                 the cryptosystems of this program, and what each can do
  gelu help COMMAND             examples for each command";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Models(models::Args),
    Datasets(datasets::Args),
    Backends(backends::Args),
    Audit(audit::Args),
    Plan(plan::Args),
    Round(round::Args),
    Train(Box<train::Args>),
    Infer(Box<infer::Args>),
    Bench(Box<bench::Args>),
    Attack(attack::Args),
    Serve(Box<serve::Args>),
    Certs(certs::Args),
    Keygen(keygen::Args),
}

impl Cli {
    /// Sends logs to stderr.
    pub(crate) fn init_logs(&self) {
        let level = ["warn", "info", "debug"][usize::from(self.verbose.min(2))];
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        logs.with_ansi(std::io::stderr().is_terminal()).init();
    }

    /// Does what was asked.
    pub(crate) fn run(self) -> Result<()> {
        let output = Output { json: self.json };
        match self.command {
            Command::Demo(args) => demo::run(&args, output),
            Command::Models(args) => models::run(&args, output),
            Command::Datasets(args) => datasets::run(&args, output),
            Command::Backends(args) => backends::run(&args, output),
            Command::Audit(args) => audit::run(&args, output),
            Command::Plan(args) => plan::run(&args, output),
            Command::Round(args) => round::run(&args, output),
            Command::Train(args) => train::run(&args, output),
            Command::Infer(args) => infer::run(&args, output),
            Command::Bench(args) => bench::run(&args, output),
            Command::Attack(args) => attack::run(&args, output),
            Command::Serve(args) => serve::run(&args, output),
            Command::Certs(args) => certs::run(&args, output),
            Command::Keygen(args) => keygen::run(&args, output),
        }
    }
}

/// Which cryptosystem, and how large its keys are: of a size that it offers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cryptosystem {
    pub(crate) backend: Backend,
    /// Of the keys that are made; a key from a file has its own.
    pub(crate) key_bits: u32,
    /// Whether they were asked for: a key from a file must then have them.
    pub(crate) key_bits_given: bool,
}

/// A [`Cryptosystem`] as it is typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cryptosystem")]
struct CryptosystemArgs {
    /// The cryptosystem, of those in this build; `gelu backends` compares them and names the others
    #[arg(long, value_enum, default_value_t = Backend::DEFAULT)]
    backend: Backend,
    /// Bits of a key: 2048, 3072 or 4096 for paillier; most others have one size, which is their
    /// default [default: 2048 for paillier, the paper's size; 3072 is the one for new keys; those of
    /// --key where it is given]
    #[arg(long, value_name = "BITS")]
    key_bits: Option<u32>,
}

impl FromArgMatches for Cryptosystem {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let CryptosystemArgs { backend, key_bits } = CryptosystemArgs::from_arg_matches(matches)?;
        let key_bits_given = key_bits.is_some();
        let key_bits = key_bits.unwrap_or(backend.key_bits()[0]);
        backend.check_key_bits(key_bits).map_err(|why| usage_error("--key-bits", &why))?;
        Ok(Self { backend, key_bits, key_bits_given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Cryptosystem {
    fn augment_args(command: clap::Command) -> clap::Command {
        CryptosystemArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        CryptosystemArgs::augment_args_for_update(command)
    }
}

/// A value that its option does not take, found after the command line was read.
pub(crate) fn usage_error(option: &str, why: &str) -> clap::Error {
    let message = format!("invalid value for '{option}': {why}");
    Cli::command().error(ErrorKind::ValueValidation, message)
}

/// A number of things on the command line, within the bounds of what can be worked on.
pub(crate) fn count(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Samples of a mini-batch or of a query: as many as the protocol allows.
pub(crate) fn batch() -> RangedU64ValueParser<usize> {
    count(1..=MAX_BATCH as u64)
}

/// The size of a key of Paillier's cryptosystem, for commands that only count.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Cryptosystem")]
pub(crate) struct KeySize {
    /// Bits of Paillier's modulus: 2048 is the paper's size, 3072 the one for new keys
    #[arg(long, value_parser = key_bits(), default_value = "2048", value_name = "BITS")]
    pub(crate) key_bits: u32,
}

/// Paillier's sizes.
fn key_bits() -> impl clap::builder::TypedValueParser<Value = u32> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let sizes = PossibleValuesParser::new(["2048", "3072", "4096"]);
    sizes.map(|text| text.parse().expect("one of the sizes above"))
}

/// How many threads compute.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Cryptosystem")]
pub(crate) struct Threads {
    /// Threads that compute, in each process; its sessions share them [default: all processors]
    #[arg(long, value_name = "N", env = "GELU_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// Makes the one pool of this process. Must come before anything computes.
    pub(crate) fn start(self) -> Result<()> {
        let threads = self.threads.map_or(0, usize::from); // 0: as many as there are processors
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = pool.thread_name(|n| format!("gelu-compute-{n}"));
        pool.build_global().context("cannot start the threads that compute")
    }

    /// For the command line of a server.
    pub(crate) fn arguments(self) -> Vec<String> {
        self.threads.map_or(Vec::new(), |n| vec!["--threads".into(), n.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_of_keys_follow_the_backend() {
        let parse = |more: &[&str]| {
            let arguments = [&["gelu", "demo"], more].concat();
            let matches = Cli::command().try_get_matches_from(arguments).unwrap();
            Cryptosystem::from_arg_matches(matches.subcommand().unwrap().1)
        };
        for backend in clap::ValueEnum::value_variants() {
            let backend: &Backend = backend;
            let name = ["--backend", backend.id()];
            assert_eq!(parse(&name).unwrap().key_bits, backend.key_bits()[0]);
            for bits in backend.key_bits() {
                let bits = &bits.to_string();
                let chosen = parse(&[&name[..], &["--key-bits", bits]].concat()).unwrap();
                assert_eq!((chosen.backend, &chosen.key_bits.to_string()), (*backend, bits));
            }
            let refused = parse(&[&name[..], &["--key-bits", "1000"]].concat()).unwrap_err();
            let said = refused.to_string();
            for part in ["1000", backend.id(), &backend.key_bits()[0].to_string()] {
                assert!(said.contains(part), "{said}");
            }
        }
    }

    #[test]
    fn every_command_teaches_by_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            assert!(command.get_after_help().is_some(), "{name} has no examples");
        }
    }
}
