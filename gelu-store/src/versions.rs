//! Versions of models.
//!
//! A file whose content no version has ever had is news, whoever put it there. One that a version had before is
//! none: it may be what a crash left between the store's commit and the file's replacement.

use gelu_core::ledger::Account;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::Key;
use crate::{Store, Transaction, get, keys, parse, put};

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// What it holds, as its hash in hexadecimal digits: the same for the same file, whatever its number.
    pub content: String,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is the new current version.
    New(Version),
    /// The current version, this one, holds the same.
    Current(Version),
    /// An older version held the same. The current one, which this is, stays.
    Known(Version),
}

impl Store {
    /// The current version of a model, if it was ever published.
    ///
    /// # Errors
    /// What the engine says.
    pub fn current(&self, model: &str) -> Result<Option<Version>> {
        self.read(|tx| current(tx, model))
    }

    /// The same, and the bytes of its file.
    ///
    /// # Errors
    /// What the engine says; [`Error::Damaged`] where the bytes are missing.
    pub fn weights(&self, model: &str) -> Result<Option<(Version, Vec<u8>)>> {
        let key = keys::weights(model);
        self.read(|tx| {
            let Some(version) = current(tx, model)? else { return Ok(None) };
            let damaged = || Error::Damaged { key: key.clone(), why: "not there".into() };
            Ok(Some((version, tx.get(&key)?.ok_or_else(damaged)?)))
        })
    }

    /// The names of all models.
    ///
    /// # Errors
    /// What the engine says.
    pub fn models(&self) -> Result<Vec<String>> {
        self.read(|tx| {
            let mut names = Vec::new();
            tx.scan(&keys::model(""), &mut |key, _| {
                names.extend(match Key::parse(key) {
                    Some(Key::Model(name)) => Some(name),
                    _ => None,
                });
                Ok(())
            })?;
            Ok(names)
        })
    }

    /// Makes a file the current version, if its `content` is news. `least` is the number that the file
    /// gives itself; the version gets that or the next after the current one. `bytes` makes the file of a number.
    ///
    /// With `again`, what an older version held becomes the current version once more. Its weights are known to those
    /// who saw them: whatever they have seen of the old one counts on the new.
    ///
    /// # Errors
    /// Those of `bytes`; what the engine says.
    pub fn publish(
        &self,
        model: &str,
        content: &str,
        least: u64,
        again: bool,
        bytes: &dyn Fn(u64) -> Result<Vec<u8>>,
    ) -> Result<Published> {
        self.write(|tx| {
            let now = current(tx, model)?;
            let before: Option<u64> = get(tx, &keys::content(model, content))?;
            match (&now, before) {
                (Some(now), _) if now.content == content => {
                    return Ok(Published::Current(now.clone()));
                }
                (Some(now), Some(_)) if !again => return Ok(Published::Known(now.clone())),
                _ => {}
            }
            let number = now.map_or(least, |now| least.max(now.version + 1));
            if let Some(before) = before {
                carry_all(tx, model, before, number)?;
            }
            let version = Version { version: number, content: content.to_owned() };
            set(tx, model, &version, &bytes(number)?)?;
            Ok(Published::New(version))
        })
    }
}

pub(crate) fn current(tx: &mut dyn Transaction, model: &str) -> Result<Option<Version>> {
    get(tx, &keys::model(model))
}

pub(crate) fn set(
    tx: &mut dyn Transaction,
    model: &str,
    version: &Version,
    bytes: &[u8],
) -> Result<()> {
    tx.put(&keys::weights(model), bytes)?;
    put(tx, &keys::content(model, &version.content), &version.version)?;
    put(tx, &keys::model(model), version)
}

/// What was seen of `from` counts on `to`, for everybody.
fn carry_all(tx: &mut dyn Transaction, model: &str, from: u64, to: u64) -> Result<()> {
    let mut accounts: Vec<(String, Account)> = Vec::new();
    tx.scan(&keys::account(model, ""), &mut |key, value| {
        accounts.push((key.to_owned(), parse(key, value)?));
        Ok(())
    })?;
    accounts.into_iter().try_for_each(|(key, mut account)| {
        account.carry(from, to);
        put(tx, &key, &account)
    })
}
