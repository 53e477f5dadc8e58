//! The exhibit `attack-extraction`.

use gelu_algebra::{nearest, relative_error, solve_exactly};
use gelu_core::ledger::Policy;
use gelu_core::network::Layer;
use gelu_core::pass::argmax;
use gelu_core::{Parameters, Precision};
use gelu_nn::{Dataset, FloatTrainer, Model, Recipe};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{Equations, extract, query, rows, surrogate, until_refused};
use crate::Error;
use crate::attacks::scene::{Pictures, Scene, measured, noise, percent};
use crate::attacks::view::Batch;
use crate::exhibit::{Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Part, Series, Table};
use crate::setting::{Extent, Progress, Setting};

/// Share of test pictures that two models see alike.
fn agreement(a: &Model, b: &Model, data: &Dataset) -> Result<f64, Error> {
    let (a, b) = (a.evaluate(data)?.predictions, b.evaluate(data)?.predictions);
    let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    Ok(same as f64 / a.len() as f64)
}

/// Share of test pictures on which `model` agrees with what it said of the nearest of the pictures
/// asked about: what answers tell that need no algebra.
fn nearest_neighbour(model: &Model, asked: &Batch, data: &Dataset) -> Result<f64, Error> {
    let said = model.probabilities(&asked.0)?.0;
    let said: Vec<usize> = said.columns().into_iter().map(|p| argmax(p.iter().copied())).collect();
    let predictions = model.evaluate(data)?.predictions;
    let alike = data.features().columns().into_iter().zip(&predictions).filter(|(x, class)| {
        let distance = |y: ndarray::ArrayView1<'_, f64>| {
            x.iter().zip(y).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        // The largest of the negatives is the nearest.
        let nearest = argmax(asked.0.columns().into_iter().map(|y| -distance(y)));
        said[nearest] == **class
    });
    Ok(alike.count() as f64 / data.len() as f64)
}

/// What everything below works on.
struct Victim {
    pictures: Pictures,
    test: Dataset,
    scene: Scene,
    /// Fan-in + 1 of the first stage.
    unknowns: usize,
}

impl Victim {
    /// A network trained in the clear for a while, served at the precision of inference.
    fn new(setting: &Setting) -> Result<Self, Error> {
        let mut pictures = match setting.extent {
            Extent::Quick => Pictures::small(),
            Extent::Paper => Pictures::load(setting)?,
        };
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let split = pictures.train.stratified_split(0.2, rng)?;
        pictures.train = split.train.head(12_000);
        let test = split.test.head(1_000);
        let architecture = pictures.architecture();
        let recipe = Recipe { epochs: 15, batch: 32, rate: 0.5, ..Recipe::default() };
        let mut trainer = FloatTrainer::<f32>::new(&architecture, recipe, rng)?;
        trainer.train(&pictures.train, setting.seed, |_| ())?;
        let weights = trainer.parameters();
        let precision = Precision::INFERENCE.fitted(weights.largest());
        let model = Model::from_float("victim", architecture, precision, &weights)?;
        let unknowns = pictures.pixels() + 1;
        let scene = Scene::new(model, setting.seed, setting.key_bits);
        Ok(Self { pictures, test, scene, unknowns })
    }

    /// `samples` training pictures, as a client has them that means no harm.
    fn natural(&self, samples: usize) -> Batch {
        let chosen: Vec<usize> = (0..samples).collect();
        self.pictures.train.batch(&chosen)
    }
}

/// A point of the curve: what `samples` answers tell.
struct Told {
    samples: usize,
    /// Relative error of the best guess of the first stage.
    error: f64,
    /// Share of its weights that the guess has right to the last bit.
    exact: f64,
}

/// The share of weights that a guess of 0 for each has right: what few bits give away unasked.
fn zeros(truth: &Array2<i128>) -> f64 {
    truth.iter().filter(|&&w| w == 0).count() as f64 / truth.len() as f64
}

/// The guess, or the solution, from the first `samples` equations.
fn told(equations: &Equations, truth: &Array2<i128>, samples: usize) -> Told {
    let head = equations.head(samples);
    if let Some(solved) = solve_exactly(&head.inputs, &head.sums) {
        let right = solved.iter().zip(truth).filter(|(a, b)| a == b).count();
        let guess = gelu_algebra::real(&solved);
        let exact = right as f64 / truth.len() as f64;
        return Told { samples, error: relative_error(truth, &guess), exact };
    }
    let guess = head.guess();
    let right = truth.indexed_iter().filter(|&(at, &t)| nearest(guess[at]) == t).count();
    Told { samples, error: relative_error(truth, &guess), exact: right as f64 / truth.len() as f64 }
}

