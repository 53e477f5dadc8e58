//! `gelu transfer fit`: trains a head under encryption and says how good it is.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gelu_core::client::DataPolicy;
use serde_json::{Value, json};

use super::Engine;
#[cfg(feature = "lattice")]
use super::ckks;
use super::judged::Judged;
use super::source::{Source, SourceArgs};
use crate::args::{self, Cryptosystem, Threads};
use crate::destination::{Destination, Kind};
use crate::experiment::{Experiment, Outcome};
use crate::local::Terms;
use crate::output::Output;
use crate::phases::say;
use crate::problem::problem;
use crate::rate::RateArgs;
use crate::report::{self, Report};

/// Train a head under encryption on features, or on the first layers of a model
///
/// A server process is started here for this run; afterwards the same mini-batches are repeated in the clear, and
/// weights, accuracy and the area under the curve are compared.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Training",
    mut_arg("backend", |arg| arg.default_value(super::default_backend())),
    mut_arg("rate", |arg| arg.help(RATE_HELP)),
    after_help = "\
Examples:
  gelu transfer fit                                          medical abstracts, about cancer or not
  gelu transfer fit --components 32 --out head.safetensors   on 32 numbers a row instead of 384
  gelu transfer fit --features mine.safetensors --epochs 10  features of your own
  gelu transfer fit --csv loans.csv --label approved --batch 64
  gelu transfer fit --base trained.safetensors --freeze 1 --dataset digits --classes 5,6,7,8,9
  gelu transfer fit --engine ckks                            the compute party sees neither rows nor head
  gelu transfer fit --engine ckks --degree 3 --state head.state --iterations 16
  gelu transfer fit --engine ckks --base base.safetensors --freeze 1 --dataset digits --rate 1

Features (setup 2): --features names a safetensors file with train.x and test.x, [rows, features], F32, F16, or I8
beside x.scale; train.y and test.y, [rows], classes from 0, U8, I32 or I64. Of --csv one column is the class. The data
party subtracts the mean of each column and divides by one number (columns of a table each by its own), so that rows
have a mean squared norm of 16, and projects them if asked to. All of that is folded into the head that --out writes,
which takes raw features.

A base (setup 1): the first --freeze linear layers of --base stay as they are; they are asked with their true weights,
and neither errors nor updates reach them. The data's own preparation must be the base's: pixels from 0 to 1. Under
ckks each of these layers must end in a square; all rows go through the base once, encrypted, and the data party gets
their features, prepares them, and trains on them. It reads --base only to compare with the clear and for --out. Where
the base is the compute party's alone, `gelu transfer features` gets the features, and --features takes them from there.

Of two classes the second is the one looked for. The threshold with the best F1 on the training rows is part of the
head: `gelu infer` and `gelu transfer predict` answer by it."
)]
pub(super) struct Args {
    /// How the head is trained
    #[arg(long, value_enum, default_value_t = Engine::Exact)]
    pub(super) engine: Engine,
    /// Samples of a mini-batch [default: a quarter of the rows, 512 at most; under ckks as few even batches as there can be of 1024 at most]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    pub(super) batch: Option<usize>,
    /// How often every row is seen; 0 trains nothing, and --out gets what a training begins with [default: 6]
    #[arg(long, value_name = "N", value_parser = args::count(..=10_000))]
    pub(super) epochs: Option<usize>,
    /// Reveal sums of leases over so few different rows that the server could reconstruct inputs
    #[arg(long)]
    pub(super) allow_input_reconstruction: bool,
    /// Where to write the head: an ordinary model file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
    /// Where to write the report [default: gelu-transfer-report.html, if it can be written]
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub(super) report: Option<PathBuf>,
    /// Overwrite what stands at --out and --report, be it an input or a file of another kind
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) rate: RateArgs,
    #[command(flatten)]
    pub(super) cryptosystem: Cryptosystem,
    #[command(flatten)]
    pub(super) threads: Threads,
    #[cfg(feature = "lattice")]
    #[command(flatten)]
    pub(super) ckks: ckks::options::Options,
}

pub(super) const EPOCHS: usize = 6;
const BATCH: usize = 512;
const RATE: f64 = 1.0;
const RATE_HELP: &str =
    "Learning rate, known to the data party [default: 1; under ckks 4, 3, 2 or 2 by degree]";

/// Mini-batches of a fit.
pub(super) struct Schedule {
    pub(super) batch: usize,
    pub(super) steps: usize,
}

