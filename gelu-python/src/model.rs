//! A model: made from weights, loaded, saved, audited, and evaluated in the clear.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use gelu_cli::commands::{audit, plan};
use gelu_core::plan::Purpose;
use gelu_core::{Format, Precision};
use gelu_nn::{FloatLayer, FloatParameters, FloatTrainer, Recipe, Sequential};
use ndarray::{Array1, Array2, ArrayD, ArrayView2, ArrayViewD, IxDyn};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::cryptosystem;
use crate::errors::Raise;
use crate::schema::Schema;

/// A model with integer weights, and the real ones that it was made from where they are known.
#[pyclass(frozen, module = "gelu._native")]
pub(crate) struct Model {
    inner: gelu_nn::Model,
    exact: Option<FloatParameters>,
}

/// Weights and biases of a layer, as they come.
type PyWeights<'py> = (PyReadonlyArrayDyn<'py, f64>, PyReadonlyArrayDyn<'py, f64>);
/// Weights and biases of a layer.
type PyPair<'py> = (Bound<'py, PyArrayDyn<f64>>, Bound<'py, PyArray1<f64>>);
/// Name, weights and biases of a layer.
type PyLayer<'py> = (String, Bound<'py, PyArrayDyn<f64>>, Bound<'py, PyArray1<f64>>);

#[pymethods]
impl Model {
    /// Of an architecture (JSON) and weights, layer by layer in its order: a matrix or kernel of exactly the layer's
    /// shape, and biases. `bits` are the precision for queries, (weights' fraction, activations' integer part,
    /// activations' fraction); without it, the one for training.
    #[staticmethod]
    fn from_weights(
        py: Python<'_>,
        name: &str,
        architecture: &str,
        layers: Vec<PyWeights<'_>>,
        bits: Option<(u32, u32, u32)>,
    ) -> PyResult<Self> {
        let architecture = Sequential::from_json(architecture).raise(py)?;
        let exact = parameters(&architecture, &layers).raise(py)?;
        py.detach(|| {
            let precision = precision(bits, exact.largest());
            let inner = gelu_nn::Model::from_float(name, architecture, precision, &exact)?;
            Ok::<_, anyhow::Error>(Self { inner, exact: Some(exact) })
        })
        .raise(py)
    }

    /// Of an architecture (JSON) and random weights, to be trained. The weights are no secret: `seed` draws them.
    #[staticmethod]
    fn fresh(py: Python<'_>, name: &str, architecture: &str, seed: u64) -> PyResult<Self> {
        let architecture = Sequential::from_json(architecture).raise(py)?;
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        let inner = gelu_nn::Model::initialise(name, architecture, Precision::TRAINING, rng);
        Ok(Self { inner: inner.raise(py)?, exact: None })
    }

    /// From a file.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let inner = py.detach(|| gelu_nn::Model::load(&path)).raise(py)?;
        Ok(Self { inner, exact: None })
    }

    /// To a file, all or nothing.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.inner.save(&path)).raise(py)
    }

    /// Of the content of a file, and the weights that [`exact`](Self::exact) gave.
    #[staticmethod]
    fn from_bytes(
        py: Python<'_>,
        content: &[u8],
        exact: Option<Vec<PyWeights<'_>>>,
    ) -> PyResult<Self> {
        let inner = gelu_nn::Model::from_bytes(content).raise(py)?;
        let exact = exact.map(|layers| parameters(inner.architecture(), &layers)).transpose();
        Ok(Self { exact: exact.raise(py)?, inner })
    }

    /// The content of a file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.to_bytes().raise(py)?))
    }

    /// The real weights that it was made from, where they are known.
    fn exact<'py>(&self, py: Python<'py>) -> PyResult<Option<Vec<PyPair<'py>>>> {
        let Some(exact) = self.exact.clone() else { return Ok(None) };
        let layers = self.layers(py, exact)?;
        Ok(Some(layers.into_iter().map(|(_, weights, biases)| (weights, biases)).collect()))
    }

    /// The same, whose inputs and classes mean what `schema` says.
    fn with_schema(&self, py: Python<'_>, schema: &Schema) -> PyResult<Self> {
        let inner = self.inner.clone().with_schema(schema.0.clone()).raise(py)?;
        Ok(Self { inner, exact: self.exact.clone() })
    }

    /// What its inputs and classes mean, if that is known.
    #[getter]
    fn schema(&self) -> Option<Schema> {
        self.inner.schema().map(|schema| Schema(schema.as_ref().clone()))
    }

    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.inner.version()
    }

    #[getter]
    fn features(&self) -> usize {
        self.inner.network().inputs()
    }

    #[getter]
    fn classes(&self) -> usize {
        self.inner.network().classes()
    }

    /// As JSON.
    #[getter]
    fn architecture(&self) -> String {
        self.inner.architecture().to_json()
    }

    fn __str__(&self) -> String {
        self.inner.architecture().to_string()
    }

    /// As real numbers, layer by layer.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Vec<PyLayer<'py>>> {
        self.layers(py, self.inner.weights())
    }

    /// Probabilities `[rows, classes]` of `inputs`, `[rows, features]`, in the clear; and how many values were cut
    /// off: in the integers of the protocol, or in floating point by the weights that it was made from.
    fn probabilities<'py>(
        &self,
        py: Python<'py>,
        inputs: PyReadonlyArray2<'py, f64>,
        fixed: bool,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, u64)> {
        let columns = columns(inputs.as_array());
        let computed = py.detach(|| -> Result<_> {
            if fixed {
                return Ok(self.inner.probabilities(&columns)?);
            }
            let weights = self.exact.clone().unwrap_or_else(|| self.inner.weights());
            let (architecture, recipe) = (self.inner.architecture(), Recipe::default());
            let network = FloatTrainer::<f64>::starting_from(architecture, recipe, &weights)?;
            Ok((network.probabilities(&columns)?, 0))
        });
        let (probabilities, cut_off) = computed.raise(py)?;
        Ok((rows(probabilities).into_pyarray(py), cut_off))
    }

    /// What each party could learn, as JSON and as text.
    fn audit(
        &self,
        py: Python<'_>,
        backend: &str,
        key_bits: Option<u32>,
        batch: usize,
        steps: u32,
    ) -> PyResult<(String, String)> {
        py.detach(|| -> Result<_> {
            let precisions = [self.inner.precision(), &Precision::TRAINING];
            let cryptosystem = cryptosystem(backend, key_bits)?;
            let (name, architecture) = (self.inner.name(), self.inner.architecture());
            let audit =
                audit::Audit::of(name, architecture, precisions, cryptosystem, batch, steps)?;
            Ok((serde_json::to_string(&audit)?, audit.text()))
        })
        .raise(py)
    }

    /// What a query of `batch` rows, or a mini-batch of a training in leases of `steps`, costs: as JSON and as text.
    fn plan(
        &self,
        py: Python<'_>,
        backend: &str,
        key_bits: Option<u32>,
        batch: usize,
        steps: Option<u32>,
    ) -> PyResult<(String, String)> {
        py.detach(|| -> Result<_> {
            let (precision, purpose) = match steps {
                None => (self.inner.precision(), Purpose::Inference),
                Some(steps) => (&Precision::TRAINING, Purpose::Training { steps }),
            };
            let cryptosystem = cryptosystem(backend, key_bits)?;
            let (name, architecture) = (self.inner.name(), self.inner.architecture());
            let plan =
                plan::Shown::of(name, architecture, precision, cryptosystem, batch, purpose)?;
            Ok((serde_json::to_string(&plan)?, plan.text()))
        })
        .raise(py)
    }
}

