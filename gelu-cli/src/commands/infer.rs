//! `gelu infer`: queries under encryption.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_core::Network;
use gelu_core::client::DataPolicy;
use gelu_core::plan::Purpose;
use gelu_core::stats::median;
use gelu_nn::{Dataset, Model, Schema};
use gelu_service::client::{ClientEvent, Statistics};
use serde_json::{Value, json};

use crate::args::{self, Cryptosystem, Threads};
use crate::backend::{Scheme, Task};
use crate::client::{self, ServerArgs};
use crate::cut_off::CutOff;
use crate::data::{DataArgs, Meaning};
use crate::ending::{Ended, Results};
use crate::experiment::protocol;
use crate::local::{Deployment, Terms};
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{Phases, Screen, bytes, seconds};
use crate::problem::{self, Advise, problem};
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
test set. A table is read by the model's schema, or the server's: columns by name, classes by word,
scaled as in training. One sample a query (--batch 1) is quickest to the first answer; a batch shares its
ciphertexts. A run that ends early, by a spent budget, Ctrl-C or a lost server, shows the answers
that it has, says how many of how many they are, and exits with 3."
)]
pub(crate) struct Args {
    /// The model to serve here
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "elsewhere",
        required_unless_present = "server"
    )]
    model: Option<PathBuf>,
    /// How many samples, 1 or more [default: all that are held out]
    #[arg(long, value_name = "N", value_parser = args::count(1..))]
    count: Option<usize>,
    /// Samples of one query
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::batch())]
    batch: usize,
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
    let read = |schema: Option<&Schema>| {
        let (name, held_out) = args.data.load_held_out(network, Meaning::Model(schema))?;
        Ok((name, held_out.head(args.count.unwrap_or(usize::MAX))))
    };
    let ask = Ask {
        server: Some(&args.server),
        cryptosystem: args.cryptosystem,
        threads: args.threads,
        batch: args.batch,
        model: model.as_ref(),
        read: &read,
    };
    let asked = args.cryptosystem.backend.run(ask)?;
    let samples = &asked.samples;
    let answered = asked.predictions.len();
    let in_clear = model.map(|model| model.evaluate(&samples.head(answered))).transpose();
    let answer = Answer {
        args,
        accuracy: client::accuracy(&asked.predictions, samples.labels())
            .filter(|_| asked.names_fit),
        expected: in_clear.as_ref().ok().cloned().flatten().map(|in_clear| in_clear.predictions),
        asked: &asked,
    };
    let (json, text) = (answer.json(), answer.text());
    let done = format!("{answered} of {} samples are answered", samples.len());
    let ended = asked.ended.clone().map(|ended| (ended, done));
    let saved = in_clear.map(|_| ()).context("cannot compare with the model in the clear");
    Results { report: None, saved, ended }.deliver(output, |_| json, |_| text)
}

/// Samples to classify under encryption, by a model here or a server elsewhere.
pub(super) struct Ask<'a> {
    pub(super) server: Option<&'a ServerArgs>,
    pub(super) cryptosystem: Cryptosystem,
    pub(super) threads: Threads,
    /// Samples of one query.
    pub(super) batch: usize,
    pub(super) model: Option<&'a Model>,
    /// Name and rows of the data, read by the model's schema, before a key is made.
    pub(super) read: &'a Read<'a>,
}

/// Reads data by a schema, if there is one: its name, and its rows.
pub(super) type Read<'a> = dyn Fn(Option<&Schema>) -> Result<(String, Dataset)> + 'a;

/// The answers and what they cost.
pub(super) struct Asked {
    /// The data's name.
    name: String,
    pub(super) samples: Dataset,
    pub(super) predictions: Vec<usize>,
    /// Why there are no more.
    pub(super) ended: Option<Ended>,
    /// Whether the data names the classes that the network has.
    names_fit: bool,
    classes: usize,
    key_bits: u32,
    pub(super) cut_off: CutOff,
    /// Of each query.
    times: Vec<Duration>,
    pub(super) statistics: Statistics,
    pub(super) phases: Phases,
    peak_memory: Option<[u64; 2]>,
}

