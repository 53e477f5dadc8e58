//! Setup 1: the base as layers with squares, and the data party's rows through it.

use anyhow::Result;
use gelu_nn::{Activation, Dataset, Model, Split};
use gelu_transfer::base::Layer;
use gelu_transfer::{Base, BasePlan, BaseSettings, RowOwner, Rows};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::super::source::Source;
use super::link::Link;
use super::outcome::BaseBytes;
use super::wire::{Card, most_bytes};
use crate::phases::{Phases, bytes};
use crate::problem::{Advise, problem};

/// The first stages of a model, as a base.
///
/// # Errors
/// When there are not as many, or not each ends in a square.
pub(super) fn cut(model: &Model, stages: usize) -> Result<Base> {
    let all = model.architecture().blocks().len();
    // The head is zero.
    let rng = &mut ChaCha20Rng::seed_from_u64(0);
    let cut = model
        .with_head(stages, &[], 2, *model.precision(), rng)
        .advise(|| format!("choose a --freeze of 1 to {all}, the linear layers of the base"))?;
    let mut chain = cut.architecture().chain(&cut.weights())?;
    let head = chain.pop();
    let wrong = chain.iter().find(|link| link.activation != Some(Activation::Square));
    // Maps with nothing between them are one: of the head nothing else may be part.
    if wrong.is_some() || chain.is_empty() || head.is_some_and(|head| head.name.contains('·')) {
        return Err(problem(
            format!(
                "{} does not end each of its first {stages} layers in a square, and CKKS computes nothing else",
                model.architecture()
            ),
            "take a base with squares (`gelu train --plaintext --network digits-square` or `lenet5-square` makes one), another --freeze, or --engine exact",
        ));
    }
    let layers = chain.into_iter().map(|link| Layer {
        rows: (0..link.taps.outputs())
            .map(|output| {
                let taps = link.taps.of(output).iter();
                taps.map(|tap| (tap.source as usize, link.entries[tap.weight as usize])).collect()
            })
            .collect(),
        offsets: link.offsets,
    });
    Ok(Base::new(model.architecture().input().features(), layers.collect())?)
}

/// The base that a source stands on, if it stands on one.
///
/// # Errors
/// As [`cut`].
pub(super) fn of(source: &Source) -> Result<Option<Base>> {
    let frozen = source.start.architecture().frozen();
    (frozen > 0).then(|| cut(&source.start, frozen)).transpose()
}

/// What must be known of a base to ask it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) inputs: usize,
    pub(super) features: usize,
    pub(super) squares: usize,
}

impl From<&Base> for Shape {
    fn from(base: &Base) -> Self {
        Self { inputs: base.inputs(), features: base.features(), squares: base.squares() }
    }
}

impl From<&Card> for Shape {
    fn from(card: &Card) -> Self {
        Self {
            inputs: card.inputs as usize,
            features: card.features as usize,
            squares: card.squares.into(),
        }
    }
}

/// Those to train on, then those that are held out.
pub(super) fn parts(split: &Split) -> [&Dataset; 2] {
    [&split.train, &split.test]
}

/// What rows take from a base. The bounds are 0, or a power of two, on either side.
///
/// # Errors
/// As [`BasePlan::new`].
pub(super) fn plan(parts: &[&Dataset], base: impl Into<Shape>) -> Result<BasePlan> {
    let Shape { inputs, features, squares } = base.into();
    let all = || parts.iter().flat_map(|part| part.features());
    let bound = |size: f64| if size > 0.0 { size.log2().ceil().exp2() } else { 0.0 };
    let largest = |sign: f64| all().fold(0.0f64, |most, x| most.max(sign * x));
    let (least, most) = (-bound(largest(-1.0)), bound(largest(1.0)));
    Ok(BasePlan::new(BaseSettings {
        rows: parts.iter().map(|part| part.len()).sum(),
        inputs,
        features,
        squares,
        least,
        // All rows are zero.
        most: if least < most { most } else { 1.0 },
    })?)
}

/// All rows, one part after the other.
fn rows(parts: &[&Dataset]) -> Result<Rows> {
    let values =
        parts.iter().flat_map(|part| part.features().t().iter().copied().collect::<Vec<_>>());
    Ok(Rows::new(values.collect(), parts.first().map_or(0, |part| part.inputs()))?)
}

