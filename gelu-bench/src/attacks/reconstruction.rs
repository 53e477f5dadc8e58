//! Training pictures from activations and gradients (the paper's section 4.3, Fig. 1 and 2).
//!
//! ```text
//! gradient of a sample    dW₂ = δ₂·a₁',  dB₂ = δ₂         gives a₁  (see factorisation)
//! activations             a₁ = f(W₁·x + b₁)               gives x̂ = W₁⁺·(f⁻¹(a₁) − b₁)
//! or at once              dW₁ = δ₁·x',   dB₁ = δ₁         gives x
//! ```
//!
//! The second line is the paper's: W₁⁺ is the Moore-Penrose inverse, so x̂ is the projection of x
//! on the rows of W₁. With m random rows of n pixels it keeps √(m/n) of a picture's length. The
//! third line needs no inverse and loses nothing; the paper's figure shows the weaker attack.

use gelu_algebra::{correlation, mean, norm, pseudo_inverse, psnr};
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_core::{Parameters, Precision};
use gelu_nn::{Activation, Model, Sequential};
use nalgebra::{DMatrix, DVector};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::scene::{Pictures, Scene, measured};
use super::unmixing::{factorise, least_samples};
use super::view::{Batch, Received};
use crate::Error;
use crate::exhibit::{
    Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Mark, Part, Series, Table,
};
use crate::setting::{Extent, Progress, Setting};

/// x̂ = W₁⁺·(f⁻¹(a₁) − b₁) for the sigmoid; `None` when W₁ has not full rank.
///
/// What is no activation (noise in place of one) is moved to the nearest that is.
pub fn from_activations(model: &Model, activations: &[f64]) -> Option<Vec<f64>> {
    let layer = &model.weights().layers[0];
    let inputs = layer.weights.len() / layer.biases.len();
    let w = DMatrix::from_row_slice(layer.biases.len(), inputs, &layer.weights);
    let z = activations.iter().zip(&layer.biases).map(|(&a, b)| {
        let a = if a.is_nan() { 0.5 } else { a.clamp(1e-5, 1.0 - 1e-5) };
        libm::log(a / (1.0 - a)) - b
    });
    let z = DVector::from_iterator(layer.biases.len(), z);
    Some(pseudo_inverse(&w, &z)?.as_slice().to_vec())
}

/// What a server makes of the update of one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// From the activations, by the Moore-Penrose inverse.
    pub inverted: Vec<f64>,
    /// From the first layer's own gradient.
    pub direct: Vec<f64>,
}

/// Both attacks on what may be an update of one sample.
pub fn guess(model: &Model, update: &Parameters) -> Option<Guess> {
    let activations = factorise(&update.layers[1]);
    let inverted = from_activations(model, &activations)?;
    Some(Guess { inverted, direct: factorise(&update.layers[0]) })
}

/// The pictures of a run, and what the server made of each.
struct Run {
    pictures: Pictures,
    scene: Scene,
    labels: Vec<usize>,
    originals: Vec<Vec<f64>>,
    plain: Vec<Guess>,
    masked: Vec<Guess>,
    /// Whether a client that minds its data gave the same lease back, and nothing with it.
    refused: bool,
    least: usize,
}

