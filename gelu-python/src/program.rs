//! The program `gelu` inside an interpreter: `python -m gelu`, and the console script.

use std::ffi::OsString;

use clap::Parser;
use gelu_cli::{Cli, local};
use pyo3::prelude::*;

/// Runs the program with `arguments` (the first is its name) and returns its exit code. `program` are the words that
/// start it, for server processes of its own.
///
/// To be called once in a process, on its main thread, before anything else of this module: it takes over logs and
/// signals. The interpreter's own handler of Ctrl-C must be off.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>, program: Vec<OsString>) -> u8 {
    py.detach(|| {
        local::started_by(program);
        match Cli::try_parse_from(arguments) {
            Ok(cli) => cli.run(),
            Err(usage) => {
                // Help that nobody reads is no error.
                let _ = usage.print();
                u8::try_from(usage.exit_code()).unwrap_or(1)
            }
        }
    })
}
