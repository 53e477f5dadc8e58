//! `gelu train`: under encryption with a server here or elsewhere, or in the clear.

mod plaintext;
mod remote;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::client::DataPolicy;
use gelu_nn::{Dataset, Model, Recipe};

use crate::args::{self, Cryptosystem, FreezeArgs, Threads};
use crate::client::ServerArgs;
use crate::data::{self, Chosen, DataArgs, Meaning, Samples};
use crate::destination::{Destination, Kind};
use crate::experiment::{Experiment, training_precision};
use crate::leases;
use crate::local::Terms;
use crate::model;
use crate::output::Output;
use crate::phases::say;
use crate::problem::problem;
use crate::rate::RateArgs;
use crate::report;

/// Train a network under encryption, or in the clear with --plaintext
///
/// Without --server, a server process is started here for this run; afterwards the same
/// mini-batches are repeated in the clear, and accuracy and weights are compared. With --server,
/// this is one client among others, and the server decides on the network and the rate.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Training",
    after_help = "\
Examples:
  gelu train --data DIR --dataset diabetes
  gelu train --data DIR --dataset kr-vs-kp --clients 3 --secret-rate 1
  gelu train --data DIR --dataset mnist --rows 6000 --epochs 1 --batch 64 --held-out 1000
  gelu train --csv loans.csv --label approved --epochs 10
  gelu train --plaintext --images photos --epochs 5 --out photos.safetensors
  gelu train --server gelu.example.org:7878 --account alice --key alice.key --csv mine.csv
  gelu train --plaintext --network lenet5 --data DIR --out lenet5.safetensors
  gelu train --plaintext --network iris --epochs 0 --precision training --out fresh.safetensors
  gelu train --dataset digits --start trained.safetensors --freeze 1 --epochs 1

Files in --data (iris, digits and abstracts are built in): diabetes/pima-indians-diabetes.csv,
kr-vs-kp/kr-vs-kp.data, mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz], wdbc/wdbc.data,
heart-disease/processed.cleveland.data, optdigits/optdigits.{tra,tes}, spambase/spambase.data.

The sum of a lease over few different rows gives them away. A training that would come to one is
refused before it begins, and says what to change; rows shown again in another epoch or another
run with --server are not different ones.

Tables: columns of numbers and dates become a number each, words 0/1 features; all are standardised on
the training part. What the columns mean goes into the model as its schema: see `gelu help schema`.

A run that ends early, by a refusal, Ctrl-C or a lost server, shows and writes what the leases up to
then have made, and exits with 3."
)]
pub(crate) struct Args {
    /// A network of `gelu models` or a JSON file [default: the one made for the data]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Begin with this model's weights instead of random ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "elsewhere"])]
    start: Option<PathBuf>,
    #[command(flatten)]
    freeze: FreezeArgs,
    /// Samples of a mini-batch [default: 16; with --plaintext the recipe's]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// How often every row is seen; 0 trains nothing and classifies with the weights as they are
    /// [default: 5; with --plaintext the recipe's]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Mini-batches of each client, instead of --epochs; 0 trains nothing
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    steps: Option<usize>,
    /// Train on the first N rows only, 1 or more
    #[arg(long, value_name = "N", value_parser = args::count(1..), conflicts_with_all = ["elsewhere", "plaintext"])]
    rows: Option<usize>,
    /// Classify the first N held-out rows only, afterwards; 1 or more
    #[arg(long, value_name = "N", value_parser = args::count(1..), conflicts_with_all = ["elsewhere", "plaintext"])]
    held_out: Option<usize>,
    /// Clients that share the rows and train in turn (without --server)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "elsewhere")]
    clients: u8,
    /// The most samples of a lease (without --server) [default: 512, or as many as the data needs]
    #[arg(long, value_name = "N", conflicts_with = "elsewhere")]
    lease_samples: Option<u64>,
    /// Where the sums are counted that our account has revealed (with --server) [default:
    /// clients/ACCOUNT.sums in --certs]
    #[arg(
        long,
        value_name = "FILE",
        requires = "server",
        group = "elsewhere",
        help_heading = "Server and identity"
    )]
    sums: Option<PathBuf>,
    /// Reveal sums of leases over so few different rows that the server could reconstruct inputs
    #[arg(long)]
    allow_input_reconstruction: bool,
    /// Train in the clear, by the network's recipe
    #[arg(long, conflicts_with_all = ["elsewhere", "clients", "steps", "secret_rate"])]
    plaintext: bool,
    /// What the numbers of a --plaintext model are for: queries, or more training under encryption
    #[arg(long, value_enum, default_value_t = PrecisionArg::Inference, requires = "plaintext")]
    precision: PrecisionArg,
    /// Where to write the trained model (not with --server, which keeps it)
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with = "elsewhere")]
    out: Option<PathBuf>,
    /// Where to write the report [default: gelu-train-report.html, if it can be written]
    #[arg(long, value_name = "PATH", help_heading = "Output", conflicts_with = "plaintext")]
    report: Option<PathBuf>,
    /// Overwrite what stands at --out and --report, be it an input or a file of another kind
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

