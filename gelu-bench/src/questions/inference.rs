//! Question 3: whether private inference reaches the same accuracy.
//!
//! A base network of images is asked in the clear, by the exact protocol, and under packed CKKS, as
//! computed and hidden; a head on the healthcare case in the clear and by the exact protocol. In a
//! quick run the images are the 8x8 digits that are part of this program, enlarged to 28x28, and Conv-1
//! is trained on them here.

use std::sync::Arc;

use anyhow::Result;
use gelu_core::Precision;
use gelu_core::backend::Cryptosystem;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::pass::argmax;
use gelu_core::server::{LearningRate, ServedModel};
use gelu_fhe_baseline::packed::Privacy;
use gelu_lattice::Lattice;
use gelu_nn::{Dataset, Model, Recipe, Split, zoo};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::case::Case;
use crate::baselines::packed::{Queries, in_the_clear, network_named};
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::networks;
use crate::setting::{Extent, Progress, Setting};
use crate::{Error, learning};

/// Of the lattice backend's ring for queries.
const DEGREE: u32 = 4096;
/// Samples that the exact protocol answers at once.
const BATCH: usize = 256;

/// What was asked in one way.
struct Asked {
    model: String,
    how: &'static str,
    /// How many rows or images were encrypted.
    encrypted: usize,
    /// Shares of these that are told right.
    clear: f64,
    private: f64,
    /// Answers other than those of the same network in the clear.
    differ: usize,
    /// The largest difference of a score, or of a probability.
    off: f64,
}

/// Asks.
///
/// # Errors
/// [`Error::WrongAnswer`] when the exact protocol differs in one bit; what a party refuses.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let mut asked = Vec::new();
    let mut notes = vec![
        "A head that was trained under CKKS is its owner's, who asks it in the clear; a head of the exact engine lies at the compute party and \
         is asked by the exact protocol."
            .into(),
        "The exact protocol's answers are compared with the model's own in the clear, bit for bit; a difference ends the run without figures. \
         Packed CKKS answers what its network with squares answers, up to the noise shown; ReLU is another network."
            .into(),
    ];
    progress.begin("a head on the abstracts", 1);
    asked.push(head(setting, rng)?);
    progress.step();
    let mnist = setting.data.as_ref().filter(|_| setting.extent == Extent::Paper);
    let (train, test) = match mnist {
        Some(folder) => (Dataset::load("mnist", folder)?, Dataset::load("mnist-test", folder)?),
        None => {
            notes.push(
                "A quick run, or none of the images of MNIST: the 8x8 digits of this program, enlarged. --set paper --data DIR takes \
                 MNIST, LeNet-5 as well, and 1,000 images."
                    .into(),
            );
            let Split { train, test } = Dataset::digits().stratified_split(0.2, rng)?;
            (enlarged(&train)?, enlarged(&test)?)
        }
    };
    // Images under CKKS, as computed and hidden.
    let (what, names, counts): (_, &[_], _) = match mnist {
        Some(_) => ("MNIST", &["conv1", "lenet5"], [1000, 100]),
        None => ("digits", &["conv1"], [60, 12]),
    };
    let trained = |name: &str| match mnist {
        Some(_) => networks::trained(name, setting, progress),
        None => briefly_trained(name, &train, setting.seed, progress),
    };
    for &name in names {
        let (relu, square) = (trained(name)?, trained(&format!("{name}-square"))?);
        progress.begin(&format!("{name} in three ways"), 3);
        asked.push(exact(&format!("{name} with ReLU, {what}"), &relu, &test, rng)?);
        progress.step();
        for (privacy, count) in [Privacy::Plain, Privacy::Hidden].into_iter().zip(counts) {
            asked.push(packed(name, what, &square, privacy, &train, &test.head(count))?);
            progress.step();
        }
    }
    let claims = asked.iter().map(claim).collect();
    let differ: usize = asked.iter().map(|a| a.differ).sum();
    let encrypted: usize = asked.iter().map(|a| a.encrypted).sum();
    let lost = asked.iter().map(|a| a.clear - a.private).fold(0.0, f64::max);
    Ok(Exhibit {
        id: "table-inference".into(),
        title: "Question 3: whether private inference reaches the same accuracy".into(),
        finding: format!(
            "Yes: of {encrypted} encrypted answers {differ} differ from those of the same network in the clear, and no accuracy falls by \
             more than {:.2} points.",
            100.0 * lost
        ),
        claims,
        parts: vec![Part::Table(table(&asked))],
        notes,
    })
}

/// The exact protocol must lose nothing, CKKS at most 0.2 points of accuracy.
fn claim(asked: &Asked) -> Claim {
    let Asked { model, how, encrypted, clear, private, differ, .. } = asked;
    let text = format!(
        "{model}, {how}: accuracy {private:.4} of {encrypted} encrypted, {clear:.4} of the same in the clear, {differ} answers differ"
    );
    Claim::new(text, (clear - private).abs() <= 0.002)
}

/// A head trained in the clear as the exact engine trains it, asked for all test rows.
fn head(setting: &Setting, rng: &mut ChaCha20Rng) -> Result<Asked> {
    let case = Case::abstracts()?;
    let architecture =
        gelu_nn::Sequential::dense(case.features(), &[], 2, gelu_nn::Activation::Sigmoid)?;
    let recipe = Recipe { epochs: 6, batch: 512, rate: 1.0, ..Recipe::default() };
    let task = learning::Task {
        architecture: &architecture,
        recipe,
        train: &case.train,
        test: &case.test,
        seed: setting.seed,
    };
    let (model, _) = learning::in_integers(&task)?;
    let precision = Precision::INFERENCE.fitted(model.weights().largest());
    exact("head of 384 numbers, abstracts", &model.requantised(precision)?, &case.test, rng)
}

