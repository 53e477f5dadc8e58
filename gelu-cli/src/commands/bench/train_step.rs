//! `gelu bench train-step`: one encrypted mini-batch, forwards, backwards and updated.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use gelu_core::Precision;
use gelu_core::client::DataPolicy;
use gelu_core::plan::Purpose;
use gelu_nn::{FixedTrainer, Model};
use gelu_service::client::{ClientEvent, Statistics};
use serde::Serialize;

use super::{Circumstances, CpuTimes, Link, NetworkArgs, Samples, Spread, Taken, wrong};
use crate::args::{Cryptosystem, FreezeArgs, Threads};
use crate::backend::{Scheme, Task};
use crate::client;
use crate::local::{Deployment, LocalServer, Terms};
use crate::output::Output;
use crate::phases::{Phases, Screen};
use crate::problem::problem;
use crate::rate::RateArgs;

/// Time encrypted training steps, both parties over TLS on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu bench train-step --network dense300 --batch 64 --sigma 40 --json
  gelu bench train-step --network dense300 --batch 64          masks of 64 bits, the default
  gelu bench train-step --network iris --batch 16 --secret-rate 3
  gelu bench train-step --network conv1 --runs 6 --steps 5     two leases of five steps each
  gelu bench train-step --network conv1 --freeze 1             the last layer alone

The first step of a lease works with the true weights and is not timed, nor is the last one, which
ends in the commit: the steps between them have masked weights and send a masked update. All of it
is then repeated in the clear, and the weights must be the same, bit for bit.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Timed steps; the last lease is filled up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Steps of a lease, 3 or more: all but the first and the last are timed [default: one lease]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=1002))]
    steps: Option<u32>,
    /// Samples of a mini-batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Bits by which a mask is longer than what it hides: 40 to 100
    #[arg(long, value_name = "BITS", default_value_t = Precision::TRAINING.mask_bits, value_parser = clap::value_parser!(u32).range(40..=100))]
    sigma: u32,
    #[command(flatten)]
    freeze: FreezeArgs,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

impl Args {
    /// Steps of a lease: the timed ones, one before and one after.
    fn steps(&self) -> u32 {
        self.steps.unwrap_or(self.runs + 2)
    }

    /// As many as the runs need.
    fn leases(&self) -> u32 {
        self.runs.div_ceil(self.steps() - 2)
    }
}

/// What is printed with --json.
#[derive(Debug, Serialize)]
struct Report<L> {
    network: String,
    weights: String,
    samples: String,
    backend: &'static str,
    key_bits: u32,
    batch: usize,
    sigma: u32,
    rate: String,
    link: L,
    /// Timed steps of all leases.
    runs: usize,
    leases: u32,
    /// Steps of a lease.
    steps: u32,
    /// Which of each lease are timed, from 1: those that worked with masked weights and ended in a
    /// masked update.
    timed_steps: Vec<u32>,
    /// Updates of all leases after which the server held masked weights.
    masked_updates: u64,
    #[serde(flatten)]
    taken: Taken,
    predictions_equal_plaintext: bool,
    weights_equal_oracle: bool,
    #[serde(flatten)]
    circumstances: Circumstances,
}

/// Measures.
pub fn run(args: &Args, link: &impl Link, output: Output) -> Result<()> {
    args.threads.start()?;
    let precision = Precision { mask_bits: args.sigma, ..Precision::TRAINING };
    let model = args.freeze.model(args.network.model(Some(precision))?)?;
    let batch = usize::from(args.batch);
    let count = batch * (args.leases() * args.steps()) as usize;
    let samples = args.network.samples(model.architecture(), model.name(), count)?;
    let task = Leases { args, link, model: &model, samples: &samples };
    let report = args.cryptosystem.backend.run(task)?;
    let text = report.text();
    output.show(&report, text)
}

struct Leases<'a, L> {
    args: &'a Args,
    link: &'a L,
    model: &'a Model,
    samples: &'a Samples,
}

/// What has happened up to the end of a step.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    cpu: CpuTimes,
    up: u64,
    down: u64,
    rounds: u64,
}

