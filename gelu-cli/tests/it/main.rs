//! The program from outside: one binary, since each that is linked takes as long as many tests.

mod accounts;
mod cli;
#[cfg(unix)]
mod endings;
mod help_examples;
mod import;
mod leases;
mod logs;
mod manual;
mod meaning;
mod partial;
mod predict;
#[cfg(all(unix, feature = "lattice"))]
mod quick_starts;
#[cfg(unix)]
mod service;
mod sessions;
mod sums;
mod tables;
mod transfer;
#[cfg(feature = "lattice")]
mod transfer_ckks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

/// The folder of the well-known data sets, if it is there.
fn data() -> Option<PathBuf> {
    let named = std::env::var_os("GELU_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = named.or(Some(beside)).and_then(|folder| folder.canonicalize().ok());
    if found.is_none() {
        println!("SKIP: no data; set GELU_DATA to the folder of the data sets");
    }
    found
}

/// The program in a folder, without data sets.
fn gelu(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("gelu"));
    command.current_dir(folder).env_remove("GELU_DATA").args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    gelu(folder, arguments).output().unwrap()
}

/// On its standard error.
fn said(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).unwrap()
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

/// A table of `inputs` columns and `classes` classes, `rows` rows of each.
fn table(folder: &Path, name: &str, inputs: usize, classes: usize, rows: usize) {
    let header = (0..inputs).map(|i| format!("x{i},")).collect::<String>() + "class\n";
    let row = |i: usize| {
        let class = i % classes;
        let value = |j: usize| format!("{},", (i * (j + 3) + j * j) % 17 + 4 * class);
        (0..inputs).map(value).collect::<String>() + &format!("c{class}\n")
    };
    let rows = (0..rows * classes).map(row).collect::<String>();
    std::fs::write(folder.join(name), header + &rows).unwrap();
}

/// Weights as they are drawn, for the data in `csv`: `model.safetensors`.
fn untrained_model(folder: &Path, csv: &str) {
    let train = ["train", "--plaintext", "--csv", csv, "--epochs", "0", "--precision", "training"];
    json(folder, &[&train[..], &["--out", "model.safetensors"]].concat());
}

/// Waits for the end of a process that was asked to end. One that does not is killed, so that its test fails by name
/// and does not wait for ever.
fn ended(child: &mut Child) -> ExitStatus {
    let limit = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > limit {
            child.kill().unwrap();
            panic!("process {} did not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `gelu serve --json` and waits until it listens; where.
fn listening(serve: &mut Command) -> (Child, String) {
    let mut child = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    (child, ready["address"].as_str().unwrap().to_owned())
}

/// A server process of `model.safetensors` that encrypts nothing; with certificates for alice and bob, if the
/// folder has none.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(folder: &Path, more: &[&str]) -> Self {
        if !folder.join("certs").exists() {
            for arguments in
                [&["certs", "init"][..], &["certs", "add", "alice"], &["certs", "add", "bob"]]
            {
                assert!(run(folder, arguments).status.success());
            }
        }
        let serve = ["serve", "--json", "--model", "model.safetensors", "--listen", "127.0.0.1:0"];
        let mut serve = gelu(folder, &[&serve[..], &CLEAR, &["--stop-with-stdin"], more].concat());
        let (child, address) = listening(serve.stderr(Stdio::null()));
        Self { child, address }
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(ended(&mut self.child).success(), "a clean shutdown");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CLEAR: [&str; 2] = ["--backend", "insecure-clear"];
