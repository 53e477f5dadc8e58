//! A disk that fills up and loses power.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gelu_store::Redb;
use redb::StorageBackend;
use tokio::sync::Notify;

use crate::world::World;

/// Whether a server's machine runs. Once it is off it stays so: the next one has a power of its own.
#[derive(Debug, Default)]
pub(crate) struct Power {
    off: AtomicBool,
    changed: Notify,
}

impl Power {
    pub(crate) fn is_on(&self) -> bool {
        !self.off.load(Ordering::SeqCst)
    }

    pub(crate) fn turn_off(&self) {
        self.off.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Is ready when it is off.
    pub(crate) async fn is_off(&self) {
        let changed = self.changed.notified();
        if self.is_on() {
            changed.await;
        }
    }
}

/// What a machine that is off says.
pub(crate) const OFF: &str = "the machine is off";

/// A disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Disk {
    world: Arc<World>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What outlives a crash.
    kept: Vec<u8>,
    /// What whoever reads sees.
    seen: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<Change>,
    /// Operations until the machine dies.
    dies_in: Option<u64>,
    /// Operations until the disk is full, and how many fail then.
    full: Option<(u64, u64)>,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }

    /// As much of a write as there was time for.
    fn torn(&self, world: &World) -> Self {
        match self {
            Self::Length(length) => Self::Length(*length),
            Self::Write(at, data) => {
                let written = usize::try_from(world.draw(0..data.len() as u64 + 1));
                Self::Write(*at, data[..written.unwrap_or(data.len())].to_vec())
            }
        }
    }
}

impl Disk {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), state: Arc::default() }
    }

    /// Decides on the faults of the machine that starts now.
    pub(crate) fn draw_faults(&self) {
        let world = &self.world;
        let dies_in = world.fault(2).then(|| world.draw_log(MOST_OPERATIONS));
        let full = world.fault(4).then(|| (world.draw_log(MOST_OPERATIONS), world.draw(1..40)));
        let mut state = self.state();
        (state.dies_in, state.full) = (dies_in, full);
    }

    /// The database on it, for the machine of this power.
    pub(crate) fn open(&self, power: &Arc<Power>) -> gelu_store::Result<Redb> {
        let (disk, power) = (self.clone(), Arc::clone(power));
        Redb::on(move || Backend { disk: disk.clone(), power: Arc::clone(&power) })
    }

    /// Another disk that holds what a crash at this moment would leave without the unsynced writes.
    pub(crate) fn copy(&self) -> Self {
        let kept = self.state().kept.clone();
        let state = State { seen: kept.clone(), kept, ..State::default() };
        Self { world: Arc::clone(&self.world), state: Arc::new(Mutex::new(state)) }
    }

    /// Some of the unsynced writes are kept, in any selection, a few of them in part; all else is forgotten.
    pub(crate) fn lose_power(&self) {
        let mut state = self.state();
        let State { kept, seen, unsynced, dies_in, full } = &mut *state;
        let all = self.world.draw(0..4);
        for change in unsynced.drain(..) {
            match (all, self.world.draw(0..8)) {
                (0, _) => {}
                (1, _) | (_, 0..4) => change.apply(kept),
                (_, 4) => change.torn(&self.world).apply(kept),
                _ => {}
            }
        }
        seen.clone_from(kept);
        (*dies_in, *full) = (None, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Operations of a whole run, or so.
const MOST_OPERATIONS: u64 = 1 << 9;

/// A [`Disk`], as the database of one machine sees it.
struct Backend {
    disk: Disk,
    power: Arc<Power>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    fn reading(&self) -> io::Result<MutexGuard<'_, State>> {
        match self.power.is_on() {
            true => Ok(self.disk.state()),
            false => Err(io::Error::other(OFF)),
        }
    }

    /// Before each operation that may fail.
    fn writing(&self, what: &str, at: u64) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.reading()?;
        self.disk.world.note(what, &at.to_le_bytes());
        match &mut state.dies_in {
            Some(0) => {
                drop(state);
                self.power.turn_off();
                return Err(io::Error::other(OFF));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut state.full {
            Some((0, 0)) => state.full = None,
            Some((0, left)) => {
                *left -= 1;
                self.disk.world.count(|counts| counts.failed_writes += 1);
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.reading()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.reading()?;
        let at = place(offset)?;
        let found = state.seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.writing("length", len)?;
        let change = Change::Length(place(len)?);
        change.apply(&mut state.seen);
        state.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.writing("sync", 0)?;
        let State { kept, unsynced, .. } = &mut *state;
        unsynced.drain(..).for_each(|change| change.apply(kept));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.writing("write", offset)?;
        let change = Change::Write(place(offset)?, data.to_vec());
        change.apply(&mut state.seen);
        state.unsynced.push(change);
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}
