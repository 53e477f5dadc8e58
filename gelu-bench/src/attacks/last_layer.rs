//! The last layer from propagated errors: the narrowest side of most networks.
//!
//! ```text
//! each sample:   q = W'·δ      W is [classes, hidden]: each column has as many unknowns as classes
//! as many samples as classes:  W' = Q·D⁻¹, bit for bit
//! ```
//!
//! The errors of softmax and cross-entropy, δ = y − t, add up to zero, so in real numbers D would
//! never be invertible: what is missing is a constant added to all weights of a column, which
//! softmax ignores. But the client sends rounded errors, and their sums are not zero but a few units
//! of 2^−f_d. Exact integers make even that direction solvable; and one sample less than classes
//! already gives all that matters.
//!
//! The weights move during a lease, by updates that the client itself has made, so its equations
//! are all about the weights at the start ([`equations`](super::view::equations)).

use gelu_algebra::{first_columns, least_norm, real, relative_error, solve_exactly};
use gelu_core::Precision;
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_core::network::Layer;
use gelu_core::pass::bias_constant;
use gelu_core::plan::Direction;
use gelu_nn::Model;
use nalgebra::DMatrix;
use ndarray::{Array2, Slice};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::scene::{Pictures, Scene, measured, stretched};
use super::view::{Answer, Batch, stacked};
use crate::Error;
use crate::exhibit::{Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Part, Series, Table};
use crate::setting::{Extent, Progress, Setting};

/// The equations of a client about the columns of the last stage: `W'·errors = sums`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// D, `[classes, samples]`.
    pub errors: Array2<i128>,
    /// Q, `[hidden, samples]`.
    pub sums: Array2<i128>,
}

impl Columns {
    /// All that `answers` say.
    pub fn new(model: &Model, answers: &[Answer]) -> Self {
        let last = model.network().stages().len() - 1;
        let (errors, sums) = stacked(answers, last, Direction::Backward, 0);
        Self { errors, sums }
    }

    /// Samples seen.
    pub fn samples(&self) -> usize {
        self.errors.ncols()
    }

    /// Those of the first `samples`.
    pub fn head(&self, samples: usize) -> Self {
        Self {
            errors: first_columns(&self.errors, samples),
            sums: first_columns(&self.sums, samples),
        }
    }

    /// W', `[hidden, classes]`, bit for bit, if they determine it.
    pub fn solve(&self) -> Option<Array2<i128>> {
        solve_exactly(&self.errors, &self.sums)
    }

    /// The smallest W' that fits.
    pub fn guess(&self) -> DMatrix<f64> {
        least_norm(&self.errors, &self.sums)
    }
}

/// The last layer whole: weights from the columns, biases from one forward answer, z − W·a = c·b.
pub fn extract(model: &Model, answers: &[Answer]) -> Option<Layer> {
    let columns = Columns::new(model, answers).solve()?;
    let last = model.network().stages().len() - 1;
    let linear = &model.network().stages()[last].linear;
    let constant = bias_constant(linear, model.precision().activations);
    let (inputs, sums) = stacked(answers, last, Direction::Forward, constant);
    let inputs = inputs.slice_axis(ndarray::Axis(0), Slice::from(..-1));
    let scaled = &sums - &columns.t().dot(&inputs);
    let biases = scaled.column(0).mapv(|v| v / constant).to_vec();
    Some(Layer { weights: columns.t().iter().copied().collect(), biases })
}

/// W' of the model: the truth, to compare with.
fn truth(model: &Model) -> Array2<i128> {
    let layer = model.parameters().layers.last().expect("a network has layers");
    let hidden = layer.weights.len() / layer.biases.len();
    Array2::from_shape_fn((hidden, layer.biases.len()), |(h, c)| layer.weights[c * hidden + h])
}

/// ‖guess − truth‖ / ‖truth‖ of what softmax does not ignore: each row without its mean.
fn relative_error_that_matters(truth: &Array2<i128>, guess: &DMatrix<f64>) -> f64 {
    let centred = |m: &DMatrix<f64>| {
        DMatrix::from_fn(m.nrows(), m.ncols(), |i, j| m[(i, j)] - m.row(i).mean())
    };
    let truth = centred(&real(truth));
    (centred(guess) - &truth).norm() / truth.norm()
}

