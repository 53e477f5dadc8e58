//! Errors, sorted by who must act.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gelu_core::error::{PeerIncompatible, PeerMisbehaved, Refused};
pub(crate) use gelu_wire::error::{REVOKED, in_words};
pub use gelu_wire::{FrameError, Goodbye};

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Everything that can go wrong between two machines, sorted by who must act.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of ours is missing, unreadable or damaged: our operator acts.
    #[error(transparent)]
    File(#[from] FileError),
    /// A setting that cannot work: our operator acts.
    #[error("{what}: {why}")]
    Configuration {
        /// The setting.
        what: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// The network does not carry us there, or the address is taken.
    #[error("{doing}: {source}")]
    Network {
        /// What we were doing.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The peers do not trust each other's certificates.
    #[error("the secure channel cannot be opened: {0}")]
    Tls(String),
    /// Both parties are honest and have nothing in common: version, backend or key size.
    #[error("the peers do not fit together: {0}")]
    PeerIncompatible(#[from] PeerIncompatible),
    /// The peer sent what no honest peer sends. The session has ended.
    #[error("the peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// A frame that breaks the rules of the channel. The session has ended.
    #[error("the peer misbehaved: {0}")]
    Frame(#[from] FrameError),
    /// The ledger or the operator's policy says no.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The peer was silent, or took longer than allowed.
    #[error("{waiting_for} took longer than {} seconds; the session has ended", limit.as_secs_f32())]
    Timeout {
        /// What we waited for.
        waiting_for: &'static str,
        /// How long we were ready to wait.
        limit: Duration,
    },
    /// The connection broke without a goodbye.
    #[error("the connection was lost while {doing}; connect again")]
    ConnectionLost {
        /// What we were doing.
        doing: &'static str,
    },
    /// The peer has ended the session and said why.
    #[error("{0}")]
    Ended(#[from] Goodbye),
    /// An earlier error or an early end has closed this session.
    #[error("this session is over; connect again")]
    SessionOver,
    /// What the protocol's machine of our own side says.
    #[error(transparent)]
    Protocol(gelu_core::Error),
    /// What `gelu-nn` says about a model or its file.
    #[error(transparent)]
    Model(#[from] gelu_nn::Error),
    /// The books: what they refuse is [`Error::Refused`].
    #[error(transparent)]
    Store(gelu_store::Error),
    /// A mistake in this program: a computation panicked.
    #[error("a mistake in this program: {0}; please report it")]
    Bug(String),
}

impl Error {
    /// What kind of error it is, in a word or two: for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Configuration { .. } => "configuration",
            Self::Network { .. } => "network",
            Self::Tls(_) => "tls",
            Self::PeerIncompatible(_) => "incompatible",
            Self::PeerMisbehaved(_) | Self::Frame(_) => "misbehaved",
            Self::Refused(refused) => refused.kind(),
            Self::Timeout { .. } => "timeout",
            Self::ConnectionLost { .. } => "connection lost",
            Self::Ended(goodbye) => goodbye.kind(),
            Self::SessionOver => "session over",
            Self::Protocol(error) => error.kind(),
            Self::Model(_) => "model",
            Self::Store(_) => "store",
            Self::Bug(_) => "bug",
        }
    }

    pub(crate) fn network(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Network { doing, source }
    }

    pub(crate) fn configuration(what: &'static str, why: impl Into<String>) -> Self {
        Self::Configuration { what, why: why.into() }
    }
}

/// Keeps the kinds of error that both crates know apart from the rest.
impl From<gelu_core::Error> for Error {
    fn from(error: gelu_core::Error) -> Self {
        match error {
            gelu_core::Error::PeerIncompatible(e) => Self::PeerIncompatible(e),
            gelu_core::Error::PeerMisbehaved(e) => Self::PeerMisbehaved(e),
            gelu_core::Error::Refused(e) => Self::Refused(e),
            other => Self::Protocol(other),
        }
    }
}

/// What this crate says of a peer's bytes, it says alike.
impl From<gelu_wire::Error> for Error {
    fn from(error: gelu_wire::Error) -> Self {
        match error {
            gelu_wire::Error::Frame(e) => Self::Frame(e),
            gelu_wire::Error::PeerMisbehaved(e) => Self::PeerMisbehaved(e),
            gelu_wire::Error::PeerIncompatible(e) => Self::PeerIncompatible(e),
            gelu_wire::Error::Core(e) => e.into(),
            gelu_wire::Error::Model(e) => Self::Model(e),
        }
    }
}

impl From<gelu_store::Error> for Error {
    fn from(error: gelu_store::Error) -> Self {
        match error {
            gelu_store::Error::Refused(refused) => Self::Refused(refused),
            other => Self::Store(other),
        }
    }
}

/// A file that stops us.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    #[source]
    pub problem: FileProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// The operating system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is there, and we never overwrite a key or a certificate.
    #[error("exists already; remove it yourself if it is no longer needed")]
    Exists,
    /// It does not hold what it should.
    #[error("not {expected}: {why}")]
    Damaged {
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A certificate of ours that no peer would accept.
    #[error("{0}")]
    Certificate(String),
    /// Another process works with it.
    #[error("in use by another server; stop that one first or name another file")]
    InUse,
    /// Another process works with the authority.
    #[error("another gelu works with this authority; run the command again when it has ended")]
    InUseByAnother,
}

impl FileError {
    pub(crate) fn at<P: Into<FileProblem>>(path: &Path) -> impl FnOnce(P) -> Self {
        let path = path.to_owned();
        move |problem| Self { path, problem: problem.into() }
    }

    pub(crate) fn damaged(path: &Path, expected: &'static str, why: impl ToString) -> Self {
        let why = why.to_string();
        Self { path: path.to_owned(), problem: FileProblem::Damaged { expected, why } }
    }
}
