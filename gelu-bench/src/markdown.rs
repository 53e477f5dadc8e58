//! An exhibit as Markdown, its pictures as files beside it.

use std::fmt::{self, Display, Write};

use crate::evidence::Made;
use crate::exhibit::{Images, Part, Source, Table};
use gelu_cli::amounts;
use gelu_cli::page::{Piece, pieces};

/// The whole exhibit under a heading of that level.
pub fn exhibit(made: &Made, level: usize) -> String {
    let mut text = String::new();
    write(&mut text, made, level).expect("writing to a string succeeds");
    text
}

fn write(out: &mut String, made: &Made, level: usize) -> fmt::Result {
    let exhibit = &made.exhibit;
    writeln!(
        out,
        "{} {}\n\n{}",
        "#".repeat(level),
        Plain(&exhibit.title),
        Plain(&exhibit.finding)
    )?;
    if !exhibit.claims.is_empty() {
        out.push('\n');
    }
    for claim in &exhibit.claims {
        let mark = if claim.holds { '✓' } else { '✗' };
        writeln!(out, "- {mark} {}", Plain(&claim.text))?;
    }
    for (part, file) in exhibit.parts.iter().zip(exhibit.file_names()) {
        out.push('\n');
        match part {
            Part::Table(table) => self::table(out, table)?,
            Part::Images(images) => self::images(out, images, &file)?,
            Part::Lines(lines) => picture(out, &lines.caption, &file)?,
            Part::Bars(bars) => picture(out, &bars.caption, &file)?,
        }
    }
    if !exhibit.notes.is_empty() {
        out.push('\n');
    }
    for note in &exhibit.notes {
        writeln!(out, "- {}", Plain(note))?;
    }
    let seconds = amounts::seconds(made.seconds);
    writeln!(out, "\nMade in {seconds}, seed {}, by `{}`", made.seed, code(&made.command))
}

/// A table, with where each row comes from in its last column.
pub(crate) fn table(out: &mut String, table: &Table) -> fmt::Result {
    write!(out, "{}\n\n|", Plain(&table.caption))?;
    for column in &table.columns {
        match &column.unit {
            Some(unit) => write!(out, " {}, {} |", InTable(&column.name), InTable(unit))?,
            None => write!(out, " {} |", InTable(&column.name))?,
        }
    }
    out.push_str(" from |\n|");
    for numeric in table.numeric() {
        out.push_str(if numeric { " ---: |" } else { " --- |" });
    }
    out.push_str(" --- |\n");
    for row in &table.rows {
        out.push('|');
        for cell in &row.cells {
            write!(out, " {} |", InTable(&cell.to_string()))?;
        }
        match row.source {
            Source::Paper | Source::Published => writeln!(out, " **{}** |", row.source)?,
            _ => writeln!(out, " {} |", row.source)?,
        }
    }
    Ok(())
}

fn picture(out: &mut String, caption: &str, file: &str) -> fmt::Result {
    writeln!(out, "![{0}]({file})\n\n{0}", Plain(caption))
}

/// What the rows of images are cannot be written on them.
fn images(out: &mut String, images: &Images, file: &str) -> fmt::Result {
    picture(out, &images.caption, file)?;
    if !images.rows.is_empty() {
        out.push_str("\nFrom top to bottom:\n\n");
    }
    for row in &images.rows {
        let labels: Vec<_> = row.images.iter().map(|image| image.label.as_str()).collect();
        let labels = labels.join(", ");
        match labels.trim_matches([',', ' ']).is_empty() {
            true => writeln!(out, "1. {}", Plain(&row.name))?,
            false => writeln!(out, "1. {}: {}", Plain(&row.name), Plain(&labels))?,
        }
    }
    Ok(())
}

/// Text from outside, on one line, without what Markdown or HTML would read as more than text; code
/// stays code.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pieces(self.0).try_for_each(|piece| match piece {
            Piece::Words(words) => words.chars().try_for_each(|c| match c {
                '\n' | '\r' => f.write_char(' '),
                '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' => {
                    write!(f, "\\{c}")
                }
                '&' => f.write_str("&amp;"),
                _ => f.write_char(c),
            }),
            Piece::Code(text) => write!(f, "`{}`", code(text)),
        })
    }
}

/// In a table a bar ends a cell even inside code.
struct InTable<'a>(&'a str);

impl Display for InTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        pieces(self.0).try_for_each(|piece| match piece {
            Piece::Words(words) => Plain(words).fmt(f),
            Piece::Code(text) => write!(f, "`{}`", code(text).replace('|', "\\|")),
        })
    }
}

/// Nothing can be escaped inside code, so it is on one line and has no backticks.
pub(crate) fn code(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\r' | '`') { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::{Cell, Column, Row, example};

    #[test]
    fn a_table_by_hand() {
        let row = |source, a: Cell, b: Cell| Row { source, cells: vec![a, b] };
        let by_hand = Table {
            caption: "One *activation*".into(),
            columns: vec![Column::new("scheme"), Column::with_unit("time", "ms")],
            rows: vec![
                row(Source::Paper, "x | y".into(), 6.5.into()),
                row(Source::Measured, "`a|b`".into(), Cell::Spread { mean: 2.0, deviation: 0.5 }),
                row(Source::Counted, "<b>".into(), Cell::Empty),
            ],
        };
        let mut text = String::new();
        table(&mut text, &by_hand).unwrap();
        let expected = "\
One \\*activation\\*

| scheme | time, ms | from |
| --- | ---: | --- |
| x \\| y | 6.50 | **the paper** |
| `a\\|b` | 2.00 ± 0.50 | this run |
| \\<b\\> |  | counted |
";
        assert_eq!(text, expected);
    }

    #[test]
    fn everything_is_shown_and_escaped() {
        let made = Made {
            exhibit: example("<script>\n# [x](y)"),
            seed: 7,
            seconds: 8.24,
            command: "gelu `bench`\nfigure".into(),
        };
        let text = exhibit(&made, 2);
        assert!(text.starts_with("## Everything \\<script\\> \\# \\[x\\](y)\n"), "{text}");
        for part in [
            "- ✓ this holds",
            "- ✗ this not",
            "| ---: |",
            "](figure-example-1.svg)",
            "](figure-example-2.svg)",
            "](figure-example.png)",
            "1. originals",
            "`gelu-bench`",
            "Made in 8.2 s, seed 7, by `gelu  bench  figure`\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = text.replace("\\<", "");
        assert!(!text.contains('<') && !text.contains("\n# "), "{text}");
    }
}
