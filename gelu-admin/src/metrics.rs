//! Numbers about a server, counted from its events.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gelu_service::server::{Observer, ServerEvent, Way};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What a server has done, as metrics: its [observer](Observer).
///
/// `docs/src/metrics.md` has the list. Labels are names of models, names of messages and words of this
/// program; names of accounts only if that was asked for, since there can be many.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    reloads: Family<OfResult, Counter>,
    backups: Family<OfResult, Counter>,
    last_backup: Gauge<f64, AtomicU64>,
    connections: Counter,
    turned_away: Family<OfReason, Counter>,
    sessions: Family<OfModel, Gauge>,
    sessions_begun: Family<OfModel, Counter>,
    sessions_failed: Family<OfModelAndReason, Counter>,
    queue: Family<OfModel, Gauge>,
    queue_wait: Family<OfModel, Histogram>,
    leases: Family<OfModel, Gauge>,
    leases_granted: Family<OfModel, Counter>,
    leases_committed: Family<OfModel, Counter>,
    leases_rolled_back: Family<OfModel, Counter>,
    refusals: Family<OfModelAndReason, Counter>,
    messages: Family<OfMessage, Counter>,
    bytes: Family<OfMessage, Counter>,
    computed: Family<OfPhase, Histogram>,
    compute_wait: Family<OfModel, Histogram>,
    tickets_made: Family<OfModel, Counter>,
    tickets_spent: Family<OfModel, Counter>,
    version: Family<OfModel, Gauge>,
    store_failures: Counter,
    accounts: Option<Accounts>,
}

