//! The networks of exhibits: trained, where there is a model or the data to train one; otherwise
//! with weights drawn from the seed, which take as long to evaluate and know nothing.

use anyhow::{Context, Result};
use gelu_core::Precision;
use gelu_nn::{Dataset, Model, Split, zoo};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use crate::setting::{Progress, Setting};
use crate::{Error, files, learning};

/// The network of that name, trained: from `setting.models`, or trained now on `setting.data` and
/// kept there. Rounded for inference.
///
/// # Errors
/// [`Error::Missing`] where there is neither.
pub(crate) fn trained(name: &str, setting: &Setting, progress: &dyn Progress) -> Result<Model> {
    let entry = zoo::by_name(name).with_context(|| format!("no network is called {name}"))?;
    if let Some(model) = kept(entry.name, setting)? {
        return Ok(model);
    }
    let data = setting.data.as_deref().ok_or_else(|| Error::Missing {
        what: format!("a trained {}", entry.name),
        advice: format!(
            "name the folder of {0}.safetensors with --models, or that of {1} with --data to train it",
            entry.name, entry.dataset
        ),
    })?;
    let (split, _) = Split::load(entry.dataset, data, setting.seed)?;
    let architecture = (entry.architecture)();
    progress.begin(&format!("training {}", entry.name), entry.recipe.epochs);
    let step = || progress.step();
    let weights = learning::trained(&architecture, entry.recipe, &split.train, setting.seed, step)?;
    let model = learning::for_queries(entry.name, architecture, &weights)?;
    keep(&model, entry.dataset, setting)?;
    Ok(model)
}

/// The network of that name from the folder of models, if it is there. Rounded for inference, whatever
/// the file's precision.
///
/// # Errors
/// For a file that cannot be read.
pub(crate) fn kept(name: &str, setting: &Setting) -> Result<Option<Model>, Error> {
    let Some(model) = kept_as_it_is(name, setting)? else { return Ok(None) };
    let precision = Precision::INFERENCE.fitted(model.weights().largest());
    Ok(Some(model.requantised(precision)?))
}

/// The same in the file's own precision.
///
/// # Errors
/// For a file that cannot be read.
pub(crate) fn kept_as_it_is(name: &str, setting: &Setting) -> Result<Option<Model>, Error> {
    let file = setting.models.as_ref().map(|folder| folder.join(file_name(name)));
    Ok(file.filter(|file| file.exists()).map(|file| Model::load(&file)).transpose()?)
}

/// Writes a model into the folder of models, which is made if need be, if one is named.
///
/// # Errors
/// For a folder that cannot be written to.
pub(crate) fn keep(model: &Model, dataset: &str, setting: &Setting) -> Result<(), Error> {
    let Some(folder) = &setting.models else { return Ok(()) };
    files::make(folder)?;
    let model = model.clone().with_metadata("seed", setting.seed.to_string());
    let model = model.with_metadata("dataset", dataset);
    Ok(model.save(&folder.join(file_name(model.name())))?)
}

fn file_name(network: &str) -> String {
    format!("{network}.safetensors")
}

/// The network of that name with random weights.
pub(crate) fn drawn(name: &str, precision: Precision, setting: &Setting) -> Result<Model> {
    let entry = zoo::by_name(name).with_context(|| format!("no network is called {name}"))?;
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    Ok(Model::initialise(entry.name, (entry.architecture)(), precision, rng)?)
}

/// The trained network and `true`, or where it is missing the drawn one and `false`.
pub(crate) fn trained_or_drawn(
    name: &str,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<(Model, bool)> {
    match trained(name, setting, progress) {
        Ok(model) => Ok((model, true)),
        Err(error) if matches!(error.downcast_ref(), Some(Error::Missing { .. })) => {
            Ok((drawn(name, Precision::INFERENCE, setting)?, false))
        }
        Err(error) => Err(error),
    }
}

/// The test images of MNIST, where there is a folder of data.
pub(crate) fn test_images(setting: &Setting) -> Result<Option<Dataset>> {
    let Some(data) = &setting.data else { return Ok(None) };
    Ok(Some(Dataset::load("mnist-test", data)?))
}

/// `count` queries of `batch` samples each: images where there are some, otherwise 8-bit pixels drawn
/// from the seed, most of them dark.
pub(crate) fn queries(
    images: Option<&Dataset>,
    inputs: usize,
    [count, batch]: [usize; 2],
    seed: u64,
) -> Vec<Array2<f64>> {
    if let Some(images) = images.filter(|images| images.inputs() == inputs) {
        let of = |n: usize| (0..batch).map(|i| (n * batch + i) % images.len()).collect::<Vec<_>>();
        return (0..count).map(|n| images.batch(&of(n)).0).collect();
    }
    let mut rng = ChaCha20Rng::seed_from_u64(seed ^ 0x005a_3b1e);
    let mut pixel = |_| f64::from(rng.random_range(-255i32..=255).max(0)) / 255.0;
    (0..count).map(|_| Array2::from_shape_fn((inputs, batch), &mut pixel)).collect()
}

/// Some model, for tests of what does not care which.
#[cfg(test)]
pub(crate) fn tests_model() -> Model {
    let architecture = zoo::iris();
    Model::initialise(
        "iris",
        architecture,
        Precision::INFERENCE,
        &mut ChaCha20Rng::seed_from_u64(1),
    )
    .expect("small weights")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{Extent, Quiet};

    fn setting() -> Setting {
        Setting { extent: Extent::Quick, data: None, models: None, seed: 3, key_bits: 2048 }
    }

    /// Iris is part of the program: it can be trained without a folder of data, if one is named.
    #[test]
    fn what_was_trained_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting {
            data: Some(folder.path().join("no data")),
            models: Some(folder.path().join("models")),
            ..setting()
        };
        let model = trained("iris", &setting, &Quiet).unwrap();
        let kept = trained("iris", &Setting { data: None, ..setting.clone() }, &Quiet).unwrap();
        assert_eq!(kept.parameters(), model.parameters());
        assert!(kept.evaluate(&Dataset::iris()).is_ok());
        let (_, is_trained) =
            trained_or_drawn("conv1", &Setting { data: None, ..setting }, &Quiet).unwrap();
        assert!(!is_trained);
        let refused = trained("conv1", &self::setting(), &Quiet).unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(Error::Missing { .. })), "{refused}");
    }

    #[test]
    fn queries_have_their_shape() {
        let drawn = queries(None, 5, [3, 2], 1);
        assert!(drawn.len() == 3 && drawn.iter().all(|q| q.dim() == (5, 2)));
        assert_eq!(drawn, queries(None, 5, [3, 2], 1));
        let iris = Dataset::iris();
        let real = queries(Some(&iris), 4, [2, 100], 1);
        assert_eq!(real[1].column(0), iris.batch(&[100]).0.column(0));
        assert_eq!(real[1].column(50), iris.batch(&[0]).0.column(0), "from the start again");
    }
}
