//! `gelu completions`: what the Tab key knows.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use crate::Cli;
use crate::output::Output;

/// Print a script that completes commands and options in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu completions bash
  gelu completions zsh

bash:  gelu completions bash > ~/.local/share/bash-completion/completions/gelu
zsh:   gelu completions zsh > DIR/_gelu, where DIR is one of $fpath
fish:  gelu completions fish > ~/.config/fish/completions/gelu.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    clap_complete::generate(args.shell, &mut command, "gelu", &mut script);
    let script = String::from_utf8(script).context("the script is no text")?;
    output.show(&json!({ "shell": args.shell.to_string(), "script": script }), script.trim_end())
}
