//! A session with a server, as Python sees it: queries and training under encryption.
//!
//! What it does stands in [`line`](crate::line); here arrays and exceptions are those of Python.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use gelu_cli::mode::{Agreed, ModeArgs};
use gelu_core::blind;
use gelu_core::client::DataPolicy;
use gelu_service::client::Answers;
use ndarray::{Array1, Array2};
use numpy::{IntoPyArray, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::cryptosystem;
use crate::errors::{Raise, exception};
use crate::keys::Key;
use crate::line::Greet;
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

    /// Agrees with the server on how queries are asked: "open" or "blind", what a blind one tells ("class" or "scores"),
    /// and tickets to make first. Says what was agreed on: "open", "class" or "scores". No key is used.
    fn agree(
        &self,
        py: Python<'_>,
        mode: Option<&str>,
        answer: Option<&str>,
        tickets: Option<usize>,
    ) -> PyResult<&'static str> {
        let mode = parsed("mode", mode).raise(py)?;
        let asked = ModeArgs { mode, answer: parsed("answer", answer).raise(py)?, tickets };
        let agreed = py.detach(|| self.lock().agree(asked)).raise(py)?;
        Ok(match agreed {
            Agreed::Open => "open",
            Agreed::Blind(blind::Answer::Class) => "class",
            Agreed::Blind(blind::Answer::Scores) => "scores",
        })
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

    /// Sends the public half of `key`, and makes the tickets that were agreed on; from here on queries of the mode that
    /// was agreed on, by default open ones, and the training that was prepared can be had.
    fn open(&self, py: Python<'_>, key: &Key) -> PyResult<()> {
        stopped(py, py.detach(|| self.lock().open(key)))
    }

    /// Asks about `inputs`, `[rows, features]`, by encrypted queries of `batch` rows or fewer. `progress` gets the rows
    /// answered and all rows after each. Returns the answers of the first rows, probabilities `[rows, classes]` or, where
    /// the class alone was agreed on, its number for each row; and the exception, where it ended early.
    #[pyo3(signature = (inputs, batch, progress=None))]
    fn ask<'py>(
        &self,
        py: Python<'py>,
        inputs: PyReadonlyArray2<'py, f64>,
        batch: usize,
        progress: Option<Py<PyAny>>,
    ) -> (Bound<'py, PyAny>, Option<PyErr>) {
        let columns = columns(inputs.as_array());
        let (answers, ended) = py.detach(|| self.lock().ask(&columns, batch, progress));
        let answers = match answers {
            Answers::Probabilities(all) => rows(all).into_pyarray(py).into_any(),
            // NumPy's own kind of index, not an unsigned one.
            Answers::Classes(all) => {
                let all = all.into_iter().map(|class| i64::try_from(class).unwrap_or(i64::MAX));
                Array1::from_iter(all).into_pyarray(py).into_any()
            }
        };
        (answers, stopped(py, ended).err())
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

/// The value of this name.
fn parsed<T: ValueEnum>(what: &str, name: Option<&str>) -> Result<Option<T>> {
    let parse = |name| {
        T::from_str(name, false).map_err(|_| {
            let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
            anyhow!("{what} is {name:?}, must be one of {}", known.join(", "))
        })
    };
    name.map(parse).transpose()
}

/// Why a piece of work did not end as it should.
pub(crate) enum Stopped {
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
pub(crate) trait Line: Send {
    fn card(&self) -> String;
    fn agree(&mut self, asked: ModeArgs) -> Result<Agreed>;
    fn check_key_bits(&self, bits: u32) -> Result<()>;
    fn rows_of_query(&self, bits: u32) -> usize;
    fn prepare(&mut self, training: Training) -> Result<()>;
    fn open(&mut self, key: &Key) -> Result<(), Stopped>;
    /// `[features, samples]`; the answers of the first samples, and why there are no more.
    fn ask(
        &mut self,
        inputs: &Array2<f64>,
        batch: usize,
        progress: Option<Py<PyAny>>,
    ) -> (Answers, Result<(), Stopped>);
    fn saturations(&self) -> u64;
    fn train(&mut self) -> (String, Result<(), Stopped>);
    fn close(&mut self);
}

/// A training that was asked for.
pub(crate) struct Training {
    /// `[features, samples]`.
    pub(crate) inputs: Array2<f64>,
    pub(crate) labels: Vec<usize>,
    pub(crate) batch: usize,
    pub(crate) steps: usize,
    pub(crate) seed: u64,
    pub(crate) key_bits: u32,
    pub(crate) policy: DataPolicy,
    pub(crate) sums: Option<PathBuf>,
}
