//! New rows, in pieces: a table or images, read as the model's schema says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gelu_nn::Schema;
use gelu_nn::data::images::Images;
use gelu_nn::schema::{Hash, ReadOptions, RowReader, Scale};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{self, Receiver};

use crate::data::check_there;
use crate::problem::{Advise, problem};

/// Rows that are read before the first of them is asked; so many are in memory, three times.
pub(super) const PIECE: usize = 1024;

/// Where rows come from.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// A table in a file, or, called `-`, on the standard input; with a column whose text is the rows' names, or without.
    Table(PathBuf, ReadOptions),
    /// A PNG file, a folder of them, or an IDX file.
    Images(PathBuf),
}

/// What is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// From 1.
    pub(super) number: u64,
    /// Its name: the text of the column that was chosen, or that of its file.
    pub(super) id: Option<String>,
    /// None where a value is missing without which the schema has no answer.
    pub(super) features: Option<Vec<f64>>,
}

type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

impl Input {
    /// The file or the folder, unless it is the standard input.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Table(path, _) if path.as_os_str() == "-" => None,
            Self::Table(path, _) | Self::Images(path) => Some(path),
        }
    }

    /// Whether rows have names.
    pub(super) fn has_ids(&self) -> bool {
        match self {
            Self::Table(_, options) => !options.extra.is_empty(),
            Self::Images(_) => true,
        }
    }

    /// Reads everything once, so that nothing is asked before the last row is known to fit: how many rows there are.
    /// The standard input can be read only once; nothing is known of it.
    ///
    /// # Errors
    /// The first row that does not fit.
    pub(super) fn check(&self, schema: &Schema) -> Result<Option<u64>> {
        if self.path().is_none() {
            return Ok(None);
        }
        let mut count = 0;
        for row in self.rows(schema)? {
            row?;
            count += 1;
        }
        match count {
            0 => Err(no_rows()),
            rows => Ok(Some(rows)),
        }
    }

    /// All rows, in pieces of [`PIECE`], read ahead by a thread of its own: a reader that waits for its input keeps
    /// nobody from being interrupted.
    ///
    /// # Errors
    /// What can be said before the first row: columns that differ, a file that is not there.
    pub(super) fn pieces(&self, schema: &Schema) -> Result<Receiver<Result<Vec<Row>>>> {
        let mut rows = self.rows(schema)?;
        let (send, pieces) = mpsc::channel(1);
        let reading = move || {
            loop {
                let piece = rows.by_ref().take(PIECE).collect::<Result<Vec<_>>>();
                let more = piece.as_ref().is_ok_and(|piece| piece.len() == PIECE);
                let any = piece.as_ref().map_or(true, |piece| !piece.is_empty());
                if any && send.blocking_send(piece).is_err() || !more {
                    return;
                }
            }
        };
        let reader = std::thread::Builder::new().name("gelu-rows".into());
        reader.spawn(reading).context("cannot start a thread to read")?;
        Ok(pieces)
    }

    fn rows(&self, schema: &Schema) -> Result<Rows> {
        self.path().map_or(Ok(()), check_there)?;
        match self {
            Self::Table(path, options) => {
                let opened = match self.path() {
                    Some(path) => RowReader::open(path, schema, options),
                    None => RowReader::new(std::io::stdin(), "the standard input", schema, options),
                };
                let advice =
                    || "`gelu schema check FILE --model MODEL` lists all that differs".to_owned();
                let rows = opened.advise(advice)?;
                let name = path.display().to_string();
                Ok(Box::new(rows.map(move |row| {
                    let gelu_nn::schema::Row { number, features, extra, .. } =
                        row.advise(advice)?;
                    let (number, id) = (number as u64, extra.into_iter().next());
                    one_line(&name, Row { number, id, features })
                })))
            }
            Self::Images(path) => {
                let image = schema.image().ok_or_else(|| {
                    problem(
                        "the model takes rows of a table, not images",
                        "give a table with --csv",
                    )
                })?;
                let images = Images::open(path, image.shape())
                    .advise(|| "give PNG files of that size, or an IDX file".into())?;
                let (scales, name) = (schema.scales(), path.display().to_string());
                Ok(Box::new((0..images.len()).map(move |index| {
                    let pixels = images.read(index).advise(|| {
                        "convert that image, in the same way as those that the model was trained on".into()
                    })?;
                    let scaled = |(x, scale): (f64, &Scale)| scale.apply(x);
                    let features = pixels.into_iter().zip(&scales).map(scaled).collect();
                    let id = Some(images.name(index));
                    one_line(&name, Row { number: index as u64 + 1, id, features: Some(features) })
                })))
            }
        }
    }
}

pub(super) fn no_rows() -> anyhow::Error {
    problem("there are no rows to answer", "give a table with rows below its header")
}

/// A row whose answer is one line: so a line that is complete can be told from one that is not.
fn one_line(name: &str, row: Row) -> Result<Row> {
    match row.id.as_deref().filter(|id| id.contains(['\n', '\r'])) {
        None => Ok(row),
        Some(id) => Err(problem(
            format!("{name}: row {} is called {id:?}, which has a line break", row.number),
            "rename it, or choose another --id",
        )),
    }
}

/// How many rows were read, and what they were.
#[derive(Debug, Clone, Default)]
pub(super) struct Read {
    rows: u64,
    so_far: Sha256,
}

impl Read {
    /// One more. A row is its name and its features; equal texts that the schema reads as the same numbers are the
    /// same row.
    pub(super) fn add(&mut self, row: &Row) {
        self.rows += 1;
        let id = row.id.as_deref().unwrap_or_default();
        self.so_far.update((id.len() as u64).to_le_bytes());
        self.so_far.update(id);
        let features = row.features.as_deref().unwrap_or_default();
        self.so_far.update((features.len() as u64).to_le_bytes());
        features.iter().for_each(|feature| self.so_far.update(feature.to_bits().to_le_bytes()));
    }

    /// How many.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// SHA-256 of all of them.
    pub(super) fn hash(&self) -> Hash {
        Hash(self.so_far.clone().finalize().into())
    }
}
