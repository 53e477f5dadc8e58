//! `gelu-bench report`: all of the evidence, as one page.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::builder::PossibleValuesParser;
use gelu_cli::machine::{self, Machine};
use gelu_cli::output::{self, Output};
use gelu_cli::phases::{self, say};
use gelu_cli::problem::{self, problem};
use indicatif::MultiProgress;
use serde::Serialize;

use super::args::{ProgressBars, SettingArgs};
use crate::evidence::compare::{Comparison, compare};
use crate::evidence::{Circumstances, Evidence, Failed, Outcome, markdown, page, record};
use crate::exhibits::{ENTRIES, Entry};
use crate::files;

/// Make all tables, figures and attacks, and one page that shows them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu-bench report                               all of it at its quick size, in minutes
  gelu-bench report --set paper --data DIR        what the paper ran, or more
  gelu-bench report --only table-2 figure-cost    some of it")]
pub(crate) struct Args {
    #[command(flatten)]
    setting: SettingArgs,
    /// Only these
    #[arg(long, value_name = "ID", num_args = 1.., value_delimiter = ',', value_parser = PossibleValuesParser::new(ids()))]
    only: Vec<String>,
    /// Folder for the page, `index.html`, and everything that it shows as files
    #[arg(long, value_name = "DIR", default_value = "gelu-evidence", help_heading = "Output")]
    out: PathBuf,
    /// Folder of earlier runs to compare with, which this one is added to [default: records in --out]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    records: Option<PathBuf>,
}

fn ids() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.id)
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Written<'a> {
    page: PathBuf,
    markdown: PathBuf,
    record: PathBuf,
    #[serde(flatten)]
    evidence: &'a Evidence,
    changes: Changes<'a>,
}

#[derive(Serialize)]
struct Changes<'a> {
    measured: &'a [crate::evidence::compare::Change],
    counted: &'a [crate::evidence::compare::Change],
    counted_equal: usize,
}

/// Makes the report. That something could not be made is an error only after the rest is written.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let wanted = |entry: &&Entry| args.only.is_empty() || args.only.iter().any(|id| id == entry.id);
    let entries: Vec<_> = ENTRIES.iter().filter(wanted).collect();
    let evidence = make(&entries, &args.setting, &args.out)?;
    let records = args.records.clone().unwrap_or_else(|| args.out.join("records"));
    let (earlier, others) = record::all(&records)?;
    for path in others {
        say(&format!("{} is no record of this version: left out", path.display()));
    }
    let comparison = compare(&evidence, &earlier);
    let written = Written {
        page: args.out.join("index.html"),
        markdown: args.out.join("report.md"),
        record: record::keep(&evidence, &records)?,
        evidence: &evidence,
        changes: Changes {
            measured: &comparison.measured,
            counted: &comparison.counted,
            counted_equal: comparison.equal,
        },
    };
    files::save(&written.page, page::report(&evidence, &comparison).as_bytes())?;
    files::save(&written.markdown, markdown::report(&evidence, &comparison).as_bytes())?;
    output.show(&written, text(&evidence, &comparison, &written.page))?;
    let failed: Vec<_> = evidence.failed().map(|failed| failed.id.as_str()).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(problem(
            format!("{} of {} exhibits could not be made", failed.len(), entries.len()),
            format!("read why above, then try again with --only {}", failed.join(" ")),
        )),
    }
}

/// Makes all of them, each with its files as soon as it is there: the next may take long.
fn make(entries: &[&Entry], setting: &SettingArgs, folder: &Path) -> Result<Evidence> {
    files::make(folder)?;
    let circumstances = circumstances(setting);
    let bars = MultiProgress::new();
    let all = bars.add(phases::bar("the evidence", entries.len() as u64));
    let progress = ProgressBars::below(&bars);
    let mut outcomes = Vec::new();
    for entry in entries {
        all.set_message(entry.id);
        let words = entry.command().map(String::from).into_iter();
        let command =
            format!("{} {}", words.collect::<Vec<_>>().join(" "), machine::typed(setting.typed()));
        let made = catch_unwind(AssertUnwindSafe(|| {
            let made = entry.make(&setting.setting(), &progress, command.clone())?;
            files::write(&made, folder)?;
            Ok(made)
        }));
        progress.clear();
        let outcome = match made.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            Ok(made) => Outcome::Made(made),
            Err(error) => Outcome::Failed(Failed {
                id: entry.id.into(),
                about: entry.about.into(),
                reason: problem::explain(&error),
                command,
            }),
        };
        bars.suspend(|| say(&line(&outcome)));
        all.inc(1);
        outcomes.push(outcome);
    }
    all.finish_and_clear();
    Ok(Evidence { circumstances, outcomes })
}

/// A bug in one exhibit must not cost the others.
fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    anyhow!("it panicked, which is a bug: {said}")
}

