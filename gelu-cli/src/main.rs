//! The `gelu` program: arguments in, pictures and exit codes out.
//!
//! | file | idea |
//! |---|---|
//! | `args` | the command line; every command's own arguments live with the command |
//! | `commands` | one file for each command |
//! | `backend` | the registry: which cryptosystems this program was built with |
//! | `client` | how to reach a server, to train and to classify there |
//! | `local` | a server process on this machine, for runs that need no other |
//! | `ending` | how a run ends, also early: nothing hides a result |
//! | `cut_off` | values that were cut off at a bound, by layer |
//! | `experiment` | a whole training on this machine, encrypted and in the clear |
//! | `exhibits` | the evidence: tables, figures, attacks |
//! | `report` | the HTML page of a run |
//! | `phases`, `output`, `problem` | what a person sees: progress, results, errors |
//!
//! Exit codes: 0 done, 1 failed (one sentence and the next step on stderr), 2 wrong usage, 3 ended
//! early: what had been done by then is shown and written, and says how much of how much it is.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod client;
mod commands;
mod cost;
mod cut_off;
mod data;
mod destination;
mod ending;
mod exhibits;
mod experiment;
mod leases;
mod local;
mod machine;
mod output;
mod phases;
mod problem;
mod rate;
mod report;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    cli.init_logs();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", problem::explain(&error));
            match ending::is_early(&error) {
                true => ExitCode::from(ending::EXIT_CODE),
                false => ExitCode::FAILURE,
            }
        }
    }
}
