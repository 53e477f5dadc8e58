//! Errors, sorted by who must act.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gelu_core::error::{PeerIncompatible, PeerMisbehaved, Refused};

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

/// A frame that breaks the rules of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// More bytes than either side may put into one frame.
    #[error("a frame of more than {limit} bytes")]
    TooLarge {
        /// The limit in force.
        limit: usize,
    },
    /// A frame was dropped, repeated or moved.
    #[error("expected frame {expected}, got frame {got}")]
    OutOfOrder {
        /// The number that comes next.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The first frame of a client is no greeting.
    #[error("not a greeting of this protocol")]
    NoGreeting,
}

/// Why the peer ended the session: all that it says, and all that it should.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Goodbye {
    /// For any misbehaviour alike: an attacker learns nothing from it.
    #[error("the peer has ended the session")]
    Ended,
    /// We were silent too long, or held a lease too long.
    #[error("the peer has ended the session: a time limit was exceeded")]
    TimeLimit,
    /// Our certificate is valid, but its Common Name is no account.
    #[error("the certificate names no account; ask for one whose Common Name is your account")]
    NoAccount,
    /// The server is being shut down.
    #[error("the server is shutting down; connect again later")]
    ShuttingDown,
    /// As many sessions as the server takes.
    #[error("the server is busy; come back in {seconds} s")]
    Busy {
        /// When it expects to have room.
        seconds: u16,
    },
    /// As many sessions of our account as the server takes.
    #[error(
        "this account has as many sessions as the server allows; close one, then connect again"
    )]
    TooManySessions,
    /// Our certificate was revoked.
    #[error("{}", REVOKED)]
    Revoked,
    /// As many sessions of our account as it may begin in a day.
    #[error(
        "this account has begun its {most} sessions of today; it may begin others in {}",
        in_words(*seconds)
    )]
    SessionsSpent {
        /// Sessions of a day.
        most: u64,
        /// Until the next day begins (UTC).
        seconds: u32,
    },
}

pub(crate) const REVOKED: &str =
    "the server's authority has revoked our certificate; ask it for a new one";

/// A time to wait, as people say it.
pub(crate) fn in_words(seconds: u32) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    }
}

impl Goodbye {
    /// What kind of end it is, in a word or two: for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::TimeLimit => "timeout",
            Self::NoAccount => "no account",
            Self::ShuttingDown => "shutting down",
            Self::Busy { .. } => "busy",
            Self::Revoked => "revoked",
            Self::SessionsSpent { .. } => "quota",
            Self::TooManySessions => "too many sessions",
        }
    }
}
