//! `gelu attack`: what a dishonest party can learn, and what stops it.

use anyhow::Result;
use clap::builder::PossibleValuesParser;

use crate::exhibits::{ENTRIES, Entry, ExhibitArgs};
use crate::output::Output;

/// Attack the system, undefended and defended, and show what comes out
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Attack",
    after_help = "\
Examples:
  gelu attack packing                 a whole layer from a few queries, and from none with the defence
  gelu attack factorisation --out pictures

docs/src/attacks.md explains each: what it takes, why it works, what protects, what remains."
)]
pub(crate) struct Args {
    /// Which attack
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    name: String,
    #[command(flatten)]
    exhibit: ExhibitArgs,
}

const PREFIX: &str = "attack-";

fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().filter_map(|entry| entry.id.strip_prefix(PREFIX))
}

/// Attacks.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let entry = Entry::find(&format!("{PREFIX}{}", args.name)).expect("one of the names");
    args.exhibit.run(entry, output)
}
