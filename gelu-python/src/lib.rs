//! The native half of the Python package `gelu`: thin wrappers, typed in `python/gelu/_native.pyi`. What users call,
//! and its documentation, is in `python/gelu`.
//!
//! | file | idea |
//! |---|---|
//! | `model` | a model: made from weights, loaded, saved, audited, evaluated in the clear |
//! | `schema` | what a model's inputs and classes mean |
//! | `keys` | the client's key pair, in memory or in a file; the certificates of a local server |
//! | `session` | a session with a server: queries and training |
//! | `line` | what it does, interruptible, without the interpreter's lock, for each cryptosystem |
//! | `program` | the program `gelu` inside an interpreter |
//! | `errors` | Rust's errors as Python's exceptions |
#![forbid(unsafe_code)]

mod errors;
mod keys;
mod line;
mod model;
mod program;
mod schema;
mod session;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use gelu_cli::args::Cryptosystem;
use gelu_cli::backend::Backend;
use pyo3::prelude::*;

/// The native module, `gelu._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::keys::{Key, issue_client, make_authority};
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::program::main;
    #[pymodule_export]
    use super::schema::Schema;
    #[pymodule_export]
    use super::session::Session;
}

/// A cryptosystem by its name, with keys of its default size or of `bits` bits.
fn cryptosystem(backend: &str, bits: Option<u32>) -> Result<Cryptosystem> {
    let backend = Backend::from_str(backend, false).map_err(|_| {
        let known: Vec<_> = Backend::value_variants().iter().map(|backend| backend.id()).collect();
        anyhow!("there is no backend {backend:?} in this build; choose one of {}", known.join(", "))
    })?;
    let of_default = Cryptosystem::default_of(backend);
    let Some(key_bits) = bits else { return Ok(of_default) };
    backend.check_key_bits(key_bits).map_err(|why| anyhow!(why))?;
    Ok(Cryptosystem { key_bits, key_bits_given: true, ..of_default })
}
