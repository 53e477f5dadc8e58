//! `gelu schema`: what the columns and classes of a table or a model mean.

mod sum;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Subcommand;
use gelu_nn::schema::{Column, Labels, Missing, Report, Scale, Unknown};
use gelu_nn::{Model, Schema};
use serde_json::json;

use crate::destination::{Destination, Kind};
use crate::output::{Output, table};
use crate::problem::{Advise, problem};
use crate::table::{MissingArg, TableArgs, how_tables_are_read, read_schema};

/// Make, show and check schemas: what the columns and classes of a table mean
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu schema infer loans.csv --label approved --out loans.json
  gelu train --csv loans.csv --schema loans.json --out loans.safetensors
  gelu schema show loans.safetensors
  gelu schema check new.csv --model loans.safetensors

`gelu help schema sum`: scales for the rows of several owners, who show them to nobody.

A schema names the columns (numbers, words, ISO dates), the classes and what is left out. It goes into the model
that is trained by it, and on the card of the server. From then on tables are read by it: columns by name in any
order, classes by word, numbers scaled as in training. Edit the file that `infer` writes to choose more:

  \"range\": [0, 120]        a number: others are refused, and the scale comes from the range, not from the rows
  \"missing\": \"mean\"      no value: refuse, drop (the row), mean or {\"value\": 0} (numbers), word (words)
  \"unknown\": \"other\"     another word: refuse, zeros, other (one more feature)
  \"as\": [\"month_sin\"]    a date: days, month_sin, month_cos, weekday_sin, weekday_cos

How tables are read: UTF-8; commas, semicolons, tabs or bars; a decimal comma where numbers show it; a header where
words stand above numbers. --delimiter, --decimal and --header override what is detected. A missing value is an
empty cell, ?, NA, N/A, NaN or null. Parquet is read where the program was built with --features parquet.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Infer(InferArgs),
    Show(ShowArgs),
    Check(CheckArgs),
    Sum(sum::Args),
}

/// Show the schema that a table suggests
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu schema infer loans.csv --label approved --out loans.json")]
struct InferArgs {
    /// The table
    #[arg(value_name = "FILE")]
    table: PathBuf,
    /// What is done where there is no value
    #[arg(long, value_enum, default_value_t = MissingArg::Refuse)]
    missing: MissingArg,
    /// Write the schema to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Overwrite what stands at --out
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    how: TableArgs,
}

/// Show the schema of a model, or of a file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu schema show loans.safetensors")]
struct ShowArgs {
    /// A model, or a schema
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the schema to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Overwrite what stands at --out
    #[arg(long, help_heading = "Output")]
    force: bool,
}

/// List all that does not fit between a table and a schema; exit code 1 if anything does not
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu schema check new.csv --model loans.safetensors")]
struct CheckArgs {
    /// The table
    #[arg(value_name = "FILE")]
    table: PathBuf,
    /// The model that it is for
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "schema",
        conflicts_with = "schema"
    )]
    model: Option<PathBuf>,
    /// The schema
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    #[command(flatten)]
    how: TableArgs,
}

/// Does what was asked.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match &args.what {
        What::Infer(args) => {
            let out = destination(args.out.as_deref(), &args.table, args.force)?;
            show(&args.how.infer(&args.table, args.missing)?, out.as_ref(), output)
        }
        What::Show(args) => {
            let out = destination(args.out.as_deref(), &args.file, args.force)?;
            show(&of_file(&args.file)?, out.as_ref(), output)
        }
        What::Check(args) => check(args, output),
        What::Sum(args) => sum::run(args, output),
    }
}

fn destination(out: Option<&Path>, input: &Path, force: bool) -> Result<Option<Destination>> {
    let kind = Kind::Beginning(BEGINNING);
    out.map(|out| Destination::check(out, kind, &[input], force)).transpose()
}

/// How our schemas begin, laid out.
const BEGINNING: &str = "{\n  \"version\": ";

fn of_file(path: &Path) -> Result<Schema> {
    let is_text = std::fs::File::open(path).is_ok_and(|mut file| {
        let mut first = [0];
        std::io::Read::read(&mut file, &mut first).is_ok_and(|n| n == 1 && first[0] == b'{')
    });
    match is_text {
        true => read_schema(path),
        false => of_model(path),
    }
}

fn of_model(path: &Path) -> Result<Schema> {
    let model = Model::load(path)
        .advise(|| "make one with `gelu train --csv FILE --out MODEL`, or check the path".into())?;
    model.schema().map(|schema| Schema::clone(schema)).ok_or_else(|| {
        problem(
            format!("{} has no schema: it was made without one", path.display()),
            "train it again with this program, or write a schema with `gelu schema infer`",
        )
    })
}