impl<L: Link> Task for Leases<'_, L> {
    type Output = Result<Report<L>>;

    fn run<S: Scheme>(self) -> Result<Report<L>> {
        let Self { args, link, model, samples } = self;
        let (batch, cryptosystem) = (usize::from(args.batch), args.cryptosystem.for_training());
        let (bits, purpose) = (cryptosystem.key_bits, Purpose::Training { steps: args.steps() });
        S::plan(model.network(), model.precision(), batch, purpose, bits)?;
        let circumstances = Circumstances::now(S::kernel(bits));
        let mut phases = Phases::start();
        let (steps, leases) = (args.steps(), args.leases());
        let running = phases.begin("training under encryption", (steps * leases).into());
        let screen = Screen::default();
        screen.show(&running);
        let terms = Terms {
            cryptosystem,
            threads: args.threads,
            rate: args.rate,
            // The server draws the length of a lease below this: far above what we want.
            lease_samples: (u64::from(steps) * batch as u64) << 32,
            lease_seed: 0,
            precompute: false,
        };
        let secret = Arc::new(client::fresh_key::<S>(bits)?);
        let deployment = Deployment::create()?;
        let server = Arc::new(deployment.serve(model, &terms)?);
        let tls = deployment.admit("client")?;
        let (address, _relay) = link.to(server.address, args.network.data.seed)?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let marks = Arc::new(Mutex::new(Vec::new()));
        let observer = observer(&server, &marks, screen);
        let policy = DataPolicy::AllowInputReconstruction;
        let session = client::open::<S>(&address, &tls, secret, policy, observer);
        let mut session = client::wait(&runtime, session)?;
        let batches: Vec<_> =
            (0..(leases * steps) as usize).map(|n| samples.batch(n, batch)).collect();
        let (mut masked_updates, mut encrypted) = (0, Vec::new());
        for lease in batches.chunks(steps as usize) {
            let training = async {
                let mut batches = lease.iter().cloned().peekable();
                Ok(session.train(steps, &mut batches).await?)
            };
            let report = client::wait(&runtime, training)?;
            check_length(report.steps.len(), steps)?;
            masked_updates += check_masks(&report.statistics, steps)?;
            encrypted.extend(report.steps);
        }
        client::complete(&runtime, session.close());
        Arc::into_inner(server).map_or(Ok(()), LocalServer::stop)?;
        phases.end(running, "leases", &format!("trained {}", length(leases, steps)));

        let running = phases.begin("repeating it in the clear", batches.len() as u64);
        let mut oracle = FixedTrainer::new(model);
        for ((inputs, labels), encrypted) in batches.iter().zip(&encrypted) {
            let plain = oracle.step(inputs, labels, args.rate.rate())?;
            if !same_predictions(encrypted, &plain) {
                return Err(wrong("the predictions of a step"));
            }
            running.step();
        }
        if oracle.parameters() != deployment.stored_model()?.parameters() {
            return Err(wrong("the trained model"));
        }
        phases.end(running, "oracle", "the same weights came out in the clear");

        let marks = marks.lock().expect("no observer has panicked");
        let timed = Timed::of(&marks);
        let (runs, each) = (timed.times.len(), |sum: u64| sum / timed.times.len() as u64);
        Ok(Report {
            network: model.name().into(),
            weights: args.network.weights(),
            samples: samples.source.clone(),
            backend: S::ID,
            key_bits: bits,
            batch,
            sigma: args.sigma,
            rate: args.rate.to_string(),
            link: link.clone(),
            runs,
            leases,
            steps,
            timed_steps: (2..steps).collect(),
            masked_updates,
            taken: Taken {
                spread: Spread::of(&timed.times),
                client_cpu_s: timed.cpu.client.map(|sum| sum / runs as f64),
                server_cpu_s: timed.cpu.server.map(|sum| sum / runs as f64),
                bytes_up: each(timed.up),
                bytes_down: each(timed.down),
                rounds: each(timed.rounds),
            },
            predictions_equal_plaintext: true,
            weights_equal_oracle: true,
            circumstances,
        })
    }
}

/// Sums over the timed steps of all leases.
struct Timed {
    times: Vec<f64>,
    cpu: CpuTimes,
    up: u64,
    down: u64,
    rounds: u64,
}