/// All samples by the exact protocol, both parties in this process.
fn exact(name: &str, model: &Model, test: &Dataset, rng: &mut ChaCha20Rng) -> Result<Asked> {
    let host = PairHost::new(ServedModel::from(model), "client", Policy::AllowModelExtraction);
    let (host, key) = (Arc::new(host), Arc::new(Lattice::keygen(DEGREE, rng)?));
    let mut pair = Pair::<Lattice>::open(host, key, LearningRate::Public(0.1), rng)?;
    let mut right = 0;
    let all: Vec<_> = (0..test.len()).collect();
    for samples in all.chunks(BATCH) {
        let (inputs, labels) = test.batch(samples);
        let answer = pair.classify(&inputs, rng)?;
        if answer != model.probabilities(&inputs)?.0 {
            return Err(Error::WrongAnswer(format!("an answer of {name}")).into());
        }
        let classes = answer.columns().into_iter().map(|p| argmax(p.iter().copied()));
        right += classes.zip(&labels).filter(|(class, label)| class == *label).count();
    }
    Ok(Asked {
        model: name.into(),
        how: "exact protocol, lattice",
        encrypted: test.len(),
        clear: model.evaluate(test)?.accuracy,
        private: right as f64 / test.len() as f64,
        differ: 0,
        off: 0.0,
    })
}

/// Images by packed CKKS.
fn packed(
    name: &str,
    what: &str,
    model: &Model,
    privacy: Privacy,
    train: &Dataset,
    test: &Dataset,
) -> Result<Asked> {
    let (network, weights) = (network_named(name)?, model.weights());
    let queries = Queries::run(network, &weights, privacy, train, test)?;
    let clear = in_the_clear(network, &weights, test)?;
    let share = |found: &[usize]| {
        let right = found.iter().zip(test.labels()).filter(|(a, b)| a == b).count();
        right as f64 / test.len() as f64
    };
    Ok(Asked {
        model: format!("{name} with squares, {what}"),
        how: match privacy {
            Privacy::Plain => "packed CKKS, as computed",
            Privacy::Hidden => "packed CKKS, hidden",
        },
        encrypted: queries.predictions.len(),
        clear: share(&clear),
        private: share(&queries.predictions),
        differ: queries.predictions.iter().zip(&clear).filter(|(a, b)| a != b).count(),
        off: queries.off,
    })
}

/// A network of the zoo, trained for some seconds.
fn briefly_trained(
    name: &str,
    train: &Dataset,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Model> {
    let entry = zoo::by_name(name).expect("a network of the zoo");
    let recipe = Recipe { epochs: 12, shift: 0, ..entry.recipe };
    progress.begin(&format!("training {name}"), recipe.epochs);
    let architecture = (entry.architecture)();
    let weights = learning::trained(&architecture, recipe, train, seed, || progress.step())?;
    Ok(learning::for_queries(name, architecture, &weights)?)
}

/// Each pixel of 8x8 as 3x3, and a margin of 2.
fn enlarged(digits: &Dataset) -> Result<Dataset> {
    const SIDE: usize = 28;
    let pixel = |at: usize, image: usize| {
        let inside = |x: usize| (2..26).contains(&x).then(|| (x - 2) / 3);
        let (row, column) = (inside(at / SIDE), inside(at % SIDE));
        row.zip(column).map_or(0.0, |(row, column)| digits.features()[[8 * row + column, image]])
    };
    let features =
        Array2::from_shape_fn((SIDE * SIDE, digits.len()), |(at, image)| pixel(at, image));
    let names = (0..SIDE * SIDE).map(|at| at.to_string()).collect();
    Dataset::new(features, digits.labels().to_vec(), names, digits.class_names().to_vec())
        .map_err(|why| anyhow::anyhow!("{why}"))
}

fn table(asked: &[Asked]) -> Table {
    let row = |a: &Asked| {
        let off = match a.off {
            0.0 => "0".into(),
            off => format!("2^{:.1}", libm::log2(off)),
        };
        let mut cells: Vec<Cell> = vec![a.model.clone().into(), a.how.into(), a.encrypted.into()];
        cells.extend([a.clear, a.private].map(Cell::from));
        cells.extend([a.differ.into(), off.into()]);
        Row { source: Source::Measured, cells }
    };
    let columns = [
        "model",
        "how",
        "encrypted samples",
        "accuracy, clear",
        "accuracy, private",
        "answers that differ",
        "a score is off by",
    ];
    Table {
        caption: "The same samples in the clear and privately".into(),
        columns: columns.map(Column::new).to_vec(),
        rows: asked.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enlarged_digit_keeps_its_ink() {
        let digits = Dataset::digits().head(3);
        let large = enlarged(&digits).unwrap();
        assert_eq!((large.inputs(), large.len()), (784, 3));
        let ink = |set: &Dataset| set.features().sum();
        assert!((ink(&large) - 9.0 * ink(&digits)).abs() < 1e-9);
        assert_eq!(large.features()[[2 * 28 + 2, 1]], digits.features()[[0, 1]]);
        assert_eq!(large.features()[[25 * 28 + 25, 1]], digits.features()[[63, 1]]);
        assert_eq!(large.features()[[26 * 28 + 25, 1]], 0.0);
    }
}
