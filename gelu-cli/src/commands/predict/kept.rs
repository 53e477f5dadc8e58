//! Answers in a file, and the record beside it from which an unfinished run goes on.
//!
//! Before rows are asked, `OUT.unfinished` says how many will have been read by then and what they are (a digest),
//! what the file holds by then (another one), which model is asked, and how lines look. Answers are appended, whole
//! lines at once. So whatever ends a run, the same command finds the record, checks all four, cuts off a line that is
//! not complete, and asks the first row that has no line. A run that has answered everything removes the record.
//!
//! Without a record, what stands at OUT is nothing to go on from, and is not touched unless forced.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read as _, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gelu_files::{self as files, Access};
use gelu_nn::schema::Hash;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout::Layout;
use super::rows::Read;
use crate::destination::{Destination, Kind};
use crate::phases::say;
use crate::problem::{cannot_write, problem};

/// The model that is asked. Of a server elsewhere, what it says of itself: weights are its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) version: u64,
    /// SHA-256 of the rest.
    pub(super) sha256: Hash,
}

/// `OUT.unfinished`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: String,
    version: u32,
    asked: Asked,
    layout: Layout,
    /// Whole answers that the file began with when this was written.
    answered: Answered,
    /// All rows that can have an answer by now.
    read: Part,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    rows: u64,
    bytes: u64,
    sha256: Hash,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    rows: u64,
    sha256: Hash,
}

/// A place for answers that was found good, and the record of an unfinished run there.
pub(super) struct Place {
    path: PathBuf,
    record: Option<Record>,
}

impl Place {
    /// Checks everything that can be checked before the model is known.
    ///
    /// # Errors
    /// `path` or its record cannot be written, is an input, is in use, or holds something else than an unfinished run's
    /// answers (which `force` overrides, and begins anew).
    pub(super) fn check(path: &Path, inputs: &[&Path], force: bool) -> Result<Self> {
        let record = beside(path);
        if let Some(place) = [path, &record].into_iter().find(|place| is_one_of(inputs, place)) {
            return Err(problem(
                format!("{} is an input of this very run", place.display()),
                "choose another --out",
            ));
        }
        Destination::check(path, Kind::Beginning(""), &[], true)?;
        files::check_writable(&record).map_err(|error| cannot_write(&record, &error))?;
        let found = Record::read(&record)?;
        let holds = fs::metadata(path).is_ok_and(|found| found.len() > 0);
        if holds && !force && found.is_none() {
            return Err(problem(
                format!("{} is there already, and no unfinished run has left it", path.display()),
                "choose another --out, or add --force to replace it",
            ));
        }
        Ok(Self { path: path.into(), record: found.filter(|_| holds && !force) })
    }

    /// Opens the file for answers of the model `asked`, or goes on from the record.
    ///
    /// # Errors
    /// The unfinished run asked another model or wrote other lines, or its file is no longer what it was; another run
    /// is writing to it; what the system says.
    pub(super) fn open(self, asked: Asked, layout: Layout) -> Result<Kept> {
        let Self { path, record } = self;
        if let Some(record) = &record {
            record.check(&path, &asked, &layout)?;
        }
        let file = File::options().create(true).read(true).append(true).open(&path);
        let file = file.map_err(|error| cannot_write(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem(
                    format!("another run is writing to {}", path.display()),
                    "wait for it, or choose another --out",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(cannot_write(&path, &error)),
        }
        let to_read = record.as_ref().map(|record| record.read.clone());
        let (fresh, so_far) = (record.is_none(), Sha256::new());
        let mut kept = Kept {
            file,
            path,
            asked,
            layout,
            fresh,
            rows: 0,
            earlier: 0,
            so_far,
            bytes: 0,
            to_read,
        };
        match record {
            Some(record) => kept.find_lines(&record)?,
            None => {
                kept.file.set_len(0).map_err(|error| cannot_write(&kept.path, &error))?;
                let header = kept.layout.header()?;
                kept.append(&header, 0)?;
                // A disk without room is met here, before a key is used.
                kept.note(&Read::default())?;
            }
        }
        Ok(kept)
    }
}

impl Record {
    fn read(path: &Path) -> Result<Option<Self>> {
        let shown = path.display();
        let text = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {shown}"))?,
        };
        let record = serde_json::from_slice::<Self>(&text).ok();
        let ours = record.filter(|record| record.format == FORMAT && record.version == VERSION);
        ours.map(Some).ok_or_else(|| {
            problem(
                format!("{shown} is no record of an unfinished run that this program can read"),
                "choose another --out, or move that file away and begin anew with --force",
            )
        })
    }

    fn check(&self, path: &Path, asked: &Asked, layout: &Layout) -> Result<()> {
        let (shown, begun) = (path.display(), &self.asked);
        let next = "choose another --out, or add --force to begin anew";
        if begun != asked {
            let what = match (begun.name == asked.name, begun.version == asked.version) {
                (true, false) => format!(
                    "the answers in {shown} are of version {} of {}, and now version {} would be asked",
                    begun.version, begun.name, asked.version
                ),
                (false, _) => format!(
                    "the answers in {shown} are of the model {}, and now {} would be asked",
                    begun.name, asked.name
                ),
                (true, true) => format!(
                    "the answers in {shown} are of another model that is called {}, too",
                    begun.name
                ),
            };
            return Err(problem(what, next));
        }
        if self.layout != *layout {
            return Err(problem(
                format!(
                    "the answers in {shown} were begun with another --format, --id or --schema"
                ),
                "give the same options as then, choose another --out, or add --force to begin anew",
            ));
        }
        Ok(())
    }
}

/// A file that answers are appended to. It is this run's alone as long as it is open.
pub(super) struct Kept {
    file: File,
    path: PathBuf,
    asked: Asked,
    layout: Layout,
    /// Whether this run has begun it.
    fresh: bool,
    /// Answers in the file.
    rows: u64,
    /// Those of earlier runs.
    earlier: u64,
    so_far: Sha256,
    bytes: u64,
    /// Rows that the input must begin with.
    to_read: Option<Part>,
}

impl Kept {
    /// Counts the lines that are complete, after those that the record knows, and cuts off what follows.
    fn find_lines(&mut self, record: &Record) -> Result<()> {
        let changed = |shown: &Path| {
            problem(
                format!("{} was changed since the run that did not finish", shown.display()),
                "choose another --out, or add --force to begin anew",
            )
        };
        let failed = |error| cannot_write(&self.path, &error);
        let mut file = BufReader::new(&self.file);
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let known = &record.answered;
        let mut so_far = Hashed(Sha256::new());
        let read = std::io::copy(&mut file.by_ref().take(known.bytes), &mut so_far);
        let Hashed(mut so_far) = so_far;
        if read.map_err(failed)? != known.bytes || hash(&so_far) != known.sha256 {
            return Err(changed(&self.path));
        }
        let (mut rows, mut bytes, mut line) = (known.rows, known.bytes, Vec::new());
        while file.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
            (rows, bytes) = (rows + 1, bytes + line.len() as u64);
            so_far.update(&line);
            line.clear();
        }
        if rows > record.read.rows {
            return Err(changed(&self.path));
        }
        self.file.set_len(bytes).map_err(failed)?;
        (self.rows, self.earlier, self.bytes, self.so_far) = (rows, rows, bytes, so_far);
        Ok(())
    }

