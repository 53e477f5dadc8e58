//! Tables of numbers and words.
//!
//! | column | becomes |
//! | --- | --- |
//! | all numbers | one feature |
//! | two different words | one feature, 0 or 1: `bkblk=t` |
//! | three words or more | one feature each, 0 or 1: `katri=b`, `katri=n`, `katri=w` |
//! | the label | the number of the class, in the order of their names |
//!
//! A value is missing when it is empty, `?` or `NA`. Words are ordered (as numbers where all are
//! numbers), so two files with the same words are coded alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};
use ndarray::{Array2, ShapeBuilder};

use super::Dataset;
use crate::error::{DataError, Error, Result};

/// The most cells of a table: 2^26.
pub const MAX_CELLS: usize = 1 << 26;

/// The most words of a categorical column; with more it is an identifier rather than a category.
pub const MAX_CATEGORIES: usize = 1000;

/// How a file is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether the first row holds names.
    pub header: Header,
    /// Which column is the label; `None` when there is none.
    pub label: Option<Column>,
    /// Columns to leave out, such as an identifier.
    pub ignore: Vec<Column>,
    /// What to do with rows that lack a value.
    pub missing: Missing,
    /// What separates the columns.
    pub delimiter: u8,
}

impl Default for Options {
    /// Commas, the label last, missing values refused, the header detected.
    fn default() -> Self {
        Self {
            header: Header::Detect,
            label: Some(Column::Last),
            ignore: Vec::new(),
            missing: Missing::Refuse,
            delimiter: b',',
        }
    }
}

/// Whether the first row holds names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// It does when it has a word above a column of numbers; or, in a table without numbers, when
    /// none of its words is seen again in its own column.
    Detect,
    /// It does.
    Present,
    /// It does not; columns are called `c1`, `c2`, ...
    Absent,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// The first one.
    First,
    /// The last one.
    Last,
    /// By number, from 1.
    Number(usize),
    /// By name.
    Name(String),
}

impl From<&str> for Column {
    /// `first`, `last`, a number from 1, or a name.
    fn from(text: &str) -> Self {
        match text {
            "first" => Self::First,
            "last" => Self::Last,
            _ => text.parse().map_or_else(|_| Self::Name(text.into()), Self::Number),
        }
    }
}

/// What to do with rows that lack a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Refuse the file, saying where.
    Refuse,
    /// Leave those rows out.
    DropRows,
}

/// A table that has been read: features, and labels if there are any.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// `[features, samples]`.
    pub features: Array2<f64>,
    /// Names of the features.
    pub feature_names: Vec<String>,
    /// The class of each sample; empty when the table has no label.
    pub labels: Vec<usize>,
    /// Names of the classes; empty when the table has no label.
    pub class_names: Vec<String>,
    /// Rows left out because a value was missing.
    pub dropped: usize,
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file, [`Error::Io`].
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Self::read(BufReader::new(file), options).map_err(Error::data(path.display().to_string()))
    }

    /// Reads text.
    ///
    /// # Errors
    /// [`DataError`]: rows of different length, missing values (if refused), numbers that are not
    /// finite, a column that is not there, no samples, more than [`MAX_CELLS`].
    pub fn read(text: impl Read, options: &Options) -> Result<Self, DataError> {
        let mut rows = read_rows(text, options.delimiter)?;
        let names = take_header(&mut rows, options.header);
        let label = options.label.as_ref().map(|c| find(c, &names)).transpose()?;
        let ignored: BTreeSet<_> =
            options.ignore.iter().map(|c| find(c, &names)).collect::<Result<_, _>>()?;
        let used: Vec<_> = (0..names.len()).filter(|column| !ignored.contains(column)).collect();

        let before = rows.len();
        settle_missing(&mut rows, &names, &used, options.missing)?;
        if rows.is_empty() {
            return Err(DataError::Empty);
        }
        let mut features = Features::default();
        for &column in used.iter().filter(|&&column| Some(column) != label) {
            features.push(&names[column], rows.iter().map(|row| &row[column]))?;
        }
        let (labels, class_names) = match label {
            None => (Vec::new(), Vec::new()),
            Some(column) => categories(&names[column], rows.iter().map(|row| &row[column]))?,
        };
        Ok(Self {
            features: features.array(rows.len()),
            feature_names: features.names,
            labels,
            class_names,
            dropped: before - rows.len(),
        })
    }

    /// The samples with their labels.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] when the table was read without a label.
    pub fn into_dataset(self) -> Result<Dataset, DataError> {
        Dataset::new(self.features, self.labels, self.feature_names, self.class_names)
    }
}

fn read_rows(text: impl Read, delimiter: u8) -> Result<Vec<StringRecord>, DataError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(text);
    let mut rows = Vec::new();
    let mut cells = 0;
    for row in reader.records() {
        let row = row.map_err(|e| DataError::Csv(e.to_string()))?;
        cells += row.len();
        if cells > MAX_CELLS {
            let limit = MAX_CELLS as u64;
            return Err(DataError::TooLarge { what: "a table", got: cells as u64, limit });
        }
        rows.push(row);
    }
    match rows.is_empty() {
        true => Err(DataError::Empty),
        false => Ok(rows),
    }
}

