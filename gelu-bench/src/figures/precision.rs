//! Accuracy against the fractional bits of weights and of activations.
//!
//! A network is trained in floating point and then rounded to fewer and fewer bits, as
//! `Model::requantised` does before it is served. What is judged are the protocol's integers. Beside
//! it stands what the bits cost: range analysis says how wide a slot must be, and so how many slots
//! a ciphertext has.
//!
//! ```text
//! slot bits = bits that hold  gain · max|W| · max|A|      max|W| = 2^(i_w + f_w), max|A| = 2^(i_a + f_a)
//! ```

use std::path::Path;

use gelu_core::clear::ClearKey;
use gelu_core::plan::{Plan, Purpose};
use gelu_core::{AdditiveHE, Clear, Format, Precision};
use gelu_nn::{Dataset, FloatParameters, Model, Sequential, Split, zoo};

use crate::exhibit::{Axis, Claim, Column, Exhibit, Lines, Mark, Part, Row, Series, Source, Table};
use crate::setting::{Extent, Progress, Setting};
use crate::{Error, learning, networks};

/// Fractional bits that are tried.
const BITS: [u32; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12];

/// Test samples that are judged, at most.
const JUDGED: usize = 5000;

/// What is rounded to few bits; the rest keeps the most of [`BITS`].
const SERIES: [(&str, bool, bool); 3] =
    [("weights", true, false), ("activations", false, true), ("both", true, true)];

/// A trained network.
struct Trained {
    entry: &'static zoo::Entry,
    architecture: Sequential,
    weights: FloatParameters,
    /// Fractional bits of its weights, if it came from a file and has no more.
    from_file: Option<u32>,
    test: Dataset,
}

/// Accuracies and costs of one number of bits.
struct Point {
    bits: u32,
    /// In the order of [`SERIES`].
    accuracies: [f64; 3],
    /// Of the widest layer, with both at that number of bits.
    slot_bits: u32,
    slots: usize,
}

/// Makes the figure.
///
/// # Errors
/// [`Error::Network`] for damaged data or models; what is missing is left out with a note.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let mut notes = NOTES.map(str::to_owned).to_vec();
    let names: &[&str] = match setting.extent {
        Extent::Quick => {
            notes.push("A quick run: Iris and the 8x8 digits, without MNIST.".into());
            &["iris", "digits"]
        }
        Extent::Paper => &["iris", "digits", "mnist-dense", "conv1", "lenet5"],
    };
    let (mut parts, mut rows, mut claims) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let entry = zoo::by_name(name).expect("a network of the zoo");
        let folder = setting.data.as_deref().unwrap_or(Path::new(""));
        let split = match Split::load(entry.dataset, folder, setting.seed) {
            Ok((split, _)) => split,
            Err(error) => {
                notes.push(format!("{name} is left out: {error}."));
                continue;
            }
        };
        let trained = trained(entry, split, setting, progress)?;
        let exact = trained.in_floating_point()?;
        let points = trained.sweep(setting.key_bits, progress)?;
        parts.push(Part::Lines(trained.lines(exact, &points)));
        rows.extend(points.iter().map(|point| trained.row(exact, point)));
        claims.push(trained.claim(exact, &points)?);
        notes.push(trained.note());
    }
    let heads =
        ["network", "fractional bits", "in floating point", "weights", "activations", "both"];
    let mut columns = heads.map(Column::new).to_vec();
    columns.push(Column::with_unit("widest slot", "bits"));
    columns.push(Column::new(&format!("slots of a {}-bit key", setting.key_bits)));
    parts.push(Part::Table(Table {
        caption: "Accuracy with so many fractional bits, and what they cost in slots".into(),
        columns,
        rows,
    }));
    let enough = claims.iter().filter(|claim| claim.holds).count();
    Ok(Exhibit {
        id: "figure-precision".into(),
        title: "Accuracy against bits of weights and activations".into(),
        finding: format!(
            "The precision of inference, {}, costs less than {TOLERANCE} of accuracy in {enough} of {} \
             networks.",
            usual(),
            claims.len()
        ),
        claims,
        parts,
        notes,
    })
}

