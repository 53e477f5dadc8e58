//! Question 2: what encryption does to accuracy in training.
//!
//! A head is trained on the healthcare case with the exact sigmoid and with polynomials, in the clear:
//! that is what CKKS computes up to its noise. Some points are then trained under CKKS, and one by the
//! exact protocol, and compared with the same steps in the clear. An accuracy alone shows little here
//! (one step from zero reaches .88), so weights are compared, and the area under the curve (AUC) stands
//! beside it.

use anyhow::Result;
use gelu_nn::Scores;
use gelu_transfer::{Activation, Settings, Sigmoid};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::case::{Case, Encrypted, difference};
use super::published::{ACCURACIES, ACCURACY_LOSS, HETAL, row as published};
use crate::exhibit::{Axis, Cell, Claim, Column, Exhibit, Lines, Part, Row, Series, Source, Table};
use crate::setting::{Extent, Progress, Setting};

/// Iterations after which a head is judged.
const AFTER: [usize; 4] = [4, 8, 16, 24];
/// Rows of a batch.
const BATCH: usize = 1024;
/// Degrees, with their ranges and rates; 0 is the exact sigmoid.
const ACTIVATIONS: [(usize, f64, f64); 7] = [
    (0, 0.0, 2.0),
    (1, 8.0, 4.0),
    (3, 8.0, 2.0),
    (3, 12.0, 3.0),
    (5, 12.0, 2.0),
    (7, 16.0, 2.0),
    (15, 24.0, 2.0),
];
/// Training rows that are tried, and iterations long beyond what is needed.
const ROWS: [usize; 4] = [64, 256, 1024, 2048];
const LONG: usize = 96;
/// What a polynomial may cost.
const TOLERANCE: f64 = 0.005;
/// How far weights may be off, of the largest.
const BOUND: f64 = 1e-3;

/// A training in the clear.
struct Curve {
    name: String,
    rate: f64,
    /// After each iteration, up to that with a weight which is not finite.
    scores: Vec<Scores>,
    /// The largest |z| of all iterations.
    largest: f64,
    /// The first iteration in which a sum was beyond what the polynomial holds to.
    left: Option<usize>,
    weights: Vec<f64>,
}

impl Curve {
    fn new(
        case: &Case,
        (degree, range, rate): (usize, f64, f64),
        batch: usize,
        iterations: usize,
    ) -> Result<Self> {
        let (name, activation, holds) = match degree {
            0 => ("exact".into(), Activation::Exact, f64::INFINITY),
            _ => {
                let sigmoid = Sigmoid::fit(degree, range)?;
                let holds = sigmoid.holds_to();
                (format!("degree {degree} on ±{range}"), Activation::Polynomial(sigmoid), holds)
            }
        };
        let labels = case.labels();
        let mut training = case.training(&labels, batch, rate, activation)?;
        let (mut scores, mut left) = (Vec::new(), None);
        for iteration in 1..=iterations {
            training.step();
            if training.largest() > holds {
                left.get_or_insert(iteration);
            }
            if training.head().weights().iter().any(|w| !w.is_finite()) {
                break;
            }
            scores.push(case.judged(training.head().weights()));
        }
        let weights = training.head().weights().to_vec();
        Ok(Self { name, rate, scores, largest: training.largest(), left, weights })
    }

    fn after(&self, iterations: usize) -> &Scores {
        &self.scores[iterations - 1]
    }

    /// Not a number when the weights were lost before.
    fn auc(&self, iterations: usize) -> f64 {
        self.scores.get(iterations - 1).and_then(|scores| scores.auc).unwrap_or(f64::NAN)
    }
}

/// A point that was trained under encryption.
struct Point {
    name: String,
    iterations: usize,
    off: f64,
    clear: Scores,
    encrypted: Scores,
    /// Test rows whose answers differ.
    differ: usize,
}

