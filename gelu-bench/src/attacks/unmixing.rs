//! Inputs from the sum at the end of a lease.
//!
//! ```text
//! one sample    U = η·δ·a',   U_b = η·δ         so a = U'·U_b / U_b'·U_b, whatever η and δ are
//! k samples     [U | U_b] = η·Σ δⱼ·(aⱼ, 1)'     a matrix of rank k whose rows span the (aⱼ, 1)
//! ```
//!
//! With k no larger than the layer is wide, the server knows that span. Pictures are not negative,
//! and many have a pixel that no other picture of the lease has: its column in the span is an edge
//! of the cone of all columns, and the edges, found one after the other by their distance
//! (successive projection), are the columns of the mixing matrix. Its inverse gives the pictures.
//!
//! [`factorisation`](super::factorisation) shows how far that goes.

use gelu_algebra::{correlation, mean, share_in, span};
use gelu_core::ledger::{Exposure, Policy};
use gelu_core::network::Layer;
use gelu_core::plan::Purpose;
use gelu_core::{Clear, Plan};
use gelu_nn::Dataset;
use nalgebra::{DMatrix, DVector};
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;

use super::scene::Scene;
use super::view::Received;
use crate::Error;

/// The input of the one sample behind an update: a = U'·U_b / U_b'·U_b.
///
/// The least squares over all rows; exact but for the rounding of the update.
pub fn factorise(update: &Layer) -> Vec<f64> {
    let inputs = update.weights.len() / update.biases.len();
    let errors: Vec<f64> = update.biases.iter().map(|&b| b as f64).collect();
    let square: f64 = errors.iter().map(|e| e * e).sum();
    let rows = update.weights.chunks(inputs).zip(&errors);
    let mut a = vec![0.0; inputs];
    for (row, error) in rows {
        a.iter_mut().zip(row).for_each(|(a, &u)| *a += u as f64 * error / square);
    }
    a
}

/// The update of a dense layer with its biases as a last column, [U | U_b].
pub fn augmented(update: &Layer) -> DMatrix<f64> {
    let outputs = update.biases.len();
    let inputs = update.weights.len() / outputs;
    DMatrix::from_fn(outputs, inputs + 1, |o, i| {
        let value = if i < inputs { update.weights[o * inputs + i] } else { update.biases[o] };
        value as f64
    })
}

/// The inputs behind the sum of `samples` samples: see the [module](self).
///
/// As many as there are samples or rows, in no particular order; `None` where the span holds no
/// positive vector or its edges do not span it.
pub fn unmix(update: &Layer, samples: usize) -> Option<Vec<Vec<f64>>> {
    let (basis, _) = span(&augmented(update), samples.min(update.biases.len()));
    let (rank, columns) = basis.shape();
    let strength: Vec<f64> = basis.column_iter().map(|c| c.norm()).collect();
    let strongest = strength.iter().copied().fold(0.0, f64::max);
    let lit: Vec<usize> = (0..columns).filter(|&p| strength[p] > 0.02 * strongest).collect();
    let level = positive(&basis, &lit)?;
    let most = level.amax();
    let candidates: Vec<usize> = lit.into_iter().filter(|&p| level[p] > 0.02 * most).collect();
    let mut edges = DMatrix::from_fn(rank, candidates.len(), |r, c| {
        basis[(r, candidates[c])] / level[candidates[c]]
    });
    let all = edges.clone();
    let mut mixing = DMatrix::zeros(rank, rank);
    for found in 0..rank {
        let lengths = edges.column_iter().map(|c| c.norm_squared());
        let (farthest, length) = lengths.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let direction: DVector<f64> = edges.column(farthest) / length.sqrt();
        edges -= &direction * direction.tr_mul(&edges);
        mixing.set_column(found, &all.column(farthest));
    }
    let pictures = mixing.lu().solve(&basis)?;
    let picture = |row: usize| {
        let scale = pictures[(row, columns - 1)];
        (0..columns - 1).map(|p| pictures[(row, p)] / scale).collect()
    };
    Some((0..rank).map(picture).collect())
}

/// A vector of the span that is positive on `lit`, by projecting to and fro.
fn positive(basis: &DMatrix<f64>, lit: &[usize]) -> Option<DVector<f64>> {
    let project = |v: &DVector<f64>| basis.tr_mul(&(basis * v));
    let mut v = DVector::zeros(basis.ncols());
    lit.iter().for_each(|&p| v[p] = 1.0);
    for _ in 0..500 {
        v = project(&v);
        let floor = 0.01 * v.amax();
        let mut pushed = DVector::zeros(v.len());
        lit.iter().for_each(|&p| pushed[p] = v[p].max(floor));
        v = pushed;
    }
    let v = project(&v);
    (v.amax() > 0.0).then_some(v)
}

