//! The `gelu` program as a library: `main.rs` runs [`Cli`], and the laboratory, `gelu-bench`, uses what
//! both programs need.
//!
//! | file | idea |
//! |---|---|
//! | `cli` | the command line; every command's own arguments live with the command |
//! | `args` | arguments that several commands take |
//! | `commands` | one file for each command |
//! | `program` | what a program does around its commands: logs, signals, exit codes |
//! | `backend` | the registry: which cryptosystems this program was built with |
//! | `model` | model files: how they are read |
//! | `data`, `table` | which samples; how a table of one's own is read |
//! | `client` | how to reach a server, to train and to classify there |
//! | `queries` | a server that answers queries, here or elsewhere |
//! | `local` | a server process on this machine, for runs that need no other |
//! | `leases`, `rate` | how long the leases of a training may be; the learning rate |
//! | `cost` | what an exchange costs, from its plan |
//! | `ending` | how a run ends, also early: nothing hides a result |
//! | `cut_off` | values that were cut off at a bound, by layer |
//! | `experiment` | a whole training on this machine, encrypted and in the clear |
//! | `destination` | where a result goes, checked before the work |
//! | `signals` | how a process ends early and leaves nothing behind |
//! | `service_manager` | what systemd is told of a server |
//! | `machine` | facts about this machine |
//! | `report` | the HTML page of a run |
//! | `page`, `claim`, `amounts` | what pages are made of |
//! | `phases`, `output`, `problem` | what a person sees: progress, results, errors |
#![forbid(unsafe_code)]
// Both end the program when nobody reads: `phases::say` and `output::Output` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod amounts;
pub mod args;
pub mod backend;
pub mod claim;
mod cli;
pub mod client;
pub mod commands;
mod cost;
mod cut_off;
mod data;
mod destination;
mod ending;
mod experiment;
pub mod leases;
pub mod local;
pub mod machine;
mod mode;
mod model;
pub mod output;
pub mod page;
pub mod phases;
pub mod problem;
pub mod program;
mod queries;
pub mod rate;
mod report;
#[cfg(unix)]
pub mod service_manager;
pub mod signals;
mod table;

pub use cli::Cli;
