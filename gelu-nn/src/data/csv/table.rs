//! A whole table in memory, and whether it begins with names.

use std::io::Read;
use std::path::Path;

use ::csv::StringRecord;

use super::{Column, Decimal, Format, Header, MAX_CELLS, Records, header_names, is_missing};
use crate::error::{DataError, Error, Result};

/// A table in memory, as text.
#[derive(Debug, Clone)]
pub struct Table {
    /// Names of the columns: those of the header, or `c1`, `c2`, ...
    pub(crate) names: Vec<String>,
    pub(crate) has_header: bool,
    pub(crate) rows: Vec<StringRecord>,
    pub(crate) decimal: Decimal,
}

impl Table {
    /// Reads a file; cells of the columns `unread`, which nobody looks at, may be empty.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, [`Error::Io`].
    pub fn open(path: &Path, format: &Format, unread: &[Column]) -> Result<Self> {
        let mut records = Records::open(path, format)?;
        records.leave_out(unread);
        Self::collect(records, format.header).map_err(Error::data(path.display().to_string()))
    }

    /// Reads text.
    ///
    /// # Errors
    /// [`DataError`]: rows of different length, text that is not UTF-8, names that are empty or occur twice, no
    /// rows, more than [`MAX_CELLS`].
    pub fn read(text: impl Read + Send + 'static, format: &Format) -> Result<Self, DataError> {
        Self::collect(Records::new(text, format)?, format.header)
    }

    pub(crate) fn collect(mut records: Records, header: Header) -> Result<Self, DataError> {
        let header = records.header(header);
        let (mut rows, mut cells, mut row) = (Vec::new(), 0, StringRecord::new());
        while records.next_into(&mut row)? {
            cells += row.len();
            if cells > MAX_CELLS {
                let limit = MAX_CELLS as u64;
                return Err(DataError::TooLarge { what: "a table", got: cells as u64, limit });
            }
            rows.push(row.clone());
        }
        let decimal = records.decimal;
        let has_header = match header {
            Header::Present => true,
            Header::Absent => false,
            Header::Detect => looks_like_header(&rows, decimal),
        };
        let width = rows.first().map_or(0, StringRecord::len);
        let names = match has_header && !rows.is_empty() {
            true => header_names(&rows.remove(0))?,
            false => (1..=width).map(|column| format!("c{column}")).collect(),
        };
        match rows.is_empty() {
            true => Err(DataError::Empty),
            false => Ok(Self { names, has_header, rows, decimal }),
        }
    }

    /// Names of the columns: those of the header, or `c1`, `c2`, ...
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of rows, a header not counted; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

fn looks_like_header(rows: &[StringRecord], decimal: Decimal) -> bool {
    let Some((first, rest)) = rows.split_first() else { return false };
    let is_number = |text: &str| decimal.number(text).is_some();
    if rest.is_empty() || first.iter().any(is_number) {
        return false;
    }
    let values =
        |column: usize| rest.iter().map(move |row| &row[column]).filter(|value| !is_missing(value));
    // One stray cell makes no header into a row.
    let is_numeric = |&column: &usize| {
        let (mut numbers, mut others) = (0, 0);
        values(column).for_each(|value| match is_number(value) {
            true => numbers += 1,
            false => others += 1,
        });
        numbers > others
    };
    (0..first.len()).any(|column| is_numeric(&column))
        || (0..first.len()).all(|column| values(column).all(|value| value != &first[column]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_detected() {
        let read = |text: &'static str, header| {
            Table::read(text.as_bytes(), &Format { header, ..Format::default() }).unwrap()
        };
        let names = |text| read(text, Header::Detect).names;
        assert_eq!(names("a,b\n1,x\n2,y\n"), ["a", "b"]);
        assert_eq!(names("1,x\n2,y\n"), ["c1", "c2"]);
        assert_eq!(names("t,f,won\nf,f,won\nf,t,nowin\n"), ["c1", "c2", "c3"]);
        assert_eq!(names("king,rook,end\nf,f,won\nt,t,nowin\n"), ["king", "rook", "end"]);
        assert_eq!(names("a,b\n1,x\n-,x\n2,x\n"), ["a", "b"], "one stray cell");
        let years = "2019,2020\n3,4\n5,4\n";
        assert_eq!(
            (names(years), read(years, Header::Detect).len()),
            (vec!["c1".into(), "c2".into()], 3)
        );
        assert_eq!(read(years, Header::Present).names, ["2019", "2020"]);
    }
}
