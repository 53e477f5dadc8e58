//! Inputs from sums over the same samples again and again.
//!
//! ```text
//! one lease, n rows shown m times    [U | U_b] = Σ over steps and rows δ·(a, 1)'     rank n, not n·m
//! two leases over the same rows      their sums, one below the other                 rank up to 2·rows
//! ```
//!
//! The inputs of the first layer do not change between epochs, so presentations hide nothing. A client
//! that counts them takes a sum over four rows for one over thirty-six. And what a second sum says about
//! the same inputs adds to what the first one said.

use gelu_algebra::{mean, share_in, span};
use gelu_core::Error::Refused as RefusedError;
use gelu_core::client::DataPolicy;
use gelu_core::error::Refused;
use gelu_core::ledger::Policy;
use gelu_nn::Dataset;
use nalgebra::{DMatrix, DVector};
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;

use super::scene::{Scene, measured, percent};
use super::unmixing::{RECOVERED, augmented, best_matches, unmix};
use super::view::Received;
use crate::Error;
use crate::exhibit::{Claim, Column, Table};

/// A lease over few rows, shown many times.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    /// Different rows.
    pub rows: usize,
    /// How often each was shown.
    pub times: usize,
    /// Share of the inputs recovered from the sum of a client that counts presentations.
    pub recovered: f64,
    /// Mean likeness of an input to what was recovered of it.
    pub likeness: f64,
    /// Whether a client that counts different samples revealed no sum, every time.
    pub refused: bool,
    /// Inputs of the last lease, and what was recovered, for people to compare.
    pub pictures: Vec<(Vec<f64>, Vec<f64>)>,
}

/// Real leases of `times` steps over the same `rows` samples.
///
/// # Errors
/// What the machines say.
pub fn repeated(
    scene: &Scene,
    pictures: &Dataset,
    (rows, times): (usize, usize),
    repetitions: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Repeated, Error> {
    let (mut matches, mut refused, mut pairs) = (Vec::new(), true, Vec::new());
    for _ in 0..repetitions {
        let members = choose(pictures, rows, rng);
        let steps = vec![pictures.batch(&members); times];
        // The old rule took this for a lease of rows · times samples; so does one that has none.
        let mut session = scene.open(Policy::AllowModelExtraction)?;
        session.pair.train(&steps, &mut session.rng)?;
        let mut received = Received::new(&session.pair.transcript)?;
        let sum = received.sums.pop().expect("a lease that was committed").layers.swap_remove(0);
        let (originals, found) =
            (columns(pictures, &members), unmix(&sum, rows).unwrap_or_default());
        matches.extend(best_matches(&originals, &found));
        let like = |a: &Vec<f64>, b: &Vec<f64>| gelu_algebra::correlation(a, b).abs();
        let nearest = |original: &Vec<f64>| {
            let best = found.iter().max_by(|a, b| like(original, a).total_cmp(&like(original, b)));
            best.cloned().unwrap_or_default()
        };
        pairs = originals.iter().map(|original| (original.clone(), nearest(original))).collect();

        let mut session = scene.open_with(Policy::AllowModelExtraction, DataPolicy::Enforce)?;
        let trained = session.pair.train(&steps, &mut session.rng);
        let nothing = Received::new(&session.pair.transcript)?.sums.is_empty();
        refused &= matches!(trained, Err(RefusedError(Refused::ExposesData { .. }))) && nothing;
    }
    let found = matches.iter().filter(|&&likeness| likeness > RECOVERED).count();
    Ok(Repeated {
        rows,
        times,
        recovered: found as f64 / matches.len() as f64,
        likeness: mean(&matches),
        refused,
        pictures: pairs,
    })
}

/// Two leases over the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Stacked {
    /// Different rows.
    pub rows: usize,
    /// Directions that one sum, and both together, say of the space of the inputs.
    pub directions: [usize; 2],
    /// How much of an input that was not in the leases lies in what is known of that space, from one sum
    /// and from both: what a member is compared with.
    pub strangers: [f64; 2],
    /// The same of an input that was in them.
    pub members: [f64; 2],
    /// Whether a client that keeps its ledger revealed the first sum only.
    pub refused: bool,
}

/// Two leases of `steps` steps over the same `rows` samples, in one session.
///
/// # Errors
/// What the machines say.
pub fn stacked(
    scene: &Scene,
    pictures: &Dataset,
    rows: usize,
    steps: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Stacked, Error> {
    let members = choose(pictures, rows + STRANGERS, rng);
    let (members, others) = members.split_at(rows);
    let lease = vec![pictures.batch(members); steps];
    let mut session = scene.open(Policy::AllowModelExtraction)?;
    session.pair.train(&lease, &mut session.rng)?;
    session.pair.train(&lease, &mut session.rng)?;
    let sums = Received::new(&session.pair.transcript)?.sums;
    let [first, both] = [stack(&sums[..1], 0), stack(&sums[..2], 0)];
    let directions = [rows.min(first.nrows()), rows.min(both.nrows())];
    let bases = [span(&first, directions[0]).0, span(&both, directions[1]).0];
    let share = |basis: &DMatrix<f64>, of: &[usize]| {
        let with_bias =
            |a: &Vec<f64>| DVector::from_fn(a.len() + 1, |i, _| a.get(i).copied().unwrap_or(1.0));
        let all = columns(pictures, of);
        mean(&all.iter().map(|a| share_in(basis, &with_bias(a))).collect::<Vec<_>>())
    };

    let mut session = scene.open_with(Policy::AllowModelExtraction, DataPolicy::Enforce)?;
    session.pair.train(&lease, &mut session.rng)?;
    let second = session.pair.train(&lease, &mut session.rng);
    let revealed = Received::new(&session.pair.transcript)?.sums.len();
    let refused = matches!(second, Err(RefusedError(Refused::ExposesData { sums: 2, .. })));
    Ok(Stacked {
        rows,
        directions,
        strangers: [share(&bases[0], others), share(&bases[1], others)],
        members: [share(&bases[0], members), share(&bases[1], members)],
        refused: refused && revealed == 1,
    })
}

/// The sums of a layer, one below the other.
fn stack(sums: &[gelu_core::Parameters], layer: usize) -> DMatrix<f64> {
    let parts: Vec<_> = sums.iter().map(|sum| augmented(&sum.layers[layer])).collect();
    let (height, width) = parts[0].shape();
    DMatrix::from_fn(parts.len() * height, width, |row, column| {
        parts[row / height][(row % height, column)]
    })
}

const STRANGERS: usize = 40;

fn choose(pictures: &Dataset, count: usize, rng: &mut ChaCha20Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.shuffle(rng);
    order.truncate(count);
    order
}

fn columns(pictures: &Dataset, samples: &[usize]) -> Vec<Vec<f64>> {
    samples.iter().map(|&s| pictures.features().column(s).to_vec()).collect()
}

/// What the exhibit shows of it: every measurement of this page.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    repeated: Vec<Repeated>,
    stacked: Stacked,
}