/// A lease of single samples; what the client has learnt, and whether the server cut it short.
///
/// # Errors
/// What the machines say, refusals excepted.
pub fn lease(
    scene: &Scene,
    policy: Policy,
    batches: &[Batch],
) -> Result<(Vec<Answer>, bool), Error> {
    let mut session = scene.open_with(policy, DataPolicy::AllowInputReconstruction)?;
    let refused = match session.pair.train(batches, &mut session.rng) {
        Ok(_) => false,
        Err(gelu_core::Error::Refused(_)) => true,
        Err(error) => return Err(error.into()),
    };
    Ok((session.learnt(&scene.model, batches, true)?, refused))
}

/// A network at the start of training, and single samples to train it with.
fn start(setting: &Setting) -> Result<(Scene, Vec<Batch>, &'static str), Error> {
    let pictures = match setting.extent {
        Extent::Quick => Pictures::small(),
        Extent::Paper => Pictures::load(setting)?,
    };
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let architecture = pictures.architecture();
    let model = Model::initialise("start", architecture, Precision::TRAINING, rng)?;
    let samples = model.network().classes() + 2;
    let batches = (0..samples).map(|sample| pictures.train.batch(&[sample])).collect();
    Ok((Scene::new(model, setting.seed, setting.key_bits), batches, pictures.name))
}

/// What the first `samples` errors tell.
struct Told {
    samples: usize,
    error: f64,
    that_matters: f64,
    exact: bool,
}

fn told(columns: &Columns, truth: &Array2<i128>, samples: usize) -> Told {
    let head = columns.head(samples);
    let solved = head.solve();
    let guess = solved.as_ref().map_or_else(|| head.guess(), real);
    Told {
        samples,
        error: relative_error(truth, &guess),
        that_matters: relative_error_that_matters(truth, &guess),
        exact: solved.as_ref() == Some(truth),
    }
}

/// `attack-last-layer`.
///
/// # Errors
/// What the data folder and the machines say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    progress.begin("leases", 2);
    let (scene, batches, name) = start(setting)?;
    let model = &scene.model;
    let (classes, truth) = (model.network().classes(), truth(model));
    let (answers, _) = lease(&scene, Policy::AllowModelExtraction, &batches)?;
    progress.step();
    let (few, refused) = lease(&scene, Policy::Enforce, &batches)?;
    progress.step();
    let columns = Columns::new(model, &answers);
    let seen = Columns::new(model, &few);
    let allowed = seen.samples();
    let curve: Vec<Told> =
        (1..=columns.samples()).map(|samples| told(&columns, &truth, samples)).collect();
    let needed = curve.iter().find(|t| t.exact).map(|t| t.samples);
    let whole = extract(model, &answers).as_ref() == model.parameters().layers.last();
    let guessed = told(&seen, &truth, allowed);
    let one_less = &curve[classes - 2];
    let law = (1.0 - allowed as f64 / (classes as f64 - 1.0)).max(0.0).sqrt();
    Ok(Exhibit {
        id: "attack-last-layer".into(),
        title: "The last layer from propagated errors".into(),
        finding: format!(
            "{} errors of single samples give all {} weights and biases of the last layer bit for \
             bit, and {} already all but {:.0e} of what softmax sees of them. The ledger ends the \
             lease after {allowed}: the guess is then off by {:.2} of the weights' norm.",
            needed.unwrap_or_default(),
            truth.len() + classes,
            classes - 1,
            one_less.that_matters,
            guessed.error,
        ),
        claims: vec![
            Claim::new(
                format!("undefended: the last layer equal bit for bit, {classes} samples"),
                whole && needed == Some(classes),
            ),
            Claim::new(
                format!(
                    "undefended, {} samples: what softmax sees of it is known to {:.1e}, 5e-2 \
                     allowed",
                    classes - 1,
                    one_less.that_matters
                ),
                one_less.that_matters < 5e-2,
            ),
            Claim::new(
                format!(
                    "defended: the lease ends after {allowed} samples, less than half of what is \
                     needed"
                ),
                refused && 2 * allowed < classes,
            ),
            Claim::new(
                format!(
                    "defended: of what softmax sees the guess misses {:.2}, \
                     sqrt(1 - k/(classes - 1)) = {law:.2} expected, within 0.15",
                    guessed.that_matters
                ),
                extract(model, &few).is_none() && (guessed.that_matters - law).abs() < 0.15,
            ),
        ],
        parts: vec![
            Part::Images(images(&truth, &columns.head(classes), &seen)),
            Part::Lines(lines(&curve, allowed)),
            Part::Table(table(&curve, allowed)),
        ],
        notes: vec![
            format!(
                "{name}, network {}, weights at the start of training, batches of one, over the \
                 mock cryptosystem, which sends what Paillier would.",
                model.architecture()
            ),
            format!(
                "A column has {classes} weights, but softmax errors add up to zero, so {} samples \
                 determine all of it that matters, and the ledger counts as many unknowns. The bound \
                 that is enforced counts bits and stops at {allowed}.",
                classes - 1
            ),
        ],
    })
}

