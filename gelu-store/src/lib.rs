//! What a server must not forget, durable before anybody is answered.
//!
//! ```text
//!  Store      charge, publish, take / commit / end a lease, spend      what it means, once
//!  Engine     get, put, remove, scan: in one transaction               Memory, Redb, Postgres
//! ```
//!
//! | key | value |
//! |---|---|
//! | `model/MODEL` | the current version and what it holds |
//! | `salt` | a secret, by which versions get names that say nothing of them |
//! | `weights/MODEL` | the bytes of that version's file |
//! | `content/MODEL/HASH` | the version that held the same before |
//! | `account/MODEL/ACCOUNT` | what the account has seen: [`Account`] |
//! | `turn/MODEL` | who holds the lease, and which replicas wait |
//! | `lease/MODEL/NUMBER` | the journal of leases |
//! | `usage/DAY/ACCOUNT` | what the account has used that day |
//! | `import/MODEL` | the file of an older server that the accounts have come from |
//! | `format` | how all of this is written |
//!
//! Values are JSON but for the weights, so that an operator can read them with the tools of the database.
//! A charge reads and writes one key of its account, however many accounts there are.
//!
//! # Security
//! The store holds the model's weights and what every account was told of them. Whoever can write to it can give
//! budgets back.
#![forbid(unsafe_code)]

mod clock;
mod engine;
mod error;
mod import;
mod keys;
mod lease;
mod location;
mod overview;
mod usage;
mod verify;
mod versions;

use std::fmt::{self, Debug};
use std::sync::Arc;

use gelu_core::ledger::{Account, Exposure, Policy};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "postgres")]
pub use engine::Postgres;
pub use engine::{Engine, Memory, Redb, Transaction};
pub use error::{Error, Result};
pub use import::Imported;
pub use lease::{Ended, Lease, LeaseRecord, SILENCE, Turn};
pub use location::{Location, NoLocation, Url};
pub use overview::{Model, Overview, Seen};
pub use usage::{Quota, Spent, Usage};
pub use verify::{Checked, Damage};
pub use versions::{Published, Version};

/// The books of one server, or of all replicas of one. Clones share them.
#[derive(Clone)]
pub struct Store {
    engine: Arc<dyn Engine>,
}

impl Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// What is to be answered, and to whom.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Its version.
    pub version: u64,
    /// The account.
    pub account: &'a str,
    /// What a sample gives away.
    pub exposure: &'a Exposure,
    /// How many.
    pub samples: u64,
    /// What happens at the bound.
    pub policy: Policy,
}

impl Store {
    /// Books on any engine.
    pub fn on(engine: impl Engine) -> Self {
        Self { engine: Arc::new(engine) }
    }

    /// Books that end with the process.
    pub fn in_memory() -> Self {
        Self::on(Memory::default())
    }

    /// Whether other servers may share these books.
    pub fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    /// Books samples on an account. What it returns `Ok` for may be answered.
    ///
    /// # Errors
    /// [`Error::Refused`] at the bound; what the engine says. Nothing is booked then.
    pub fn charge(&self, charge: &Charge<'_>) -> Result<()> {
        let Charge { model, version, account, exposure, samples, policy } = *charge;
        let key = keys::account(model, account);
        self.engine.write(&mut |tx| {
            let mut account: Account = get(tx, &key)?.unwrap_or_default();
            account.charge(version, exposure, samples, policy)?;
            put(tx, &key, &account)
        })
    }

    /// What an account has seen of a model.
    ///
    /// # Errors
    /// What the engine says.
    pub fn account(&self, model: &str, account: &str) -> Result<Account> {
        let key = keys::account(model, account);
        self.read(|tx| Ok(get(tx, &key)?.unwrap_or_default()))
    }

    fn read<T>(&self, mut work: impl FnMut(&mut dyn Transaction) -> Result<T>) -> Result<T> {
        let mut found = None;
        self.engine.read(&mut |tx| {
            found = Some(work(tx)?);
            Ok(())
        })?;
        Ok(found.expect("an engine runs what it succeeds in"))
    }

    fn write<T>(&self, mut work: impl FnMut(&mut dyn Transaction) -> Result<T>) -> Result<T> {
        let mut found = None;
        self.engine.write(&mut |tx| {
            found = Some(work(tx)?);
            Ok(())
        })?;
        Ok(found.expect("an engine runs what it succeeds in"))
    }
}

fn get<T: DeserializeOwned>(tx: &mut dyn Transaction, key: &str) -> Result<Option<T>> {
    tx.get(key)?.map(|value| parse(key, &value)).transpose()
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value)
        .map_err(|error| Error::Damaged { key: key.to_owned(), why: error.to_string() })
}

fn put(tx: &mut dyn Transaction, key: &str, value: &impl Serialize) -> Result<()> {
    let value = serde_json::to_vec(value).expect("names and numbers only");
    tx.put(key, &value)
}