/// Trains and judges.
///
/// # Errors
/// A wrong answer; what the parties refuse.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let case = Case::abstracts()?;
    progress.begin("heads in the clear", ACTIVATIONS.len() + ROWS.len());
    let mut curves = Vec::new();
    for activation in ACTIVATIONS {
        curves.push(Curve::new(&case, activation, BATCH, AFTER[3])?);
        progress.step();
    }
    let (exact, cubic) = (&curves[0], ACTIVATIONS[3]);
    let mut few = Vec::new();
    for rows in ROWS {
        let (less, batch) = (case.head(rows, None)?, rows.min(BATCH));
        let curve = |activation| Curve::new(&less, activation, batch, LONG);
        few.push((rows, curve(ACTIVATIONS[0])?, curve(cubic)?));
        progress.step();
    }
    let precision = precision(&case, &curves[1])?;

    // Degree, iterations, how many of them unattended.
    let points: &[(usize, usize, usize)] = match setting.extent {
        Extent::Quick => &[(1, 8, 1), (3, 8, 1), (1, 4, 2)],
        Extent::Paper => {
            &[(1, 16, 1), (3, 16, 1), (5, 16, 1), (7, 16, 1), (15, 8, 1), (1, 8, 4), (3, 8, 4)]
        }
    };
    progress.begin("heads under encryption", points.len() + 1);
    let mut trained = Vec::new();
    for &(degree, iterations, unattended) in points {
        trained.push(under_ckks(&case, [degree, iterations, unattended], rng)?);
        progress.step();
    }
    let steps = match setting.extent {
        Extent::Quick => 4,
        Extent::Paper => 24,
    };
    trained.push(by_the_exact_protocol(&case, steps, rng)?);
    progress.step();

    let polynomials = || curves[1..].iter().map(|curve| curve.auc(16));
    let (best, worst) = (polynomials().fold(0.0, f64::max), polynomials().fold(1.0, f64::min));
    let (few_rows, _, cubic_of_few) = &few[1];
    let (all_rows, _, cubic_of_all) = &few[ROWS.len() - 1];
    let mut claims = vec![
        Claim::new(
            format!(
                "after 16 iterations on batches of {BATCH}, the AUC of every polynomial is within {TOLERANCE} of the exact sigmoid's \
                 {:.4}: {worst:.4} to {best:.4}",
                exact.auc(16)
            ),
            polynomials().all(|auc| (auc - exact.auc(16)).abs() <= TOLERANCE),
        ),
        Claim::new(
            format!(
                "a cubic on ±12 that trains too long on too few rows leaves its range and is lost: with {few_rows} rows in iteration {} of \
                 {LONG}; with {all_rows} it stays, {:.1}",
                cubic_of_few.left.unwrap_or(0),
                cubic_of_all.largest
            ),
            cubic_of_few.left.is_some()
                && cubic_of_few.scores.len() < LONG
                && cubic_of_all.left.is_none(),
        ),
    ];
    claims.extend(trained.iter().map(|point| {
        let off = match point.off {
            0.0 => "equal to".into(),
            off => format!("within {off:.0e} of"),
        };
        Claim::new(
            format!(
                "{}, {} iterations: weights {off} those of the same steps in the clear, {} of {} test rows answered otherwise",
                point.name,
                point.iterations,
                point.differ,
                case.test.len()
            ),
            point.off <= BOUND && point.differ * 100 <= case.test.len(),
        )
    }));
    let largest_off = trained.iter().map(|point| point.off).fold(0.0, f64::max);
    Ok(Exhibit {
        id: "table-training".into(),
        title: "Question 2: what encryption does to accuracy in training".into(),
        finding: format!(
            "With enough rows and 8 to 16 iterations, nothing that can be measured: the exact sigmoid has an AUC of {:.4}, polynomials {worst:.4} to \
             {best:.4}; heads trained under encryption are within {largest_off:.0e} of their training in the clear. A cubic that goes on for too long \
             on {few_rows} rows runs away in iteration {}; before that, more iterations only fit the training rows.",
            exact.auc(16),
            cubic_of_few.left.unwrap_or(0),
        ),
        claims,
        parts: vec![
            Part::Lines(picture(&curves)),
            Part::Table(sweep(&curves)),
            Part::Table(rows_table(&few)),
            Part::Table(precision),
            Part::Table(under_encryption(&trained)),
            Part::Table(hetal()),
        ],
        notes: vec![
            format!(
                "Medical abstracts, {} rows to train on and {} to test: the standard error of an accuracy is about 0.012. Nesterov's \
                 method from zero, batches of consecutive rows; rates are those that `gelu-transfer` takes for each degree.",
                case.train.len(),
                case.test.len()
            ),
            "Polynomials in the clear are what CKKS computes, up to the noise that the last table shows. A refresh decrypts the head and \
             encrypts it again: it takes no precision, so the number of unattended iterations changes the noise and nothing else. The trainer \
             itself stops when a sum leaves the range, before the head is lost."
                .into(),
            "The exact protocol's steps are plain gradient descent on batches of 512 in fixed point; they are compared with the same in \
             integers, so 0 means bit for bit."
                .into(),
        ],
    })
}

