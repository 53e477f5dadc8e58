//! Arguments that several commands take.

use std::ops::RangeBounds;

use anyhow::{Context, Result};
use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches};
use gelu_core::plan::{MAX_BATCH, MAX_STEPS, Purpose};

use crate::backend::Backend;
use crate::machine;
use crate::problem::problem;

/// Which cryptosystem, and how large its keys are: of a size that it offers.
#[derive(Debug, Clone, Copy)]
pub struct Cryptosystem {
    /// The scheme.
    pub backend: Backend,
    /// Of the keys that are made; a key from a file has its own.
    pub key_bits: u32,
    /// Whether they were asked for: a key from a file must then have them.
    pub key_bits_given: bool,
}

/// A [`Cryptosystem`] as it is typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cryptosystem")]
struct CryptosystemArgs {
    /// The cryptosystem, of those in this build; `gelu backends` compares them and names the others
    #[arg(long, value_enum, default_value_t = Backend::DEFAULT)]
    backend: Backend,
    /// Size of a key: 2048, 3072 or 4096 bits for paillier; a ring of degree 4096 or 8192 for lattice; others
    /// have one size [default: 2048 for paillier, the paper's size, 3072 is the one for new keys; for
    /// lattice 4096, to train 8192; those of --key where it is given]
    #[arg(long, value_name = "BITS")]
    key_bits: Option<u32>,
}

impl Cryptosystem {
    /// A scheme with keys of its default size.
    pub fn default_of(backend: Backend) -> Self {
        Self { backend, key_bits: backend.key_bits()[0], key_bits_given: false }
    }

    /// For what the keys are for, unless their size was asked for.
    pub(crate) fn for_purpose(self, purpose: Purpose) -> Self {
        match purpose {
            Purpose::Inference => self,
            Purpose::Training { .. } => self.for_training(),
        }
    }

    /// For a run that trains, unless the size of keys was asked for.
    pub fn for_training(self) -> Self {
        match self.key_bits_given {
            true => self,
            false => Self { key_bits: self.backend.training_key_bits(), ..self },
        }
    }
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
    clap::Error::raw(ErrorKind::ValueValidation, format!("invalid value for '{option}': {why}"))
}

/// A number of things on the command line, within the bounds of what can be worked on.
pub(crate) fn count(range: impl RangeBounds<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Samples of a mini-batch or of a query: as many as the protocol allows.
pub(crate) fn batch() -> RangedU64ValueParser<usize> {
    count(1..=MAX_BATCH as u64)
}

/// Mini-batches of a lease: as many as the protocol allows.
pub(crate) fn lease_steps() -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(1..=i64::from(MAX_STEPS))
}

/// How many threads compute.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Cryptosystem")]
pub struct Threads {
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

/// The words behind a command of the laboratory, `gelu-bench`, that was typed for this program.
#[derive(Debug, Clone, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Moved {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Moved {
    /// Says what to type instead of `gelu NAME …`, where `command` is the laboratory's command.
    pub(crate) fn refuse(&self, name: &str, command: &str) -> Result<()> {
        let words = machine::typed([command.to_owned()].into_iter().chain(self.words.clone()));
        Err(problem(
            format!("`gelu {name}` is a command of the laboratory, gelu-bench"),
            format!(
                "type `cargo run --release -p gelu-bench -- {words}` in the folder of the sources"
            ),
        ))
    }
}
