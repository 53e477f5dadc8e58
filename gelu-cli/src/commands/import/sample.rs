//! Samples to calibrate with: a table or an array.

use std::path::Path;

use anyhow::{Context, Result};
use gelu_import::{Imported, Samples, npy};
use gelu_nn::Schema;
use gelu_nn::data::csv::{Column, Format, Table};
use gelu_nn::schema::{self, Label, Labels, ReadOptions};
use ndarray::{ArrayD, Axis};

use super::{Args, classes, missing, read};
use crate::problem::{Advise, problem};

/// Samples, and what their file says about the inputs.
pub(super) struct Sample {
    pub(super) samples: Samples,
    /// Columns of a table, without the label.
    pub(super) columns: Option<Vec<String>>,
    /// Name of the column of the class.
    pub(super) label: Option<String>,
}

impl Sample {
    pub(super) fn read(path: &Path, args: &Args, imported: &Imported) -> Result<Self> {
        let shown = path.display();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") if args.label.is_some() => Err(problem(
                format!("--label names a column, but {shown} is an array"),
                "give the classes as --labels FILE.npy",
            )),
            Some("npy") => {
                let samples = Self::of_array(array(path)?, args, imported)
                    .with_context(|| shown.to_string())?;
                Ok(Self { samples, columns: None, label: None })
            }
            Some("csv" | "tsv") if args.labels.is_some() => Err(problem(
                format!("--labels is for arrays, but {shown} is a table"),
                "name its column with --label",
            )),
            Some("csv" | "tsv") => Self::of_table(path, args, imported),
            _ => Err(problem(
                format!("{shown} is neither .csv nor .npy"),
                "save the sample as one of them",
            )),
        }
    }

    fn of_array(array: ArrayD<f64>, args: &Args, imported: &Imported) -> Result<Samples> {
        let features = imported.architecture.input().features();
        let fits = |shape: &[usize]| *shape == imported.input_shape[..] || *shape == [features];
        if array.ndim() == 0 || array.is_empty() || !fits(&array.shape()[1..]) {
            return Err(problem(
                format!(
                    "the array has shape {:?}, the model takes [samples] and {:?}",
                    array.shape(),
                    imported.input_shape
                ),
                "give it an array of samples as the original model takes them",
            ));
        }
        let rows = array.len_of(Axis(0));
        let flat =
            array.into_shape_with_order((rows, features)).context("a shape that was checked")?;
        let labels = args.labels.as_deref().map(|path| {
            let class = |&value: &f64| match value >= 0.0 && value.fract() == 0.0 && value < 1e6 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a small whole number"
                )]
                true => Ok(value as usize),
                false => {
                    Err(problem(format!("{} is no class", value), "number the classes from 0"))
                }
            };
            array_of_classes(path)?.iter().map(class).collect::<Result<Vec<_>>>()
        });
        let inputs = imported.prepare(&flat.reversed_axes().as_standard_layout().into_owned())?;
        Ok(Samples { inputs, labels: labels.transpose()? })
    }

    /// A table whose columns are the features in their order, and a label perhaps.
    fn of_table(path: &Path, args: &Args, imported: &Imported) -> Result<Self> {
        let names = Table::open(path, &Format::default(), &[])?.names().to_vec();
        let features = imported.architecture.input().features();
        let label = match &args.label {
            Some(label) => Some(label.clone()),
            None if names.len() == features + 1 => names.last().cloned(),
            None => None,
        };
        let columns: Vec<_> =
            names.into_iter().filter(|name| Some(name) != label.as_ref()).collect();
        if columns.len() != features {
            return Err(problem(
                format!(
                    "{} has {} columns of features, the model takes {features}",
                    path.display(),
                    columns.len()
                ),
                "leave the other columns out of the sample; name that of the class with --label",
            ));
        }
        let classes = classes(args, imported)?;
        let of_label = label.clone().map(|name| Label { name, classes });
        let mut reader = Schema::of_numbers(&columns, of_label)?.description().clone();
        for (index, column) in reader.columns.iter_mut().enumerate() {
            if let schema::Column::Number(number) = column {
                number.missing = missing(imported, index);
            }
        }
        let reader = Schema::new(reader)?;
        let labels = if label.is_some() { Labels::Required } else { Labels::Ignored };
        let options = ReadOptions {
            labels,
            label: args.label.as_deref().map(Column::from),
            ..ReadOptions::default()
        };
        let dataset = reader.dataset(path, &options)?;
        let inputs = imported.prepare(&dataset.features().to_owned())?;
        let labels = label.as_ref().map(|_| dataset.labels().to_vec());
        Ok(Self { samples: Samples { inputs, labels }, columns: Some(columns), label })
    }
}

fn array(path: &Path) -> Result<ArrayD<f64>> {
    npy::read(&read(path)?).advise(|| format!("save {} in Python with numpy.save", path.display()))
}

fn array_of_classes(path: &Path) -> Result<ArrayD<f64>> {
    let array = array(path)?;
    match array.ndim() {
        1 => Ok(array),
        _ => Err(problem(
            format!("{} has shape {:?}", path.display(), array.shape()),
            "save one number for each sample",
        )),
    }
}
