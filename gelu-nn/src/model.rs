//! A model: an architecture, a precision and integers that fit both.

use std::collections::BTreeMap;
use std::sync::Arc;

use gelu_core::fixed::add_by_layer;
use gelu_core::pass::{argmax, bias_constant};
use gelu_core::server::ServedModel;
use gelu_core::text::printable;
use gelu_core::{Network, Parameters, Pass, Precision};
use ndarray::{Array2, Axis};
use rand_core::CryptoRng;
use rayon::prelude::*;

use crate::bundle::{Calibration, Provenance};
use crate::data::Dataset;
use crate::error::Result;
use crate::parameters::FloatParameters;
use crate::schema::Schema;
use crate::sequential::Sequential;

/// A model, ready to be served, trained further or saved.
///
/// Its parameters have the architecture's shapes and lie within the precision's bound; that was
/// checked when it was made, and both parties of the protocol rely on it. They are the server's
/// secret, so printing a model shows no weights.
#[derive(Debug, Clone)]
pub struct Model {
    name: String,
    version: u64,
    metadata: BTreeMap<String, String>,
    architecture: Sequential,
    precision: Precision,
    parameters: Parameters,
    network: Arc<Network>,
    schema: Option<Arc<Schema>>,
    calibration: Option<Calibration>,
    provenance: Option<Provenance>,
}

impl Model {
    /// Version 0 of a model.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the precision is outside its domain, or the
    /// parameters have other shapes or leave its bound (the error names the layer).
    pub fn new(
        name: impl Into<String>,
        architecture: Sequential,
        precision: Precision,
        parameters: Parameters,
    ) -> Result<Self> {
        precision.validate()?;
        let network = Arc::new(architecture.network());
        network.check(&parameters, precision.weights)?;
        let (name, metadata) = (printable(&name.into()), BTreeMap::new());
        Ok(Self {
            name,
            version: 0,
            metadata,
            architecture,
            precision,
            parameters,
            network,
            schema: None,
            calibration: None,
            provenance: None,
        })
    }

