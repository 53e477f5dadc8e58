//! The program from outside: one binary, since each that is linked takes as long as many tests.

mod cli;
#[cfg(unix)]
mod endings;
mod help_examples;
mod leases;
mod partial;
mod sessions;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

/// The program in a folder, without data sets.
fn gelu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("gelu"));
    command.current_dir(folder).env_remove("GELU_DATA").args(arguments);
    command
}

/// Succeeds, with an object.
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let run = gelu(folder, arguments).arg("--json").assert().success();
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}

/// A folder with certificates, and a fresh model for iris that can be trained, `model.safetensors`.
fn with_certificates_and_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    gelu(folder.path(), &["certs", "init"]).assert().success();
    let train = ["train", "--plaintext", "--dataset", "iris", "--epochs", "0"];
    let out = ["--precision", "training", "--out", "model.safetensors"];
    json(folder.path(), &[&train[..], &out].concat());
    folder
}

/// Starts `gelu serve --json` and waits until it listens; where.
fn listening(serve: &mut Command) -> (Child, String) {
    let mut child = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    (child, ready["address"].as_str().unwrap().to_owned())
}

const CLEAR: [&str; 2] = ["--backend", "insecure-clear"];
