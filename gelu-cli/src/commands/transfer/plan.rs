//! `gelu transfer plan`: what a fit and an answer cost, by engine and cryptosystem, before anything runs.

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::plan::Purpose;
use serde::Serialize;

use super::Engine;
#[cfg(feature = "lattice")]
use super::ckks;
use super::fit::{EPOCHS, Schedule};
use super::predict::{query, roomy};
use super::source::{Source, SourceArgs};
use crate::args::{self, Cryptosystem};
use crate::backend::Backend;
use crate::cost::Count;
use crate::output::{Output, table};
use crate::phases::{bytes, seconds};

/// Show time, bytes and rounds of a fit and of its answers, by cryptosystem, before anything is encrypted
#[derive(Debug, clap::Args)]
#[cfg_attr(feature = "lattice", command(mut_arg("unattended", |arg| arg.help(UNATTENDED))))]
#[command(after_help = "\
Examples:
  gelu transfer plan                               the medical abstracts
  gelu transfer plan --engine ckks --degree 3      rings, keys and memory of the engine that sees no head
  gelu transfer plan --components 32 --measure     fewer numbers a row, by prices measured here
  gelu transfer plan --base trained.safetensors --freeze 1 --dataset digits --classes 5,6,7,8,9

Times are those of one core for both parties, with 1 Gbit/s between them, of the reference machine, or with --measure
of this one; bytes are those of the ciphertexts. A fit is one lease; its masked updates come on top, 8 to 16 bytes a
weight of the head and step.")]
pub(super) struct Args {
    /// The engine to plan for [default: all of them]
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Samples of a mini-batch [default: a quarter of the rows, 512 at most; under ckks as few even batches as there can be of 1024 at most]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// How often every row is seen
    #[arg(long, value_name = "N", default_value_t = EPOCHS, value_parser = args::count(1..=10_000))]
    epochs: usize,
    /// Measure on this machine what operations take, where a backend can
    #[arg(long)]
    measure: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[cfg(feature = "lattice")]
    #[command(flatten)]
    ckks: ckks::options::Training,
}

/// A plan without the option shows three of its values.
#[cfg(feature = "lattice")]
const UNATTENDED: &str = "Iterations between two refreshes, in which the data party is not needed: more take larger \
                          rings [default: 1, 4 and 9 are planned]";

/// By engine.
#[derive(Serialize)]
struct Plans {
    #[serde(flatten)]
    exact: Option<Planned>,
    #[cfg(feature = "lattice")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ckks: Option<ckks::plan::Planned>,
}

#[derive(Serialize)]
struct Planned {
    layers: String,
    rows: usize,
    batch: usize,
    steps: usize,
    measured: bool,
    backends: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    backend: &'static str,
    key_bits: u32,
    /// Of one step.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Cost>,
    /// Of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<Cost>,
    /// A row's share of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Cost {
    seconds: f64,
    bytes: u64,
    rounds: usize,
}

/// Prints a table for each engine.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    let source = args.source.load()?;
    let wants = |engine| args.engine.is_none_or(|asked| asked == engine);
    #[cfg(feature = "lattice")]
    if !wants(Engine::Ckks) {
        args.ckks.refuse("exact")?;
    } else if args.engine == Some(Engine::Ckks) {
        args.source.refuse_layers()?;
    }
    let plans = Plans {
        exact: wants(Engine::Exact).then(|| exact(args, &source)).transpose()?,
        #[cfg(feature = "lattice")]
        ckks: (wants(Engine::Ckks) && ckks_takes(args, &source))
            .then(|| ckks::plan::Planned::of(&source, &args.ckks, args.batch, args.measure))
            .transpose()?,
    };
    let text = plans.text();
    output.show(&plans, text)
}

/// Whether engine ckks was asked for by name, or has a plan for these layers.
#[cfg(feature = "lattice")]
fn ckks_takes(args: &Args, source: &Source) -> bool {
    let takes = || args.source.refuse_layers().is_ok() && ckks::takes(source);
    args.engine == Some(Engine::Ckks) || takes()
}

impl Plans {
    fn text(&self) -> String {
        let exact = self.exact.iter().map(Planned::text);
        #[cfg(feature = "lattice")]
        let exact = exact.chain(self.ckks.iter().map(ckks::plan::Planned::text));
        exact.collect::<Vec<_>>().join("\n\n")
    }
}

/// The split protocol under each cryptosystem.
fn exact(args: &Args, source: &Source) -> Result<Planned> {
    let rows = source.split.train.len();
    let Schedule { batch, steps } = Schedule::of(rows, args.batch, args.epochs)?;
    let exported = source.export(&source.start, None)?;
    let row = |backend: Backend| {
        let (trained, used) = (&source.start, &exported);
        let own = Cryptosystem::default_of(backend);
        let asking = roomy(own, used);
        let asked = query(asking, used);
        let cost = |cryptosystem, count: Count<'_>| {
            let costs = count.under(cryptosystem)?;
            let seconds = costs.nanoseconds as f64 / 1e9;
            anyhow::Ok(Cost { seconds, bytes: costs.bytes, rounds: costs.rounds })
        };
        let step = u32::try_from(steps).map_err(Into::into).and_then(|steps| {
            let count = Count {
                network: trained.network(),
                precision: trained.precision(),
                batch,
                purpose: Purpose::Training { steps },
                measured: args.measure,
            };
            cost(own, count)
        });
        let count = Count {
            network: used.network(),
            precision: used.precision(),
            batch: asked,
            purpose: Purpose::Inference,
            measured: args.measure,
        };
        let answer = cost(asking, count);
        let share = |all: Cost| Cost {
            seconds: all.seconds / asked as f64,
            bytes: all.bytes.div_ceil(asked as u64),
            rounds: all.rounds,
        };
        let times = |one: Cost| Cost {
            seconds: one.seconds * steps as f64,
            bytes: one.bytes * steps as u64,
            rounds: one.rounds * steps,
        };
        Row {
            backend: backend.id(),
            key_bits: own.for_training().key_bits,
            step: step.as_ref().ok().copied(),
            fit: step.as_ref().ok().copied().map(times),
            answer: answer.ok().map(share),
            refused: step.err().map(|error| error.to_string()),
        }
    };
    let secure = Backend::value_variants().iter().copied().filter(|backend| backend.is_secure());
    Ok(Planned {
        layers: source.start.architecture().to_string(),
        rows,
        batch,
        steps,
        measured: args.measure,
        backends: secure.map(row).collect(),
    })
}

impl Planned {
    fn text(&self) -> String {
        let mut rows = table(&[
            "--backend",
            "#key\nbits",
            "#a step",
            "#the fit",
            "#sent",
            "#rounds",
            "#an answer",
            "#sent",
            "",
        ]);
        let dash = || "–".to_owned();
        for row in &self.backends {
            let time = |cost: Option<Cost>| cost.map_or_else(dash, |cost| seconds(cost.seconds));
            let sent = |cost: Option<Cost>| cost.map_or_else(dash, |cost| bytes(cost.bytes));
            rows.add_row([
                row.backend.to_owned(),
                row.key_bits.to_string(),
                time(row.step),
                time(row.fit),
                sent(row.fit),
                row.fit.map_or_else(dash, |fit| fit.rounds.to_string()),
                time(row.answer),
                sent(row.answer),
                row.refused.clone().unwrap_or_default(),
            ]);
        }
        let machine = if self.measured { "this machine" } else { "the reference machine" };
        format!(
            "{}\n{} rows, {} mini-batches of {}, one lease; expected on {machine}:\n\n{rows}",
            self.layers, self.rows, self.steps, self.batch
        )
    }
}