/// Removes the header if there is one; returns the columns' names.
fn take_header(rows: &mut Vec<StringRecord>, header: Header) -> Vec<String> {
    let present = match header {
        Header::Present => true,
        Header::Absent => false,
        Header::Detect => looks_like_header(rows),
    };
    match present {
        true => rows.remove(0).iter().map(str::to_owned).collect(),
        false => (1..=rows[0].len()).map(|column| format!("c{column}")).collect(),
    }
}

fn looks_like_header(rows: &[StringRecord]) -> bool {
    let (first, rest) = rows.split_first().expect("at least one row");
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    if rest.is_empty() || first.iter().any(is_number) {
        return false;
    }
    let values =
        |column: usize| rest.iter().map(move |row| &row[column]).filter(|value| !is_missing(value));
    let is_numeric = |&column: &usize| {
        let mut values = values(column).peekable();
        values.peek().is_some() && values.all(is_number)
    };
    (0..first.len()).any(|column| is_numeric(&column))
        || (0..first.len()).all(|column| values(column).all(|value| value != &first[column]))
}

fn find(column: &Column, names: &[String]) -> Result<usize, DataError> {
    let found = match column {
        Column::First => Some(0),
        Column::Last => names.len().checked_sub(1),
        Column::Number(number) => number.checked_sub(1).filter(|&index| index < names.len()),
        Column::Name(name) => names.iter().position(|n| n == name),
    };
    found.ok_or_else(|| DataError::NoColumn {
        wanted: match column {
            Column::Name(name) => name.clone(),
            Column::Number(number) => number.to_string(),
            Column::First => "first".into(),
            Column::Last => "last".into(),
        },
        columns: names.join(", "),
    })
}

fn is_missing(value: &str) -> bool {
    matches!(value, "" | "?" | "NA")
}

/// Refuses or drops the rows that lack a value in one of the used columns.
fn settle_missing(
    rows: &mut Vec<StringRecord>,
    names: &[String],
    used: &[usize],
    policy: Missing,
) -> Result<(), DataError> {
    let lacks = |row: &StringRecord, column: usize| is_missing(&row[column]);
    if policy == Missing::DropRows {
        rows.retain(|row| !used.iter().any(|&column| lacks(row, column)));
        return Ok(());
    }
    let cells = rows.iter().enumerate().flat_map(|(r, row)| used.iter().map(move |&c| (r, row, c)));
    let mut missing = cells.filter(|&(_, row, column)| lacks(row, column));
    match missing.next() {
        None => Ok(()),
        Some((row, _, column)) => Err(DataError::Missing {
            count: 1 + missing.count(),
            row: row + 1,
            column: names[column].clone(),
        }),
    }
}

/// Features collected column by column.
#[derive(Default)]
struct Features {
    names: Vec<String>,
    values: Vec<f64>,
}

impl Features {
    fn push<'a>(
        &mut self,
        name: &str,
        cells: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), DataError> {
        let numbers: Option<Vec<f64>> = cells.clone().map(|cell| cell.parse().ok()).collect();
        if let Some(numbers) = numbers {
            if let Some(row) = numbers.iter().position(|x| !x.is_finite()) {
                let (column, value) = (name.to_owned(), numbers[row].to_string());
                return Err(DataError::NotFinite { row: row + 1, column, value });
            }
            self.names.push(name.to_owned());
            self.values.extend(numbers);
            return Ok(());
        }
        let (codes, words) = categories(name, cells)?;
        // Of two categories the second says it all.
        let first = usize::from(words.len() == 2);
        for (code, word) in words.iter().enumerate().skip(first) {
            self.names.push(format!("{name}={word}"));
            let hot = |&c: &usize| f64::from(u8::from(c == code));
            self.check_size(codes.len())?;
            self.values.extend(codes.iter().map(hot));
        }
        Ok(())
    }

    /// One-hot coding multiplies cells, so the limit is checked here once more.
    fn check_size(&self, rows: usize) -> Result<(), DataError> {
        let (got, limit) = ((self.values.len() + rows) as u64, MAX_CELLS as u64);
        match got <= limit {
            true => Ok(()),
            false => Err(DataError::TooLarge { what: "a table", got, limit }),
        }
    }

    /// `[features, samples]`, sample by sample in memory.
    fn array(&self, samples: usize) -> Array2<f64> {
        let features = self.names.len();
        let value = |(f, s): (usize, usize)| self.values[f * samples + s];
        Array2::from_shape_fn((features, samples).f(), value)
    }
}

