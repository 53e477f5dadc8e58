//! A lease in progress: the first place in the line of this server, and the store's one lease of the model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gelu_store::{SILENCE, Store, Turn};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::observer::guarded;
use super::queue::Ticket;
use crate::compute::{beside, spawn_blocking};
use crate::error::Result;

/// A lease that this server holds. Dropping it ends it without a trace; then the next one follows.
pub(super) struct Lease {
    /// When it must be over.
    pub(super) until: Instant,
    held: Held,
}

/// A turn in the store, which is given back however this ends.
struct Held {
    ticket: Option<Ticket>,
    store: Store,
    lease: gelu_store::Lease,
    beat: Option<AbortHandle>,
    /// Why it ends, unless it was committed.
    reason: Option<String>,
}

/// A place in the line of the store.
#[derive(Clone)]
struct Place {
    store: Store,
    model: String,
    replica: String,
}

/// A place that may have to be given up.
struct Waiting {
    place: Place,
    waits: bool,
}

impl Lease {
    /// Waits for the first place of `ticket`, then for the store's turn. `before` is told how many other servers
    /// are before this one. Cancelling this gives the place up.
    pub(super) async fn take(
        ticket: Ticket,
        store: &Store,
        [model, replica, account]: [&str; 3],
        before: &AtomicU32,
        longest: Duration,
    ) -> Result<Self> {
        ticket.turn().await;
        let (model, replica) = (model.to_owned(), replica.to_owned());
        let place = Place { store: store.clone(), model, replica };
        let mut waiting = Waiting { place, waits: false };
        let account: Arc<str> = account.into();
        let mut ticket = Some(ticket);
        loop {
            let (place, account) = (waiting.place.clone(), Arc::clone(&account));
            let mine = ticket.take();
            // What is granted while nobody waits any more is given back, because it is dropped there.
            match beside(move || place.ask(&account, mine)).await?? {
                Ok(mut held) => {
                    waiting.waits = false;
                    held.begin_beating();
                    return Ok(Self { until: Instant::now() + longest, held });
                }
                Err((mine, servers)) => {
                    ticket = mine;
                    waiting.waits = true;
                    before.store(servers, Ordering::Relaxed);
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// What the store knows it by.
    pub(super) fn key(&self) -> gelu_store::Lease {
        self.held.lease.clone()
    }

    /// Ends it; its commit is stored.
    pub(super) fn committed(mut self) {
        self.held.reason = None;
    }

    /// Ends it without a trace.
    pub(super) fn rolled_back(mut self, reason: &str) {
        self.held.reason = Some(reason.to_owned());
    }
}

/// How often a server asks whether it is its turn.
const AGAIN: Duration = Duration::from_millis(250);

type Asked = std::result::Result<Held, (Option<Ticket>, u32)>;

impl Place {
    fn ask(&self, account: &str, ticket: Option<Ticket>) -> Result<Asked> {
        Ok(match self.store.ask_turn(&self.model, &self.replica, account)? {
            Turn::Granted(lease) => {
                let store = self.store.clone();
                Ok(Held {
                    ticket,
                    store,
                    lease,
                    beat: None,
                    reason: Some("its session ended".into()),
                })
            }
            Turn::Waits(servers) => Err((ticket, servers)),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.waits {
            let place = self.place.clone();
            in_background(move || place.store.leave_line(&place.model, &place.replica));
        }
    }
}

impl Held {
    /// Tells other servers of the store that this one lives.
    fn begin_beating(&mut self) {
        if !self.store.is_shared() {
            return;
        }
        let (store, lease) = (self.store.clone(), self.lease.clone());
        let beat = tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(SILENCE / 4)).await;
                let (store, lease) = (store.clone(), lease.clone());
                let kept = beside(move || store.keep_lease(&lease)).await;
                if let Ok(Err(error)) = kept {
                    guarded(|| tracing::warn!(%error, "a lease could not be kept"));
                }
            }
        });
        self.beat = Some(beat.abort_handle());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(beat) = &self.beat {
            beat.abort();
        }
        let Some(reason) = self.reason.take() else { return };
        let (ticket, store, lease) = (self.ticket.take(), self.store.clone(), self.lease.clone());
        in_background(move || {
            let ended = store.end_lease(&lease, &reason);
            drop(ticket); // whose turn is next
            ended
        });
    }
}

/// Not on a thread of the sockets: a store may be far away.
fn in_background(work: impl FnOnce() -> gelu_store::Result<()> + Send + 'static) {
    let work = move || {
        if let Err(error) = work() {
            guarded(|| tracing::warn!(%error, "a place in the line could not be given back"));
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(_) => drop(spawn_blocking(work)),
        Err(_) => work(),
    }
}
