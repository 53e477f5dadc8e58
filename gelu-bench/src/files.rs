//! An exhibit as files: JSON and Markdown, a table as CSV, a chart as SVG, images as PNG.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::draw::{self, Palette};
use crate::evidence::Made;
use crate::exhibit::{Cell, Part, Source, Table};
use crate::markdown;

/// Writes all of them into a folder, which is made if need be.
pub fn write(made: &Made, folder: &Path) -> Result<(), Error> {
    make(folder)?;
    let file = |name: &str, content: &[u8]| save(&folder.join(name), content);
    let exhibit = &made.exhibit;
    let json = serde_json::to_string_pretty(made).expect("an exhibit has only texts as keys");
    file(&format!("{}.json", exhibit.id), (json + "\n").as_bytes())?;
    file(&format!("{}.md", exhibit.id), markdown::exhibit(made, 1).as_bytes())?;
    for (part, name) in exhibit.parts.iter().zip(exhibit.file_names()) {
        let content = match part {
            Part::Table(table) => csv(table),
            Part::Lines(lines) => draw::lines::lines(lines, &Palette::ALONE).into_bytes(),
            Part::Bars(bars) => draw::bars::bars(bars, &Palette::ALONE).into_bytes(),
            Part::Images(images) => draw::images::sheet(images),
        };
        file(&name, &content)?;
    }
    Ok(())
}

/// Makes a folder, with those that it lies in.
pub fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| Error::File { path: folder.into(), error })
}

/// Writes a file; an older one of that name is replaced.
pub fn save(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(|error| Error::File { path: path.into(), error })
}

/// For programs: numbers in full, deviations in columns of their own, where each row comes from first.
pub fn csv(table: &Table) -> Vec<u8> {
    let spreads = |i: usize| {
        table.rows.iter().any(|row| matches!(row.cells.get(i), Some(Cell::Spread { .. })))
    };
    let mut head = vec!["source".to_owned()];
    for (i, column) in table.columns.iter().enumerate() {
        let unit = column.unit.as_ref().map_or(String::new(), |unit| format!(" ({unit})"));
        head.push(format!("{}{unit}", column.name));
        if spreads(i) {
            head.push(format!("{} deviation{unit}", column.name));
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&head).expect("into a vector");
    for row in &table.rows {
        let source = match row.source {
            Source::Paper => "paper",
            Source::Published => "published",
            Source::Measured => "measured",
            Source::Counted => "counted",
            Source::Estimated => "estimated",
        };
        let mut record = vec![source.to_owned()];
        for (i, cell) in row.cells.iter().enumerate() {
            let (value, deviation) = match cell {
                Cell::Number(value) => (value.to_string(), None),
                Cell::Spread { mean, deviation } => (mean.to_string(), Some(deviation.to_string())),
                Cell::Count(_) | Cell::Text(_) | Cell::Empty => (cell.to_string(), None),
            };
            record.push(value);
            if spreads(i) {
                record.push(deviation.unwrap_or_default());
            }
        }
        writer.write_record(&record).expect("as many cells as columns");
    }
    writer.into_inner().expect("into a vector")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::{Column, Row};

    #[test]
    fn a_table_by_hand() {
        let row = |source, a: Cell, b: Cell, c: Cell| Row { source, cells: vec![a, b, c] };
        let table = Table {
            caption: String::new(),
            columns: vec![
                Column::new("scheme"),
                Column::with_unit("time", "ms"),
                Column::new("messages"),
            ],
            rows: vec![
                row(Source::Paper, "a, \"b\"".into(), 6.5.into(), Cell::Empty),
                row(
                    Source::Measured,
                    "c".into(),
                    Cell::Spread { mean: 1.0 / 3.0, deviation: 0.5 },
                    Cell::Count(1_234_567),
                ),
            ],
        };
        let expected = "\
source,scheme,time (ms),time deviation (ms),messages
paper,\"a, \"\"b\"\"\",6.5,,
measured,c,0.3333333333333333,0.5,1234567
";
        assert_eq!(String::from_utf8(csv(&table)).unwrap(), expected);
    }
}
