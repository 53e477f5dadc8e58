//! A table read by a schema, row by row: memory does not grow with the table.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ::csv::StringRecord;

use super::column::{Cell, Missing, Scale};
use super::{Column, Label, Schema};
use crate::data::csv::{self, Decimal, Format, Header, Records, header_names};
use crate::error::{DataError, Error, Result};

/// How a table is read by a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// How its text is cut into cells.
    pub format: Format,
    /// Whether it must have a label.
    pub labels: Labels,
    /// Where the label is, if its column is not called as in the schema.
    pub label: Option<csv::Column>,
    /// Columns to leave out besides those that the schema ignores.
    pub ignore: Vec<csv::Column>,
    /// Rows of these classes only; all where there are none.
    pub classes: Vec<String>,
    /// Columns whose text is wanted beside the features, such as an identifier.
    pub extra: Vec<String>,
}

/// Whether a table must have a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Labels {
    /// A class in each row.
    #[default]
    Required,
    /// Where the table has the column and the row has a value, it must be a class.
    Optional,
    /// The column is not read.
    Ignored,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// From 1, a header not counted.
    pub number: usize,
    /// The network's inputs; `None` when a value is missing whose rule is to drop the row.
    pub features: Option<Vec<f64>>,
    /// The class, where there is one.
    pub label: Option<usize>,
    /// The text of the [extra](ReadOptions::extra) columns.
    pub extra: Vec<String>,
}

/// Rows of a table, as they come.
///
/// A row that does not fit the schema is an error that names it; the next call goes on with the row after it. Text that
/// cannot be read ends the table.
pub struct RowReader {
    schema: Arc<Schema>,
    scales: Option<Vec<Scale>>,
    /// What errors call the table.
    name: String,
    records: Records,
    places: Places,
    /// The first row of a table without header.
    first: Option<StringRecord>,
    row: usize,
    ended: bool,
}

/// What a cell of the label's column says.
enum Class {
    Known(usize),
    /// Nothing, which is allowed.
    None,
    /// That the row is not read.
    LeftOut,
    Wrong(String),
}

/// Where the columns of a schema are in a table.
struct Places {
    columns: Vec<usize>,
    label: Option<usize>,
    extra: Vec<usize>,
    labels: Labels,
    /// The classes whose rows are read.
    only: Option<Label>,
}