/// The same by account, where the operator asks for it.
#[derive(Debug, Default)]
struct Accounts {
    bytes: Family<OfAccount, Counter>,
    seconds: Family<OfAccount, Counter<f64, AtomicU64>>,
    refusals: Family<OfAccount, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModelAndReason {
    model: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMessage {
    model: String,
    direction: &'static str,
    message: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPhase {
    model: String,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAccount {
    account: String,
    model: String,
}

impl Metrics {
    /// Nothing has happened yet. With `accounts`, bytes, seconds and refusals are counted by account as well.
    pub fn new(accounts: bool) -> Self {
        let mut registry = Registry::with_prefix("gelu");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of this program", version);
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(unix_now());
        registry.register("start_time_seconds", "When the process began, in Unix time", started);
        let metrics = Self {
            ready: Gauge::default(),
            reloads: Family::default(),
            backups: Family::default(),
            last_backup: Gauge::default(),
            connections: Counter::default(),
            turned_away: Family::default(),
            sessions: Family::default(),
            sessions_begun: Family::default(),
            sessions_failed: Family::default(),
            queue: Family::default(),
            queue_wait: Family::new_with_constructor(long_waits),
            leases: Family::default(),
            leases_granted: Family::default(),
            leases_committed: Family::default(),
            leases_rolled_back: Family::default(),
            refusals: Family::default(),
            messages: Family::default(),
            bytes: Family::default(),
            computed: Family::new_with_constructor(computations),
            compute_wait: Family::new_with_constructor(computations),
            tickets_made: Family::default(),
            tickets_spent: Family::default(),
            version: Family::default(),
            store_failures: Counter::default(),
            accounts: accounts.then(Accounts::default),
            registry,
        };
        for well in [true, false] {
            drop(metrics.reloads.get_or_create(&OfResult { result: result(well) }));
            drop(metrics.backups.get_or_create(&OfResult { result: result(well) }));
        }
        metrics.registered()
    }

    /// Gives every metric its name.
    #[rustfmt::skip]
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("ready", "1 when clients may be sent here", self.ready.clone());
        registry.register("reloads", "Configurations read again", self.reloads.clone());
        registry.register("backups", "Copies of the store", self.backups.clone());
        registry.register("last_backup_time_seconds", "When the last copy of the store was written, in Unix time; 0 before the first", self.last_backup.clone());
        registry.register("connections", "Connections accepted", self.connections.clone());
        registry.register("turned_away", "Connections that ended before a session began", self.turned_away.clone());
        registry.register("sessions", "Sessions now", self.sessions.clone());
        registry.register("sessions_begun", "Sessions begun", self.sessions_begun.clone());
        registry.register("sessions_failed", "Sessions that ended in an error", self.sessions_failed.clone());
        registry.register("training_queue", "Sessions that wait for the lease of a model", self.queue.clone());
        registry.register("training_wait_seconds", "How long sessions waited for a lease", self.queue_wait.clone());
        registry.register("leases", "Leases in progress", self.leases.clone());
        registry.register("leases_granted", "Leases begun", self.leases_granted.clone());
        registry.register("leases_committed", "Leases that became a version", self.leases_committed.clone());
        registry.register("leases_rolled_back", "Leases that ended without a trace", self.leases_rolled_back.clone());
        registry.register("refusals", "Requests that were refused while the session went on", self.refusals.clone());
        registry.register("messages", "Messages of the protocol", self.messages.clone());
        registry.register("message_bytes", "Bytes of messages, before TLS", self.bytes.clone());
        registry.register("compute_seconds", "How long a step took to compute", self.computed.clone());
        registry.register("compute_wait_seconds", "How long steps waited for their turn to be computed", self.compute_wait.clone());
        registry.register("tickets_made", "Tickets made for blind queries", self.tickets_made.clone());
        registry.register("tickets_spent", "Tickets that blind queries have used up", self.tickets_spent.clone());
        registry.register("model_version", "The version of a model that is served", self.version.clone());
        registry.register("store_failures", "Times that the store failed", self.store_failures.clone());
        if let Some(accounts) = &self.accounts {
            registry.register("account_bytes", "Bytes of an account's messages", accounts.bytes.clone());
            registry.register("account_compute_seconds", "Seconds computed for an account", accounts.seconds.clone());
            registry.register("account_refusals", "Requests of an account that were refused", accounts.refusals.clone());
        }
        self
    }

    /// All of it, in Prometheus' text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let written = prometheus_text::encode(&mut text, &self.registry);
        written.expect("a string takes everything");
        text
    }

    /// The configuration was read again, or was refused and the old one stays.
    pub fn reloaded(&self, well: bool) {
        self.reloads.get_or_create(&OfResult { result: result(well) }).inc();
    }

    /// A copy of the store was written, or could not be.
    pub fn backed_up(&self, well: bool) {
        self.backups.get_or_create(&OfResult { result: result(well) }).inc();
        if well {
            self.last_backup.set(unix_now());
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.set(ready.into());
    }
}

impl Observer for Metrics {
    fn event(&self, event: &ServerEvent) {
        let of = |model: &String| OfModel { model: model.clone() };
        match event {
            ServerEvent::Serving { model, version } => {
                self.version(model, *version);
                self.begin(&of(model));
            }
            ServerEvent::Withdrawn { model } => {
                self.version.remove(&of(model));
            }
            ServerEvent::Connected { .. } => {
                self.connections.inc();
            }
            ServerEvent::TurnedAway { kind, .. } => {
                self.turned_away.get_or_create(&OfReason { reason: kind }).inc();
            }
            ServerEvent::Accepted { model, .. } => {
                self.sessions.get_or_create(&of(model)).inc();
                self.sessions_begun.get_or_create(&of(model)).inc();
            }
            ServerEvent::Queued { model, .. } => {
                self.queue.get_or_create(&of(model)).inc();
            }
            ServerEvent::Waited { model, waited, .. } => {
                self.queue.get_or_create(&of(model)).dec();
                self.queue_wait.get_or_create(&of(model)).observe(waited.as_secs_f64());
            }
            ServerEvent::LeaseGranted { model, .. } => {
                self.leases.get_or_create(&of(model)).inc();
                self.leases_granted.get_or_create(&of(model)).inc();
            }
            ServerEvent::Committed { model, version, .. } => {
                self.version(model, *version);
                self.leases.get_or_create(&of(model)).dec();
                self.leases_committed.get_or_create(&of(model)).inc();
            }
            ServerEvent::RolledBack { model, .. } => {
                self.leases.get_or_create(&of(model)).dec();
                self.leases_rolled_back.get_or_create(&of(model)).inc();
            }
            ServerEvent::Refused { account, model, kind, .. } => {
                let label = OfModelAndReason { model: model.clone(), reason: kind };
                self.refusals.get_or_create(&label).inc();
                self.by_account(account, model, |accounts, label| {
                    accounts.refusals.get_or_create(label).inc();
                });
            }
            ServerEvent::Message { account, model, way, name, bytes } => {
                let direction = match way {
                    Way::Up => "up",
                    Way::Down => "down",
                };
                let label = OfMessage { model: model.clone(), direction, message: name };
                self.messages.get_or_create(&label).inc();
                self.bytes.get_or_create(&label).inc_by(*bytes);
                self.by_account(account, model, |accounts, label| {
                    accounts.bytes.get_or_create(label).inc_by(*bytes);
                });
            }
            ServerEvent::Computed { account, model, phase, waited, took } => {
                let label = OfPhase { model: model.clone(), phase };
                self.computed.get_or_create(&label).observe(took.as_secs_f64());
                self.compute_wait.get_or_create(&of(model)).observe(waited.as_secs_f64());
                self.by_account(account, model, |accounts, label| {
                    accounts.seconds.get_or_create(label).inc_by(took.as_secs_f64());
                });
            }
            ServerEvent::TicketsMade { model, tickets, .. } => {
                self.tickets_made.get_or_create(&of(model)).inc_by(*tickets as u64);
            }
            ServerEvent::TicketsSpent { model, tickets, .. } => {
                self.tickets_spent.get_or_create(&of(model)).inc_by(*tickets as u64);
            }
            ServerEvent::StoreFailed { .. } => {
                self.store_failures.inc();
            }
            ServerEvent::Left { model, ended, .. } => {
                self.sessions.get_or_create(&of(model)).dec();
                if let Some(ended) = ended {
                    let label = OfModelAndReason { model: model.clone(), reason: ended.kind };
                    self.sessions_failed.get_or_create(&label).inc();
                }
            }
            // The log tells of it.
            _ => {}
        }
    }
}

impl Metrics {
    /// What has not happened yet is 0, and not unknown: alarms compare with it.
    fn begin(&self, model: &OfModel) {
        for gauge in [&self.sessions, &self.queue, &self.leases] {
            drop(gauge.get_or_create(model));
        }
        for counter in [
            &self.sessions_begun,
            &self.leases_granted,
            &self.leases_committed,
            &self.leases_rolled_back,
            &self.tickets_made,
            &self.tickets_spent,
        ] {
            drop(counter.get_or_create(model));
        }
    }

    fn version(&self, model: &str, version: u64) {
        let label = OfModel { model: model.to_owned() };
        self.version.get_or_create(&label).set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    fn by_account(&self, account: &str, model: &str, count: impl FnOnce(&Accounts, &OfAccount)) {
        if let Some(accounts) = &self.accounts {
            count(accounts, &OfAccount { account: account.to_owned(), model: model.to_owned() });
        }
    }
}

fn result(well: bool) -> &'static str {
    if well { "ok" } else { "failed" }
}

/// From what a small layer takes to what nobody should wait for.
fn computations() -> Histogram {
    Histogram::new([
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0,
    ])
}

/// Leases of others take minutes.
fn long_waits() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0])
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}
