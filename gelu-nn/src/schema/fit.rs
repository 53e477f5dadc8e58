//! Scales from training rows, and data sets that are there already.

use std::path::Path;

use ndarray::{Array2, Axis, ShapeBuilder};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::column::{Column, Missing, Number, Scale};
use super::rows::{ReadOptions, RowReader};
use super::{Description, Label, Schema, VERSION};
use crate::data::csv::{MAX_CELLS, Records};
use crate::data::{Dataset, Split, Standardiser};
use crate::error::{DataError, Error, Result};

/// What is done to the features of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// For a new model: mean 0 and deviation 1 on the training rows, or −1 to 1 on the range that a column has; columns
    /// that are scaled already stay so.
    Standard,
    /// For a model that takes features as they are: nothing.
    None,
    /// For a model that is there already: what its schema says.
    Given,
}

impl Schema {
    /// Whether nothing depends on training rows that were not seen yet.
    pub fn is_fitted(&self) -> bool {
        let lacks = |c: &Column| c.missing() == Missing::Mean && c.scales().is_empty();
        !self.columns().iter().any(lacks)
    }

    pub(super) fn must_be_fitted(&self) -> Result<()> {
        match self.is_fitted() {
            true => Ok(()),
            false => Err(Error::Schema(
                "missing values are to take the mean, but no scale says which; train with it first, or write \
                 {\"value\": …}"
                    .into(),
            )),
        }
    }

    /// The scale of each feature; [`Scale::IDENTITY`] where there is none.
    pub fn scales(&self) -> Vec<Scale> {
        let of_column = |column: &Column| -> Vec<Scale> {
            match column.scales() {
                [] => vec![Scale::IDENTITY; column.width()],
                scales => scales.to_vec(),
            }
        };
        match self.image() {
            Some(image) => image.scales().collect(),
            None => self.columns().iter().flat_map(of_column).collect(),
        }
    }

    /// Reads a table, holds out a fifth of it by `seed`, and fits the scales on the rest: the schema as it belongs to
    /// the model, and the two parts, scaled by it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] naming the file, and row, column and value that do not fit.
    pub fn split(
        &self,
        path: &Path,
        options: &ReadOptions,
        scaling: Scaling,
        seed: u64,
    ) -> Result<(Self, Split)> {
        if scaling == Scaling::Given {
            self.must_be_fitted()?;
        }
        let name = path.display().to_string();
        let raw = self.raw_dataset(Records::open(path, &options.format)?, &name, options)?;
        let mut split = raw.stratified_split(0.2, &mut ChaCha20Rng::seed_from_u64(seed))?;
        let fill = self.fill(&split.train);
        for part in [&mut split.train, &mut split.test] {
            part.map_features(|feature, x| if x.is_nan() { fill[feature] } else { x });
        }
        let schema = match scaling {
            Scaling::Standard => self.fit(&split.train)?,
            Scaling::None => self.fit(&split.train)?.unscaled()?,
            Scaling::Given => self.clone(),
        };
        schema.apply(&mut split.train)?;
        schema.apply(&mut split.test)?;
        Ok((schema, split))
    }

    /// Reads a whole table with labels, scaled.
    ///
    /// # Errors
    /// As [`RowReader::open`]; [`Error::Data`] naming row, column and value that do not fit.
    pub fn dataset(&self, path: &Path, options: &ReadOptions) -> Result<Dataset> {
        self.must_be_fitted()?;
        let (records, name) = (Records::open(path, &options.format)?, path.display().to_string());
        let mut dataset = self.raw_dataset(records, &name, options)?;
        self.apply(&mut dataset)?;
        Ok(dataset)
    }

    /// The features of a table, not scaled; those without a known mean are not numbers. Rows without a label, where
    /// none is required, get the class 0.
    pub(crate) fn raw_dataset(
        &self,
        records: Records,
        name: &str,
        options: &ReadOptions,
    ) -> Result<Dataset> {
        let rows = RowReader::begin(records, name.to_owned(), self, options, false)?;
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        for row in rows {
            let row = row?;
            let Some(values) = row.features else { continue };
            if features.len() + values.len() > MAX_CELLS {
                let (got, limit) = ((features.len() + values.len()) as u64, MAX_CELLS as u64);
                let too_large = DataError::TooLarge { what: "a table", got, limit };
                return Err(Error::data(name)(too_large));
            }
            features.extend(values);
            labels.push(row.label.unwrap_or(0));
        }
        if labels.is_empty() {
            return Err(Error::data(name)(DataError::Empty));
        }
        let features = Array2::from_shape_vec((self.inputs(), labels.len()).f(), features)
            .expect("as many features in each row");
        let classes = match self.classes() {
            [] => vec!["0".into()],
            classes => classes.to_vec(),
        };
        Ok(Dataset::raw(features, labels, self.features(), classes))
    }

    /// What stands for a missing value of each feature: the middle of the column's range, or the mean of the rows
    /// that have one.
    pub(super) fn fill(&self, train: &Dataset) -> Vec<f64> {
        let of_range = |c: &Column| std::iter::repeat_n(c.scale_of_range(), c.width());
        let ranges = self.columns().iter().flat_map(of_range);
        let features = train.features().axis_iter(Axis(0)).zip(ranges);
        let mean = |(feature, range): (ndarray::ArrayView1<'_, f64>, Option<Scale>)| match range {
            Some(scale) => scale.mean,
            None => {
                let known = feature.iter().filter(|x| !x.is_nan());
                let (sum, n) = known.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
                sum / f64::from(n.max(1))
            }
        };
        features.map(mean).collect()
    }

