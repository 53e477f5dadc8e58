//! Tables as people have them: cells of text in rows, with or without names above them.
//!
//! | in the file | how it is read |
//! | --- | --- |
//! | the delimiter | `,` `;` tab or `|`, whichever cuts the first rows into equally many cells; `sep=;` on a line of its own says so too |
//! | decimal comma | where numbers have a comma and none has a point |
//! | a header | the first row, if it has a word above a column of numbers |
//! | a missing value | an empty cell, `?`, `NA`, `N/A`, `#N/A`, `NaN`, `nan`, `null` or `NULL` |
//!
//! Files in Parquet are read as if they were such a table, with a header, where the program was built with the feature
//! `parquet`; they are known by their content.
//!
//! [`Format`] overrides what is detected. Text is UTF-8, with or without a mark at its beginning; cells may be
//! quoted. What the cells mean is said by a [`Schema`](crate::Schema).

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use ::csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use crate::error::{DataError, Error, Result};

/// The most cells of a table in memory: 2^26.
pub const MAX_CELLS: usize = 1 << 26;

/// The most words of a categorical column; with more it is an identifier rather than a category.
pub const MAX_CATEGORIES: usize = 1000;

/// The longest row, in bytes.
const MAX_ROW: usize = 1 << 22;

/// How the text of a table is cut into cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Format {
    /// What separates the columns; `None` detects it.
    pub delimiter: Option<u8>,
    /// Whether the first row holds names.
    pub header: Header,
    /// How numbers are written.
    pub decimal: Decimal,
}

/// Whether the first row holds names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Header {
    /// It does when it has a word above a column of numbers; or, in a table without numbers, when
    /// none of its words is seen again in its own column.
    #[default]
    Detect,
    /// It does.
    Present,
    /// It does not; columns are called `c1`, `c2`, ...
    Absent,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Decimal {
    /// With a comma where the first rows show that, otherwise with a point.
    #[default]
    Detect,
    /// 3.14
    Point,
    /// 3,14
    Comma,
}

impl Decimal {
    /// The finite number that a cell holds.
    pub(crate) fn number(self, cell: &str) -> Option<f64> {
        // Rust would read `inf` and `nan` as well.
        let digits = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'))
        };
        let number = match self {
            Self::Comma if cell.contains('.') => None,
            Self::Comma => {
                let pointed = cell.replacen(',', ".", 1);
                digits(&pointed).then(|| pointed.parse().ok())?
            }
            Self::Point | Self::Detect => digits(cell).then(|| cell.parse().ok())?,
        };
        number.filter(|x: &f64| x.is_finite())
    }
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

/// Whether a cell holds no value.
pub(crate) fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "?" | "NA" | "N/A" | "#N/A" | "NaN" | "nan" | "null" | "NULL")
}

/// Rows of cells, one after the other.
pub(crate) struct Records {
    source: Source,
    /// Never [`Decimal::Detect`].
    pub(crate) decimal: Decimal,
    /// Cells of the first row.
    width: Option<usize>,
}

/// Where rows come from.
enum Source {
    Text(::csv::Reader<Box<dyn Read + Send>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet::Rows>),
}