/// Trains one point under CKKS.
fn under_ckks(
    case: &Case,
    [degree, iterations, unattended]: [usize; 3],
    rng: &mut ChaCha20Rng,
) -> Result<Point> {
    // Of the two cubics the one that holds.
    let of_degree = ACTIVATIONS.iter().rfind(|activation| activation.0 == degree);
    let &(_, range, rate) = of_degree.expect("a degree of the list");
    let sigmoid = Sigmoid::fit(degree, range)?;
    let settings = Settings {
        rows: case.rows(),
        features: case.features(),
        heads: 1,
        batch: BATCH,
        sigmoid: sigmoid.clone(),
        rate,
        unattended,
    };
    let Encrypted { weights, off, .. } =
        case.encrypted(settings, case.train.labels(), iterations, rng)?;
    let labels = case.labels();
    let mut training = case.training(&labels, BATCH, rate, Activation::Polynomial(sigmoid))?;
    (0..iterations).for_each(|_| training.step());
    let clear = training.head().weights();
    let sums = case.sums(clear);
    let found = case.sums(&weights[0]);
    let differ = found.iter().zip(&sums).filter(|(a, b)| (**a > 0.0) != (**b > 0.0)).count();
    Ok(Point {
        name: format!("CKKS, degree {degree}, a refresh after {unattended}"),
        iterations,
        off,
        clear: case.judged(clear),
        encrypted: case.judged(&weights[0]),
        differ,
    })
}

/// Trains one point by the exact protocol.
fn by_the_exact_protocol(case: &Case, steps: usize, rng: &mut ChaCha20Rng) -> Result<Point> {
    let exact = case.exact(512, steps, 1.0, rng)?;
    let scores = case.judged_model(&exact.model)?;
    // `exact` ends with an error unless the weights are those of the same steps in the clear.
    Ok(Point {
        name: "exact protocol, exact sigmoid, lattice".into(),
        iterations: steps,
        off: 0.0,
        clear: scores,
        encrypted: scores,
        differ: 0,
    })
}

fn picture(curves: &[Curve]) -> Lines {
    let series = |curve: &Curve| {
        let points = (1..=AFTER[3]).map(|iteration| (iteration as f64, curve.auc(iteration)));
        Series::curve(&curve.name, points)
    };
    Lines {
        caption: "Area under the curve on the test rows, by the activation in training".into(),
        x: Axis::linear("iteration"),
        y: Axis::linear("AUC"),
        series: curves.iter().map(series).collect(),
    }
}

fn sweep(curves: &[Curve]) -> Table {
    let row = |curve: &Curve| {
        let mut cells = vec![Cell::from(curve.name.clone()), curve.rate.into()];
        cells.extend(AFTER.map(|iterations| Cell::from(curve.auc(iterations))));
        cells.extend([curve.after(16).accuracy, curve.after(16).f1].map(Cell::from));
        cells.push(curve.largest.into());
        cells.push(difference(&curve.weights, &curves[0].weights).into());
        Row { source: Source::Measured, cells }
    };
    let mut columns = vec![Column::new("sigmoid"), Column::new("rate")];
    columns.extend(AFTER.map(|iterations| Column::new(&format!("AUC after {iterations}"))));
    columns.extend(
        [
            "accuracy after 16",
            "F1 after 16",
            "largest sum",
            "weights differ from the exact one's by",
        ]
        .map(Column::new),
    );
    Table {
        caption: format!("In the clear, batches of {BATCH}: what a polynomial costs"),
        columns,
        rows: curves.iter().map(row).collect(),
    }
}

fn rows_table(few: &[(usize, Curve, Curve)]) -> Table {
    let row = |(rows, exact, cubic): &(usize, Curve, Curve)| {
        let mut cells = vec![Cell::from(*rows)];
        for iterations in [8, AFTER[3], LONG] {
            let auc = |curve: &Curve| match curve.auc(iterations) {
                auc if auc.is_nan() => Cell::from("lost"),
                auc => Cell::from(auc),
            };
            cells.extend([auc(exact), auc(cubic)]);
        }
        cells.push(cubic.left.map_or("never".into(), |left| format!("in iteration {left}").into()));
        Row { source: Source::Measured, cells }
    };
    let mut columns = vec![Column::new("rows")];
    for iterations in [8, AFTER[3], LONG] {
        columns.extend(
            ["exact", "cubic"].map(|name| Column::new(&format!("AUC after {iterations}, {name}"))),
        );
    }
    columns.push(Column::new("the cubic leaves ±12"));
    Table {
        caption: format!(
            "Few rows, and more iterations than are needed (batches of {BATCH} at most)"
        ),
        columns,
        rows: few.iter().map(row).collect(),
    }
}

