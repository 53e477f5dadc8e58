//! The client's key pair, in memory or in a file, and the certificates of a local server.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use gelu_cli::args::Cryptosystem;
use gelu_cli::backend::{Scheme, Task};
use gelu_cli::client::{fresh_key, key_bits};
use gelu_service::certs::Authority;
use pyo3::prelude::*;

use crate::cryptosystem;
use crate::errors::Raise;

/// A key pair of one cryptosystem. The secret half never becomes a Python object: it cannot be printed or pickled, and
/// is wiped from memory with the last use.
#[pyclass(frozen, module = "gelu._native")]
pub(crate) struct Key {
    /// An `Arc<S::SecretKey>` of the scheme `S` that `backend` names.
    secret: Box<dyn Any + Send + Sync>,
    backend: &'static str,
    bits: u32,
}

#[pymethods]
impl Key {
    /// Bits of a key where none are asked for: of one that is `kept` in a file, made for `training`, or neither.
    #[staticmethod]
    fn default_bits(py: Python<'_>, backend: &str, kept: bool, training: bool) -> PyResult<u32> {
        let cryptosystem = cryptosystem(backend, None).raise(py)?;
        let [for_training, new] =
            [cryptosystem.for_training().key_bits, cryptosystem.backend.new_key_bits()];
        Ok(match (kept, training) {
            (true, true) => new.max(for_training),
            (true, false) => new,
            (false, true) => for_training,
            (false, false) => cryptosystem.key_bits,
        })
    }

    /// A fresh key, in memory only.
    #[staticmethod]
    fn fresh(py: Python<'_>, backend: &str, bits: u32) -> PyResult<Self> {
        let cryptosystem = cryptosystem(backend, Some(bits)).raise(py)?;
        py.detach(|| cryptosystem.backend.run(Make { cryptosystem, path: None })).raise(py)
    }

    /// The key in the file `path`.
    #[staticmethod]
    fn load(py: Python<'_>, backend: &str, path: PathBuf) -> PyResult<Self> {
        let cryptosystem = cryptosystem(backend, None).raise(py)?;
        py.detach(|| cryptosystem.backend.run(Read(&path))).raise_as(py, "FileError")
    }

    /// A fresh key, written to the new file `path`, which its owner alone may read.
    #[staticmethod]
    fn create(py: Python<'_>, backend: &str, bits: u32, path: PathBuf) -> PyResult<Self> {
        let cryptosystem = cryptosystem(backend, Some(bits)).raise(py)?;
        let make = Make { cryptosystem, path: Some(&path) };
        py.detach(|| cryptosystem.backend.run(make)).raise_as(py, "FileError")
    }

    #[getter]
    fn backend(&self) -> &'static str {
        self.backend
    }

    #[getter]
    fn bits(&self) -> u32 {
        self.bits
    }

    fn __repr__(&self) -> String {
        format!("<a secret key of {}, {} bits>", self.backend, self.bits)
    }
}

impl Key {
    fn of<S: Scheme>(secret: S::SecretKey) -> Self {
        let bits = key_bits::<S>(&secret);
        Self { secret: Box::new(Arc::new(secret)), backend: S::ID, bits }
    }

    /// The secret key, if it is one of `S`.
    pub(crate) fn secret<S: Scheme>(&self) -> Result<Arc<S::SecretKey>> {
        let secret = self.secret.downcast_ref::<Arc<S::SecretKey>>().cloned();
        secret.with_context(|| format!("the key is one of {}, not of {}", self.backend, S::ID))
    }
}

struct Make<'a> {
    cryptosystem: Cryptosystem,
    path: Option<&'a Path>,
}

impl Task for Make<'_> {
    type Output = Result<Key>;

    fn run<S: Scheme>(self) -> Result<Key> {
        let secret = fresh_key::<S>(self.cryptosystem.key_bits)?;
        if let Some(path) = self.path {
            S::write_key(&secret, path)?;
        }
        Ok(Key::of::<S>(secret))
    }
}

struct Read<'a>(&'a Path);

impl Task for Read<'_> {
    type Output = Result<Key>;

    fn run<S: Scheme>(self) -> Result<Key> {
        Ok(Key::of::<S>(S::read_key(self.0)?))
    }
}

/// Makes a new authority with the certificate of a server for this machine's own names in `folder`.
#[pyfunction]
pub(crate) fn make_authority(py: Python<'_>, folder: PathBuf) -> PyResult<()> {
    Authority::init(&folder, &[], None).map(|_| ()).raise(py)
}

/// Makes a certificate for the account `name`, by the authority in `folder`.
#[pyfunction]
pub(crate) fn issue_client(py: Python<'_>, folder: PathBuf, name: &str) -> PyResult<()> {
    Authority::open(&folder)
        .and_then(|authority| authority.issue_client(name))
        .map(|_| ())
        .raise(py)
}