impl Model {
    /// Weights in the shapes of the architecture, layer by layer.
    fn layers<'py>(
        &self,
        py: Python<'py>,
        weights: FloatParameters,
    ) -> PyResult<Vec<PyLayer<'py>>> {
        let layer = |(block, layer): (&gelu_nn::Block, FloatLayer)| {
            let shape = IxDyn(&block.affine().weight_shape());
            let weights = ArrayD::from_shape_vec(shape, layer.weights).raise(py)?;
            let biases = Array1::from_vec(layer.biases);
            Ok((block.name().into(), weights.into_pyarray(py), biases.into_pyarray(py)))
        };
        self.inner.architecture().blocks().iter().zip(weights.layers).map(layer).collect()
    }
}

/// The weights of each block, refused by the layer's name where they have another shape.
fn parameters(architecture: &Sequential, layers: &[PyWeights<'_>]) -> Result<FloatParameters> {
    let blocks = architecture.blocks();
    if blocks.len() != layers.len() {
        let (expected, got) = (blocks.len(), layers.len());
        return Err(anyhow!(
            "the architecture has {expected} layers with weights, but weights of {got} were given"
        ));
    }
    let layer = |(block, (weights, biases)): (&gelu_nn::Block, &PyWeights<'_>)| {
        let (affine, weights, biases) = (block.affine(), weights.as_array(), biases.as_array());
        for (what, got, expected) in [
            ("weights", weights.shape(), &affine.weight_shape()[..]),
            ("biases", biases.shape(), &[affine.biases()][..]),
        ] {
            if got != expected {
                let name = block.name();
                return Err(anyhow!("the {what} of {name} have shape {got:?}, not {expected:?}"));
            }
        }
        // In the order of their indices, whichever way they lie in memory.
        let values = |array: ArrayViewD<'_, f64>| array.iter().copied().collect();
        Ok(FloatLayer { weights: values(weights), biases: values(biases) })
    };
    let layers = blocks.iter().zip(layers).map(layer).collect::<Result<_>>()?;
    Ok(FloatParameters { layers })
}

fn precision(bits: Option<(u32, u32, u32)>, largest: f64) -> Precision {
    let Some((weights, integer, fraction)) = bits else { return Precision::TRAINING };
    let queries = Precision::INFERENCE;
    let weights = Format::new(queries.weights.integer, weights);
    let activations = Format::new(integer, fraction);
    Precision { weights, activations, ..queries }.fitted(largest)
}

/// `[rows, features]`, Python's order, as `[features, rows]`, ours.
pub(crate) fn columns(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    rows.t().as_standard_layout().into_owned()
}

/// `[classes, rows]` as `[rows, classes]`.
pub(crate) fn rows(columns: Array2<f64>) -> Array2<f64> {
    columns.reversed_axes().as_standard_layout().into_owned()
}