impl Records {
    /// Opens a file.
    pub(crate) fn open(path: &Path, format: &Format) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let opened = match is_parquet(path, &mut file).map_err(Error::io(path))? {
            true => Self::parquet(file),
            false => Self::new(file, format),
        };
        opened.map_err(Error::data(path.display().to_string()))
    }

    #[cfg(feature = "parquet")]
    fn parquet(file: File) -> Result<Self, DataError> {
        let source = Source::Parquet(Box::new(super::parquet::Rows::open(file)?));
        Ok(Self { source, decimal: Decimal::Point, width: None })
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(_: File) -> Result<Self, DataError> {
        Err(DataError::Csv(
            "it is a Parquet file, which this build does not read; build the program that does with `cargo build \
             --release -p gelu-cli --features parquet`, or write the table as CSV"
                .into(),
        ))
    }

    /// Looks at the beginning of a text, and stands before its first row.
    pub(crate) fn new(
        mut text: impl Read + Send + 'static,
        format: &Format,
    ) -> Result<Self, DataError> {
        let mut head = Vec::new();
        let read = text.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|e| DataError::Csv(e.to_string()))?;
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Err(DataError::Csv(format!("the text is UTF-16; {ENCODING}")));
        }
        if head.starts_with(PARQUET) && std::str::from_utf8(&head).is_err() {
            return Err(DataError::Csv(
                "it looks like Parquet, whose directory stands at its end; name a whole file"
                    .into(),
            ));
        }
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
        }
        let hint = separator_line(&mut head);
        let whole = match head.iter().rposition(|&b| b == b'\n') {
            Some(end) if head.len() > HEAD / 2 => &head[..=end],
            _ => &head[..],
        };
        let delimiter = format.delimiter.or(hint).unwrap_or_else(|| likely_delimiter(whole));
        let decimal = match format.decimal {
            Decimal::Detect => likely_decimal(whole, delimiter),
            given => given,
        };
        let text: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(text));
        let source = Source::Text(cells(delimiter).from_reader(text));
        Ok(Self { source, decimal, width: None })
    }

    /// Whether the first row holds names, where that is `asked`; in Parquet it always does.
    pub(crate) fn header(&self, asked: Header) -> Header {
        match self.source {
            Source::Text(_) => asked,
            #[cfg(feature = "parquet")]
            Source::Parquet(_) => Header::Present,
        }
    }

    /// Promises that of the rows to come only these columns are looked at: cells of others may be empty.
    pub(crate) fn keep(&mut self, columns: impl Fn(usize) -> bool) {
        match &mut self.source {
            Source::Text(_) => _ = columns,
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => rows.keep(columns),
        }
    }

    /// The same for all but these, where names are known before the first row.
    fn leave_out(&mut self, columns: &[Column]) {
        match &mut self.source {
            Source::Text(_) => _ = columns,
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => {
                let names = rows.names();
                let out: Vec<_> = columns.iter().filter_map(|c| find(c, &names).ok()).collect();
                rows.keep(|column| !out.contains(&column));
            }
        }
    }

    /// The next row; whether there is one.
    pub(crate) fn next_into(&mut self, row: &mut StringRecord) -> Result<bool, DataError> {
        let found = match &mut self.source {
            Source::Text(reader) => reader.read_record(row).map_err(unreadable)?,
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => rows.next_into(row)?,
        };
        if !found {
            return Ok(false);
        }
        let line = row.position().map_or(0, ::csv::Position::line);
        if row.as_slice().len() > MAX_ROW {
            let (got, limit) = (row.as_slice().len() as u64, MAX_ROW as u64);
            return Err(DataError::TooLarge { what: "a row in bytes", got, limit });
        }
        let (got, width) = (row.len(), *self.width.get_or_insert(row.len()));
        if got != width {
            let next = match (got == width + 1 && row.iter().next_back() == Some(""), width) {
                (true, _) => "is there a delimiter at the end of each line?",
                (_, 1) => "is the first line a title or a comment? Remove it",
                _ => "is another delimiter meant? See --delimiter",
            };
            return Err(DataError::Csv(format!(
                "line {line} has {got} cells, but the first line has {width}; {next}"
            )));
        }
        Ok(true)
    }
}

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

/// Whether a file is Parquet: by its two marks, or by a name that promises them. What is no file of a disk is not looked at.
fn is_parquet(path: &Path, file: &mut File) -> std::io::Result<bool> {
    let length =
        file.metadata().ok().filter(|found| found.is_file()).map_or(0, |found| found.len());
    if length < 2 * PARQUET.len() as u64 {
        return Ok(false);
    }
    let mut mark_at = |at| -> std::io::Result<bool> {
        let mut found = [0; PARQUET.len()];
        file.seek(at)?;
        file.read_exact(&mut found)?;
        Ok(found == *PARQUET)
    };
    let (begins, ends) = (mark_at(SeekFrom::Start(0))?, mark_at(SeekFrom::End(-4))?);
    file.rewind()?;
    Ok(begins && (ends || path.extension().is_some_and(|ending| ending == "parquet")))
}

