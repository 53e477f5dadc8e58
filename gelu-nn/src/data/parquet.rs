//! Parquet files as tables of text, so that whatever reads a table reads them by the same rules.
//!
//! | in the file | as text |
//! | --- | --- |
//! | null | an empty cell |
//! | integers, floats, decimals | the number; floats in as many digits as tell them apart |
//! | booleans | `true`, `false` |
//! | strings, enumerations, dictionaries | themselves |
//! | dates, timestamps (milli-, micro-, nanoseconds, INT96) | ISO 8601, in UTC |
//!
//! Other columns (lists, structures, bytes, times of day) are refused by name if they are read. Only columns that are
//! wanted are decoded, a row group after the other: memory does not grow with the file.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::csv::StringRecord;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescriptor, Type};

use crate::error::DataError;

/// Rows of a Parquet file, after a first one with the names of its columns.
pub(super) struct Rows {
    file: SerializedFileReader<File>,
    columns: Vec<Column>,
    /// The columns that are decoded; the cells of others are empty.
    read: Vec<usize>,
    names_are_read: bool,
    /// The row group at hand, from 1, and its rows that are left.
    group: usize,
    rows: Option<ReaderIter>,
    /// Rows that were read.
    row: usize,
}

struct Column {
    name: String,
    kind: Kind,
}

/// How a value becomes text.
#[derive(Clone, Copy)]
enum Kind {
    /// As it is.
    Plain,
    /// A number of nanoseconds since 1970, which is a time.
    Nanoseconds,
    /// Not at all: it holds these.
    Refused(&'static str),
}

impl Rows {
    /// Reads the footer.
    pub(super) fn open(file: File) -> Result<Self, DataError> {
        let file = guarded(|| SerializedFileReader::new(file));
        let file = file.map_err(|e| unreadable("its footer", &e))?;
        let fields = file.metadata().file_metadata().schema_descr().root_schema().get_fields();
        let column =
            |field: &Arc<Type>| Column { name: field.name().trim().into(), kind: Kind::of(field) };
        let columns: Vec<_> = fields.iter().map(column).collect();
        let read = (0..columns.len()).collect();
        Ok(Self { file, columns, read, names_are_read: false, group: 0, rows: None, row: 0 })
    }

    /// Names of its columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// From now on decodes these columns only.
    pub(super) fn keep(&mut self, columns: impl Fn(usize) -> bool) {
        self.read = (0..self.columns.len()).filter(|&column| columns(column)).collect();
    }

    /// The next row; whether there is one.
    pub(super) fn next_into(&mut self, record: &mut StringRecord) -> Result<bool, DataError> {
        record.clear();
        if !self.names_are_read {
            self.names_are_read = true;
            self.columns.iter().for_each(|column| record.push_field(&column.name));
            return Ok(true);
        }
        let row = guarded(|| self.next_row()).map_err(|e| {
            unreadable(&format!("row {} (row group {})", self.row + 1, self.group), &e)
        })?;
        let Some(row) = row else { return Ok(false) };
        self.row += 1;
        let mut values = row.into_columns().into_iter();
        let mut read = self.read.iter().peekable();
        for (index, column) in self.columns.iter().enumerate() {
            let value = read.next_if(|&&next| next == index).and_then(|_| values.next());
            let text = value.map(|(_, value)| column.kind.text(&value)).unwrap_or_default();
            record.push_field(text.trim());
        }
        Ok(true)
    }

    fn next_row(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some);
            }
            if self.group == self.file.num_row_groups() {
                return Ok(None);
            }
            self.group += 1;
            self.rows = Some(self.open_group()?);
        }
    }

    fn open_group(&self) -> Result<ReaderIter, ParquetError> {
        let root = self.file.metadata().file_metadata().schema_descr().root_schema();
        let mut fields = Vec::new();
        for &index in &self.read {
            let Column { name, kind } = &self.columns[index];
            if let Kind::Refused(what) = kind {
                return Err(ParquetError::General(format!(
                    "column {name} holds {what}, not numbers, words or dates; leave it out with --ignore {name}"
                )));
            }
            fields.push(root.get_fields()[index].clone());
        }
        let wanted = Type::group_type_builder(root.name()).with_fields(fields).build()?;
        let wanted = SchemaDescriptor::new(Arc::new(wanted));
        let group = self.file.get_row_group(self.group - 1)?;
        TreeBuilder::new().as_iter(Arc::new(wanted), &*group)
    }
}