impl Run {
    /// Undefended: each picture in a lease of its own, whose sum is its gradient. Defended: the
    /// same pictures one after the other in one lease.
    fn new(setting: &Setting, progress: &dyn Progress) -> Result<Self, Error> {
        let pictures = Pictures::load(setting)?;
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let architecture = pictures.architecture();
        let model = Model::initialise("start", architecture, Precision::TRAINING, rng)?;
        let scene = Scene::new(model, setting.seed, setting.key_bits);
        let digits = if setting.extent == Extent::Quick { 6 } else { 10 };
        let first = |digit| {
            pictures.train.labels().iter().position(|&l| l == digit).expect("every digit occurs")
        };
        let chosen: Vec<usize> = (0..digits).map(first).collect();
        let mut batches: Vec<Batch> = chosen.iter().map(|&s| pictures.train.batch(&[s])).collect();
        progress.begin("leases", batches.len() + 2);
        let mut plain = Vec::new();
        for batch in &batches {
            let mut session = scene.open(Policy::AllowModelExtraction)?;
            session.pair.train(core::slice::from_ref(batch), &mut session.rng)?;
            let received = Received::new(&session.pair.transcript)?;
            plain.extend(guess(&scene.model, &received.sums[0]));
            progress.step();
        }
        // One step more, since the last step of a lease sends no masked update.
        batches.push(batches[0].clone());
        let mut session = scene.open(Policy::AllowModelExtraction)?;
        session.pair.train(&batches, &mut session.rng)?;
        let received = Received::new(&session.pair.transcript)?;
        let masked: Vec<_> =
            received.masked.iter().filter_map(|u| guess(&scene.model, u)).collect();
        progress.step();
        let mut session = scene.open_with(Policy::AllowModelExtraction, DataPolicy::Enforce)?;
        let result = session.pair.train(&batches, &mut session.rng);
        let nothing = Received::new(&session.pair.transcript)? == Received::default();
        progress.step();
        if plain.len() != digits || masked.len() != digits {
            return Err(Error::WrongAnswer("the number of updates".into()));
        }
        Ok(Self {
            labels: chosen.iter().map(|&s| pictures.train.labels()[s]).collect(),
            originals: chosen
                .iter()
                .map(|&s| pictures.train.features().column(s).to_vec())
                .collect(),
            refused: matches!(result, Err(gelu_core::Error::Refused(_))) && nothing,
            least: least_samples(&scene)?,
            pictures,
            scene,
            plain,
            masked,
        })
    }

    fn likeness(&self, guesses: &[Guess], of: fn(&Guess) -> &Vec<f64>) -> Vec<f64> {
        let pairs = self.originals.iter().zip(guesses);
        pairs.map(|(original, guess)| correlation(original, of(guess))).collect()
    }

    fn psnr(&self, guesses: &[Guess], of: fn(&Guess) -> &Vec<f64>) -> Vec<f64> {
        let pairs = self.originals.iter().zip(guesses);
        pairs.map(|(original, guess)| psnr(original, of(guess))).collect()
    }

    /// The part of the pictures' length that the pseudo-inverse keeps, and √(m/n).
    fn kept(&self) -> (f64, f64) {
        let pairs = self.originals.iter().zip(&self.plain);
        let shares: Vec<_> = pairs.map(|(o, g)| norm(&g.inverted) / norm(o)).collect();
        let linear = &self.scene.model.network().stages()[0].linear;
        let rank = linear.outputs().min(linear.inputs()) as f64;
        (mean(&shares), (rank / linear.inputs() as f64).sqrt())
    }

    fn row<'a>(&self, name: &str, values: impl Iterator<Item = &'a Vec<f64>>) -> ImageRow {
        ImageRow { name: name.into(), images: values.map(|v| self.pictures.image(v, "")).collect() }
    }

    fn originals(&self) -> ImageRow {
        let labelled = |(v, label): (&Vec<f64>, &usize)| self.pictures.image(v, label.to_string());
        let images = self.originals.iter().zip(&self.labels).map(labelled).collect();
        ImageRow { name: "training data".into(), images }
    }

    fn notes(&self) -> Vec<String> {
        vec![
            format!(
                "{}, network {}, weights at the start of training, which the server has drawn \
                 itself; {} pictures, one a step, over the mock cryptosystem, which sends what \
                 Paillier would.",
                self.pictures.name,
                self.scene.model.architecture(),
                self.originals.len()
            ),
            "The reconstructions are cut off below 0 and above 1 and are otherwise as computed."
                .into(),
        ]
    }

    fn claims(&self) -> Vec<Claim> {
        let direct = self.likeness(&self.plain, |g| &g.direct);
        let least = direct.iter().copied().fold(1.0, f64::min);
        let (kept, expected) = self.kept();
        let masked = [
            self.likeness(&self.masked, |g| &g.direct),
            self.likeness(&self.masked, |g| &g.inverted),
        ]
        .concat();
        let alike = mean(&masked);
        vec![
            Claim::new(
                format!("undefended, from the first layer's gradient: likeness {least:.4} or more"),
                least > 0.999,
            ),
            Claim::new(
                format!(
                    "undefended, from the activations by the Moore-Penrose inverse: {kept:.2} of \
                     the pictures' length kept, sqrt(m/n) = {expected:.2} expected, within 0.1"
                ),
                (kept - expected).abs() < 0.1,
            ),
            Claim::new(
                format!("masked: mean likeness {alike:.2}, within 0.25 of none"),
                alike.abs() < 0.25,
            ),
            Claim::new(
                format!(
                    "the client does not ask for a lease of {} samples, since {} are needed",
                    self.originals.len() + 1,
                    self.least
                ),
                self.refused,
            ),
        ]
    }

    fn table(&self) -> Table {
        let row = |what: &str, guesses: &[Guess], of: fn(&Guess) -> &Vec<f64>| {
            let likeness = self.likeness(guesses, of);
            measured(vec![
                what.into(),
                crate::exhibit::Cell::spread(&likeness),
                crate::exhibit::Cell::spread(&self.psnr(guesses, of)),
            ])
        };
        Table {
            caption: "How alike pictures and reconstructions are".into(),
            columns: vec![
                Column::new("reconstruction"),
                Column::new("correlation"),
                Column::with_unit("peak signal to noise", "dB"),
            ],
            rows: vec![
                row("from activations, Moore-Penrose", &self.plain, |g| &g.inverted),
                row("from the first layer's gradient", &self.plain, |g| &g.direct),
                row("from activations, masked", &self.masked, |g| &g.inverted),
                row("from the gradient, masked", &self.masked, |g| &g.direct),
            ],
        }
    }
}