impl Measured {
    /// Few rows, shown as often as made them enough while presentations were counted; and two leases over
    /// more rows than a first one needs.
    ///
    /// # Errors
    /// What the machines say.
    pub fn new(scene: &Scene, pictures: &Dataset, rng: &mut ChaCha20Rng) -> Result<Self, Error> {
        let least = super::unmixing::least_samples(scene)?;
        let shown = [1, 4, 8].map(|rows| (rows, least.div_ceil(rows)));
        let runs = shown.into_iter().map(|run| repeated(scene, pictures, run, REPETITIONS, rng));
        let repeated = runs.collect::<Result<_, _>>()?;
        // More rows than one sum spans, fewer than two do and than a second sum over them needs.
        let stacked = stacked(scene, pictures, least + least / 2, STEPS, rng)?;
        Ok(Self { repeated, stacked })
    }

    /// What must hold of it.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims: Vec<_> = self
            .repeated
            .iter()
            .filter(|r| r.rows <= 4)
            .map(|r| {
                Claim::new(
                    format!(
                        "undefended, {} rows shown {} times: {} of the inputs recovered, {} or more",
                        r.rows,
                        r.times,
                        percent(r.recovered),
                        percent(least_share(r.rows))
                    ),
                    r.recovered >= least_share(r.rows),
                )
            })
            .collect();
        claims.push(Claim::new(
            "defended: a client that counts different samples reveals none of these sums",
            self.repeated.iter().all(|r| r.refused),
        ));
        let Stacked { rows, members, strangers, .. } = self.stacked;
        claims.push(Claim::new(
            format!(
                "undefended, two leases over the same {rows} rows: what is known of the inputs holds \
                 {:.4} of a member after one sum and {:.4} after two (of a stranger {:.4} and {:.4})",
                members[0], members[1], strangers[0], strangers[1]
            ),
            members[1] > members[0],
        ));
        claims.push(Claim::new(
            format!(
                "defended: a client that keeps its ledger reveals one sum over these {rows} rows"
            ),
            self.stacked.refused,
        ));
        claims
    }

    /// One row for each measurement.
    pub fn table(&self) -> Table {
        let row = |r: &Repeated| {
            measured(vec![
                r.rows.into(),
                r.times.into(),
                (r.rows * r.times).into(),
                r.likeness.into(),
                percent(r.recovered).into(),
                if r.refused { "refused" } else { "revealed" }.into(),
            ])
        };
        Table {
            caption: "Leases over the same rows again and again".into(),
            columns: vec![
                Column::new("different rows"),
                Column::new("times shown"),
                Column::new("presentations"),
                Column::new("likeness of inputs"),
                Column::new("inputs recovered"),
                Column::new("by default"),
            ],
            rows: self.repeated.iter().map(row).collect(),
        }
    }

    /// The inputs of a lease over four rows and what was made of its sum.
    pub fn pictures(&self) -> &[(Vec<f64>, Vec<f64>)] {
        self.repeated.iter().find(|r| r.rows == 4).map_or(&[], |r| &r.pictures)
    }
}

/// How much of the inputs must come back for the attack to count as one.
fn least_share(rows: usize) -> f64 {
    match rows {
        1 => 1.0,
        _ => 0.5,
    }
}

const REPETITIONS: usize = 6;
const STEPS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::scene::Pictures;
    use gelu_core::Precision;
    use gelu_nn::Model;
    use rand::SeedableRng;

    #[test]
    fn presentations_hide_nothing_and_different_samples_are_counted() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let pictures = Pictures::small();
        let model =
            Model::initialise("start", pictures.architecture(), Precision::TRAINING, &mut rng);
        let scene = Scene::new(model.unwrap(), 4, 2048);
        let found = Measured::new(&scene, &pictures.train, &mut rng).unwrap();
        let shown: Vec<_> = found.repeated.iter().map(|r| (r.rows, r.times)).collect();
        assert_eq!(shown, [(1, 33), (4, 9), (8, 5)]);
        assert_eq!((found.stacked.rows, found.stacked.directions), (49, [32, 49]));
        for claim in found.claims() {
            assert!(claim.holds, "{}: {found:?}", claim.text);
        }
    }
}
