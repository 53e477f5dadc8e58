//! The books of a server that dies at any transaction, by a clock that jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gelu_store::{Engine, Error, Result, Transaction};

use crate::disk::{OFF, Power};
use crate::world::World;

/// An engine, as the server of one power reaches it.
pub(crate) struct Books {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) world: Arc<World>,
    pub(crate) power: Arc<Power>,
    /// Where other servers share them: what the way to them does, which is a disk otherwise.
    pub(crate) way: Option<Way>,
}

/// A connection to shared books.
pub(crate) struct Way {
    /// Transactions until the server dies.
    dies_in: AtomicU64,
    /// Transactions until the connection fails.
    fails_in: AtomicU64,
    /// Whether the transaction at which that happens is made all the same.
    made: bool,
}

impl Way {
    /// Decides on the faults of the server that starts now.
    pub(crate) fn drawn(world: &World) -> Self {
        let draw = |n| if world.fault(n) { world.draw_log(MOST_TRANSACTIONS) } else { u64::MAX };
        let (dies_in, fails_in) = (draw(2).into(), draw(3).into());
        Self { dies_in, fails_in, made: world.once_in(2) }
    }
}

/// Transactions of a whole run, or so.
const MOST_TRANSACTIONS: u64 = 1 << 6;

type Work<'w> = &'w mut dyn FnMut(&mut dyn Transaction) -> Result<()>;

impl Books {
    fn check(&self) -> Result<()> {
        match self.power.is_on() {
            true => Ok(()),
            false => Err(failed(OFF)),
        }
    }

    /// What a reply that is lost leaves: nothing, or a transaction that was made.
    fn lost(&self, work: Work<'_>, made: bool, why: &str) -> Result<()> {
        if made {
            self.made(work)?;
        }
        Err(failed(why))
    }

    fn made(&self, work: Work<'_>) -> Result<()> {
        self.engine.write(&mut |tx| work(&mut Clocked { tx, world: &self.world }))
    }
}

impl Engine for Books {
    fn write(&self, work: Work<'_>) -> Result<()> {
        self.check()?;
        if self.world.fault(64) {
            self.world.jump();
        }
        self.world.note("transaction", &[]);
        if let Some(way) = &self.way {
            if way.dies_in.fetch_sub(1, Ordering::SeqCst) == 0 {
                let lost = self.lost(work, way.made, OFF);
                self.power.turn_off();
                return lost;
            }
            if way.fails_in.fetch_sub(1, Ordering::SeqCst) == 0 {
                self.world.count(|counts| counts.failed_writes += 1);
                return self.lost(work, way.made, "the connection was lost");
            }
        }
        let made = self.made(work);
        // Nobody hears of what was made when the machine died in the middle.
        self.check().and(made)
    }

    fn read(&self, work: Work<'_>) -> Result<()> {
        self.check()?;
        self.engine.read(&mut |tx| work(&mut Clocked { tx, world: &self.world }))
    }

    fn is_shared(&self) -> bool {
        self.way.is_some()
    }
}

fn failed(why: &str) -> Error {
    Error::Engine(why.into())
}

/// A transaction that goes by the clock of the simulation.
struct Clocked<'a> {
    tx: &'a mut dyn Transaction,
    world: &'a World,
}

impl Transaction for Clocked<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        self.tx.get(key)
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.tx.put(key, value)
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        self.tx.remove(key)
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.tx.scan(prefix, each)
    }

    fn now(&mut self) -> Result<u64> {
        Ok(self.world.now())
    }
}