/// A network trained in the clear, attacked without the ledger and within its bound.
///
/// # Errors
/// What the data folder and the machines say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    progress.begin("victim, queries, solutions", 5);
    let victim = Victim::new(setting)?;
    let (scene, unknowns) = (&victim.scene, victim.unknowns);
    let model = &scene.model;
    progress.step();

    let batch = noise(unknowns - 1, unknowns, NOISE, setting.seed);
    let mut session = scene.open(Policy::AllowModelExtraction)?;
    let answers = query(&mut session, model, &batch)?;
    progress.step();
    let stolen = extract(model, &answers);
    let exact = stolen.as_ref() == Some(model.parameters());
    let equations = Equations::new(model, &answers, 0);
    let one_less = equations.head(unknowns - 1).solve().is_none();
    progress.step();

    let (allowed, seen) = until_refused(scene, &batch)?;
    let natural = victim.natural(unknowns);
    let (also, seen_naturally) = until_refused(scene, &natural)?;
    let (too, one_by_one) = until_refused(scene, &units(unknowns - 1))?;
    if also != allowed || too != allowed {
        return Err(Error::WrongAnswer("the budget of another query".into()));
    }
    progress.step();
    let truth = rows(&model.parameters().layers[0]);
    let samples = [1, 2, 4, 6, 8, 10, 12, 14, 15].map(|part| unknowns * part / 16);
    let mut samples: Vec<usize> = samples.into_iter().chain([allowed, unknowns]).collect();
    samples.sort_unstable();
    samples.dedup();
    let curve: Vec<Told> = samples.iter().map(|&n| told(&equations, &truth, n)).collect();
    let defended = Equations::new(model, &seen, 0);
    let guessed = told(&defended, &truth, allowed);
    let one_by_one = told(&Equations::new(model, &one_by_one, 0), &truth, allowed);
    let law = (1.0 - allowed as f64 / unknowns as f64).sqrt();
    let by_chance = zeros(&truth);
    let asked = allowed as f64 / unknowns as f64;
    let expected = asked + (1.0 - asked) * by_chance;
    let alike = [
        agreement(model, &surrogate(model, &seen)?, &victim.test)?,
        agreement(model, &surrogate(model, &seen_naturally)?, &victim.test)?,
    ];
    let neighbour = nearest_neighbour(model, &victim.natural(allowed), &victim.test)?;
    let accuracy = model.evaluate(&victim.test)?.accuracy;
    progress.step();

    let finding = format!(
        "{unknowns} queries with noise give all {} weights and biases of {} bit for bit. The \
         ledger answers {allowed}: the best guess is then off by {:.2} of the first layer's norm \
         and has {} of it right. Queries of one pixel each still give {} of it bit for bit, and \
         natural pictures a model that agrees with the true one on {} of the test pictures.",
        model.parameters().len(),
        model.architecture(),
        guessed.error,
        percent(guessed.exact),
        percent(one_by_one.exact),
        percent(alike[1]),
    );
    Ok(Exhibit {
        id: "attack-extraction".into(),
        title: "The model from fan-in + 1 queries".into(),
        finding,
        claims: vec![
            Claim::new(
                format!("undefended, {unknowns} samples: every layer equal bit for bit"),
                exact,
            ),
            Claim::new(format!("{} samples do not determine it", unknowns - 1), one_less),
            Claim::new(
                format!(
                    "defended, {allowed} samples: no layer is determined, the guess has {} of \
                     the weights right, where 0 for each has {}, 5% more allowed",
                    percent(guessed.exact),
                    percent(by_chance)
                ),
                extract(model, &seen).is_none() && guessed.exact < by_chance + 0.05,
            ),
            Claim::new(
                format!(
                    "defended: relative error {:.2}, sqrt(1 - k/n) = {law:.2} expected, within 0.1",
                    guessed.error
                ),
                (guessed.error - law).abs() < 0.1,
            ),
            Claim::new(
                format!(
                    "not defeated: {allowed} queries of one pixel each give {} of the first \
                     layer's weights bit for bit, k/n and the zeros of the rest, {}, expected, \
                     within 4%",
                    percent(one_by_one.exact),
                    percent(expected)
                ),
                (one_by_one.exact - expected).abs() < 0.04,
            ),
            Claim::new(
                format!(
                    "not defeated: guessed from {allowed} natural pictures the model agrees with \
                     the true one on {} of the test pictures, more than chance; their nearest \
                     neighbours would on {}",
                    percent(alike[1]),
                    percent(neighbour)
                ),
                alike[1] > 1.5 / model.network().classes() as f64,
            ),
        ],
        parts: vec![
            Part::Images(pictures(&victim, &stolen.unwrap_or_default(), &defended)),
            Part::Lines(lines(&curve, allowed)),
            Part::Table(table(&victim, &curve, allowed, alike)),
        ],
        notes: vec![
            format!(
                "{}, network {}, accuracy {accuracy:.3}, over the mock cryptosystem, which sends \
                 what Paillier would; a test runs the attack over Paillier.",
                victim.pictures.name,
                model.architecture()
            ),
            "The ledger keeps every neuron from being determined as a whole, not each weight: a \
             client chooses of which inputs it learns the weights. Nor does it keep what the \
             model does: the sums of all layers for a few natural pictures fix it on the span of those pictures, and other \
             pictures lie near that span."
                .into(),
        ],
    })
}

