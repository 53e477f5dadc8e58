//! `gelu infer`: queries under encryption.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_core::Network;
use gelu_core::stats::median;
use gelu_nn::{Dataset, Model, Schema};
use serde_json::{Value, json};

use crate::args;
use crate::backend::{Scheme, Task};
use crate::client;
use crate::data::{DataArgs, Meaning};
use crate::ending::{Ended, Results};
use crate::experiment::protocol;
use crate::machine::Machine;
use crate::mode::Agreed;
use crate::output::Output;
use crate::phases::{Phases, bytes, seconds};
use crate::problem::problem;
use crate::queries::{Queries, QueryArgs, Spent};

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
  gelu infer --model iris.safetensors --dataset iris --mode blind
  gelu infer --server gelu.example.org:7878 --account alice --key alice.key --csv new.csv

The samples are those that `gelu train` with the same --seed holds out; MNIST has its own
test set. A table is read by the model's schema, or the server's: columns by name, classes by word,
scaled as in training. One sample a query (--batch 1) is quickest to the first answer; a batch shares its
ciphertexts. New rows, in order and without labels, are for `gelu predict`.

A run that ends early, by a spent budget, Ctrl-C or a lost server, shows the answers
that it has, says how many of how many they are, and exits with 3."
)]
pub(crate) struct Args {
    #[command(flatten)]
    who: QueryArgs,
    /// How many samples, 1 or more [default: all that are held out]
    #[arg(long, value_name = "N", value_parser = args::count(1..))]
    count: Option<usize>,
    /// Samples of one query
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::batch())]
    batch: usize,
    #[command(flatten)]
    data: DataArgs,
}

/// Asks, and compares where it can.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    args.who.threads.start()?;
    let model = args.who.model()?;
    let network = model.as_ref().map(Model::name);
    let read = |schema: Option<&Schema>| {
        let (name, held_out) = args.data.load_held_out(network, Meaning::Model(schema))?;
        Ok((name, held_out.head(args.count.unwrap_or(usize::MAX))))
    };
    let queries = args.who.queries(model.as_ref());
    let ask = Ask { queries, batch: Some(args.batch), read: &read };
    let asked = args.who.cryptosystem.backend.run(ask)?;
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
    pub(super) queries: Queries<'a>,
    /// Samples of one query; as many as the scheme is fastest at where it is not said.
    pub(super) batch: Option<usize>,
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
    agreed: Agreed,
    key_bits: u32,
    /// Of each query.
    times: Vec<Duration>,
    pub(super) phases: Phases,
    pub(super) spent: Spent,
}

impl Task for Ask<'_> {
    type Output = Result<Asked>;

    fn run<S: Scheme>(self) -> Result<Asked> {
        let Self { queries, batch, read } = self;
        // Whatever can be refused is refused here, before a key is made or a server is asked.
        let here = queries.model.map(|model| {
            let data = read(model.schema().map(AsRef::as_ref))?;
            check_fit(model.network(), &data.1)?;
            anyhow::Ok(data)
        });
        let here = here.transpose()?;
        let reached = queries.reach::<S>(batch)?;
        let (name, samples) = here.map_or_else(|| read(reached.schema()), Ok)?;
        check_fit(reached.network(), &samples)?;
        let (key_bits, batch, screen) = (reached.key_bits, reached.batch, reached.screen.clone());
        let (agreed, classes) = (reached.agreed, reached.network().classes());

        let mut phases = Phases::start();
        let mut open = reached.open(&mut phases)?;
        let batch = open.session.query_of(batch);
        let running = phases.begin("classifying", samples.len() as u64);
        screen.show(&running);
        let (mut predictions, mut times, mut last) = (Vec::new(), Vec::new(), Instant::now());
        let answered = |answer: &[usize]| {
            times.push(last.elapsed());
            last = Instant::now();
            running.steps(answer.len());
            predictions.extend(answer);
        };
        let classifying = client::classify(&mut open.session, &samples, batch, answered);
        let classified = client::wait(&open.runtime, classifying);
        let spent = open.close();
        let said = format!("classified {} samples under encryption", predictions.len());
        phases.end(running, "inference", &said);
        let ended = Ended::of(classified, !predictions.is_empty())?;
        Ok(Asked {
            names_fit: samples.classes() == classes,
            name,
            samples,
            predictions,
            ended,
            classes,
            agreed,
            key_bits,
            times,
            phases,
            spent,
        })
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
        let total = self.asked.spent.statistics.total();
        (total.up + total.down) / self.count().max(1) as u64
    }

    fn json(&self) -> Value {
        let (total, asked) = (self.asked.spent.statistics.total(), self.asked);
        let count = self.count();
        json!({
            "dataset": asked.name,
            "count": count,
            "answered": count,
            "asked": self.asked.samples.len(),
            "ended": asked.ended.as_ref().map(Ended::reason),
            "batch": self.args.batch,
            "mode": asked.agreed.name(),
            "accuracy": self.accuracy,
            "predictions_equal_plaintext": self.equal().map(|equal| equal == count),
            "equal": self.equal(),
            "saturations": asked.spent.cut_off.total(),
            "saturations_by_layer": asked.spent.cut_off.by_layer(),
            "median_seconds": self.median(),
            "seconds": asked.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "bytes_per_sample": self.bytes_per_sample(),
            "rounds": total.rounds,
            "backend": self.args.who.cryptosystem.backend,
            "key_bits": asked.key_bits,
            "phases": asked.phases.done(),
            "protocol": protocol(&asked.spent.statistics),
            "peak_memory_bytes": asked.spent.peak_memory.map(|[ours, servers]| {
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
            asked.spent.cut_off,
            seconds(self.median()),
            bytes(self.bytes_per_sample()),
            asked.spent.statistics.total().rounds
        )
    }
}