fn circumstances(setting: &SettingArgs) -> Circumstances {
    let options = setting.setting();
    Circumstances {
        date: machine::now(),
        machine: Machine::here().to_string(),
        load: machine::load(),
        commit: machine::commit(),
        set: setting.set.name(),
        data: options.data,
        seed: options.seed,
        key_bits: options.key_bits,
        command: machine::command_line(),
    }
}

/// One exhibit, when it is done.
fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Made(made) => {
            let claims = &made.exhibit.claims;
            let hold = claims.iter().filter(|claim| claim.holds).count();
            let mark = if hold == claims.len() { '✓' } else { '✗' };
            let time = phases::seconds(made.seconds);
            format!("{mark} {:24} {hold} of {} claims hold  ({time})", outcome.id(), claims.len())
        }
        Outcome::Failed(failed) => format!("✗ {:24} {}", failed.id, failed.reason),
    }
}

fn text(evidence: &Evidence, comparison: &Comparison, page: &Path) -> String {
    let mut text = String::new();
    for made in evidence.made() {
        text += &format!("\n{}\n  {}\n", made.exhibit.title, made.exhibit.finding);
        for claim in made.exhibit.claims.iter().filter(|claim| !claim.holds) {
            text += &format!("  ✗ {}\n", claim.text);
        }
    }
    for failed in evidence.failed() {
        text += &format!("\n{}\n  ✗ {}\n", failed.about, failed.reason);
    }
    text.push('\n');
    for claim in evidence.claims() {
        text += &format!("{} {}\n", if claim.holds { '✓' } else { '✗' }, claim.text);
    }
    if let Some(summary) = comparison.summary() {
        text += &format!("  {summary}\n{}", changes(comparison));
    }
    if let Some(warning) = evidence.circumstances.warning() {
        text += &format!("  {warning}\n");
    }
    text + &format!("\nReport: {}", page.display())
}

/// Counted figures that are not what they were, and the measured ones that moved most.
fn changes(comparison: &Comparison) -> String {
    let mut measured: Vec<_> = comparison.measured.iter().collect();
    measured.sort_by(|a, b| b.ratio().ln().abs().total_cmp(&a.ratio().ln().abs()));
    let shown: Vec<_> = comparison.counted.iter().chain(measured.into_iter().take(8)).collect();
    if shown.is_empty() {
        return String::new();
    }
    let mut table = output::table(&["exhibit", "row", "column", "#before", "#now", "#ratio"]);
    for change in shown {
        let figure = |value: f64| crate::exhibit::Cell::from(value).to_string();
        table.add_row([
            change.exhibit.clone(),
            change.row.clone(),
            change.column.clone(),
            figure(change.before),
            figure(change.now),
            figure(change.ratio()),
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhibit::{Cell, Column, Exhibit, Part, Row, Source, Table};
    use crate::setting::{Progress, Setting};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        setting: SettingArgs,
    }

    fn setting() -> SettingArgs {
        Line::parse_from(["gelu", "--seed", "7", "--models", "my models"]).setting
    }

    fn exhibit(_: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
        progress.begin("a step", 1);
        progress.step();
        let table = Table {
            caption: "Times".into(),
            columns: vec![Column::new("what"), Column::with_unit("time", "s")],
            rows: vec![Row { source: Source::Measured, cells: vec!["a".into(), Cell::from(0.5)] }],
        };
        Ok(Exhibit {
            id: "table-7".into(),
            title: "A table".into(),
            finding: "0.5 s".into(),
            claims: vec![],
            parts: vec![Part::Table(table)],
            notes: vec![],
        })
    }

    /// One that can be made, one that lacks something, one with a bug: all of them are reported, and
    /// the first is written.
    #[test]
    fn what_fails_does_not_keep_the_rest_from_being_written() {
        let entry = |id, about, make| Entry { id, about, make };
        let entries = [
            entry("table-7", "a table", exhibit),
            entry("figure-x", "a figure", |_, _| Err(problem("no data", "get some"))),
            entry("attack-y", "an attack", |_, _| panic!("what a pity")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let evidence = make(&entries.each_ref(), &setting(), folder.path()).unwrap();
        let [Outcome::Made(made), Outcome::Failed(missing), Outcome::Failed(bug)] =
            &evidence.outcomes[..]
        else {
            panic!("{evidence:?}")
        };
        assert_eq!(
            made.command,
            "gelu-bench table 7 --set quick --models 'my models' --seed 7 --key-bits 2048"
        );
        assert_eq!(made.seed, 7);
        assert!(missing.reason.contains("no data") && missing.reason.contains("get some"));
        assert!(missing.command.starts_with("gelu-bench figure x --set quick"));
        assert!(bug.reason.contains("what a pity"), "{bug:?}");
        assert!(bug.command.starts_with("gelu-bench attack y "));
        let csv = std::fs::read_to_string(folder.path().join("table-7.csv")).unwrap();
        assert_eq!(csv, "source,what,time (s)\nmeasured,a,0.5\n");
        let text = text(&evidence, &Comparison::default(), Path::new("index.html"));
        assert!(text.contains("✗ 1 of 3 exhibits were made") && text.contains("what a pity"));
    }
}
