//! What happens on a server: for logs, metrics and tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use gelu_core::message::ClientMessage;

/// Looks on. Called on the server's own threads: return soon. A panic in it ends nothing.
pub trait Observer: Send + Sync + 'static {
    /// Something has happened.
    fn event(&self, _event: &ServerEvent) {}

    /// The tap: a message from `account`, decoded, just before the server's machine takes it.
    ///
    /// This is all that the server ever learns from a client, so tests of the client's privacy
    /// search here. It holds ciphertexts and masked updates; what it must never hold is an
    /// activation, a label or a gradient in the clear.
    fn received(&self, _account: &str, _message: &ClientMessage) {}
}

/// Looks away.
impl Observer for () {}

/// What can happen on a server. Nothing in it is secret of either party.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A trained model came without a ledger, so an empty one was begun: whatever accounts have
    /// been shown before counts no more.
    LedgerMissing {
        /// The model's version.
        version: u64,
        /// Where the ledger should have been.
        ledger: PathBuf,
    },
    /// Somebody has come, and is not yet known.
    Connected {
        /// From where.
        peer: SocketAddr,
    },
    /// Somebody was sent away before the greeting was over.
    TurnedAway {
        /// From where.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A session has begun.
    Accepted {
        /// Its account.
        account: String,
        /// From where.
        peer: SocketAddr,
    },
    /// A client has joined the line for the lease.
    Queued {
        /// Its account.
        account: String,
        /// How many are before it.
        position: u32,
    },
    /// A lease has begun.
    LeaseGranted {
        /// The account that holds it.
        account: String,
        /// The version that it starts from.
        base: u64,
        /// Mini-batches.
        steps: u32,
        /// Samples of each.
        batch: usize,
    },
    /// A lease has become a version, which is stored.
    Committed {
        /// The account that held it.
        account: String,
        /// The new version.
        version: u64,
    },
    /// A lease has ended without a trace.
    RolledBack {
        /// The account that held it.
        account: String,
        /// Why.
        reason: String,
    },
    /// A client was told no; its session goes on.
    Refused {
        /// Its account.
        account: String,
        /// What it was told.
        reason: String,
    },
    /// A message of the protocol has come or gone.
    Message {
        /// The session's account.
        account: String,
        /// Its direction.
        way: Way,
        /// Its name.
        name: &'static str,
        /// Its bytes on the wire, before TLS.
        bytes: u64,
    },
    /// The disk failed us; what depended on it was refused.
    StoreFailed {
        /// Which file, and what the operating system said.
        reason: String,
    },
    /// A session has ended.
    Left {
        /// Its account.
        account: String,
        /// Why, unless the client said goodbye.
        error: Option<String>,
    },
}

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// What a server has done from its start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sessions that began.
    pub sessions: u64,
    /// Connections that ended before their greeting was over.
    pub turned_away: u64,
    /// Sessions that ended in an error.
    pub failed: u64,
    /// Leases granted.
    pub leases: u64,
    /// Leases that became a version.
    pub committed: u64,
    /// Leases that left no trace.
    pub rolled_back: u64,
    /// Requests refused.
    pub refused: u64,
    /// Messages of the protocol, by direction and name.
    pub traffic: BTreeMap<(Way, &'static str), Traffic>,
}

/// Messages of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// Their bytes on the wire, before TLS.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

impl Summary {
    pub(super) fn count(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::Accepted { .. } => self.sessions += 1,
            ServerEvent::TurnedAway { .. } => self.turned_away += 1,
            ServerEvent::LeaseGranted { .. } => self.leases += 1,
            ServerEvent::Committed { .. } => self.committed += 1,
            ServerEvent::RolledBack { .. } => self.rolled_back += 1,
            ServerEvent::Refused { .. } => self.refused += 1,
            ServerEvent::Message { way, name, bytes, .. } => {
                self.traffic.entry((*way, *name)).or_default().count(*bytes);
            }
            ServerEvent::Left { error: Some(_), .. } => self.failed += 1,
            ServerEvent::Left { error: None, .. }
            | ServerEvent::LedgerMissing { .. }
            | ServerEvent::Connected { .. }
            | ServerEvent::Queued { .. }
            | ServerEvent::StoreFailed { .. } => {}
        }
    }
}

impl ServerEvent {
    /// One line for the log.
    pub(super) fn log(&self) {
        match self {
            Self::LedgerMissing { version, ledger } => {
                let ledger = ledger.display();
                tracing::warn!(version, %ledger, "a trained model without a ledger: begins an empty one");
            }
            Self::Connected { peer } => tracing::debug!(%peer, "connected"),
            Self::TurnedAway { peer, reason } => tracing::warn!(%peer, reason, "turned away"),
            Self::Accepted { account, peer } => tracing::info!(account, %peer, "session begins"),
            Self::Queued { account, position } => {
                tracing::info!(account, position, "waits for a lease");
            }
            Self::LeaseGranted { account, base, steps, batch } => {
                tracing::info!(account, base, steps, batch, "lease granted");
            }
            Self::Committed { account, version } => tracing::info!(account, version, "committed"),
            Self::RolledBack { account, reason } => {
                tracing::warn!(account, reason, "lease rolled back");
            }
            Self::Refused { account, reason } => tracing::info!(account, reason, "refused"),
            Self::Message { account, way, name, bytes } => {
                tracing::trace!(account, ?way, name, bytes, "message");
            }
            Self::StoreFailed { reason } => tracing::error!(reason, "the disk failed"),
            Self::Left { account, error: None } => tracing::info!(account, "session ends"),
            Self::Left { account, error: Some(error) } => {
                tracing::warn!(account, error, "session failed");
            }
        }
    }
}

/// Calls an observer or writes to the log. Whatever is on the other end (a closed pipe, somebody
/// else's code), a panic there must not end a session, let alone the server.
pub(super) fn guarded(look: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(look));
}
