//! The report of a run: one HTML file that needs nothing else, neither scripts nor a network.
//!
//! [`Report`] is what a run has to say, [`page`] arranges it. What pages and charts look like is said
//! in `gelu-bench`, for the report of the evidence as well.

mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gelu_bench::exhibit::{Axis, Claim, Lines, Mark, Series};
use gelu_core::ledger::Exposure;

use crate::destination;
use crate::phases::say;
use crate::problem::{self, Advise};

/// What a run has to say.
pub(crate) struct Report {
    /// What was done.
    pub(crate) title: String,
    /// What came out, in a sentence.
    pub(crate) headline: String,
    /// The claims, each true or false.
    pub(crate) claims: Vec<Claim>,
    /// Shown above everything else when the run must not be taken for what it is not.
    pub(crate) warning: Option<String>,
    /// Curves over the epochs.
    pub(crate) curves: Vec<Lines>,
    /// What took how many seconds.
    pub(crate) time: Vec<(String, f64)>,
    /// What needed how many bytes on the wire.
    pub(crate) traffic: Vec<(String, u64)>,
    /// What each party could learn, and what that means for this run.
    pub(crate) leakage: Option<Leakage>,
    /// Parameters, seeds, machine: titled lists of names and values.
    pub(crate) facts: Vec<Facts>,
    /// How to do it again.
    pub(crate) command_line: String,
}

/// The end of a result's text: where its report is, if there is one.
pub(crate) fn line(report: Option<&Path>) -> String {
    report.map(|path| format!("\nReport: {}", path.display())).unwrap_or_default()
}

/// Curves of a measure over the epochs 1, 2, …; each with its name.
pub(crate) fn epochs(caption: &str, measure: &str, curves: Vec<(&str, Vec<f64>)>) -> Lines {
    let series = curves.into_iter().map(|(name, values)| Series {
        name: name.into(),
        points: (1u32..).map(f64::from).zip(values).collect(),
        mark: Mark::Line,
    });
    Lines {
        caption: caption.into(),
        x: Axis::linear("epoch"),
        y: Axis::linear(measure),
        series: series.collect(),
    }
}

/// The ledger's table and what it means here.
pub(crate) struct Leakage {
    pub(crate) exposure: Exposure,
    pub(crate) meaning: String,
}

/// A titled list of names and values.
pub(crate) struct Facts {
    pub(crate) title: &'static str,
    pub(crate) items: Vec<(String, String)>,
}

/// Where the report goes: `given`, which must be possible, or `default` in this folder, if that is
/// possible. Asked before the work begins.
pub(crate) fn destination(given: Option<&Path>, default: &str) -> Result<Option<PathBuf>> {
    let path = given.unwrap_or(Path::new(default));
    match (destination::check(path), given) {
        (Ok(()), _) => Ok(Some(path.to_owned())),
        (Err(why), None) => {
            say(&format!("no report: {}", problem::sentence(&why)));
            Ok(None)
        }
        (Err(why), Some(_)) => Err(why).advise(|| "choose another --report".into()),
    }
}

impl Report {
    /// Writes the page.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, page::render(self))
            .with_context(|| format!("cannot write the report to {}", path.display()))
    }
}

#[cfg(test)]
impl Report {
    /// One that says nothing but `text`.
    pub(crate) fn of_tests(text: &str) -> Self {
        let text = || text.to_owned();
        Self {
            title: text(),
            headline: text(),
            claims: vec![Claim::new(text(), true)],
            warning: Some(text()),
            curves: vec![epochs(&text(), &text(), vec![(&text(), vec![1.0, 0.5])])],
            time: vec![(text(), 1.0)],
            traffic: vec![(text(), 1_500_000)],
            leakage: None,
            facts: vec![Facts { title: "x", items: vec![(text(), text())] }],
            command_line: text(),
        }
    }
}
