//! The `gelu` program: arguments in, pictures and exit codes out.
//!
//! | file | idea |
//! |---|---|
//! | `args` | the command line; every command's own arguments live with the command |
//! | `commands` | one file for each command |
//! | `backend` | the registry: which cryptosystems this program was built with |
//! | `client` | how to reach a server, to train and to classify there |
//! | `local` | a server process on this machine, for runs that need no other |
//! | `experiment` | a whole training on this machine, encrypted and in the clear |
//! | `exhibits` | the evidence: tables, figures, attacks |
//! | `report` | the HTML page of a run |
//! | `phases`, `output`, `problem` | what a person sees: progress, results, errors |
//!
//! Exit codes: 0 done, 1 failed (one sentence and the next step on stderr), 2 wrong usage.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod client;
mod commands;
mod cost;
mod data;
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
            ExitCode::FAILURE
        }
    }
}