/// The place of a column among `names`.
pub(crate) fn find(column: &Column, names: &[String]) -> Result<usize, DataError> {
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

/// The names of a header: none is empty, and none occurs twice.
pub(crate) fn header_names(row: &StringRecord) -> Result<Vec<String>, DataError> {
    let names: Vec<_> = row.iter().map(str::to_owned).collect();
    if let Some(empty) = names.iter().position(String::is_empty) {
        return Err(DataError::Csv(format!(
            "column {} has no name; name it in the header, or remove the delimiter at the end of each line",
            empty + 1
        )));
    }
    let twice = |i: &usize| names[..*i].contains(&names[*i]);
    match (0..names.len()).find(twice) {
        Some(column) => Err(DataError::Csv(format!(
            "two columns are called {:?}; rename one of them",
            names[column]
        ))),
        None => Ok(names),
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

fn cells(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter);
    builder
}

/// `sep=;` on the first line, as one spreadsheet writes it, is taken away.
fn separator_line(head: &mut Vec<u8>) -> Option<u8> {
    let &[delimiter, next, ..] = head.strip_prefix(b"sep=")? else { return None };
    let ending = match (next, head.get(6)) {
        (b'\n', _) => 6,
        (b'\r', Some(b'\n')) => 7,
        _ => return None,
    };
    head.drain(..ending);
    Some(delimiter)
}

/// The delimiter that cuts the first rows into the most cells, equally many in each.
fn likely_delimiter(head: &[u8]) -> u8 {
    let columns = |&delimiter: &u8| {
        let mut reader = cells(delimiter).from_reader(head);
        let mut widths = reader.records().take(SAMPLE).map_while(|row| Some(row.ok()?.len()));
        let first = widths.next().unwrap_or(0);
        let even = widths.all(|width| width == first);
        (even && first > 1, first)
    };
    // Of equal ones `max_by_key` takes the last.
    [b'|', b'\t', b';', b','].into_iter().max_by_key(columns).unwrap_or(b',')
}

/// A comma, where some number has one that is no separator of thousands and none has a point.
fn likely_decimal(head: &[u8], delimiter: u8) -> Decimal {
    let (mut comma, mut point) = (false, false);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    for row in cells(delimiter).from_reader(head).records().take(SAMPLE) {
        let Ok(row) = row else { break };
        for cell in &row {
            let cell = cell.trim_start_matches(['-', '+']);
            if let Some((whole, part)) = cell.split_once(',') {
                // 1,234 may be either.
                let thousands = part.len() == 3 && whole != "0";
                comma |= digits(whole) && digits(part) && !thousands;
            }
            point |=
                cell.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part));
        }
    }
    if comma && !point { Decimal::Comma } else { Decimal::Point }
}

fn unreadable(error: ::csv::Error) -> DataError {
    DataError::Csv(match error.kind() {
        ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line);
            format!("line {line} is not UTF-8, but perhaps Latin-1; {ENCODING}")
        }
        _ => error.to_string(),
    })
}

const ENCODING: &str =
    "save the table as UTF-8 (`iconv -f LATIN1 -t UTF-8`, or \"CSV UTF-8\" in a spreadsheet)";

/// What Parquet files begin and end with.
const PARQUET: &[u8; 4] = b"PAR1";

/// Bytes of the beginning that are looked at.
const HEAD: usize = 1 << 16;

