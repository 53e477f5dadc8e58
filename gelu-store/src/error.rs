//! Why the store says no.

use std::io;
use std::path::{Path, PathBuf};

use gelu_core::error::Refused;

/// A store's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store says no. Nothing has been changed, but for what [`Engine`](crate::Engine) says of a failed commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bound of the ledger, or a quota, would be crossed.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The disk or the database failed. Without the booking there is no answer.
    #[error("the store failed: {0}")]
    Engine(String),
    /// Another process has the file.
    #[error("{}: another process uses this store; stop it first", .0.display())]
    InUse(PathBuf),
    /// There are no books at a place.
    #[error("there are no books at {0}")]
    NoStore(String),
    /// What is stored under a key cannot be read.
    #[error("the store is damaged at {key:?}: {why}; restore it from a backup")]
    Damaged {
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// A file that is read or written beside the store.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A file that was to be made is there.
    #[error("{}: there is a file of this name; nothing is overwritten, choose another", .0.display())]
    Exists(PathBuf),
    /// The lease is no longer this session's, or its version is no longer the last one.
    #[error("this lease has ended: {0}")]
    LeaseLost(String),
}

impl Error {
    /// What the system says of a file.
    pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), why: error.to_string() }
    }
}
