//! Question 4: what the overheads are.
//!
//! Counted rows come from the planner of `gelu-transfer` and depend on no machine: keys, features and
//! heads on the wire, memory, and transforms. Measured rows are short trainings in this process on one
//! core, beside the same steps in the clear. HETAL's published figures stand below them.

use anyhow::Result;
use gelu_transfer::{Activation, Plan, Settings, Sigmoid};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::case::Case;
use super::published::{HETAL, ITERATION_SECONDS, TRAINING_SECONDS, row as published};
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};
use crate::timing::{Stopwatch, on_one_core};

/// One training that is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    rows: usize,
    features: usize,
    heads: usize,
    degree: usize,
    unattended: usize,
}

/// Of the exact protocol, in one lease.
const STEPS: usize = 4;

/// The healthcare case with a line: what the others differ from in one thing each.
const BASE: Shape = Shape { rows: 2048, features: 384, heads: 1, degree: 1, unattended: 1 };

/// What is counted: the base, then rows, features, classes, degrees, unattended iterations.
const COUNTED: [Shape; 13] = [
    BASE,
    Shape { rows: 1024, ..BASE },
    Shape { rows: 16_384, ..BASE },
    Shape { features: 32, ..BASE },
    Shape { features: 768, ..BASE },
    Shape { heads: 4, ..BASE },
    Shape { heads: 10, ..BASE },
    Shape { degree: 3, ..BASE },
    Shape { degree: 7, ..BASE },
    Shape { unattended: 2, ..BASE },
    Shape { unattended: 4, ..BASE },
    Shape { degree: 3, unattended: 4, ..BASE },
    Shape { degree: 3, unattended: 9, ..BASE },
];

impl Shape {
    fn settings(self) -> Result<Settings> {
        let Self { rows, features, heads, degree, unattended } = self;
        let (range, rate) = match degree {
            1 => (8.0, 4.0),
            3 => (12.0, 3.0),
            _ => (16.0, 2.0),
        };
        let (batch, sigmoid) = (rows.min(1024), Sigmoid::fit(degree, range)?);
        Ok(Settings { rows, features, heads, batch, sigmoid, rate, unattended })
    }

    /// Bytes of the features as numbers of 32 bits.
    fn clear_bytes(self) -> u64 {
        4 * self.rows as u64 * self.features as u64
    }

    fn cells(self) -> Vec<Cell> {
        let Self { rows, features, heads, degree, unattended } = self;
        [rows, features, heads, degree, unattended].map(Cell::from).to_vec()
    }
}

/// Heads of the columns that say what was trained.
fn columns() -> Vec<Column> {
    ["rows", "features", "heads", "degree", "unattended"].map(Column::new).to_vec()
}