impl Schedule {
    /// Of so many rows.
    ///
    /// # Errors
    /// When there are fewer rows than a mini-batch takes, or too many mini-batches to plan.
    pub(super) fn of(rows: usize, batch: Option<usize>, epochs: usize) -> Result<Self> {
        let batch = batch.unwrap_or((rows / 4).clamp(1, BATCH));
        if batch > rows {
            return Err(problem(
                format!("a mini-batch of {batch} samples cannot be made of {rows} rows"),
                format!("choose a --batch of {rows} or less, or give more rows"),
            ));
        }
        let steps = epochs * (rows / batch);
        match u32::try_from(steps) {
            Ok(small) if small <= gelu_core::plan::MAX_STEPS => Ok(Self { batch, steps }),
            _ => Err(problem(
                format!("{epochs} epochs of {rows} rows are {steps} mini-batches of {batch}"),
                format!(
                    "at most {} are planned: fewer --epochs, or a larger --batch",
                    gelu_core::plan::MAX_STEPS
                ),
            )),
        }
    }
}

/// Trains, judges, writes.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    match args.engine {
        Engine::Exact => {}
        #[cfg(feature = "lattice")]
        Engine::Ckks => return ckks::fit::run(args, output),
    }
    #[cfg(feature = "lattice")]
    args.ckks.refuse("exact")?;
    args.threads.start()?;
    let inputs = args.source.inputs();
    let (report, out) = (args.report(&inputs)?, args.out(&inputs)?);
    let source = args.source.load()?;
    let rows = source.split.train.len();
    let Schedule { batch, steps } = Schedule::of(rows, args.batch, args.epochs.unwrap_or(EPOCHS))?;
    let experiment = args.experiment(&source, batch, steps);
    let test = source.split.test.len();
    say(&format!(
        "{}, {}, {rows} rows to train on, {test} held out",
        source.name, experiment.architecture
    ));
    let outcome = experiment.run()?;
    // What encrypted queries get: their integers, computed in the clear.
    let exact = |inputs: &_| Ok(outcome.model.probabilities(inputs)?.0);
    let float = |inputs: &_| Ok(outcome.float.probabilities(inputs)?);
    let judged = Judged::of((&source.split, &exact), (&source.split, &float))?;
    let saved = out.as_ref().map_or(Ok(()), |out| {
        out.write(&source.export(&outcome.model, judged.threshold)?.to_bytes()?)
    });
    let shown = Shown { outcome: &outcome, judged: &judged, out: args.out.as_deref() };
    outcome.deliver_as(
        saved,
        report.as_ref().map(|to| (shown.report(), to)),
        output,
        |path| shown.json(path),
        |path| shown.text(path),
    )
}

impl Args {
    /// Where the report goes.
    pub(super) fn report(&self, inputs: &[&Path]) -> Result<Option<Destination>> {
        let report = self.report.as_deref();
        report::destination(report, "gelu-transfer-report.html", inputs, self.force)
    }

    /// Where the head goes.
    pub(super) fn out(&self, inputs: &[&Path]) -> Result<Option<Destination>> {
        let check = |path| Destination::check(path, Kind::Model, inputs, self.force);
        self.out.as_deref().map(check).transpose()
    }

    fn experiment(&self, source: &Source, batch: usize, steps: usize) -> Experiment {
        Experiment {
            name: source.start.name().into(),
            dataset: source.name.clone(),
            architecture: source.start.architecture().clone(),
            start: Some(source.start.clone()),
            split: source.split.clone(),
            clients: 1,
            batch,
            steps,
            seed: self.source.data.seed,
            data_policy: match self.allow_input_reconstruction {
                true => DataPolicy::AllowInputReconstruction,
                false => DataPolicy::Enforce,
            },
            terms: Terms {
                cryptosystem: self.cryptosystem.for_training(),
                threads: self.threads,
                rate: self.rate.or(RATE),
                // The server draws the length of a lease below this: so far above all steps that they are one lease,
                // and one sum is all that it sees.
                lease_samples: (batch as u64 * steps.max(1) as u64).saturating_mul(1 << 24),
                lease_seed: self.source.data.seed,
                precompute: false,
            },
        }
    }
}

struct Shown<'a> {
    outcome: &'a Outcome,
    judged: &'a Judged,
    out: Option<&'a Path>,
}

impl Shown<'_> {
    fn json(&self, report: Option<&Path>) -> Value {
        let mut all = self.outcome.json(report);
        all["engine"] = json!("exact");
        all["scores"] = json!(self.judged);
        all["frozen"] = json!(self.outcome.model.architecture().frozen());
        all["model"] = json!(self.out.map(|path| path.display().to_string()));
        all
    }

    fn text(&self, report: Option<&Path>) -> String {
        let mut text = self.judged.text();
        if let Some(out) = self.out {
            let _ = write!(text, "\nhead: {}", out.display());
        }
        text + "\n" + &self.outcome.text(report)
    }

    fn report(&self) -> Report {
        let mut page = self.outcome.report();
        self.judged.add_to(&mut page);
        page
    }
}
