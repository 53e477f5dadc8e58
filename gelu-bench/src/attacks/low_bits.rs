//! Which inputs are zero, from the low bits of masked gradients.
//!
//! With a secret learning rate η = 1/E the server gets, under its own key, D = G + E·R: the gradient
//! G of a client, as an integer, under a mask R that is long enough to hide anything. But over the
//! integers
//!
//! ```text
//! D mod E  =  G mod E          whatever R is.
//! ```
//!
//! The gradient of a weight is its input times an error. Where the input is 0, so is every gradient of
//! its row, and all of D's row is a multiple of E; elsewhere that takes a coincidence in every column.
//! So the server sees which pixels are black.
//!
//! What stops it: E = 2^g, and G a multiple of 2^g_max ≥ 2^g, paid for with g_max fractional bits of
//! the weights. Then D mod E is 0 for every input, and D / E is G / E + R, with nothing below.

use std::sync::Arc;

use gelu_core::clear::ClearKey;
use gelu_core::fixed::Saturations;
use gelu_core::ledger::Policy;
use gelu_core::mask::{self, Kind};
use gelu_core::message::{ClientMessage, Wire};
use gelu_core::pair::{Frame, Pair, PairHost};
use gelu_core::pass::{Rounding, update};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::slots::UpdateLayout;
use gelu_core::{AdditiveHE, Clear, LinearMap, Parameters, Precision, Update};
use gelu_nn::{Dataset, Model, zoo};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;

use super::target::gradient;
use crate::Error;
use crate::exhibit::{
    Cell, Claim, Column, Exhibit, Image, ImageRow, Images, Part, Row, Source, Table,
};
use crate::setting::{Extent, Progress, Setting};

/// The server's secret rate is 2^−G in the defended run, and could be as little as 2^−G_MAX.
const G: u32 = 3;
const G_MAX: u32 = 5;

/// D = G + E·R without the defence: the gradient of a mini-batch at the full resolution of the
/// weights, masked, and the learning rate 1/E.
pub fn undefended(
    gradient: &Update,
    samples: usize,
    inverse_rate: i128,
    precision: &Precision,
    rng: &mut dyn CryptoRng,
) -> Parameters {
    let rounding = Rounding::Rate(1.0);
    let update = update(gradient, samples, rounding, precision, &Saturations::default());
    let kind = Kind::Statistical { bits: precision.update_bits + precision.mask_bits };
    let masks = mask::draw(&update, kind, rng);
    let mut masks = masks.values();
    let masked = update.map(|u| u + masks.next().expect("as many") * inverse_rate);
    masked.reveal().into()
}

