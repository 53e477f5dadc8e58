//! Features made ready to train a head on, and undone in the head.
//!
//! ```text
//! x' = P·(x − mean) / s        so that the mean of ‖x'‖² is 16
//! W·x' + b  =  (W·P/s)·x + (b − (W·P/s)·mean)
//! ```
//!
//! The data party prepares its training rows before anything is encrypted. How features are scaled decides how few
//! steps suffice: at a mean squared norm of 16 a logistic head converges in ten steps, at 1 in fifty. P, rows of
//! orthonormal directions, is optional: fewer numbers to encrypt. The second line is the law of
//! [`fold`](Preparation::fold): a head that was trained on prepared features becomes one that takes raw ones, so
//! nobody has to keep mean, scale and P.

use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::RngExt;
use rand_core::CryptoRng;

use super::{Dataset, Standardiser};
use crate::error::{DataError, Error, Result};
use crate::layers::Shape;
use crate::parameters::{FloatLayer, FloatParameters};
use crate::sequential::{LayerSpec, Sequential};

/// The root of the mean squared norm of a prepared row.
const NORM: f64 = 4.0;

/// Rounds of subspace iteration.
const ROUNDS: usize = 60;

/// Directions that are iterated on top of those wanted: what lies beyond them fades the faster.
const SPARE: usize = 8;

/// How features are prepared: see the [module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    standardiser: Standardiser,
    /// `[components, features]`, orthonormal rows.
    components: Option<Array2<f64>>,
}

impl Preparation {
    /// Fitted to training rows whose features are alike, as those of an embedding are: one scale for all.
    pub fn of_embedding(train: &Dataset) -> Self {
        Self { standardiser: Standardiser::centred(train, NORM), components: None }
    }

    /// Fitted to training rows whose features are measurements: each has its own scale.
    pub fn of_table(train: &Dataset) -> Self {
        let standardiser = Standardiser::fit(train).with_norm(train, NORM);
        Self { standardiser, components: None }
    }

    /// The same onto the `count` principal components of `train`, scaled to the same mean squared norm again.
    ///
    /// By subspace iteration on the covariance (Golub, Van Loan, Matrix Computations, 4th edition, section 8.2.4);
    /// `rng` gives the directions to start from.
    ///
    /// # Errors
    /// [`DataError::Components`] when there are not that many, [`DataError::Mismatch`] for other features.
    pub fn onto_components(
        self,
        train: &Dataset,
        count: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let (rows, features) = (train.len(), train.inputs());
        let refused = |why| {
            let problem = DataError::Components { wanted: count, rows, features, why };
            Error::data("preparation")(problem)
        };
        if count == 0 || count > features {
            return Err(refused("needs 1 to as many as there are features"));
        }
        if count >= rows {
            return Err(refused("needs more rows than components"));
        }
        let whole = Self { components: None, ..self };
        let mut scaled = train.clone();
        whole.apply(&mut scaled)?;
        let covariance = scaled.features().dot(&scaled.features().t()) / rows as f64;
        let directions = (count + SPARE).min(features);
        let basis = strongest(&covariance, directions, ROUNDS, rng);
        // Within the subspace the strongest first: its own covariance decides.
        let within = basis.dot(&covariance).dot(&basis.t());
        let turned = strongest(&within, directions, 10 * ROUNDS, rng);
        let components = turned.select(Axis(0), &(0..count).collect::<Vec<_>>()).dot(&basis);
        let projected = components.dot(scaled.features());
        let square = projected.iter().map(|x| x * x).sum::<f64>() / rows as f64;
        if square <= 0.0 {
            return Err(refused("the rows are all equal"));
        }
        let factor = square.sqrt() / NORM;
        let standardiser = whole.standardiser.times(factor);
        Ok(Self { standardiser, components: Some(components) })
    }

    /// Features before it.
    pub fn inputs(&self) -> usize {
        self.standardiser.features()
    }

    /// Features after it.
    pub fn outputs(&self) -> usize {
        self.components.as_ref().map_or(self.inputs(), Array2::nrows)
    }

