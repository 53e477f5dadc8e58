//! `gelu-bench table` and `gelu-bench figure`: one exhibit of the evidence.

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use gelu_cli::output::Output;

use super::args::ExhibitArgs;
use crate::exhibits::{ENTRIES, Entry};

/// Make one of the paper's tables, the paper's row beside ours, or a question about transfer learning
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu-bench table 1                      one activation in every system
  gelu-bench table 4 --set paper --data DIR
  gelu-bench table 2 --out tables         as files, too: JSON, CSV, Markdown
  gelu-bench table limits                 a question about transfer learning under encryption;
                                          training, inference, overheads, suitable are the others")]
pub(crate) struct TableArgs {
    /// Its number in the paper, or its name
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names("table-")))]
    number: String,
    #[command(flatten)]
    exhibit: ExhibitArgs,
}

/// Make one of the paper's figures, or another
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu-bench figure 3                     training curves
  gelu-bench figure cost --out pictures   as files, too: JSON, Markdown, SVG
  gelu-bench figure roofline              both schemes' kernels beside the processor")]
pub(crate) struct FigureArgs {
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
pub(crate) fn table(args: &TableArgs, output: Output) -> Result<()> {
    run("table-", &args.number, &args.exhibit, output)
}

/// Makes a figure.
pub(crate) fn figure(args: &FigureArgs, output: Output) -> Result<()> {
    run("figure-", &args.name, &args.exhibit, output)
}

fn run(prefix: &str, name: &str, args: &ExhibitArgs, output: Output) -> Result<()> {
    args.run(Entry::find(&format!("{prefix}{name}")).expect("one of the names"), output)
}