/// The layer as pictures, a row for each class: true, solved for, guessed.
fn images(truth: &Array2<i128>, columns: &Columns, seen: &Columns) -> Images {
    let width = u32::try_from(truth.nrows()).expect("a layer's width");
    let picture = |layer: &DMatrix<f64>| {
        let values: Vec<f64> = layer.iter().copied().collect();
        vec![stretched(width, &values, "")]
    };
    let solved = columns.solve().map_or_else(|| columns.guess(), |w| real(&w));
    let row = |name: &str, images| ImageRow { name: name.into(), images };
    Images {
        caption: "The weights of the last layer: a row for each class, a column for each neuron"
            .into(),
        rows: vec![
            row("true", picture(&real(truth))),
            row("solved for", picture(&solved)),
            row("guessed within the ledger's bound", picture(&seen.guess())),
        ],
    }
}

fn lines(curve: &[Told], allowed: usize) -> Lines {
    let series = |name: &str, value: fn(&Told) -> f64| {
        Series::curve(name, curve.iter().map(|t| (t.samples as f64, value(t))))
    };
    Lines {
        caption: "What propagated errors tell about the last layer".into(),
        x: Axis::linear("samples"),
        y: Axis::linear("relative error of the best guess"),
        series: vec![
            series("weights", |t| t.error),
            series("weights, as far as softmax sees them", |t| t.that_matters),
            Series::bound(format!("the ledger ends the lease after {allowed}"), allowed as f64),
        ],
    }
}

fn table(curve: &[Told], allowed: usize) -> Table {
    let row = |t: &Told| {
        measured(vec![
            t.samples.into(),
            if t.samples <= allowed { "answered" } else { "refused" }.into(),
            t.error.into(),
            t.that_matters.into(),
            if t.exact { "yes" } else { "no" }.into(),
        ])
    };
    Table {
        caption: "The columns of the last layer".into(),
        columns: vec![
            Column::new("samples"),
            Column::new("by default"),
            Column::new("relative error"),
            Column::new("of what softmax sees"),
            Column::new("bit for bit"),
        ],
        rows: curve.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(seed: u64) -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed, key_bits: 2048 }
    }

    #[test]
    fn as_many_samples_as_classes_give_the_layer_bit_for_bit() {
        let (scene, batches, _) = start(&setting(8)).unwrap();
        let (answers, refused) = lease(&scene, Policy::AllowModelExtraction, &batches).unwrap();
        assert!(!refused);
        assert!(extract(&scene.model, &answers).as_ref() == scene.model.parameters().layers.last());
        let (columns, truth) = (Columns::new(&scene.model, &answers), truth(&scene.model));
        assert!(told(&columns, &truth, 10).exact);
        let nine = told(&columns, &truth, 9);
        assert!(!nine.exact && nine.that_matters < 5e-2, "{}", nine.that_matters);
        assert!(nine.error > 0.1, "a constant for each column is missing: {}", nine.error);
    }

    #[test]
    fn the_ledger_ends_the_lease_before_that() {
        let (scene, batches, _) = start(&setting(9)).unwrap();
        let (answers, refused) = lease(&scene, Policy::Enforce, &batches).unwrap();
        let seen = Columns::new(&scene.model, &answers);
        assert!(refused && seen.samples() < 5, "{}", seen.samples());
        assert!(extract(&scene.model, &answers).is_none());
        let guessed = told(&seen, &truth(&scene.model), seen.samples());
        assert!(guessed.that_matters > 0.7, "{}", guessed.that_matters);
    }
}
