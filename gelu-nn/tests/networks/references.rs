//! The paper's data sets, read from a folder, and the accuracies of other people's programs.
//!
//! The folder is the environment's `GELU_DATA`, or `../shared/data` beside the workspace; without
//! it these tests say SKIP and pass. The references are means and standard deviations of the same
//! networks trained with numpy (one hidden layer, sigmoid, plain SGD, 80/20 splits).

use std::path::{Path, PathBuf};

use gelu_core::Precision;
use gelu_nn::{Dataset, FixedTrainer, FloatTrainer, Model, Split, data, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("GELU_DATA").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("SKIP: no data sets in {}; set GELU_DATA to their folder", folder.display());
        return None;
    }
    Some(folder)
}

/// Trains the zoo's network on some splits; returns the mean accuracy in floating point and, with
/// the same weights, in the integers of training.
fn train(name: &str, folder: &Path, splits: u64) -> (f64, f64) {
    let entry = zoo::by_name(name).expect("a network of the zoo");
    let architecture = (entry.architecture)();
    let (mut in_float, mut in_fixed) = (0.0, 0.0);
    for seed in 0..splits {
        let (split, _) = Split::load(entry.dataset, folder, seed).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut trainer = FloatTrainer::<f32>::new(&architecture, entry.recipe, &mut rng).unwrap();
        trainer.train(&split.train, seed, |_| ()).unwrap();
        in_float += trainer.accuracy(&split.test).unwrap() / splits as f64;
        let (weights, _) = trainer.parameters().saturate(Precision::TRAINING.weights);
        let model = Model::new(name, architecture.clone(), Precision::TRAINING, weights).unwrap();
        in_fixed += model.evaluate(&split.test).unwrap().accuracy / splits as f64;
    }
    println!("{name}: {in_float:.4} in floating point, {in_fixed:.4} in fixed point");
    (in_float, in_fixed)
}

/// Both accuracies, averaged over the first splits, lie within one standard deviation of the
/// reference. (Single splits scatter as much as the reference's own: over 40 of ours kr-vs-kp is at
/// 0.983 ± 0.006.)
fn meets_reference(name: &str, splits: u64, mean: f64, deviation: f64) {
    let Some(folder) = folder() else { return };
    let (in_float, in_fixed) = train(name, &folder, splits);
    for accuracy in [in_float, in_fixed] {
        assert!((accuracy - mean).abs() <= deviation, "{name}: {accuracy} or {mean}?");
    }
}

#[test]
fn iris_reference() {
    meets_reference("iris", 5, 0.970, 0.026);
}

#[test]
fn diabetes_reference() {
    meets_reference("diabetes", 5, 0.768, 0.028);
}

#[test]
fn kr_vs_kp_reference() {
    meets_reference("kr-vs-kp", 2, 0.984, 0.004);
}

/// What the encrypted protocol would end in, bit for bit: Iris trained in integers.
#[test]
fn iris_trained_in_fixed_point() {
    let Some(folder) = folder() else { return };
    let entry = zoo::by_name("iris").unwrap();
    let (splits, mut accuracy) = (3, 0.0);
    for seed in 0..splits {
        let (split, _) = Split::load("iris", &folder, seed).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let architecture = (entry.architecture)();
        let start = Model::initialise("iris", architecture, Precision::TRAINING, &mut rng).unwrap();
        let mut trainer = FixedTrainer::new(&start);
        trainer.train(&split.train, &entry.recipe, seed, |_| ()).unwrap();
        let trained = start.successor(trainer.parameters().clone()).unwrap();
        accuracy += trained.evaluate(&split.test).unwrap().accuracy / splits as f64;
    }
    println!("iris: {accuracy:.4} trained in fixed point");
    assert!((accuracy - 0.970).abs() <= 0.026, "{accuracy}");
}

#[test]
fn every_data_set_has_its_published_size() {
    let Some(folder) = folder() else { return };
    let expected: [(&str, &[usize]); 9] = [
        ("iris", &[50, 50, 50]),
        ("diabetes", &[500, 268]),
        ("kr-vs-kp", &[1527, 1669]),
        ("mnist-test", &[980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("wdbc", &[357, 212]),
        ("heart-disease", &[160, 137]),
        ("optdigits", &[376, 389, 380, 389, 387, 376, 377, 387, 380, 382]),
        ("optdigits-test", &[178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
        ("spambase", &[2788, 1813]),
    ];
    for (name, histogram) in expected {
        let dataset = Dataset::load(name, &folder).unwrap();
        let source = data::sources().iter().find(|source| source.name == name).unwrap();
        assert_eq!(dataset.histogram(), histogram, "{name}");
        assert_eq!(
            (dataset.inputs(), dataset.classes()),
            (source.inputs, source.classes),
            "{name}"
        );
        assert!(dataset.features().iter().all(|x| x.is_finite()), "{name}");
    }
    // Those that are part of the program are the same as their files.
    for (name, built_in) in [("iris", Dataset::iris()), ("optdigits-test", Dataset::digits())] {
        let file = Dataset::load(name, &folder).unwrap();
        assert_eq!(file.features(), built_in.features(), "{name}");
        assert_eq!(file.labels(), built_in.labels(), "{name}");
    }
}
