//! Telling two gradients apart by their masked updates: an attack that must fail.
//!
//! The server knows two updates U₀ and U₁, receives V = U_b + R with R uniform in [0, M)ᵏ, M = 2^(l+σ),
//! and says which it was. A value below both ranges' starts or above both ends never comes; one that
//! only one of them reaches decides; all others are equally likely under both. So this test is the
//! best there is, and
//!
//! ```text
//! advantage  =  1 − Π (1 − |U₀ⱼ − U₁ⱼ| / M)  ≤  Σ |U₀ⱼ − U₁ⱼ| / M  <  k·2^−σ
//! ```
//!
//! is the most that anybody can reach. With σ = 4 it works; with σ = 40, the least that the program
//! accepts, it would take about 2^40 updates of one value.

use gelu_core::fixed::{Saturations, exp2};
use gelu_core::mask::{self, Kind};
use gelu_core::pass::{Rounding, update};
use gelu_core::{Parameters, Precision};
use gelu_nn::{Dataset, Model, Standardiser, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;

use super::target::gradient;
use crate::Error;
use crate::exhibit::{
    Axis, Cell, Claim, Column, Exhibit, Lines, Mark, Part, Row, Series, Source, Table,
};
use crate::setting::{Extent, Progress, Setting};

/// Two updates that the server tries to tell apart.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What they are.
    pub name: String,
    /// U₀ and U₁, of the same shape.
    pub updates: [Parameters; 2],
}

/// What the server says of one masked update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is U₀ or U₁, for certain.
    Certain(usize),
    /// Both are equally likely.
    Open,
}

/// The best distinguisher: looks for a value that only one of both updates can have become, under
/// masks of `bits` bits.
pub fn distinguish(pair: &Pair, masked: &Parameters, bits: u32) -> Verdict {
    let reaches = |update: &Parameters| {
        let mut values = update.values().zip(masked.values());
        values.all(|(u, v)| (0..1 << bits).contains(&(v - u)))
    };
    match pair.updates.each_ref().map(reaches) {
        [true, false] => Verdict::Certain(0),
        [false, true] => Verdict::Certain(1),
        _ => Verdict::Open,
    }
}

/// 1 − Π (1 − |U₀ⱼ − U₁ⱼ| / 2^bits): what the best distinguisher reaches.
pub fn best_advantage(pair: &Pair, bits: u32) -> f64 {
    let [a, b] = &pair.updates;
    let shares = a.values().zip(b.values()).map(|(a, b)| (a - b).abs() as f64 / exp2(bits));
    // As logarithms, because 1 − 2^−60 is 1.
    -libm::expm1(shares.map(|share| libm::log1p(-share.min(1.0))).sum::<f64>())
}

/// What came out of many masked updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Share of masked updates that were recognised for certain.
    pub advantage: f64,
    /// Verdicts that were wrong.
    pub wrong: usize,
    /// Kolmogorov's and Smirnov's distance of the values that differ most, times √(n/2) for n of each.
    pub distance: f64,
}

/// Above this the two samples differ, with an error of one in a million.
pub const DISTANT: f64 = 2.69;

/// Masks each update of the pair `trials` times and lets the server guess.
pub fn play(pair: &Pair, bits: u32, trials: usize, rng: &mut dyn CryptoRng) -> Outcome {
    let [a, b] = &pair.updates;
    let differences = a.values().zip(b.values()).map(|(a, b)| (a - b).abs()).enumerate();
    let widest = differences.max_by_key(|(_, d)| *d).map_or(0, |(j, _)| j);
    let (mut certain, mut wrong) = (0, 0);
    let mut samples = [Vec::new(), Vec::new()];
    for (which, update) in pair.updates.iter().enumerate() {
        for _ in 0..trials {
            let (masked, _) = mask::mask(&update.clone().into(), Kind::Statistical { bits }, rng);
            match distinguish(pair, &masked, bits) {
                Verdict::Certain(guess) if guess == which => certain += 1,
                Verdict::Certain(_) => wrong += 1,
                Verdict::Open => {}
            }
            samples[which].extend(masked.values().nth(widest));
        }
    }
    let advantage = certain as f64 / (2 * trials) as f64;
    Outcome { advantage, wrong, distance: smirnov(samples) }
}

/// max |F₀ − F₁| · √(n/2) of two samples of n values each.
fn smirnov(mut samples: [Vec<i128>; 2]) -> f64 {
    samples.iter_mut().for_each(|sample| sample.sort_unstable());
    let [a, b] = &samples;
    let below = |sample: &[i128], x: i128| sample.partition_point(|v| *v <= x);
    let gap = |&x: &i128| below(a, x).abs_diff(below(b, x));
    let widest = a.iter().chain(b).map(gap).max().unwrap_or(0) as f64;
    widest / a.len() as f64 * (a.len() as f64 / 2.0).sqrt()
}

