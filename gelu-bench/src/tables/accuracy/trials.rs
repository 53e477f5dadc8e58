//! The trainings behind Table 3.

use std::path::Path;

use gelu_nn::{Activation, Dataset, Recipe, Sequential, Split, Standardiser, data};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rayon::prelude::*;

use super::cases::{Case, Trials};
use crate::Error;
use crate::learning::{Run, Task, in_floating_point, in_integers, judge};
use crate::setting::{Progress, Setting};

/// The polynomials, in the order of the table's columns.
pub(super) const POLYNOMIALS: [Activation; 3] =
    [Activation::Square, Activation::Taylor5, Activation::Taylor3];

/// What a rate that diverges is multiplied by, one after the other.
const LOWER: [f64; 6] = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003];

/// Parts of the inner cross-validation.
const INNER: usize = 5;

/// One training and test part, and what is random about it.
struct Trial<'a> {
    split: &'a Split,
    seed: u64,
    in_integers: bool,
}

/// What came out of one trial.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The exact activation, trained and judged in the protocol's integers, if that was asked for.
    pub(super) integers: Option<f64>,
    /// The same in floating point.
    pub(super) float: f64,
    /// Epochs of all trainings of this trial.
    pub(super) epochs: usize,
    /// In the order of [`POLYNOMIALS`].
    pub(super) polynomials: Vec<Chances>,
}

/// The accuracies of a polynomial; none where it diverged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chances {
    /// Trained with it, same recipe.
    pub(super) same: Option<f64>,
    /// Trained with it at a lower rate: the largest share of the recipe's rate that does not
    /// diverge, and the accuracy.
    pub(super) lowered: Option<(f64, f64)>,
    /// Put in after training.
    pub(super) swapped: f64,
}

/// Every training and test part of a case, scaled on the training part where it is a table.
pub(super) fn splits(case: &Case, setting: &Setting) -> Result<Vec<Split>, Error> {
    let folder = setting.data.as_deref().unwrap_or(Path::new(""));
    let Trials::Folds { folds, repeats } = case.trials else {
        return Ok(vec![Split::load(case.name, folder, setting.seed)?.0]);
    };
    let whole = Dataset::load(case.name, folder)?;
    let mut splits = Vec::new();
    for repeat in 0..repeats {
        let mut rng = ChaCha20Rng::seed_from_u64(setting.seed);
        rng.set_stream(repeat);
        splits.extend(whole.folds(folds, &mut rng)?);
    }
    if data::sources().iter().any(|source| source.name == case.name && source.is_table()) {
        for split in &mut splits {
            let scaling = Standardiser::fit(&split.train);
            scaling.apply(&mut split.train)?;
            scaling.apply(&mut split.test)?;
        }
    }
    Ok(splits)
}

/// All trials of a case, on all cores.
pub(super) fn run(
    case: &Case,
    splits: &[Split],
    seed: u64,
    progress: &dyn Progress,
) -> Result<Vec<Outcome>, Error> {
    let trials: Vec<_> = match case.trials {
        Trials::Folds { .. } => (0..)
            .zip(splits)
            .map(|(n, split)| Trial { split, seed: seed.wrapping_add(n), in_integers: true })
            .collect(),
        Trials::Seeds(seeds) => (0..seeds)
            .map(|n| Trial { split: &splits[0], seed: seed.wrapping_add(n), in_integers: n == 0 })
            .collect(),
    };
    let architecture = case.architecture();
    // In integers, in floating point, and each polynomial.
    progress.begin(&format!("{}: trainings", case.title), trials.len() * (2 + POLYNOMIALS.len()));
    trials.par_iter().map(|trial| one(case, &architecture, trial, progress)).collect()
}

fn one(
    case: &Case,
    architecture: &Sequential,
    trial: &Trial<'_>,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let Split { train, test } = trial.split;
    let recipe = case.recipe();
    let task = Task { architecture, recipe, train, test, seed: trial.seed };
    let epochs = match case.epochs.len() {
        0 | 1 => recipe.epochs,
        _ => choose_epochs(&task, case.epochs)?,
    };
    let task = Task { recipe: Recipe { epochs, ..recipe }, ..task };
    let integers = || {
        let accuracy = trial.in_integers.then(|| in_integers(&task)).transpose()?;
        progress.step();
        Ok::<_, Error>(accuracy.map(|(_, accuracy)| accuracy))
    };
    let in_float = || {
        let float = in_floating_point(&task, false)?;
        progress.step();
        let chances = POLYNOMIALS.par_iter().map(|&polynomial| {
            let chances = chances(&task, &float, polynomial);
            progress.step();
            chances
        });
        Ok::<_, Error>((float.accuracy().unwrap_or(0.0), chances.collect::<Result<_, _>>()?))
    };
    let (integers, in_float) = rayon::join(integers, in_float);
    let (float, polynomials) = in_float?;
    Ok(Outcome { integers: integers?, float, epochs, polynomials })
}