/// The number of each cell's word, and the words in their order.
fn categories<'a>(
    column: &str,
    cells: impl Iterator<Item = &'a str> + Clone,
) -> Result<(Vec<usize>, Vec<String>), DataError> {
    let mut words = BTreeSet::new();
    for cell in cells.clone() {
        words.insert(cell);
        if words.len() > MAX_CATEGORIES {
            let (column, limit) = (column.to_owned(), MAX_CATEGORIES);
            return Err(DataError::TooManyCategories { column, limit });
        }
    }
    let mut words: Vec<_> = words.into_iter().collect();
    if words.iter().all(|word| word.parse::<f64>().is_ok()) {
        let number = |word: &str| word.parse::<f64>().unwrap_or(0.0);
        words.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    let code_of: BTreeMap<_, _> =
        words.iter().enumerate().map(|(code, &word)| (word, code)).collect();
    let codes = cells.map(|cell| code_of[cell]).collect();
    Ok((codes, words.into_iter().map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn read(text: &str, options: Options) -> Result<Table, DataError> {
        Table::read(text.as_bytes(), &options)
    }

    #[test]
    fn numbers_words_and_labels() {
        let text = "size,colour,shape,kind\n1,red,b,yes\n2.5,blue,a,no\n-3e1,red,c,yes\n";
        let table = read(text, Options::default()).unwrap();
        assert_eq!(table.feature_names, ["size", "colour=red", "shape=a", "shape=b", "shape=c"]);
        assert_eq!(table.class_names, ["no", "yes"]);
        assert_eq!(table.labels, [1, 0, 1]);
        let expected = array![
            [1.0, 2.5, -30.0],
            [1.0, 0.0, 1.0],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0]
        ];
        assert_eq!(table.features, expected);
    }

    #[test]
    fn headers_are_detected() {
        let names = |text| read(text, Options::default()).unwrap().feature_names;
        assert_eq!(names("a,b\n1,x\n2,y\n"), ["a"]);
        assert_eq!(names("1,x\n2,y\n"), ["c1"]);
        assert_eq!(names("t,f,won\nf,f,won\nf,t,nowin\n"), ["c1=t", "c2=t"]);
        assert_eq!(names("king,rook,end\nf,f,won\nt,t,nowin\n"), ["king=t", "rook=t"]);
        let forced = Options { header: Header::Present, ..Options::default() };
        assert_eq!(read("1,2\n3,4\n5,4\n", forced).unwrap().feature_names, ["1"]);
    }

    #[test]
    fn missing_values_are_reported_or_dropped() {
        let text = "a,b,k\n1,?,x\n2,5,y\n,NA,x\n4,6,x\n";
        let refused = read(text, Options::default()).unwrap_err();
        assert_eq!(refused, DataError::Missing { count: 3, row: 1, column: "b".into() });
        let drop = Options { missing: Missing::DropRows, ..Options::default() };
        let table = read(text, drop.clone()).unwrap();
        assert_eq!((table.dropped, table.features), (2, array![[2.0, 4.0], [5.0, 6.0]]));
        let ignoring = Options { ignore: vec!["b".into()], ..drop };
        assert_eq!(read(text, ignoring).unwrap().dropped, 1);
    }

    #[test]
    fn columns_are_chosen_by_place_number_or_name() {
        let text = "id,k,a\n7,x,1\n8,y,2\n";
        for label in ["k", "2"] {
            let (label, ignore) = (Some(label.into()), vec!["first".into()]);
            let table = read(text, Options { label, ignore, ..Options::default() }).unwrap();
            assert_eq!((table.feature_names, table.labels), (vec!["a".into()], vec![0, 1]));
        }
        let unlabelled = read(text, Options { label: None, ..Options::default() }).unwrap();
        assert_eq!(unlabelled.features.nrows(), 3);
        assert!(unlabelled.into_dataset().is_err());
        let wrong = Options { label: Some("colour".into()), ..Options::default() };
        assert!(matches!(read(text, wrong), Err(DataError::NoColumn { .. })));
        for (column, wanted) in [(0, "0"), (4, "4")] {
            let label = Some(Column::Number(column));
            let error = read(text, Options { label, ..Options::default() }).unwrap_err();
            let columns = "id, k, a".into();
            assert_eq!(error, DataError::NoColumn { wanted: wanted.into(), columns });
        }
    }

    #[test]
    fn classes_that_are_numbers_are_ordered_as_numbers() {
        let table = read("1,10\n2,9\n3,10\n", Options::default()).unwrap();
        assert_eq!(
            (table.class_names, table.labels),
            (vec!["9".into(), "10".into()], vec![1, 0, 1])
        );
    }

    #[test]
    fn malformed_tables_are_refused() {
        assert_eq!(read("", Options::default()), Err(DataError::Empty));
        assert_eq!(read("\n\n", Options::default()), Err(DataError::Empty));
        assert!(matches!(read("1,2\n3\n", Options::default()), Err(DataError::Csv(_))));
        assert!(matches!(
            read("inf,a\n1,b\n", Options::default()),
            Err(DataError::NotFinite { .. })
        ));
        let not_utf8 = Table::read([0xff, b',', b'1', b'\n'].as_slice(), &Options::default());
        assert!(matches!(not_utf8, Err(DataError::Csv(_))));
        let ids: String = (0..2000).map(|i| format!("id{i},x\n")).collect();
        assert!(matches!(read(&ids, Options::default()), Err(DataError::TooManyCategories { .. })));
        let only_header = Options { header: Header::Present, ..Options::default() };
        assert_eq!(read("a,b\n", only_header), Err(DataError::Empty));
    }
}