/// Scales and bounds by purpose.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionArg {
    /// Few bits: small, fast queries
    Inference,
    /// Many bits: no more difference to floating point
    Training,
}

const BATCH: usize = 16;
const EPOCHS: usize = 5;
const RATE: f64 = 0.5;

impl Args {
    fn data_policy(&self) -> DataPolicy {
        match self.allow_input_reconstruction {
            true => DataPolicy::AllowInputReconstruction,
            false => DataPolicy::Enforce,
        }
    }

    /// Mini-batches of each of `clients` with so many rows, if that many can be planned.
    fn steps(&self, clients: usize, rows: usize, batch: usize) -> Result<usize> {
        let wide = |n: usize| n as u128;
        let steps = match (self.steps, self.epochs.unwrap_or(EPOCHS)) {
            (Some(steps), _) => wide(steps),
            (None, 0) => 0,
            (None, epochs) => (wide(epochs) * wide(rows) / wide(batch)).max(1),
        };
        let samples = steps * wide(batch) * wide(clients);
        match usize::try_from(steps) {
            Ok(steps) if steps <= MOST_STEPS && samples <= MOST_SAMPLES => Ok(steps),
            _ => Err(problem(
                format!(
                    "{steps} mini-batches of {batch} samples for each of {clients} clients: a run \
                     takes at most {MOST_STEPS} of them for each, and {MOST_SAMPLES} samples in all"
                ),
                "ask for fewer --epochs or --steps",
            )),
        }
    }

    /// The model to begin with, if one was named, frozen as was asked.
    fn start(&self) -> Result<Option<Model>> {
        let Some(path) = &self.start else { return Ok(None) };
        self.freeze.model(model::load(path)?).map(Some)
    }

    /// The data, read for the model to begin with.
    fn samples(&self, start: Option<&Model>) -> Result<Samples> {
        let meaning = start.map_or(Meaning::Own, Meaning::of);
        self.data.load(self.network.as_deref(), meaning)
    }

    /// What is trained, frozen as was asked.
    fn network(&self, samples: &Samples, start: Option<&Model>) -> Result<Chosen> {
        let Some(model) = start else {
            let mut chosen = data::network(self.network.as_deref(), samples)?;
            chosen.architecture = self.freeze.network(chosen.architecture)?;
            return Ok(chosen);
        };
        let (architecture, train) = (model.architecture().clone(), &samples.split.train);
        let (inputs, classes) = (architecture.input().features(), architecture.classes());
        // A model without a schema may know more classes than these rows show.
        if inputs != train.inputs() || classes < train.classes() {
            let (got, of) = (train.inputs(), train.classes());
            return Err(problem(
                format!(
                    "{} takes {inputs} inputs and tells {classes} classes apart, but the data has {got} and {of}",
                    model.name()
                ),
                "`gelu transfer fit --base` puts a new head on it; or choose other data",
            ));
        }
        let name = model.name().to_owned();
        Ok(Chosen { name, architecture, recipe: Recipe::default() })
    }

