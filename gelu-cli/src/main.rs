//! The `gelu` program.

use clap::Parser;

fn main() -> std::process::ExitCode {
    gelu_cli::Cli::parse().run().into()
}
