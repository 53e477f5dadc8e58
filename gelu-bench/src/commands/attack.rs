//! `gelu-bench attack`: what a dishonest party can learn, and what stops it.

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use gelu_cli::output::{self, Output};
use serde::Serialize;

use super::args::ExhibitArgs;
use crate::exhibits::{ENTRIES, Entry};

/// Attack the system, undefended and defended, and show what comes out
///
/// Each attack plays a party that is after more than its due: a client that wants the weights, a
/// server that wants the data. It runs twice, on real numbers: against a system without the
/// defence, where it must succeed, and against the system as it is. What it may look at is what that
/// party really sees: messages, its own keys, its own data. Where a defence leaves something, the
/// result says what.
///
/// Without a name, all attacks are listed.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Attack",
    after_help = "\
Examples:
  gelu-bench attack                   every attack in a line: who, what for, what stops it
  gelu-bench attack packing           a whole layer from 4 questions; sealed, 4 weights a response
  gelu-bench attack randomness --out pictures
                                      as files, too: JSON, tables, images
  gelu-bench attack low-bits --set paper --data DIR
                                      in full length, on MNIST
  gelu-bench attack all --json        all of them, for a program

Read more: docs/src/attacks/, a page for each: the equation behind it, what it costs, what protects,
what remains."
)]
pub(crate) struct Args {
    /// Which attack, or `all`
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(names().chain([ALL])))]
    name: Option<String>,
    #[command(flatten)]
    exhibit: ExhibitArgs,
}

const PREFIX: &str = "attack-";

/// Stands for every attack.
const ALL: &str = "all";

/// A line of the list.
#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
}

fn attacks() -> impl Iterator<Item = (&'static str, &'static Entry)> {
    ENTRIES.iter().filter_map(|entry| Some((entry.id.strip_prefix(PREFIX)?, entry)))
}

fn names() -> impl Iterator<Item = &'static str> {
    attacks().map(|(name, _)| name)
}

/// Attacks.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match args.name.as_deref() {
        None => list(output),
        Some(ALL) => args.exhibit.run_all(attacks().map(|(_, entry)| entry), output),
        Some(name) => {
            let (_, entry) = attacks().find(|(other, _)| *other == name).expect("one of the names");
            args.exhibit.run(entry, output)
        }
    }
}

fn list(output: Output) -> Result<()> {
    let listed: Vec<_> = attacks().map(|(name, e)| Listed { name, about: e.about }).collect();
    let mut table = output::table(&["attack", "who attacks whom, what it yields, what protects"]);
    for Listed { name, about } in &listed {
        table.add_row([name, about]);
    }
    output.show(
        &listed,
        format!("{table}\nRun one: gelu-bench attack NAME; all: gelu-bench attack all"),
    )
}
