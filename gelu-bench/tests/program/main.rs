//! The program `gelu-bench` as its users meet it.

mod attacks;
mod evidence;
mod links;

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn gelu_bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("gelu-bench").unwrap();
    command.current_dir(folder).env_remove("GELU_DATA").env_remove("GELU_PEERS").args(arguments);
    command
}

/// Succeeds; what it printed.
fn json(folder: &Path, arguments: &[&str]) -> Value {
    let run = gelu_bench(folder, arguments).arg("--json").assert().success();
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}
