//! An exhibit on the terminal, and as files.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use gelu_bench::exhibit::{Cell, Part, Source, Table};

use super::Made;
use crate::output;
use crate::phases;

/// For people at a terminal: tables whole, of pictures what they show.
pub(super) fn text(made: &Made) -> String {
    let exhibit = &made.exhibit;
    let mut text = format!("{}\n\n{}\n", exhibit.title, exhibit.finding);
    for part in &exhibit.parts {
        match part {
            Part::Table(table) => {
                write!(text, "\n{}\n{}\n", table.caption, rows(table)).expect("a string")
            }
            Part::Lines(lines) => picture(&mut text, &lines.caption),
            Part::Bars(bars) => picture(&mut text, &bars.caption),
            Part::Images(images) => picture(&mut text, &images.caption),
        }
    }
    text.push('\n');
    for claim in &exhibit.claims {
        let mark = if claim.holds { '✓' } else { '✗' };
        writeln!(text, "{mark} {}", claim.text).expect("a string");
    }
    for note in &exhibit.notes {
        writeln!(text, "  {note}").expect("a string");
    }
    write!(text, "\n{}, seed {}: {}", phases::seconds(made.seconds), made.seed, made.command)
        .expect("a string");
    text
}

fn picture(text: &mut String, caption: &str) {
    writeln!(text, "\n[{caption}: with --out DIR as a picture]").expect("a string");
}

fn rows(table: &Table) -> comfy_table::Table {
    let numeric = |i: usize| table.rows.iter().any(|row| !matches!(row.cells[i], Cell::Text(_)));
    let head = |(i, column): (usize, &gelu_bench::exhibit::Column)| {
        let unit = column.unit.as_ref().map_or(String::new(), |unit| format!(", {unit}"));
        format!("{}{}{unit}", if numeric(i) { "#" } else { "" }, column.name)
    };
    let heads: Vec<String> = table.columns.iter().enumerate().map(head).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).chain(["from"]).collect();
    let mut drawn = output::table(&heads);
    for row in &table.rows {
        let source = match row.source {
            Source::Paper => "the paper",
            Source::Measured => "this run",
            Source::Counted => "counted",
            Source::Estimated => "estimated",
        };
        drawn.add_row(row.cells.iter().map(ToString::to_string).chain([source.to_owned()]));
    }
    drawn
}

/// Writes the exhibit as files named after it.
pub(super) fn write(made: &Made, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(format!("{}.json", made.exhibit.id));
    fs::write(&path, serde_json::to_string_pretty(made)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
}