    /// Answers in the file.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Those that were there when this run began.
    pub(super) fn earlier(&self) -> u64 {
        self.earlier
    }

    /// How many rows must have been read before anything is asked: those that an earlier run has read.
    pub(super) fn to_read(&self) -> u64 {
        self.to_read.as_ref().map_or(0, |part| part.rows)
    }

    /// Checks, as soon as that many are read, that they are the rows of the earlier run.
    ///
    /// # Errors
    /// They are others, or fewer.
    pub(super) fn check(&self, read: &Read) -> Result<()> {
        let Some(part) = &self.to_read else { return Ok(()) };
        if (read.rows(), read.hash()) == (part.rows, part.sha256) {
            return Ok(());
        }
        Err(problem(
            format!(
                "the first {} rows are not those that the answers in {} were begun for",
                part.rows,
                self.path.display()
            ),
            "give the same input again, choose another --out, or add --force to begin anew",
        ))
    }

    /// Notes, before they are asked, that so many rows are read.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn note(&self, read: &Read) -> Result<()> {
        let place = beside(&self.path);
        self.file.sync_data().map_err(|error| cannot_write(&self.path, &error))?;
        let record = Record {
            format: FORMAT.into(),
            version: VERSION,
            asked: self.asked.clone(),
            layout: self.layout.clone(),
            answered: Answered { rows: self.rows, bytes: self.bytes, sha256: hash(&self.so_far) },
            read: Part { rows: read.rows(), sha256: read.hash() },
        };
        let text = serde_json::to_vec_pretty(&record)?;
        files::replace(&place, &text, Access::Private).map_err(|error| cannot_write(&place, &error))
    }

    /// Appends the lines of `rows` answers.
    ///
    /// # Errors
    /// The disk. What could not be written is then said: it was paid for.
    pub(super) fn append(&mut self, lines: &str, rows: u64) -> Result<()> {
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Part of them may be there.
            let _ = self.file.set_len(self.bytes);
            if rows > 0 {
                say(&format!("answered, but not written:\n{}", lines.trim_end()));
            }
            return Err(cannot_write(&self.path, &error));
        }
        self.so_far.update(lines);
        self.bytes += lines.len() as u64;
        self.rows += rows;
        Ok(())
    }

    /// Everything is answered: the file is on the disk, and the record goes.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn finish(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| cannot_write(&self.path, &error))?;
        let place = beside(&self.path);
        fs::remove_file(&place).map_err(|error| cannot_write(&place, &error))
    }
}

/// A run that has begun a file and has no answer leaves nothing.
impl Drop for Kept {
    fn drop(&mut self) {
        if self.fresh && self.rows == 0 {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(beside(&self.path));
        }
    }
}

/// Takes bytes in.
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hash(so_far: &Sha256) -> Hash {
    Hash(so_far.clone().finalize().into())
}

fn is_one_of(inputs: &[&Path], path: &Path) -> bool {
    inputs.iter().any(|input| files::same(input, path))
}

/// Where the record of answers at `path` is.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("unfinished")
}

const FORMAT: &str = "gelu-unfinished-answers";
const VERSION: u32 = 1;