/// The updates of two mini-batches of Iris, and the two that are as far apart as updates can be.
///
/// # Errors
/// Never for the network of Iris.
pub fn pairs(precision: &Precision, seed: u64) -> Result<[Pair; 2], Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let mut iris = Dataset::iris();
    Standardiser::fit(&iris).apply(&mut iris)?;
    let model = Model::initialise("iris", zoo::iris(), *precision, rng)?;
    let of = |samples: [usize; 5]| -> Result<Parameters, Error> {
        let (inputs, labels) = iris.batch(&samples);
        let gradient = gradient(&model, &inputs, &labels)?;
        let rounding = Rounding::Rate(0.1);
        let update = update(&gradient, labels.len(), rounding, precision, &Saturations::default());
        Ok(update.reveal().into())
    };
    let real = [of([0, 1, 2, 3, 4])?, of([100, 101, 102, 103, 104])?];
    let most = (1 << (precision.update_bits - 1)) - 1;
    let one = |value| Parameters {
        layers: vec![gelu_core::network::Layer { weights: vec![value], biases: vec![] }],
    };
    Ok([
        Pair { name: "the worst case, one value".into(), updates: [one(most), one(-most)] },
        Pair { name: format!("two mini-batches of Iris, {} values", real[0].len()), updates: real },
    ])
}

/// One game: a pair under masks of a length, and what came out.
struct Game<'a> {
    pair: &'a Pair,
    sigma: u32,
    best: f64,
    outcome: Outcome,
}

impl Game<'_> {
    /// Whether the tests used found nothing.
    fn fails(&self) -> bool {
        self.outcome.advantage == 0.0 && self.outcome.distance < DISTANT
    }

    /// Whether the best possible was measured, within five standard deviations.
    fn is_best(&self, trials: usize) -> bool {
        let deviation = (self.best * (1.0 - self.best) / (2 * trials) as f64).sqrt();
        (self.outcome.advantage - self.best).abs() <= 5.0 * deviation + 1e-12
    }

    fn row(&self) -> Row {
        Row {
            source: Source::Measured,
            cells: vec![
                self.pair.name.as_str().into(),
                Cell::Count(self.sigma.into()),
                self.outcome.advantage.into(),
                format!("{:.1e}", self.best).into(),
                self.outcome.distance.into(),
                if self.fails() { "no" } else { "yes" }.into(),
            ],
        }
    }
}

/// The exhibit `attack-masks`.
///
/// # Errors
/// [`Error::WrongAnswer`] when a verdict that is certain is wrong.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let precision = Precision::TRAINING;
    let trials = match setting.extent {
        Extent::Quick => 10_000,
        Extent::Paper => 500_000,
    };
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let pairs = pairs(&precision, setting.seed)?;
    progress.begin("masks", pairs.len() * SIGMAS.len());
    let mut games = Vec::new();
    for (pair, sigma) in pairs.iter().flat_map(|pair| SIGMAS.map(|sigma| (pair, sigma))) {
        let bits = precision.update_bits + sigma;
        let outcome = play(pair, bits, trials, rng);
        if outcome.wrong > 0 {
            return Err(Error::WrongAnswer("a verdict that is certain".into()));
        }
        games.push(Game { pair, sigma, best: best_advantage(pair, bits), outcome });
        progress.step();
    }
    let shortest: Vec<_> = games.iter().filter(|game| game.sigma == SIGMAS[0]).collect();
    Ok(Exhibit {
        id: "attack-masks".into(),
        title: "Telling gradients apart through their masks".into(),
        finding: format!(
            "With masks {} bits longer than updates the server recognises {:.1} % of the worst single \
             values and {:.1} % of the updates of two mini-batches of Iris. With 40 or 64 bits, the \
             least and the usual, it recognises none in {} tries.",
            SIGMAS[0],
            100.0 * shortest[0].outcome.advantage,
            100.0 * shortest[1].outcome.advantage,
            2 * trials
        ),
        claims: claims(&games, &precision, trials),
        parts: vec![
            Part::Table(table(&games, &precision, trials)),
            Part::Lines(lines(&games, &pairs, &precision)),
        ],
        notes: vec![
            format!(
                "\"No\" means: no value that only one update reaches, and a Smirnov distance below \
                 {DISTANT} (one error in a million). A sample cannot show 2^−40; the formula does."
            ),
            "What remains: the bound grows with the number of masked values, and the sum of the true \
             updates at the end of a lease is not masked."
                .into(),
        ],
    })
}

