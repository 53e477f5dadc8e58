//! `gelu bench`: how long things take, with both parties as they are deployed.
//!
//! Client and server are two processes that talk TLS over the loopback interface. Answers are
//! checked before times are reported; a wrong answer is an error. Keys, certificates, the handshake
//! and the tables of a key are made before the clock starts, by one query that is not counted.

mod blind;
mod kernels;
pub mod latency;
mod link;
pub mod train_step;

pub use link::{Fields, Link, Loopback};

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use comfy_table::Table;
use gelu_core::Precision;
use gelu_core::stats::median;
use gelu_nn::{Dataset, Model, Sequential, zoo};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::args::Moved;
use crate::data::{DataArgs, Meaning};
use crate::local::LocalServer;
use crate::machine::{self, Machine};
use crate::model;
use crate::output::{Output, table};
use crate::phases::bytes;
use crate::problem::problem;

/// Measure this machine: a query, a training step, the arithmetic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu bench latency --network lenet5              one encrypted query, 20 times
  gelu bench latency --network dense300 --batch 64 --json
  gelu bench train-step --network dense300 --batch 64 --sigma 40
  gelu bench kernels                               products modulo n², encryptions, decryptions

Both parties run on this machine, as two processes over TLS on the loopback interface: with other
work beside them the times are worth nothing. Over a simulated link, and for the paper's tables and figures:
`cargo run --release -p gelu-bench -- help`.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Latency(latency::Args),
    TrainStep(train_step::Args),
    Kernels(kernels::Args),
    #[command(hide = true)]
    Table(Moved),
    #[command(hide = true)]
    Figure(Moved),
    #[command(hide = true)]
    Report(Moved),
}

/// Measures.
pub fn run(args: &Args, output: Output) -> Result<()> {
    match &args.what {
        What::Latency(args) => latency::run(args, &Loopback, output),
        What::TrainStep(args) => train_step::run(args, &Loopback, output),
        What::Kernels(args) => kernels::run(args, output),
        What::Table(moved) => moved.refuse("bench table", "table"),
        What::Figure(moved) => moved.refuse("bench figure", "figure"),
        What::Report(moved) => moved.refuse("bench report", "report"),
    }
}

/// Which network, with which weights, on which samples.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
struct NetworkArgs {
    /// A network of `gelu models`; without --model its weights are drawn from --seed
    #[arg(long, value_name = "NAME", required_unless_present = "model")]
    network: Option<String>,
    /// A model file: trained weights
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
}

impl NetworkArgs {
    /// The model, at `precision` unless it comes from a file.
    fn model(&self, precision: Option<Precision>) -> Result<Model> {
        let known = |name: &String| match zoo::by_name(name) {
            Some(entry) => Ok((name.clone(), (entry.architecture)())),
            None => {
                Err(problem(format!("no network is called {name:?}"), "`gelu models` lists them"))
            }
        };
        let network = self.network.as_ref().map(known).transpose()?;
        let Some(path) = &self.model else {
            let (name, architecture) = network.expect("required without a model");
            let precision = precision.unwrap_or(Precision::INFERENCE);
            let rng = &mut ChaCha20Rng::seed_from_u64(self.data.seed);
            return Ok(Model::initialise(name, architecture, precision, rng)?);
        };
        let model = model::load(path)?;
        if let Some((name, _)) = network.filter(|(_, network)| network != model.architecture()) {
            return Err(problem(
                format!("the model in {} is no {name}", path.display()),
                "leave out --network: the file says what it is",
            ));
        }
        Ok(match precision {
            Some(precision) => model.requantised(precision)?,
            None => model,
        })
    }

    /// Where the weights come from, in words.
    fn weights(&self) -> String {
        match &self.model {
            Some(path) => format!("from {}", path.display()),
            None => format!("random, drawn from seed {}", self.data.seed),
        }
    }

    /// `count` samples: from --data, or drawn from the seed.
    fn samples(&self, architecture: &Sequential, name: &str, count: usize) -> Result<Samples> {
        let inputs = architecture.input().features();
        if inputs.checked_mul(count).is_none_or(|values| values > MOST_VALUES) {
            return Err(problem(
                format!(
                    "{count} samples of {inputs} values: a measurement takes at most {MOST_VALUES} values"
                ),
                "ask for fewer --runs or a smaller --batch",
            ));
        }
        if self.data.data.is_some() || self.data.dataset.is_some() || self.data.csv.is_some() {
            let (source, all) = self.data.load_held_out(Some(name), Meaning::Own)?;
            return Ok(Samples { source, kind: Kind::Real(all.head(count)) });
        }
        let mut rng = ChaCha20Rng::seed_from_u64(self.data.seed ^ 0x005a_3b1e);
        // Images of 8-bit pixels, most of them dark.
        let pixel = |_| f64::from(rng.random_range(-255i32..=255).max(0)) / 255.0;
        let values: Vec<f64> = (0..inputs * count).map(pixel).collect();
        let all = Array2::from_shape_vec((inputs, count), values)?;
        let source = format!("synthetic pixels, drawn from seed {}", self.data.seed);
        Ok(Samples { source, kind: Kind::Drawn { all, classes: architecture.classes() } })
    }
}

/// Values of all samples of a measurement, which are held in memory: a gigabyte.
const MOST_VALUES: usize = 1 << 27;

/// Samples to classify or to train on.
struct Samples {
    source: String,
    kind: Kind,
}

