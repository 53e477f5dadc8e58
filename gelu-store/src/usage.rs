//! What accounts use of the server, day by day.

use core::fmt;

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

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// That of sessions: so many.
    Sessions(u64),
    /// That of computations.
    Computations(u64),
    /// That of bytes.
    Bytes(u64),
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sessions(most) => write!(f, "{most} sessions a day"),
            Self::Computations(most) => write!(f, "{most} computations a day"),
            Self::Bytes(most) => write!(f, "{most} bytes a day"),
        }
    }
}

impl Quota {
    /// What is used up, if something is.
    pub fn exceeded(&self, used: &Usage) -> Option<Spent> {
        let over = |most: Option<u64>, used: u64| most.filter(|&most| used > most);
        over(self.sessions, used.sessions)
            .map(Spent::Sessions)
            .or_else(|| over(self.computations, used.computations).map(Spent::Computations))
            .or_else(|| over(self.bytes, used.bytes).map(Spent::Bytes))
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