/// `attack-reconstruction`.
///
/// # Errors
/// What the data folder and the machines say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let run = Run::new(setting, progress)?;
    let inverted = mean(&run.likeness(&run.plain, |g| &g.inverted));
    let direct = mean(&run.likeness(&run.plain, |g| &g.direct));
    let masked = mean(&run.likeness(&run.masked, |g| &g.direct));
    let rows = vec![
        run.originals(),
        run.row("from activations (Moore-Penrose)", run.plain.iter().map(|g| &g.inverted)),
        run.row("from the first gradient", run.plain.iter().map(|g| &g.direct)),
        run.row("from activations, masked", run.masked.iter().map(|g| &g.inverted)),
        run.row("from the first gradient, masked", run.masked.iter().map(|g| &g.direct)),
    ];
    let caption = "Training data, and what the server makes of updates of one sample".into();
    Ok(Exhibit {
        id: "attack-reconstruction".into(),
        title: "Training data from activations and gradients".into(),
        finding: format!(
            "An unprotected update of one sample gives its picture back with a correlation of \
             {inverted:.2} through the activations and {direct:.4} directly; a masked one with \
             {masked:.2}."
        ),
        claims: run.claims(),
        parts: vec![Part::Images(Images { caption, rows }), Part::Table(run.table())],
        notes: run.notes(),
    })
}

/// `figure-1`: the server reconstructs training data from activations.
///
/// # Errors
/// What the data folder and the machines say.
pub fn figure_1(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let run = Run::new(setting, progress)?;
    let likeness = mean(&run.likeness(&run.plain, |g| &g.inverted));
    let (kept, expected) = run.kept();
    let widths = widths(&run, setting)?;
    let rows =
        vec![run.originals(), run.row("reconstructed", run.plain.iter().map(|g| &g.inverted))];
    let caption = "Server reconstructs training data via activations (the paper's Fig. 1)".into();
    let off: Vec<f64> = widths.iter().map(|&(_, got, law)| (got - law).abs()).collect();
    let off = mean(&off);
    let series =
        |name: &str, points: Vec<(f64, f64)>, mark| Series { name: name.into(), points, mark };
    let mut notes = run.notes();
    notes.push(
        "The paper shows one digit and gives no numbers. Here the activations come from an update \
         of one sample that the client revealed against the default."
            .into(),
    );
    Ok(Exhibit {
        id: "figure-1".into(),
        title: "Fig. 1: training data from activations".into(),
        finding: format!(
            "The Moore-Penrose inverse of the first layer gives pictures with a correlation of \
             {likeness:.2} to the training data; {kept:.2} of their length is kept, sqrt(m/n) = \
             {expected:.2}."
        ),
        claims: vec![
            Claim::new(
                format!("part of the length kept {kept:.2}, {expected:.2} expected, within 0.1"),
                (kept - expected).abs() < 0.1,
            ),
            Claim::new(
                format!("over all widths {off:.2} from sqrt(m/n) on average, 0.1 allowed"),
                off < 0.1,
            ),
        ],
        parts: vec![
            Part::Images(Images { caption, rows }),
            Part::Lines(Lines {
                caption: "A wider first layer shows more of a picture".into(),
                x: Axis::linear("neurons of the first layer / pixels"),
                y: Axis::linear("part of the picture's length kept"),
                series: vec![
                    series(
                        "measured",
                        widths.iter().map(|&(x, got, _)| (x, got)).collect(),
                        Mark::Points,
                    ),
                    series(
                        "sqrt(m/n)",
                        (0..=50).map(|i| f64::from(i) / 50.0).map(|x| (x, x.sqrt())).collect(),
                        Mark::Line,
                    ),
                ],
            }),
        ],
        notes,
    })
}