impl RowReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] naming the file: columns that are missing or unknown, no header where the
    /// schema needs one; [`Error::Schema`] when the schema is for images, or has no scales yet.
    pub fn open(path: &Path, schema: &Schema, options: &ReadOptions) -> Result<Self> {
        schema.must_be_fitted()?;
        let records = Records::open(path, &options.format)?;
        Self::begin(records, path.display().to_string(), schema, options, true)
    }

    /// Reads text, such as the standard input, which errors call `name`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(
        text: impl Read + Send + 'static,
        name: &str,
        schema: &Schema,
        options: &ReadOptions,
    ) -> Result<Self> {
        schema.must_be_fitted()?;
        let records = Records::new(text, &options.format).map_err(Error::data(name))?;
        Self::begin(records, name.to_owned(), schema, options, true)
    }

    /// Reads the header and finds the columns; features are scaled or left as they are.
    pub(super) fn begin(
        mut records: Records,
        name: String,
        schema: &Schema,
        options: &ReadOptions,
        scaled: bool,
    ) -> Result<Self> {
        if schema.image().is_some() {
            return Err(Error::Schema(format!("the model takes images, but {name} is a table")));
        }
        let mut first = StringRecord::new();
        let mut find = || {
            if !records.next_into(&mut first)? {
                return Err(DataError::Empty);
            }
            let header = records.header(options.format.header);
            let (names, has_header) = names(&first, schema, header, options.labels)?;
            Ok((Places::find(schema, &names, options)?, has_header))
        };
        let (places, has_header) = find().map_err(Error::data(&name))?;
        records.keep(|column| places.have(column));
        let scales = scaled.then(|| schema.scales());
        let first = (!has_header).then_some(first);
        let schema = Arc::new(schema.clone());
        Ok(Self { schema, scales, name, records, places, first, row: 0, ended: false })
    }

    /// The schema that it reads by.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Whether the table has a column with labels that are read.
    pub fn has_labels(&self) -> bool {
        self.places.label.is_some()
    }

    /// The next row as text, and its number.
    fn next_record(&mut self) -> Option<Result<StringRecord, DataError>> {
        if self.ended {
            return None;
        }
        let record = match self.first.take() {
            Some(first) => Ok(first),
            None => {
                let mut record = StringRecord::new();
                match self.records.next_into(&mut record) {
                    Ok(true) => Ok(record),
                    Ok(false) => {
                        self.ended = true;
                        return None;
                    }
                    Err(error) => {
                        self.ended = true;
                        Err(error)
                    }
                }
            }
        };
        self.row += 1;
        Some(record)
    }

    /// Reads a row, and tells of every cell that does not fit; of a row that is left out nothing is told.
    fn decode(&self, record: &StringRecord, wrong: impl FnMut(DataError)) -> Row {
        let number = self.row;
        let mut row = Row { number, features: None, label: None, extra: Vec::new() };
        let mut problems = Vec::new();
        let mut bad = |column: &str, value: &str, why: String| {
            let (column, value) = (column.to_owned(), shortened(value));
            problems.push(DataError::Cell { row: number, column, value, why });
        };
        let (mut features, mut dropped) = (Vec::with_capacity(self.schema.inputs()), false);
        for (column, &place) in self.schema.columns().iter().zip(&self.places.columns) {
            match column.encode(&record[place], self.records.decimal, &mut features) {
                Ok(Cell::Read) => {}
                Ok(Cell::Dropped) => dropped = true,
                Err(why) => bad(column.name(), &record[place], why),
            }
        }
        if let (Some(place), Some(known)) = (self.places.label, self.schema.label()) {
            match self.class(known, &record[place]) {
                Class::Known(class) => row.label = Some(class),
                Class::None => {}
                Class::LeftOut => dropped = true,
                Class::Wrong(why) => bad(&known.name, &record[place], why),
            }
        }
        row.extra = self.places.extra.iter().map(|&place| record[place].to_owned()).collect();
        if dropped {
            return row;
        }
        problems.into_iter().for_each(wrong);
        if let Some(scales) = &self.scales {
            features.iter_mut().zip(scales).for_each(|(x, scale)| *x = scale.apply(*x));
        }
        Row { features: Some(features), ..row }
    }

    /// What a cell of the label's column says.
    fn class(&self, label: &Label, cell: &str) -> Class {
        let decimal = self.records.decimal;
        let number = decimal.number(cell).filter(|_| decimal == Decimal::Comma);
        let spelled = number.map_or(cell.to_owned(), |number| number.to_string());
        if self.places.only.as_ref().is_some_and(|only| only.class(&spelled).is_none()) {
            return Class::LeftOut;
        }
        match (label.class(&spelled), csv::is_missing(cell), self.places.labels) {
            (Some(class), ..) => Class::Known(class),
            (None, true, Labels::Required) if self.drops() => Class::LeftOut,
            (None, true, Labels::Required) => Class::Wrong("is missing".into()),
            (None, true, _) => Class::None,
            (None, false, _) => Class::Wrong(format!(
                "is none of the model's classes: {}",
                label.classes.join(", ")
            )),
        }
    }

    /// Whether rows without a label are left out: where rows are left out for other reasons, too.
    fn drops(&self) -> bool {
        self.schema.columns().iter().any(|column| column.missing() != Missing::Refuse)
    }

    /// Reads the table to its end and tells of everything that does not fit; how many rows there are, and how many
    /// are left out.
    ///
    /// # Errors
    /// Text that cannot be read.
    pub(super) fn read_all(&mut self, mut wrong: impl FnMut(DataError)) -> Result<[usize; 2]> {
        let mut dropped = 0;
        while let Some(record) = self.next_record() {
            let record = record.map_err(Error::data(&self.name))?;
            dropped += usize::from(self.decode(&record, &mut wrong).features.is_none());
        }
        Ok([self.row, dropped])
    }
}

impl Iterator for RowReader {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let read = self.next_record()?.and_then(|record| {
            let mut first = None;
            let row = self.decode(&record, |wrong| first = first.take().or(Some(wrong)));
            first.map_or(Ok(row), Err)
        });
        Some(read.map_err(Error::data(&self.name)))
    }
}