impl Timed {
    /// In each lease, from the end of the first step to the end of the last but one.
    fn of(leases: &[Vec<Mark>]) -> Self {
        let none = CpuTimes { client: Some(0.0), server: Some(0.0) };
        let mut sum = Self { times: Vec::new(), cpu: none, up: 0, down: 0, rounds: 0 };
        for lease in leases {
            let timed = &lease[..lease.len() - 1];
            let (first, last) = (timed[0], timed[timed.len() - 1]);
            sum.times.extend(timed.windows(2).map(|m| (m[1].at - m[0].at).as_secs_f64()));
            sum.cpu = sum.cpu.plus(last.cpu.since(first.cpu, 1));
            sum.up += last.up - first.up;
            sum.down += last.down - first.down;
            sum.rounds += last.rounds - first.rounds;
        }
        sum
    }
}

/// Whether loss and hits of a mini-batch are the same; sums of losses may round differently.
fn same_predictions(
    encrypted: &gelu_core::client::StepReport,
    plain: &gelu_nn::StepReport,
) -> bool {
    let accuracy = encrypted.correct as f64 / encrypted.samples as f64;
    accuracy == plain.accuracy && (encrypted.loss - plain.loss).abs() < 1e-9
}

/// The server draws the length of a lease; a short one has no step to time.
fn check_length(granted: usize, steps: u32) -> Result<()> {
    match granted == steps as usize {
        true => Ok(()),
        false => Err(problem(
            format!("the server granted {granted} of {steps} steps"),
            "run it again, or ask for fewer --runs",
        )),
    }
}

/// Every step but the last must have ended in a masked update.
fn check_masks(statistics: &Statistics, steps: u32) -> Result<u64> {
    let masked = statistics.traffic.iter().filter(|((_, name), _)| name.ends_with("MaskedUpdate"));
    let masked = masked.map(|(_, traffic)| traffic.messages).sum();
    match masked == u64::from(steps) - 1 {
        true => Ok(masked),
        false => Err(problem(
            format!("{masked} of {steps} steps ended in a masked update"),
            "this is a bug: such steps would be timed with weights in the open",
        )),
    }
}

fn length(leases: u32, steps: u32) -> String {
    match leases {
        1 => format!("a lease of {steps} steps"),
        n => format!("{n} leases of {steps} steps each"),
    }
}

/// Marks the end of every step, lease by lease.
fn observer(
    server: &Arc<LocalServer>,
    marks: &Arc<Mutex<Vec<Vec<Mark>>>>,
    screen: Screen,
) -> impl FnMut(&ClientEvent) + Send + 'static {
    let (server, marks) = (Arc::clone(server), Arc::clone(marks));
    let (mut sums, mut count) = ((0, 0), 0);
    move |event| match event {
        ClientEvent::Round { up, down, .. } => {
            sums = (sums.0 + up, sums.1 + down);
            count += 1;
        }
        ClientEvent::LeaseGranted { .. } => {
            marks.lock().expect("no observer has panicked").push(Vec::new());
        }
        ClientEvent::StepDone(_) => {
            screen.step();
            let cpu = CpuTimes::now(&server);
            let mark = Mark { at: Instant::now(), cpu, up: sums.0, down: sums.1, rounds: count };
            let mut marks = marks.lock().expect("no observer has panicked");
            marks.last_mut().expect("steps belong to a lease").push(mark);
        }
        _ => {}
    }
}

impl<L: Link> Report<L> {
    fn text(&self) -> String {
        let rows = self.taken.rows("of one step");
        format!(
            "{}: an encrypted training step of {} samples, sigma {}, rate {}, {} with keys of {} \
             bits.\nTimed: {} steps with masked weights, of {}. Weights {}, samples {}.\nLink {}.\n{rows}\n\
             Predictions and trained weights equal the plaintext oracle's, the weights bit for bit.\n{}",
            self.network,
            self.batch,
            self.sigma,
            self.rate,
            self.backend,
            self.key_bits,
            self.runs,
            length(self.leases, self.steps),
            self.weights,
            self.samples,
            self.link,
            self.circumstances,
        )
    }
}