impl Task for Ask<'_> {
    type Output = Result<Asked>;

    fn run<S: Scheme>(self) -> Result<Asked> {
        let Self { server, cryptosystem, threads, batch, model, read } = self;
        // Whatever can be refused is refused here, before a key is made or a server is asked.
        let named = server.map_or(Ok(None), |server| server.named_key::<S>(cryptosystem))?;
        let key_bits =
            named.as_ref().map_or(cryptosystem.key_bits, |key| client::key_bits::<S>(key));
        let mut data = None;
        if let Some(model) = model {
            let (_, samples) = data.insert(read(model.schema().map(AsRef::as_ref))?);
            check_fit(model.network(), samples)?;
            let (network, precision) = (model.network(), model.precision());
            S::plan(network, precision, batch, Purpose::Inference, key_bits)?;
        }
        // The deployment and its server live until the last answer is here.
        let here = model.map(|model| {
            let deployment = Deployment::create()?;
            let server = deployment.serve(model, &terms(cryptosystem, threads, key_bits))?;
            anyhow::Ok((deployment.admit("client")?, server, deployment))
        });
        let here = here.transpose()?;
        let elsewhere = server.and_then(|args| Some((args, args.server.as_ref()?)));
        let (tls, address) = match (&here, elsewhere) {
            (Some((tls, server, _)), _) => (tls.clone(), server.address.to_string()),
            (None, Some((args, address))) => (args.tls()?, address.clone()),
            (None, None) => {
                return Err(problem("neither --model nor --server", "give one of them"));
            }
        };
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let screen = Screen::default();
        let connecting = client::connect::<S>(&address, &tls, observer(&screen));
        let connection = client::wait(&runtime, connecting)?;
        let network = Arc::clone(connection.network());
        let (name, samples) = match data {
            Some(data) => data,
            None => read(connection.schema())?,
        };
        check_fit(&network, &samples)?;
        client::check_key_bits(connection.card(), key_bits)?;

        let mut phases = Phases::start();
        let secret = client::prepared_key::<S>(named, key_bits, &mut phases)?;
        let opening = async { Ok(connection.open(secret, DataPolicy::Enforce).await?) };
        let mut session = client::wait(&runtime, opening)?;
        let running = phases.begin("classifying", samples.len() as u64);
        screen.show(&running);
        let (mut predictions, mut times, mut last) = (Vec::new(), Vec::new(), Instant::now());
        let answered = |answer: &[usize]| {
            times.push(last.elapsed());
            last = Instant::now();
            running.steps(answer.len());
            predictions.extend(answer);
        };
        let classifying = client::classify(&mut session, &samples, batch, answered);
        let classified = client::wait(&runtime, classifying);
        let cut_off = CutOff::new(&network, session.saturations());
        let statistics = runtime.block_on(session.close());
        let said = format!("classified {} samples under encryption", predictions.len());
        phases.end(running, "inference", &said);
        let ended = Ended::of(classified, !predictions.is_empty())?;
        let mut peak_memory = None;
        if let Some((_, server, _world)) = here {
            peak_memory = machine::peak_memory("self").zip(server.peak_memory()).map(Into::into);
            // All answers are here: how the server ends changes none of them.
            if let Err(error) = server.stop() {
                tracing::warn!("{}", problem::sentence(&error));
            }
        }
        Ok(Asked {
            names_fit: samples.classes() == network.classes(),
            name,
            samples,
            predictions,
            ended,
            classes: network.classes(),
            key_bits,
            cut_off,
            times,
            statistics,
            phases,
            peak_memory,
        })
    }
}

fn terms(cryptosystem: Cryptosystem, threads: Threads, key_bits: u32) -> Terms {
    Terms {
        cryptosystem: Cryptosystem { key_bits, ..cryptosystem },
        threads,
        rate: RateArgs::public(0.1),
        lease_samples: 1,
        lease_seed: 0,
        precompute: false,
    }
}

/// Refuses samples that the network cannot take. Fewer classes are no reason: new data need not show
/// all of them.
fn check_fit(network: &Network, samples: &Dataset) -> Result<()> {
    let (inputs, got) = (network.inputs(), samples.inputs());
    if inputs != got {
        return Err(problem(
            format!("the network takes {inputs} inputs, but the data has {got}"),
            "choose the --dataset that the model was trained on",
        ));
    }
    let (classes, got) = (network.classes(), samples.classes());
    if classes < got {
        return Err(problem(
            format!("the network tells {classes} classes apart, but the data has {got}"),
            "choose the --dataset that the model was trained on, or another --label",
        ));
    }
    Ok(())
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

struct Answer<'a> {
    args: &'a Args,
    /// Of the answers; unknown where the data's classes are not the network's.
    accuracy: Option<f64>,
    /// The same model's predictions in the clear, where it is here.
    expected: Option<Vec<usize>>,
    asked: &'a Asked,
}

impl Answer<'_> {
    fn median(&self) -> f64 {
        median(self.asked.times.iter().map(Duration::as_secs_f64)).unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.asked.predictions.len()
    }

    fn equal(&self) -> Option<usize> {
        let pairs = self.asked.predictions.iter().zip(self.expected.as_ref()?);
        Some(pairs.filter(|(a, b)| a == b).count())
    }

    fn bytes_per_sample(&self) -> u64 {
        let total = self.asked.statistics.total();
        (total.up + total.down) / self.count().max(1) as u64
    }

    fn json(&self) -> Value {
        let (total, asked) = (self.asked.statistics.total(), self.asked);
        let count = self.count();
        json!({
            "dataset": asked.name,
            "count": count,
            "answered": count,
            "asked": self.asked.samples.len(),
            "ended": asked.ended.as_ref().map(Ended::reason),
            "batch": self.args.batch,
            "accuracy": self.accuracy,
            "predictions_equal_plaintext": self.equal().map(|equal| equal == count),
            "equal": self.equal(),
            "saturations": asked.cut_off.total(),
            "saturations_by_layer": asked.cut_off.by_layer(),
            "median_seconds": self.median(),
            "seconds": asked.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "bytes_per_sample": self.bytes_per_sample(),
            "rounds": total.rounds,
            "backend": self.args.cryptosystem.backend,
            "key_bits": asked.key_bits,
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
        let (count, asked) = (self.count(), self.asked);
        let names = self.asked.samples.class_names();
        let name = |class: &usize| match names.get(*class).filter(|_| asked.names_fit) {
            Some(name) => name.clone(),
            None => class.to_string(),
        };
        let named: Vec<_> = asked.predictions.iter().map(name).collect();
        let lines: Vec<_> = named.chunks(20).map(|line| line.join(" ")).collect();
        let early = match asked.ended {
            Some(_) => format!("\nended early: {count} of {} answered", self.asked.samples.len()),
            None => String::new(),
        };
        let accuracy = match self.accuracy {
            Some(accuracy) => format!("accuracy {:.1}% of {count}", 100.0 * accuracy),
            None => format!(
                "{count} answered by number, from 0: the data names {} of the model's {} classes, so \
                 which number has which name is not known, nor is the accuracy",
                names.len(),
                asked.classes
            ),
        };
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
            "{}\n{early}\n{accuracy}{compared}\n{}\n{} a query (median), {} a sample, {} rounds",
            lines.join("\n"),
            asked.cut_off,
            seconds(self.median()),
            bytes(self.bytes_per_sample()),
            asked.statistics.total().rounds
        )
    }
}
