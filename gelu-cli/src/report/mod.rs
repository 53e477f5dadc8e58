//! The report of a run: one HTML file that needs nothing else, neither scripts nor a network.
//!
//! [`Report`] is what a run has to say, [`page`] arranges it. What pages and charts look like is said
//! in `gelu-bench`, for the report of the evidence as well.

mod page;

use std::path::Path;

use anyhow::{Context, Result};
use gelu_bench::exhibit::{Axis, Claim, Lines, Mark, Series};
use gelu_core::ledger::Exposure;

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

impl Report {
    /// Writes the page.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, page::render(self))
            .with_context(|| format!("cannot write the report to {}", path.display()))
    }
}
