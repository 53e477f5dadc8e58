//! What an experiment has to show: tables and figures as data, before anyone draws them.
//!
//! An experiment returns an [`Exhibit`]; how it looks on a terminal, as CSV, JSON or Markdown, or on
//! a page is decided elsewhere and for all of them alike. Every row of a table says where its figures
//! come from, so that the numbers of the paper, and of others, are never taken for ours.
//!
//! Texts are plain but for one thing: what stands between backticks is code.

use std::fmt;

pub use gelu_cli::claim::Claim;
use serde::{Deserialize, Serialize};

/// A table or figure of the paper, an attack, a measurement: what one command makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exhibit {
    /// What its command calls it: `table-1`, `figure-3`, `attack-factorisation`.
    pub id: String,
    /// What it shows, as a heading.
    pub title: String,
    /// What came out, in a sentence with its numbers.
    pub finding: String,
    /// What was checked while it was made.
    pub claims: Vec<Claim>,
    /// In reading order.
    pub parts: Vec<Part>,
    /// What a reader must know to read it rightly: conditions, departures from the paper, what was
    /// left out and why.
    pub notes: Vec<String>,
}

/// One table or picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Part {
    /// Rows and columns.
    Table(Table),
    /// Curves or points over two axes.
    Lines(Lines),
    /// Horizontal bars, each a sum of segments.
    Bars(Bars),
    /// Small grey images in rows.
    Images(Images),
}

/// Rows and columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The heads.
    pub columns: Vec<Column>,
    /// As many cells as columns in each.
    pub rows: Vec<Row>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// What stands below.
    pub name: String,
    /// In what unit: `ms`, `kB`.
    pub unit: Option<String>,
}

/// A row, and whose figures it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Where its figures come from.
    pub source: Source,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// Where figures come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Printed in the GELU-Net paper. These and published ones are the only figures that anyone typed in.
    Paper,
    /// Published by others, whom the row names.
    Published,
    /// Measured in this run.
    Measured,
    /// Counted in this run: it does not depend on the machine.
    Counted,
    /// Computed from measured unit costs; the whole was not run.
    Estimated,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A whole number, shown exactly.
    Count(u64),
    /// Shown to three significant digits.
    Number(f64),
    /// A mean and its standard deviation.
    Spread {
        /// The mean.
        mean: f64,
        /// The standard deviation of the repetitions.
        deviation: f64,
    },
    /// Words.
    Text(String),
    /// Nothing to say.
    Empty,
}

/// Curves or points over two axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lines {
    /// What it shows.
    pub caption: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// What is drawn, in the order of the legend.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// What it measures, with its unit: `time of a query (s)`.
    pub label: String,
    /// How values become distances.
    pub scale: Scale,
}

/// How values become distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By powers of ten; every value must be positive.
    Log,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// How the points are shown.
    pub mark: Mark,
}

impl Series {
    /// Points joined by a line.
    pub fn curve(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().collect();
        Self { name: name.into(), points, mark: Mark::LineAndPoints }
    }

    /// A bound on the abscissa: a line upwards at `x`, over ordinates from 0 to 1.
    pub fn bound(name: String, x: f64) -> Self {
        Self { name, points: vec![(x, 0.0), (x, 1.0)], mark: Mark::Line }
    }
}

/// How the points of a series are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// Joined by a line.
    Line,
    /// Each by itself.
    Points,
    /// Both.
    LineAndPoints,
}

/// Horizontal bars, each a sum of segments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    /// What it shows.
    pub caption: String,
    /// Along the bars.
    pub axis: Axis,
    /// What the segments of each bar are, in order; one name if bars are not divided.
    pub segments: Vec<String>,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// One for each segment.
    pub values: Vec<f64>,
}

/// Small grey images in rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// What they show.
    pub caption: String,
    /// From top to bottom, such as originals above reconstructions.
    pub rows: Vec<ImageRow>,
}

/// Images side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// What the row is.
    pub name: String,
    /// From left to right.
    pub images: Vec<Image>,
}

/// A grey image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Pixels across.
    pub width: u32,
    /// `width · height` values from 0 (nothing, drawn as paper) to 255 (ink), row by row; as base64 in
    /// JSON, where a list would be as long as a page.
    #[serde(with = "base64_text")]
    pub pixels: Vec<u8>,
    /// Below the image; may be empty.
    pub label: String,
}

mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserialize, Deserializer, Error};

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(Error::custom)
    }
}

impl Exhibit {
    /// What the file of each part is called: as the exhibit, with a number if there are several of a kind.
    pub fn file_names(&self) -> Vec<String> {
        let kind = |part: &Part| match part {
            Part::Table(_) => "csv",
            Part::Lines(_) | Part::Bars(_) => "svg",
            Part::Images(_) => "png",
        };
        let kinds: Vec<_> = self.parts.iter().map(kind).collect();
        let of = |kind: &str, kinds: &[&str]| kinds.iter().filter(|other| **other == kind).count();
        let name = |(i, kind): (usize, &&str)| match of(kind, &kinds) {
            1 => format!("{}.{kind}", self.id),
            _ => format!("{}-{}.{kind}", self.id, of(kind, &kinds[..=i])),
        };
        kinds.iter().enumerate().map(name).collect()
    }
}

impl Column {
    /// A column without a unit.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), unit: None }
    }

    /// A column of numbers in a unit.
    pub fn with_unit(name: &str, unit: &str) -> Self {
        Self { name: name.into(), unit: Some(unit.into()) }
    }
}

impl Table {
    /// Of each column, whether it holds numbers.
    pub fn numeric(&self) -> Vec<bool> {
        let number =
            |cell: Option<&Cell>| !matches!(cell, None | Some(Cell::Text(_) | Cell::Empty));
        let column = |i: usize| self.rows.iter().any(|row| number(row.cells.get(i)));
        (0..self.columns.len()).map(column).collect()
    }
}

