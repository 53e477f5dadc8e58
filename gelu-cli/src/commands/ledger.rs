//! `gelu ledger`: what the books of a server say, a copy of them, and whether they agree with themselves.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use gelu_store::{Ended, Error, Location, Model, Overview, Store};
use serde_json::json;

use crate::machine;
use crate::output::{Output, table};
use crate::phases::bytes;
use crate::problem::{advised, problem};

/// Show, copy and check the books of a server: accounts, versions, leases, use
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu ledger show --store mnist.safetensors.store
  gelu ledger show --store mnist.safetensors.store --account alice
  gelu ledger backup copy.store --store mnist.safetensors.store
  gelu ledger verify --store mnist.safetensors.store

The books are a file, which a running server has to itself: stop it first, or read a copy that it
has made. Those on PostgreSQL (--store postgres://USER@HOST/DATABASE) can be read while servers
run. A copy is a file of books: to restore it, put it in the place of the damaged one while the
server is stopped. What was answered after the copy was made is not counted in it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Show(ShowArgs),
    Backup(BackupArgs),
    Verify(VerifyArgs),
}

/// Show what accounts have seen, who trained, and what was used
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu ledger show --store mnist.safetensors.store
  gelu ledger show --store mnist.safetensors.store --account alice
  gelu ledger show --store mnist.safetensors.store --json")]
struct ShowArgs {
    #[command(flatten)]
    place: Place,
    /// Only this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
}

/// Copy the books, as they are at one moment, into a new file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu ledger backup backup.store --store mnist.safetensors.store")]
struct BackupArgs {
    #[command(flatten)]
    place: Place,
    /// The copy, which must not exist yet [default: the store's path with .backup added]
    #[arg(value_name = "FILE")]
    copy: Option<PathBuf>,
}

/// Read all of the books, and list what is damaged or does not agree
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu ledger verify --store mnist.safetensors.store")]
struct VerifyArgs {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The books: a file, or postgres://…
    #[arg(long, value_name = "WHERE")]
    store: Location,
}

impl Place {
    /// Books that are there: looking makes none.
    fn open(&self) -> Result<Store> {
        Store::open_existing(&self.store).map_err(|error| match error {
            Error::InUse(_) => advised(
                error,
                "stop its server, or have that make a copy, by a POST to /backup of its admin address",
            ),
            Error::NoStore(_) => {
                advised(error, "`gelu serve --model FILE` keeps its books in FILE.store")
            }
            error => error.into(),
        })
    }
}

/// Does what was asked.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match &args.what {
        What::Show(args) => show(args, output),
        What::Backup(args) => backup(args, output),
        What::Verify(args) => verify(args, output),
    }
}

fn backup(args: &BackupArgs, output: Output) -> Result<()> {
    let beside = |store: &Location| match store {
        Location::File(path) => Ok(path.with_added_extension("backup")),
        Location::Postgres(_) => Err(problem(
            "the copy of a database needs a name",
            "name a file: `gelu ledger backup FILE --store postgres://…`",
        )),
    };
    let copy = args.copy.clone().map_or_else(|| beside(&args.place.store), Ok)?;
    args.place.open()?.backup(&copy)?;
    let copy = copy.display().to_string();
    let said = format!("{copy} holds the books as they were; only its owner can read it.");
    output.show(&json!({ "copy": copy }), said)
}

fn verify(args: &VerifyArgs, output: Output) -> Result<()> {
    let checked = args.place.open()?.verify()?;
    let mut text = format!("{} values read, none damaged.", checked.values);
    if !checked.damages.is_empty() {
        let mut rows = table(&["key", "what is wrong"]);
        rows.add_rows(checked.damages.iter().map(|damage| [&damage.key, &damage.why]));
        text = rows.to_string();
    }
    output.show(&checked, text)?;
    match checked.damages.len() {
        0 => Ok(()),
        many => Err(problem(
            format!("{many} damages in the books at {}", args.place.store),
            "restore them from the last backup that `gelu ledger verify` finds whole",
        )),
    }
}

fn show(args: &ShowArgs, output: Output) -> Result<()> {
    let mut books = args.place.open()?.overview()?;
    if let Some(account) = &args.account {
        books
            .models
            .values_mut()
            .for_each(|model| model.accounts.retain(|name, _| name == account));
        books.usage.values_mut().for_each(|used| used.retain(|name, _| name == account));
    }
    let text = text(&books);
    output.show(&books, text)
}

fn text(books: &Overview) -> String {
    if books.models.is_empty() && books.usage.is_empty() {
        return "Nothing was published, and nobody has asked anything.".into();
    }
    let mut models = table(&["model", "#version", "file", "#leases", "training now", "waiting"]);
    for (name, model) in &books.models {
        let version = model.current.as_ref().map_or("none".into(), |v| v.version.to_string());
        let committed = |lease: &&_| matches!(lease, Some(Ended::Committed(_)));
        let leases = model.leases.values().map(|lease| &lease.ended);
        let leases =
            format!("{}, {} committed", model.leases.len(), leases.filter(committed).count());
        let holder = model.holder.clone().unwrap_or_default();
        let waiting = model.waiting.join(", ");
        models.add_row([name, &version, &bytes(model.bytes as u64), &leases, &holder, &waiting]);
    }
    let mut text = models.to_string();
    if books.models.values().any(|model| !model.accounts.is_empty()) {
        write!(text, "\n\n{}", accounts(books)).expect("texts take all");
    }
    let days = books.usage.iter().filter(|(_, used)| !used.is_empty());
    let mut used = table(&["day (UTC)", "account", "#sessions", "#computations", "#traffic"]);
    for (day, accounts) in days {
        for (account, usage) in accounts {
            let counts = [usage.sessions, usage.computations].map(|count| count.to_string());
            let [sessions, computations] = counts;
            let traffic = bytes(usage.bytes);
            used.add_row([date(*day), account.clone(), sessions, computations, traffic]);
        }
    }
    if used.row_count() > 0 {
        write!(text, "\n\n{used}").expect("texts take all");
    }
    text
}

fn accounts(books: &Overview) -> comfy_table::Table {
    let header = ["model", "account", "layer", "#bits seen", "#at most, of another version"];
    let mut rows = table(&header);
    for (name, Model { accounts, .. }) in &books.models {
        for (account, seen) in accounts {
            let layers: BTreeSet<_> = seen
                .current
                .keys()
                .chain(seen.others.values().flat_map(|bits| bits.keys()))
                .collect();
            for layer in layers {
                let current = seen.current.get(layer).copied().unwrap_or(0).to_string();
                let others = seen.others.values().filter_map(|bits| bits.get(layer)).max();
                let others = others.map_or(String::new(), u64::to_string);
                rows.add_row([name, account, layer, &current, &others]);
            }
        }
    }
    rows
}

/// The day of a second since 1970 (UTC).
fn date(second: u64) -> String {
    let date = machine::date(second);
    date.split('T').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_787, "2026-11-30"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day * 86_400), expected, "{day}");
        }
    }
}