enum Kind {
    Real(Dataset),
    Drawn { all: Array2<f64>, classes: usize },
}

impl Samples {
    /// `[features, batch]` and labels of batch number `n`; after the last one comes the first.
    fn batch(&self, n: usize, batch: usize) -> (Array2<f64>, Vec<usize>) {
        let of = |len: usize| (0..batch).map(|i| (n * batch + i) % len).collect::<Vec<_>>();
        match &self.kind {
            Kind::Real(data) => data.batch(&of(data.len())),
            Kind::Drawn { all, classes } => {
                let samples = of(all.ncols());
                let labels = samples.iter().map(|s| s % classes).collect();
                (all.select(ndarray::Axis(1), &samples), labels)
            }
        }
    }
}

/// The spread of repeated measurements, in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    median_s: f64,
    min_s: f64,
    p10_s: f64,
    p90_s: f64,
}

impl Spread {
    /// Of at least one time.
    fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() - 1;
        let at = |part: usize| sorted[(last * part + 50) / 100];
        let median_s = median(times.iter().copied()).expect("one time at least");
        Self { median_s, min_s: sorted[0], p10_s: at(10), p90_s: at(90) }
    }
}

/// What one of the timed queries or steps took.
#[derive(Debug, Clone, Copy, Serialize)]
struct Taken {
    #[serde(flatten)]
    spread: Spread,
    client_cpu_s: Option<f64>,
    server_cpu_s: Option<f64>,
    bytes_up: u64,
    bytes_down: u64,
    rounds: u64,
}

impl Taken {
    /// As a table for people, whose first heading is `of_what`.
    fn rows(&self, of_what: &str) -> Table {
        let Spread { median_s, min_s, p10_s, p90_s } = self.spread;
        let mut rows = table(&[of_what, "#"]);
        let mut row = |name: &str, value: String| {
            rows.add_row([name, &value]);
        };
        row("median", seconds(Some(median_s)));
        row("least", seconds(Some(min_s)));
        row("10 % to 90 %", format!("{p10_s:.4} to {p90_s:.4} s"));
        row("processor time, client", seconds(self.client_cpu_s));
        row("processor time, server", seconds(self.server_cpu_s));
        row("to the server", bytes(self.bytes_up));
        row("to the client", bytes(self.bytes_down));
        row("rounds", self.rounds.to_string());
        rows
    }
}

/// Processor time of client and server so far, in seconds; `None` where the system does not tell.
#[derive(Debug, Clone, Copy)]
struct CpuTimes {
    client: Option<f64>,
    server: Option<f64>,
}

impl CpuTimes {
    fn now(server: &LocalServer) -> Self {
        Self { client: machine::cpu_seconds("self"), server: server.cpu_seconds() }
    }

    fn plus(self, other: Self) -> Self {
        let sum = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Self { client: sum(self.client, other.client), server: sum(self.server, other.server) }
    }

    /// What each has used since `earlier`, divided by `runs`.
    fn since(self, earlier: Self, runs: usize) -> Self {
        let each = |now: Option<f64>, then: Option<f64>| Some((now? - then?) / runs as f64);
        Self {
            client: each(self.client, earlier.client),
            server: each(self.server, earlier.server),
        }
    }
}

/// A time for people, or that it is unknown.
fn seconds(s: Option<f64>) -> String {
    s.map_or_else(|| "unknown".into(), |s| format!("{s:.4} s"))
}

/// What a measurement must be read with.
#[derive(Debug, Serialize)]
pub struct Circumstances {
    /// The arithmetic that this machine uses.
    kernel: Option<&'static str>,
    /// That compute, in each process.
    threads: usize,
    /// Processes that wanted a processor in the minute before: other people's work.
    load: Option<f64>,
    commit: Option<String>,
    date: String,
    machine: Machine,
    command: String,
}

impl Circumstances {
    /// Looks around. To be called before anything is measured.
    pub fn now(kernel: Option<&'static str>) -> Self {
        Self {
            kernel,
            threads: rayon::current_num_threads(),
            load: machine::load(),
            commit: machine::commit(),
            date: machine::now(),
            machine: Machine::here(),
            command: machine::command_line(),
        }
    }
}

/// One line for people.
impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, build, .. } = &self.machine;
        write!(f, "{processor}, {} threads, {build} build", self.threads)?;
        if let Some(kernel) = self.kernel {
            write!(f, ", kernel {kernel}")?;
        }
        if let Some(commit) = &self.commit {
            write!(f, ", commit {commit}")?;
        }
        write!(f, ", {}.", self.date)?;
        match self.load {
            Some(load) if load > 0.5 => {
                write!(
                    f,
                    "\nLoad in the minute before: {load:.1}. Beside other work, times are too long."
                )
            }
            _ => Ok(()),
        }
    }
}

/// Says that a measurement is void.
fn wrong(what: &str) -> anyhow::Error {
    problem(
        format!("{what} differs from the same in the clear"),
        "this is a bug: times of wrong answers are not reported",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_by_hand() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            (spread.median_s, spread.min_s, spread.p10_s, spread.p90_s),
            (2.5, 1.0, 1.0, 4.0)
        );
        let one = Spread::of(&[7.0]);
        assert_eq!((one.median_s, one.min_s, one.p10_s, one.p90_s), (7.0, 7.0, 7.0, 7.0));
        let three = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!((three.median_s, three.p90_s), (2.0, 3.0));
    }
}