    /// Prepares a data set.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] when it has another number of features.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<()> {
        self.standardiser.apply(dataset)?;
        if let Some(components) = &self.components {
            let names = (1..=components.nrows()).map(|n| format!("component {n}")).collect();
            let (labels, classes) = (dataset.labels().to_vec(), dataset.class_names().to_vec());
            let projected =
                Dataset::new(components.dot(dataset.features()), labels, names, classes);
            *dataset = projected.map_err(Error::data("preparation"))?;
        }
        Ok(())
    }

    /// The head that makes of raw features what `head` makes of prepared ones.
    ///
    /// # Errors
    /// [`Error::Data`] when `head` does not begin with a dense layer of [`outputs`](Self::outputs) inputs; as
    /// [`FloatParameters::check_shapes`].
    pub fn fold(
        &self,
        head: &Sequential,
        weights: &FloatParameters,
    ) -> Result<(Sequential, FloatParameters)> {
        weights.check_shapes(head)?;
        let (got, expected) = (head.input().features(), self.outputs());
        let dense = matches!(head.layers().first(), Some(LayerSpec::Dense { .. }));
        if got != expected || !dense {
            let what = "inputs of a dense layer that comes first";
            return Err(Error::data("preparation")(DataError::Mismatch { what, got, expected }));
        }
        let folded = Sequential::new(Shape::Vector(self.inputs()), head.layers().to_vec())?;
        let FloatLayer { weights: first, biases } = &weights.layers[0];
        let shape = (biases.len(), self.outputs());
        let first =
            ArrayView1::from(first).into_shape_with_order(shape).expect("shapes were checked");
        let mut first = match &self.components {
            Some(components) => first.dot(components),
            None => first.to_owned(),
        };
        first /= &ArrayView1::from(self.standardiser.deviation());
        let moved = first.dot(&ArrayView1::from(self.standardiser.mean()));
        let biases = (Array1::from(biases.clone()) - moved).to_vec();
        let mut parameters = weights.clone();
        parameters.layers[0] = FloatLayer { weights: first.iter().copied().collect(), biases };
        Ok((folded, parameters))
    }
}

/// Gram-Schmidt on the rows, each taken twice: once leaves what rounding has left of the others.
fn orthonormalise(rows: &mut Array2<f64>) {
    for n in 0..rows.nrows() {
        for _ in 0..2 {
            for earlier in 0..n {
                let other = rows.row(earlier).to_owned();
                let along = other.dot(&rows.row(n));
                rows.row_mut(n).scaled_add(-along, &other);
            }
            let norm = rows.row(n).dot(&rows.row(n)).sqrt();
            // A direction in which nothing varies stays 0.
            if norm > 1e-150 {
                rows.row_mut(n).mapv_inplace(|x| x / norm);
            }
        }
    }
}

