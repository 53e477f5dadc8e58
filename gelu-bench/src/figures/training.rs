//! The paper's Figure 3: trainings with the exact activation and with polynomials in its place.
//!
//! All curves of a data set start with the same weights and see the same batches at the same rate. A
//! polynomial passes errors back by its derivative, which grows without bound where the sigmoid's is
//! at most 1/4:
//!
//! | activation | f'(z) | at z = 6 |
//! | --- | --- | --- |
//! | sigmoid | a · (1 − a) | 0.002 |
//! | square | 2z | 12 |
//! | third order | 1/4 − z²/16 | −2 |
//! | fifth order | 1/4 − z²/16 + z⁴/96 | 11.5 |
//!
//! So where weighted sums are wide, steps are too long, sums grow wider, and the weights end beyond
//! all numbers. Where sums stay narrow, a polynomial trains.

use std::path::Path;

use gelu_core::stats::largest;
use gelu_nn::{Activation, Dataset, FloatParameters, Recipe, Sequential, Split};
use rayon::prelude::*;

use crate::Error;
use crate::exhibit::{
    Axis, Cell, Claim, Column, Exhibit, Lines, Mark, Part, Row, Series, Source, Table,
};
use crate::learning::{Run, Task, in_floating_point};
use crate::setting::{Extent, Progress, Setting};
use crate::tables::accuracy::cases::{Case, DIABETES, DIGITS, IRIS, KR_VS_KP, MNIST};

/// The curves, in the order of the legend.
const CURVES: [(&str, Activation); 4] = [
    ("exact (sigmoid)", Activation::Sigmoid),
    ("square", Activation::Square),
    ("3rd order", Activation::Taylor3),
    ("5th order", Activation::Taylor5),
];

/// Samples by which the range of weighted sums is measured.
const MEASURED: usize = 1000;

/// Epochs that are drawn at most.
const MOST_EPOCHS: usize = 200;

/// One training, and how wide the hidden layer's weighted sums were before and after it.
struct Curve {
    name: &'static str,
    function: Activation,
    run: Run,
    before: f64,
    after: f64,
}

/// Makes the figure.
///
/// # Errors
/// [`Error::Network`] for damaged data; what is missing is left out with a note.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let mut notes = NOTES.map(str::to_owned).to_vec();
    let cases = match setting.extent {
        Extent::Quick => {
            notes.push("A quick run: Iris and the 8x8 digits, which stand for MNIST.".into());
            vec![IRIS, DIGITS]
        }
        Extent::Paper => vec![IRIS, DIABETES, KR_VS_KP, MNIST, DIGITS],
    };
    let folder = setting.data.as_deref().unwrap_or(Path::new(""));
    let (mut parts, mut rows, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    for case in cases {
        let split = match Split::load(case.name, folder, setting.seed) {
            Ok((split, _)) => split,
            Err(error) => {
                notes.push(format!("{} is left out: {error}.", case.title));
                continue;
            }
        };
        let curves = train(&case, &split, setting.seed, progress)?;
        parts.push(Part::Lines(accuracy(&case, &curves)));
        parts.push(Part::Lines(loss(&case, &curves)));
        rows.extend(curves.iter().map(|curve| row(&case, curve)));
        claims.extend(claim(&case, &curves));
    }
    let diverging = |exact: bool| {
        let of_kind = rows.iter().filter(|row| (row.cells[1] == CURVES[0].0.into()) == exact);
        let all = of_kind.clone().count();
        format!("{} of {all}", of_kind.filter(|row| row.cells[2] != Cell::Empty).count())
    };
    let finding = format!(
        "{} trainings with the exact activation diverge, and {} with polynomials.",
        diverging(true),
        diverging(false)
    );
    let columns = [
        Column::new("data set and network"),
        Column::new("activation"),
        Column::with_unit("diverges after", "epochs"),
        Column::new("accuracy at the end"),
        Column::new("loss at the end"),
        Column::new("widest sum before"),
        Column::new("widest sum after"),
        Column::new("|f'| there"),
    ];
    parts.insert(
        0,
        Part::Table(Table {
            caption: "How each training ends, and the widest weighted sum of the hidden layer"
                .into(),
            columns: columns.to_vec(),
            rows,
        }),
    );
    Ok(Exhibit {
        id: "figure-3".into(),
        title: "Figure 3: training with the exact activation and with polynomials".into(),
        finding,
        claims,
        parts,
        notes,
    })
}

