//! What results look like: a table for people, one JSON object for programs, lines for files.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use gelu_core::text::printable_lines;
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Prints one line of JSON: for programs that read while we run. If nobody can read it, the
    /// work goes on.
    pub fn line(self, value: &impl Serialize) -> Result<()> {
        if let Err(error) = print(&serde_json::to_string(value)?) {
            tracing::warn!("{error:#}");
        }
        Ok(())
    }

    /// Prints a result, as `value` or as `text`.
    pub fn show(self, value: &impl Serialize, text: impl Display) -> Result<()> {
        match self.json {
            true => print(&serde_json::to_string_pretty(value)?),
            false => print(&printable_lines(&text.to_string())),
        }
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // `gelu models | head` is no error.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result to stdout"),
    }
}

/// The standard error, as long as somebody reads it: a log that is lost ends no work.
pub struct LogOrNothing;

impl Write for LogOrNothing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether colours are welcome: a terminal, and nobody said no (<https://no-color.org>).
pub fn colours(to: &impl IsTerminal) -> bool {
    let no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no && to.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A line of a table in a file, its end included.
///
/// # Errors
/// None that is known.
pub(crate) fn line_of(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    Ok(String::from_utf8(writer.into_inner().context("a line is not written")?)?)
}

/// A table with a header; columns whose header starts with `#` hold numbers.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().top_border(rule).header_separator(rule).bottom_border(rule));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(118);
    }
    table.set_header(header.iter().map(|h| h.trim_start_matches('#')));
    for (i, name) in header.iter().enumerate() {
        if name.starts_with('#')
            && let Some(column) = table.column_mut(i)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