/// D of every image in turn, as the server decrypts them in a real session with the secret rate: each
/// is a mini-batch of one.
///
/// # Errors
/// What either party says.
pub fn defended(
    model: &Model,
    images: &Dataset,
    progress: &dyn Progress,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Vec<Parameters>> {
    let key = ClearKey::new(2048)?;
    let rate = LearningRate::Secret { key: Arc::new(key.clone()), g: G, g_max: G_MAX };
    let (served, policy) = (ServedModel::from(model), Policy::AllowModelExtraction);
    let host = Arc::new(PairHost::new(served, "client", policy));
    let mut pair = Pair::<Clear>::open(host, Arc::new(key.clone()), rate, rng)?;
    // The last mini-batch of a lease sends no masked update, so there is one more.
    let one = |sample| images.batch(&[sample]);
    let batches: Vec<_> = (0..images.len()).chain([0]).map(one).collect();
    progress.begin("steps", 1);
    pair.train(&batches, rng)?;
    progress.step();
    let like = model.parameters();
    let layout = UpdateLayout::new::<Clear>(like.len(), model.precision(), G_MAX, &key)?;
    let mut seen = Vec::new();
    for frame in &pair.transcript {
        let Frame::Up(bytes) = frame else { continue };
        let ClientMessage::EncryptedMaskedUpdate { ciphertexts } =
            ClientMessage::from_bytes(bytes)?
        else {
            continue;
        };
        let blocks = Clear::ciphertexts_from_bytes(&key, &ciphertexts, layout.ciphertexts())?;
        let mut values = Vec::with_capacity(like.len());
        for (n, block) in blocks.iter().enumerate() {
            values.extend_from_slice(Clear::decrypt(&key, block, layout.shape(n))?.values());
        }
        let mut values = values.into_iter();
        seen.push(like.map(|_| values.next().expect("one for each parameter")));
    }
    Ok(seen)
}

/// The attack: for each input of the first layer, whether all masked gradients of its weights are 0
/// modulo `modulus`.
pub fn zero_inputs(linear: &LinearMap, masked: &Parameters, modulus: i128) -> Vec<bool> {
    let mut zero = vec![true; linear.inputs()];
    let taps = linear.forward_taps();
    for output in 0..linear.outputs() {
        for tap in taps.of(output) {
            let value = masked.layers[0].weights[tap.weight as usize];
            zero[tap.source as usize] &= value.rem_euclid(modulus) == 0;
        }
    }
    zero
}

/// How well zeros are told from other inputs: the mean of the shares of both kinds that are
/// recognised. Guessing, or saying the same of all, makes one half.
pub fn balanced_accuracy(said_zero: &[Vec<bool>], images: &Dataset) -> f64 {
    // Right and all, of zeros and of others.
    let mut counts = [[0_u64; 2]; 2];
    for (said, image) in said_zero.iter().zip(images.features().columns()) {
        for (&said, &pixel) in said.iter().zip(image) {
            let kind = usize::from(pixel != 0.0);
            counts[kind][0] += u64::from(said == (pixel == 0.0));
            counts[kind][1] += 1;
        }
    }
    counts.iter().map(|[right, all]| *right as f64 / (*all).max(1) as f64).sum::<f64>() / 2.0
}

/// What the server can do in the defended run: it tries every modulus, its own and others.
pub fn best_modulus(
    linear: &LinearMap,
    seen: &[Parameters],
    images: &Dataset,
) -> (f64, Vec<Vec<bool>>) {
    let tries = (1..=8).map(|bits| {
        let said: Vec<_> = seen.iter().map(|d| zero_inputs(linear, d, 1 << bits)).collect();
        (balanced_accuracy(&said, images), said)
    });
    tries.max_by(|a, b| a.0.total_cmp(&b.0)).expect("some moduli")
}

/// Images with black pixels: MNIST where the paper's extent is asked for and the data is there,
/// otherwise the 8x8 digits; and a network for them.
fn images(setting: &Setting) -> Result<(Dataset, Model, &'static str), Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let mnist = setting.data.as_ref().filter(|_| setting.extent == Extent::Paper);
    let (images, architecture, name) = match mnist {
        Some(data) => (Dataset::load("mnist-test", data)?.head(40), zoo::dense12(), "MNIST"),
        None => {
            let count = if setting.extent == Extent::Paper { 400 } else { 60 };
            (Dataset::digits().head(count), zoo::digits(), "the 8x8 digits")
        }
    };
    let model = Model::initialise("low-bits", architecture, Precision::TRAINING, rng)?;
    Ok((images, model, name))
}

/// The exhibit `attack-low-bits`.
///
/// # Errors
/// What the session of the defended run says.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let (images, model, name) = images(setting)?;
    let linear = &model.network().stages()[0].linear;
    let rates = [("1/10", 10), ("1/8", 8), ("1/1000", 1000)];
    let mut runs = Vec::new();
    progress.begin("gradients", rates.len() * images.len());
    for (rate, inverse) in rates {
        let mut said = Vec::new();
        for sample in 0..images.len() {
            let (inputs, labels) = images.batch(&[sample]);
            let gradient = gradient(&model, &inputs, &labels)?;
            let seen = undefended(&gradient, 1, inverse, model.precision(), rng);
            said.push(zero_inputs(linear, &seen, inverse));
            progress.step();
        }
        runs.push((rate, balanced_accuracy(&said, &images), said));
    }
    let seen = defended(&model, &images, progress, rng)?;
    let own = 1 << G;
    let multiples = seen.iter().flat_map(Parameters::values).all(|d| d.rem_euclid(own) == 0);
    let (best, blank) = best_modulus(linear, &seen, &images);
    let worst = runs.iter().map(|run| run.1).fold(1.0, f64::min);

    Ok(Exhibit {
        id: "attack-low-bits".into(),
        title: "Black pixels through any mask: the low bits of a secret rate".into(),
        finding: format!(
            "A server that hides its learning rate as the paper has it tells black from other pixels in {:.2} % \
             of cases, through masks of {} bits. With a rate of 2^−g and g_max spare bits it tells \
             {:.1} %; guessing makes 50 %.",
            100.0 * worst,
            model.precision().update_bits + model.precision().mask_bits,
            100.0 * best
        ),
        claims: vec![
            Claim::new(
                format!("undefended: at least {:.2} % told apart, at each rate", 100.0 * worst),
                worst > 0.99,
            ),
            Claim::new(
                format!(
                    "defended: {:.1} % at best, with all moduli 2^1 to 2^8 tried",
                    100.0 * best
                ),
                best < 0.55,
            ),
            Claim::new(
                format!(
                    "defended: all {} values that the server decrypted are multiples of 2^{G}",
                    seen.iter().map(Parameters::len).sum::<usize>()
                ),
                multiples && seen.len() == images.len(),
            ),
        ],
        parts: vec![
            Part::Table(table(&runs, best, &model, &format!("{} images of {name}", images.len()))),
            Part::Images(pictures(&images, &runs[0].2, &blank)),
        ],
        notes: vec![
            "Mini-batches of one. Of a larger one the server sees the pixels that are black in all of \
             its images."
                .into(),
            "The defended run is a whole session between the real machines over the mock backend, whose \
             integers are those of every backend."
                .into(),
            "What remains: the sum of all gradients, revealed at the end of the lease, has zero rows \
             where all its images were black."
                .into(),
        ],
    })
}