/// m/n, what was kept and √(m/n), for networks of several widths, each attacked in a lease of its
/// own.
fn widths(run: &Run, setting: &Setting) -> Result<Vec<(f64, f64, f64)>, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let pixels = run.pictures.pixels();
    let classes = run.pictures.train.classes();
    let mut points = Vec::new();
    for eighths in [1, 2, 3, 4, 6, 8] {
        let width = pixels * eighths / 8;
        let architecture = Sequential::dense(pixels, &[width], classes, Activation::Sigmoid)?;
        let model = Model::initialise("wide", architecture, Precision::TRAINING, rng)?;
        let scene = Scene::new(model, setting.seed, setting.key_bits);
        let mut shares = Vec::new();
        for (original, &label) in run.originals.iter().zip(&run.labels).take(3) {
            let inputs = ndarray::Array2::from_shape_fn((pixels, 1), |(p, _)| original[p]);
            let mut session = scene.open(Policy::AllowModelExtraction)?;
            session.pair.train(&[(inputs, vec![label])], &mut session.rng)?;
            let received = Received::new(&session.pair.transcript)?;
            if let Some(guess) = guess(&scene.model, &received.sums[0]) {
                shares.push(norm(&guess.inverted) / norm(original));
            }
        }
        let ratio = width as f64 / pixels as f64;
        points.push((ratio, mean(&shares), ratio.sqrt()));
    }
    Ok(points)
}

/// `figure-2`: with and without gradient protection.
///
/// # Errors
/// What the data folder and the machines say.
pub fn figure_2(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let run = Run::new(setting, progress)?;
    let plain = mean(&run.likeness(&run.plain, |g| &g.direct));
    let masked = mean(&run.likeness(&run.masked, |g| &g.direct));
    let rows = vec![
        run.originals(),
        run.row("without protection", run.plain.iter().map(|g| &g.direct)),
        run.row("with protection", run.masked.iter().map(|g| &g.direct)),
    ];
    let caption = "With and without gradient protection (the paper's Fig. 2)".into();
    let mut notes = run.notes();
    notes.push(
        "Protected is every step of a lease. The sum at its end is not masked: see \
         attack-factorisation for what it tells."
            .into(),
    );
    Ok(Exhibit {
        id: "figure-2".into(),
        title: "Fig. 2: gradient protection".into(),
        finding: format!(
            "Reconstructions from updates have a correlation of {plain:.4} to the training data \
             without masks and of {masked:.2} with them."
        ),
        claims: run.claims(),
        parts: vec![Part::Images(Images { caption, rows }), Part::Table(run.table())],
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Quiet;

    fn setting() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 5, key_bits: 2048 }
    }

    #[test]
    fn pictures_come_back_from_updates_and_not_from_masked_ones() {
        let run = Run::new(&setting(), &Quiet).unwrap();
        for claim in run.claims() {
            assert!(claim.holds, "{}", claim.text);
        }
        let direct = run.psnr(&run.plain, |g| &g.direct);
        assert!(direct.iter().all(|&p| p > 40.0), "{direct:?}");
        let masked = run.psnr(&run.masked, |g| &g.direct);
        assert!(masked.iter().all(|&p| p < 15.0), "{masked:?}");
        let inverted = mean(&run.likeness(&run.plain, |g| &g.inverted));
        assert!(inverted > 0.5, "{inverted}");
    }

    /// A first layer as wide as the picture hides nothing, the paper's loses what its rows miss.
    #[test]
    fn the_inverse_keeps_what_the_rows_span() {
        let run = Run::new(&setting(), &Quiet).unwrap();
        let widths = widths(&run, &setting()).unwrap();
        let (ratio, kept, _) = widths[widths.len() - 1];
        assert_eq!(ratio, 1.0);
        assert!((kept - 1.0).abs() < 0.02, "{kept}");
        assert!(widths.iter().all(|&(_, kept, law)| (kept - law).abs() < 0.15), "{widths:?}");
    }
}
