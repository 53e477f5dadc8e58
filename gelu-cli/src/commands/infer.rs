//! `gelu infer`: queries under encryption.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_core::client::DataPolicy;
use gelu_core::plan::Purpose;
use gelu_nn::{Dataset, Model};
use gelu_service::client::{ClientEvent, Statistics};
use serde_json::{Value, json};

use crate::args::{Cryptosystem, Threads};
use crate::backend::{Scheme, Task};
use crate::client::{self, ServerArgs};
use crate::data::DataArgs;
use crate::experiment::protocol;
use crate::local::{Terms, World};
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{Phases, Screen, bytes, seconds};
use crate::problem::{Advise, problem};
use crate::rate::RateArgs;

/// Classify samples under encryption
///
/// With --model a server process is started here for this run, and every encrypted prediction is
/// compared with the same model's prediction in the clear. With --server the model is elsewhere.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Queries",
    after_help = "\
Examples:
  gelu infer --model lenet5.safetensors --data DIR --dataset mnist --count 100
  gelu infer --model iris.safetensors --dataset iris --batch 10
  gelu infer --model iris.safetensors --dataset iris --backend elgamal
  gelu infer --server gelu.example.org:7878 --account alice --key alice.key --csv new.csv

The samples are those that `gelu train` with the same --seed holds out; MNIST has its own
test set. One sample a query (--batch 1) is quickest to the first answer; a batch shares its
ciphertexts."
)]
pub(crate) struct Args {
    /// The model to serve here
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "server",
        required_unless_present = "server"
    )]
    model: Option<PathBuf>,
    /// How many samples [default: all that are held out]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Samples of one query
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

/// Asks, and compares where it can.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let model = args.model.as_deref().map(Model::load).transpose().advise(|| {
        "make one with `gelu train --plaintext --network NAME --out FILE`, or check the path".into()
    })?;
    let network = model.as_ref().map(Model::name);
    let (name, held_out) = args.data.load_held_out(network)?;
    let samples = held_out.head(args.count.unwrap_or(usize::MAX));
    drop(held_out);
    let asked =
        args.cryptosystem.backend.run(Ask { args, model: model.as_ref(), samples: &samples })?;
    let in_clear = model.map(|model| model.evaluate(&samples)).transpose()?;
    let answered = Answered {
        args,
        dataset: &name,
        accuracy: client::accuracy(&asked.predictions, samples.labels()),
        expected: in_clear.map(|evaluation| evaluation.predictions),
        samples: &samples,
        asked,
    };
    output.show(&answered.json(), answered.text())
}

struct Ask<'a> {
    args: &'a Args,
    model: Option<&'a Model>,
    samples: &'a Dataset,
}

/// The answers and what they cost.
struct Asked {
    predictions: Vec<usize>,
    /// Of each query.
    times: Vec<Duration>,
    statistics: Statistics,
    phases: Phases,
    peak_memory: Option<[u64; 2]>,
}

impl Task for Ask<'_> {
    type Output = Result<Asked>;

    fn run<S: Scheme>(self) -> Result<Asked> {
        let Self { args, model, samples } = self;
        if let Some(model) = model {
            // What does not fit the plaintexts is refused here, before there is a server.
            let (batch, bits) = (args.batch.into(), args.cryptosystem.key_bits);
            S::plan(model.network(), model.precision(), batch, Purpose::Inference, bits)?;
        }
        let mut phases = Phases::start();
        let running = phases.begin("preparing the key", 0);
        let secret = args.server.secret::<S>(args.cryptosystem.key_bits)?;
        phases.end(running, "keys", "the key is ready");
        // The world and its server live until the last answer is here.
        let here = model.map(|model| {
            let world = World::create()?;
            let server = world.serve(model, &args.terms())?;
            anyhow::Ok((world.admit("client")?, server, world))
        });
        let here = here.transpose()?;
        let (tls, address) = match (&here, &args.server.server) {
            (Some((tls, server, _)), _) => (tls.clone(), server.address.to_string()),
            (None, Some(server)) => (args.server.tls()?, server.clone()),
            (None, None) => {
                return Err(problem("neither --model nor --server", "give one of them"));
            }
        };

        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let screen = Screen::default();
        let session =
            client::open::<S>(&address, &tls, secret, DataPolicy::Enforce, observer(&screen));
        let mut session = client::wait(&runtime, session)?;
        check_fit(session.network().inputs(), samples)?;
        let running = phases.begin("classifying", samples.len() as u64);
        screen.show(&running);
        let (mut times, mut last) = (Vec::new(), Instant::now());
        let answered = |answer: &[usize]| {
            times.push(last.elapsed());
            last = Instant::now();
            running.steps(answer.len());
        };
        let classifying = client::classify(&mut session, samples, args.batch.into(), answered);
        let predictions = client::wait(&runtime, classifying)?;
        let statistics = runtime.block_on(session.close());
        let said = format!("classified {} samples under encryption", samples.len());
        phases.end(running, "inference", &said);
        let mut peak_memory = None;
        if let Some((_, server, _world)) = here {
            peak_memory = machine::peak_memory("self").zip(server.peak_memory()).map(Into::into);
            server.stop()?;
        }
        Ok(Asked { predictions, times, statistics, phases, peak_memory })
    }
}