    /// A model with random weights: see [`FloatParameters::initialise`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn initialise(
        name: impl Into<String>,
        architecture: Sequential,
        precision: Precision,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let weights = FloatParameters::initialise(&architecture, rng);
        Self::from_float(name, architecture, precision, &weights)
    }

    /// A model with the integers nearest to `weights`.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing is cut off silently.
    pub fn from_float(
        name: impl Into<String>,
        architecture: Sequential,
        precision: Precision,
        weights: &FloatParameters,
    ) -> Result<Self> {
        precision.validate()?;
        let parameters = weights.quantise(&architecture, precision.weights)?;
        Self::new(name, architecture, precision, parameters)
    }

    /// The next version, with other parameters.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn successor(&self, parameters: Parameters) -> Result<Self> {
        self.network.check(&parameters, self.precision.weights)?;
        Ok(Self { version: self.version + 1, parameters, calibration: None, ..self.clone() })
    }

    /// The same model with its first `stages` stages frozen, 0 for none: leases train the others.
    ///
    /// # Errors
    /// [`Error::Architecture`](crate::Error::Architecture) when there are no more than that.
    pub fn freeze(self, stages: usize) -> Result<Self> {
        let architecture = self.architecture.freeze(stages)?;
        let network = Arc::new(architecture.network());
        Ok(Self { architecture, network, ..self })
    }

    /// A new model: the first `stages` stages of this one, frozen, and a head of dense layers on them, of the widths
    /// `hidden` and `classes`. A head of one layer begins at zero, others at random.
    ///
    /// # Errors
    /// As [`Sequential::with_head`] and [`new`](Self::new).
    pub fn with_head(
        &self,
        stages: usize,
        hidden: &[usize],
        classes: usize,
        precision: Precision,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let architecture = self.architecture.with_head(stages, hidden, classes)?;
        let mut weights = FloatParameters::initialise(&architecture, rng);
        weights.layers[..stages].clone_from_slice(&self.weights().layers[..stages]);
        if hidden.is_empty() {
            weights.layers[stages].weights.fill(0.0);
        }
        Self::from_float(&self.name, architecture, precision, &weights)
    }

    /// The same model with other scales, for example trained at one precision and served at another.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn requantised(&self, precision: Precision) -> Result<Self> {
        let (name, architecture) = (self.name.clone(), self.architecture.clone());
        let model = Self::from_float(name, architecture, precision, &self.weights())?;
        Ok(Self {
            version: self.version,
            metadata: self.metadata.clone(),
            schema: self.schema.clone(),
            provenance: self.provenance.clone(),
            ..model
        })
    }

    /// The same model, whose inputs and classes are those of `schema`.
    ///
    /// # Errors
    /// As [`Schema::check_fit`].
    pub fn with_schema(self, schema: Schema) -> Result<Self> {
        schema.check_fit(&self.architecture)?;
        Ok(Self { schema: Some(Arc::new(schema)), ..self })
    }

    /// The same model, measured like that.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) when an accuracy is not between 0 and 1.
    pub fn with_calibration(self, calibration: Calibration) -> Result<Self> {
        Ok(Self { calibration: Some(calibration.checked()?), ..self })
    }

    /// The same model, which comes from there.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) when the SHA-256 is none.
    pub fn with_provenance(self, provenance: Provenance) -> Result<Self> {
        provenance.check()?;
        Ok(Self { provenance: Some(provenance), ..self })
    }

    /// Sets the version, for a model that comes from a store.
    pub fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }

    /// Adds or replaces one line of metadata, such as an accuracy or a data set.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, from 0.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What else is known about it, in words.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What its inputs and classes mean, if that is known.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// How it was measured, if it was.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Where it was imported from, if it was.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// Its architecture.
    pub fn architecture(&self) -> &Sequential {
        &self.architecture
    }

    /// Its scales and bounds.
    pub fn precision(&self) -> &Precision {
        &self.precision
    }

    /// Its integers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its weights as real numbers.
    pub fn weights(&self) -> FloatParameters {
        FloatParameters::dequantise(&self.parameters, self.precision.weights)
    }

    /// Its network as the protocol runs it.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Class probabilities, `[classes, batch]`, in the clear and in exactly the integers of the
    /// encrypted protocol; and how many activations were cut off at their bound.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when `inputs` is not `[features, batch]`.
    pub fn probabilities(&self, inputs: &Array2<f64>) -> Result<(Array2<f64>, u64)> {
        let mut pass = Pass::new(Arc::clone(&self.network), self.precision, inputs)?;
        forward(&mut pass, &self.network, &self.precision, &self.parameters)?;
        Ok((pass.probabilities()?, pass.saturations().total()))
    }

    /// Judges the model by a data set, in fixed point, on all cores.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the data has another number of features or labels
    /// that are no classes of the network.
    pub fn evaluate(&self, dataset: &Dataset) -> Result<Evaluation> {
        let samples: Vec<_> = (0..dataset.len()).collect();
        let parts: Vec<_> = samples
            .par_chunks(EVALUATION_BATCH)
            .map(|samples| {
                let (inputs, labels) = dataset.batch(samples);
                let mut pass = Pass::new(Arc::clone(&self.network), self.precision, &inputs)?;
                forward(&mut pass, &self.network, &self.precision, &self.parameters)?;
                let predictions = predictions(&pass.probabilities()?);
                let saturations = pass.saturations().by_layer();
                let loss = pass.compare(&labels)? * labels.len() as f64;
                Ok((predictions, loss, saturations))
            })
            .collect::<Result<_>>()?;
        let mut evaluation = Evaluation {
            accuracy: 0.0,
            loss: 0.0,
            predictions: Vec::new(),
            saturations: Vec::new(),
        };
        for (predictions, loss, saturations) in parts {
            evaluation.predictions.extend(predictions);
            evaluation.loss += loss / dataset.len() as f64;
            add_by_layer(&mut evaluation.saturations, &saturations);
        }
        evaluation.accuracy = accuracy(&evaluation.predictions, dataset.labels());
        Ok(evaluation)
    }
}