/// Counts and measures.
///
/// # Errors
/// A wrong answer; what a planner or a party refuses.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    progress.begin("plans", COUNTED.len());
    let mut plans = Vec::new();
    for shape in COUNTED {
        plans.push((shape, Plan::new(shape.settings()?)?));
        progress.step();
    }
    let measured: &[Shape] = match setting.extent {
        Extent::Quick => &[
            Shape { rows: 1024, ..BASE },
            Shape { rows: 1024, features: 32, ..BASE },
            Shape { rows: 1024, heads: 4, ..BASE },
            Shape { rows: 1024, degree: 3, ..BASE },
        ],
        Extent::Paper => &[
            BASE,
            Shape { features: 32, ..BASE },
            Shape { heads: 4, ..BASE },
            Shape { heads: 10, ..BASE },
            Shape { degree: 3, ..BASE },
            Shape { degree: 7, ..BASE },
            Shape { unattended: 4, ..BASE },
            Shape { degree: 3, unattended: 4, ..BASE },
        ],
    };
    progress.begin("trainings beside the clear", measured.len() + 1);
    let (rows, exact) = on_one_core(|| measure(setting, measured, progress))?;
    let base = &plans[0].1;
    let bytes = |plan: &Plan| plan.key_bytes() + plan.data_bytes();
    let expansion =
        |(shape, plan): &(Shape, Plan)| plan.data_bytes() as f64 / shape.clear_bytes() as f64;
    let of = |shape: Shape| {
        let found = plans.iter().find(|(counted, _)| *counted == shape);
        found.expect("a counted shape")
    };
    let heads = of(Shape { heads: 10, ..BASE });
    let whole = of(Shape { degree: 3, unattended: 9, ..BASE });
    let slowest = rows.iter().map(|m| m.ratio()).fold(0.0, f64::max);
    let least = rows.iter().map(|m| m.ratio()).fold(f64::INFINITY, f64::min);
    let claims = vec![
        Claim::new(
            format!(
                "features grow by {:.1} when they are encrypted, whatever the number of rows ({:.1} at 16,384)",
                expansion(&plans[0]),
                expansion(&plans[2])
            ),
            (expansion(&plans[0]) / expansion(&plans[2]) - 1.0).abs() < 0.1,
        ),
        Claim::new(
            format!(
                "an iteration of 10 heads costs 10 times that of one: {} and {} transforms",
                heads.1.transforms(heads.1.parameters().top_level()),
                base.transforms(base.parameters().top_level())
            ),
            heads.1.transforms(heads.1.parameters().top_level())
                == 10 * base.transforms(base.parameters().top_level()),
        ),
        Claim::new(
            format!(
                "nine cubic iterations unattended take {:.0} times the keys and features of one with a line: {:.2} GB and {:.1} MB",
                bytes(&whole.1) as f64 / bytes(base) as f64,
                bytes(&whole.1) as f64 / 1e9,
                bytes(base) as f64 / 1e6
            ),
            bytes(&whole.1) > 20 * bytes(base),
        ),
        Claim::new(
            format!("an iteration takes {least:.0} to {slowest:.0} times as long as in the clear"),
            least > 1.0,
        ),
        Claim::new(
            format!(
                "weights of all {} measured trainings are within 1e-3 of the clear's, those of the exact protocol equal",
                rows.len()
            ),
            rows.iter().all(|m| m.off <= 1e-3),
        ),
    ];
    let mut measured_rows: Vec<_> = rows.iter().map(Measured::row).collect();
    measured_rows.push(exact);
    Ok(Exhibit {
        id: "table-overheads".into(),
        title: "Question 4: what the overheads are".into(),
        finding: format!(
            "An iteration under CKKS takes {least:.0} to {slowest:.0} times as long as in the clear. Encrypted features are {:.1} times \
             as large as numbers of 32 bits; keys are {:.1} MB with a refresh after each iteration, and {:.2} GB for nine unattended.",
            expansion(&plans[0]),
            base.key_bytes() as f64 / 1e6,
            whole.1.key_bytes() as f64 / 1e9
        ),
        claims,
        parts: vec![
            Part::Table(counted_table(&plans)),
            Part::Table(measured_table(measured_rows)),
            Part::Table(hetal()),
        ],
        notes: vec![
            "Counted: bytes on the wire, memory of the compute party, and transforms of one iteration at the highest level (a row that is read \
             and multiplied counts as one). Batches have 1,024 rows."
                .into(),
            "Measured: both parties in this process on one core, six iterations (or two leases), the shortest; in the clear the same steps in double precision, by \
             plain loops. Once: keys and encrypted features. What other programs took is left out of what is long, on Linux."
                .into(),
            "The exact protocol's row is a step of 512 rows with a softmax of two outputs, both parties together; its features are encrypted in \
             every step. Beside it stand two steps of one output in floating point."
                .into(),
            "Published rows are of another task (a softmax over 3 to 10 classes, nobody refreshes) and another machine; they are no comparison of speed."
                .into(),
        ],
    })
}

/// A training that was measured.
struct Measured {
    shape: Shape,
    once: f64,
    /// The compute party, the data party, the clear: seconds of an iteration.
    each: [f64; 3],
    bytes: [u64; 4],
    iterations: usize,
    off: f64,
}

impl Measured {
    /// Both parties against the clear.
    fn ratio(&self) -> f64 {
        (self.each[0] + self.each[1]) / self.each[2]
    }

    fn row(&self) -> Row {
        let mut cells = self.shape.cells();
        cells.push(self.once.into());
        cells.extend(self.each.map(|seconds| Cell::from(1e3 * seconds)));
        cells.push(self.ratio().into());
        cells.extend([self.bytes[0], self.bytes[1]].map(|bytes| Cell::from(bytes as f64 / 1e6)));
        let each = |bytes: u64| Cell::from(bytes as f64 / 1e3 / self.iterations as f64);
        cells.extend([each(self.bytes[2]), each(self.bytes[3])]);
        Row { source: Source::Measured, cells }
    }
}