/// How alike each of `originals` is to the recovered picture that is most like it.
pub fn best_matches(originals: &[Vec<f64>], recovered: &[Vec<f64>]) -> Vec<f64> {
    let best = |original: &Vec<f64>| {
        recovered.iter().map(|r| correlation(original, r).abs()).fold(0.0, f64::max)
    };
    originals.iter().map(best).collect()
}

/// How often a member looks more like one than a stranger does, by how much of it lies in the span
/// of the sum: 1 for a perfect test, 0.5 for a coin.
pub fn membership(
    update: &Layer,
    samples: usize,
    members: &[Vec<f64>],
    others: &[Vec<f64>],
) -> f64 {
    // A full span of as many rows as columns says nothing; rows are what limits it here.
    let (basis, _) = span(&augmented(update), samples.min(update.biases.len()));
    let share = |a: &Vec<f64>| {
        share_in(&basis, &DVector::from_fn(a.len() + 1, |i, _| a.get(i).copied().unwrap_or(1.0)))
    };
    let (members, others): (Vec<_>, Vec<_>) =
        (members.iter().map(share).collect(), others.iter().map(share).collect());
    let score = |m: f64, o: f64| {
        if m > o {
            1.0
        } else if m == o {
            0.5
        } else {
            0.0
        }
    };
    let total: f64 = members.iter().flat_map(|&m| others.iter().map(move |&o| score(m, o))).sum();
    total / (members.len() * others.len()) as f64
}

/// What leases of one size gave away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// Samples of the lease.
    pub samples: usize,
    /// Mean likeness of an input to the recovered picture that is most like it.
    pub likeness: f64,
    /// The same of pictures that were not in the lease: what chance and the kind of picture give.
    pub chance: f64,
    /// Share of the inputs recovered: likeness above [`RECOVERED`].
    pub recovered: f64,
    /// See [`membership`].
    pub membership: f64,
}

/// From this likeness on an input counts as recovered.
pub const RECOVERED: f64 = 0.95;

/// Real leases of `samples` samples in one step, each with other samples, and what their sums give.
///
/// # Errors
/// What the machines say.
pub fn measure(
    scene: &Scene,
    pictures: &Dataset,
    samples: usize,
    repetitions: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Leak, Error> {
    let mut parts = [const { Vec::new() }; 4];
    for _ in 0..repetitions {
        let (members, others, sum) = lease(scene, pictures, samples, rng)?;
        let recovered = unmix(&sum, samples).unwrap_or_default();
        let matches = best_matches(&members, &recovered);
        let found = matches.iter().filter(|&&m| m > RECOVERED).count();
        parts[0].push(mean(&matches));
        parts[1].push(mean(&best_matches(&others, &recovered)));
        parts[2].push(found as f64 / samples as f64);
        parts[3].push(membership(&sum, samples, &members, &others));
    }
    let [likeness, chance, recovered, membership] = parts.map(|values| mean(&values));
    Ok(Leak { samples, likeness, chance, recovered, membership })
}

/// Members and strangers, and the first layer's sum that the server got for the members.
type Leased = (Vec<Vec<f64>>, Vec<Vec<f64>>, Layer);

pub(super) fn lease(
    scene: &Scene,
    pictures: &Dataset,
    samples: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Leased, Error> {
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.shuffle(rng);
    let (members, others) = (&order[..samples], &order[samples..samples + STRANGERS]);
    let batch = pictures.batch(members);
    let mut session = scene.open(Policy::AllowModelExtraction)?;
    session.pair.train(&[batch], &mut session.rng)?;
    let mut received = Received::new(&session.pair.transcript)?;
    let sum = received.sums.pop().expect("a lease that was committed").layers.swap_remove(0);
    Ok((columns(pictures, members), columns(pictures, others), sum))
}

pub(super) const STRANGERS: usize = 40;

pub(super) fn columns(pictures: &Dataset, samples: &[usize]) -> Vec<Vec<f64>> {
    samples.iter().map(|&s| pictures.features().column(s).to_vec()).collect()
}

/// The fewest samples of a lease whose sum a client reveals.
///
/// # Errors
/// What the range analysis says.
pub fn least_samples(scene: &Scene) -> Result<usize, Error> {
    let key = gelu_core::clear::ClearKey::new(2048)?;
    let (network, precision) = (scene.model.network(), scene.model.precision());
    let purpose = Purpose::Training { steps: 1 };
    let plan = Plan::new::<Clear>(network, precision, 1, purpose, &key)?;
    let least = Exposure::new(network, precision, &plan).least_samples().map_or(0, |(n, _)| n);
    Ok(usize::try_from(least).unwrap_or(usize::MAX))
}
