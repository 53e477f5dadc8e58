//! Files that are whole or not there: write aside, flush to the disk, rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{FileError, FileProblem, Result};

/// Replaces `path` by `bytes`, so that after a crash at any moment it holds the old bytes or the
/// new ones; when this returns, the new ones are on the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let aside = path.with_added_extension("new");
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_parent(path)
    };
    write().map_err(FileError::at(path))
}

/// Writes a file that must not exist yet, readable by its owner alone if it is `private`.
pub(crate) fn create(path: &Path, text: &str, private: bool) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if private { 0o600 } else { 0o644 });
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::at(path)(FileProblem::Exists),
        _ => FileError::at(path)(error),
    })
}

/// A rename is on the disk only when its folder is.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        #[cfg(unix)]
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        #[cfg(unix)]
        Some(folder) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Takes `path` for this process alone, by a lock beside it that ends with the process.
pub(crate) fn lock(path: &Path) -> Result<File, FileError> {
    let beside = path.with_added_extension("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&beside);
    let file = open.map_err(FileError::at(&beside))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(FileError::at(path)(FileProblem::InUse)),
        Err(fs::TryLockError::Error(error)) => Err(FileError::at(&beside)(error)),
    }
}
