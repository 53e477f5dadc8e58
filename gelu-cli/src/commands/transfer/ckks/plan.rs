//! What a training under CKKS takes, before anything runs.

use anyhow::Result;
use gelu_ckks::Parameters;
use gelu_transfer::price::{TRANSFORM_SECONDS, measure_transform};
use gelu_transfer::{Base, BaseOwner, Plan};
use rand::rngs::ChaCha20Rng;
use serde::Serialize;

use super::super::source::Source;
use super::base;
use super::options::{RowsOf, Training};
use super::party::{memory_of, memory_of_base};
use crate::output::table;
use crate::phases::{bytes, seconds};

/// A plan for each number of unattended iterations.
#[derive(Serialize)]
pub(in super::super) struct Planned {
    iterations: usize,
    batch: usize,
    degree: usize,
    measured: bool,
    /// Setup 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<BaseCost>,
    plans: Vec<Row>,
}

/// All rows through the base, once.
#[derive(Serialize)]
struct BaseCost {
    rows: usize,
    ring_degree: usize,
    levels: usize,
    key_bytes: u64,
    bytes_up: u64,
    bytes_down: u64,
    /// At the compute party, and at the data party.
    memory: u64,
    data_party_memory: u64,
    seconds: f64,
    /// Deviation of a feature, by the noise that hides the base.
    features_off: f64,
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
    /// At the compute party, and at the data party.
    memory: u64,
    data_party_memory: u64,
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
        let base = base::of(source)?;
        let rows = RowsOf::of(&source.split.train, base.as_ref(), batch, None);
        let base = base.map(|base| BaseCost::of(source, &base, measured)).transpose()?;
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
            base,
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
            "#memory:\nthere",
            "#here",
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
        let base = self.base.as_ref().map_or(String::new(), BaseCost::text);
        let machine = if self.measured { "this machine" } else { "the reference machine" };
        format!(
            "--engine ckks: {} iterations on batches of {}, degree {} in place of the sigmoid; one thread of {machine}:\n\n{base}{rows}",
            self.iterations, self.batch, self.degree
        )
    }
}

/// Seconds of one.
fn transform(parameters: &Parameters, measured: bool) -> Result<f64> {
    Ok(match measured {
        true => measure_transform(parameters, &mut rand::make_rng::<ChaCha20Rng>())?,
        false => TRANSFORM_SECONDS,
    })
}

impl BaseCost {
    fn of(source: &Source, base: &Base, measured: bool) -> Result<Self> {
        let plan = base::plan(&base::parts(&source.split), base)?;
        BaseOwner::check(&plan, base)?;
        Ok(Self {
            rows: plan.settings().rows,
            ring_degree: plan.parameters().degree(),
            levels: plan.parameters().top_level(),
            key_bytes: plan.key_bytes(),
            bytes_up: plan.input_bytes(),
            bytes_down: plan.groups() as u64 * plan.feature_bytes(),
            memory: memory_of_base(&plan, base),
            data_party_memory: plan.memory_of_rows(),
            seconds: plan.seconds(base, transform(plan.parameters(), measured)?, 1),
            features_off: base.deviation(&plan),
        })
    }

    fn text(&self) -> String {
        format!(
            "base, once for {} rows: ring 2^{}, {} levels; keys {}, {} up, {} down; memory there {}, here {}; {}; features off by {:.0e}\n\n",
            self.rows,
            self.ring_degree.ilog2(),
            self.levels,
            bytes(self.key_bytes),
            bytes(self.bytes_up),
            bytes(self.bytes_down),
            bytes(self.memory),
            bytes(self.data_party_memory),
            seconds(self.seconds),
            self.features_off,
        )
    }
}

impl Cost {
    fn of(plan: &Plan, iterations: usize, measured: bool) -> Result<Self> {
        let transform = transform(plan.parameters(), measured)?;
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
            data_party_memory: plan.memory_of_data(),
            seconds: plan.seconds(transform, 1) * leases,
        })
    }

    fn cells(&self) -> [String; 10] {
        [
            format!("2^{}", self.ring_degree.ilog2()),
            self.levels.to_string(),
            self.keys.to_string(),
            bytes(self.key_bytes),
            bytes(self.data_bytes),
            bytes(self.bytes_up),
            bytes(self.bytes_down),
            bytes(self.memory),
            bytes(self.data_party_memory),
            seconds(self.seconds),
        ]
    }
}
