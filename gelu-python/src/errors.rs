//! Rust's errors as Python's exceptions, sorted by who must act: the classes and their rules are in
//! `python/gelu/errors.py`.

use std::error::Error as StdError;

use gelu_cli::problem;
use gelu_core::error::Refused;
use pyo3::prelude::*;

/// The exception of an error: its sentence, and the advice where there is some.
///
/// A failure to make it (an installation without `gelu.errors`) is the exception that it gives instead.
pub(crate) fn exception(py: Python<'_>, error: &anyhow::Error) -> PyErr {
    exception_of(py, class_of(error), error)
}

fn exception_of(py: Python<'_>, class: &str, error: &anyhow::Error) -> PyErr {
    let made = py.import("gelu.errors").and_then(|module| {
        let class = module.getattr(class)?;
        class.call1((problem::sentence(error), problem::advice(error)))
    });
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// What a function of this module gives to Python.
pub(crate) trait Raise<T> {
    /// The value, or the exception of the error.
    fn raise(self, py: Python<'_>) -> PyResult<T>;

    /// The value, or the error as an exception of the named class.
    fn raise_as(self, py: Python<'_>, class: &str) -> PyResult<T>;
}

impl<T, E: Into<anyhow::Error>> Raise<T> for Result<T, E> {
    fn raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error.into()))
    }

    fn raise_as(self, py: Python<'_>, class: &str) -> PyResult<T> {
        self.map_err(|error| exception_of(py, class, &error.into()))
    }
}

/// The name of the class: the first cause that is known decides. What is said without a kind of its own is said
/// to the caller.
fn class_of(error: &anyhow::Error) -> &'static str {
    error.chain().find_map(of_cause).unwrap_or("UsageError")
}

fn of_cause(cause: &(dyn StdError + 'static)) -> Option<&'static str> {
    use gelu_service::Error as Service;
    if let Some(error) = cause.downcast_ref::<gelu_core::Error>() {
        return Some(of_core(error));
    }
    if let Some(error) = cause.downcast_ref::<gelu_nn::Error>() {
        return Some(of_model(error));
    }
    if cause.is::<std::io::Error>() {
        return Some("FileError");
    }
    Some(match cause.downcast_ref::<Service>()? {
        Service::File(_) => "FileError",
        Service::Configuration { .. } => "UsageError",
        Service::Network { .. }
        | Service::Tls(_)
        | Service::Timeout { .. }
        | Service::ConnectionLost { .. }
        | Service::Ended(_)
        | Service::SessionOver => "NetworkError",
        Service::PeerIncompatible(_) => "IncompatibleError",
        Service::PeerMisbehaved(_) | Service::Frame(_) => "PeerError",
        Service::Refused(refused) => of_refusal(refused),
        Service::Protocol(error) => of_core(error),
        Service::Model(error) => of_model(error),
        _ => "InternalError",
    })
}

fn of_core(error: &gelu_core::Error) -> &'static str {
    use gelu_core::Error as Core;
    match error {
        Core::ApiMisuse(_) | Core::Range(_) => "UsageError",
        Core::PeerIncompatible(_) => "IncompatibleError",
        Core::PeerMisbehaved(_) | Core::Decryption => "PeerError",
        Core::Refused(refused) => of_refusal(refused),
        _ => "InternalError",
    }
}

fn of_model(error: &gelu_nn::Error) -> &'static str {
    match error {
        gelu_nn::Error::Core(error) => of_core(error),
        gelu_nn::Error::ModelFile(_) | gelu_nn::Error::Io { .. } => "FileError",
        _ => "UsageError",
    }
}

/// The server's words arrive as text; its ledger's are those of [`Refused::Budget`] and [`Refused::TooNarrow`],
/// which a test of the package asks for.
fn of_refusal(refused: &Refused) -> &'static str {
    match refused {
        Refused::Budget { .. } | Refused::TooNarrow { .. } => "BudgetSpent",
        Refused::ByPeer(words) if words.contains("determine") => "BudgetSpent",
        Refused::ExposesData { .. } | Refused::ShortMasks { .. } => "DataExposed",
        Refused::Unbooked(_) => "FileError",
        _ => "RefusedError",
    }
}
