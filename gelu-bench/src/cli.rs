//! The command line of the laboratory.

use anyhow::Result;
use clap::{Parser, Subcommand};
use gelu_cli::commands::serve;
use gelu_cli::output::Output;
use gelu_cli::program::{self, Common};

use crate::commands::{attack, load, measure, paper, report, simulate};

/// The laboratory of gelu: the paper's tables and figures, attacks, measurements over simulated links
///
/// Every figure is made in the run that shows it, and every claim is checked. For the program that
/// trains and queries networks, see `gelu`.
#[derive(Debug, Parser)]
#[command(name = "gelu-bench", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Start here:
  gelu-bench table 1            the paper's row beside ours; tables 1 to 5
  gelu-bench figure cost        a layer against width, batch and key; figures 1 to 3 and others
  gelu-bench attack             the attacks in a line each: who, what for, what stops it
  gelu-bench report             all of them on one page, in minutes
  gelu-bench help COMMAND       examples for each command

From the sources: cargo run --release -p gelu-bench -- table 1";

#[derive(Debug, Subcommand)]
enum Command {
    Table(paper::TableArgs),
    Figure(paper::FigureArgs),
    Attack(attack::Args),
    Report(report::Args),
    Latency(Box<measure::LatencyArgs>),
    TrainStep(Box<measure::TrainStepArgs>),
    Load(load::Args),
    Simulate(simulate::Args),
    /// The other party of a measurement, which this program starts as a process of its own.
    #[command(hide = true)]
    Serve(Box<serve::Args>),
}

impl Cli {
    /// Does what was asked, and returns the exit code of the process.
    pub fn run(self) -> u8 {
        program::run(self.common, |output| self.command.run(output))
    }
}

impl Command {
    fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Table(args) => paper::table(&args, output),
            Self::Figure(args) => paper::figure(&args, output),
            Self::Attack(args) => attack::run(&args, output),
            Self::Report(args) => report::run(&args, output),
            Self::Latency(args) => measure::latency(&args, output),
            Self::TrainStep(args) => measure::train_step(&args, output),
            Self::Load(args) => load::run(&args, output),
            Self::Simulate(args) => simulate::run(&args, output),
            Self::Serve(args) => serve::run(&args, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_teaches_by_example() {
        Cli::command().debug_assert();
        let command = Cli::command();
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines = examples.lines().filter(|line| line.starts_with("  gelu-bench "));
            // Behind two blanks stands what it is for.
            let lines = lines.map(|line| line.trim().split("  ").next().unwrap_or_default());
            let lines: Vec<_> = lines.collect();
            assert!(lines.iter().any(|line| line.contains(name)), "{name}: {examples}");
            for line in lines {
                let parsed = Cli::command().try_get_matches_from(line.split_whitespace());
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }
}
