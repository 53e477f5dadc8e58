//! The report as Markdown, its pictures as files beside it.

use std::fmt::{self, Write};

use super::compare::{Change, Comparison};
use super::{Evidence, Failed, Outcome};
use crate::exhibit::Cell;
use crate::markdown::{Plain, code, exhibit};

/// The whole file.
pub fn report(evidence: &Evidence, comparison: &Comparison) -> String {
    let mut text = String::new();
    write(&mut text, evidence, comparison).expect("writing to a string succeeds");
    text
}

fn write(out: &mut String, evidence: &Evidence, comparison: &Comparison) -> fmt::Result {
    write!(out, "# The evidence\n\n{}\n\n", Plain(&evidence.headline()))?;
    for claim in evidence.claims() {
        let mark = if claim.holds { '✓' } else { '✗' };
        writeln!(out, "- {mark} {}", Plain(&claim.text))?;
    }
    if let Some(warning) = evidence.circumstances.warning() {
        write!(out, "\n**{}**\n", Plain(&warning))?;
    }
    out.push_str("\n| | |\n| --- | --- |\n");
    for (name, value) in evidence.circumstances.facts() {
        writeln!(out, "| {name} | {} |", Plain(&value))?;
    }
    for outcome in &evidence.outcomes {
        out.push('\n');
        match outcome {
            Outcome::Made(made) => out.push_str(&exhibit(made, 2)),
            Outcome::Failed(failed) => self::failed(out, failed)?,
        }
    }
    changes(out, comparison)
}

fn failed(out: &mut String, failed: &Failed) -> fmt::Result {
    write!(
        out,
        "## {}\n\n✗ It could not be made: {}\n\n`{}`\n",
        Plain(&failed.about),
        Plain(&failed.reason),
        code(&failed.command)
    )
}

fn changes(out: &mut String, comparison: &Comparison) -> fmt::Result {
    let Some(summary) = comparison.summary() else { return Ok(()) };
    write!(out, "\n## What has changed\n\n{}\n", Plain(&summary))?;
    let tables = [("Counted", &comparison.counted), ("Measured", &comparison.measured)];
    for (title, changes) in tables.into_iter().filter(|(_, changes)| !changes.is_empty()) {
        write!(
            out,
            "\n{title}\n\n| exhibit | row | column | since | before | now | ratio |\n\
             | --- | --- | --- | --- | ---: | ---: | ---: |\n"
        )?;
        for change in changes {
            let Change { exhibit, row, column, since, before, now } = change;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                Plain(exhibit),
                Plain(row),
                Plain(column),
                Plain(since),
                Cell::from(*before),
                Cell::from(*now),
                Cell::from(change.ratio())
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn everything_is_shown_and_escaped() {
        let mut then = example("<script>");
        then.circumstances.date = "2025".into();
        let now = example("<script>");
        let comparison = super::super::compare::compare(&now, &[then]);
        let text = report(&now, &comparison);
        for part in [
            "- ✗ 1 of 2 exhibits were made",
            "Load in the minute before: 3.0",
            "| seed | 1 |",
            "## Everything \\<script\\>",
            "✗ It could not be made: no data \\<script\\>",
            "## What has changed",
            "| 1.50 | 1.50 | 1.00 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let outside_code: String = text.split('`').step_by(2).collect();
        assert!(!outside_code.replace("\\<", "").contains('<'), "{outside_code}");
        assert!(!report(&now, &Comparison::default()).contains("What has changed"));
    }
}
