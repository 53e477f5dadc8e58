//! What has changed since earlier runs on the same machine.
//!
//! Like is compared with like: the same machine, set, seed, size of keys and data; the same row (its
//! first cell and all its words), the same column. What was measured is shown with its ratio; what was
//! counted must be equal.

use std::collections::HashMap;

use super::{Circumstances, Evidence};
use crate::exhibit::{Cell, Column, Exhibit, Part, Row, Source, Table};

/// What has changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Measured figures then and now, in the order of the report.
    pub measured: Vec<Change>,
    /// Counted figures that are no longer what they were.
    pub counted: Vec<Change>,
    /// How many counted figures are.
    pub equal: usize,
}

/// A figure then and now.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    /// In which exhibit.
    pub exhibit: String,
    /// In which row: what identifies it.
    pub row: String,
    /// In which column, with its unit.
    pub column: String,
    /// The date of the earlier run.
    pub since: String,
    /// What it was.
    pub before: f64,
    /// What it is.
    pub now: f64,
}

impl Change {
    /// Now for each one before.
    pub fn ratio(&self) -> f64 {
        self.now / self.before
    }
}

impl Comparison {
    /// In a sentence or two, if there was anything to compare with.
    pub fn summary(&self) -> Option<String> {
        let measured = self.measured.len();
        let counted = self.equal + self.counted.len();
        if measured + counted == 0 {
            return None;
        }
        let moved = |more: bool| {
            let far = |change: &&Change| match more {
                true => change.ratio() > 1.0 + FAR,
                false => change.ratio() < 1.0 / (1.0 + FAR),
            };
            self.measured.iter().filter(far).count()
        };
        Some(format!(
            "Of {measured} measured figures, {} are more than a tenth above what they were on this \
             machine, {} more than a tenth below. Of {counted} counted figures, {} are equal.",
            moved(true),
            moved(false),
            self.equal
        ))
    }
}

/// What two runs on a quiet machine may differ by.
const FAR: f64 = 0.1;

/// Compares each exhibit with the newest earlier one of its kind.
pub fn compare(now: &Evidence, earlier: &[Evidence]) -> Comparison {
    let here = &now.circumstances;
    let alike = |then: &&Evidence| {
        let then = &then.circumstances;
        let key = |c: &Circumstances| {
            (c.machine.clone(), c.set.clone(), c.seed, c.key_bits, c.data.is_some())
        };
        then.date < here.date && key(then) == key(here)
    };
    let mut earlier: Vec<_> = earlier.iter().filter(alike).collect();
    earlier.sort_by(|a, b| b.circumstances.date.cmp(&a.circumstances.date));
    let mut comparison = Comparison::default();
    for made in now.made() {
        let newest = earlier.iter().find_map(|then| {
            let same = then.made().find(|other| other.exhibit.id == made.exhibit.id);
            Some((&then.circumstances.date, &same?.exhibit))
        });
        if let Some((date, then)) = newest {
            compare_exhibits(&mut comparison, &made.exhibit, then, date);
        }
    }
    comparison
}

fn compare_exhibits(found: &mut Comparison, now: &Exhibit, then: &Exhibit, since: &str) {
    let (now_figures, then_figures) = (figures(now), figures(then));
    let then_by_place: HashMap<_, _> =
        then_figures.iter().map(|figure| (&figure.place, figure)).collect();
    for figure in &now_figures {
        let Some(before) = then_by_place.get(&figure.place) else { continue };
        let Place { row, column, .. } = &figure.place;
        let change = Change {
            exhibit: now.id.clone(),
            row: row.join(", "),
            column: column.clone(),
            since: since.to_owned(),
            before: before.value,
            now: figure.value,
        };
        match figure.counted {
            false => found.measured.push(change),
            true if change.before == change.now => found.equal += 1,
            true => found.counted.push(change),
        }
    }
}

