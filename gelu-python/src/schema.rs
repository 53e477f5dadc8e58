//! What inputs and classes of a model mean: `gelu_nn::Schema`, for cells that are text already.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use gelu_nn::error::DataError;
use gelu_nn::{Error, schema};
use ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2};
use pyo3::prelude::*;

use crate::errors::Raise;

/// A checked schema.
#[pyclass(frozen, module = "gelu._native")]
pub(crate) struct Schema(pub(crate) schema::Schema);

#[pymethods]
impl Schema {
    /// Of JSON, as `gelu schema` writes it.
    #[staticmethod]
    fn from_json(py: Python<'_>, json: &str) -> PyResult<Self> {
        Ok(Self(schema::Schema::from_json(json).raise(py)?))
    }

    /// The canonical form: equal schemas have equal texts.
    #[getter]
    fn json(&self) -> String {
        self.0.to_json()
    }

    /// Numbers of one row.
    #[getter]
    fn features(&self) -> usize {
        self.0.inputs()
    }

    /// The features `[rows, features]` of a table: `columns` are the cells of each column of the schema, in its order,
    /// all of one length; an empty cell is a missing value.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        columns: Vec<Vec<String>>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let read = py.detach(|| self.read(&columns));
        Ok(read.raise(py)?.into_pyarray(py))
    }

    /// The features `[images, features]` of images whose pixels are from 0 to the schema's brightest one.
    fn images<'py>(
        &self,
        py: Python<'py>,
        pixels: PyReadonlyArray2<'py, u16>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let pixels = pixels.as_array();
        let read = || -> Result<_> {
            let image = self.0.image().ok_or_else(|| anyhow!("the model takes no images"))?;
            let mut features = Vec::with_capacity(pixels.len());
            for image_pixels in pixels.rows() {
                features.extend(image.features(&image_pixels.to_vec(), image.max)?);
            }
            Ok(Array2::from_shape_vec((pixels.nrows(), self.0.inputs()), features)?)
        };
        Ok(read().raise(py)?.into_pyarray(py))
    }

    /// The class of each word.
    fn labels(&self, py: Python<'_>, words: Vec<String>) -> PyResult<Vec<usize>> {
        let class = |word: &String| {
            let class = self.0.label().and_then(|label| label.class(word));
            class.ok_or_else(|| {
                anyhow!("{word:?} is none of the classes {}", self.0.classes().join(", "))
            })
        };
        words.iter().map(class).collect::<Result<_>>().raise(py)
    }
}

impl Schema {
    fn read(&self, columns: &[Vec<String>]) -> Result<Array2<f64>> {
        let names: Vec<_> = self.0.columns().iter().map(|column| column.name().as_str()).collect();
        let count = columns.first().map_or(0, Vec::len);
        if names.len() != columns.len() || columns.iter().any(|cells| cells.len() != count) {
            return Err(anyhow!("{} columns, the model takes {}", columns.len(), names.len()));
        }
        let by_name: HashMap<_, _> = names.into_iter().zip(columns).collect();
        let mut features = Vec::with_capacity(count * self.0.inputs());
        for row in 0..count {
            let cell = |wanted: &str| by_name.get(wanted).map(|cells| cells[row].as_str());
            let read = self.0.read_features(cell).map_err(|error| in_row(row, error))?;
            features.extend(read.ok_or_else(|| {
                anyhow!("row {row} lacks a value without which the model's schema leaves a row out")
            })?);
        }
        Ok(Array2::from_shape_vec((count, self.0.inputs()), features)?)
    }
}

/// The error of a record, with its row, from 0.
fn in_row(row: usize, error: Error) -> anyhow::Error {
    match error {
        Error::Data { problem: DataError::Cell { column, value, why, .. }, .. } => {
            anyhow!("row {row}, column {column}: {value:?} {why}")
        }
        other => other.into(),
    }
}