/// As a table, and as JSON where it is not written to a file.
fn show(schema: &Schema, out: Option<&Destination>, output: Output) -> Result<()> {
    let json = serde_json::to_string_pretty(schema)? + "\n";
    if let Some(out) = out {
        out.write(json.as_bytes())?;
    }
    if output.json {
        return output.show(schema, "");
    }
    let end = match out {
        Some(out) => format!("schema: {}", out.path().display()),
        None => json,
    };
    output.show(&(), format!("{}\n{end}", described(schema)))
}

fn described(schema: &Schema) -> String {
    let mut text = String::new();
    match schema.image() {
        Some(image) => {
            let [channels, height, width] = image.shape;
            text += &format!(
                "images of {channels} x {height} x {width}, pixels from 0 to {}",
                image.max
            );
        }
        None => {
            let mut columns = table(&["column", "type", "#features", "values", "no value"]);
            for column in schema.columns() {
                let width = column.width().to_string();
                let (kind, values) = of_column(column);
                columns.add_row([column.name().as_str(), kind, &width, &values, &missing(column)]);
            }
            text += &columns.to_string();
        }
    }
    if let Some(label) = schema.label() {
        let count = label.classes.len();
        text += &format!("\nlabel {}: {count} classes, {}", label.name, few(&label.classes));
    }
    let ignore = &schema.description().ignore;
    if !ignore.is_empty() {
        text += &format!("\nleft out: {}", ignore.join(", "));
    }
    text + &format!("\n{} features, hash {}", schema.inputs(), schema.hash())
}

fn of_column(column: &Column) -> (&'static str, String) {
    let scaled = |scales: &[Scale]| match scales {
        [] => String::new(),
        [Scale { mean, deviation }] => format!("mean {mean:.4}, deviation {deviation:.4}"),
        _ => "scaled".into(),
    };
    match column {
        Column::Number(number) => {
            let range = number.range.map(|[low, high]| format!("{low} to {high}"));
            let log = number.log1p.then(|| "ln(1 + x)".to_owned());
            let scale = Some(scaled(column.scales())).filter(|scale| !scale.is_empty());
            let parts: Vec<_> = [range, log, scale].into_iter().flatten().collect();
            ("number", parts.join(", "))
        }
        Column::Category(category) => {
            let unknown = match category.unknown {
                Unknown::Refuse => "",
                Unknown::Zeros => "; others are 0",
                Unknown::Other => "; others together",
            };
            ("words", few(&category.words) + unknown)
        }
        Column::Date(date) => {
            let features: Vec<_> = date.features.iter().map(ToString::to_string).collect();
            ("date", features.join(", "))
        }
    }
}

fn missing(column: &Column) -> String {
    match column.missing() {
        Missing::Refuse => "refused".into(),
        Missing::Drop => "row left out".into(),
        Missing::Mean => "the mean".into(),
        Missing::Word => "a word".into(),
        Missing::Value(value) => value.to_string(),
    }
}

fn few(words: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = if words.len() > SHOWN { ", …" } else { "" };
    words[..words.len().min(SHOWN)].join(", ") + more
}

fn check(args: &CheckArgs, output: Output) -> Result<()> {
    let schema: Arc<Schema> = match (&args.model, &args.schema) {
        (Some(model), _) => Arc::new(of_model(model)?),
        (None, Some(schema)) => Arc::new(read_schema(schema)?),
        (None, None) => return Err(problem("neither --model nor --schema", "give one of them")),
    };
    // A table for queries has no label; one that has a label must have the right words.
    let options = args.how.options(Labels::Optional);
    let report = schema.check(&args.table, &options).advise(how_tables_are_read)?;
    let shown = json!({
        "table": args.table,
        "hash": schema.hash().to_string(),
        "fits": report.troubles.is_empty(),
        "rows": report.rows,
        "dropped": report.dropped,
        "troubles": report.troubles,
    });
    output.show(&shown, text_of(&report, &args.table))?;
    match report.troubles.len() {
        0 => Ok(()),
        n => Err(problem(
            format!("{} does not fit the schema, for {n} reasons", args.table.display()),
            "correct the table, or edit the schema and train anew",
        )),
    }
}

fn text_of(report: &Report, path: &Path) -> String {
    if report.troubles.is_empty() {
        let left_out = match report.dropped {
            0 => String::new(),
            n => format!(", of which {n} are left out for missing values"),
        };
        return format!("{} fits: {} rows{left_out}", path.display(), report.rows);
    }
    let mut troubles = table(&["column", "#row", "value", "#cells", "what is wrong"]);
    for trouble in &report.troubles {
        let column = trouble.column.as_deref().unwrap_or("(the table)");
        let (row, value) = trouble.cell.clone().unzip();
        let row = row.map(|row| row.to_string()).unwrap_or_default();
        let count = if trouble.cell.is_some() { trouble.count.to_string() } else { String::new() };
        troubles.add_row([column, &row, &value.unwrap_or_default(), &count, &trouble.what]);
    }
    troubles.to_string()
}
