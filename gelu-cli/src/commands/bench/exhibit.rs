//! `gelu bench table` and `gelu bench figure`: one exhibit of the evidence.

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::exhibits::{ENTRIES, Entry, ExhibitArgs};
use crate::output::Output;

/// Make one of the paper's tables, the paper's row beside ours
#[derive(Debug, clap::Args)]
pub(super) struct TableArgs {
    /// Its number in the paper
    #[arg(value_name = "NUMBER", value_parser = PossibleValuesParser::new(names("table-")))]
    number: String,
    #[command(flatten)]
    exhibit: ExhibitArgs,
}

/// Make one of the paper's figures, or another
#[derive(Debug, clap::Args)]
pub(super) struct FigureArgs {
    /// Its number in the paper, or its name
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names("figure-")))]
    name: String,
    #[command(flatten)]
    exhibit: ExhibitArgs,
}

fn names(prefix: &'static str) -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().filter_map(move |entry| entry.id.strip_prefix(prefix))
}

/// Makes a table.
pub(super) fn table(args: &TableArgs, output: Output) -> Result<()> {
    run("table-", &args.number, &args.exhibit, output)
}

/// Makes a figure.
pub(super) fn figure(args: &FigureArgs, output: Output) -> Result<()> {
    run("figure-", &args.name, &args.exhibit, output)
}

fn run(prefix: &str, name: &str, args: &ExhibitArgs, output: Output) -> Result<()> {
    args.run(Entry::find(&format!("{prefix}{name}")).expect("one of the names"), output)
}
