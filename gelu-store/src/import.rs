//! What a server booked before it had a store: one file for each model.
//!
//! Format 2 is a journal, one line of JSON for each entry; format 1 is one JSON object.
//!
//! ```text
//! {"format":2,"model":"mnist"}
//! {"booked":{"account":"alice","version":0,"bits":{"dense1 forward":66}}}
//! {"carried":{"account":"alice","from":0,"to":1}}
//! ```
//!
//! A last line without its end was never answered: a crash or a full disk cut it off, and it is dropped. Any other
//! damage is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gelu_core::ledger::Account;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::{Store, get, keys, put};

/// What has come from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// How many accounts.
    pub accounts: usize,
    /// Whether a last line was cut off, and dropped: it was never answered.
    pub torn: bool,
    /// The file's new name.
    pub renamed: PathBuf,
}

/// Which file a model's accounts have come from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// The hash of its bytes.
    sha256: String,
    accounts: usize,
}

impl Store {
    /// Takes over what the file of an older server has booked for a model, then gives the file another name,
    /// `NAME.migrated`. To be repeated after a crash: a file that was taken over before is only renamed.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, is damaged, belongs to another model or cannot be renamed, and
    /// where the model has accounts that are not from it; what the engine says. Nothing is booked then.
    pub fn import(&self, model: &str, path: &Path) -> Result<Imported> {
        let path = gelu_files::resolve(path).map_err(Error::file(path))?;
        let file = |why: String| Error::File { path: path.clone(), why };
        let renamed = path.with_added_extension("migrated");
        if renamed.symlink_metadata().is_ok() {
            return Err(Error::Exists(renamed));
        }
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let found = read(&bytes, model).map_err(file)?;
        let sha256 = base16ct::lower::encode_string(&Sha256::digest(&bytes));
        let origin = Origin { sha256, accounts: found.accounts.len() };
        self.write(|tx| {
            let key = keys::import(model);
            if get::<Origin>(tx, &key)?.is_some_and(|before| before.sha256 == origin.sha256) {
                return Ok(());
            }
            tx.scan(&keys::account(model, ""), &mut |_, _| {
                let why = format!(
                    "{model:?} has accounts in the store, and they are not from this file; \
                     move the file away, or begin with a store that has none"
                );
                Err(Error::File { path: path.clone(), why })
            })?;
            for (account, seen) in &found.accounts {
                put(tx, &keys::account(model, account), seen)?;
            }
            put(tx, &key, &origin)
        })?;
        fs::rename(&path, &renamed)
            .and_then(|()| gelu_files::sync_folder(&renamed))
            .map_err(Error::file(&path))?;
        Ok(Imported { accounts: origin.accounts, torn: found.torn, renamed })
    }
}

/// What a file adds up to.
#[derive(Debug, Default)]
struct Found {
    accounts: BTreeMap<String, Account>,
    torn: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    model: String,
}

/// A line of a journal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    /// An account was about to see samples.
    Booked {
        account: String,
        version: u64,
        /// Layer and direction → bits, on top of those before.
        bits: BTreeMap<String, u64>,
        /// The same of layers that all versions have in common.
        #[serde(default)]
        frozen: BTreeMap<String, u64>,
    },
    /// A lease of the account's own has made a version of another.
    Carried { account: String, from: u64, to: u64 },
}

/// One JSON object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format1 {
    #[serde(rename = "format")]
    _format: u32,
    model: String,
    ledger: Accounts1,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts1 {
    accounts: BTreeMap<String, BTreeMap<u64, BTreeMap<String, u64>>>,
}

impl Format1 {
    /// Every version keeps the count that it had.
    fn add_up(self) -> Found {
        let mut found = Found::default();
        for (account, versions) in self.ledger.accounts {
            let seen = found.accounts.entry(account).or_default();
            versions.iter().for_each(|(version, bits)| seen.book(*version, bits, &BTreeMap::new()));
        }
        found
    }
}

/// What a file of this model, of either format, adds up to.
fn read(bytes: &[u8], model: &str) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |why: String| format!("the ledger is damaged: {why}; restore it from a backup");
    let json = |error: serde_json::Error| damaged(error.to_string());
    let (first, rest) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => bytes.split_at(end + 1),
        None => (bytes, &[][..]),
    };
    // A file of format 1 may be one object over many lines.
    let format = serde_json::from_slice::<Format>(first).or_else(|_| serde_json::from_slice(bytes));
    let whose = |of: &str| match of == model {
        true => Ok(()),
        false => Err(format!("it belongs to {of:?}, not to {model:?}")),
    };
    match format.map_err(json)?.format {
        1 => {
            let content: Format1 = serde_json::from_slice(bytes).map_err(json)?;
            whose(&content.model)?;
            Ok(content.add_up())
        }
        2 => {
            let header: Header = serde_json::from_slice(first)
                .map_err(|error| damaged(format!("line 1: {error}")))?;
            debug_assert_eq!(header.format, 2);
            whose(&header.model)?;
            add_up(rest).map_err(damaged)
        }
        other => Err(format!("a ledger of format {other}, this program reads 1 and 2")),
    }
}

