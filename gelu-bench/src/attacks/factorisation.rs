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
//! Masks hide the updates of the steps; the sum at the end is protected by being of many samples,
//! and by nothing else. How far that goes is measured here.

use gelu_core::client::DataPolicy;
use gelu_core::ledger::{Exposure, Policy};
use gelu_core::network::Layer;
use gelu_core::plan::Purpose;
use gelu_core::{Clear, Plan, Precision};
use gelu_nn::{Dataset, Model};
use nalgebra::{DMatrix, DVector};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;

use super::algebra::{correlation, mean, share_in, span};
use super::repetition::Measured;
use super::scene::{Pictures, Scene, measured, percent};
use super::view::Received;
use crate::Error;
use crate::exhibit::{
    Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Mark, Part, Series, Table,
};
use crate::setting::{Extent, Progress, Setting};

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

fn lease(
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

const STRANGERS: usize = 40;

fn columns(pictures: &Dataset, samples: &[usize]) -> Vec<Vec<f64>> {
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

/// `attack-factorisation`.
///
/// # Errors
/// What the data folder and the machines say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let pictures = match setting.extent {
        Extent::Quick => Pictures::small(),
        Extent::Paper => Pictures::load(setting)?,
    };
    let architecture = pictures.architecture();
    let model = Model::initialise("start", architecture, Precision::TRAINING, rng)?;
    let scene = Scene::new(model, setting.seed, setting.key_bits);
    let least = least_samples(&scene)?;
    let wide = scene.model.network().stages()[0].linear.outputs();
    let sizes = sizes(wide, least);
    let repetitions = 10;
    progress.begin("leases", sizes.len() + 2);
    let single = single(&scene, &pictures, rng)?;
    progress.step();
    let mut leaks = Vec::new();
    for &samples in &sizes {
        leaks.push(measure(&scene, &pictures.train, samples, repetitions, rng)?);
        progress.step();
    }
    let refused = refused(&scene, &pictures.train, least)?;
    let again = Measured::new(&scene, &pictures.train, rng)?;
    progress.step();
    let of = |n: usize| leaks.iter().find(|l| l.samples == n).copied().expect("measured");
    let (two, four, bound) = (of(2), of(4), of(least));
    let longest = leaks.last().copied().expect("several");
    Ok(Exhibit {
        id: "attack-factorisation".into(),
        title: "Inputs from the sum at the end of a lease".into(),
        finding: format!(
            "The sum of one sample gives its picture with {} of {} pixels exact, sums of four \
             samples {} of their pictures; sums of {least}, the fewest that a client reveals, {}. \
             Whether a given picture was among those {least} can still be told in {} of pairs.",
            single.exact,
            pictures.pixels(),
            percent(four.recovered),
            percent(bound.recovered),
            percent(bound.membership),
        ),
        claims: [vec![
            Claim::new(
                format!(
                    "undefended, one sample: {} of {} pixels are exact after rounding to 1/{}",
                    single.exact,
                    pictures.pixels(),
                    pictures.levels
                ),
                single.exact == pictures.pixels(),
            ),
            Claim::new(
                format!(
                    "undefended, two samples: {} of the inputs recovered (likeness above \
                     {RECOVERED}), 90% or more; four samples: {}, a third or more",
                    percent(two.recovered),
                    percent(four.recovered)
                ),
                two.recovered >= 0.9 && four.recovered >= 1.0 / 3.0,
            ),
            Claim::new(
                format!(
                    "masks: the same step inside a lease gives a picture of likeness {:.2}",
                    single.masked_likeness
                ),
                single.masked_likeness.abs() < 0.4,
            ),
            Claim::new(
                format!("the client refuses to reveal a sum of {} samples", least - 1),
                refused,
            ),
            Claim::new(
                format!(
                    "defended, {least} samples: {} of the inputs recovered, likeness {:.2} \
                     against {:.2} for strangers",
                    percent(bound.recovered),
                    bound.likeness,
                    bound.chance
                ),
                bound.recovered == 0.0 && bound.likeness - bound.chance < 0.1,
            ),
            Claim::new(
                format!(
                    "not defeated: whether a given picture was in the lease is told rightly in {} \
                     of pairs at {least} samples and in {} at {} (50% is a coin)",
                    percent(bound.membership),
                    percent(longest.membership),
                    longest.samples
                ),
                bound.membership > 0.55,
            ),
        ], again.claims()].concat(),
        parts: vec![
            Part::Images(single.images),
            Part::Lines(lines(&leaks, least)),
            Part::Table(table(&leaks, least)),
            Part::Images(images_of_repetition(&pictures, &again)),
            Part::Table(again.table()),
        ],
        notes: vec![
            format!(
                "{}, network {}, weights at the start of training, rate {}, {repetitions} leases \
                 of each size over the mock cryptosystem, which sends what Paillier would.",
                pictures.name,
                scene.model.architecture(),
                super::scene::RATE
            ),
            format!(
                "Up to {wide} samples the span of the inputs is known exactly, and only this way of \
                 finding them in it gives out earlier, where pictures have no pixel of their own; \
                 what a better one would find is not known. From {least} samples on the span is \
                 not known either, but missed by little: that is how members are told."
            ),
        ],
    })
}

