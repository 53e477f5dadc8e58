//! Samples to calibrate with: a table or an array.

use std::path::Path;

use anyhow::{Context, Result};
use gelu_import::{Imported, Samples, npy};
use gelu_nn::Schema;
use gelu_nn::data::csv::{Column, Format, Table};
use gelu_nn::schema::{Description, Label, Labels, ReadOptions, VERSION};
use ndarray::{ArrayD, Axis};

use super::{Args, classes, read};
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
        let expected = imported.sample.shape();
        let numbers: usize = expected.iter().product();
        let fits = |shape: &[usize]| *shape == expected[..] || *shape == [numbers];
        if array.ndim() == 0 || array.is_empty() || !fits(&array.shape()[1..]) {
            return Err(problem(
                format!(
                    "the array has shape {:?}, the model takes [samples] and {:?}",
                    array.shape(),
                    expected
                ),
                "give it an array of samples as the original model takes them",
            ));
        }
        let rows = array.len_of(Axis(0));
        let flat =
            array.into_shape_with_order((rows, numbers)).context("a shape that was checked")?;
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

    /// A table whose columns are those of the file, by name or in their order, and a label perhaps.
    fn of_table(path: &Path, args: &Args, imported: &Imported) -> Result<Self> {
        let names = Table::open(path, &Format::default(), &[])?.names().to_vec();
        let own = imported.sample.table().filter(|table| table.is_named);
        let is_own = |name: &String| {
            own.is_some_and(|table| table.columns.iter().any(|column| column.name() == name))
        };
        let width: usize = imported.sample.shape().iter().product();
        let label = match &args.label {
            Some(label) => Some(label.clone()),
            None if own.is_some() => {
                let mut others = names.iter().filter(|name| !is_own(name));
                others.next().filter(|_| others.next().is_none()).cloned()
            }
            None if names.len() == width + 1 => names.last().cloned(),
            None => None,
        };
        let columns: Vec<_> =
            names.into_iter().filter(|name| Some(name) != label.as_ref()).collect();
        if own.is_none() && columns.len() != width {
            return Err(problem(
                format!(
                    "{} has {} columns of features, the model takes {width}",
                    path.display(),
                    columns.len()
                ),
                "leave the other columns out of the sample; name that of the class with --label",
            ));
        }
        let classes = classes(args, imported)?;
        let of_label = label.clone().map(|name| Label { name, classes });
        let schema = match &imported.sample {
            gelu_import::Sample::Table(table) => of_columns(table, &columns, of_label)?,
            gelu_import::Sample::Array(_) => Schema::of_numbers(&columns, of_label)?,
        };
        let labels = if label.is_some() { Labels::Required } else { Labels::Ignored };
        let options = ReadOptions {
            labels,
            label: args.label.as_deref().map(Column::from),
            ..ReadOptions::default()
        };
        let dataset = schema.dataset(path, &options)?;
        let features = dataset.features().to_owned();
        let inputs = match &imported.sample {
            gelu_import::Sample::Table(_) => features,
            gelu_import::Sample::Array(_) => imported.prepare(&features)?,
        };
        let labels = label.as_ref().map(|_| dataset.labels().to_vec());
        Ok(Self { samples: Samples { inputs, labels }, columns: Some(columns), label })
    }
}

/// The schema of a file's table; `names` are those of the columns that the sample has.
pub(super) fn of_columns(
    table: &gelu_import::Table,
    names: &[String],
    label: Option<Label>,
) -> Result<Schema> {
    let (columns, order) = match table.is_named {
        true => (table.columns.clone(), None),
        false => {
            let last = label.iter().map(|label| &label.name);
            (table.named(names), Some(names.iter().chain(last).cloned().collect()))
        }
    };
    let is_read = |name: &String| columns.iter().any(|column| column.name() == name);
    let ignore = names.iter().filter(|name| !is_read(name)).cloned().collect();
    let version = VERSION;
    Ok(Schema::new(Description { version, columns, image: None, label, ignore, order })?)
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
