//! What all parts of a run share: its seed, the faults that are left, the clock of the books, the trace, the verdict.

use std::fmt::{self, Display};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::witness::Witness;

/// See the [module](self).
pub(crate) struct World {
    state: Mutex<State>,
    witness: Mutex<Witness>,
}

struct State {
    rng: ChaCha20Rng,
    trace: Sha256,
    counts: Counts,
    /// Faults that are still to come.
    faults: u32,
    /// When the run began.
    began: Option<Instant>,
    /// By how much the clock of the books is off, in milliseconds.
    off: i64,
    broken: Option<Broken>,
}

/// What has happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Servers that died.
    pub crashes: u64,
    /// Writes that failed: the disk was full, or the reply of shared books was lost.
    pub failed_writes: u64,
    /// Links that broke.
    pub cuts: u64,
    /// Links that were silent for a while.
    pub silences: u64,
    /// Jumps of the clock.
    pub jumps: u64,
    /// Clients that went away in the middle.
    pub cancelled: u64,
    /// Samples that were answered.
    pub samples: u64,
    /// Versions that clients were told of.
    pub versions: u64,
    /// Tickets of blind queries that were answered.
    pub tickets: u64,
}

impl Counts {
    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        Self {
            crashes: self.crashes + more.crashes,
            failed_writes: self.failed_writes + more.failed_writes,
            cuts: self.cuts + more.cuts,
            silences: self.silences + more.silences,
            jumps: self.jumps + more.jumps,
            cancelled: self.cancelled + more.cancelled,
            samples: self.samples + more.samples,
            versions: self.versions + more.versions,
            tickets: self.tickets + more.tickets,
        }
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crashes, failed_writes, cuts, silences, jumps, cancelled, .. } = self;
        let Self { samples, versions, tickets, .. } = self;
        write!(
            f,
            "{crashes} crashes, {failed_writes} failed writes, {cuts} cut links, {silences} silent ones, {jumps} clock \
             jumps, {cancelled} clients that went away; {samples} samples answered, {versions} versions, {tickets} \
             tickets"
        )
    }
}

/// A law that a run has broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// See the [laws](crate).
    #[error("an answer was not booked: {0}")]
    Unbooked(String),
    /// A version is not whole.
    #[error("a version is not whole: {0}")]
    Version(String),
    /// A lease.
    #[error("a lease has not committed once: {0}")]
    Lease(String),
    /// A ticket.
    #[error("a ticket was not used once: {0}")]
    Ticket(String),
    /// The books.
    #[error("the books do not agree with themselves: {0}")]
    Books(String),
    /// Someone who waits for ever, or a server that does not start.
    #[error("it does not go on after the faults: {0}")]
    Liveness(String),
    /// An honest party that is blamed, or a panic.
    #[error("a mistake of the program: {0}")]
    Blame(String),
    /// Not the simulation's: this machine has no room for its files, for example.
    #[error("the run could not begin: {0}")]
    Setup(String),
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let faults = rng.next_u32() % 8;
        let state = State {
            rng,
            trace: Sha256::new(),
            counts: Counts::default(),
            faults,
            began: None,
            off: 0,
            broken: None,
        };
        Arc::new(Self { state: Mutex::new(state), witness: Mutex::default() })
    }

    /// A number of the range.
    pub(crate) fn draw(&self, range: Range<u64>) -> u64 {
        range.start + self.state().rng.next_u64() % (range.end - range.start)
    }

    /// A number up to `most`, small ones as likely as large ones.
    pub(crate) fn draw_log(&self, most: u64) -> u64 {
        self.draw(0..1 << self.draw(1..u64::from(most.ilog2()) + 1))
    }

    /// A time below `most`.
    pub(crate) fn time(&self, most: Duration) -> Duration {
        Duration::from_micros(
            self.draw(0..u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1)),
        )
    }

    /// Whether a thing happens that does once in `n` times.
    pub(crate) fn once_in(&self, n: u64) -> bool {
        self.draw(0..n) == 0
    }

    /// A seed.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.state().rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Whether a fault comes here, where one does once in `n` times. There is an end to them.
    pub(crate) fn fault(&self, n: u64) -> bool {
        let comes = self.once_in(n);
        let mut state = self.state();
        let comes = comes && state.faults > 0;
        state.faults -= u32::from(comes);
        comes
    }

    pub(crate) fn end_faults(&self) {
        self.state().faults = 0;
    }

    /// The time by which the books go, in milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let mut state = self.state();
        let elapsed = state.began.get_or_insert_with(Instant::now).elapsed();
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        START.saturating_add_signed(elapsed.saturating_add(state.off))
    }

    /// Puts the clock of the books forwards or backwards: by up to a minute, or 30 hours.
    pub(crate) fn jump(&self) {
        let most = if self.once_in(4) { 30 * 3_600_000 } else { 60_000 };
        let off = self.draw(0..2 * most + 1).cast_signed() - most.cast_signed();
        self.state().off = off;
        self.count(|counts| counts.jumps += 1);
        self.note("jump", &off.to_le_bytes());
    }

    /// Writes into the trace.
    pub(crate) fn note(&self, what: &str, bytes: &[u8]) {
        let now = self.now();
        let mut state = self.state();
        state.trace.update(now.to_le_bytes());
        state.trace.update(what.as_bytes());
        state.trace.update((bytes.len() as u64).to_le_bytes());
        state.trace.update(bytes);
    }

    pub(crate) fn trace(&self) -> String {
        base16ct::lower::encode_string(&self.state().trace.clone().finalize())
    }

    pub(crate) fn count(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut self.state().counts);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// A law is broken. The first one is what is told.
    pub(crate) fn breaks(&self, broken: Broken) {
        self.state().broken.get_or_insert(broken);
    }

    pub(crate) fn broken(&self) -> Option<Broken> {
        self.state().broken.clone()
    }

    /// Who sees what crosses the links.
    pub(crate) fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some moment.
const START: u64 = 1_800_000_000_000;
