//! The report: one HTML file that needs nothing else, neither scripts nor a network.
//!
//! [`Report`] is what a run has to say; [`page`] arranges it, [`chart`] draws it. Everything that
//! comes from outside (names, paths, the command line) is escaped where it enters the page.

mod chart;
mod page;

use std::path::Path;

use anyhow::{Context, Result};
use gelu_core::ledger::Exposure;

/// What a run has to say.
pub(crate) struct Report {
    /// What was done.
    pub(crate) title: String,
    /// What came out, in a sentence.
    pub(crate) headline: String,
    /// The claims, each true or false.
    pub(crate) badges: Vec<Badge>,
    /// Shown above everything else when the run must not be taken for what it is not.
    pub(crate) warning: Option<String>,
    /// Curves over the epochs.
    pub(crate) curves: Vec<Curves>,
    /// What took how long.
    pub(crate) time: Vec<Bar>,
    /// What needed how many bytes on the wire.
    pub(crate) traffic: Vec<Bar>,
    /// What each party could learn, and what that means for this run.
    pub(crate) leakage: Option<Leakage>,
    /// Parameters, seeds, machine: titled lists of names and values.
    pub(crate) facts: Vec<Facts>,
    /// How to do it again.
    pub(crate) command_line: String,
}

/// A claim and whether it holds.
pub(crate) struct Badge {
    pub(crate) claim: String,
    pub(crate) holds: bool,
}

/// An amount with a name.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The amount as a person reads it.
    pub(crate) label: String,
}

/// Several series over the same epochs.
pub(crate) struct Curves {
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
}

/// One curve: its values, one for each epoch.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
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