impl Kind {
    fn of(field: &Type) -> Self {
        let basic = field.get_basic_info();
        let repeated = basic.has_repetition() && basic.repetition() == Repetition::REPEATED;
        if repeated || !field.is_primitive() {
            return Self::Refused("lists or structures");
        }
        use ConvertedType as C;
        match (basic.logical_type_ref(), basic.converted_type(), field.get_physical_type()) {
            (Some(LogicalType::Timestamp(time)), ..) if time.unit == TimeUnit::NANOS => {
                Self::Nanoseconds
            }
            (Some(LogicalType::Time(_)), ..) | (_, C::TIME_MILLIS | C::TIME_MICROS, _) => {
                Self::Refused("times of day")
            }
            (Some(LogicalType::Float16), ..) | (_, C::UTF8 | C::ENUM | C::JSON | C::DECIMAL, _) => {
                Self::Plain
            }
            (_, _, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => Self::Refused("bytes"),
            _ => Self::Plain,
        }
    }

    fn text(self, value: &Field) -> String {
        match (self, value) {
            (Self::Nanoseconds, Field::Long(time)) => {
                Self::Plain.text(&Field::TimestampMicros(time.div_euclid(1000)))
            }
            (_, Field::Null) => String::new(),
            (_, Field::Str(text)) => text.clone(),
            // In the field's own words a float that is whole has a point.
            (_, Field::Float16(x)) => x.to_string(),
            (_, Field::Float(x)) => x.to_string(),
            (_, Field::Double(x)) => x.to_string(),
            // What is in no calendar that we read is no date, and is shown as it is.
            (_, &Field::Date(days)) if !is_in_calendar(days.into(), 1) => days.to_string(),
            (_, &Field::TimestampMillis(time)) if !is_in_calendar(time, 86_400_000) => {
                time.to_string()
            }
            (_, &Field::TimestampMicros(time)) if !is_in_calendar(time, 86_400_000_000) => {
                time.to_string()
            }
            (_, value) => value.to_string(),
        }
    }
}

/// Whether a time since 1970 is in the years 1 to 9999.
fn is_in_calendar(time: i64, day: i64) -> bool {
    (-719_162..2_932_897).contains(&time.div_euclid(day))
}

/// What a damaged file may make panic is an error. Whatever `work` has changed is not looked at again: errors end a
/// table.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let damaged = |_| Err(ParquetError::General("the file is damaged; write it again".into()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(damaged)
}

