//! `gelu bench train-step`: one encrypted mini-batch, forwards, backwards and updated.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};
use gelu_core::Precision;
use gelu_core::client::DataPolicy;
use gelu_nn::{FixedTrainer, Model};
use gelu_service::client::ClientEvent;
use serde::Serialize;

use super::{CpuTimes, NetworkArgs, Samples, Spread, seconds, wrong};
use crate::args::{Cryptosystem, Threads};
use crate::backend::{Scheme, Task};
use crate::client;
use crate::local::{LocalServer, Terms, World};
use crate::machine::{self, Machine};
use crate::output::{Output, table};
use crate::phases::{Phases, bytes};
use crate::problem::problem;
use crate::rate::RateArgs;

/// Time encrypted training steps, both parties over TLS on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu bench train-step --network dense300 --batch 64 --sigma 40 --json
  gelu bench train-step --network dense300 --batch 64          masks of 64 bits, the default
  gelu bench train-step --network iris --batch 16 --secret-rate 3

The first step of a lease works with the true weights and is not timed, nor is the last one, which
ends in the commit: the steps between them have masked weights and send a masked update. The lease
is then repeated in the clear, and its weights must be the same, bit for bit.")]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Timed steps
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Samples of a mini-batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Bits by which a mask is longer than what it hides: 40 to 100
    #[arg(long, value_name = "BITS", default_value_t = Precision::TRAINING.mask_bits, value_parser = clap::value_parser!(u32).range(40..=100))]
    sigma: u32,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

impl Args {
    /// Steps of the lease: the timed ones, one before and one after.
    fn steps(&self) -> u32 {
        self.runs + 2
    }
}

/// What is printed with --json.
#[derive(Debug, Serialize)]
struct Report {
    network: String,
    weights: &'static str,
    samples: String,
    backend: &'static str,
    key_bits: u32,
    batch: usize,
    sigma: u32,
    rate: String,
    /// Steps of the lease.
    steps: usize,
    /// Which of them are timed, from 1.
    timed_steps: Vec<usize>,
    #[serde(flatten)]
    spread: Spread,
    client_cpu_s: Option<f64>,
    server_cpu_s: Option<f64>,
    bytes_up: u64,
    bytes_down: u64,
    rounds: u64,
    weights_equal_oracle: bool,
    machine: Machine,
    command: String,
}

/// Measures.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let precision = Precision { mask_bits: args.sigma, ..Precision::TRAINING };
    let model = args.network.model(Some(precision))?;
    let batch = usize::from(args.batch);
    let count = batch * args.steps() as usize;
    let samples = args.network.samples(model.architecture(), model.name(), count)?;
    let task = Lease { args, model: &model, samples: &samples };
    let report = args.cryptosystem.backend.run(task)?;
    let text = report.text();
    output.show(&report, text)
}

struct Lease<'a> {
    args: &'a Args,
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

