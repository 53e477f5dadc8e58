//! The line behind a session of Python's, for each cryptosystem.
//!
//! Work runs without the interpreter's lock. Ten times a second it looks whether the interpreter was interrupted
//! (Ctrl-C) or a callback has failed; then it ends, and the server rolls back what was not committed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gelu_cli::backend::{Scheme, Task};
use gelu_cli::client::{self, Lease};
use gelu_cli::leases::Rules;
use gelu_cli::mode::{Agreed, Asking, BLIND_QUERY, ModeArgs};
use gelu_core::blind::Circuits;
use gelu_core::client::DataPolicy;
use gelu_core::fixed::add_by_layer;
use gelu_core::ledger::SumLedger;
use gelu_core::plan::Purpose;
use gelu_nn::Dataset;
use gelu_service::certs::Identity;
use gelu_service::client::{Answers, ClientEvent, SumsFile};
use gelu_service::{ClientTls, Connection};
use ndarray::{Array2, Axis};
use pyo3::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::keys::Key;
use crate::session::{Line, Stopped, Training};

/// A training whose terms were checked.
struct Prepared {
    data: Dataset,
    schedule: Vec<Vec<usize>>,
    policy: DataPolicy,
    sums: Option<Arc<dyn SumLedger>>,
}

/// Greets a server.
pub(crate) struct Greet<'a> {
    pub(crate) address: &'a str,
    pub(crate) certs: &'a Path,
    pub(crate) account: &'a str,
    pub(crate) observer: Option<Py<PyAny>>,
}

impl Task for Greet<'_> {
    type Output = Result<Box<dyn Line>, Stopped>;

    fn run<S: Scheme>(self) -> Self::Output {
        let identity = Identity::at(&self.certs.join("clients").join(self.account));
        let tls = ClientTls::read(&self.certs.join("ca.pem"), &identity)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let raised = Raised::default();
        let observer = observer(self.observer, raised.clone());
        let connecting = client::connect::<S>(self.address, &tls, observer);
        let connection = wait(&runtime, &raised, connecting)?;
        let state = State::Greeted(Box::new(connection));
        let (agreed, tickets, prepared) = (Agreed::Open, 0, None);
        Ok(Box::new(Of { runtime, raised, state, agreed, tickets, prepared }))
    }
}

/// The exception of a callback, kept until the work that called it looks.
type Raised = Arc<Mutex<Option<PyErr>>>;

fn observer(
    callback: Option<Py<PyAny>>,
    raised: Raised,
) -> impl FnMut(&ClientEvent) + Send + 'static {
    move |event| {
        let Some(callback) = &callback else { return };
        let (name, value) = match event {
            ClientEvent::Waiting { position } => ("waiting", f64::from(*position)),
            ClientEvent::LeaseGranted { steps, .. } => ("lease", f64::from(*steps)),
            ClientEvent::StepDone(report) => ("step", report.loss),
            ClientEvent::Committed { version } => ("committed", *version as f64),
            _ => return,
        };
        let called = Python::attach(|py| callback.call1(py, (name, value)).map(drop));
        if let Err(error) = called {
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

/// Waits for `work`, or for a reason to end it.
fn wait<T>(
    runtime: &Runtime,
    raised: &Raised,
    work: impl Future<Output = Result<T>>,
) -> Result<T, Stopped> {
    let check = || match raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(Stopped::Raised(error)),
        None => Python::attach(|py| py.check_signals()).map_err(Stopped::Raised),
    };
    runtime.block_on(async {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    check()?;
                    return Ok(done?);
                }
                () = tokio::time::sleep(LOOK) => check()?,
            }
        }
    })
}

/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(100);

enum State<S: Scheme> {
    Greeted(Box<Connection<S>>),
    Open(Asking<S>),
    Over,
}

struct Of<S: Scheme> {
    runtime: Runtime,
    raised: Raised,
    state: State<S>,
    /// How queries are asked.
    agreed: Agreed,
    /// Tickets to make first.
    tickets: usize,
    prepared: Option<Prepared>,
}

