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
