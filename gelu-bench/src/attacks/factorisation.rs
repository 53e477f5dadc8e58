//! Inputs from the sum at the end of a lease, and how far that goes.
//!
//! Masks hide the updates of the steps; the sum at the end is protected by being of many samples,
//! and by nothing else. [`unmixing`](super::unmixing) says how inputs are found in it.

use gelu_algebra::correlation;
use gelu_core::Precision;
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_nn::{Dataset, Model};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::repetition::Measured;
use super::scene::{Pictures, Scene, measured, percent};
use super::unmixing::{Leak, RECOVERED, factorise, lease, least_samples, measure, unmix};
use super::view::Received;
use crate::Error;
use crate::exhibit::{Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Part, Series, Table};
use crate::setting::{Extent, Progress, Setting};

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
    let row = |name: &str, images: Vec<&Vec<f64>>| ImageRow {
        name: name.into(),
        images: images.into_iter().map(|pixels| pictures.image(pixels, "")).collect(),
    };
    let (inputs, found) = again.pictures().iter().map(|(input, found)| (input, found)).unzip();
    Images {
        caption: "Four rows, shown until a client that counts presentations reveals their sum"
            .into(),
        rows: vec![row("inputs", inputs), row("from the sum", found)],
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
    let series = |name: &str, value: fn(&Leak) -> f64| {
        Series::curve(name, leaks.iter().map(|l| (l.samples as f64, value(l))))
    };
    Lines {
        caption: "What the sum at the end of a lease gives away".into(),
        x: Axis::log("samples in the lease"),
        y: Axis::linear("likeness (correlation), or share"),
        series: vec![
            series("input and its best match", |l| l.likeness),
            series("stranger and its best match", |l| l.chance),
            series("members told from strangers (0.5: a coin)", |l| l.membership),
            Series::bound(format!("fewest samples that a client reveals: {least}"), least as f64),
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
