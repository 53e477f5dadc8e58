//! The ledger on the disk: what is answered has been booked there first.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gelu_core::error::Refused;
use gelu_core::ledger::{Exposure, Ledger, Policy};
use serde::{Deserialize, Serialize};

use crate::error::{FileError, Result};
use crate::files;

/// The format of ledger files that this program writes and reads.
const FORMAT: u32 = 1;

/// A ledger and its file.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    model: String,
    ledger: Ledger,
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
        let damaged = |why: &dyn ToString| {
            let why = format!("{}; restore it from a backup", why.to_string());
            FileError::damaged(path, "the ledger of this model", why)
        };
        let content = match fs::read(path) {
            Ok(bytes) => {
                let content: Content = serde_json::from_slice(&bytes).map_err(|e| damaged(&e))?;
                if content.format != FORMAT {
                    let why = format!("format {}, this program reads {FORMAT}", content.format);
                    return Err(FileError::damaged(path, "a ledger of this program", why).into());
                }
                if content.model != model {
                    let why = format!("it belongs to {:?}, not to {model:?}", content.model);
                    return Err(FileError::damaged(path, "the ledger of this model", why).into());
                }
                content
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Content { format: FORMAT, model: model.into(), ledger: Ledger::default() }
            }
            Err(error) => return Err(FileError::at(path)(error).into()),
        };
        let file = Self { path: path.to_owned(), content };
        file.write(&file.content)?;
        Ok(file)
    }

    /// What has been booked.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.content.ledger
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
        let mut content = self.content.clone();
        let booked = content.ledger.charge(account, version, exposure, samples, policy);
        booked.map_err(NotBooked::Refused)?;
        self.replace(content).map_err(NotBooked::File)
    }

    /// Carries an account's count over to the version that its own lease makes; see
    /// [`Ledger::carry`].
    pub(super) fn carry(&mut self, account: &str, from: u64, to: u64) -> Result<()> {
        let mut content = self.content.clone();
        content.ledger.carry(account, from, to);
        Ok(self.replace(content)?)
    }

    /// On the disk before in memory.
    fn replace(&mut self, content: Content) -> Result<(), FileError> {
        self.write(&content)?;
        self.content = content;
        Ok(())
    }

    fn write(&self, content: &Content) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(content).expect("names and numbers only");
        files::replace(&self.path, &json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_core::ledger::LayerExposure;
    use gelu_core::plan::Direction;

    fn exposure() -> Exposure {
        let layer = LayerExposure {
            layer: "dense1".into(),
            direction: Direction::Forward,
            unknowns: 10,
            equations_per_sample: 1,
            secret_bits: 100,
            revealed_bits_per_sample: 40,
        };
        Exposure { model: vec![layer], data: Vec::new() }
    }

    #[test]
    fn what_was_booked_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        for _ in 0..2 {
            let mut file = LedgerFile::open(&path, "iris").unwrap();
            file.charge("alice", 3, &exposure(), 1, Policy::Enforce).unwrap();
        }
        let mut file = LedgerFile::open(&path, "iris").unwrap();
        let refused = file.charge("alice", 3, &exposure(), 1, Policy::Enforce).unwrap_err();
        assert!(matches!(refused, NotBooked::Refused(Refused::Budget { .. })));
        file.charge("bob", 3, &exposure(), 1, Policy::Enforce).unwrap();
    }

    #[test]
    fn a_damaged_ledger_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        LedgerFile::open(&path, "iris").unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let other_format = whole.replace("\"format\": 1", "\"format\": 2");
        for content in [&whole[..whole.len() / 2], "", "{}", &other_format] {
            fs::write(&path, content).unwrap();
            let error = LedgerFile::open(&path, "iris").unwrap_err().to_string();
            assert!(error.contains("ledger.json"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::write(&path, &whole).unwrap();
        let error = LedgerFile::open(&path, "mnist").unwrap_err().to_string();
        assert!(error.contains("belongs to \"iris\", not to \"mnist\""), "{error}");
    }

    #[test]
    fn without_a_booking_on_the_disk_nothing_is_booked() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        let mut file = LedgerFile::open(&below.join("ledger.json"), "iris").unwrap();
        fs::remove_dir_all(&below).unwrap();
        let error = file.charge("alice", 3, &exposure(), 1, Policy::Enforce).unwrap_err();
        assert!(matches!(error, NotBooked::File(_)));
        assert_eq!(*file.ledger(), Ledger::default());
    }
}