fn train(
    case: &Case,
    split: &Split,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Curve>, Error> {
    let exact = case.architecture();
    progress.begin(&format!("{}: trainings", case.title), CURVES.len());
    let curves = CURVES.par_iter().map(|&(name, function)| {
        let architecture = exact.with_activation(function);
        let Split { train, test } = split;
        let recipe = case.recipe();
        let recipe = Recipe { epochs: recipe.epochs.min(MOST_EPOCHS), ..recipe };
        let task = Task { architecture: &architecture, recipe, train, test, seed };
        let run = in_floating_point(&task, true)?;
        let before = widest(&architecture, &task.start(), test)?;
        let after = widest(&architecture, &run.weights, test)?;
        progress.step();
        Ok(Curve { name, function, run, before, after })
    });
    curves.collect()
}

/// The largest magnitude among the hidden layer's weighted sums; NaN where one is no number.
fn widest(
    architecture: &Sequential,
    weights: &FloatParameters,
    samples: &Dataset,
) -> Result<f64, Error> {
    let chain = architecture.chain(weights)?;
    let sums = chain[0].linear(samples.head(MEASURED).features().view());
    Ok(largest(sums.iter().map(|sum| sum.abs())))
}

/// Accuracy on the test part, from before the first step.
fn accuracy(case: &Case, curves: &[Curve]) -> Lines {
    let points = |run: &Run| {
        let epochs = run.epochs.iter().map(|epoch| epoch.accuracy);
        let mut points: Vec<_> = number([run.before].into_iter().chain(epochs), 0).collect();
        let last = points[points.len() - 1].1;
        points.extend(run.diverged.map(|divergence| (divergence.at, last)));
        points
    };
    lines(case, "accuracy", Axis::linear("accuracy on the test part"), curves, points)
}

/// Mean loss of the training samples, from the first epoch.
fn loss(case: &Case, curves: &[Curve]) -> Lines {
    let points = |run: &Run| {
        let mut points: Vec<_> = number(run.epochs.iter().map(|epoch| epoch.loss), 1).collect();
        points.extend(run.diverged.map(|divergence| (divergence.at, divergence.loss)));
        // A logarithmic axis has no zero.
        points.retain(|&(_, loss)| loss > 0.0);
        points
    };
    lines(case, "loss", Axis::log("training loss"), curves, points)
}

fn number(values: impl Iterator<Item = f64>, first: u32) -> impl Iterator<Item = (f64, f64)> {
    (first..).map(f64::from).zip(values)
}

/// The curves; where one diverges, its last point is marked as a series of its own.
fn lines(
    case: &Case,
    what: &str,
    y: Axis,
    curves: &[Curve],
    points: impl Fn(&Run) -> Vec<(f64, f64)>,
) -> Lines {
    let mut series = Vec::new();
    for Curve { name, run, .. } in curves {
        let points = points(run);
        let end = points.last().copied().filter(|_| run.diverged.is_some());
        series.push(Series { name: (*name).into(), points, mark: Mark::Line });
        series.extend(end.map(|end| Series {
            name: format!("{name} diverges"),
            points: vec![end],
            mark: Mark::Points,
        }));
    }
    let caption = format!("{}: {what}", case.title);
    Lines { caption, x: Axis::linear("epoch"), y, series }
}

fn row(case: &Case, curve: &Curve) -> Row {
    let Curve { name, function, run, before, after } = curve;
    let finite = |value: f64| if value.is_finite() { Cell::Number(value) } else { Cell::Empty };
    let steepest = |z: f64| {
        let derivative = |z: f64| function.derivative(z, function.value(z)).abs();
        derivative(z).max(derivative(-z))
    };
    let last = run.epochs.last().filter(|_| run.diverged.is_none());
    let cells = vec![
        case.title.into(),
        (*name).into(),
        run.diverged.map_or(Cell::Empty, |divergence| divergence.at.into()),
        last.map_or(Cell::Empty, |epoch| epoch.accuracy.into()),
        last.map_or(Cell::Empty, |epoch| epoch.loss.into()),
        finite(*before),
        finite(*after),
        finite(steepest(*after)),
    ];
    Row { source: Source::Measured, cells }
}

/// The exact activation trains; and whether the polynomials fail as in the paper.
fn claim(case: &Case, curves: &[Curve]) -> Vec<Claim> {
    let title = case.title;
    curves
        .iter()
        .map(|Curve { name, function, run, after, .. }| {
            let is_exact = *function == Activation::Sigmoid;
            match (run.diverged, run.accuracy()) {
                (None, Some(accuracy)) if is_exact => Claim::new(
                    format!("{title}: {name} trains to {accuracy:.4}"),
                    accuracy > run.before,
                ),
                (None, accuracy) => Claim::new(
                    format!(
                        "{title}: {name} fails, as in the paper; it does not: it reaches {:.4}, \
                         and its weighted sums end within ±{after:.1}",
                        accuracy.unwrap_or(0.0)
                    ),
                    false,
                ),
                (Some(divergence), _) => Claim::new(
                    format!("{title}: {name} fails, after {:.3} epochs", divergence.at),
                    !is_exact,
                ),
            }
        })
        .collect()
}

const NOTES: [&str; 4] = [
    "All curves of a data set share first weights, batches and rate; single precision, in the clear. The training in integers follows the exact curve (Table 3).",
    "A training diverges when a weight is no longer a finite number; its curve ends there, and the end is marked.",
    "Why polynomials fail: they pass errors back by their derivatives, which grow with the weighted sum (square 2z, 3rd order 1/4 − z²/16, 5th order 1/4 − z²/16 + z⁴/96), where the sigmoid's is at most 1/4. Wide sums make steps too long, and these make the sums wider. Where sums stay narrow, as with few standardised inputs, a polynomial trains at the same rate; Table 3 shows that a lower rate helps, too.",
    "The paper prints no rates. It reports that square fails immediately and that 3rd and 5th order end prematurely, on all four data sets.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::Divergence;
    use crate::setting::Quiet;

    #[test]
    fn a_diverging_curve_ends_where_it_diverges_and_is_marked() {
        let epochs = vec![crate::learning::Epoch { loss: 1.5, accuracy: 0.4 }];
        let diverged = Some(Divergence { at: 1.25, loss: 90.0 });
        let weights = FloatParameters::default();
        let run = Run { before: 0.3, epochs, diverged, weights };
        let curve = Curve {
            name: "square",
            function: Activation::Square,
            run,
            before: 2.0,
            after: f64::NAN,
        };
        let drawn = accuracy(&IRIS, std::slice::from_ref(&curve));
        assert_eq!(drawn.series[0].points, [(0.0, 0.3), (1.0, 0.4), (1.25, 0.4)]);
        assert_eq!(drawn.series[1].points, [(1.25, 0.4)]);
        let drawn = loss(&IRIS, std::slice::from_ref(&curve));
        assert_eq!(drawn.series[0].points, [(1.0, 1.5), (1.25, 90.0)]);
        assert_eq!(row(&IRIS, &curve).cells[2..5], [1.25.into(), Cell::Empty, Cell::Empty]);
        assert!(claim(&IRIS, &[curve])[0].holds);
    }

    /// The table in the module's documentation.
    #[test]
    fn derivatives_at_six() {
        let at_six = |f: Activation| f.derivative(6.0, f.value(6.0));
        assert_eq!(at_six(Activation::Square), 12.0);
        assert_eq!(at_six(Activation::Taylor3), -2.0);
        assert_eq!(at_six(Activation::Taylor5), 11.5);
        assert!((at_six(Activation::Sigmoid) - 0.002).abs() < 0.001);
    }

    #[test]
    fn iris_trains_exactly() {
        let (split, _) = Split::load("iris", Path::new(""), 1).unwrap();
        let case = IRIS.with_epochs(&[30]);
        let curves = train(&case, &split, 1, &Quiet).unwrap();
        assert_eq!(curves.len(), 4);
        let exact = &curves[0];
        assert!(exact.run.accuracy().unwrap() > 0.8 && exact.after > 0.0);
        assert!(curves.iter().all(|curve| curve.before == exact.before), "the same start");
    }
}