/// In a word or two, for a table's last column.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paper => "the paper",
            Self::Published => "published",
            Self::Measured => "this run",
            Self::Counted => "counted",
            Self::Estimated => "estimated",
        })
    }
}

impl Axis {
    /// Evenly divided.
    pub fn linear(label: &str) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// Divided by powers of ten.
    pub fn log(label: &str) -> Self {
        Self { label: label.into(), scale: Scale::Log }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

/// As a reader wants it: three significant digits, deviations to the digits of their mean.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(value) => write!(f, "{value:.*}", decimals(*value)),
            Self::Spread { mean, deviation } => {
                let decimals = decimals(*mean);
                write!(f, "{mean:.decimals$} ± {deviation:.decimals$}")
            }
            Self::Text(text) => f.write_str(text),
            Self::Empty => Ok(()),
        }
    }
}

/// Decimals that leave three significant digits.
fn decimals(value: f64) -> usize {
    let magnitude = value.abs();
    if magnitude == 0.0 || !magnitude.is_finite() {
        return 0;
    }
    let leading = libm::floor(libm::log10(magnitude));
    (0u8..=8).find(|&d| f64::from(d) >= 2.0 - leading).unwrap_or(8).into()
}

impl Cell {
    /// Mean and standard deviation (n − 1) of repeated measurements; without a deviation if there is
    /// one only.
    pub fn spread(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        match values.len() {
            0 => Self::Empty,
            1 => Self::Number(mean),
            _ => {
                let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
                Self::Spread { mean, deviation: (squares / (count - 1.0)).sqrt() }
            }
        }
    }
}

/// One of everything, for tests of what shows it. `word` stands in every text.
#[cfg(test)]
pub(crate) fn example(word: &str) -> Exhibit {
    let say = |text: &str| format!("{text} {word}");
    let cells = |name: &str, cell: Cell| vec![say(name).into(), cell, Cell::from(1_234_567_u64)];
    let row = |source, cells| Row { source, cells };
    let spread = Cell::Spread { mean: 1.5, deviation: 0.25 };
    let table = Table {
        caption: say("Times"),
        columns: vec![
            Column::new(&say("scheme")),
            Column::with_unit("time", "ms"),
            Column::new("bytes"),
        ],
        rows: vec![
            row(Source::Paper, cells("theirs", 12.0.into())),
            row(Source::Measured, cells("ours", spread)),
            row(Source::Counted, vec![say("a | b").into(), Cell::Empty, Cell::from(7_u64)]),
        ],
    };
    let series = |name: &str, mark, points: &[(f64, f64)]| Series {
        name: say(name),
        points: points.to_vec(),
        mark,
    };
    let lines = Lines {
        caption: say("Curves"),
        x: Axis::linear(&say("epoch")),
        y: Axis::log(&say("time (s)")),
        series: vec![
            series("one", Mark::Line, &[(1.0, 0.5), (2.0, 5.0), (4.0, 80.0)]),
            series("two", Mark::Points, &[(1.0, 0.25), (4.0, 40.0)]),
        ],
    };
    let bars = Bars {
        caption: say("Shares"),
        axis: Axis::linear(&say("time (s)")),
        segments: vec![say("client"), "server".into()],
        bars: vec![Bar { name: say("forward"), values: vec![1.0, 3.0] }],
    };
    let image = Image { width: 2, pixels: vec![0, 255, 255, 0], label: say("a seven") };
    let images = Images {
        caption: say("Digits"),
        rows: vec![ImageRow { name: say("originals"), images: vec![image] }],
    };
    Exhibit {
        id: "figure-example".into(),
        title: say("Everything"),
        finding: say("All of it is here"),
        claims: vec![Claim::new(say("this holds"), true), Claim::new(say("this not"), false)],
        parts: vec![Part::Table(table), Part::Lines(lines), Part::Bars(bars), Part::Images(images)],
        notes: vec![say("Note that `gelu-bench` made it:")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_back() {
        let exhibit = example("x");
        let json = serde_json::to_string(&exhibit).unwrap();
        assert_eq!(serde_json::from_str::<Exhibit>(&json).unwrap(), exhibit);
        assert!(json.contains("\"pixels\":\"AP//AA==\""), "{json}");
    }

    #[test]
    fn spreads_by_hand() {
        assert_eq!(Cell::spread(&[]), Cell::Empty);
        assert_eq!(Cell::spread(&[3.0]), Cell::Number(3.0));
        assert_eq!(Cell::spread(&[1.0, 3.0]), Cell::Spread { mean: 2.0, deviation: 2f64.sqrt() });
    }

    #[test]
    fn cells_read_well() {
        let shown = [1234.5, 12.34, 0.01234, 0.0, -3.0].map(|v| Cell::from(v).to_string());
        assert_eq!(shown, ["1234", "12.3", "0.0123", "0", "-3.00"]);
        let spread = Cell::Spread { mean: 0.9712, deviation: 0.0341 };
        assert_eq!(spread.to_string(), "0.971 ± 0.034");
        assert_eq!(Cell::from(1_000_000_u64).to_string(), "1000000");
    }

    #[test]
    fn files_are_named_after_the_exhibit() {
        let mut exhibit = example("x");
        let names_of = |exhibit: &Exhibit| exhibit.file_names().join(" ");
        assert_eq!(
            names_of(&exhibit),
            "figure-example.csv figure-example-1.svg figure-example-2.svg figure-example.png"
        );
        exhibit.parts.truncate(2);
        assert_eq!(names_of(&exhibit), "figure-example.csv figure-example.svg");
    }
}
