//! The ledger on the disk: what is answered has been booked there first.
//!
//! The file is a journal: a header, then one line of JSON for each [entry](Entry), appended and on the
//! disk before anything is answered. A booking costs one line, however many accounts there are.
//!
//! ```text
//! {"format":2,"model":"mnist"}
//! {"booked":{"account":"alice","version":0,"bits":{"dense1 forward":66}}}
//! {"carried":{"account":"alice","from":0,"to":1}}
//! ```
//!
//! At the start, and when the journal has grown to several times that, the file is replaced as a whole
//! by the fewest entries that add up to the same. A last line without its end was never answered: a
//! crash or a full disk cut it off, and it is dropped. Any other damage is an error.

mod journal;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gelu_core::error::Refused;
use gelu_core::ledger::{Entry, Exposure, Ledger, Policy};

use super::observer::guarded;
use crate::error::{FileError, Result};
use crate::files;

/// A journal is rewritten when it has grown to this many times its shortest form,
const GROWTH: u64 = 4;
/// and not before it has grown by so many bytes.
const SLACK: u64 = 1 << 20;

/// A ledger and its file.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    model: String,
    ledger: Ledger,
    /// Open for appending.
    journal: File,
    /// Bytes of whole lines. All of them are on the disk.
    length: u64,
    /// At this length the journal is rewritten.
    limit: u64,
}

/// Why nothing was booked.
#[derive(Debug)]
pub(super) enum NotBooked {
    /// A bound would be crossed.
    Refused(Refused),
    /// The disk says no. Without the booking there is no answer.
    File(FileError),
}

impl LedgerFile {
    /// Reads the ledger of `model`, or begins an empty one where there is no file.
    ///
    /// A file that cannot be read is an error, never a reason to begin anew: that would give every
    /// account its budget back.
    pub(super) fn open(path: &Path, model: &str) -> Result<Self> {
        let ledger = match files::if_there(fs::read(path)).map_err(FileError::at(path))? {
            Some(bytes) => journal::read(path, &bytes, model)?,
            None => Ledger::default(),
        };
        let (journal, length) = write(path, model, &ledger)?;
        let (path, model) = (path.to_owned(), model.to_owned());
        Ok(Self { path, model, ledger, journal, length, limit: limit(length) })
    }

    /// What has been booked.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Books `samples`, on the disk before in memory.
    pub(super) fn charge(
        &mut self,
        account: &str,
        version: u64,
        exposure: &Exposure,
        samples: u64,
        policy: Policy,
    ) -> Result<(), NotBooked> {
        let entry = self.ledger.weigh(account, version, exposure, samples, policy);
        let entry = entry.map_err(NotBooked::Refused)?;
        self.append(&entry).map_err(NotBooked::File)?;
        self.apply(&entry);
        Ok(())
    }

    /// Books that a lease of `account` makes version `to` of `from`, then has it stored by `store`.
    /// If that fails nothing was made, and the entry is taken back. Should the server end in between,
    /// the account's count is carried to a version that somebody else makes: too much rather than
    /// too little.
    pub(super) fn carry(
        &mut self,
        account: &str,
        from: u64,
        to: u64,
        store: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let entry = Entry::Carried { account: account.to_owned(), from, to };
        let before = self.length;
        self.append(&entry)?;
        if let Err(error) = store() {
            self.cut_back(before);
            return Err(error);
        }
        self.apply(&entry);
        Ok(())
    }

