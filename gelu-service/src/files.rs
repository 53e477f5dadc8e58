//! The files of a server, with errors that name them; what makes them whole stands in `gelu-files`.

use std::io;
use std::path::Path;

use gelu_files::{Access, Lock, LockError};

use crate::error::{FileError, FileProblem, Result};

/// What was found, or `None` where there is nothing. All that fails in another way is there and cannot
/// be read now: a ledger like that must not be begun anew, which would forget what it counts.
pub(crate) fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Replaces the file behind `path` by `bytes`, so that after a crash at any moment it holds the old
/// bytes or the new ones; when this returns, the new ones are on the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    gelu_files::replace(path, bytes, Access::Shared).map_err(FileError::at(path))
}

/// The same for a file that its owner alone may read.
pub(crate) fn replace_secret(path: &Path, text: &str) -> Result<(), FileError> {
    gelu_files::replace(path, text.as_bytes(), Access::Secret).map_err(FileError::at(path))
}

/// Writes a file that must not exist yet, readable by its owner alone if it is `private`: whole, or
/// not at all.
pub(crate) fn create(path: &Path, text: &str, private: bool) -> Result<(), FileError> {
    let access = if private { Access::Secret } else { Access::Shared };
    gelu_files::create(path, text.as_bytes(), access).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::at(path)(FileProblem::Exists),
        _ => FileError::at(path)(error),
    })
}

/// Takes the file behind `path` for this process alone.
pub(crate) fn lock(path: &Path) -> Result<Lock, FileError> {
    Lock::take(path).map_err(|error| match error {
        LockError::InUse => FileError::at(path)(FileProblem::InUse),
        LockError::Io(error) => FileError::at(path)(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_there() {
        use io::ErrorKind::{Interrupted, NotADirectory, NotFound, Other, PermissionDenied};
        assert_eq!(if_there(Ok(7)).unwrap(), Some(7));
        assert_eq!(if_there::<()>(Err(NotFound.into())).unwrap(), None);
        for kind in [PermissionDenied, NotADirectory, Interrupted, Other] {
            assert_eq!(if_there::<()>(Err(kind.into())).unwrap_err().kind(), kind);
        }
    }
}