/// Where a figure stands. Two rows that nothing but figures tells apart are told apart by their order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    /// Number of the table in its exhibit; captions may hold figures.
    table: usize,
    row: Vec<String>,
    /// Of the rows of that name: its number, and how many there are.
    nth: (usize, usize),
    column: String,
    /// Its number among the columns of that name.
    column_nth: usize,
    counted: bool,
}

struct Figure {
    place: Place,
    value: f64,
    counted: bool,
}

fn figures(exhibit: &Exhibit) -> Vec<Figure> {
    let tables = exhibit.parts.iter().filter_map(|part| match part {
        Part::Table(table) => Some(table),
        _ => None,
    });
    tables.enumerate().flat_map(|(number, table)| figures_of(number, table)).collect()
}

fn figures_of(number: usize, table: &Table) -> Vec<Figure> {
    let name = |row: &Row| -> Vec<String> {
        let words = |(i, cell): (usize, &Cell)| match cell {
            Cell::Text(text) => Some(text.clone()),
            Cell::Empty => None,
            _ => (i == 0).then(|| cell.to_string()),
        };
        row.cells.iter().enumerate().filter_map(words).collect()
    };
    let kind = |row: &Row| (row.source == Source::Counted, name(row));
    let ours = |row: &&Row| matches!(row.source, Source::Measured | Source::Counted);
    let kinds: Vec<_> = table.rows.iter().filter(ours).map(kind).collect();
    let count = |kinds: &[_], kind| kinds.iter().filter(|other| *other == kind).count();
    let mut figures = Vec::new();
    for (n, row) in table.rows.iter().filter(ours).enumerate() {
        let (counted, row_name) = kinds[n].clone();
        for (i, (column, cell)) in table.columns.iter().zip(&row.cells).enumerate().skip(1) {
            let value = match (cell, counted) {
                (Cell::Number(value), _) | (Cell::Spread { mean: value, .. }, _) => *value,
                (Cell::Count(count), true) => *count as f64,
                _ => continue,
            };
            let place = Place {
                table: number,
                row: row_name.clone(),
                nth: (count(&kinds[..n], &kinds[n]), count(&kinds, &kinds[n])),
                column: head(column),
                column_nth: table.columns[..i].iter().filter(|other| *other == column).count(),
                counted,
            };
            figures.push(Figure { place, value, counted });
        }
    }
    figures
}