    /// Puts an entry on the disk, or leaves the journal as it was.
    fn append(&mut self, entry: &Entry) -> Result<(), FileError> {
        if !self.is_at_its_path() {
            let ledger = self.path.display();
            guarded(|| tracing::warn!(%ledger, "changed by another program: written anew"));
            self.rewrite()?;
        }
        let line = journal::line(entry);
        let written = self.journal.write_all(&line).and_then(|()| self.journal.sync_data());
        if let Err(error) = written {
            self.cut_back(self.length);
            return Err(FileError::at(&self.path)(error));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Counts an entry that is on the disk, and shortens the journal when it has become long.
    fn apply(&mut self, entry: &Entry) {
        self.ledger.apply(entry);
        if self.length < self.limit {
            return;
        }
        if let Err(error) = self.rewrite() {
            guarded(|| tracing::warn!(%error, "the ledger cannot be shortened; it stays as it is"));
            self.limit = limit(self.length);
        }
    }

    /// Removes what comes after `length`. Where even that fails, the next entry finds a file of
    /// another length, and writes it anew first.
    fn cut_back(&mut self, length: u64) {
        self.length = length;
        let cut = self.journal.set_len(length).and_then(|()| self.journal.sync_data());
        if let Err(error) = cut {
            let ledger = self.path.display();
            guarded(|| tracing::warn!(%error, %ledger, "cannot be cut back"));
        }
    }

    fn rewrite(&mut self) -> Result<(), FileError> {
        let (journal, length) = write(&self.path, &self.model, &self.ledger)?;
        (self.journal, self.length, self.limit) = (journal, length, limit(length));
        Ok(())
    }

    /// Whether the path still leads to the file that is held, and nobody else has written there.
    fn is_at_its_path(&self) -> bool {
        let held_and_at_path =
            || Ok::<_, io::Error>((self.journal.metadata()?, fs::metadata(&self.path)?));
        held_and_at_path().is_ok_and(|(held, at_path)| {
            held.len() == self.length && at_path.len() == self.length && same_file(&held, &at_path)
        })
    }
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// A file that is open cannot be removed or replaced there.
#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

fn limit(length: u64) -> u64 {
    length.saturating_mul(GROWTH).max(length.saturating_add(SLACK))
}

/// Replaces the file by the fewest entries of `ledger`; returns it open for appending, and its length.
fn write(path: &Path, model: &str, ledger: &Ledger) -> Result<(File, u64), FileError> {
    let bytes = journal::whole(model, ledger);
    files::replace(path, &bytes)?;
    let journal = File::options().append(true).open(path).map_err(FileError::at(path))?;
    Ok((journal, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::ledger::LayerExposure;
    use gelu_core::plan::Direction;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::time::Instant;
    use tempfile::TempDir;

    fn exposure() -> Exposure {
        let layer = LayerExposure {
            layer: "dense1".into(),
            direction: Direction::Forward,
            unknowns: 10,
            equations_per_sample: 1,
            secret_bits: 100,
            revealed_bits_per_sample: 40,
            frozen: false,
        };
        Exposure { model: vec![layer], data: Vec::new() }
    }

    fn place() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        (folder, path)
    }

    fn charge(file: &mut LedgerFile, account: &str, version: u64) -> Result<(), NotBooked> {
        file.charge(account, version, &exposure(), 1, Policy::Enforce)
    }

    #[test]
    fn what_was_booked_is_there_after_a_restart() {
        let (_folder, path) = place();
        for _ in 0..2 {
            let mut file = LedgerFile::open(&path, "iris").unwrap();
            charge(&mut file, "alice", 3).unwrap();
        }
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        let refused = charge(&mut file, "alice", 3).unwrap_err();
        assert!(matches!(refused, NotBooked::Refused(Refused::Budget { .. })));
        charge(&mut file, "bob", 3).unwrap();
        file.carry("bob", 3, 4, || Ok(())).unwrap();
        charge(&mut file, "bob", 4).unwrap();
        let before = file.ledger.clone();
        drop(file);
        let journal = fs::read_to_string(&path).unwrap();
        let mut again = LedgerFile::open(&path, "iris").unwrap();
        assert_eq!(again.ledger, before);
        for version in [3, 4] {
            assert!(matches!(charge(&mut again, "bob", version), Err(NotBooked::Refused(_))));
        }
        let shortened = fs::read_to_string(&path).unwrap();
        assert!(shortened.len() < journal.len(), "{journal}{shortened}");
        assert_eq!(shortened.lines().next(), Some(r#"{"format":2,"model":"iris"}"#));
    }

    #[test]
    fn a_damaged_ledger_is_an_error_and_stays_as_it_is() {
        let (_folder, path) = place();
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        charge(&mut file, "alice", 3).unwrap();
        charge(&mut file, "bob", 3).unwrap();
        drop(file);
        let whole = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = whole.split_inclusive('\n').collect();
        let [header, alice, bob] = lines[..] else { panic!("{whole}") };
        let cases = [
            (header[..10].to_owned(), "EOF"),
            (String::new(), "EOF"),
            ("{}".to_owned(), "missing field `format`"),
            ("{\"format\": 1}".to_owned(), "missing field `model`"),
            (whole.replace("\"format\":2", "\"format\":3"), "format 3, this program reads 1 and 2"),
            ([header, &alice[..20], "\n", bob].concat(), "line 2, column"),
            ([header, alice, "\n", bob].concat(), "line 3, column"),
            ([header, &alice.replace("booked", "paid"), bob].concat(), "line 2, column"),
            ([header, alice, &bob.replace("version", "v")].concat(), "line 3, column"),
            ([alice, bob].concat(), "missing field `format`"),
            ([header, alice, header].concat(), "line 3, column"),
        ];
        for (content, why) in cases {
            fs::write(&path, &content).unwrap();
            let error = LedgerFile::open(&path, "iris").unwrap_err().to_string();
            assert!(error.contains("ledger.json") && error.contains(why), "{why}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::write(&path, &whole).unwrap();
        let error = LedgerFile::open(&path, "mnist").unwrap_err().to_string();
        assert!(error.contains("belongs to \"iris\", not to \"mnist\""), "{error}");
    }

    /// Wherever a crash or a full disk cuts the last line: it is dropped, and what comes next is whole.
    #[test]
    fn a_torn_last_line_was_never_answered() {
        let (_folder, path) = place();
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        charge(&mut file, "alice", 3).unwrap();
        let (expected, before) = (file.ledger.clone(), fs::read(&path).unwrap().len());
        charge(&mut file, "alice", 3).unwrap();
        drop(file);
        let whole = fs::read(&path).unwrap();
        for cut in before..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut file = LedgerFile::open(&path, "iris").unwrap();
            assert_eq!(file.ledger, expected, "{cut}");
            charge(&mut file, "alice", 3).unwrap();
            drop(file);
            assert_ne!(LedgerFile::open(&path, "iris").unwrap().ledger, expected, "{cut}");
        }
    }

    #[test]
    fn a_ledger_of_format_1_is_upgraded() {
        let (_folder, path) = place();
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
            fs::write(&path, &old).unwrap();
            let error = LedgerFile::open(&path, "mnist").unwrap_err().to_string();
            assert!(error.contains("belongs to \"iris\""), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), old);
            for _ in 0..2 {
                let file = LedgerFile::open(&path, "iris").unwrap();
                let of =
                    |account, version| file.ledger.revealed(account, version, &exposure().model[0]);
                assert_eq!([of("alice", 0), of("alice", 1), of("bob", 1)], [40, 80, 40]);
                assert_eq!([of("alice", 2), of("bob", 0)], [0, 0]);
            }
            assert!(fs::read_to_string(&path).unwrap().starts_with("{\"format\":2,"));
        }
    }

    #[test]
    fn without_a_booking_on_the_disk_nothing_is_booked() {
        let (folder, _) = place();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        let mut file = LedgerFile::open(&below.join("ledger.json"), "iris").unwrap();
        fs::remove_dir_all(&below).unwrap();
        let error = charge(&mut file, "alice", 3).unwrap_err();
        assert!(matches!(error, NotBooked::File(_)));
        let error = file.carry("alice", 3, 4, || panic!("stores nothing")).unwrap_err();
        assert!(error.to_string().contains("ledger.json"), "{error}");
        assert_eq!(file.ledger, Ledger::default());
    }

    /// Somebody removes the file, writes into it or puts another in its place: what was booked is
    /// still there, and on the disk again before the next answer.
    #[test]
    fn a_file_that_others_change_is_written_anew() {
        let (_folder, path) = place();
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        charge(&mut file, "alice", 1).unwrap();
        let old = fs::read(&path).unwrap();
        let changes: [&dyn Fn(); 5] = [
            &|| fs::remove_file(&path).unwrap(),
            &|| fs::write(&path, "{").unwrap(),
            &|| files::replace(&path, &old).unwrap(),
            &|| files::replace(&path, &fs::read(&path).unwrap()).unwrap(),
            &|| File::options().append(true).open(&path).unwrap().write_all(b"x").unwrap(),
        ];
        for (version, change) in (2..).zip(changes) {
            change();
            charge(&mut file, "alice", version).unwrap();
            let again = journal::read(&path, &fs::read(&path).unwrap(), "iris").unwrap();
            assert_eq!(again, file.ledger, "{version}");
        }
    }

    #[test]
    fn a_carry_that_is_not_stored_is_taken_back() {
        let (_folder, path) = place();
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        charge(&mut file, "alice", 0).unwrap();
        let before = (fs::read(&path).unwrap(), file.ledger.clone());
        let failing = || Err(crate::Error::SessionOver);
        file.carry("alice", 0, 1, failing).unwrap_err();
        assert_eq!((fs::read(&path).unwrap(), file.ledger.clone()), before);
        charge(&mut file, "alice", 1).unwrap();
        assert_eq!(file.ledger.revealed("alice", 1, &exposure().model[0]), 40, "another version");
    }

    #[test]
    fn a_long_journal_is_shortened_and_loses_nothing() {
        let (_folder, path) = place();
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        let inode = || fs::metadata(&path).unwrap().ino();
        let (first, start) = (inode(), file.length);
        file.limit = start + 1000;
        let mut most = 0;
        for n in 0..60u64 {
            file.charge("alice", n % 2, &exposure(), 1, Policy::AllowModelExtraction).unwrap();
            most = most.max(fs::metadata(&path).unwrap().len());
            assert_eq!(file.length, fs::metadata(&path).unwrap().len());
            if inode() != first {
                break;
            }
        }
        assert_ne!(inode(), first, "rewritten");
        assert!(most > 900 && file.length < 300, "{most}, {}", file.length);
        assert_eq!(file.limit, file.length + SLACK);
        charge(&mut file, "bob", 1).unwrap();
        let ledger = file.ledger.clone();
        drop(file);
        assert_eq!(LedgerFile::open(&path, "iris").unwrap().ledger, ledger);
    }

    /// The bytes that a booking writes, at 10, 1,000 and 10,000 accounts; `--nocapture` shows its time.
    #[test]
    fn a_booking_costs_the_same_however_many_accounts_there_are() {
        let mut costs = Vec::new();
        for accounts in [10, 1_000, 10_000] {
            let (_folder, path) = place();
            let mut journal = journal::whole("iris", &Ledger::default());
            for n in 0..accounts {
                let (account, bits) = (format!("a{n:05}"), [("dense1 forward".into(), 40)].into());
                journal.extend(journal::line(&Entry::Booked {
                    account,
                    version: 3,
                    bits,
                    frozen: BTreeMap::new(),
                }));
            }
            fs::write(&path, journal).unwrap();
            let mut file = LedgerFile::open(&path, "iris").unwrap();
            let state = || fs::metadata(&path).map(|m| (m.ino(), m.len())).unwrap();
            let (inode, before) = state();
            let (began, bookings) = (Instant::now(), 5);
            for n in 0..bookings {
                charge(&mut file, &format!("a{n:05}"), 3).unwrap();
            }
            let took = began.elapsed() / bookings;
            let (same, after) = state();
            assert_eq!(same, inode, "appended, not rewritten");
            let bytes = (after - before) / u64::from(bookings);
            println!("{accounts} accounts: a booking writes {bytes} bytes in {took:?}");
            costs.push(bytes);
        }
        assert!(costs.iter().all(|&bytes| bytes == costs[0] && bytes < 100), "{costs:?}");
    }
}
