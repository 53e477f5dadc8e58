//! What happens on a server: for logs, metrics and tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use gelu_core::message::ClientMessage;

use crate::error::Goodbye;

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
///
/// `kind` and `phase` are words of the program, so there are few of them: what counts events may sort by them. A `reason`
/// is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A version of a model is served from now on: at the start, and whenever it came from elsewhere than a lease.
    Serving {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
    },
    /// A model is served no more.
    Withdrawn {
        /// The model.
        model: String,
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
        /// Why: the [kind](crate::Error::kind) of error, or [`MADE_ROOM`].
        kind: &'static str,
        /// Why, in a sentence.
        reason: String,
    },
    /// A session has begun.
    Accepted {
        /// Its account.
        account: String,
        /// The model that it asks.
        model: String,
        /// From where.
        peer: SocketAddr,
    },
    /// A client has joined the line for the lease.
    Queued {
        /// Its account.
        account: String,
        /// The model that it wants to train.
        model: String,
        /// How many are before it.
        position: u32,
    },
    /// A client that was [queued](Self::Queued) waits no more: its turn has come, or it has left.
    Waited {
        /// Its account.
        account: String,
        /// The model that it wanted to train.
        model: String,
        /// How long it has waited.
        waited: Duration,
    },
    /// A lease has begun.
    LeaseGranted {
        /// The account that holds it.
        account: String,
        /// The model.
        model: String,
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
        /// The model.
        model: String,
        /// The new version.
        version: u64,
    },
    /// A lease has ended without a trace.
    RolledBack {
        /// The account that held it.
        account: String,
        /// The model.
        model: String,
        /// Why.
        reason: String,
    },
    /// A client was told no; its session goes on.
    Refused {
        /// Its account.
        account: String,
        /// The model that it asks.
        model: String,
        /// Why: the [kind](gelu_core::error::Error::kind) of refusal.
        kind: &'static str,
        /// What it was told.
        reason: String,
    },
    /// A message of the protocol has come or gone.
    Message {
        /// The session's account.
        account: String,
        /// The session's model.
        model: String,
        /// Its direction.
        way: Way,
        /// Its name.
        name: &'static str,
        /// Its bytes on the wire, before TLS.
        bytes: u64,
    },
    /// Something was computed for a session.
    Computed {
        /// The session's account.
        account: String,
        /// The session's model.
        model: String,
        /// The message that was worked on; or the one that the work leads to, where that is no answer; or
        /// [`PRECOMPUTE`].
        phase: &'static str,
        /// How long it waited for its turn among the sessions.
        waited: Duration,
        /// How long it took.
        took: Duration,
    },
    /// A session has new tickets for blind queries.
    TicketsMade {
        /// Its account.
        account: String,
        /// Its model.
        model: String,
        /// How many.
        tickets: usize,
    },
    /// A blind query has come: its tickets are gone, whatever the answer.
    TicketsSpent {
        /// The session's account.
        account: String,
        /// The session's model.
        model: String,
        /// How many: one for each sample.
        tickets: usize,
    },
    /// The store failed us; what depended on it was refused, or is tried again.
    StoreFailed {
        /// What it said.
        reason: String,
    },
    /// A session has ended.
    Left {
        /// Its account.
        account: String,
        /// The model that it asked.
        model: String,
        /// Why, unless the client said goodbye.
        ended: Option<Ended>,
    },
}

/// Why a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The [kind](crate::Error::kind) of error.
    pub kind: &'static str,
    /// In a sentence.
    pub reason: String,
}

/// The [kind](ServerEvent::TurnedAway) of those who had not greeted yet when a newer connection needed their place.
pub const MADE_ROOM: &str = "made room";
/// The [phase](ServerEvent::Computed) of what is made ready for the next query.
pub const PRECOMPUTE: &str = "Precompute";

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
            ServerEvent::Left { ended: Some(_), .. } => self.failed += 1,
            ServerEvent::Left { ended: None, .. }
            | ServerEvent::Serving { .. }
            | ServerEvent::Withdrawn { .. }
            | ServerEvent::Connected { .. }
            | ServerEvent::Queued { .. }
            | ServerEvent::Waited { .. }
            | ServerEvent::Computed { .. }
            | ServerEvent::TicketsMade { .. }
            | ServerEvent::TicketsSpent { .. }
            | ServerEvent::StoreFailed { .. } => {}
        }
    }
}

impl ServerEvent {
    /// One line for the log.
    pub(super) fn log(&self) {
        match self {
            Self::Serving { model, version } => tracing::info!(model, version, "serving"),
            Self::Withdrawn { model } => tracing::info!(model, "served no more"),
            Self::Connected { peer } => tracing::debug!(%peer, "connected"),
            Self::TurnedAway { peer, kind, reason } => {
                tracing::warn!(%peer, kind, reason, "turned away");
            }
            Self::Accepted { account, model, peer } => {
                tracing::info!(account, model, %peer, "session begins");
            }
            Self::Queued { account, model, position } => {
                tracing::info!(account, model, position, "waits for a lease");
            }
            Self::Waited { account, model, waited } => {
                tracing::info!(account, model, seconds = waited.as_secs_f64(), "waits no more");
            }
            Self::LeaseGranted { account, model, base, steps, batch } => {
                tracing::info!(account, model, base, steps, batch, "lease granted");
            }
            Self::Committed { account, model, version } => {
                tracing::info!(account, model, version, "committed");
            }
            Self::RolledBack { account, model, reason } => {
                tracing::warn!(account, model, reason, "lease rolled back");
            }
            Self::Refused { account, model, kind, reason } => {
                tracing::info!(account, model, kind, reason, "refused");
            }
            Self::Message { account, model, way, name, bytes } => {
                tracing::trace!(account, model, ?way, name, bytes, "message");
            }
            Self::Computed { account, model, phase, waited, took } => {
                let (waited, seconds) = (waited.as_secs_f64(), took.as_secs_f64());
                tracing::debug!(account, model, phase, waited, seconds, "computed");
            }
            Self::TicketsMade { account, model, tickets } => {
                tracing::debug!(account, model, tickets, "tickets made");
            }
            Self::TicketsSpent { account, model, tickets } => {
                tracing::debug!(account, model, tickets, "tickets spent");
            }
            Self::StoreFailed { reason } => tracing::error!(reason, "the store failed"),
            Self::Left { account, model, ended: None } => {
                tracing::info!(account, model, "session ends");
            }
            // Whoever stops a server knows that it stops.
            Self::Left { account, model, ended: Some(Ended { kind, reason }) }
                if *kind == Goodbye::ShuttingDown.kind() =>
            {
                tracing::info!(account, model, reason, "session ends");
            }
            Self::Left { account, model, ended: Some(Ended { kind, reason }) } => {
                tracing::warn!(account, model, kind, reason, "session failed");
            }
        }
    }
}

/// Calls an observer or writes to the log. Whatever is on the other end (a closed pipe, somebody
/// else's code), a panic there must not end a session, let alone the server.
pub(super) fn guarded(look: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(look));
}
