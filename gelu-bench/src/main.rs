//! The `gelu-bench` program.

use clap::Parser;

fn main() -> std::process::ExitCode {
    gelu_bench::Cli::parse().run().into()
}
