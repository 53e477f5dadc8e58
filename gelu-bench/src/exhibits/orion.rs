//! Packed CKKS by way of Orion (Python, Lattigo inside), in a process of its own.
//!
//! Needs a Python environment that has Orion: `bash gelu-bench/peers/setup DIR` makes one, and the
//! environment variable `GELU_PEERS` names it. The script is that of the checkout which this program was
//! built from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use gelu_cli::signals::TempFolder;
use gelu_nn::{Dataset, Model};
use serde::Deserialize;

use crate::Error;

/// What the script prints. It ends with an error unless all answers are those of the clear network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Answered {
    /// Whole queries, from pixels to scores.
    pub(super) runs_s: Vec<f64>,
    pub(super) predictions: Vec<usize>,
    /// The largest difference of a score from the same in the clear.
    pub(super) max_error: f64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) key_bytes: u64,
    pub(super) security: String,
}

/// The Python environment, if one is named.
pub(super) fn environment() -> Option<PathBuf> {
    std::env::var_os("GELU_PEERS").map(PathBuf::from)
}

/// Classifies `images` with a trained network of squares, `conv1` or `lenet5`.
///
/// # Errors
/// [`Error::Program`] with what the script said last.
pub(super) fn run(
    environment: &Path,
    network: &str,
    model: &Model,
    images: &Dataset,
    runs: usize,
) -> Result<Answered> {
    let folder = TempFolder::create()?;
    let (weights, pixels) =
        (folder.path().join("model.safetensors"), folder.path().join("images.json"));
    model.save(&weights)?;
    let columns: Vec<Vec<f64>> =
        images.features().columns().into_iter().map(|c| c.to_vec()).collect();
    std::fs::write(&pixels, serde_json::to_vec(&columns)?).context("cannot write the images")?;
    let mut command = Command::new(environment.join("bin/python"));
    command.arg(SCRIPT).args(["--network", network, "--runs", &runs.to_string()]);
    command.arg("--weights").arg(&weights).arg("--images").arg(&pixels);
    let output = command.stdin(Stdio::null()).output();
    let failed = |reason: String| Error::Program { program: "orion_networks.py".into(), reason };
    let output = output.map_err(|error| failed(format!("{}: {error}", environment.display())))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason");
        return Err(failed(last.to_owned()).into());
    }
    parse(&output.stdout).map_err(|error| failed(error.to_string()).into())
}

/// The object is the last line; libraries may print before it.
fn parse(output: &[u8]) -> serde_json::Result<Answered> {
    let mut lines = output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    serde_json::from_slice(lines.next_back().unwrap_or_default())
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/orion_networks.py");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let output = b"loading\n{\"runs_s\": [0.5], \"predictions\": [7], \"max_error\": 0.01, \
            \"bytes_up\": 1, \"bytes_down\": 2, \"key_bytes\": 3, \"security\": \"128 bits\", \"threads\": 2}\n";
        let answered = parse(output).unwrap();
        assert_eq!((answered.runs_s, answered.predictions), (vec![0.5], vec![7]));
        assert!(parse(b"").is_err());
    }

    #[test]
    fn a_missing_environment_is_said() {
        let iris = Dataset::iris();
        let model = crate::networks::tests_model();
        let error = run(Path::new("/nowhere"), "conv1", &model, &iris.head(1), 1).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::Program { .. })), "{error}");
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
