//! `gelu man`: the help pages as manual pages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::Cli;
use crate::destination::{Destination, Kind};
use crate::output::Output;
use crate::problem::Advise;

/// Print the manual page, or write one for every command into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu man
  gelu man man1

`man ./man1/gelu-predict.1` shows a page; `man gelu predict` finds it in a folder man1 of $MANPATH,
such as ~/.local/share/man/man1.")]
pub(crate) struct Args {
    /// The folder, which is made if need be; pages there are replaced
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints or writes.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.folder else {
        let page = page(&command)?;
        return output.show(&json!({ "page": page }), page.trim_end());
    };
    fs::create_dir_all(folder).advise(|| "name a folder that can be made".into())?;
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    // All are checked before the first is written: a page replaces nothing but a page.
    let destination = |(name, text): (String, String)| {
        let path = folder.join(name);
        Ok((Destination::check(&path, Kind::Beginning(BEGINNING), &[], false)?, text))
    };
    let pages = pages.into_iter().map(destination).collect::<Result<Vec<_>>>()?;
    for (destination, text) in &pages {
        destination.write(text.as_bytes())?;
    }
    let names: Vec<_> = pages.iter().map(|(to, _)| to.path().display().to_string()).collect();
    output
        .show(&json!({ "pages": names }), format!("{} pages in {}", names.len(), folder.display()))
}

/// The pages of a command and of all below it that its help shows, with the names of their files.
fn collect(command: &Command, pages: &mut Vec<(String, String)>) -> Result<()> {
    let man = Man::new(command.clone());
    pages.push((man.get_filename(), page(command)?));
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.into_iter().try_for_each(|command| collect(command, pages))
}

fn page(command: &Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text).context("cannot write the page")?;
    String::from_utf8(text).context("the page is no text")
}

/// How every page begins.
const BEGINNING: &str = ".ie \\n(.g .ds Aq";
