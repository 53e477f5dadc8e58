//! `gelu bench latency`: one encrypted query, from pixels to probabilities.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use gelu_core::client::DataPolicy;
use gelu_core::plan::Purpose;
use gelu_nn::Model;
use gelu_service::ClientTls;
use gelu_service::client::Phase;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::blind;
use super::{Circumstances, CpuTimes, Link, NetworkArgs, Samples, Spread, Taken, wrong};
use crate::args::{Cryptosystem, Threads};
use crate::backend::{Scheme, Task};
use crate::client;
use crate::local::{Deployment, LocalServer, Terms};
use crate::mode::{Mode, ModeArgs};
use crate::output::Output;
use crate::phases::Phases;
use crate::rate::RateArgs;

/// Time encrypted queries, both parties over TLS on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu bench latency --network lenet5 --key-bits 2048 --runs 20 --json
  gelu bench latency --network dense300 --batch 64
  gelu bench latency --network lenet5 --mode blind --tickets 8 --json
  gelu bench latency --model lenet5.safetensors --data DIR

The time of a query runs from the samples in the clear to their probabilities in the clear. Every
answer is compared with the plaintext fixed-point model's, bit for bit.")]
pub struct Args {
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    /// Timed queries
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) runs: u32,
    /// Samples of a query
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) batch: u16,
    /// Let both parties make noise in the idle time between queries, which is not timed (their
    /// processor time counts it)
    #[arg(long)]
    pub(super) precompute: bool,
    /// How to ask [default: open]; --tickets are those that one request of a blind run makes [default: 1]
    #[command(flatten)]
    pub(super) mode: ModeArgs,
    #[command(flatten)]
    pub(super) cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

/// A server process with the model, and how a client reaches it; all is gone when this is dropped.
pub(super) struct Site<L: Link> {
    pub(super) server: LocalServer,
    pub(super) address: String,
    pub(super) tls: ClientTls,
    pub(super) runtime: Runtime,
    _relay: L::Relay,
    _deployment: Deployment,
}

impl<L: Link> Site<L> {
    pub(super) fn start(args: &Args, link: &L, model: &Model) -> Result<Self> {
        let terms = Terms {
            cryptosystem: args.cryptosystem,
            threads: args.threads,
            rate: RateArgs::public(0.1),
            lease_samples: 1,
            lease_seed: 0,
            precompute: args.precompute,
        };
        let deployment = Deployment::create()?;
        let server = deployment.serve(model, &terms)?;
        let tls = deployment.admit("client")?;
        let (address, relay) = link.to(server.address, args.network.data.seed)?;
        let runtime = Runtime::new().context("cannot start the runtime")?;
        Ok(Self { server, address, tls, runtime, _relay: relay, _deployment: deployment })
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
    runs: usize,
    /// Whether noise was made between queries.
    precompute: bool,
    link: L,
    #[serde(flatten)]
    taken: Taken,
    predictions_equal_plaintext: bool,
    #[serde(flatten)]
    circumstances: Circumstances,
}

/// Measures.
pub fn run(args: &Args, link: &impl Link, output: Output) -> Result<()> {
    args.threads.start()?;
    let model = args.network.model(None)?;
    let (runs, batch) = (args.runs as usize, usize::from(args.batch));
    let samples = args.network.samples(model.architecture(), model.name(), (runs + 1) * batch)?;
    let backend = args.cryptosystem.backend;
    if args.mode.mode == Some(Mode::Blind) {
        return blind::run(args, link, (&model, &samples), output);
    }
    args.mode.check_open()?;
    let report = backend.run(Query { args, link, model: &model, samples: &samples })?;
    let text = report.text();
    output.show(&report, text)
}

struct Query<'a, L> {
    args: &'a Args,
    link: &'a L,
    model: &'a Model,
    samples: &'a Samples,
}

impl<L: Link> Task for Query<'_, L> {
    type Output = Result<Report<L>>;

    fn run<S: Scheme>(self) -> Result<Report<L>> {
        let Self { args, link, model, samples } = self;
        let (runs, batch) = (args.runs as usize, usize::from(args.batch));
        let bits = args.cryptosystem.key_bits;
        S::plan(model.network(), model.precision(), batch, Purpose::Inference, bits)?;
        let circumstances = Circumstances::now(S::kernel(args.cryptosystem.key_bits));
        let mut phases = Phases::start();
        let running = phases.begin("preparing keys, tables and answers", 0);
        let secret = Arc::new(client::fresh_key::<S>(args.cryptosystem.key_bits)?);
        let site = Site::start(args, link, model)?;
        let Site { server, address, tls, runtime, .. } = &site;
        let session = client::open::<S>(address, tls, secret, DataPolicy::Enforce, |_| ());
        let mut session = client::wait(runtime, session)?;
        let queries: Vec<_> = (0..=runs).map(|n| samples.batch(n, batch).0).collect();
        let expected = queries.iter().map(|x| Ok(model.probabilities(x)?.0));
        let expected: Vec<_> = expected.collect::<Result<_>>()?;
        let mut ask = |n: usize| -> Result<f64> {
            if args.precompute {
                client::wait(runtime, async { Ok(session.precompute(batch).await?) })?;
            }
            let start = Instant::now();
            let query = async { Ok(session.classify(&queries[n]).await?) };
            let answer = client::wait(runtime, query)?;
            let time = start.elapsed().as_secs_f64();
            if answer != expected[n] {
                return Err(wrong("an encrypted answer"));
            }
            Ok(time)
        };
        ask(0)?; // Builds the tables of the key.
        phases.end(running, "preparation", "keys, tables and expected answers are ready");

        let running = phases.begin("timing queries", runs as u64);
        let cpu = CpuTimes::now(server);
        let times = (1..=runs).map(|n| ask(n).inspect(|_| running.step()));
        let times: Vec<f64> = times.collect::<Result<_>>()?;
        let cpu = CpuTimes::now(server).since(cpu, runs);
        phases.end(running, "queries", &format!("timed {runs} queries"));
        let cost = session.statistics().phase(Phase::Inference);
        client::complete(runtime, session.close());
        site.server.stop()?;
        let all = runs as u64 + 1;
        Ok(Report {
            network: model.name().into(),
            weights: args.network.weights(),
            samples: samples.source.clone(),
            backend: S::ID,
            key_bits: args.cryptosystem.key_bits,
            batch,
            runs,
            precompute: args.precompute,
            link: link.clone(),
            taken: Taken {
                spread: Spread::of(&times),
                client_cpu_s: cpu.client,
                server_cpu_s: cpu.server,
                bytes_up: cost.up / all,
                bytes_down: cost.down / all,
                rounds: cost.rounds / all,
            },
            predictions_equal_plaintext: true,
            circumstances,
        })
    }
}

impl<L: Link> Report<L> {
    fn text(&self) -> String {
        let rows = self.taken.rows("of one query");
        let samples = match self.batch {
            1 => "one sample".to_owned(),
            n => format!("{n} samples at once"),
        };
        format!(
            "{}: an encrypted query of {samples}, {} with keys of {} bits, {} runs.\n\
             Weights {}, samples {}.\nLink {}.\n{rows}\n\
             Every answer equals the plaintext model's, bit for bit.\n{}",
            self.network,
            self.backend,
            self.key_bits,
            self.runs,
            self.weights,
            self.samples,
            self.link,
            self.circumstances,
        )
    }
}