/// A rate, how well pixels were told apart, and what was said of each pixel of each image.
type Run = (&'static str, f64, Vec<Vec<bool>>);

fn table(runs: &[Run], best: f64, model: &Model, images: &str) -> Table {
    let row = |rate: String, resolution: &str, accuracy: f64| Row {
        source: Source::Measured,
        cells: vec![rate.into(), resolution.into(), Cell::Number(100.0 * accuracy)],
    };
    let undefended = runs
        .iter()
        .map(|(rate, accuracy, _)| row((*rate).into(), "all of the weights' bits", *accuracy));
    let shipped = format!("{G_MAX} bits less, of {}", model.precision().weights.fraction);
    let real = row(format!("2^−{G} (the real mode)"), &shipped, best);
    Table {
        caption: format!("Black and other pixels told apart in {images}"),
        columns: vec![
            Column::new("secret rate"),
            Column::new("resolution of the gradient"),
            Column::with_unit("told apart (guessing: 50)", "%"),
        ],
        rows: undefended.chain([real]).collect(),
    }
}

/// Images above what the server sees of them; ink is what it says is not black.
fn pictures(images: &Dataset, undefended: &[Vec<bool>], defended: &[Vec<bool>]) -> Images {
    let side = (1..).find(|w| w * w >= images.inputs()).expect("a square is large enough");
    let shown = images.len().min(8);
    let image = |ink: &dyn Fn(usize) -> u8| Image {
        width: u32::try_from(side).expect("few pixels"),
        pixels: (0..side * side).map(ink).collect(),
        label: String::new(),
    };
    let grey = |x: f64| {
        let level = (0..=255u8).rev().find(|&level| f64::from(level) <= x * 255.0);
        level.unwrap_or(0)
    };
    let pixels: &Array2<f64> = images.features();
    let said = |zero: &[bool], i: usize| if zero[i] { 0 } else { 255 };
    let rows = |name: &str, all: &[Vec<bool>]| ImageRow {
        name: name.into(),
        images: all[..shown].iter().map(|zero| image(&|i| said(zero, i))).collect(),
    };
    Images {
        caption: "Training images, and which of their pixels the server says are not black".into(),
        rows: vec![
            ImageRow {
                name: "the client's images".into(),
                images: (0..shown).map(|s| image(&|i| grey(pixels[[i, s]]))).collect(),
            },
            rows("seen at rate 1/10", undefended),
            rows("seen in the real mode", defended),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Quiet;

    fn scene() -> (Dataset, Model, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let images = Dataset::digits().head(6);
        let model = Model::initialise("d", zoo::digits(), Precision::TRAINING, &mut rng).unwrap();
        (images, model, rng)
    }

    #[test]
    fn without_the_defence_black_pixels_are_seen() {
        let (images, model, mut rng) = scene();
        let linear = &model.network().stages()[0].linear;
        for inverse in [10, 8, 1000] {
            let said: Vec<_> = (0..images.len())
                .map(|sample| {
                    let (inputs, labels) = images.batch(&[sample]);
                    let gradient = gradient(&model, &inputs, &labels).unwrap();
                    let seen = undefended(&gradient, 1, inverse, model.precision(), &mut rng);
                    zero_inputs(linear, &seen, inverse)
                })
                .collect();
            let accuracy = balanced_accuracy(&said, &images);
            assert!(accuracy > 0.99, "1/{inverse}: {accuracy}");
        }
    }

    #[test]
    fn in_the_real_mode_they_are_not() {
        let (images, model, mut rng) = scene();
        let linear = &model.network().stages()[0].linear;
        let seen = defended(&model, &images, &Quiet, &mut rng).unwrap();
        assert_eq!(seen.len(), images.len());
        assert!(seen.iter().flat_map(Parameters::values).all(|d| d.rem_euclid(8) == 0));
        let (best, _) = best_modulus(linear, &seen, &images);
        assert!((0.45..0.55).contains(&best), "{best}");
    }

    #[test]
    fn saying_the_same_of_all_is_worth_one_half() {
        let (images, ..) = scene();
        for said in [true, false] {
            assert_eq!(balanced_accuracy(&vec![vec![said; 64]; 6], &images), 0.5);
        }
    }
}