impl<S: Scheme> Of<S> {
    /// The greeted connection.
    fn connection(&self) -> Result<&Connection<S>> {
        match &self.state {
            State::Greeted(connection) => Ok(connection),
            _ => Err(anyhow!("the session is open already, or over")),
        }
    }

    /// Does `work` on the open session, and ends it if that was broken off in the middle.
    fn with_session<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Asking<S>) -> Result<T>,
    ) -> Result<T, Stopped> {
        let State::Open(session) = &mut self.state else {
            return Err(gelu_service::Error::SessionOver.into());
        };
        let done = wait(&self.runtime, &self.raised, work(session));
        if let Err(Stopped::Raised(_)) = done {
            self.state = State::Over;
        }
        done
    }
}

impl<S: Scheme> Line for Of<S> {
    fn card(&self) -> String {
        let (card, network) = match &self.state {
            State::Greeted(connection) => (connection.card(), connection.network()),
            State::Open(session) => (session.card(), session.network()),
            State::Over => return json!({}).to_string(),
        };
        json!({
            "name": card.name,
            "version": card.version,
            "architecture": card.architecture,
            "backend": card.backend,
            "key_bits": card.key_bits,
            "account": card.account,
            "modes": card.modes.iter().map(|mode| mode.name()).collect::<Vec<_>>(),
            "answer": if card.scores { "scores" } else { "class" },
            "tickets": card.tickets,
            "inference": card.inference,
            "blind": card.blind,
            "training": card.training,
            "lease_samples": card.lease_samples,
            "schema": card.schema.as_ref().map(|schema| &schema.json),
            "features": network.inputs(),
            "classes": network.classes(),
        })
        .to_string()
    }

    fn agree(&mut self, asked: ModeArgs) -> Result<Agreed> {
        let connection = self.connection()?;
        let agreed = asked.agree(connection.card())?;
        if let Agreed::Blind(answer) = agreed {
            Circuits::new(connection.network(), &connection.card().precision, answer)?;
        }
        (self.agreed, self.tickets) = (agreed, asked.tickets.unwrap_or(0));
        Ok(agreed)
    }

    fn check_key_bits(&self, bits: u32) -> Result<()> {
        let connection = self.connection()?;
        let (network, card) = (connection.network(), connection.card());
        client::check_key_bits(card, bits)?;
        if self.agreed == Agreed::Open {
            S::plan(network, &card.precision, 1, Purpose::Inference, bits)?;
        }
        Ok(())
    }

    fn rows_of_query(&self, bits: u32) -> usize {
        match &self.state {
            State::Greeted(_) if self.agreed != Agreed::Open => BLIND_QUERY,
            State::Greeted(connection) => {
                let precision = &connection.card().precision;
                client::rows_of_query::<S>(connection.network(), precision, bits)
            }
            State::Open(_) | State::Over => 1,
        }
    }

    fn prepare(&mut self, training: Training) -> Result<()> {
        let connection = self.connection()?;
        let Training { inputs, labels, batch, steps, seed, key_bits, policy, sums } = training;
        let (network, card) = (connection.network(), connection.card());
        let names = |what: &str, n: usize| (1..=n).map(|i| format!("{what} {i}")).collect();
        let (features, classes) = (names("column", network.inputs()), network.classes());
        let data = Dataset::new(inputs, labels, features, names("class", classes))?;
        let schedule = client::schedule(data.len(), batch, steps, seed)?;
        client::check_key_bits(card, key_bits)?;
        // Whether the numbers of a step fit is known before there is a key.
        let purpose = Purpose::Training { steps: 1 };
        S::plan(network, &card.precision, batch, purpose, key_bits)?;
        let sums = sums.map(|path| SumsFile::open(&path)).transpose()?;
        let sums = sums.map(|file| -> Arc<dyn SumLedger> { Arc::new(file) });
        if let Some(sums) = &sums {
            let sigma = S::sigma(&card.precision);
            let rules = Rules::new(network, sigma, batch, policy, card.lease_samples);
            let ledger = sums.ledger()?;
            rules.lengths(&ledger, &ledger.ids(data.features()), &schedule)?;
        }
        self.prepared = Some(Prepared { data, schedule, policy, sums });
        Ok(())
    }