/// Around the width of the layer and the bound, and beyond.
fn sizes(wide: usize, least: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (0..20).map(|i| 1 << i).take_while(|&n| n < wide).collect();
    sizes.extend([3, 6, wide, least, 2 * least, 4 * least]);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The attack on single samples.
struct Single {
    exact: usize,
    masked_likeness: f64,
    images: Images,
}

fn single(scene: &Scene, pictures: &Pictures, rng: &mut ChaCha20Rng) -> Result<Single, Error> {
    let (members, _, sum) = lease(scene, &pictures.train, 1, rng)?;
    let found = factorise(&sum);
    let on_grid = |v: f64| (v * pictures.levels).round() / pictures.levels;
    let same = |(a, b): (&f64, &f64)| on_grid(*a) == on_grid(*b);
    let exact = members[0].iter().zip(&found).filter(|&pair| same(pair)).count();

    let (four, _, sum) = lease(scene, &pictures.train, 4, rng)?;
    let recovered = unmix(&sum, 4).unwrap_or_default();
    // In the order of the originals, for people to compare; the server has no order.
    let nearest = |original: &Vec<f64>| {
        let like = |r: &&Vec<f64>| correlation(original, r).abs();
        recovered.iter().max_by(|a, b| like(a).total_cmp(&like(b))).cloned().unwrap_or_default()
    };

    // The same sample as the first of two steps: its update leaves under a mask.
    let inputs = ndarray::Array2::from_shape_fn((pictures.pixels(), 1), |(p, _)| members[0][p]);
    let step = (inputs, vec![0]);
    let mut session = scene.open(Policy::AllowModelExtraction)?;
    session.pair.train(&[step.clone(), step], &mut session.rng)?;
    let received = Received::new(&session.pair.transcript)?;
    let masked = factorise(&received.masked[0].layers[0]);

    let image = |values: &Vec<f64>| pictures.image(values, "");
    let originals: Vec<_> = members.iter().chain(&four).map(image).collect();
    let plain: Vec<_> =
        [&found].into_iter().cloned().chain(four.iter().map(nearest)).map(|v| image(&v)).collect();
    let row = |name: &str, images| ImageRow { name: name.into(), images };
    Ok(Single {
        exact,
        masked_likeness: correlation(&members[0], &masked),
        images: Images {
            caption: "Inputs from a sum of one sample (first column) and of four (the others)"
                .into(),
            rows: vec![
                row("inputs", originals),
                row("from the sum", plain),
                row("the first one from its masked update", vec![image(&masked)]),
            ],
        },
    })
}

fn images_of_repetition(pictures: &Pictures, again: &Measured) -> Images {
    let row = |name: &str, of: fn(&(Vec<f64>, Vec<f64>)) -> &Vec<f64>| ImageRow {
        name: name.into(),
        images: again.pictures().iter().map(|pair| pictures.image(of(pair), "")).collect(),
    };
    Images {
        caption: "Four rows, shown until a client that counts presentations reveals their sum"
            .into(),
        rows: vec![row("inputs", |pair| &pair.0), row("from the sum", |pair| &pair.1)],
    }
}

/// Whether a client that minds its data refuses a lease of one sample less than `least`.
fn refused(scene: &Scene, pictures: &Dataset, least: usize) -> Result<bool, Error> {
    let mut session = scene.open_with(Policy::AllowModelExtraction, DataPolicy::Enforce)?;
    let samples: Vec<usize> = (0..least - 1).collect();
    let result = session.pair.train(&[pictures.batch(&samples)], &mut session.rng);
    let received = Received::new(&session.pair.transcript)?;
    let refused = matches!(result, Err(gelu_core::Error::Refused(_)));
    Ok(refused && received == Received::default())
}

fn lines(leaks: &[Leak], least: usize) -> Lines {
    let series = |name: &str, value: fn(&Leak) -> f64| Series {
        name: name.into(),
        points: leaks.iter().map(|l| (l.samples as f64, value(l))).collect(),
        mark: Mark::LineAndPoints,
    };
    Lines {
        caption: "What the sum at the end of a lease gives away".into(),
        x: Axis::log("samples in the lease"),
        y: Axis::linear("likeness (correlation), or share"),
        series: vec![
            series("input and its best match", |l| l.likeness),
            series("stranger and its best match", |l| l.chance),
            series("members told from strangers (0.5: a coin)", |l| l.membership),
            Series {
                name: format!("fewest samples that a client reveals: {least}"),
                points: vec![(least as f64, 0.0), (least as f64, 1.0)],
                mark: Mark::Line,
            },
        ],
    }
}

fn table(leaks: &[Leak], least: usize) -> Table {
    let row = |l: &Leak| {
        let may = if l.samples < least { "refused" } else { "revealed" };
        measured(vec![
            l.samples.into(),
            may.into(),
            l.likeness.into(),
            l.chance.into(),
            percent(l.recovered).into(),
            l.membership.into(),
        ])
    };
    Table {
        caption: "Leases of several sizes, their sums revealed for the attack".into(),
        columns: vec![
            Column::new("samples"),
            Column::new("by default"),
            Column::new("likeness of inputs"),
            Column::new("of strangers"),
            Column::new("inputs recovered"),
            Column::new("members told from strangers"),
        ],
        rows: leaks.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (Scene, Pictures, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let pictures = Pictures::small();
        let model =
            Model::initialise("start", pictures.architecture(), Precision::TRAINING, &mut rng);
        (Scene::new(model.unwrap(), 4, 2048), pictures, rng)
    }

    #[test]
    fn one_sample_factorises_exactly_and_its_masked_update_does_not() {
        let (scene, pictures, mut rng) = scene();
        let single = single(&scene, &pictures, &mut rng).unwrap();
        assert_eq!(single.exact, 64);
        assert!(single.masked_likeness.abs() < 0.4, "{}", single.masked_likeness);
    }

    #[test]
    fn few_samples_are_unmixed_and_many_are_not() {
        let (scene, pictures, mut rng) = scene();
        let few = measure(&scene, &pictures.train, 3, 6, &mut rng).unwrap();
        assert!(few.recovered >= 0.5, "{few:?}");
        assert!(few.membership > 0.99, "they span the inputs: {few:?}");
        let least = least_samples(&scene).unwrap();
        assert_eq!(least, 33);
        let many = measure(&scene, &pictures.train, least, 3, &mut rng).unwrap();
        assert!(many.recovered == 0.0, "{many:?}");
        assert!(many.likeness - many.chance < 0.1, "{many:?}");
    }

    #[test]
    fn a_client_that_minds_its_data_reveals_no_short_sum() {
        let (scene, pictures, _) = scene();
        assert!(refused(&scene, &pictures.train, 33).unwrap());
        assert!(!refused(&scene, &pictures.train, 34).unwrap(), "33 samples are enough");
    }
}