/// The sum of a journal's entries, of which the first is in line 2.
fn add_up(lines: &[u8]) -> Result<Found, String> {
    let mut found = Found::default();
    for (n, line) in (2..).zip(lines.split_inclusive(|&byte| byte == b'\n')) {
        if !line.ends_with(b"\n") {
            found.torn = true;
            break;
        }
        let entry = serde_json::from_slice(line).map_err(|error| {
            let (why, column) = (error.to_string(), error.column());
            let why = why.split(" at line ").next().unwrap_or_default();
            format!("line {n}, column {column}: {why}")
        })?;
        match entry {
            Entry::Booked { account, version, bits, frozen } => {
                found.accounts.entry(account).or_default().book(version, &bits, &frozen);
            }
            Entry::Carried { account, from, to } => {
                found.accounts.entry(account).or_default().carry(from, to);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use gelu_core::ledger::LayerExposure;
    use gelu_core::plan::Direction;

    use super::*;

    const JOURNAL: [&str; 4] = [
        "{\"format\":2,\"model\":\"iris\"}\n",
        "{\"booked\":{\"account\":\"alice\",\"version\":3,\"bits\":{\"dense1 forward\":40}}}\n",
        "{\"booked\":{\"account\":\"bob\",\"version\":3,\"bits\":{\"dense1 forward\":40},\"frozen\":{}}}\n",
        "{\"carried\":{\"account\":\"bob\",\"from\":3,\"to\":4}}\n",
    ];

    fn place(content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn revealed(store: &Store, account: &str, version: u64) -> u64 {
        let layer = LayerExposure {
            layer: "dense1".into(),
            direction: Direction::Forward,
            unknowns: 10,
            equations_per_sample: 1,
            secret_bits: 100,
            revealed_bits_per_sample: 40,
            frozen: false,
        };
        store.account("iris", account).unwrap().revealed(version, &layer)
    }

    #[test]
    fn a_journal_is_taken_over_once_and_renamed() {
        let (folder, path) = place(&JOURNAL.concat());
        let store = Store::in_memory();
        let imported = store.import("iris", &path).unwrap();
        let renamed = folder.path().join("ledger.json.migrated");
        assert_eq!((imported.accounts, imported.torn), (2, false));
        assert!(renamed.exists() && !path.exists());
        let counts = [("alice", 3), ("alice", 4), ("bob", 3), ("bob", 4)];
        assert_eq!(counts.map(|(who, version)| revealed(&store, who, version)), [40, 0, 40, 40]);

        // A crash before it had the new name: the same file is not counted twice.
        fs::rename(&renamed, &path).unwrap();
        assert_eq!(store.import("iris", &path).unwrap(), imported);
        assert_eq!(revealed(&store, "alice", 3), 40);
        assert!(renamed.exists());

        // Any other file of a model that has accounts.
        fs::write(&path, JOURNAL[..2].concat()).unwrap();
        let error = store.import("iris", &path).unwrap_err();
        assert!(matches!(&error, Error::Exists(at) if at.ends_with("ledger.json.migrated")));
        fs::remove_file(&renamed).unwrap();
        let error = store.import("iris", &path).unwrap_err().to_string();
        assert!(error.contains("\"iris\" has accounts in the store"), "{error}");
        assert!(path.exists() && !renamed.exists());
        assert_eq!(revealed(&store, "alice", 3), 40);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_as_it_is() {
        let [header, alice, bob, _] = JOURNAL;
        let cases = [
            (header[..10].to_owned(), "EOF"),
            (String::new(), "EOF"),
            ("{}".to_owned(), "missing field `format`"),
            ("{\"format\": 1}".to_owned(), "missing field `model`"),
            (
                header.replace("\"format\":2", "\"format\":3"),
                "format 3, this program reads 1 and 2",
            ),
            ([header, &alice[..20], "\n", bob].concat(), "line 2, column"),
            ([header, alice, "\n", bob].concat(), "line 3, column"),
            ([header, &alice.replace("booked", "paid"), bob].concat(), "line 2, column"),
            ([header, alice, &bob.replace("version", "v")].concat(), "line 3, column"),
            ([alice, bob].concat(), "missing field `format`"),
            ([header, alice, header].concat(), "line 3, column"),
            (JOURNAL.concat().replace("iris", "mnist"), "belongs to \"mnist\", not to \"iris\""),
        ];
        for (content, why) in cases {
            let (_folder, path) = place(&content);
            let store = Store::in_memory();
            let error = store.import("iris", &path).unwrap_err().to_string();
            assert!(error.contains("ledger.json: ") && error.contains(why), "{why}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(revealed(&store, "alice", 3), 0, "{why}");
        }
    }

    /// Wherever a crash or a full disk has cut the last line.
    #[test]
    fn a_torn_last_line_was_never_answered() {
        let whole = JOURNAL[..3].concat();
        let before = JOURNAL[..2].concat().len();
        for cut in before..whole.len() {
            let (_folder, path) = place(&whole[..cut]);
            let store = Store::in_memory();
            let imported = store.import("iris", &path).unwrap();
            assert_eq!((imported.accounts, imported.torn), (1, cut > before), "{cut}");
            assert_eq!([revealed(&store, "alice", 3), revealed(&store, "bob", 3)], [40, 0]);
        }
    }

    #[test]
    fn a_file_of_format_1_is_taken_over() {
        let old = r#"{
  "format": 1,
  "model": "iris",
  "ledger": {
    "accounts": {
      "alice": { "0": { "dense1 forward": 40 }, "1": { "dense1 forward": 80 } },
      "bob": { "1": { "dense1 forward": 40 } }
    }
  }
}"#;
        for old in [old.to_owned(), old.replace('\n', "")] {
            let (_folder, path) = place(&old);
            let store = Store::in_memory();
            assert!(store.import("mnist", &path).unwrap_err().to_string().contains("\"iris\""));
            assert_eq!(store.import("iris", &path).unwrap().accounts, 2);
            let counts = [("alice", 0), ("alice", 1), ("bob", 1), ("alice", 2), ("bob", 0)];
            let counts = counts.map(|(who, version)| revealed(&store, who, version));
            assert_eq!(counts, [40, 80, 40, 0, 0]);
        }
    }
}