/// Names of the table's columns, and whether its first row holds them.
fn names(
    first: &StringRecord,
    schema: &Schema,
    header: Header,
    labels: Labels,
) -> Result<(Vec<String>, bool), DataError> {
    let named = |name: &String| first.iter().any(|cell| cell == name);
    let has_header = match (header, &schema.description().order) {
        (Header::Present, _) | (Header::Detect, None) => true,
        (Header::Absent, None) => {
            return Err(DataError::Csv(
                "the model knows its columns by name, so the table needs a header; put the names above it".into(),
            ));
        }
        (Header::Absent, Some(_)) => false,
        (Header::Detect, Some(_)) => schema.columns().iter().map(Column::name).any(named),
    };
    let Some(order) = schema.description().order.as_ref().filter(|_| !has_header) else {
        return Ok((header_names(first)?, true));
    };
    let label = schema.label().map(|label| &label.name);
    let without_label: Vec<_> = order.iter().filter(|name| Some(*name) != label).cloned().collect();
    let may_lack = labels != Labels::Required;
    match first.len() {
        width if width == order.len() => Ok((order.clone(), false)),
        width if may_lack && width == without_label.len() => Ok((without_label, false)),
        width => Err(DataError::Csv(format!(
            "rows have {width} cells, but a table without a header needs {}, in this order: {}",
            order.len(),
            order.join(", ")
        ))),
    }
}

impl Places {
    fn find(schema: &Schema, names: &[String], options: &ReadOptions) -> Result<Self, DataError> {
        let find = |column: &csv::Column| csv::find(column, names);
        let ignored = options.ignore.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let elsewhere = options.label.as_ref().map(find).transpose()?;
        let mut missing = Vec::new();
        let mut place = |name: &String| {
            let found = names.iter().position(|n| n == name).filter(|i| !ignored.contains(i));
            if found.is_none() {
                missing.push(name.clone());
            }
            found
        };
        let columns: Vec<_> = schema.columns().iter().filter_map(|c| place(c.name())).collect();
        let extra: Vec<_> = options.extra.iter().filter_map(&mut place).collect();
        let label = schema.label().map(|label| &label.name);
        let named = label.and_then(|label| names.iter().position(|n| n == label));
        let label_at = elsewhere.or(named);
        if options.labels == Labels::Required && label_at.is_none() {
            missing.push(label.cloned().unwrap_or("(the schema has no label)".into()));
        }
        let known = |i: &usize| {
            columns.contains(i)
                || extra.contains(i)
                || ignored.contains(i)
                || label_at == Some(*i)
                || schema.description().ignore.contains(&names[*i])
        };
        let unknown: Vec<_> = (0..names.len()).filter(|i| !known(i)).collect();
        if missing.is_empty() && unknown.is_empty() {
            let only = (!options.classes.is_empty()).then(|| Label {
                name: label.cloned().unwrap_or_default(),
                classes: options.classes.clone(),
            });
            let label = label_at.filter(|_| options.labels != Labels::Ignored);
            return Ok(Self { columns, label, extra, labels: options.labels, only });
        }
        let unknown = unknown.into_iter().map(|i| names[i].clone()).collect();
        Err(DataError::Columns { missing, unknown })
    }

    /// Whether cells of a column of the table are looked at.
    fn have(&self, column: usize) -> bool {
        self.columns.contains(&column) || self.extra.contains(&column) || self.label == Some(column)
    }
}

/// See [`Schema::read_features`].
pub(super) fn read_record<'a>(
    schema: &Schema,
    cell: impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<Vec<f64>>> {
    if schema.image().is_some() {
        return Err(Error::Schema("the model takes images, not records".into()));
    }
    schema.must_be_fitted()?;
    let (mut features, mut dropped) = (Vec::with_capacity(schema.inputs()), false);
    for column in schema.columns() {
        let value = cell(column.name()).unwrap_or_default();
        match column.encode(value.trim(), Decimal::Point, &mut features) {
            Ok(Cell::Read) => {}
            Ok(Cell::Dropped) => dropped = true,
            Err(why) => {
                let (column, value) = (column.name().clone(), shortened(value));
                return Err(Error::data("record")(DataError::Cell { row: 1, column, value, why }));
            }
        }
    }
    if dropped {
        return Ok(None);
    }
    let scaled = features.into_iter().zip(schema.scales()).map(|(x, scale)| scale.apply(x));
    Ok(Some(scaled.collect()))
}

/// As much of a cell as an error shows.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