impl Args {
    fn terms(&self) -> Terms {
        Terms {
            cryptosystem: self.cryptosystem,
            threads: self.threads,
            rate: RateArgs::public(0.1),
            lease_samples: 1,
            lease_seed: 0,
            precompute: false,
        }
    }
}

fn check_fit(inputs: usize, samples: &Dataset) -> Result<()> {
    if inputs == samples.inputs() {
        return Ok(());
    }
    let got = samples.inputs();
    Err(problem(
        format!("the network takes {inputs} inputs, but the data has {got}"),
        "choose the --dataset that the model was trained on",
    ))
}

fn observer(screen: &Screen) -> impl FnMut(&ClientEvent) + Send + 'static {
    let (screen, mut sum) = (screen.clone(), 0);
    move |event| {
        if let ClientEvent::Round { stage: Some(stage), stages, up, down, .. } = event {
            sum += up + down;
            screen.note(|| format!("layer {} of {stages}, {}", stage + 1, bytes(sum)));
        }
    }
}

struct Answered<'a> {
    args: &'a Args,
    dataset: &'a str,
    samples: &'a Dataset,
    accuracy: f64,
    /// The same model's predictions in the clear, where it is here.
    expected: Option<Vec<usize>>,
    asked: Asked,
}

impl Answered<'_> {
    fn median(&self) -> f64 {
        let mut times = self.asked.times.clone();
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
    }

    fn equal(&self) -> Option<usize> {
        let pairs = self.asked.predictions.iter().zip(self.expected.as_ref()?);
        Some(pairs.filter(|(a, b)| a == b).count())
    }

    fn json(&self) -> Value {
        let (total, asked) = (self.asked.statistics.total(), &self.asked);
        let count = self.samples.len();
        json!({
            "dataset": self.dataset,
            "count": count,
            "batch": self.args.batch,
            "accuracy": self.accuracy,
            "predictions_equal_plaintext": self.equal().map(|equal| equal == count),
            "equal": self.equal(),
            "median_seconds": self.median(),
            "seconds": asked.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "bytes_per_sample": (total.up + total.down) / count as u64,
            "rounds": total.rounds,
            "backend": self.args.cryptosystem.backend,
            "key_bits": self.args.cryptosystem.key_bits,
            "phases": asked.phases.done(),
            "protocol": protocol(&asked.statistics),
            "peak_memory_bytes": asked.peak_memory.map(|[ours, servers]| {
                json!({ "client": ours, "server": servers })
            }),
            "machine": Machine::here(),
            "predictions": asked.predictions,
        })
    }

    fn text(&self) -> String {
        let (total, count) = (self.asked.statistics.total(), self.samples.len());
        let classes = self.samples.class_names();
        let names: Vec<_> =
            self.asked.predictions.iter().map(|&class| classes[class].as_str()).collect();
        let lines: Vec<_> = names.chunks(20).map(|line| line.join(" ")).collect();
        let compared = match self.equal() {
            Some(equal) if equal == count => {
                "\n✓ every encrypted prediction equals the model's prediction in the clear".into()
            }
            Some(equal) => {
                format!("\n✗ only {equal} of {count} equal the predictions in the clear")
            }
            None => String::new(),
        };
        format!(
            "{}\n\naccuracy {:.1}% of {count}{compared}\n{} a query (median), {} a sample, {} rounds",
            lines.join("\n"),
            100.0 * self.accuracy,
            seconds(self.median()),
            bytes((total.up + total.down) / count as u64),
            total.rounds
        )
    }
}