/// `count` orthonormal rows, the strongest directions of a covariance first, after so many `rounds`.
fn strongest(
    covariance: &Array2<f64>,
    count: usize,
    rounds: usize,
    rng: &mut dyn CryptoRng,
) -> Array2<f64> {
    let shape = (count, covariance.nrows());
    let mut basis = Array2::from_shape_fn(shape, |_| rng.random_range(-1.0..1.0));
    for _ in 0..rounds {
        orthonormalise(&mut basis);
        basis = basis.dot(covariance);
    }
    orthonormalise(&mut basis);
    basis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Activation;
    use crate::model::Model;
    use gelu_core::{Format, Precision};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(5)
    }

    fn mean_square(dataset: &Dataset) -> f64 {
        dataset.features().iter().map(|x| x * x).sum::<f64>() / dataset.len() as f64
    }

    #[test]
    fn prepared_rows_are_centred_and_of_norm_four() {
        let abstracts = crate::Split::abstracts().train;
        for preparation in
            [Preparation::of_embedding(&abstracts), Preparation::of_table(&abstracts)]
        {
            let mut prepared = abstracts.clone();
            preparation.apply(&mut prepared).unwrap();
            assert!((mean_square(&prepared) - 16.0).abs() < 1e-9);
            let means = prepared.features().mean_axis(Axis(1)).unwrap();
            assert!(means.iter().all(|mean| mean.abs() < 1e-12));
        }
        // Distances between embeddings stay in proportion, those between measurements do not.
        let ratio = |prepared: &Standardiser| prepared.deviation()[0] / prepared.deviation()[1];
        assert_eq!(ratio(&Preparation::of_embedding(&abstracts).standardiser), 1.0);
        assert_ne!(ratio(&Preparation::of_table(&abstracts).standardiser), 1.0);
    }

    /// Two directions hold nearly everything, and are found whatever else there is.
    #[test]
    fn principal_components_are_the_directions_of_most_variance() {
        let rng = &mut rng();
        let (features, rows) = (12, 300);
        let mut noise = || rng.random_range(-1.0..1.0);
        let strong: Vec<[f64; 2]> = (0..rows).map(|_| [30.0 * noise(), 10.0 * noise()]).collect();
        let x = Array2::from_shape_fn((features, rows), |(feature, row)| {
            let [a, b] = strong[row];
            let along = [0.6 * a, 0.8 * a, b].get(feature).copied().unwrap_or(0.0);
            7.0 + along + 0.1 * noise()
        });
        let names = (0..features).map(|f| f.to_string()).collect();
        let data = Dataset::new(x, vec![0; rows], names, vec!["a".into(), "b".into()]).unwrap();
        let preparation = Preparation::of_embedding(&data).onto_components(&data, 2, rng).unwrap();
        let components = preparation.components.as_ref().unwrap();
        let along = |row: usize, direction: &[f64]| {
            let dot = components.row(row).iter().zip(direction).map(|(a, b)| a * b).sum::<f64>();
            dot.abs()
        };
        assert!(along(0, &[0.6, 0.8]) > 0.9999, "{components}");
        assert!(along(1, &[0.0, 0.0, 1.0]) > 0.999, "{components}");
        let mut prepared = data.clone();
        preparation.apply(&mut prepared).unwrap();
        assert_eq!((prepared.inputs(), preparation.outputs()), (2, 2));
        assert!((mean_square(&prepared) - 16.0).abs() < 1e-9);
        let gram = components.dot(&components.t());
        assert!((gram - Array2::<f64>::eye(2)).iter().all(|x| x.abs() < 1e-12));
    }

    /// Of the variance of the abstracts, 32 of 384 components hold more than half, wherever the search starts.
    #[test]
    fn components_of_embeddings_hold_most_of_the_variance() {
        let abstracts = crate::Split::abstracts().train;
        let whole = Preparation::of_embedding(&abstracts);
        let onto = whole.clone().onto_components(&abstracts, 32, &mut rng()).unwrap();
        let mut scaled = abstracts.clone();
        whole.apply(&mut scaled).unwrap();
        let kept = onto.components.as_ref().unwrap().dot(scaled.features());
        let kept = kept.iter().map(|x| x * x).sum::<f64>() / abstracts.len() as f64 / 16.0;
        // Random directions would hold a twelfth.
        assert!((0.5..0.7).contains(&kept), "{kept}");
        let again =
            whole.clone().onto_components(&abstracts, 32, &mut ChaCha20Rng::seed_from_u64(9));
        let again = again.unwrap().components.unwrap().dot(scaled.features());
        let again = again.iter().map(|x| x * x).sum::<f64>() / abstracts.len() as f64 / 16.0;
        assert!((kept - again).abs() < 1e-4, "{kept}, {again}");
    }

    #[test]
    fn a_folded_head_takes_raw_features() {
        let (data, rng) = (Dataset::iris(), &mut rng());
        let table = Preparation::of_table(&data);
        let projected = table.clone().onto_components(&data, 2, rng).unwrap();
        for preparation in [Preparation::of_embedding(&data), table, projected] {
            let head =
                Sequential::dense(preparation.outputs(), &[5], 3, Activation::Sigmoid).unwrap();
            let weights = FloatParameters::initialise(&head, rng);
            let (folded, raw) = preparation.fold(&head, &weights).unwrap();
            let mut prepared = data.clone();
            preparation.apply(&mut prepared).unwrap();
            let precision = Precision {
                weights: Format::new(10, 36),
                activations: Format::new(4, 36),
                ..Precision::TRAINING
            };
            let scores = |architecture, weights, data: &Dataset| {
                let model = Model::from_float("head", architecture, precision, weights).unwrap();
                model.probabilities(data.features()).unwrap().0
            };
            let (a, b) = (scores(head, &weights, &prepared), scores(folded, &raw, &data));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-8));
        }
    }

    #[test]
    fn what_cannot_be_prepared_is_refused() {
        let iris = Dataset::iris();
        let refused = |data: &Dataset, count| {
            let preparation = Preparation::of_embedding(data);
            preparation.onto_components(data, count, &mut rng()).unwrap_err().to_string()
        };
        for count in [0, 5] {
            assert!(refused(&iris, count).contains("as many as there are features"));
        }
        assert!(refused(&iris.head(3), 3).contains("more rows than components"));
        let same = iris.select(&[0, 0, 0, 0]);
        assert!(refused(&same, 2).contains("all equal"));
        let (head, preparation) = (crate::zoo::diabetes(), Preparation::of_table(&iris));
        let weights = FloatParameters::initialise(&head, &mut rng());
        assert!(preparation.fold(&head, &weights).is_err());
        assert!(preparation.apply(&mut crate::Split::abstracts().test).is_err());
    }
}
