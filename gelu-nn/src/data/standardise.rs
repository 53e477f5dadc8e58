//! Standardisation: features of mean 0 and standard deviation 1.

use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::error::{DataError, Error, Result};

/// x ↦ (x − mean) / deviation, feature by feature.
///
/// Fitted on the training part and applied to both parts: the test part must not be looked at. The
/// client keeps it with the model, since new samples need the same scaling. A constant feature
/// becomes 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardiser {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Standardiser {
    /// Mean and standard deviation (of the population) of every feature.
    pub fn fit(dataset: &Dataset) -> Self {
        let n = dataset.len() as f64;
        let (mut mean, mut deviation) = (Vec::new(), Vec::new());
        for feature in dataset.features().outer_iter() {
            let average = feature.sum() / n;
            let variance = feature.iter().map(|x| (x - average) * (x - average)).sum::<f64>() / n;
            // What is left of a constant by rounding is not a deviation.
            let is_constant = variance.sqrt() <= 1e-12 * average.abs();
            mean.push(average);
            deviation.push(if is_constant { 1.0 } else { variance.sqrt() });
        }
        Self { mean, deviation }
    }

    /// Subtracts the mean of every feature and divides all of them by one number, so that the mean squared norm of
    /// a sample is `norm`²: for embeddings, whose features are alike.
    ///
    /// Samples that are all equal become 0.
    pub fn centred(dataset: &Dataset, norm: f64) -> Self {
        let Self { mean, .. } = Self::fit(dataset);
        let deviation = vec![1.0; mean.len()];
        Self { mean, deviation }.with_norm(dataset, norm)
    }

    /// The same with one more factor for all features, so that the mean squared norm of `dataset` is `norm`².
    #[must_use]
    pub fn with_norm(self, dataset: &Dataset, norm: f64) -> Self {
        let features = dataset.features().outer_iter().zip(self.mean.iter().zip(&self.deviation));
        let square =
            |(feature, (mean, deviation)): (ndarray::ArrayView1<'_, f64>, (&f64, &f64))| {
                feature.iter().map(|x| ((x - mean) / deviation).powi(2)).sum::<f64>()
            };
        let now = (features.map(square).sum::<f64>() / dataset.len() as f64).sqrt();
        self.times(if now > 0.0 { now / norm } else { 1.0 })
    }

    /// The same with every feature divided by `factor` more.
    pub(super) fn times(self, factor: f64) -> Self {
        let deviation = self.deviation.iter().map(|deviation| deviation * factor).collect();
        Self { mean: self.mean, deviation }
    }

    /// What is subtracted from each feature.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What each feature is divided by.
    pub fn deviation(&self) -> &[f64] {
        &self.deviation
    }

    /// Changes nothing.
    pub fn identity(features: usize) -> Self {
        Self { mean: vec![0.0; features], deviation: vec![1.0; features] }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.mean.len().min(self.deviation.len())
    }

    /// Scales a data set.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] when it has another number of features.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<()> {
        if dataset.inputs() != self.features() {
            let (got, expected) = (dataset.inputs(), self.features());
            let problem = DataError::Mismatch { what: "features", got, expected };
            return Err(Error::data("standardisation")(problem));
        }
        dataset.map_features(|feature, x| (x - self.mean[feature]) / self.deviation[feature]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn mean_zero_and_deviation_one() {
        let mut iris = Dataset::iris();
        Standardiser::fit(&iris).apply(&mut iris).unwrap();
        for feature in iris.features().outer_iter() {
            let squares = feature.mapv(|x| x * x).mean().unwrap();
            assert!(feature.mean().unwrap().abs() < 1e-12 && (squares - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn constants_become_zero_and_other_shapes_are_refused() {
        let names = |n: &str| vec![n.to_owned()];
        let x = array![[0.1, 0.1, 0.1]];
        let mut constant = Dataset::new(x, vec![0, 0, 0], names("x"), names("k")).unwrap();
        let standardiser = Standardiser::fit(&constant);
        standardiser.apply(&mut constant).unwrap();
        assert!(constant.features().iter().all(|x| x.abs() < 1e-12));
        assert!(standardiser.apply(&mut Dataset::iris()).is_err());
        let json = serde_json::to_string(&standardiser).unwrap();
        assert_eq!(serde_json::from_str::<Standardiser>(&json).unwrap(), standardiser);
    }
}
