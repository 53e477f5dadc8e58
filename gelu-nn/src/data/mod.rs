//! Data sets: samples with labels, where they come from, and in which order they are seen.
//!
//! | from | by |
//! | --- | --- |
//! | this program | [`Dataset::iris`], [`Dataset::digits`], [`Split::abstracts`] |
//! | a folder of well-known data sets | [`Dataset::load`], [`Split::load`] |
//! | a CSV file | [`csv`], by a [`Schema`] |
//! | IDX files (MNIST) | [`idx`] |
//! | images to be classified: PNG files, folders, IDX files, CIFAR-10 | [`images`] |
//! | images with classes: a folder for each class, CIFAR-10 | [`labelled`] |
//! | safetensors files (features) | [`tensors`] |
//!
//! Everything random takes a generator or a seed, so an experiment can be repeated.

mod abstracts;
pub mod batches;
pub mod cifar;
pub mod csv;
mod digits;
pub mod idx;
pub mod images;
pub mod labelled;
pub mod named;
#[cfg(feature = "parquet")]
mod parquet;
pub mod preparation;
mod shift;
pub mod split;
pub mod standardise;
pub mod tensors;

use std::path::Path;

use gelu_core::Network;
use ndarray::{Array2, Axis, ShapeBuilder};

use crate::error::{DataError, Error, Result};
use crate::schema::Schema;
pub use batches::Batches;
pub use named::{Source, sources};
pub use preparation::Preparation;
pub(crate) use shift::shift_images;
pub use split::{Folds, Split};
pub use standardise::Standardiser;

/// Labelled samples.
///
/// Features are `[features, samples]`, finite, and stored sample by sample, so that gathering a
/// mini-batch reads whole samples. Every label is a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    features: Array2<f64>,
    labels: Vec<usize>,
    feature_names: Vec<String>,
    class_names: Vec<String>,
}

impl Dataset {
    /// Checks that everything fits together.
    ///
    /// # Errors
    /// [`DataError::Empty`] without samples, [`DataError::Mismatch`] when lengths differ or a label
    /// is no class, [`DataError::NotFinite`].
    pub fn new(
        features: Array2<f64>,
        labels: Vec<usize>,
        feature_names: Vec<String>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let same = |what, got, expected| match got == expected {
            true => Ok(()),
            false => Err(DataError::Mismatch { what, got, expected }),
        };
        same("labels", labels.len(), features.ncols())?;
        same("names of features", feature_names.len(), features.nrows())?;
        if features.is_empty() {
            return Err(DataError::Empty);
        }
        if let Some(&label) = labels.iter().find(|&&label| label >= class_names.len()) {
            let expected = class_names.len();
            return Err(DataError::Mismatch {
                what: "a label beyond the classes",
                got: label,
                expected,
            });
        }
        // `fold` reads in the order of memory, which is what makes this check cheap.
        if !features.fold(true, |finite, x| finite && x.is_finite()) {
            let ((feature, sample), x) =
                features.indexed_iter().find(|(_, x)| !x.is_finite()).expect("there is one");
            let (column, value) = (feature_names[feature].clone(), x.to_string());
            return Err(DataError::NotFinite { row: sample + 1, column, value });
        }
        Ok(Self { features: sample_major(features), labels, feature_names, class_names })
    }

    /// Fisher's Iris flowers, which are part of this program: 150 samples, 4 features, 3 classes.
    ///
    /// The values are those of `bezdekIris.data`, UCI's corrected copy, which scikit-learn uses too
    /// (R. A. Fisher 1936; UCI Machine Learning Repository, CC BY 4.0).
    pub fn iris() -> Self {
        named::iris().expect("part of this program and read in its tests").0
    }

    /// Handwritten digits of 8x8 pixels, which are part of this program: 1797 samples, 64 features
    /// from 0 to 1, 10 classes.
    ///
    /// The values are those of UCI's `optdigits.tes`, which scikit-learn bundles as its digits
    /// (E. Alpaydin, C. Kaynak 1998; UCI Machine Learning Repository, CC BY 4.0).
    pub fn digits() -> Self {
        digits::dataset()
    }

    /// Reads a data set of [`sources`] from the folder `dir`, ready for use: pixels between 0 and
    /// 1, rows with missing values dropped, but not standardised.
    ///
    /// # Errors
    /// [`Error::Data`] for an unknown name or a damaged file, [`Error::Io`].
    pub fn load(name: &str, dir: &Path) -> Result<Self> {
        Ok(Self::load_with_schema(name, dir)?.0)
    }

