//! The client's ledger of revealed sums on the disk: what is revealed has been booked there first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gelu_core::client::DataPolicy;
use gelu_core::error::Refused;
use gelu_core::ledger::{DataExposure, DataLedger, SampleId, SumLedger};
use gelu_files::Access;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{FileError, Result};
use crate::files;
use crate::randomness::fresh_rng;

/// The format of these files that this program writes and reads.
const FORMAT: u32 = 1;

/// A [`DataLedger`] in a file that its owner alone may read.
///
/// Several processes may use one: each booking takes a lock beside it, reads, and replaces it as a whole.
///
/// # Security
/// It holds no sample, but whoever has it can test whether a given row was used. If it is lost, earlier
/// sums over the same data are no longer counted.
#[derive(Debug)]
pub struct SumsFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    ledger: DataLedger,
}

impl SumsFile {
    /// Opens the ledger at `path`, or begins an empty one with a fresh key where there is no file.
    ///
    /// # Errors
    /// A file that cannot be read or written is an error, never a reason to begin anew: that would
    /// forget what was revealed.
    pub fn open(path: &Path) -> Result<Self> {
        // The file itself is locked and replaced, whatever links lead to it.
        let path = gelu_files::resolve(path).map_err(FileError::at(path))?;
        let file = Self { path };
        let _locked = file.lock()?;
        let found = files::if_there(fs::symlink_metadata(&file.path));
        if found.map_err(FileError::at(&file.path))?.is_none() {
            let mut key = [0; 32];
            fresh_rng()?.fill_bytes(&mut key);
            file.write(DataLedger::new(key))?;
        }
        file.read()?;
        Ok(file)
    }

    fn read(&self) -> Result<DataLedger, FileError> {
        let damaged = |expected, why: &dyn ToString| {
            let why = format!("{}; restore it from a backup", why.to_string());
            FileError::damaged(&self.path, expected, why)
        };
        let bytes = fs::read(&self.path).map_err(FileError::at(&self.path))?;
        let content: Content = serde_json::from_slice(&bytes)
            .map_err(|error| damaged("a ledger of revealed sums", &error))?;
        match content.format {
            FORMAT => Ok(content.ledger),
            other => {
                let why = format!("format {other}, this program reads {FORMAT}");
                Err(damaged("a ledger of this program", &why))
            }
        }
    }

    /// The old bytes or the new ones, whatever happens; on the disk when this returns.
    fn write(&self, ledger: DataLedger) -> Result<(), FileError> {
        let json = serde_json::to_vec(&Content { format: FORMAT, ledger });
        let json = json.expect("names and numbers only");
        gelu_files::replace(&self.path, &json, Access::Secret).map_err(FileError::at(&self.path))
    }

    /// Waits until no other process books.
    fn lock(&self) -> Result<File, FileError> {
        let beside = self.path.with_added_extension("lock");
        let open = File::options().create(true).truncate(false).write(true).open(&beside);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.map_err(FileError::at(&beside))
    }
}

fn unbooked(error: FileError) -> Refused {
    Refused::Unbooked(error.to_string())
}

impl SumLedger for SumsFile {
    fn ledger(&self) -> Result<DataLedger, Refused> {
        self.read().map_err(unbooked)
    }

    fn book(
        &self,
        samples: &BTreeSet<SampleId>,
        data: &[DataExposure],
        policy: DataPolicy,
    ) -> Result<(), Refused> {
        let _locked = self.lock().map_err(unbooked)?;
        let mut ledger = self.read().map_err(unbooked)?;
        ledger.book(samples, data, policy)?;
        self.write(ledger).map_err(unbooked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    const ENFORCE: DataPolicy = DataPolicy::Enforce;

    /// A layer of 3 inputs and 3 outputs: 4 samples for the first sum, 5 for every further one.
    fn data() -> [DataExposure; 1] {
        [DataExposure {
            layer: "dense".into(),
            equations: 12,
            unknowns_per_sample: 6,
            outputs: 3,
            rows: 3,
            width: 4,
            terms_per_sample: 1,
        }]
    }

    fn samples(file: &SumsFile, rows: std::ops::Range<usize>) -> BTreeSet<SampleId> {
        let inputs =
            Array2::from_shape_fn((3, rows.len()), |(i, row)| (i + rows.start + row) as f64);
        file.ledger().unwrap().ids(&inputs).into_iter().collect()
    }

    #[test]
    fn what_was_revealed_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.sums");
        let file = SumsFile::open(&path).unwrap();
        file.book(&samples(&file, 0..4), &data(), ENFORCE).unwrap();
        let file = SumsFile::open(&path).unwrap();
        let refused = file.book(&samples(&file, 0..4), &data(), ENFORCE).unwrap_err();
        assert_eq!(refused, Refused::ExposesData { samples: 4, least: 5, sums: 2 });
        assert_eq!(file.ledger().unwrap().groups()[0].sums, 1);
        // Two processes at a time count into one file.
        let other = SumsFile::open(&path).unwrap();
        other.book(&samples(&other, 0..6), &data(), ENFORCE).unwrap();
        file.book(&samples(&file, 1..7), &data(), ENFORCE).unwrap();
        assert_eq!(other.ledger().unwrap().groups()[0].sums, 3);
        let names: BTreeSet<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["alice.sums".into(), "alice.sums.lock".into()].into());
    }

    #[test]
    fn each_file_has_a_key_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| SumsFile::open(&folder.path().join(name)).unwrap();
        assert!(samples(&open("a"), 0..4).is_disjoint(&samples(&open("b"), 0..4)));
        assert_eq!(samples(&open("a"), 0..4), samples(&open("a"), 0..4));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.sums");
        SumsFile::open(&path).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let other_format = whole.replace("\"format\":1", "\"format\":2");
        for content in [&whole[..whole.len() / 2], "", "{}", &other_format] {
            fs::write(&path, content).unwrap();
            let error = SumsFile::open(&path).unwrap_err().to_string();
            assert!(error.contains("alice.sums") && error.contains("backup"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_booked() {
        let folder = tempfile::tempdir().unwrap();
        let (clients, away) = (folder.path().join("clients"), folder.path().join("away"));
        fs::create_dir(&clients).unwrap();
        let path = clients.join("alice.sums");
        let file = SumsFile::open(&path).unwrap();
        let four = samples(&file, 0..4);
        fs::rename(&clients, &away).unwrap();
        let refused = file.book(&four, &data(), ENFORCE).unwrap_err();
        assert!(matches!(refused, Refused::Unbooked(_)), "{refused}");
        fs::rename(&away, &clients).unwrap();
        assert!(file.ledger().unwrap().groups().is_empty());
        fs::remove_file(&path).unwrap();
        let refused = file.book(&four, &data(), ENFORCE).unwrap_err();
        assert!(matches!(refused, Refused::Unbooked(_)), "gone is not empty: {refused}");
        assert!(!path.exists());
        assert!(SumsFile::open(&folder.path().join("none/alice.sums")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn its_owner_alone_may_read_it_and_a_link_stays_one() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("alice.sums"), folder.path().join("link"));
        SumsFile::open(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = SumsFile::open(&link).unwrap();
        file.book(&samples(&file, 0..4), &data(), ENFORCE).unwrap();
        assert_eq!(SumsFile::open(&path).unwrap().ledger().unwrap().groups().len(), 1);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
