//! The report of a run: one HTML file that needs nothing else, neither scripts nor a network.
//!
//! [`Report`] is what a run has to say, `page` arranges it, `charts` draws its curves and bars.

mod charts;
mod page;

use std::path::Path;

use anyhow::Result;
use gelu_core::ledger::Exposure;

pub(crate) use charts::Curves;

use crate::claim::Claim;
use crate::destination::{Destination, Kind};
use crate::phases::say;
use crate::problem;

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
    pub(crate) curves: Vec<Curves>,
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
pub(crate) fn destination(
    given: Option<&Path>,
    default: &str,
    inputs: &[&Path],
    force: bool,
) -> Result<Option<Destination>> {
    let path = given.unwrap_or(Path::new(default));
    match (Destination::check(path, Kind::Report, inputs, force), given) {
        (Ok(found), _) => Ok(Some(found)),
        (Err(why), None) => {
            say(&format!("no report: {}", problem::sentence(&why)));
            Ok(None)
        }
        (Err(why), Some(_)) => Err(why),
    }
}

impl Report {
    /// Writes the page.
    pub(crate) fn write(&self, to: &Destination) -> Result<()> {
        to.write(page::render(self).as_bytes())
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
            curves: vec![Curves {
                caption: text(),
                measure: text(),
                curves: vec![("encrypted", vec![1.0, 0.5])],
            }],
            time: vec![(text(), 1.0)],
            traffic: vec![(text(), 1_500_000)],
            leakage: None,
            facts: vec![Facts { title: "x", items: vec![(text(), text())] }],
            command_line: text(),
        }
    }
}
