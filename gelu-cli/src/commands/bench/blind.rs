//! `gelu bench latency --mode blind`: tickets, queries with tickets ready, and queries without any.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use gelu_core::Backend;
use gelu_core::blind::{Answer, Circuits};
use gelu_nn::Model;
use gelu_service::client::{Answers, BlindSession, Cost, Phase};
use ndarray::Array2;
use serde::Serialize;

use super::latency::{Args, Site};
use super::{Circumstances, CpuTimes, Link, Samples, Spread, seconds, wrong};
use crate::backend::{Scheme, Task};
use crate::client;
use crate::mode;
use crate::output::{Output, table};
use crate::phases::{Phases, bytes};

/// What is printed with --json.
#[derive(Debug, Serialize)]
struct Report<L> {
    network: String,
    weights: String,
    samples: String,
    backend: &'static str,
    key_bits: u32,
    mode: &'static str,
    answer: Answer,
    batch: usize,
    runs: usize,
    /// Tickets that one request makes.
    tickets: usize,
    /// Whether noise was made between requests.
    precompute: bool,
    link: L,
    /// From a greeted server to an open session: the key and the base transfers.
    opening_s: f64,
    /// Medians: of a query with its tickets ready; of one ticket; of a query in an open session without tickets.
    online_s: f64,
    offline_s: f64,
    cold_s: f64,
    online: Part,
    offline: Part,
    cold: Part,
    /// What a ticket keeps until its query, beside a seed for each stage.
    ticket_bytes: Kept,
    answers_equal_plaintext: bool,
    #[serde(flatten)]
    circumstances: Circumstances,
}

/// Of one query, or of one ticket.
#[derive(Debug, Clone, Copy, Serialize)]
struct Part {
    #[serde(flatten)]
    spread: Spread,
    client_cpu_s: Option<f64>,
    server_cpu_s: Option<f64>,
    bytes_up: f64,
    bytes_down: f64,
    rounds: f64,
}

/// The client's tables, the server's masks.
#[derive(Debug, Clone, Copy, Serialize)]
struct Kept {
    client: usize,
    server: usize,
}

/// Measures.
pub(super) fn run<L: Link>(
    args: &Args,
    link: &L,
    (model, samples): (&Model, &Samples),
    output: Output,
) -> Result<()> {
    let answer = args.mode.answer.unwrap_or(mode::Answer::Class).into();
    let report = args.cryptosystem.backend.run(Blind { args, link, model, samples, answer })?;
    let text = report.text();
    output.show(&report, text)
}

struct Blind<'a, L> {
    args: &'a Args,
    link: &'a L,
    model: &'a Model,
    samples: &'a Samples,
    answer: Answer,
}

impl<L: Link> Task for Blind<'_, L> {
    type Output = Result<Report<L>>;

    fn run<S: Scheme>(self) -> Result<Report<L>> {
        let Self { args, link, model, samples, answer } = self;
        let (runs, batch) = (args.runs as usize, usize::from(args.batch));
        let bulk = args.mode.tickets.unwrap_or(1).max(1);
        Circuits::new(model.network(), model.precision(), answer)?;
        let circumstances = Circumstances::now(S::kernel(args.cryptosystem.key_bits));
        let mut phases = Phases::start();
        let running = phases.begin("preparing keys, tables and answers", 0);
        let secret = Arc::new(client::fresh_key::<S>(args.cryptosystem.key_bits)?);
        let site = Site::start(args, link, model)?;
        let queries = (0..=runs).map(|n| Checked::new(model, samples.batch(n, batch).0, answer));
        let queries = queries.collect::<Result<Vec<_>>>()?;
        let opened = |secret| async {
            let connection = client::connect::<S>(&site.address, &site.tls, |_| ()).await?;
            let start = Instant::now();
            let session = connection.open_blind(secret, answer).await?;
            Ok((session, start.elapsed().as_secs_f64()))
        };
        let (mut session, opening_s) = client::wait(&site.runtime, opened(Arc::clone(&secret)))?;
        // Builds the tables of the key and of the model.
        client::wait(&site.runtime, queries[0].ask(&mut session))?;
        phases.end(running, "preparation", "keys, tables and expected answers are ready");

        let idle = |session: &mut BlindSession<S>, tickets| match args.precompute {
            true => client::wait(&site.runtime, async { Ok(session.precompute(tickets).await?) }),
            false => Ok(()),
        };
        let running = phases.begin("timing tickets and queries", runs as u64);
        let [mut offline, mut online, mut cold] = [const { Meter::new() }; 3];
        for query in &queries[1..] {
            while session.tickets() < batch {
                let wanted = session.tickets() + bulk;
                idle(&mut session, bulk)?;
                let making = async |session: &mut BlindSession<S>| {
                    Ok(session.prepare_tickets(wanted).await?)
                };
                offline.take(&site, &mut session, making)?;
            }
            online.take(&site, &mut session, async |session| query.ask(session).await)?;
            running.step();
        }
        let costs = session.costs(bulk)?;
        client::complete(&site.runtime, session.close());
        phases.end(running, "queries", &format!("timed {runs} queries with tickets ready"));

        let running = phases.begin("timing queries without tickets", runs as u64);
        let (mut session, _) = client::wait(&site.runtime, opened(secret))?;
        for query in &queries[1..] {
            idle(&mut session, batch)?;
            cold.take(&site, &mut session, async |session| query.ask(session).await)?;
            running.step();
        }
        client::complete(&site.runtime, session.close());
        phases.end(running, "cold queries", &format!("timed {runs} queries without tickets"));
        site.server.stop()?;
        let (online, offline, cold) = (online.part(1), offline.part(bulk), cold.part(1));
        Ok(Report {
            network: model.name().into(),
            weights: args.network.weights(),
            samples: samples.source.clone(),
            backend: S::ID,
            key_bits: args.cryptosystem.key_bits,
            mode: "blind",
            answer,
            batch,
            runs,
            tickets: bulk,
            precompute: args.precompute,
            link: link.clone(),
            opening_s,
            online_s: online.spread.median_s,
            offline_s: offline.spread.median_s,
            cold_s: cold.spread.median_s,
            online,
            offline,
            cold,
            ticket_bytes: Kept { client: costs.garbled, server: costs.kept },
            answers_equal_plaintext: true,
            circumstances,
        })
    }
}

