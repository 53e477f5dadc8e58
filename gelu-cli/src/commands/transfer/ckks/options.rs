//! Settings of a training under CKKS, by the command line.

use std::path::PathBuf;

use anyhow::Result;
use gelu_nn::Dataset;
use gelu_transfer::{Base, Settings, Sigmoid};

use crate::args;
use crate::client::ServerArgs;
use crate::problem::problem;

/// How a head is trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine ckks")]
pub(in super::super) struct Training {
    /// Iterations between two refreshes, in which the data party is not needed: more take larger rings [default: 1]
    #[arg(long, value_name = "K", value_parser = args::count(1..=16))]
    unattended: Option<usize>,
    /// Degree of the polynomial in place of the sigmoid: 1, 3, 5 or 7 [default: 1]
    #[arg(long, value_name = "D", value_parser = degree)]
    degree: Option<usize>,
    /// The polynomial is near the sigmoid up to this, on both sides of 0 [default: 8, 12, 12 or 16 by degree]
    #[arg(long, value_name = "R", value_parser = range)]
    range: Option<f64>,
    /// Steps of the training, each on a batch of consecutive rows [default: 8]
    #[arg(long, value_name = "N", value_parser = args::count(1..=10_000))]
    iterations: Option<usize>,
}

/// What only this engine takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Engine ckks", mut_arg("key", |arg| arg.hide(true)))]
pub(in super::super) struct Options {
    #[command(flatten)]
    pub(super) training: Training,
    /// Keep the head here after each refresh, and go on from it where there is one; as secret as the head
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

impl Options {
    /// Refuses what was given of these, for the sake of another engine.
    ///
    /// # Errors
    /// Names the option.
    pub(in super::super) fn refuse(&self, engine: &str) -> Result<()> {
        self.training.refuse(engine)?;
        let given = [
            ("--state", self.state.is_some()),
            ("--server", self.server.server.is_some()),
            ("--key", self.server.key.is_some()),
        ];
        refuse(engine, "ckks", &given)
    }
}

impl Training {
    /// Whether an option was given, by name.
    fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("--unattended", self.unattended.is_some()),
            ("--degree", self.degree.is_some()),
            ("--range", self.range.is_some()),
            ("--iterations", self.iterations.is_some()),
        ]
    }

    /// Refuses what was given of these, for the sake of another engine.
    ///
    /// # Errors
    /// Names the option.
    pub(in super::super) fn refuse(&self, engine: &str) -> Result<()> {
        refuse(engine, "ckks", &self.given())
    }

    /// How many iterations a training has.
    pub(super) fn iterations(&self) -> usize {
        self.iterations.unwrap_or(ITERATIONS)
    }

    /// The settings for some rows. Without a batch size these are as many batches of the same size as there must be, so
    /// that iterations meet few different ones; rows that are left over are not trained on.
    ///
    /// # Errors
    /// [`gelu_transfer::Error::Sigmoid`].
    pub(super) fn settings(&self, rows: RowsOf, unattended: usize) -> Result<Settings> {
        let degree = self.degree.unwrap_or(1);
        let (range, rate) = match degree {
            1 => (8.0, 4.0),
            3 => (12.0, 3.0),
            5 => (12.0, 2.0),
            _ => (16.0, 2.0),
        };
        let parts = rows.rows.div_ceil(BATCH).max(1);
        let (used, batch) = match rows.batch {
            Some(batch) => (rows.rows, batch),
            None => (rows.rows / parts * parts, rows.rows / parts),
        };
        Ok(Settings {
            rows: used,
            features: rows.features,
            heads: if rows.classes == 2 { 1 } else { rows.classes },
            batch,
            sigmoid: Sigmoid::fit(degree, self.range.unwrap_or(range))?,
            rate: rows.rate.unwrap_or(rate),
            unattended,
        })
    }

    /// Iterations between refreshes.
    pub(super) fn unattended(&self) -> Option<usize> {
        self.unattended
    }
}

/// What settings depend on besides the options.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsOf {
    pub(super) rows: usize,
    pub(super) features: usize,
    pub(super) classes: usize,
    pub(super) batch: Option<usize>,
    pub(super) rate: Option<f64>,
}

impl RowsOf {
    /// Those of rows to train on, or of what a base makes of them.
    pub(super) fn of(
        train: &Dataset,
        base: Option<&Base>,
        batch: Option<usize>,
        rate: Option<f64>,
    ) -> Self {
        let features = base.map_or(train.inputs(), Base::features);
        let (rows, classes) = (train.len(), train.classes());
        Self { rows, features, classes, batch, rate }
    }
}

/// Refuses the first option that was given for another engine than this one.
///
/// # Errors
/// Names the option.
pub(in super::super) fn refuse(engine: &str, other: &str, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(problem(
            format!("{option} belongs to --engine {other}, not to --engine {engine}"),
            format!("leave {option} out, or choose --engine {other}"),
        )),
    }
}

fn degree(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(degree) if [1, 3, 5, 7].contains(&degree) => Ok(degree),
        _ => Err("must be 1, 3, 5 or 7".into()),
    }
}

fn range(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(range) if (1.0..=64.0).contains(&range) => Ok(range),
        _ => Err("must be a number from 1 to 64".into()),
    }
}

const ITERATIONS: usize = 8;
const BATCH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_size_batches_are_few_and_even() {
        let training = Training { unattended: None, degree: None, range: None, iterations: None };
        let settings = |rows, batch| {
            let rows = RowsOf { rows, features: 3, classes: 2, batch, rate: None };
            let settings = training.settings(rows, 1).unwrap();
            (settings.rows, settings.batch)
        };
        assert_eq!(settings(1024, None), (1024, 1024));
        assert_eq!(settings(2048, None), (2048, 1024));
        assert_eq!(settings(1439, None), (1438, 719), "and one row is left over");
        assert_eq!(settings(1439, Some(128)), (1439, 128));
        assert_eq!(settings(5, None), (5, 5));
    }
}