/// A black picture, and each picture with a single pixel: what tells weights one input at a time.
fn units(features: usize) -> Batch {
    let pixel = |(row, column): (usize, usize)| if row + 1 == column { 1.0 } else { 0.0 };
    (Array2::from_shape_fn((features, features + 1), pixel), vec![0; features + 1])
}

/// Noise as queries lies between −NOISE and NOISE: wide enough for independent equations, narrow
/// enough to leave the hidden neurons unsaturated.
const NOISE: f64 = 0.5;

fn pictures(victim: &Victim, stolen: &Parameters, defended: &Equations) -> Images {
    let pixels = victim.pictures.pixels();
    let neurons = 0..8;
    let of_layer = |layer: &Layer| {
        let weights = neurons.clone().filter_map(|o| layer.weights.chunks(pixels).nth(o));
        let reals = weights.map(|w| w.iter().map(|&v| v as f64).collect::<Vec<_>>());
        reals.map(|w| victim.pictures.stretched(&w, "")).collect::<Vec<_>>()
    };
    let guess = defended.guess();
    let guessed = neurons.clone().map(|o| {
        let row: Vec<f64> = (0..pixels).map(|i| guess[(o, i)]).collect();
        victim.pictures.stretched(&row, "")
    });
    let row = |name: &str, images| ImageRow { name: name.into(), images };
    Images {
        caption: "Weights of eight neurons of the first layer, as pictures".into(),
        rows: vec![
            row("true", of_layer(&victim.scene.model.parameters().layers[0])),
            row("solved for", stolen.layers.first().map(of_layer).unwrap_or_default()),
            row("guessed within the ledger's bound", guessed.collect()),
        ],
    }
}

fn lines(curve: &[Told], allowed: usize) -> Lines {
    let series = |name: &str, value: fn(&Told) -> f64| {
        Series::curve(name, curve.iter().map(|t| (t.samples as f64, value(t))))
    };
    Lines {
        caption: "What k answers tell about the first layer".into(),
        x: Axis::linear("samples answered"),
        y: Axis::linear("part of the weights"),
        series: vec![
            series("relative error of the best guess", |t| t.error),
            series("weights right to the last bit", |t| t.exact),
            Series::bound(format!("the ledger refuses after {allowed}"), allowed as f64),
        ],
    }
}

fn table(victim: &Victim, curve: &[Told], allowed: usize, alike: [f64; 2]) -> Table {
    let row = |t: &Told| {
        let by_default = if t.samples <= allowed { "answered" } else { "refused" };
        let agreement = if t.samples == allowed {
            format!("{} / {}", percent(alike[0]), percent(alike[1]))
        } else {
            String::new()
        };
        measured(vec![
            t.samples.into(),
            by_default.into(),
            t.error.into(),
            percent(t.exact).into(),
            agreement.into(),
        ])
    };
    Table {
        caption: format!("The first layer, {} unknowns a neuron", victim.unknowns),
        columns: vec![
            Column::new("samples"),
            Column::new("by default"),
            Column::new("relative error"),
            Column::new("weights right"),
            Column::new("guessed model agrees (noise / natural)"),
        ],
        rows: curve.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 6, key_bits: 2048 }
    }

    #[test]
    fn fan_in_plus_one_queries_give_every_weight_and_one_less_does_not() {
        let victim = Victim::new(&setting()).unwrap();
        let model = &victim.scene.model;
        let batch = noise(64, 65, NOISE, 1);
        let mut session = victim.scene.open(Policy::AllowModelExtraction).unwrap();
        let answers = query(&mut session, model, &batch).unwrap();
        assert!(extract(model, &answers).as_ref() == Some(model.parameters()));
        assert!(Equations::new(model, &answers, 0).head(64).solve().is_none());
    }

    #[test]
    fn the_ledger_stops_it() {
        let victim = Victim::new(&setting()).unwrap();
        let model = &victim.scene.model;
        let (allowed, answers) = until_refused(&victim.scene, &noise(64, 65, NOISE, 1)).unwrap();
        assert!((2..33).contains(&allowed), "{allowed}");
        assert!(extract(model, &answers).is_none());
        let truth = rows(&model.parameters().layers[0]);
        let told = told(&Equations::new(model, &answers, 0), &truth, allowed);
        let law = (1.0 - allowed as f64 / 65.0).sqrt();
        assert!((told.error - law).abs() < 0.1, "{} against {law}", told.error);
        assert!(told.exact < zeros(&truth) + 0.05, "{}", told.exact);
    }

    /// What the ledger does not stop: it bounds whole neurons, and the client chooses which of
    /// their weights it learns.
    #[test]
    fn within_the_bound_single_weights_are_learnt() {
        let victim = Victim::new(&setting()).unwrap();
        let model = &victim.scene.model;
        let (allowed, answers) = until_refused(&victim.scene, &units(64)).unwrap();
        let truth = rows(&model.parameters().layers[0]);
        let told = told(&Equations::new(model, &answers, 0), &truth, allowed);
        let asked = allowed as f64 / 65.0;
        let expected = asked + (1.0 - asked) * zeros(&truth);
        assert!((told.exact - expected).abs() < 0.02, "{}", told.exact);
    }
}
