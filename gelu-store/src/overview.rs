//! All that the books say, at one moment.

use std::collections::BTreeMap;

use gelu_core::ledger::Account;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::keys::Key;
use crate::lease::{LeaseRecord, Line};
use crate::verify::UNKNOWN;
use crate::{Store, Usage, Version, parse};

/// All that the books say but for the weights, at one moment.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Overview {
    /// By name.
    pub models: BTreeMap<String, Model>,
    /// By the start of the day (UTC, in seconds since 1970) and by account.
    pub usage: BTreeMap<u64, BTreeMap<String, Usage>>,
}

/// What the books say of a model.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Model {
    /// The current version; `None` where accounts have come from an older server, and the model was not served since.
    pub current: Option<Version>,
    /// Bytes of its file.
    pub bytes: usize,
    /// By name.
    pub accounts: BTreeMap<String, Seen>,
    /// The journal of leases, by number.
    pub leases: BTreeMap<u64, LeaseRecord>,
    /// The replica that holds the lease.
    pub holder: Option<String>,
    /// Those that wait, in their order.
    pub waiting: Vec<String>,
}

/// Bits that an account has seen.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// Of the current version and of those that the account's own leases made it of, and of layers that all versions
    /// have in common: by layer and direction.
    pub current: BTreeMap<String, u64>,
    /// Of other versions, by the oldest of each line.
    pub others: BTreeMap<u64, BTreeMap<String, u64>>,
}

impl Seen {
    fn new(account: &Account, version: Option<u64>) -> Self {
        let line = version.map(|version| account.oldest(version));
        let mut seen = Self { current: account.frozen().clone(), others: BTreeMap::new() };
        for (oldest, bits) in account.lines() {
            match line == Some(oldest) {
                false => {
                    seen.others.insert(oldest, bits.clone());
                }
                true => bits.iter().for_each(|(layer, bits)| {
                    let total = seen.current.entry(layer.clone()).or_default();
                    *total = total.saturating_add(*bits);
                }),
            }
        }
        seen
    }
}

impl Store {
    /// All that the books say but for the weights, at one moment.
    ///
    /// # Errors
    /// What the engine says; [`Error::Damaged`] for what cannot be read: [`verify`](Self::verify) lists all of it.
    pub fn overview(&self) -> Result<Overview> {
        self.read(|tx| {
            let mut all = Overview::default();
            let mut accounts = Vec::new();
            tx.scan("", &mut |key, value| {
                let unknown = || Error::Damaged { key: key.into(), why: UNKNOWN.into() };
                let known = Key::parse(key).ok_or_else(unknown)?;
                match known {
                    Key::Format | Key::Salt | Key::Content(..) | Key::Import(_) => {}
                    Key::Model(name) => all.model(name).current = Some(parse(key, value)?),
                    Key::Weights(name) => all.model(name).bytes = value.len(),
                    Key::Account(name, account) => {
                        all.model(name.clone());
                        accounts.push((name, account, parse::<Account>(key, value)?));
                    }
                    Key::Turn(name) => {
                        let line: Line = parse(key, value)?;
                        let model = all.model(name);
                        model.holder = line.holder.map(|place| place.replica);
                        model.waiting = line.waiting.into_iter().map(|p| p.replica).collect();
                    }
                    Key::Lease(name, number) => {
                        all.model(name).leases.insert(number, parse(key, value)?);
                    }
                    Key::Usage(day, account) => {
                        let of_day =
                            all.usage.entry(day.saturating_mul(SECONDS_OF_A_DAY)).or_default();
                        of_day.insert(account, parse(key, value)?);
                    }
                }
                Ok(())
            })?;
            // Which version is the current one is known now.
            for (name, account, seen) in accounts {
                let model = all.model(name);
                let version = model.current.as_ref().map(|version| version.version);
                model.accounts.insert(account, Seen::new(&seen, version));
            }
            Ok(all)
        })
    }
}

const SECONDS_OF_A_DAY: u64 = 86_400;

impl Overview {
    fn model(&mut self, name: String) -> &mut Model {
        self.models.entry(name).or_default()
    }
}