/// What the protocol's server needs of a model.
impl From<&Model> for ServedModel {
    fn from(model: &Model) -> Self {
        Self {
            network: Arc::clone(&model.network),
            precision: model.precision,
            parameters: model.parameters.clone(),
            version: model.version,
        }
    }
}

/// How good a model is on a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Share of samples whose class was found.
    pub accuracy: f64,
    /// Mean loss.
    pub loss: f64,
    /// The predicted class of every sample.
    pub predictions: Vec<usize>,
    /// Inputs of each layer that were cut off at their bound; layers after the last one with any are
    /// left out.
    pub saturations: Vec<u64>,
}

/// Samples that are evaluated at once.
const EVALUATION_BATCH: usize = 64;

/// Drives a pass to its end: Z = W·A + c·B, stage by stage, in the clear.
pub(crate) fn forward(
    pass: &mut Pass,
    network: &Network,
    precision: &Precision,
    parameters: &Parameters,
) -> Result<()> {
    while let Some(stage) = pass.stage() {
        let (linear, layer) = (&network.stages()[stage].linear, &parameters.layers[stage]);
        let constant = bias_constant(linear, precision.activations);
        let inputs = pass.activations(stage).view();
        let sums = linear.forward_integers(&layer.weights, &layer.biases, inputs, constant);
        pass.advance(&sums)?;
    }
    Ok(())
}

/// The most probable class of every sample.
pub(crate) fn predictions(probabilities: &Array2<f64>) -> Vec<usize> {
    probabilities.axis_iter(Axis(1)).map(|sample| argmax(sample.iter().copied())).collect()
}

/// Share of predictions that are right.
pub(crate) fn accuracy(predictions: &[usize], labels: &[usize]) -> f64 {
    let right = predictions.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo;
    use gelu_core::Format;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn iris() -> Model {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        Model::initialise("iris", zoo::iris(), Precision::TRAINING, &mut rng).unwrap()
    }

    #[test]
    fn models_hold_only_what_fits() {
        let model = iris();
        let wrong_shape = zoo::diabetes().network().zeros();
        assert!(model.successor(wrong_shape).is_err());
        let mut too_large = model.parameters().clone();
        too_large.layers[0].weights[3] = Precision::TRAINING.weights.max() + 1;
        let error = model.successor(too_large).unwrap_err().to_string();
        assert!(error.contains("dense1"), "{error}");
        let bad_precision = Precision { mask_bits: 1, ..Precision::TRAINING };
        assert!(model.requantised(bad_precision).is_err());
    }

    #[test]
    fn versions_count_up_and_metadata_stays() {
        let model = iris().with_version(4).with_metadata("accuracy", "0.97");
        let next = model.successor(model.network().zeros()).unwrap();
        assert_eq!((next.version(), next.name()), (5, "iris"));
        assert_eq!(next.metadata()["accuracy"], "0.97");
    }

    #[test]
    fn no_weight_is_printed() {
        let model = iris();
        let weight = model.parameters().layers[0].weights[0].to_string();
        assert!(!format!("{model:?}").contains(&weight));
    }

    #[test]
    fn evaluation_agrees_with_single_predictions() {
        let (model, iris) = (iris(), Dataset::iris());
        let evaluation = model.evaluate(&iris).unwrap();
        for sample in [0, 70, 149] {
            let (inputs, _) = iris.batch(&[sample]);
            let (p, _) = model.probabilities(&inputs).unwrap();
            assert_eq!(predictions(&p), [evaluation.predictions[sample]]);
        }
        assert!(evaluation.loss > 0.0 && evaluation.accuracy <= 1.0);
        let narrow = Precision { activations: Format::new(1, 14), ..Precision::TRAINING };
        let cut = model.requantised(narrow).unwrap().evaluate(&iris).unwrap();
        assert!(cut.saturations[0] > 0 && evaluation.saturations.is_empty());
        assert!(model.probabilities(&Array2::zeros((3, 1))).is_err());
    }
}
