//! Whose turn it is to train a model: one lease at a time, over all replicas.
//!
//! A replica that wants the lease for one of its sessions asks again and again, which also says that it is alive.
//! The holder does the same while its lease lasts. Who has not been heard of for [`SILENCE`] is passed over. That is
//! only about who goes next: a commit is checked against the number of the lease and the version that it began
//! from, so whatever clocks do, a lease commits once and on the version that it saw.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::versions::{self, Version};
use crate::{Store, Transaction, get, keys, put};

/// After so many milliseconds without a word a replica is taken for dead.
pub const SILENCE: u64 = 10_000;

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The model's name.
    pub model: String,
    /// Its number among all leases of the model, from 1.
    pub number: u64,
}

/// The answer to a replica that wants the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It is its own.
    Granted(Lease),
    /// So many replicas are before it, the holder included.
    Waits(u32),
}

/// A lease in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRecord {
    /// Which replica held it.
    pub replica: String,
    /// For which account.
    pub account: String,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}

/// How a lease has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// As this version.
    Committed(u64),
    /// Without a trace, and why.
    RolledBack(String),
}

/// Who holds the lease of a model, and who waits.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The number of the last lease.
    pub(crate) number: u64,
    pub(crate) holder: Option<Place>,
    pub(crate) waiting: Vec<Place>,
}

/// A replica, and when it was last heard of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) replica: String,
    seen: u64,
}

impl Place {
    fn is_silent(&self, now: u64) -> bool {
        self.seen.saturating_add(SILENCE) < now
    }
}

impl Store {
    /// Asks for the lease, or for the place in the line of those who want it. To be asked again well within
    /// [`SILENCE`], and not while the replica holds a lease: whatever it held is over by that.
    ///
    /// # Errors
    /// What the engine says.
    pub fn ask_turn(&self, model: &str, replica: &str, account: &str) -> Result<Turn> {
        self.write(|tx| {
            let now = tx.now()?;
            let mut line = line(tx, model)?;
            // Where the clock was put back, silence is counted from now on.
            let places = line.holder.iter_mut().chain(&mut line.waiting);
            places.for_each(|place| place.seen = place.seen.min(now));
            match &line.holder {
                // A replica that asks has no lease: this one's end was never written.
                Some(holder) if holder.replica == replica => {
                    end(tx, model, &mut line, Ended::RolledBack("its server ended".into()))?;
                }
                Some(holder) if holder.is_silent(now) => {
                    end(tx, model, &mut line, Ended::RolledBack("its server fell silent".into()))?;
                }
                _ => {}
            }
            line.waiting.retain(|place| place.replica == replica || !place.is_silent(now));
            match line.waiting.iter_mut().find(|place| place.replica == replica) {
                Some(place) => place.seen = now,
                None => line.waiting.push(Place { replica: replica.to_owned(), seen: now }),
            }
            let before = line.waiting.iter().position(|place| place.replica == replica);
            let before = before.unwrap_or(0) + usize::from(line.holder.is_some());
            let turn = match before {
                0 => {
                    line.holder = Some(line.waiting.remove(0));
                    line.number += 1;
                    let (replica, account) = (replica.to_owned(), account.to_owned());
                    let record = LeaseRecord { replica, account, since: now, ended: None };
                    put(tx, &keys::lease(model, line.number), &record)?;
                    Turn::Granted(Lease { model: model.to_owned(), number: line.number })
                }
                before => Turn::Waits(u32::try_from(before).unwrap_or(u32::MAX)),
            };
            put(tx, &keys::turn(model), &line)?;
            Ok(turn)
        })
    }

    /// Gives up waiting.
    ///
    /// # Errors
    /// What the engine says.
    pub fn leave_line(&self, model: &str, replica: &str) -> Result<()> {
        self.write(|tx| {
            let mut line = line(tx, model)?;
            line.waiting.retain(|place| place.replica != replica);
            put(tx, &keys::turn(model), &line)
        })
    }

    /// Says that the holder of a lease lives.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when it is another's by now; what the engine says.
    pub fn keep_lease(&self, lease: &Lease) -> Result<()> {
        self.write(|tx| {
            let now = tx.now()?;
            let mut line = held(tx, lease)?;
            line.holder.as_mut().expect("it is held").seen = now;
            put(tx, &keys::turn(&lease.model), &line)
        })
    }

    /// Ends a lease as the version after `base`: its weights, the count of the account that made it, and the end of the
    /// lease, all or nothing. `bytes` is the file of that version.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the lease is another's by now, or `base` is not the last version; what the engine
    /// says.
    pub fn commit(
        &self,
        lease: &Lease,
        account: &str,
        base: u64,
        content: &str,
        bytes: &[u8],
    ) -> Result<u64> {
        let model = &lease.model;
        self.write(|tx| {
            let mut line = held(tx, lease)?;
            let last = versions::current(tx, model)?.map(|version| version.version);
            if last != Some(base) {
                let last = last.map_or("none".into(), |last| last.to_string());
                return Err(Error::LeaseLost(format!("it began from {base}, the last is {last}")));
            }
            let version = Version { version: base + 1, content: content.to_owned() };
            versions::set(tx, model, &version, bytes)?;
            let key = keys::account(model, account);
            let mut seen: gelu_core::ledger::Account = get(tx, &key)?.unwrap_or_default();
            seen.carry(base, version.version);
            put(tx, &key, &seen)?;
            end(tx, model, &mut line, Ended::Committed(version.version))?;
            put(tx, &keys::turn(model), &line)?;
            Ok(version.version)
        })
    }

    /// Ends a lease without a trace.
    ///
    /// # Errors
    /// What the engine says. That the lease is another's by now is none.
    pub fn end_lease(&self, lease: &Lease, reason: &str) -> Result<()> {
        self.write(|tx| {
            let mut line = match held(tx, lease) {
                Err(Error::LeaseLost(_)) => return Ok(()),
                line => line?,
            };
            end(tx, &lease.model, &mut line, Ended::RolledBack(reason.to_owned()))?;
            put(tx, &keys::turn(&lease.model), &line)
        })
    }

    /// The journal of a model's leases, by number.
    ///
    /// # Errors
    /// Those of `each`; what the engine says.
    pub fn leases(
        &self,
        model: &str,
        mut each: impl FnMut(u64, LeaseRecord) -> Result<()>,
    ) -> Result<()> {
        let prefix = keys::leases(model);
        self.engine.read(&mut |tx| {
            tx.scan(&prefix, &mut |key, value| {
                let damaged =
                    || Error::Damaged { key: key.to_owned(), why: "its key has no number".into() };
                let number = key[prefix.len()..].parse().map_err(|_| damaged())?;
                each(number, crate::parse(key, value)?)
            })
        })
    }
}

fn line(tx: &mut dyn Transaction, model: &str) -> Result<Line> {
    Ok(get(tx, &keys::turn(model))?.unwrap_or_default())
}

/// The line, if the lease is still held.
fn held(tx: &mut dyn Transaction, lease: &Lease) -> Result<Line> {
    let line = line(tx, &lease.model)?;
    match line.holder.is_some() && line.number == lease.number {
        true => Ok(line),
        false => Err(Error::LeaseLost("another one has begun since, or it was ended".into())),
    }
}

fn end(tx: &mut dyn Transaction, model: &str, line: &mut Line, ended: Ended) -> Result<()> {
    line.holder = None;
    let key = keys::lease(model, line.number);
    if let Some(mut record) = get::<LeaseRecord>(tx, &key)? {
        record.ended = Some(ended);
        put(tx, &key, &record)?;
    }
    Ok(())
}
