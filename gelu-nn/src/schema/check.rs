//! All that does not fit between a table and a schema, at once.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::Schema;
use super::rows::{ReadOptions, RowReader};
use crate::data::csv::Records;
use crate::error::{DataError, Error, Result};

/// What was found in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows that were read.
    pub rows: usize,
    /// Rows that are left out because a value is missing.
    pub dropped: usize,
    /// What does not fit; nothing when the table can be used.
    pub troubles: Vec<Trouble>,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The column; none where the table as a whole is meant.
    pub column: Option<String>,
    /// The first row, from 1, and its value, where cells are meant.
    pub cell: Option<(usize, String)>,
    /// How many cells of the column have it.
    pub count: usize,
    /// What it is.
    pub what: String,
}

impl Schema {
    /// Reads a whole table and lists everything that does not fit; of cells that have the same trouble the first,
    /// and how many there are.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Schema`] when the schema is for images.
    pub fn check(&self, path: &Path, options: &ReadOptions) -> Result<Report> {
        let mut report = Report { rows: 0, dropped: 0, troubles: Vec::new() };
        let whole = |what: String| Trouble { column: None, cell: None, count: 1, what };
        let begin = || {
            let records = Records::open(path, &options.format)?;
            RowReader::begin(records, path.display().to_string(), self, options, false)
        };
        let mut reader = match begin() {
            Ok(reader) => reader,
            Err(Error::Data { problem: DataError::Columns { missing, unknown }, .. }) => {
                let column = |what: &str| {
                    let what = what.to_owned();
                    move |name| Trouble {
                        column: Some(name),
                        what: what.clone(),
                        ..whole(String::new())
                    }
                };
                let missing = missing.into_iter().map(column("is missing"));
                let unknown = unknown.into_iter().map(column("is unknown to the schema"));
                report.troubles = missing.chain(unknown).collect();
                return Ok(report);
            }
            Err(Error::Data { problem, .. }) => {
                report.troubles.push(whole(problem.to_string()));
                return Ok(report);
            }
            Err(error) => return Err(error),
        };
        let mut found: BTreeMap<(String, String), Trouble> = BTreeMap::new();
        let read = reader.read_all(|wrong| {
            let DataError::Cell { row, column, value, why } = wrong else { return };
            let entry = found.entry((column.clone(), why.clone())).or_insert_with(|| Trouble {
                column: Some(column),
                cell: Some((row, value)),
                count: 0,
                what: why,
            });
            entry.count += 1;
        });
        report.troubles = found.into_values().collect();
        report.troubles.sort_by_key(|trouble| trouble.cell.as_ref().map(|(row, _)| *row));
        match read {
            Ok([rows, dropped]) => (report.rows, report.dropped) = (rows, dropped),
            Err(Error::Data { problem, .. }) => report.troubles.push(whole(problem.to_string())),
            Err(error) => return Err(error),
        }
        if report.troubles.is_empty() && report.rows == report.dropped {
            report.troubles.push(whole(DataError::Empty.to_string()));
        }
        Ok(report)
    }
}