/// What the bits of inference may cost.
const TOLERANCE: f64 = 0.005;

/// The bits of inference, in words.
fn usual() -> String {
    let Precision { weights, activations, .. } = Precision::INFERENCE;
    format!(
        "{} fractional bits of weight and {} of activation",
        weights.fraction, activations.fraction
    )
}

/// From the folder of models, or trained as the zoo says, and then kept there.
fn trained(
    entry: &'static zoo::Entry,
    split: Split,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Trained, Error> {
    let architecture = (entry.architecture)();
    let test = split.test.head(JUDGED);
    if let Some(model) = networks::kept_as_it_is(entry.name, setting)? {
        let from_file = Some(model.precision().weights.fraction);
        let architecture = model.architecture().clone();
        return Ok(Trained { entry, architecture, weights: model.weights(), from_file, test });
    }
    progress.begin(&format!("{}: epochs of training", entry.name), entry.recipe.epochs);
    let step = || progress.step();
    let weights = learning::trained(&architecture, entry.recipe, &split.train, setting.seed, step)?;
    let model = learning::for_queries(entry.name, architecture.clone(), &weights)?;
    networks::keep(&model, entry.dataset, setting)?;
    Ok(Trained { entry, architecture, weights, from_file: None, test })
}

impl Trained {
    fn in_floating_point(&self) -> Result<f64, Error> {
        learning::judge(&self.architecture, &self.weights, &self.test)
    }

    /// The precision of inference with other fractional bits, fitted to the weights.
    fn precision(&self, weights: u32, activations: u32) -> Precision {
        let usual = Precision::INFERENCE;
        let others = Precision {
            weights: Format { fraction: weights, ..usual.weights },
            activations: Format { fraction: activations, ..usual.activations },
            ..usual
        };
        others.fitted(self.weights.largest())
    }

    fn sweep(&self, key_bits: u32, progress: &dyn Progress) -> Result<Vec<Point>, Error> {
        let bits = || BITS.into_iter().filter(|&b| self.from_file.is_none_or(|most| b <= most));
        let most = bits().next_back().unwrap_or(BITS[0]);
        progress.begin(&format!("{}: numbers of bits", self.entry.name), bits().count());
        let key = ClearKey::new(key_bits)?;
        let point = |bits: u32| {
            let mut accuracies = [0.0; 3];
            for (accuracy, (_, weights, activations)) in accuracies.iter_mut().zip(SERIES) {
                let chosen = |is_rounded| if is_rounded { bits } else { most };
                let precision = self.precision(chosen(weights), chosen(activations));
                *accuracy = self.rounded(precision)?.evaluate(&self.test)?.accuracy;
            }
            let network = self.architecture.network();
            let precision = self.precision(bits, bits);
            let plan = Plan::new::<Clear>(&network, &precision, 1, Purpose::Inference, &key)?;
            let slot_bits =
                plan.exchanges().map(|(_, _, e)| e.layout().slot_bits).max().unwrap_or(0);
            progress.step();
            Ok(Point { bits, accuracies, slot_bits, slots: Clear::slots(&key, slot_bits) })
        };
        bits().map(point).collect()
    }

    fn rounded(&self, precision: Precision) -> Result<Model, Error> {
        let (name, architecture) = (self.entry.name, self.architecture.clone());
        Ok(Model::from_float(name, architecture, precision, &self.weights)?)
    }

    fn lines(&self, exact: f64, points: &[Point]) -> Lines {
        let curve = |(i, (name, ..)): (usize, (&str, bool, bool))| {
            Series::curve(name, points.iter().map(|p| (p.bits.into(), p.accuracies[i])))
        };
        let mut series: Vec<_> = SERIES.into_iter().enumerate().map(curve).collect();
        let ends = points.first().into_iter().chain(points.last());
        series.push(Series {
            name: "floating point".into(),
            points: ends.map(|p| (p.bits.into(), exact)).collect(),
            mark: Mark::Line,
        });
        Lines {
            caption: format!("{}: accuracy against fractional bits", self.entry.name),
            x: Axis::linear("fractional bits"),
            y: Axis::linear("accuracy on the test part"),
            series,
        }
    }

    fn row(&self, exact: f64, point: &Point) -> Row {
        let mut cells = vec![self.entry.name.into(), u64::from(point.bits).into(), exact.into()];
        cells.extend(point.accuracies.map(Into::into));
        cells.push(u64::from(point.slot_bits).into());
        cells.push(point.slots.into());
        Row { source: Source::Measured, cells }
    }

    /// At the precision of inference, which has other bits for weights than for activations.
    fn claim(&self, exact: f64, points: &[Point]) -> Result<Claim, Error> {
        let name = self.entry.name;
        let close = |p: &&Point| exact - p.accuracies[2] < TOLERANCE;
        let fewest = points.iter().rev().take_while(close).last();
        let fewest = fewest.map_or("none of those tried".into(), |p| p.bits.to_string());
        let served = Precision::INFERENCE.fitted(self.weights.largest());
        let served = self.rounded(served)?.evaluate(&self.test)?.accuracy;
        Ok(Claim::new(
            format!(
                "{name}: {served:.4} with {}, {exact:.4} in floating point; the fewest of both \
                 that cost less than {TOLERANCE}: {fewest}",
                usual()
            ),
            exact - served < TOLERANCE,
        ))
    }

    fn note(&self) -> String {
        let name = self.entry.name;
        let samples = self.test.len();
        match self.from_file {
            None => format!("{name}: trained in this run, judged by {samples} test samples."),
            Some(bits) => format!(
                "{name}: from the folder of models, where its weights have {bits} fractional bits; \
                 judged by {samples} test samples."
            ),
        }
    }
}

const NOTES: [&str; 3] = [
    "Weights: only weights are rounded to so many bits, activations keep the most bits that were tried. Activations: the other way round. Both: both.",
    "Integer bits: four for activations; for weights the fewest that hold the largest of them.",
    "The slot is that of the widest layer at inference, one sample. At training the masks add to it, and the weights need the bits that updates are rounded to.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Quiet;

    fn quick() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 }
    }

    #[test]
    fn few_bits_cost_accuracy_and_slots_grow_with_bits() {
        let entry = zoo::by_name("iris").unwrap();
        let (split, _) = Split::load("iris", Path::new(""), 1).unwrap();
        let trained = trained(entry, split, &quick(), &Quiet).unwrap();
        let exact = trained.in_floating_point().unwrap();
        let points = trained.sweep(2048, &Quiet).unwrap();
        assert_eq!(points.len(), BITS.len());
        let last = points.last().unwrap();
        assert!((last.accuracies[2] - exact).abs() < 0.04, "{exact}");
        assert_eq!(last.accuracies, [last.accuracies[0]; 3], "all three are the same there");
        for pair in points.windows(2) {
            assert!(pair[0].slot_bits < pair[1].slot_bits && pair[0].slots >= pair[1].slots);
        }
        assert!(trained.claim(exact, &points).unwrap().holds);
    }

    /// What is missing is trained and kept; what is there is taken, and has no more bits than it has.
    #[test]
    fn models_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting { models: Some(folder.path().join("not there yet")), ..quick() };
        let entry = zoo::by_name("iris").unwrap();
        let split = || Split::load("iris", Path::new(""), 1).unwrap().0;
        let first = trained(entry, split(), &setting, &Quiet).unwrap();
        let second = trained(entry, split(), &setting, &Quiet).unwrap();
        assert_eq!((first.from_file, second.from_file), (None, Some(6)));
        let rounded = first.rounded(first.precision(6, 8)).unwrap();
        assert_eq!(rounded.weights(), second.weights);
        assert_eq!(second.sweep(2048, &Quiet).unwrap().last().unwrap().bits, 6);
    }
}