/// How many bits features and weights need: in the clear, a line on ±8.
fn precision(case: &Case, linear: &Curve) -> Result<Table> {
    let row = |what: String, auc: f64, accuracy: f64| Row {
        source: Source::Measured,
        cells: vec![what.into(), auc.into(), accuracy.into()],
    };
    let mut rows = Vec::new();
    for bits in [8, 4, 2] {
        let rounded = case.head(case.rows(), Some(bits))?;
        let curve = Curve::new(&rounded, ACTIVATIONS[1], BATCH, AFTER[3])?;
        rows.push(row(format!("features of {bits} bits"), curve.auc(16), curve.after(16).accuracy));
    }
    let largest = linear.weights.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    for exponent in [10i32, 6, 4, 2] {
        // Alternately up and down: as far off as a head with that error can be in each weight.
        let error = largest * libm::ldexp(1.0, -exponent);
        let off = linear.weights.iter().enumerate();
        let off: Vec<_> =
            off.map(|(i, w)| if i % 2 == 0 { w + error } else { w - error }).collect();
        let scores = case.judged(&off);
        let what = format!("weights off by 2^-{exponent} of the largest");
        rows.push(row(what, scores.auc.unwrap_or(f64::NAN), scores.accuracy));
    }
    Ok(Table {
        caption: "How much precision a head needs: a line on ±8, in the clear".into(),
        columns: ["what is rounded", "AUC", "accuracy"].map(Column::new).to_vec(),
        rows,
    })
}

fn under_encryption(points: &[Point]) -> Table {
    let row = |point: &Point| {
        let auc = |scores: &Scores| Cell::from(scores.auc.unwrap_or(f64::NAN));
        let off = match point.off {
            0.0 => "0".into(),
            off => format!("2^{:.1}", libm::log2(off)),
        };
        let mut cells = vec![Cell::from(point.name.clone()), point.iterations.into(), off.into()];
        cells.extend([auc(&point.clear), auc(&point.encrypted)]);
        cells.extend([&point.clear, &point.encrypted].map(|scores| Cell::from(scores.accuracy)));
        cells.push(point.differ.into());
        Row { source: Source::Measured, cells }
    };
    let columns = [
        "how",
        "iterations",
        "weights off by, of the largest",
        "AUC, clear",
        "AUC, encrypted",
        "accuracy, clear",
        "accuracy, encrypted",
        "test rows that differ",
    ];
    Table {
        caption: "Trained under encryption, both parties, beside the same steps in the clear"
            .into(),
        columns: columns.map(Column::new).to_vec(),
        rows: points.iter().map(row).collect(),
    }
}

/// Accuracies of heads that HETAL trained under encryption.
fn hetal() -> Table {
    let row = |(data, accuracy): (&str, f64)| {
        published(vec![
            HETAL.into(),
            data.into(),
            accuracy.into(),
            format!("{ACCURACY_LOSS} at most").into(),
        ])
    };
    Table {
        caption: "Others: a head of many classes by an encrypted softmax, about 75 levels a step, with bootstrapping".into(),
        columns: vec![
            Column::new("system"),
            Column::new("data"),
            Column::with_unit("accuracy, encrypted", "%"),
            Column::with_unit("lost by encryption", "points"),
        ],
        rows: ACCURACIES.map(row).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the guard of the trainer is for: without it a cubic on few rows ends in numbers that are
    /// none.
    #[test]
    fn a_cubic_is_lost_on_few_rows_and_the_exact_sigmoid_is_not() {
        let few = Case::abstracts().unwrap().head(256, None).unwrap();
        let exact = Curve::new(&few, ACTIVATIONS[0], 256, LONG).unwrap();
        assert_eq!((exact.scores.len(), exact.left), (LONG, None));
        let cubic = Curve::new(&few, ACTIVATIONS[3], 256, LONG).unwrap();
        let left = cubic.left.unwrap();
        assert!(left > AFTER[2] && cubic.scores.len() < LONG && cubic.auc(LONG).is_nan());
        assert!((cubic.auc(8) - exact.auc(8)).abs() < TOLERANCE);
    }
}
