//! A session with a server: queries and training under encryption.
//!
//! Work runs without the interpreter's lock. Ten times a second it looks whether the interpreter was interrupted
//! (Ctrl-C) or a callback has failed; then it ends, and the server rolls back what was not committed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gelu_cli::backend::{Scheme, Task};
use gelu_cli::client::{self, Lease};
use gelu_cli::leases::Rules;
use gelu_core::client::DataPolicy;
use gelu_core::fixed::add_by_layer;
use gelu_core::ledger::SumLedger;
use gelu_core::plan::Purpose;
use gelu_nn::Dataset;
use gelu_service::certs::Identity;
use gelu_service::client::{ClientEvent, SumsFile};
use gelu_service::{ClientTls, Connection};
use ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::cryptosystem;
use crate::errors::{Raise, exception};
use crate::keys::Key;
use crate::model::{columns, rows};

/// A connection, and then a session, whatever the cryptosystem.
#[pyclass(frozen, module = "gelu._native")]
pub(crate) struct Session {
    line: Mutex<Box<dyn Line>>,
}

#[pymethods]
impl Session {
    /// Greets the server at `address` (HOST:PORT) by the certificate of `account` in the folder `certs`. No key is
    /// used yet. `observer` gets the events of a training: ("waiting", position), ("lease", mini-batches),
    /// ("step", loss), ("committed", version).
    #[staticmethod]
    #[pyo3(signature = (address, certs, account, backend, observer=None))]
    fn connect(
        py: Python<'_>,
        address: &str,
        certs: PathBuf,
        account: &str,
        backend: &str,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let cryptosystem = cryptosystem(backend, None).raise(py)?;
        let greet = Greet { address, certs: &certs, account, observer };
        let line = stopped(py, py.detach(|| cryptosystem.backend.run(greet)))?;
        Ok(Self { line: Mutex::new(line) })
    }

    /// What the server says about its model and its terms, as JSON.
    fn card(&self, py: Python<'_>) -> String {
        py.detach(|| self.lock().card())
    }

    /// Fails if the server does not take keys of so many bits, or a query under them has no room for its numbers.
    fn check_key_bits(&self, py: Python<'_>, bits: u32) -> PyResult<()> {
        py.detach(|| self.lock().check_key_bits(bits)).raise(py)
    }

    /// Rows of a query where many are to be asked, with a key of so many bits.
    fn rows_of_query(&self, py: Python<'_>, bits: u32) -> usize {
        py.detach(|| self.lock().rows_of_query(bits))
    }

    /// Whether a training can be had on these terms; no key is used.
    #[expect(clippy::too_many_arguments, reason = "in Python they have names")]
    #[pyo3(signature = (inputs, labels, batch, steps, seed, key_bits, reconstruction, sums))]
    fn prepare(
        &self,
        py: Python<'_>,
        inputs: PyReadonlyArray2<'_, f64>,
        labels: Vec<usize>,
        batch: usize,
        steps: usize,
        seed: u64,
        key_bits: u32,
        reconstruction: bool,
        sums: Option<PathBuf>,
    ) -> PyResult<()> {
        let policy = match reconstruction {
            true => DataPolicy::AllowInputReconstruction,
            false => DataPolicy::Enforce,
        };
        let inputs = columns(inputs.as_array());
        let training = Training { inputs, labels, batch, steps, seed, key_bits, policy, sums };
        py.detach(|| self.lock().prepare(training)).raise(py)
    }

    /// Sends the public half of `key`; from here on queries and training can be had.
    fn open(&self, py: Python<'_>, key: &Key) -> PyResult<()> {
        stopped(py, py.detach(|| self.lock().open(key)))
    }

    /// The probabilities `[rows, classes]` of `inputs`, `[rows, features]`, by one encrypted query.
    fn query<'py>(
        &self,
        py: Python<'py>,
        inputs: PyReadonlyArray2<'py, f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let columns = columns(inputs.as_array());
        let answer = stopped(py, py.detach(|| self.lock().query(&columns)))?;
        Ok(rows(answer).into_pyarray(py))
    }

    /// Values of all queries so far that were cut off at a bound.
    fn saturations(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().saturations())
    }

    /// Trains as was prepared. Returns a report as JSON and, where it ended early, the exception: what is committed
    /// by then stays.
    fn train(&self, py: Python<'_>) -> PyResult<(String, Option<PyErr>)> {
        let (report, ended) = py.detach(|| self.lock().train());
        match stopped(py, ended) {
            Ok(()) => Ok((report, None)),
            Err(error) => Ok((report, Some(error))),
        }
    }

    /// Says goodbye.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.lock().close());
    }
}

