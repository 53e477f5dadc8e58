//! `gelu schema sum`: common scales for the rows of several owners, who show them to nobody.
//!
//! ```text
//! each owner                                          the folder
//!   a key for each other owner            ──────▶     alice.keys.json  bob.keys.json  carol.keys.json
//!   the code of all keys, compared        ◀──────
//!   its sums under masks                  ──────▶     alice.sums.json  bob.sums.json  carol.sums.json
//!   the sum of all: means, deviations     ◀──────
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `keys` | [`keys::Keys`]: a secret with each other owner, and the code that tells whether all saw the same keys |
//! | `exchange` | [`exchange::Exchange`]: messages as files in a folder that anybody may carry |
//!
//! Keys live in the process and end with it, so a sum that did not end is begun anew by all.

mod exchange;
mod keys;

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::Result;
use gelu_nn::schema::{Labels, MaskedSums};
use serde_json::json;

use self::exchange::Exchange;
use self::keys::{Keys, Public, Session};
use crate::output::Output;
use crate::phases::say;
use crate::problem::{Advise, problem};
use crate::table::{TableArgs, how_tables_are_read, read_schema};

/// Scales for the rows of three owners or more, who show their rows and their sums to nobody
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu schema sum mine.csv --schema loans.json --as alice --with bob,carol --folder sums

Every owner runs this with the same schema and its own table and name, and the same folder: on a disk that all of them
reach, or copies between which somebody carries the files. All get the same schema, sums/schema.json, with the means
and deviations of all rows together. Train with it: `gelu train --csv mine.csv --schema sums/schema.json`.

Each table's counts, sums and sums of squares are hidden under masks that cancel in the sum of all of them. Everybody
who reads the folder learns the total. Nobody learns one owner's sums, unless all others tell theirs; so there must be
three owners, and each sum makes new keys. Whoever can write to the folder could put its own keys there. Against that
all owners compare a code, by telephone, before sums are sent.")]
pub(super) struct Args {
    /// The table
    #[arg(value_name = "FILE")]
    table: PathBuf,
    /// The schema that all owners have: columns with neither a scale nor a range get one
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Your name
    #[arg(long = "as", value_name = "NAME")]
    me: String,
    /// The names of the other owners, two or more
    #[arg(long = "with", value_name = "NAME,…", value_delimiter = ',', required = true)]
    others: Vec<String>,
    /// Where the owners' messages are, and the schema when it is done
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Do not ask for the code: only the owners can write to the folder
    #[arg(long)]
    trust_folder: bool,
    #[command(flatten)]
    how: TableArgs,
}

/// Does what was asked.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    let owners = owners(args)?;
    let schema = read_schema(&args.schema)?;
    if schema.open_features().is_empty() {
        return Err(problem(
            format!("every column of {} has a scale or a range", args.schema.display()),
            "train with it as it is: there is nothing to sum",
        ));
    }
    let exchange = Exchange::open(&args.folder, &args.me, &owners)?;
    let options = args.how.options(Labels::Optional);
    let sums = schema.sums(&args.table, &options).advise(how_tables_are_read)?;

    let keys = Keys::generate(&owners, &args.me)?;
    let ours = keys.public(&schema);
    let public = exchange.swap("keys", ours.clone())?;
    for (owner, message) in &public {
        agrees(owner, message, &ours)?;
    }
    let session = Session::of(&public);
    say(&format!("code: {}", session.code()));
    if !args.trust_folder {
        compare()?;
    }

    let masked = sums.mask(&keys.agree(&public, &session)?);
    let sealed = exchange.swap("sums", session.sealed(&masked))?;
    let all = sealed.iter().map(|(owner, sealed)| session.open(owner, sealed, &schema));
    let all = all.collect::<Result<Vec<_>>>()?;
    let total = MaskedSums::total(&all)?;
    let again = || "begin anew with an empty folder, all owners with the same names".to_owned();
    let fitted = schema.fit_sums(&total).advise(again)?;
    let out = exchange.finish(&(serde_json::to_string_pretty(&fitted)? + "\n"))?;

    let shown = json!({
        "owners": owners, "rows": total.rows(), "hash": fitted.hash().to_string(), "schema": out,
    });
    let text = format!(
        "{} rows of {} owners\n{}\nschema: {}",
        total.rows(),
        owners.len(),
        super::described(&fitted),
        out.display()
    );
    output.show(&shown, text)
}

/// All names, in order.
fn owners(args: &Args) -> Result<Vec<String>> {
    let mut owners: Vec<_> = args.others.iter().chain([&args.me]).cloned().collect();
    owners.sort();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if let Some(name) =
        owners.iter().find(|n| n.is_empty() || n.len() > 64 || !n.chars().all(plain))
    {
        return Err(problem(
            format!("{name:?} is no name of an owner"),
            "use up to 64 letters, digits, - and _ in --as and --with",
        ));
    }
    if let Some(twice) = owners.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(problem(
            format!("{} is named twice", twice[0]),
            "name yourself in --as, and every other owner once in --with",
        ));
    }
    match owners.len() {
        0..3 => Err(problem(
            "with two owners each could take its own sums from the total, and see the other's",
            "find a third owner, or agree on the \"range\" of each column: `gelu help schema`",
        )),
        3..=MOST_OWNERS => Ok(owners),
        n => Err(problem(format!("{n} owners, the limit is {MOST_OWNERS}"), "sum in fewer groups")),
    }
}

const MOST_OWNERS: usize = 256;

/// Whether an owner's message is about the same sum as ours.
fn agrees(owner: &str, theirs: &Public, ours: &Public) -> Result<()> {
    if theirs.owners != ours.owners {
        return Err(problem(
            format!(
                "{owner} sums with {}, not with {}",
                theirs.owners.join(", "),
                ours.owners.join(", ")
            ),
            "begin anew with an empty folder, all owners with the same names",
        ));
    }
    match theirs.schema == ours.schema {
        true => Ok(()),
        false => Err(problem(
            format!("{owner} has the schema {}, but --schema is {}", theirs.schema, ours.schema),
            "give all owners the same file, and begin anew with an empty folder",
        )),
    }
}

/// Asks the owner whether the others have the same code.
fn compare() -> Result<()> {
    say("Call the other owners. If all of them have this code, type yes:");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(problem(
            "the code was not confirmed, so no sums were sent",
            "begin anew with an empty folder; --trust-folder does not ask, where only the owners can write to it",
        )),
    }
}