/// Rows of the beginning that are looked at.
const SAMPLE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str, format: Format) -> Result<Table, DataError> {
        Table::read(text.as_bytes(), &format)
    }

    fn table(text: &'static str) -> Table {
        read(text, Format::default()).unwrap()
    }

    fn reason(text: &'static [u8]) -> String {
        Table::read(text, &Format::default()).unwrap_err().to_string()
    }

    #[test]
    fn headers_are_detected() {
        let names = |text| table(text).names;
        assert_eq!(names("a,b\n1,x\n2,y\n"), ["a", "b"]);
        assert_eq!(names("1,x\n2,y\n"), ["c1", "c2"]);
        assert_eq!(names("t,f,won\nf,f,won\nf,t,nowin\n"), ["c1", "c2", "c3"]);
        assert_eq!(names("king,rook,end\nf,f,won\nt,t,nowin\n"), ["king", "rook", "end"]);
        assert_eq!(names("a,b\n1,x\n-,x\n2,x\n"), ["a", "b"], "one stray cell");
        let years = "2019,2020\n3,4\n5,4\n";
        assert_eq!((names(years), table(years).len()), (vec!["c1".into(), "c2".into()], 3));
        let forced = Format { header: Header::Present, ..Format::default() };
        assert_eq!(read(years, forced).unwrap().names, ["2019", "2020"]);
    }

    #[test]
    fn delimiters_are_detected_or_given() {
        for text in [
            "a,b,c\n1,2,x y\n3,4,z\n",
            "a;b;c\n1;2;x,y\n3;4;z\n",
            "a\tb\tc\n1\t2\tx,y\n3\t4\tz,z\n",
            "a|b|c\n1|2|x\n3|4|z\n",
            "sep=;\r\na;b;c\r\n1;2;x\r\n3;4;z\r\n",
            "\u{feff}a,b,c\n1,2,\"x,\ny\"\n3,4,z\n",
        ] {
            assert_eq!(
                (table(text).names, table(text).len()),
                (["a", "b", "c"].map(String::from).into(), 2),
                "{text}"
            );
        }
        let given = Format { delimiter: Some(b' '), ..Format::default() };
        assert_eq!(read("a b\n1 x\n2 y\n", given).unwrap().names, ["a", "b"]);
    }

    #[test]
    fn decimal_commas_are_detected_where_nothing_else_is_possible() {
        let decimal = |text| table(text).decimal;
        assert_eq!(decimal("a;b\n0,942;x\n-1,5;y\n"), Decimal::Comma);
        assert_eq!(decimal("a,b\n\"0,942\",x\n\"-1,51\",y\n"), Decimal::Comma);
        assert_eq!(decimal("a;b\n1,234;x\n2,345;y\n"), Decimal::Point, "thousands, perhaps");
        assert_eq!(decimal("a;b;c\n1,23;x;0.5\n2,34;y;1\n"), Decimal::Point, "both");
        assert_eq!(Decimal::Comma.number("-3,5e2"), Some(-350.0));
        for cell in ["1.5", "1,2,3", "x"] {
            assert_eq!(Decimal::Comma.number(cell), None, "{cell}");
        }
        for cell in ["inf", "nan", "NaN", "infinity", "1,5", "1.2.3", "50%", "$5", "", "1e999"] {
            assert_eq!(Decimal::Point.number(cell), None, "{cell}");
        }
        assert_eq!(Decimal::Point.number("+3e-1"), Some(0.3));
    }

    #[test]
    fn malformed_tables_are_refused_with_what_to_do() {
        assert_eq!(read("", Format::default()).unwrap_err(), DataError::Empty);
        assert_eq!(read("\n\n", Format::default()).unwrap_err(), DataError::Empty);
        let only_header = Format { header: Header::Present, ..Format::default() };
        assert_eq!(read("a,b\n", only_header).unwrap_err(), DataError::Empty);
        for (text, expected) in [
            (b"a,b\n1,2\n3\n".as_slice(), "line 3 has 1 cells, but the first line has 2"),
            (b"a,b\n1,2,\n3,4,\n", "a delimiter at the end of each line"),
            (b"# made by X\na,b\n1,2\n", "a title or a comment"),
            (b"a,b,\n1,2,\n3,4,\n", "column 3 has no name"),
            (b"a,a,y\n1,2,x\n3,4,z\n", "two columns are called \"a\""),
            (b"name,x\nM\xfcller,1\n", "line 2 is not UTF-8"),
            (b"\xff\xfea\0,\0", "UTF-16"),
        ] {
            assert!(reason(text).contains(expected), "{}", reason(text));
        }
    }
}