    /// The schema with scales: those that it has, those of the ranges that its columns have, and for the others the
    /// means and deviations of the training rows. An image stays as it is.
    ///
    /// # Errors
    /// [`Error::Data`] when the rows have other features.
    pub fn fit(&self, train: &Dataset) -> Result<Self> {
        self.check_features(train)?;
        let standard = Standardiser::fit(train);
        self.with_scales(|feature| Scale {
            mean: standard.mean()[feature],
            deviation: standard.deviation()[feature],
        })
    }

    /// The schema with scales: those that it has, those of the ranges that its columns have, and those that were
    /// `fitted` to the other features.
    pub(super) fn with_scales(&self, fitted: impl Fn(usize) -> Scale) -> Result<Self> {
        let mut description = self.description().clone();
        let mut at = 0;
        for column in &mut description.columns {
            let width = column.width();
            if column.scales().is_empty() {
                let scales: Vec<_> = match column.scale_of_range() {
                    Some(scale) => vec![scale],
                    None => (at..at + width).map(&fitted).collect(),
                };
                column.set_scales(&scales);
            }
            at += width;
        }
        Self::new(description)
    }

    /// The schema without scales: features as they are. Missing numbers take the mean that they took.
    ///
    /// # Errors
    /// [`Error::Schema`] for a date whose missing values take the mean: that rule needs a scale.
    pub fn unscaled(&self) -> Result<Self> {
        let mut description = self.description().clone();
        for column in &mut description.columns {
            if let (Missing::Mean, [scale, ..]) = (column.missing(), column.scales()) {
                let mean = scale.mean;
                match column {
                    Column::Number(number) => {
                        let value = if number.log1p { libm::expm1(mean) } else { mean };
                        number.missing = Missing::Value(value);
                    }
                    _ => {
                        let name = column.name();
                        return Err(Error::Schema(format!(
                            "missing dates of column {name} cannot take a mean where nothing is scaled; drop \
                             those rows"
                        )));
                    }
                }
            }
            column.set_scales(&[]);
        }
        if let Some(image) = &mut description.image {
            image.scale.clear();
        }
        Self::new(description)
    }

    /// Scales a data set that has the features of this schema as they are.
    ///
    /// # Errors
    /// [`Error::Data`] when it has other features.
    pub fn apply(&self, dataset: &mut Dataset) -> Result<()> {
        self.check_features(dataset)?;
        let scales = self.scales();
        dataset.map_features(|feature, x| scales[feature].apply(x));
        Ok(())
    }

    /// The same with ln(1 + x) of every number.
    pub(crate) fn with_logarithms(&self) -> Result<Self> {
        let mut description = self.description().clone();
        for column in &mut description.columns {
            if let Column::Number(number) = column {
                number.log1p = true;
            }
        }
        Self::new(description)
    }

    /// A data set that did not come by this schema, such as one that is known by name, in the order of this schema's
    /// features and classes; not scaled.
    ///
    /// # Errors
    /// [`Error::Data`] naming features and classes that differ.
    pub fn adopt(&self, dataset: &Dataset) -> Result<Dataset> {
        let wrong = |missing, unknown| {
            Error::data("for this model")(DataError::Columns { missing, unknown })
        };
        let (ours, theirs) = (self.features(), dataset.feature_names());
        let beyond = |a: &[String], b: &[String]| -> Vec<String> {
            let known: std::collections::BTreeSet<_> = b.iter().collect();
            a.iter().filter(|name| !known.contains(name)).take(10).cloned().collect()
        };
        let (missing, unknown) = (beyond(&ours, theirs), beyond(theirs, &ours));
        if !missing.is_empty() || !unknown.is_empty() {
            return Err(wrong(missing, unknown));
        }
        let place: std::collections::BTreeMap<_, _> =
            theirs.iter().enumerate().map(|(i, name)| (name, i)).collect();
        let order: Vec<_> = ours.iter().map(|name| place[name]).collect();
        let features = match order.iter().copied().eq(0..theirs.len()) {
            true => dataset.features().clone(),
            false => dataset.features().select(Axis(0), &order),
        };
        let Some(label) = self.label() else {
            let (labels, classes) = (dataset.labels().to_vec(), dataset.class_names().to_vec());
            return Dataset::new(features, labels, ours, classes)
                .map_err(Error::data("for this model"));
        };
        let class = |word: &String| {
            label.class(word).ok_or_else(|| {
                let classes = label.classes.join(", ");
                Error::data("for this model")(DataError::NoClass { wanted: word.clone(), classes })
            })
        };
        let of = dataset.class_names().iter().map(class).collect::<Result<Vec<_>>>()?;
        let labels = dataset.labels().iter().map(|&label| of[label]).collect();
        Dataset::new(features, labels, ours, label.classes.clone())
            .map_err(Error::data("for this model"))
    }

    /// A schema for features that are numbers as they are, such as embeddings: a column of each name.
    ///
    /// # Errors
    /// [`Error::Schema`] as [`new`](Self::new).
    pub fn of_numbers(names: &[String], label: Option<Label>) -> Result<Self> {
        let number =
            |name: &String| Column::Number(Number { name: name.clone(), ..Number::default() });
        let last = label.iter().map(|label| &label.name);
        let order = names.iter().chain(last).cloned().collect();
        Self::new(Description {
            version: VERSION,
            columns: names.iter().map(number).collect(),
            order: Some(order),
            label,
            ..Description::default()
        })
    }

    fn check_features(&self, dataset: &Dataset) -> Result<()> {
        let (got, expected) = (dataset.inputs(), self.inputs());
        match got == expected {
            true => Ok(()),
            false => {
                let mismatch = DataError::Mismatch { what: "features", got, expected };
                Err(Error::data("for this schema")(mismatch))
            }
        }
    }
}