/// Trains, and the row of the exact protocol.
fn measure(
    setting: &Setting,
    shapes: &[Shape],
    progress: &dyn Progress,
) -> Result<(Vec<Measured>, Row)> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let whole = Case::abstracts()?;
    let mut rows = Vec::new();
    for &shape in shapes {
        let case = match shape.features {
            384 => whole.head(shape.rows, None)?,
            few => Case::components(few, rng)?.head(shape.rows, None)?,
        };
        // Time does not depend on what is learnt: with several heads, classes in turns.
        let classes: Vec<_> = match shape.heads {
            1 => case.train.labels().to_vec(),
            heads => (0..case.rows()).map(|row| row % heads).collect(),
        };
        let iterations = if shape.unattended == 1 { 6 } else { 2 * shape.unattended };
        let done = case.encrypted(shape.settings()?, &classes, iterations, rng)?;
        let (once, each, bytes, off) = (done.once, done.each, done.bytes, done.off);
        rows.push(Measured { shape, once, each, bytes, iterations, off });
        progress.step();
    }
    let exact = whole.exact(512, STEPS, 1.0, rng)?;
    let labels = whole.labels();
    let mut training = whole.training(&labels, 512, 1.0, Activation::Exact)?;
    let clear = (0..6).map(|_| {
        let watch = Stopwatch::start();
        training.step();
        watch.elapsed().as_secs_f64()
    });
    // Two outputs.
    let (both, clear) = (exact.each, 2.0 * clear.fold(f64::INFINITY, f64::min));
    progress.step();
    let mut cells =
        vec![Cell::from(whole.rows()), Cell::from(whole.features()), "2 outputs".into()];
    cells.extend(["exact protocol".into(), Cell::Empty, Cell::Empty]);
    cells.extend([
        Cell::from(1e3 * both),
        "with it".into(),
        (1e3 * clear).into(),
        (both / clear).into(),
    ]);
    cells.extend([Cell::Empty, Cell::Empty]);
    cells.extend(exact.bytes.map(|bytes| Cell::from(bytes as f64 / 1e3 / STEPS as f64)));
    Ok((rows, Row { source: Source::Measured, cells }))
}

fn counted_table(plans: &[(Shape, Plan)]) -> Table {
    let row = |(shape, plan): &(Shape, Plan)| {
        let mut cells = shape.cells();
        let ring = plan.parameters();
        let (up, down) = plan.refresh_bytes();
        cells.push(format!("2^{}", ring.degree().ilog2()).into());
        cells.push(ring.top_level().into());
        cells.extend(
            [plan.key_bytes(), plan.data_bytes()].map(|bytes| Cell::from(bytes as f64 / 1e6)),
        );
        cells.push((plan.data_bytes() as f64 / shape.clear_bytes() as f64).into());
        cells.extend([up, down].map(|bytes| Cell::from(bytes as f64 / 1e3)));
        cells.push((plan.memory() as f64 / 1e6).into());
        cells.push(plan.transforms(ring.top_level()).into());
        Row { source: Source::Counted, cells }
    };
    let mut columns = columns();
    columns.extend(["N", "levels"].map(Column::new));
    columns.extend(["keys", "features"].map(|name| Column::with_unit(name, "MB")));
    columns.push(Column::new("features, times the clear"));
    columns.extend(["refresh, up", "refresh, down"].map(|name| Column::with_unit(name, "kB")));
    columns.push(Column::with_unit("memory", "MB"));
    columns.push(Column::new("transforms an iteration"));
    Table {
        caption: "By rows, features, classes, degree and unattended iterations".into(),
        columns,
        rows: plans.iter().map(row).collect(),
    }
}

fn measured_table(rows: Vec<Row>) -> Table {
    let mut columns = columns();
    columns.push(Column::with_unit("once", "s"));
    columns
        .extend(["compute party", "data party", "clear"].map(|name| Column::with_unit(name, "ms")));
    columns.push(Column::new("times the clear"));
    columns.extend(["keys", "features"].map(|name| Column::with_unit(name, "MB")));
    columns.extend(["up", "down"].map(|name| Column::with_unit(name, "kB an iteration")));
    Table { caption: "An iteration beside the same in the clear, one core".into(), columns, rows }
}

/// What HETAL takes.
fn hetal() -> Table {
    let row = |what: &str, [least, most]: [f64; 2]| {
        published(vec![HETAL.into(), what.into(), least.into(), most.into()])
    };
    Table {
        caption: "Others: heads of five data sets, N = 2^16 with bootstrapping".into(),
        columns: vec![
            Column::new("system"),
            Column::new("what"),
            Column::with_unit("least", "s"),
            Column::with_unit("most", "s"),
        ],
        rows: vec![
            row("an iteration", ITERATION_SECONDS),
            row("a whole training", TRAINING_SECONDS),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape is planned, and differs from the base in what it says.
    #[test]
    fn everything_that_is_counted_has_a_plan() {
        for shape in COUNTED.into_iter().filter(|shape| shape.unattended < 4) {
            let plan = Plan::new(shape.settings().unwrap()).unwrap();
            assert_eq!(plan.settings().features, shape.features);
            assert!(plan.memory() > plan.data_bytes());
        }
        assert!(COUNTED[1..].iter().all(|shape| *shape != BASE));
        assert_eq!(BASE.clear_bytes(), 4 * 2048 * 384);
    }
}
