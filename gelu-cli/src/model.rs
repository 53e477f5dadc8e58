//! Model files: read with errors that name the file and say how to get another.

use std::path::Path;

use anyhow::{Error, Result};
use gelu_nn::Model;
use gelu_nn::error::ModelFileError;

use crate::problem::{advised, of_io};

/// What writes models of any kind.
const TRAIN: &str = "gelu train --plaintext --network NAME --out FILE";

/// Reads a model.
///
/// # Errors
/// Names the file, says what is wrong with it and what to do next.
pub(crate) fn load(path: &Path) -> Result<Model> {
    load_made_by(TRAIN, path)
}

/// The same of a model that `command` writes.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_made_by(command: &str, path: &Path) -> Result<Model> {
    Model::load(path).map_err(|error| {
        let next = next_step(&error, command);
        let named = match &error {
            // It names the file by itself.
            gelu_nn::Error::Io { .. } => error.into(),
            _ => Error::from(error).context(path.display().to_string()),
        };
        advised(named, next)
    })
}

fn next_step(error: &gelu_nn::Error, command: &str) -> String {
    use gelu_nn::Error as Nn;
    match error {
        Nn::Io { source, .. } => {
            let path = of_io(source).unwrap_or("check the path");
            format!("{path}, or make a model with `{command}`")
        }
        Nn::ModelFile(
            ModelFileError::Safetensors(_)
            | ModelFileError::NoMetadata(_)
            | ModelFileError::TooLarge { .. },
        ) => format!(
            "`gelu import` makes a model of a file from elsewhere, `{command}` makes one of data"
        ),
        Nn::ModelFile(ModelFileError::Format { .. }) => {
            format!("use the version of gelu that wrote it, or make it again with `{command}`")
        }
        _ => format!(
            "the file is damaged: restore it from a backup, or make it again with `{command}`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::explain;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let said = || explain(&load(&path).unwrap_err());
        let missing = said();
        assert!(missing.contains("m.safetensors: No such file"), "{missing}");
        assert!(
            missing.contains("next: check the path, or make a model with `gelu train"),
            "{missing}"
        );
        std::fs::write(&path, b"\x08\x07pytorch, or onnx").unwrap();
        let other = said();
        assert!(other.contains("m.safetensors: model file: a header of"), "{other}");
        assert!(other.contains("next: `gelu import` makes a model"), "{other}");
        // Somebody else's tensors: an empty header.
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
        let theirs = said();
        assert!(
            theirs.contains("not written by gelu") && theirs.contains("gelu import"),
            "{theirs}"
        );
    }
}
