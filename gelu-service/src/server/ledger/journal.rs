//! The lines of a journal: how they are written, and how they add up to a ledger again.

use std::collections::BTreeMap;
use std::path::Path;

use gelu_core::ledger::{Entry, Ledger};
use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::server::observer::guarded;

/// The format of ledger files that this program writes. It reads format 1 as well, one JSON object.
const FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    model: String,
}

/// An entry as it is appended.
pub(super) fn line(content: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(content).expect("names and numbers only");
    line.push(b'\n');
    line
}

/// The shortest journal that adds up to `ledger`.
pub(super) fn whole(model: &str, ledger: &Ledger) -> Vec<u8> {
    let mut bytes = line(&Header { format: FORMAT, model: model.to_owned() });
    ledger.entries().for_each(|entry| bytes.extend(line(&entry)));
    bytes
}

/// What a file of this model, of either format, adds up to.
pub(super) fn read(path: &Path, bytes: &[u8], model: &str) -> Result<Ledger, FileError> {
    let damaged = |why: String| {
        FileError::damaged(
            path,
            "the ledger of this model",
            format!("{why}; restore it from a backup"),
        )
    };
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let (first, rest) = match bytes.iter().position(|&b| b == b'\n') {
        Some(end) => bytes.split_at(end + 1),
        None => (bytes, &[][..]),
    };
    // A format 1 file is one object over many lines.
    let format = serde_json::from_slice::<Format>(first).or_else(|_| serde_json::from_slice(bytes));
    let (of, ledger) = match format.map_err(|e| damaged(e.to_string()))?.format {
        1 => {
            let content: Format1 =
                serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
            (content.model.clone(), content.upgraded())
        }
        FORMAT => {
            let header: Header =
                serde_json::from_slice(first).map_err(|e| damaged(format!("line 1: {e}")))?;
            let ledger = match header.model == model {
                true => add_up(rest).map_err(damaged)?,
                false => Ledger::default(),
            };
            (header.model, ledger)
        }
        other => {
            let why = format!("format {other}, this program reads 1 and {FORMAT}");
            return Err(FileError::damaged(path, "a ledger of this program", why));
        }
    };
    if of != model {
        let why = format!("it belongs to {of:?}, not to {model:?}");
        return Err(FileError::damaged(path, "the ledger of this model", why));
    }
    Ok(ledger)
}

/// The sum of a journal's entries, of which the first is in line 2.
fn add_up(lines: &[u8]) -> Result<Ledger, String> {
    let mut ledger = Ledger::default();
    for (n, line) in (2..).zip(lines.split_inclusive(|&b| b == b'\n')) {
        if !line.ends_with(b"\n") {
            guarded(|| tracing::warn!(line = n, "cut off and never answered: dropped"));
            break;
        }
        let entry = serde_json::from_slice(line).map_err(|error| {
            let (why, column) = (error.to_string(), error.column());
            let why = why.split(" at line ").next().unwrap_or_default();
            format!("line {n}, column {column}: {why}")
        })?;
        ledger.apply(&entry);
    }
    Ok(ledger)
}

/// What this program wrote before there were journals.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Format1 {
    #[serde(rename = "format")]
    _format: u32,
    model: String,
    ledger: Accounts1,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts1 {
    accounts: BTreeMap<String, BTreeMap<u64, BTreeMap<String, u64>>>,
}

impl Format1 {
    /// Every version keeps the count that it had.
    fn upgraded(self) -> Ledger {
        let mut ledger = Ledger::default();
        for (account, versions) in self.ledger.accounts {
            for (version, bits) in versions {
                let (account, frozen) = (account.clone(), BTreeMap::new());
                ledger.apply(&Entry::Booked { account, version, bits, frozen });
            }
        }
        ledger
    }
}