/// The number of epochs at which an inner cross-validation of the training part finds most.
fn choose_epochs(task: &Task<'_>, choices: &[usize]) -> Result<usize, Error> {
    let mut rng = ChaCha20Rng::seed_from_u64(task.seed);
    let folds: Vec<_> = task.train.folds(INNER, &mut rng)?.collect();
    let runs = folds
        .par_iter()
        .map(|Split { train, test }| in_floating_point(&Task { train, test, ..*task }, true))
        .collect::<Result<Vec<Run>, _>>()?;
    let found = |epochs: usize| runs.iter().map(|run| run.epochs[epochs - 1].accuracy).sum::<f64>();
    let better = |best: usize, &next: &usize| if found(next) > found(best) { next } else { best };
    Ok(choices.iter().fold(choices[0], better))
}

fn chances(task: &Task<'_>, exact: &Run, polynomial: Activation) -> Result<Chances, Error> {
    let architecture = task.architecture.with_activation(polynomial);
    let swapped = judge(&architecture, &exact.weights, task.test)?;
    let at = |factor: f64| {
        let recipe = Recipe { rate: task.recipe.rate * factor, ..task.recipe };
        in_floating_point(&Task { architecture: &architecture, recipe, ..*task }, false)
    };
    let (mut same, mut lowered) = (None, None);
    for factor in LOWER {
        let accuracy = at(factor)?.accuracy();
        if factor == 1.0 {
            same = accuracy;
        }
        lowered = accuracy.map(|accuracy| (factor, accuracy));
        if lowered.is_some() {
            break;
        }
    }
    Ok(Chances { same, lowered, swapped })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{Extent, Quiet};
    use crate::tables::accuracy::cases::{DIGITS, IRIS};

    fn setting() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 }
    }

    #[test]
    fn iris_in_three_folds() {
        let trials = Trials::Folds { folds: 3, repeats: 2 };
        let case = Case { trials, ..IRIS.with_epochs(&[60]) };
        let splits = splits(&case, &setting()).unwrap();
        assert_eq!(splits.len(), 6);
        assert_ne!(splits[0], splits[3], "another repetition, other folds");
        let outcomes = run(&case, &splits[..3], 1, &Quiet).unwrap();
        let exact: Vec<_> = outcomes.iter().map(|o| o.integers.unwrap()).collect();
        assert!(exact.iter().sum::<f64>() / 3.0 > 0.88, "{exact:?}");
        for outcome in outcomes {
            assert!((outcome.integers.unwrap() - outcome.float).abs() <= 0.0401);
            assert_eq!((outcome.epochs, outcome.polynomials.len()), (60, 3));
            for chances in outcome.polynomials {
                let at_full_rate = chances.lowered.filter(|&(factor, _)| factor == 1.0);
                assert_eq!(at_full_rate.map(|(_, accuracy)| accuracy), chances.same);
            }
        }
    }

    /// Digits at this rate diverge with the square, and train at a lower one.
    #[test]
    fn a_lower_rate_saves_the_square() {
        let case =
            Case { trials: Trials::Folds { folds: 3, repeats: 1 }, ..DIGITS.with_epochs(&[4]) };
        let splits = splits(&case, &setting()).unwrap();
        let Split { train, test } = &splits[0];
        let architecture = case.architecture();
        let task =
            Task { architecture: &architecture, recipe: case.recipe(), train, test, seed: 1 };
        let exact = in_floating_point(&task, false).unwrap();
        let square = chances(&task, &exact, Activation::Square).unwrap();
        assert!(square.same.is_none());
        let (factor, accuracy) = square.lowered.unwrap();
        assert!(factor < 1.0 && accuracy > 0.8, "{factor} {accuracy}");
    }

    #[test]
    fn epochs_are_chosen_by_the_training_part() {
        let iris = Dataset::iris();
        let architecture = IRIS.architecture();
        let recipe = Recipe { epochs: 40, ..IRIS.recipe() };
        let task = Task { architecture: &architecture, recipe, train: &iris, test: &iris, seed: 1 };
        assert_eq!(choose_epochs(&task, &[1, 40]).unwrap(), 40, "one epoch is too few");
    }
}
