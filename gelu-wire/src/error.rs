//! Errors, sorted by who must act.

use gelu_core::error::{PeerIncompatible, PeerMisbehaved};

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What can be wrong with a peer's bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A frame that breaks the rules of the channel. The session has ended.
    #[error("the peer misbehaved: {0}")]
    Frame(#[from] FrameError),
    /// The peer sent what no honest peer sends. The session has ended.
    #[error("the peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// Both parties are honest and have nothing in common: version, backend or key size.
    #[error("the peers do not fit together: {0}")]
    PeerIncompatible(#[from] PeerIncompatible),
    /// What the protocol's core says of a card.
    #[error(transparent)]
    Core(#[from] gelu_core::Error),
    /// What `gelu-nn` says of the architecture or the schema on a card.
    #[error(transparent)]
    Model(#[from] gelu_nn::Error),
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
    /// As many computations for our account as it may have in a day.
    #[error(
        "this account has used its {most} computations of today; a new day begins in {}",
        in_words(*seconds)
    )]
    ComputationsSpent {
        /// Computations of a day.
        most: u64,
        /// Until the next day begins (UTC).
        seconds: u32,
    },
    /// As many bytes of our account's messages as it may have in a day.
    #[error(
        "this account has used its {most} bytes of today; a new day begins in {}",
        in_words(*seconds)
    )]
    BytesSpent {
        /// Bytes of a day.
        most: u64,
        /// Until the next day begins (UTC).
        seconds: u32,
    },
}

/// To whose certificate was revoked.
pub const REVOKED: &str =
    "the server's authority has revoked our certificate; ask it for a new one";

/// A time to wait, as people say it.
pub fn in_words(seconds: u32) -> String {
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
            Self::SessionsSpent { .. }
            | Self::ComputationsSpent { .. }
            | Self::BytesSpent { .. } => "quota",
            Self::TooManySessions => "too many sessions",
        }
    }
}
