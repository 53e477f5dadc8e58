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
//! | `destination` | where a result goes, checked before the work |
//! | `signals` | how a process ends early and leaves nothing behind |
//! | `report` | the HTML page of a run |
//! | `phases`, `output`, `problem` | what a person sees: progress, results, errors |
//!
//! Exit codes: 0 done, 1 failed (one sentence and the next step on stderr), 2 wrong usage, 3 ended
//! early: what had been done by then is shown and written, and says how much of how much it is; 129, 130
//! and 143 ended by SIGHUP, SIGINT and SIGTERM with nothing to show.
#![forbid(unsafe_code)]
// Both end the program when nobody reads: `phases::say` and `output::Output` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod amounts;
mod args;
mod backend;
mod claim;
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
mod page;
mod phases;
mod problem;
mod rate;
mod report;
mod signals;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    cli.init_logs();
    signals::listen();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            phases::say(&problem::explain(&error));
            match (ending::is_early(&error), signals::code()) {
                (true, _) => ExitCode::from(ending::EXIT_CODE),
                (false, Some(code)) => ExitCode::from(code),
                (false, None) => ExitCode::FAILURE,
            }
        }
    }
}
