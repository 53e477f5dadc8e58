//! What accounts use of the server, day by day.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{Store, get, keys, put};

/// What an account has used of one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Sessions that began.
    pub sessions: u64,
    /// Messages that were computed on.
    pub computations: u64,
    /// Bytes of messages, both ways.
    pub bytes: u64,
}

/// The most that an account may use of one day, where there is a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quota {
    /// Sessions.
    pub sessions: Option<u64>,
    /// Computations.
    pub computations: Option<u64>,
    /// Bytes.
    pub bytes: Option<u64>,
}

impl Usage {
    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_add(more.sessions),
            computations: self.computations.saturating_add(more.computations),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }
}

impl Quota {
    /// What is used up, in words, if something is.
    pub fn exceeded(&self, used: &Usage) -> Option<String> {
        let rules = [
            ("sessions", self.sessions, used.sessions),
            ("computations", self.computations, used.computations),
            ("bytes", self.bytes, used.bytes),
        ];
        let (what, most, _) =
            rules.into_iter().find(|(_, most, used)| most.is_some_and(|most| *used > most))?;
        Some(format!("{} {what} a day", most.unwrap_or_default()))
    }
}

/// Milliseconds of a day.
const DAY: u64 = 86_400_000;

impl Store {
    /// Adds what an account has used, and returns what it has used today, and in how many seconds the day ends (UTC).
    ///
    /// # Errors
    /// What the engine says.
    pub fn spend(&self, account: &str, used: Usage) -> Result<(Usage, u64)> {
        let (totals, left) = self.spend_all(&[(account.to_owned(), used)])?;
        Ok((totals[0], left))
    }

    /// The same of many accounts in one transaction: their totals, in their order.
    ///
    /// # Errors
    /// What the engine says.
    pub fn spend_all(&self, used: &[(String, Usage)]) -> Result<(Vec<Usage>, u64)> {
        self.write(|tx| {
            let now = tx.now()?;
            let totals = used.iter().map(|(account, used)| {
                let key = keys::usage(now / DAY, account);
                let total = get::<Usage>(tx, &key)?.unwrap_or_default().plus(*used);
                if *used != Usage::default() {
                    put(tx, &key, &total)?;
                }
                Ok(total)
            });
            Ok((totals.collect::<Result<_>>()?, (DAY - now % DAY).div_ceil(1000)))
        })
    }
}