impl Session {
    /// Only without the interpreter's lock, for which whoever holds this one may be waiting.
    ///
    /// A call that panicked has left the machine inside in no usable state, and says so itself.
    fn lock(&self) -> std::sync::MutexGuard<'_, Box<dyn Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a piece of work did not end as it should.
enum Stopped {
    Failed(anyhow::Error),
    /// An interruption, or the failure of a callback.
    Raised(PyErr),
}

impl<E: Into<anyhow::Error>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn stopped<T>(py: Python<'_>, result: Result<T, Stopped>) -> PyResult<T> {
    result.map_err(|stopped| match stopped {
        Stopped::Failed(error) => exception(py, &error),
        Stopped::Raised(error) => error,
    })
}

/// What a session does, whatever the cryptosystem.
trait Line: Send {
    fn card(&self) -> String;
    fn check_key_bits(&self, bits: u32) -> Result<()>;
    fn rows_of_query(&self, bits: u32) -> usize;
    fn prepare(&mut self, training: Training) -> Result<()>;
    fn open(&mut self, key: &Key) -> Result<(), Stopped>;
    fn query(&mut self, inputs: &Array2<f64>) -> Result<Array2<f64>, Stopped>;
    fn saturations(&self) -> u64;
    fn train(&mut self) -> (String, Result<(), Stopped>);
    fn close(&mut self);
}

/// A training that was asked for.
struct Training {
    /// `[features, samples]`.
    inputs: Array2<f64>,
    labels: Vec<usize>,
    batch: usize,
    steps: usize,
    seed: u64,
    key_bits: u32,
    policy: DataPolicy,
    sums: Option<PathBuf>,
}

/// The same, checked.
struct Prepared {
    data: Dataset,
    schedule: Vec<Vec<usize>>,
    policy: DataPolicy,
    sums: Option<Arc<dyn SumLedger>>,
}

struct Greet<'a> {
    address: &'a str,
    certs: &'a Path,
    account: &'a str,
    observer: Option<Py<PyAny>>,
}

impl Task for Greet<'_> {
    type Output = Result<Box<dyn Line>, Stopped>;

    fn run<S: Scheme>(self) -> Self::Output {
        let of_account = |extension: &str| {
            self.certs.join("clients").join(self.account).with_added_extension(extension)
        };
        let identity = Identity { certificate: of_account("pem"), key: of_account("key") };
        let tls = ClientTls::read(&self.certs.join("ca.pem"), &identity)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let raised = Raised::default();
        let observer = observer(self.observer, raised.clone());
        let connecting = client::connect::<S>(self.address, &tls, observer);
        let connection = wait(&runtime, &raised, connecting)?;
        let state = State::Greeted(Box::new(connection));
        Ok(Box::new(Of { runtime, raised, state, prepared: None }))
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
    Open(Box<gelu_service::Session<S>>),
    Over,
}

struct Of<S: Scheme> {
    runtime: Runtime,
    raised: Raised,
    state: State<S>,
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
        work: impl AsyncFnOnce(&mut gelu_service::Session<S>) -> Result<T>,
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
            "inference": card.inference,
            "training": card.training,
            "lease_samples": card.lease_samples,
            "schema": card.schema.as_ref().map(|schema| &schema.json),
            "features": network.inputs(),
            "classes": network.classes(),
        })
        .to_string()
    }

    fn check_key_bits(&self, bits: u32) -> Result<()> {
        let connection = self.connection()?;
        let (network, card) = (connection.network(), connection.card());
        client::check_key_bits(card, bits)?;
        S::plan(network, &card.precision, 1, Purpose::Inference, bits)?;
        Ok(())
    }

    fn rows_of_query(&self, bits: u32) -> usize {
        match &self.state {
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
        let policy = self.prepared.as_ref().map_or(DataPolicy::Enforce, |p| p.policy);
        let sums = self.prepared.as_ref().and_then(|p| p.sums.clone());
        let opening = async {
            Ok(match sums {
                Some(sums) => connection.open_counted(secret, policy, sums).await?,
                None => connection.open(secret, policy).await?,
            })
        };
        self.state = State::Open(Box::new(wait(&self.runtime, &self.raised, opening)?));
        Ok(())
    }

    fn query(&mut self, inputs: &Array2<f64>) -> Result<Array2<f64>, Stopped> {
        self.with_session(async |session| Ok(session.classify(inputs).await?))
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
        let ended = self.with_session(async |session| {
            client::train(session, 0, &data, &schedule, &mut leases).await
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
