//! What a training under CKKS takes, before anything runs.

use anyhow::Result;
use gelu_transfer::Plan;
use gelu_transfer::price::{TRANSFORM_SECONDS, measure_transform};
use rand::rngs::ChaCha20Rng;
use serde::Serialize;

use super::super::source::Source;
use super::options::{RowsOf, Training};
use super::party::memory_of;
use crate::output::table;
use crate::phases::{bytes, seconds};

/// A plan for each number of unattended iterations.
#[derive(Serialize)]
pub(in super::super) struct Planned {
    iterations: usize,
    batch: usize,
    degree: usize,
    measured: bool,
    plans: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    unattended: usize,
    #[serde(flatten)]
    cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Cost {
    ring_degree: usize,
    levels: usize,
    keys: usize,
    key_bytes: u64,
    data_bytes: u64,
    /// At a refresh.
    bytes_up: u64,
    bytes_down: u64,
    /// At the compute party.
    memory: u64,
    /// Of all iterations at the compute party, on one thread.
    seconds: f64,
}

impl Planned {
    /// For the rows of a source: for `--unattended`, or for 1, 4 and 9.
    pub(in super::super) fn of(
        source: &Source,
        training: &Training,
        batch: Option<usize>,
        measured: bool,
    ) -> Result<Self> {
        let rows = RowsOf::of(&source.split.train, batch, None);
        let iterations = training.iterations();
        let settings = training.settings(rows, 1)?;
        let given = training.unattended();
        let row = |unattended: usize| -> Result<Row> {
            Ok(match Plan::new(training.settings(rows, unattended)?) {
                Err(error) => Row { unattended, cost: None, refused: Some(error.to_string()) },
                Ok(plan) => {
                    let cost = Some(Cost::of(&plan, iterations, measured)?);
                    Row { unattended, cost, refused: None }
                }
            })
        };
        let plans = given.map_or(vec![1, 4, 9], |one| vec![one]).into_iter().map(row);
        Ok(Self {
            iterations,
            batch: settings.batch,
            degree: settings.sigmoid.degree(),
            measured,
            plans: plans.collect::<Result<_>>()?,
        })
    }

    /// As a table.
    pub(in super::super) fn text(&self) -> String {
        let mut rows = table(&[
            "#--unattended",
            "#ring",
            "#levels",
            "#keys",
            "#sent once:\nkeys",
            "#features",
            "#a refresh:\nup",
            "#down",
            "#memory",
            "#the fit",
            "",
        ]);
        for row in &self.plans {
            let cells = row.cost.as_ref().map(Cost::cells);
            let cells = cells.unwrap_or_else(|| std::array::from_fn(|_| "–".into()));
            let refused = row.refused.clone().unwrap_or_default();
            rows.add_row(
                [vec![row.unattended.to_string()], cells.to_vec(), vec![refused]].concat(),
            );
        }
        let machine = if self.measured { "this machine" } else { "the reference machine" };
        format!(
            "--engine ckks: {} iterations on batches of {}, degree {} in place of the sigmoid; one thread of {machine}:\n\n{rows}",
            self.iterations, self.batch, self.degree
        )
    }
}

impl Cost {
    fn of(plan: &Plan, iterations: usize, measured: bool) -> Result<Self> {
        let transform = match measured {
            true => measure_transform(plan.parameters(), &mut rand::make_rng::<ChaCha20Rng>())?,
            false => TRANSFORM_SECONDS,
        };
        let (bytes_up, bytes_down) = plan.refresh_bytes();
        let leases = iterations as f64 / plan.settings().unattended as f64;
        Ok(Self {
            ring_degree: plan.parameters().degree(),
            levels: plan.parameters().top_level(),
            keys: plan.keys().len(),
            key_bytes: plan.key_bytes(),
            data_bytes: plan.data_bytes(),
            bytes_up,
            bytes_down,
            memory: memory_of(plan),
            seconds: plan.seconds(transform, 1) * leases,
        })
    }

    fn cells(&self) -> [String; 9] {
        [
            format!("2^{}", self.ring_degree.ilog2()),
            self.levels.to_string(),
            self.keys.to_string(),
            bytes(self.key_bytes),
            bytes(self.data_bytes),
            bytes(self.bytes_up),
            bytes(self.bytes_down),
            bytes(self.memory),
            seconds(self.seconds),
        ]
    }
}