/// Bits by which masks are longer than updates: the first must fail, the last two must hold.
const SIGMAS: [u32; 5] = [4, 8, 12, 40, 64];

fn claims(games: &[Game<'_>], precision: &Precision, trials: usize) -> Vec<Claim> {
    let short = games.iter().filter(|game| game.sigma == SIGMAS[0]).map(|game| {
        let Game { pair, sigma, best, outcome } = game;
        let (name, seen) = (&pair.name, outcome.advantage);
        Claim::new(
            format!("{name}: sigma = {sigma} gives {seen:.4} away; the best possible is {best:.4}"),
            seen > 0.0 && game.is_best(trials),
        )
    });
    let long = games.iter().filter(|game| game.sigma >= 40).map(|game| {
        let (name, sigma) = (&game.pair.name, game.sigma);
        let tries = 2 * trials;
        Claim::new(
            format!(
                "{name}: sigma = {sigma} is not distinguishable by the tests used, in {tries} tries"
            ),
            game.fails(),
        )
    });
    let too_short = Precision { mask_bits: 39, ..*precision };
    let refused = too_short.validate().is_err() && precision.validate().is_ok();
    let refusal = Claim::new("a precision with sigma below 40 is refused", refused);
    short.chain(long).chain([refusal]).collect()
}

fn table(games: &[Game<'_>], precision: &Precision, trials: usize) -> Table {
    Table {
        caption: format!(
            "Which of two updates was masked: {} masked updates a row, masks of {} + sigma bits",
            2 * trials,
            precision.update_bits
        ),
        columns: vec![
            Column::new("updates"),
            Column::new("sigma"),
            Column::new("told apart for certain"),
            Column::new("best possible"),
            Column::new("Smirnov distance"),
            Column::new("distinguishable"),
        ],
        rows: games.iter().map(Game::row).collect(),
    }
}

fn lines(games: &[Game<'_>], pairs: &[Pair], precision: &Precision) -> Lines {
    let mut series = Vec::new();
    for pair in pairs {
        let best =
            (1..=64_u32).map(|s| (f64::from(s), best_advantage(pair, precision.update_bits + s)));
        let own = games.iter().filter(|game| game.pair.name == pair.name);
        // The axis has no place for 0.
        let seen = own.filter(|game| game.outcome.advantage > 0.0);
        let seen = seen.map(|game| (f64::from(game.sigma), game.outcome.advantage));
        let line = |what: &str, points, mark| Series {
            name: format!("{}: {what}", pair.name),
            points,
            mark,
        };
        series.push(line("best possible", best.collect(), Mark::Line));
        series.push(line("measured", seen.collect(), Mark::Points));
    }
    Lines {
        caption: "What a server can tell of masked updates, by the length of the masks".into(),
        x: Axis::linear("sigma (bits by which a mask is longer than an update)"),
        y: Axis::log("share of masked updates told apart"),
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIALS: usize = 4000;

    #[test]
    fn short_masks_are_seen_through_as_often_as_the_formula_says() {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        for pair in pairs(&Precision::TRAINING, 1).unwrap() {
            let best = best_advantage(&pair, 24);
            let outcome = play(&pair, 24, TRIALS, rng);
            assert_eq!(outcome.wrong, 0);
            let deviation = (best * (1.0 - best) / (2 * TRIALS) as f64).sqrt();
            assert!((outcome.advantage - best).abs() < 5.0 * deviation, "{outcome:?}, {best}");
            assert!(outcome.advantage > 0.03, "{outcome:?}");
        }
        let [worst, _] = pairs(&Precision::TRAINING, 1).unwrap();
        assert!((best_advantage(&worst, 24) - 1.0 / 16.0).abs() < 1e-6);
        assert!(play(&worst, 24, TRIALS, rng).distance > DISTANT, "statistics see it too");
    }

    #[test]
    fn masks_of_the_least_length_are_not() {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        for pair in pairs(&Precision::TRAINING, 1).unwrap() {
            for sigma in [40, 64] {
                let outcome = play(&pair, 20 + sigma, TRIALS, rng);
                assert_eq!((outcome.advantage, outcome.wrong), (0.0, 0));
                assert!(outcome.distance < DISTANT, "{outcome:?}");
                let values = pair.updates[0].len() as f64;
                assert!(best_advantage(&pair, 20 + sigma) < values * exp2(sigma).recip());
            }
        }
    }

    #[test]
    fn the_statistic_by_hand() {
        let distance = smirnov([vec![3, 1, 2, 4], vec![4, 6, 5, 7]]);
        assert!((distance - 0.75 * 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(smirnov([vec![1, 2], vec![2, 1]]), 0.0);
    }
}
