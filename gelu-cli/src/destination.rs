//! Whether a file can be written, asked before the work whose result it is to hold.

use std::path::Path;

use anyhow::{Context, Result};

use crate::problem::problem;

/// Checks that a file can be made at `path`; nothing is left behind.
pub(crate) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(problem(format!("{} is a folder", path.display()), "name a file in it"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
        .map(|_| ())
        .with_context(|| format!("cannot write to {}", path.display()))
}