fn head(column: &Column) -> String {
    match &column.unit {
        Some(unit) => format!("{}, {unit}", column.name),
        None => column.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Made, Outcome, example};

    /// A run that had one table with these rows.
    fn run(date: &str, rows: Vec<Row>) -> Evidence {
        let mut run = example("");
        run.circumstances.date = date.into();
        let columns =
            vec![Column::new("scheme"), Column::with_unit("time", "ms"), Column::new("messages")];
        let Some(Outcome::Made(Made { exhibit, .. })) = run.outcomes.first_mut() else {
            panic!("the example was made")
        };
        exhibit.parts = vec![Part::Table(Table { caption: date.into(), columns, rows })];
        run
    }

    fn row(source: Source, name: &str, time: impl Into<Cell>, messages: u64) -> Row {
        Row { source, cells: vec![name.into(), time.into(), messages.into()] }
    }

    #[test]
    fn measured_figures_have_ratios_and_counted_ones_must_be_equal() {
        use Source::{Counted, Estimated, Measured, Paper};
        let spread = Cell::Spread { mean: 8.0, deviation: 1.0 };
        let before = run(
            "2026-01-01T00:00:00Z",
            vec![
                row(Paper, "ours", 100.0, 1),
                row(Measured, "ours", 4.0, 1),
                row(Measured, "gone", 4.0, 1),
                row(Counted, "counted", Cell::Empty, 12),
                row(Counted, "drifted", Cell::Empty, 12),
                row(Estimated, "guess", 3.0, 1),
            ],
        );
        let now = run(
            "2026-01-02T00:00:00Z",
            vec![
                row(Paper, "ours", 100.0, 1),
                row(Measured, "new", 4.0, 1),
                row(Measured, "ours", spread, 2),
                row(Counted, "counted", Cell::Empty, 12),
                row(Counted, "drifted", Cell::Empty, 13),
                row(Estimated, "guess", 6.0, 1),
            ],
        );
        let found = compare(&now, &[before]);
        let change = |row: &str, column: &str, before, now| Change {
            exhibit: "figure-example".into(),
            row: row.into(),
            column: column.into(),
            since: "2026-01-01T00:00:00Z".into(),
            before,
            now,
        };
        assert_eq!(found.measured, [change("ours", "time, ms", 4.0, 8.0)]);
        assert_eq!(found.measured[0].ratio(), 2.0);
        assert_eq!(found.counted, [change("drifted", "messages", 12.0, 13.0)]);
        assert_eq!(found.equal, 1);
        assert_eq!(
            found.summary().unwrap(),
            "Of 1 measured figures, 1 are more than a tenth above what they were on this machine, 0 \
             more than a tenth below. Of 2 counted figures, 1 are equal."
        );
        assert_eq!(Comparison::default().summary(), None);
    }

    #[test]
    fn rows_of_one_name_are_told_apart_by_their_order_unless_their_number_changed() {
        let rows = |times: &[f64]| {
            times.iter().map(|time| row(Source::Measured, "same", *time, 1)).collect()
        };
        let before = run("2026-01-01T00:00:00Z", rows(&[1.0, 2.0]));
        let now = run("2026-01-02T00:00:00Z", rows(&[3.0, 4.0]));
        let pairs: Vec<_> = compare(&now, std::slice::from_ref(&before))
            .measured
            .iter()
            .map(|change| (change.before, change.now))
            .collect();
        assert_eq!(pairs, [(1.0, 3.0), (2.0, 4.0)]);
        let more = run("2026-01-02T00:00:00Z", rows(&[3.0, 3.5, 4.0]));
        assert_eq!(compare(&more, &[before]), Comparison::default());
    }

    #[test]
    fn columns_of_one_name_are_told_apart_by_their_order() {
        let same = |date: &str| {
            let mut run = run(date, vec![row(Source::Counted, "a", 1.0, 2)]);
            let Outcome::Made(made) = &mut run.outcomes[0] else { panic!("it was made") };
            let Part::Table(table) = &mut made.exhibit.parts[0] else { panic!("it is a table") };
            table.columns[2] = table.columns[1].clone();
            run
        };
        let found = compare(&same("2026-01-02"), &[same("2026-01-01")]);
        assert_eq!((found.equal, found.counted), (2, vec![]));
    }

    #[test]
    fn only_like_is_compared_and_the_newest_counts() {
        let at = |date: &str, time: f64| run(date, vec![row(Source::Measured, "a", time, 1)]);
        let now = at("2026-01-05T00:00:00Z", 1.0);
        let before = |records: &[Evidence]| -> Vec<f64> {
            compare(&now, records).measured.iter().map(|change| change.before).collect()
        };
        let (old, newer) = (at("2026-01-01T00:00:00Z", 2.0), at("2026-01-03T00:00:00Z", 3.0));
        assert_eq!(before(&[newer.clone(), old.clone()]), [3.0]);
        assert_eq!(before(&[old.clone(), newer.clone()]), [3.0]);
        assert!(before(&[now.clone(), at("2026-02-01T00:00:00Z", 9.0)]).is_empty());
        let changed: [fn(&mut Circumstances); 5] = [
            |c| c.machine = "another".into(),
            |c| c.set = "paper".into(),
            |c| c.seed = 2,
            |c| c.key_bits = 3072,
            |c| c.data = None,
        ];
        for change in changed {
            let mut other = newer.clone();
            change(&mut other.circumstances);
            assert_eq!(before(&[other, old.clone()]), [2.0], "the older one is alike");
        }
        // An exhibit that the newest run left out is compared with the one before.
        let mut without = newer;
        without.outcomes.clear();
        assert_eq!(before(&[without, old]), [2.0]);
    }
}