/// A query whose answer is known.
struct Checked {
    inputs: Array2<f64>,
    expected: Answers,
}

impl Checked {
    fn new(model: &Model, inputs: Array2<f64>, answer: Answer) -> Result<Self> {
        let scores = Answers::Probabilities(model.probabilities(&inputs)?.0);
        let expected = match answer {
            Answer::Scores => scores,
            Answer::Class => Answers::Classes(scores.classes()),
        };
        Ok(Self { inputs, expected })
    }

    async fn ask<S: Backend>(&self, session: &mut BlindSession<S>) -> Result<()> {
        match session.classify(&self.inputs).await? == self.expected {
            true => Ok(()),
            false => Err(wrong("a blind answer")),
        }
    }
}

/// Times, processor times and bytes of work that is repeated.
struct Meter {
    times: Vec<f64>,
    cpu: Option<CpuTimes>,
    up: u64,
    down: u64,
    rounds: u64,
}

impl Meter {
    const fn new() -> Self {
        Self { times: Vec::new(), cpu: None, up: 0, down: 0, rounds: 0 }
    }

    fn take<S: Scheme, L: Link>(
        &mut self,
        site: &Site<L>,
        session: &mut BlindSession<S>,
        work: impl AsyncFnOnce(&mut BlindSession<S>) -> Result<()>,
    ) -> Result<()> {
        let (cost, cpu, start) = (spent(session), CpuTimes::now(&site.server), Instant::now());
        client::wait(&site.runtime, work(session))?;
        self.times.push(start.elapsed().as_secs_f64());
        let cpu = CpuTimes::now(&site.server).since(cpu, 1);
        self.cpu = Some(self.cpu.map_or(cpu, |sum| sum.plus(cpu)));
        let [up, down, rounds] = spent(session);
        self.up += up - cost[0];
        self.down += down - cost[1];
        self.rounds += rounds - cost[2];
        Ok(())
    }

    /// Of one of the `each` that every piece of work has made.
    fn part(&self, each: usize) -> Part {
        let all = (self.times.len() * each) as f64;
        let times: Vec<_> = self.times.iter().map(|time| time / each as f64).collect();
        let cpu = |of: fn(CpuTimes) -> Option<f64>| Some(self.cpu.and_then(of)? / all);
        Part {
            spread: Spread::of(&times),
            client_cpu_s: cpu(|cpu| cpu.client),
            server_cpu_s: cpu(|cpu| cpu.server),
            bytes_up: self.up as f64 / all,
            bytes_down: self.down as f64 / all,
            rounds: self.rounds as f64 / all,
        }
    }
}

/// Bytes up, bytes down and rounds of tickets and queries so far.
fn spent<S: Scheme>(session: &BlindSession<S>) -> [u64; 3] {
    let of = |phase| session.statistics().phase(phase);
    let sum =
        |of_cost: fn(Cost) -> u64| of_cost(of(Phase::Tickets)) + of_cost(of(Phase::Inference));
    [sum(|cost| cost.up), sum(|cost| cost.down), sum(|cost| cost.rounds)]
}

impl<L: Link> Report<L> {
    fn text(&self) -> String {
        let mut rows = table(&["", "online", "offline, a ticket", "cold"]);
        let parts = [&self.online, &self.offline, &self.cold];
        let mut row = |name: &str, of: &dyn Fn(&Part) -> String| {
            rows.add_row([name.to_owned()].into_iter().chain(parts.map(of)));
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
        let size = |b: f64| bytes(b.round() as u64);
        row("median", &|part| seconds(Some(part.spread.median_s)));
        row("least", &|part| seconds(Some(part.spread.min_s)));
        row("processor time, client", &|part| seconds(part.client_cpu_s));
        row("processor time, server", &|part| seconds(part.server_cpu_s));
        row("to the server", &|part| size(part.bytes_up));
        row("to the client", &|part| size(part.bytes_down));
        row("rounds", &|part| format!("{:.1}", part.rounds));
        format!(
            "{}: a blind query of {} samples, {} with keys of {} bits, {} runs; {} tickets a request.\n\
             Weights {}, samples {}.\nLink {}.\nOpening a session {}.\n{rows}\n\
             Until its query a ticket keeps {} at the client and {} at the server.\n\
             Every answer equals the plaintext model's.\n{}",
            self.network,
            self.batch,
            self.backend,
            self.key_bits,
            self.runs,
            self.tickets,
            self.weights,
            self.samples,
            self.link,
            seconds(Some(self.opening_s)),
            bytes(self.ticket_bytes.client as u64),
            bytes(self.ticket_bytes.server as u64),
            self.circumstances,
        )
    }
}