    fn open(&mut self, key: &Key) -> Result<(), Stopped> {
        let secret = key.secret::<S>()?;
        self.connection()?;
        let State::Greeted(connection) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(gelu_service::Error::SessionOver.into());
        };
        let agreed = self.agreed;
        let opening = async {
            let Some(Prepared { policy, sums, .. }) = &self.prepared else {
                return agreed.open(*connection, secret).await;
            };
            let session = match sums {
                Some(sums) => connection.open_counted(secret, *policy, Arc::clone(sums)).await?,
                None => connection.open(secret, *policy).await?,
            };
            Ok(Asking::Open(Box::new(session)))
        };
        self.state = State::Open(wait(&self.runtime, &self.raised, opening)?);
        let tickets = self.tickets;
        self.with_session(async |session| match session {
            Asking::Blind(session) => Ok(session.prepare_tickets(tickets).await?),
            Asking::Open(_) => Ok(()),
        })
    }

    fn ask(
        &mut self,
        inputs: &Array2<f64>,
        batch: usize,
        progress: Option<Py<PyAny>>,
    ) -> (Answers, Result<(), Stopped>) {
        let classes = match &self.state {
            State::Open(session) => session.network().classes(),
            State::Greeted(_) | State::Over => 0,
        };
        let mut all = match self.agreed.tells_probabilities() {
            true => Answers::Probabilities(Array2::zeros((classes, 0))),
            false => Answers::Classes(Vec::new()),
        };
        let raised = Arc::clone(&self.raised);
        let (mut done, of) = (0, inputs.ncols());
        let answered = |answers: Answers| {
            done += add(&mut all, answers)?;
            let called = progress
                .as_ref()
                .map(|progress| Python::attach(|py| progress.call1(py, (done, of)).map(drop)));
            if let Some(Err(error)) = called {
                *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return Err(anyhow!("a callback has failed"));
            }
            Ok(())
        };
        let ended = self.with_session(async |session| {
            let mut batch = session.query_of(batch);
            client::answers(session, inputs.view(), &mut batch, answered).await
        });
        (all, ended)
    }

    fn saturations(&self) -> u64 {
        match &self.state {
            State::Open(session) => session.saturations().iter().sum(),
            _ => 0,
        }
    }

    fn train(&mut self) -> (String, Result<(), Stopped>) {
        let mut leases: Vec<Lease> = Vec::new();
        let Some(Prepared { data, schedule, .. }) = self.prepared.take() else {
            return (json!({}).to_string(), Err(anyhow!("no training was prepared").into()));
        };
        let ended = self.with_session(async |session| match session {
            Asking::Open(session) => client::train(session, 0, &data, &schedule, &mut leases).await,
            Asking::Blind(_) => Err(anyhow!("blind sessions do not train")),
        });
        let steps: Vec<_> = leases.iter().flat_map(|lease| &lease.steps).collect();
        let mut cut_off = Vec::new();
        steps.iter().for_each(|step| add_by_layer(&mut cut_off, &step.saturations));
        let report = json!({
            "versions": leases.iter().map(|lease| lease.version).collect::<Vec<_>>(),
            "losses": steps.iter().map(|step| step.loss).collect::<Vec<_>>(),
            "steps_done": steps.len(),
            "steps_asked": schedule.len(),
            "saturations": cut_off.iter().sum::<u64>(),
        });
        (report.to_string(), ended)
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Greeted(connection) => self.runtime.block_on(connection.close()),
            State::Open(session) => drop(self.runtime.block_on(session.close())),
            State::Over => {}
        }
    }
}

/// The answers of one more query; how many those are.
fn add(all: &mut Answers, more: Answers) -> Result<usize> {
    match (all, more) {
        (Answers::Classes(all), Answers::Classes(more)) => {
            all.extend(&more);
            Ok(more.len())
        }
        (Answers::Probabilities(all), Answers::Probabilities(more)) => {
            all.append(Axis(1), more.view())?;
            Ok(more.ncols())
        }
        _ => Err(anyhow!("the session gives other answers than were agreed on")),
    }
}
