//! `gelu-bench load`: many accounts at once.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gelu_cli::backend::Scheme;
use gelu_cli::commands::bench::Circumstances;
use gelu_cli::output::{self, Output};
use gelu_cli::phases::{Phases, bytes};
use gelu_lattice::{Lattice, Parameters};
use serde::Serialize;

use crate::load::{Room, Seen, Site};

/// Let many accounts at once ask a server of three models, over TLS on this machine
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Load",
    after_help = "\
Examples:
  gelu-bench load
  gelu-bench load --clients 10,200 --queries 20 --json
  gelu-bench load --clients 1 --idle 1000      sessions that do nothing, and what they take

The server is a process of its own: iris and digits in open queries, lenet5 in blind ones that make their
tickets, all under `lattice`, with a store in a file. Every account has a certificate, a key and a connection of its own and
asks the next of the three models; fewer accounts than models ask one after the other. All begin at the same moment, and
ask again as soon as they are answered. Every answer is compared with the model's in the clear. Clients and server share this
machine, so times are those of both.

The slowest share: the time of the account that waited longest for its answers, by the mean over the accounts that asked
the same at the same time. 1 is a fair share; more than 2 is an error, and so is everything that was not answered."
)]
pub(crate) struct Args {
    /// How many accounts ask at once, one measurement after the other
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1, 10, 100, 200],
          value_parser = clap::value_parser!(u16).range(1..=5000))]
    clients: Vec<u16>,
    /// What each of them asks
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// Then hold so many sessions that have asked once and do nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u16,
}

/// What is printed with --json.
#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    /// Bytes of memory of the server's process: when it has started, and at most until the last query.
    server_start_bytes: Option<u64>,
    server_peak_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Idle>,
    /// What was not answered, or answered wrongly.
    errors: Vec<String>,
    #[serde(flatten)]
    circumstances: Circumstances,
}

/// Accounts that asked one model at the same time, beside those that asked the others.
#[derive(Debug, Serialize)]
struct Row {
    /// That asked anything at the same time.
    clients: usize,
    model: &'static str,
    mode: &'static str,
    accounts: usize,
    answers: usize,
    p50_s: f64,
    p99_s: f64,
    slowest_share: f64,
}

/// Sessions that do nothing.
#[derive(Debug, Serialize)]
struct Idle {
    sessions: usize,
    /// Bytes of memory of the server's process, without and with them.
    before_bytes: Option<u64>,
    bytes: Option<u64>,
}

/// Measures.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let circumstances = Circumstances::now(Lattice::kernel(Parameters::KEY_BITS[0]));
    let most = args.clients.iter().copied().max().map_or(1, usize::from);
    let idle = usize::from(args.idle);
    let mut phases = Phases::start();
    let running = phases.begin("making models, certificates and keys", 0);
    let site = Arc::new(Site::start(&Room { accounts: most, sessions: most.max(idle) })?);
    phases.end(running, "preparation", &format!("{most} accounts have keys and certificates"));
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let server_start_bytes = site.server.memory();

    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let running = phases.begin("asking", args.clients.len() as u64);
    for clients in args.clients.iter().copied().map(usize::from) {
        let models = 0..site.asked.len();
        let asked = |only| runtime.block_on(site.ask(clients, only, args.queries as usize));
        let seen: Vec<Seen> = match clients < models.len() {
            true => models.clone().flat_map(|model| asked(Some(model))).collect(),
            false => asked(None),
        };
        rows.extend(models.filter_map(|model| Row::of(&site, clients, model, &seen)));
        errors.extend(seen.into_iter().filter_map(|seen| seen.error));
        running.step();
    }
    phases.end(running, "queries", "all have asked");
    let server_peak_bytes = site.server.peak_memory();
    let idle = (idle > 0).then(|| {
        let running = phases.begin("opening sessions that do nothing", 0);
        let before_bytes = site.server.memory();
        let (sessions, refused) = runtime.block_on(site.idle(idle));
        let held = Idle { sessions: sessions.len(), before_bytes, bytes: site.server.memory() };
        errors.extend(refused);
        runtime.block_on(async {
            for session in sessions {
                session.close().await;
            }
        });
        phases.end(running, "idle sessions", &format!("{} sessions were open", held.sessions));
        held
    });
    let site = Arc::into_inner(site).context("a client still runs")?;
    site.stop()?;
    let report =
        Report { rows, server_start_bytes, server_peak_bytes, idle, errors, circumstances };
    output.show(&report, report.text())?;
    ensure!(report.errors.is_empty(), "{} of the clients failed", report.errors.len());
    let unfair = report.rows.iter().find(|row| row.slowest_share > MOST_SHARES);
    ensure!(unfair.is_none(), "an account waited for more than twice its share: {unfair:?}");
    Ok(())
}

const MOST_SHARES: f64 = 2.0;

impl Row {
    /// `None` where nobody was answered.
    fn of(site: &Site, clients: usize, model: usize, seen: &[Seen]) -> Option<Self> {
        let seen: Vec<_> = seen.iter().filter(|seen| seen.model == model).collect();
        let mut times: Vec<f64> = seen.iter().flat_map(|seen| seen.times.clone()).collect();
        times.sort_by(f64::total_cmp);
        let whole = seen.iter().filter(|seen| seen.error.is_none());
        let sums: Vec<f64> = whole.map(|seen| seen.times.iter().sum()).collect();
        let mean = sums.iter().sum::<f64>() / sums.len() as f64;
        let slowest = sums.iter().copied().fold(0.0, f64::max);
        let asked = &site.asked[model];
        Some(Self {
            clients,
            model: asked.name,
            mode: asked.mode,
            accounts: seen.len(),
            answers: times.len(),
            p50_s: percentile(&times, 50)?,
            p99_s: percentile(&times, 99)?,
            slowest_share: slowest / mean,
        })
    }
}

/// The smallest value that `percent` of all do not exceed; `sorted` is in ascending order.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

impl Report {
    fn text(&self) -> String {
        let header = ["clients", "model", "mode", "answers", "p50, ms", "p99, ms", "slowest share"];
        let mut table = output::table(&header);
        for row in &self.rows {
            let ms = |seconds: f64| format!("{:.1}", seconds * 1e3);
            table.add_row([
                row.clients.to_string(),
                row.model.into(),
                row.mode.into(),
                row.answers.to_string(),
                ms(row.p50_s),
                ms(row.p99_s),
                format!("{:.2}", row.slowest_share),
            ]);
        }
        let memory = |said: Option<u64>| said.map_or("unknown".into(), bytes);
        let (start, peak) = (memory(self.server_start_bytes), memory(self.server_peak_bytes));
        let mut text = format!("{table}\nThe server took {start} at its start, {peak} at most.\n");
        if let Some(Idle { sessions, before_bytes, bytes }) = &self.idle {
            let (before, with) = (memory(*before_bytes), memory(*bytes));
            text += &format!("{sessions} idle sessions: {before} before them, {with} with them.\n");
        }
        for (n, error) in self.errors.iter().enumerate().take(10) {
            text += &format!("Error {} of {}: {error}\n", n + 1, self.errors.len());
        }
        text + &self.circumstances.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 99), Some(3.0));
        assert_eq!(percentile(&[7.0], 50), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
    }
}