fn unreadable(where_: &str, error: &ParquetError) -> DataError {
    let why = match error {
        ParquetError::General(why) => why.clone(),
        error => error.to_string(),
    };
    DataError::Csv(format!("{where_}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::csv::{Column, Format, Table};
    use crate::schema::{Labels, ReadOptions, RowReader, Schema};

    /// Written by pyarrow 26: five rows in groups of two, a codec for each column in turn, dictionaries.
    const KINDS: &[u8] = include_bytes!("kinds.parquet");

    const UNREAD: [&str; 3] = ["list", "blob", "time"];

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kinds.parquet");
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn table(path: &Path, unread: &[&str]) -> crate::error::Result<Table> {
        let unread: Vec<_> = unread.iter().map(|&name| Column::from(name)).collect();
        Table::open(path, &Format::default(), &unread)
    }

    #[test]
    fn values_of_every_kind_are_the_text_that_a_table_would_have() {
        let (_folder, path) = file(KINDS);
        let table = table(&path, &UNREAD).unwrap();
        let column = |name: &str| -> Vec<&str> {
            let at = table.names().iter().position(|n| n == name).unwrap();
            table.rows.iter().map(|row| &row[at]).collect()
        };
        for (name, expected) in [
            ("id", ["1152921504606846977", "", "-3", "4", "5"]),
            ("small", ["1", "2", "", "255", "0"]),
            ("y", ["0.1", "0.0000001", "", "16777216", "3"]),
            ("price", ["12.50", "-0.05", "", "0.00", "99999.99"]),
            ("ok", ["true", "false", "", "true", "true"]),
            ("drug", ["none", "st\u{e4}tin, \"b\"", "", "none", ""]),
            ("day", ["2024-02-29", "1969-12-31", "", "1900-01-01", "9999-12-31"]),
            ("list", [""; 5]),
        ] {
            assert_eq!(column(name), expected, "{name}");
        }
        let number = |cell: &str| cell.parse::<f64>().ok();
        let x: Vec<_> = column("x").into_iter().map(number).collect();
        assert!(x[1].unwrap().is_nan());
        assert_eq!([x[0], x[2], x[3], x[4]], [Some(0.1), Some(1e300), Some(-2.5), None]);
        let times = |name| column(name).into_iter().map(|t| t.get(..19).unwrap_or(t)).collect();
        let ns: Vec<_> = times("ns");
        let first = ["2024-02-29 00:00:00", "1969-12-31 23:59:59", "", "1970-01-01 00:00:00"];
        assert_eq!(ns, [&first[..], &["1970-01-01 23:59:59"]].concat());
        let us: Vec<_> = times("us");
        assert_eq!(us, [&first[..], &["4611686018427387904"]].concat(), "in no calendar");
        let ms: Vec<_> = times("ms");
        assert_eq!(ms, [&first[..], &["1970-01-01 00:00:00"]].concat());
    }

    #[test]
    fn rows_are_read_by_name_and_refused_with_their_place() {
        let (_folder, path) = file(KINDS);
        let schema = |columns: &str| {
            Schema::from_json(&format!(r#"{{"version": 1, "columns": [{columns}]}}"#)).unwrap()
        };
        let all = ["id", "small", "x", "y", "price", "ok", "drug", "day", "ns", "us", "ms"];
        let ignore = |but: &[&str]| -> Vec<Column> {
            let rest = all.iter().chain(&UNREAD).filter(|name| !but.contains(name));
            rest.map(|&name| Column::from(name)).collect()
        };
        let options = |but: &[&str], extra: &[&str]| ReadOptions {
            ignore: ignore(but),
            labels: Labels::Ignored,
            extra: extra.iter().map(|&name| name.to_owned()).collect(),
            ..ReadOptions::default()
        };
        let by_name = schema(
            r#"{"type": "date", "name": "day", "as": ["days"], "missing": "drop"},
               {"type": "number", "name": "small", "missing": {"value": 7}}"#,
        );
        let read = RowReader::open(&path, &by_name, &options(&["day", "small", "id"], &["id"]));
        let rows: Vec<_> = read.unwrap().map(|row| row.unwrap()).collect();
        let numbers: Vec<_> = rows.iter().map(|row| row.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5], "over all row groups");
        assert_eq!(rows[0].features, Some(vec![19_782.0, 1.0]));
        assert_eq!((&rows[2].features, &rows[2].extra[0]), (&None, &"-3".to_owned()));
        assert_eq!(rows[4].features, Some(vec![2_932_896.0, 0.0]));

        let reason = |schema: &Schema, options: &ReadOptions| {
            let read = RowReader::open(&path, schema, options);
            let read = read.and_then(|rows| rows.collect::<Result<Vec<_>, _>>());
            read.unwrap_err().to_string()
        };
        let range =
            schema(r#"{"type": "number", "name": "id", "range": [-5, 1e19], "missing": "drop"}"#);
        assert!(RowReader::open(&path, &range, &options(&["id"], &[])).is_ok());
        let range =
            schema(r#"{"type": "number", "name": "id", "range": [0, 1e19], "missing": "drop"}"#);
        let said = reason(&range, &options(&["id"], &[]));
        assert!(
            said.contains("kinds.parquet") && said.contains("row 3, column id: \"-3\""),
            "{said}"
        );
        let said =
            reason(&schema(r#"{"type": "number", "name": "small"}"#), &options(&["small"], &[]));
        assert!(said.contains("row 3, column small"), "a null is a missing value: {said}");
        let said = reason(&schema(r#"{"type": "number", "name": "age"}"#), &options(&["x"], &[]));
        assert!(said.contains("age") && said.contains('x'), "{said}");
        for (name, holds) in UNREAD.into_iter().zip(["lists", "bytes", "times of day"]) {
            let column = format!(r#"{{"type": "number", "name": "{name}"}}"#);
            let said = reason(&schema(&column), &options(&[name], &[]));
            assert!(said.contains(name) && said.contains(holds), "{said}");
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let (_folder, path) = file(&KINDS[..KINDS.len() - 9]);
        let said = table(&path, &UNREAD).unwrap_err().to_string();
        assert!(said.contains("its footer"), "{said}");
        // Every 16th byte. What is read of it may be wrong, for want of checksums, but nothing panics.
        for at in (0..KINDS.len()).step_by(16) {
            let mut bytes = KINDS.to_vec();
            bytes[at] ^= 0x55;
            let (_folder, path) = file(&bytes);
            drop(table(&path, &UNREAD));
        }
    }
}
