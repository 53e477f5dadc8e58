//! How a table is read: the arguments that every command with a table takes.

use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};
use gelu_nn::Schema;
use gelu_nn::data::csv::{Column, Decimal, Format, Header, Table};
use gelu_nn::schema::{Fill, Labels, Options, ReadOptions};

use crate::phases::say;
use crate::problem::Advise;

/// How a table is read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tables")]
pub(crate) struct TableArgs {
    /// Column of the class: a name, a number from 1, `first` or `last` [default: the schema's, or the last]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// Column to leave out, such as an identifier (may be given several times)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) ignore: Vec<String>,
    /// What separates the columns: one character, `tab` or `space` [default: detected]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
    /// How numbers are written: 3.14 or 3,14
    #[arg(long, value_enum, default_value_t = DecimalArg::Detect)]
    pub(crate) decimal: DecimalArg,
    /// Whether the first row holds the names of the columns
    #[arg(long, value_enum, default_value_t = HeaderArg::Detect)]
    pub(crate) header: HeaderArg,
}

/// Rules for missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissingArg {
    /// Refuse the table, saying where
    Refuse,
    /// Leave those rows out
    Drop,
    /// Numbers take the mean of the training rows, words a word of their own
    Fill,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DecimalArg {
    /// By the first rows
    Detect,
    /// 3.14
    Point,
    /// 3,14
    Comma,
}

/// Whether there is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeaderArg {
    /// By the schema, or by words above columns of numbers
    Detect,
    /// There is
    Yes,
    /// There is none
    No,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match (text, text.as_bytes()) {
        ("tab" | "\\t", _) => Ok(b'\t'),
        ("space", _) => Ok(b' '),
        (_, &[byte]) if byte.is_ascii_punctuation() && byte != b'"' || byte == b'\t' => Ok(byte),
        _ => Err("one character such as ; or |, or the word tab or space".into()),
    }
}

impl TableArgs {
    /// How text is cut into cells.
    pub(crate) fn format(&self) -> Format {
        Format {
            delimiter: self.delimiter,
            header: match self.header {
                HeaderArg::Detect => Header::Detect,
                HeaderArg::Yes => Header::Present,
                HeaderArg::No => Header::Absent,
            },
            decimal: match self.decimal {
                DecimalArg::Detect => Decimal::Detect,
                DecimalArg::Point => Decimal::Point,
                DecimalArg::Comma => Decimal::Comma,
            },
        }
    }

    /// How a table is read by a schema.
    pub(crate) fn options(&self, labels: Labels) -> ReadOptions {
        ReadOptions {
            format: self.format(),
            labels,
            label: self.label.as_deref().map(Into::into),
            ignore: self.ignore.iter().map(|column| column.as_str().into()).collect(),
            ..ReadOptions::default()
        }
    }

    /// The schema that a table suggests; what its owner should know is said.
    pub(crate) fn infer(&self, path: &Path, missing: MissingArg) -> Result<Schema> {
        let ignore: Vec<Column> = self.ignore.iter().map(|column| column.as_str().into()).collect();
        let table = Table::open(path, &self.format(), &ignore).advise(how_tables_are_read)?;
        let options = Options {
            label: Some(self.label.as_deref().unwrap_or("last").into()),
            ignore,
            missing: match missing {
                MissingArg::Refuse => Fill::Refuse,
                MissingArg::Drop => Fill::Drop,
                MissingArg::Fill => Fill::Fill,
            },
        };
        let inferred = Schema::infer(&table, &options)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
            .advise(how_tables_are_read)?;
        inferred.notes.iter().for_each(|note| say(&format!("note: {note}")));
        Ok(inferred.schema)
    }
}

/// What to do next where a table was refused.
pub(crate) fn how_tables_are_read() -> String {
    "`gelu help schema` says how tables are read".into()
}

/// Reads a schema's file.
pub(crate) fn read_schema(path: &Path) -> Result<Schema> {
    let json = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()));
    let schema = json.and_then(|json| Ok(Schema::from_json(&json)?));
    schema.advise(|| format!("{} must be what `gelu schema infer` writes", path.display()))
}