impl Task for Lease<'_> {
    type Output = Result<Report>;

    fn run<S: Scheme>(self) -> Result<Report> {
        let Self { args, model, samples } = self;
        let batch = usize::from(args.batch);
        let mut phases = Phases::start();
        let running = phases.begin("training under encryption", args.steps().into());
        let terms = Terms {
            cryptosystem: args.cryptosystem,
            threads: args.threads,
            rate: args.rate,
            // The server draws leases at random below this: far above what we want.
            lease_samples: 64 * u64::from(args.steps()) * batch as u64,
            lease_seed: 0,
        };
        let secret = Arc::new(client::fresh_key::<S>(args.cryptosystem.key.key_bits)?);
        let world = World::create()?;
        let server = Arc::new(world.serve(model, &terms)?);
        let (tls, address) = (world.admit("client")?, server.address.to_string());
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let marks = Arc::new(Mutex::new(Vec::new()));
        let observer = observer(&server, &marks);
        let policy = DataPolicy::AllowInputReconstruction;
        let session = client::open::<S>(&address, &tls, secret, policy, observer);
        let mut session = client::wait(&runtime, session)?;
        let batches: Vec<_> = (0..args.steps() as usize).map(|n| samples.batch(n, batch)).collect();
        let training = async {
            let mut batches = batches.clone().into_iter().peekable();
            Ok(session.train(args.steps(), &mut batches).await?)
        };
        let granted = client::wait(&runtime, training)?.steps.len();
        if granted < args.steps() as usize {
            let what = format!("the server granted {granted} of {} steps", args.steps());
            return Err(problem(what, "run it again, or ask for fewer --runs"));
        }
        runtime.block_on(session.close());
        running.steps(granted);
        phases.end(running, "lease", &format!("trained a lease of {granted} steps"));
        let marks = marks.lock().expect("no observer has panicked").clone();

        let running = phases.begin("repeating it in the clear", 0);
        let mut oracle = FixedTrainer::new(model);
        for (inputs, labels) in &batches[..granted] {
            oracle.step(inputs, labels, args.rate.rate())?;
        }
        if oracle.parameters() != world.stored_model()?.parameters() {
            return Err(wrong("the trained model"));
        }
        phases.end(running, "oracle", "the same weights came out in the clear");

        // From the end of the first step to the end of the last but one.
        let timed = &marks[..granted - 1];
        let (first, last) = (timed[0], timed[timed.len() - 1]);
        let runs = timed.len() - 1;
        let times: Vec<f64> = timed.windows(2).map(|m| (m[1].at - m[0].at).as_secs_f64()).collect();
        let cpu = last.cpu.since(first.cpu, runs);
        Ok(Report {
            network: model.name().into(),
            weights: args.network.weights(),
            samples: samples.source.clone(),
            backend: S::ID,
            key_bits: args.cryptosystem.key.key_bits,
            batch,
            sigma: args.sigma,
            rate: args.rate.to_string(),
            steps: granted,
            timed_steps: (2..granted).collect(),
            spread: Spread::of(&times),
            client_cpu_s: cpu.client,
            server_cpu_s: cpu.server,
            bytes_up: (last.up - first.up) / runs as u64,
            bytes_down: (last.down - first.down) / runs as u64,
            rounds: (last.rounds - first.rounds) / runs as u64,
            weights_equal_oracle: true,
            machine: Machine::here(),
            command: machine::command_line(),
        })
    }
}

/// Marks the end of every step.
fn observer(
    server: &Arc<LocalServer>,
    marks: &Arc<Mutex<Vec<Mark>>>,
) -> impl FnMut(&ClientEvent) + Send + 'static {
    let (server, marks) = (Arc::clone(server), Arc::clone(marks));
    let (mut sums, mut count) = ((0, 0), 0);
    move |event| match event {
        ClientEvent::Round { up, down, .. } => {
            sums = (sums.0 + up, sums.1 + down);
            count += 1;
        }
        ClientEvent::StepDone(_) => {
            let cpu = CpuTimes::now(&server);
            let mark = Mark { at: Instant::now(), cpu, up: sums.0, down: sums.1, rounds: count };
            marks.lock().expect("no observer has panicked").push(mark);
        }
        _ => {}
    }
}

impl Report {
    fn text(&self) -> String {
        let mut rows = table(&["", "#"]);
        let mut row = |name: &str, value: String| {
            rows.add_row([name, &value]);
        };
        row("median", seconds(Some(self.spread.median_s)));
        row("least", seconds(Some(self.spread.min_s)));
        row("processor time, client", seconds(self.client_cpu_s));
        row("processor time, server", seconds(self.server_cpu_s));
        row("to the server", bytes(self.bytes_up));
        row("to the client", bytes(self.bytes_down));
        row("rounds", self.rounds.to_string());
        format!(
            "{}: an encrypted training step of {} samples, sigma {}, rate {}, {} with keys of {} \
             bits.\nTimed: {} of a lease of {} steps. Weights {}, samples {}.\n{rows}\n\
             The lease's weights equal the plaintext oracle's, bit for bit.",
            self.network,
            self.batch,
            self.sigma,
            self.rate,
            self.backend,
            self.key_bits,
            self.timed_steps.len(),
            self.steps,
            self.weights,
            self.samples,
        )
    }
}