    /// As [`load`](Self::load), with the schema of the features as they are, not scaled: a table's columns and
    /// classes by their names where they are known, an image, or numbers.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_schema(name: &str, dir: &Path) -> Result<(Self, Schema)> {
        named::load(name, dir)
    }

    /// Of values that fit together; they may be no numbers where a schema has yet to fill them.
    pub(crate) fn raw(
        features: Array2<f64>,
        labels: Vec<usize>,
        feature_names: Vec<String>,
        class_names: Vec<String>,
    ) -> Self {
        Self { features: sample_major(features), labels, feature_names, class_names }
    }

    /// All features, `[features, samples]`.
    pub fn features(&self) -> &Array2<f64> {
        &self.features
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Names of the features.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// Names of the classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of samples; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Features of one sample.
    pub fn inputs(&self) -> usize {
        self.features.nrows()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Samples of each class.
    pub fn histogram(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes()];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }

    /// A mini-batch: the features `[features, batch]` and labels of some samples.
    ///
    /// # Panics
    /// When an index is out of range.
    pub fn batch(&self, samples: &[usize]) -> (Array2<f64>, Vec<usize>) {
        let labels = samples.iter().map(|&s| self.labels[s]).collect();
        (self.features.select(Axis(1), samples), labels)
    }

    /// The data set of some samples, in that order.
    ///
    /// # Panics
    /// When an index is out of range or there is none.
    pub fn select(&self, samples: &[usize]) -> Self {
        assert!(!samples.is_empty(), "a data set has at least one sample");
        let (features, labels) = self.batch(samples);
        Self { features: sample_major(features), labels, ..self.header() }
    }

    /// The first `samples` samples, or all.
    pub fn head(&self, samples: usize) -> Self {
        let samples: Vec<_> = (0..samples.clamp(1, self.len())).collect();
        self.select(&samples)
    }

    /// The samples of the classes `names`, which become all the classes there are, in that order.
    ///
    /// # Errors
    /// [`DataError::NoClass`], [`DataError::Empty`] when no sample is left.
    pub fn only(&self, names: &[String]) -> Result<Self, DataError> {
        let class = |name: &String| {
            let found = self.class_names.iter().position(|class| class == name);
            found.ok_or_else(|| DataError::NoClass {
                wanted: name.clone(),
                classes: self.class_names.join(", "),
            })
        };
        let classes = names.iter().map(class).collect::<Result<Vec<_>, _>>()?;
        let place = |label: &usize| classes.iter().position(|class| class == label);
        let kept: Vec<_> = (0..self.len()).filter(|&s| place(&self.labels[s]).is_some()).collect();
        if kept.is_empty() {
            return Err(DataError::Empty);
        }
        let mut chosen = self.select(&kept);
        chosen.labels = chosen.labels.iter().filter_map(place).collect();
        chosen.class_names = names.to_vec();
        Ok(chosen)
    }

    /// The same data set with each feature of each sample replaced.
    pub(crate) fn map_features(&mut self, f: impl Fn(usize, f64) -> f64) {
        for mut sample in self.features.axis_iter_mut(Axis(1)) {
            for (feature, x) in sample.iter_mut().enumerate() {
                *x = f(feature, *x);
            }
        }
    }

    /// Names without samples.
    fn header(&self) -> Self {
        Self {
            features: Array2::zeros((0, 0)),
            labels: Vec::new(),
            feature_names: self.feature_names.clone(),
            class_names: self.class_names.clone(),
        }
    }
}

/// Refuses data that the network cannot be trained with or judged by.
pub(crate) fn check_fit(data: &Dataset, network: &Network) -> Result<()> {
    let same = |what, got, expected, fits: bool| match fits {
        true => Ok(()),
        false => {
            let problem = DataError::Mismatch { what, got, expected };
            Err(Error::data("for this network")(problem))
        }
    };
    let (inputs, classes) = (network.inputs(), network.classes());
    same("features", data.inputs(), inputs, data.inputs() == inputs)?;
    same("classes", data.classes(), classes, data.classes() <= classes)
}

/// The same values with each sample contiguous in memory.
fn sample_major(features: Array2<f64>) -> Array2<f64> {
    if features.t().is_standard_layout() {
        return features;
    }
    let mut result = Array2::zeros(features.dim().f());
    result.assign(&features);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    #[test]
    fn iris_is_the_corrected_copy() {
        let iris = Dataset::iris();
        assert_eq!((iris.len(), iris.inputs(), iris.classes()), (150, 4, 3));
        assert_eq!(iris.histogram(), [50, 50, 50]);
        assert_eq!(iris.class_names(), ["setosa", "versicolor", "virginica"]);
        assert_eq!(iris.feature_names()[3], "petal width (cm)");
        // Rows 35 and 38 are where the uncorrected copy differs from Fisher's paper.
        assert_eq!(iris.batch(&[34, 37]).0, array![[4.9, 4.9], [3.1, 3.6], [1.5, 1.4], [0.2, 0.1]]);
        let sums: Vec<_> = iris.features().sum_axis(Axis(1)).mapv(|s| (s * 10.0).round()).to_vec();
        assert_eq!(sums, [8765.0, 4586.0, 5637.0, 1799.0], "scikit-learn's sums");
    }

    #[test]
    fn data_that_does_not_fit_together_is_refused() {
        let x = array![[1.0, 2.0], [3.0, 4.0]];
        assert!(Dataset::new(x.clone(), vec![0, 1], names(2), names(2)).is_ok());
        assert!(Dataset::new(x.clone(), vec![0], names(2), names(2)).is_err());
        assert!(Dataset::new(x.clone(), vec![0, 2], names(2), names(2)).is_err());
        assert!(Dataset::new(x.clone(), vec![0, 1], names(1), names(2)).is_err());
        assert!(Dataset::new(x * f64::NAN, vec![0, 1], names(2), names(2)).is_err());
        assert!(Dataset::new(Array2::zeros((2, 0)), vec![], names(2), names(2)).is_err());
    }

    #[test]
    fn chosen_classes_are_all_there_are() {
        let iris = Dataset::iris();
        let chosen = iris.only(&["virginica".into(), "setosa".into()]).unwrap();
        assert_eq!((chosen.len(), chosen.histogram()), (100, vec![50, 50]));
        assert_eq!(chosen.class_names(), ["virginica", "setosa"]);
        assert_eq!(chosen.labels()[..2], [1, 1], "setosa comes first in the file");
        let error = iris.only(&["rose".into()]).unwrap_err().to_string();
        assert!(error.contains("rose") && error.contains("versicolor"), "{error}");
    }

    #[test]
    fn batches_and_selections_agree() {
        let iris = Dataset::iris();
        let chosen = iris.select(&[149, 0, 75]);
        assert_eq!(chosen.batch(&[0, 1, 2]), iris.batch(&[149, 0, 75]));
        assert_eq!(chosen.labels(), [2, 0, 1]);
        assert_eq!(iris.head(1000).len(), 150);
    }
}