/// The features of all rows in the clear: what the encrypted ones are compared with.
///
/// # Errors
/// None for rows of the base.
pub(super) fn in_the_clear(parts: &[&Dataset], base: &Base) -> Result<Rows> {
    let x = rows(parts)?;
    let all = (0..x.len()).map(|row| base.apply(x.row(row))).collect::<Result<Vec<_>, _>>()?;
    Ok(Rows::new(all.concat(), base.features())?)
}

/// The features of all rows, by the compute party.
///
/// # Errors
/// What the exchange ends with.
pub(super) async fn features(
    link: &mut Link,
    plan: &BasePlan,
    parts: &[&Dataset],
    phases: &mut Phases,
    rng: &mut ChaCha20Rng,
) -> Result<(Rows, BaseBytes)> {
    let x = rows(parts)?;
    let owner = RowOwner::generate(plan.clone(), rng);
    let before = (link.up, link.down);
    link.deliver(&owner.keys(rng)?).await?;
    let keys = link.up - before.0;
    let (groups, messages) = (plan.groups(), plan.messages());
    let running = phases.begin("sending encrypted rows", (groups * messages) as u64);
    let settings = plan.settings();
    let mut all = Vec::with_capacity(settings.rows * settings.features);
    for group in 0..groups {
        for message in 0..messages {
            let inputs = owner.inputs(&x, group, message, rng)?;
            running.step();
            if message + 1 < messages {
                link.deliver(&inputs).await?;
                continue;
            }
            running.note("the base computes");
            let answer = link.ask(&inputs, most_bytes(plan.feature_bytes())).await?;
            let features = owner.receive(group, &answer)?;
            (0..features.len()).for_each(|row| all.extend(features.row(row)));
        }
    }
    let sent = BaseBytes { keys, up: link.up - before.0 - keys, down: link.down - before.1 };
    let said = format!(
        "features of {} rows came from the base, {} up and {} down",
        x.len(),
        bytes(sent.up),
        bytes(sent.down)
    );
    phases.end(running, "base", &said);
    Ok((Rows::new(all, plan.settings().features)?, sent))
}

/// Of numbers of the same place.
pub(super) fn largest_difference(a: &Rows, b: &Rows) -> f64 {
    let rows = (0..a.len()).flat_map(|row| a.row(row).iter().zip(b.row(row)));
    rows.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Rows as columns, of those to train on and of the others.
pub(super) fn columns(features: &Rows, train: usize) -> (Array2<f64>, Array2<f64>) {
    let part = |rows: std::ops::Range<usize>| {
        let shape = (features.columns(), rows.len());
        Array2::from_shape_fn(shape, |(feature, row)| features.row(rows.start + row)[feature])
    };
    (part(0..train), part(train..features.len()))
}

#[cfg(test)]
mod tests {
    use gelu_core::Precision;
    use gelu_nn::Sequential;

    use super::*;

    fn model(layers: &str) -> Model {
        let json = format!(r#"{{"input":[6],"layers":[{layers}]}}"#);
        let architecture = Sequential::from_json(&json).unwrap();
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        Model::initialise("m", architecture, Precision::TRAINING, rng).unwrap()
    }

    #[test]
    fn a_base_is_the_first_layers_and_squares_alone() {
        let dense = |outputs: usize| format!(r#"{{"layer":"dense","outputs":{outputs}}}"#);
        let square = r#"{"layer":"activation","function":"square"}"#;
        let squared = [&dense(5), square, &dense(4), square, &dense(2)].join(",");
        let base = cut(&model(&squared), 2).unwrap();
        assert_eq!((base.inputs(), base.features(), base.squares()), (6, 4, 2));
        assert!(cut(&model(&squared), 4).unwrap_err().to_string().contains("there are 3"));
        let sigmoid = squared.replacen("square", "sigmoid", 1);
        let open = [&dense(5), square, &dense(4), &dense(2)].join(",");
        for layers in [sigmoid, open] {
            let refused = cut(&model(&layers), 2).unwrap_err();
            assert!(refused.to_string().contains("in a square"), "{refused}");
        }
    }
}