    /// Where the model goes.
    fn out(&self) -> Result<Option<Destination>> {
        let check = |path| Destination::check(path, Kind::Model, &self.inputs(), self.force);
        self.out.as_deref().map(check).transpose()
    }

    /// The files that this run reads, which it must not write.
    fn inputs(&self) -> Vec<&Path> {
        let network = self.network.as_deref().map(Path::new);
        let start = self.start.as_deref();
        let DataArgs { csv, images, schema, .. } = &self.data;
        let [csv, images, schema] = [csv, images, schema].map(Option::as_deref);
        let files = [csv, images, schema, self.server.key.as_deref(), network, start];
        files.into_iter().flatten().collect()
    }

    /// Where the report goes.
    fn report(&self) -> Result<Option<Destination>> {
        let (report, inputs) = (self.report.as_deref(), self.inputs());
        report::destination(report, "gelu-train-report.html", &inputs, self.force)
    }
}

/// Mini-batches of a client: those of the longest lease.
const MOST_STEPS: usize = gelu_core::plan::MAX_STEPS as usize;
/// Samples of all mini-batches of a run: their numbers are held in memory, a gigabyte at most.
const MOST_SAMPLES: u128 = 1 << 27;

/// Trains where and how it was asked.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    match (args.plaintext, &args.server.server) {
        (true, _) => plaintext::run(args, output),
        (false, Some(server)) => remote::run(args, server, output),
        (false, None) => local(args, output),
    }
}

fn local(args: &Args, output: Output) -> Result<()> {
    if args.server.key.is_some() {
        return Err(problem(
            "--key is for --server: here every client makes a key of its own and forgets it",
            "leave out --key",
        ));
    }
    let report = args.report()?;
    let out = args.out()?;
    let start = args.start()?;
    let mut samples = args.samples(start.as_ref())?;
    let Chosen { name, architecture, .. } = args.network(&samples, start.as_ref())?;
    let schema = samples.schema_for_model(&architecture);
    // A model of its own from here on.
    let anew =
        |start: Model| anyhow::Ok(start.requantised(training_precision(&start))?.with_version(0));
    let start: Option<Model> = start.map(anew).transpose()?;
    let head = |part: &mut Dataset, rows: Option<usize>| {
        if let Some(rows) = rows {
            *part = part.head(rows);
        }
    };
    head(&mut samples.split.train, args.rows);
    head(&mut samples.split.test, args.held_out);
    let (clients, batch) = (usize::from(args.clients), args.batch.unwrap_or(BATCH));
    let rows = samples.split.train.len();
    let steps = args.steps(clients, rows / clients, batch)?;
    let lease_samples = args.lease_samples.unwrap_or_else(|| {
        leases::enough_samples(&architecture.network(), rows / clients, batch, steps)
    });
    let experiment = Experiment {
        name,
        dataset: samples.name,
        architecture,
        start,
        clients,
        batch,
        steps,
        seed: args.data.seed,
        data_policy: args.data_policy(),
        terms: Terms {
            cryptosystem: args.cryptosystem.for_training(),
            threads: args.threads,
            rate: args.rate.or(RATE),
            lease_samples,
            lease_seed: args.data.seed,
            precompute: false,
        },
        split: samples.split,
    };
    say(&format!(
        "{}, {}, {rows} rows to train on, {} held out",
        experiment.name,
        experiment.architecture,
        experiment.split.test.len()
    ));
    let mut outcome = experiment.run()?;
    if let Some(schema) = schema {
        outcome.model = outcome.model.with_schema(schema)?;
    }
    // The model first: whatever fails afterwards, the work is kept.
    let saved = out.as_ref().map_or(Ok(()), |out| out.write(&outcome.model.to_bytes()?));
    outcome.deliver(saved, report.as_ref(), output)
}
