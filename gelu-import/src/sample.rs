//! What a sample of a file is, and what is done to it before the network takes it.

use std::collections::BTreeSet;

use gelu_nn::Shape;
use gelu_nn::schema::{Category, Column, Missing, Number, Scale, Unknown};
use ndarray::{Array2, Axis};

use crate::error::{Error, Result};
use crate::graph::{Input, refused_input};
use crate::lower::{Cell, Kind, Lowered, MOST_COLUMNS, Scaling};

/// A sample, as the file takes it.
#[derive(Debug, Clone)]
pub enum Sample {
    /// A row of a table.
    Table(Table),
    /// An array of numbers, such as an image.
    Array(Array),
}

/// A row of a table.
#[derive(Debug, Clone)]
pub struct Table {
    /// What is read and what becomes of it, in the order of the network's features.
    pub columns: Vec<Column>,
    /// For each of them its place among the columns of the file.
    pub places: Vec<usize>,
    /// Columns of the file, read or not.
    pub width: usize,
    /// Whether the file has names for its columns; otherwise they are called x1, x2, ….
    pub is_named: bool,
    /// For each of `columns` whether numbers that stand for words are rounded towards zero.
    rounds: Vec<bool>,
}

/// An array of numbers.
#[derive(Debug, Clone)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// For each feature of the network its place in the array, where that has another order of axes (channels last).
    pub order: Option<Vec<u32>>,
    /// What is done to each feature then.
    pub scaling: Option<Scaling>,
}

impl Sample {
    /// Of the inputs of a file, for a network that takes `shape`; `notes` are for a person.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for columns that no schema can describe.
    pub(crate) fn new(
        inputs: &[Input],
        lowered: &Lowered,
        scaling: Option<Scaling>,
        shape: Shape,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let order = lowered.input_order.clone();
        if lowered.cells.is_empty() {
            let array = inputs[0].shape.clone();
            if order.is_some() {
                notes.push(format!(
                    "images of the file are of shape {array:?}, channels last; those of the model are {shape}"
                ));
            }
            return Ok(Self::Array(Array { shape: array, order, scaling }));
        }
        let table = Table::new(inputs, &lowered.cells, scaling.as_ref(), notes)?;
        match shape {
            Shape::Vector(_) => Ok(Self::Table(table)),
            Shape::Image { .. } if table.is_plain() => {
                Ok(Self::Array(Array { shape: vec![table.width], order, scaling }))
            }
            Shape::Image { .. } => {
                Err(refused_input(&inputs[0].name, "its columns become an image".into()))
            }
        }
    }

    /// So many numbers as they are.
    pub(crate) fn of_numbers(shape: &[usize]) -> Self {
        match *shape {
            [width @ 1..=MOST_COLUMNS] => {
                let number = |place: usize| Number { name: numbered(place), ..Number::default() };
                let columns = (0..width).map(|place| Column::Number(number(place))).collect();
                let (places, rounds) = ((0..width).collect(), vec![false; width]);
                Self::Table(Table { columns, places, width, is_named: false, rounds })
            }
            _ => Self::Array(Array { shape: shape.to_vec(), order: None, scaling: None }),
        }
    }

    /// The table, if it is one.
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            Self::Array(_) => None,
        }
    }

    /// The array, if it is one.
    pub fn array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            Self::Table(_) => None,
        }
    }

    /// Shape of a sample of numbers, as the file takes it.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Table(table) => vec![table.width],
            Self::Array(array) => array.shape.clone(),
        }
    }

    /// Samples of the file, `[numbers, batch]` with those of a sample one after the other, as features of the network.
    ///
    /// # Errors
    /// [`Error::Samples`] for another number of numbers, and for a table that has words.
    pub(crate) fn prepare(&self, samples: &Array2<f64>) -> Result<Array2<f64>> {
        let (got, expected) = (samples.nrows(), self.shape().iter().product::<usize>());
        if got != expected {
            return Err(Error::Samples(format!("{got} features, the model takes {expected}")));
        }
        match self {
            Self::Table(table) => table.prepare(samples),
            Self::Array(array) => Ok(array.prepare(samples)),
        }
    }
}

impl Array {
    fn prepare(&self, samples: &Array2<f64>) -> Array2<f64> {
        let mut prepared = match &self.order {
            None => samples.clone(),
            Some(order) => {
                let order: Vec<_> = order.iter().map(|place| *place as usize).collect();
                samples.select(Axis(0), &order)
            }
        };
        if let Some(Scaling { scale, shift }) = &self.scaling {
            for (mut row, (s, t)) in prepared.outer_iter_mut().zip(scale.iter().zip(shift)) {
                row.mapv_inplace(|x| s * x + t);
            }
        }
        prepared
    }
}

impl Table {
    /// What the network's features are made of, with its scaling.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a column that would be read twice, or not in the order of its words.
    fn new(
        inputs: &[Input],
        cells: &[Cell],
        scaling: Option<&Scaling>,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let width = inputs.iter().map(|input| input.shape[0]).sum();
        let is_named = inputs.len() > 1 && width == inputs.len();
        let name = |place: usize| match is_named {
            true => inputs[place].name.clone(),
            false => numbered(place),
        };
        let (columns, places, rounds) = (Vec::new(), Vec::new(), Vec::new());
        let mut table = Self { columns, places, width, is_named, rounds };
        let (mut first, mut read) = (0, BTreeSet::new());
        for run in cells.chunk_by(Cell::is_of_same_column) {
            let place = run[0].column;
            let scales: Vec<_> = (first..first + run.len())
                .filter_map(|i| scaling.map(|s| s.of_feature(i)))
                .collect();
            first += run.len();
            let column = match &run[0].kind {
                Kind::Flag { .. } => categories(name(place), run, scales, notes),
                Kind::Number { missing, .. } if run.len() == 1 => {
                    let missing = missing.map_or(Missing::Refuse, Missing::Value);
                    let scale = scales.first().copied();
                    Ok(Column::Number(Number {
                        name: name(place),
                        missing,
                        scale,
                        ..Number::default()
                    }))
                }
                _ => Err("is read more than once".into()),
            };
            let refused = |why: String| refused_input(&name(place), why);
            table.columns.push(column.map_err(refused)?);
            table.places.push(place);
            table
                .rounds
                .push(matches!(&run[0].kind, Kind::Flag { category, .. } if category.rounds));
            if !read.insert(place) {
                return Err(refused("is read more than once".into()));
            }
        }
        Ok(table)
    }

    /// Whether rows are lists of numbers that the network takes as they are.
    fn is_plain(&self) -> bool {
        let is_plain = |column: &Column| match column {
            Column::Number(number) => number.missing == Missing::Refuse,
            _ => false,
        };
        self.columns.iter().all(is_plain) && self.places.iter().copied().eq(0..self.width)
    }

    /// The same columns by other names, which are those of all columns of the file.
    ///
    /// # Panics
    /// When there is another number of names.
    pub fn named(&self, names: &[String]) -> Vec<Column> {
        assert_eq!(names.len(), self.width, "a name for each column");
        let mut columns = self.columns.clone();
        for (column, place) in columns.iter_mut().zip(&self.places) {
            match column {
                Column::Number(Number { name, .. }) | Column::Category(Category { name, .. }) => {
                    name.clone_from(&names[*place]);
                }
                Column::Date(_) => {}
            }
        }
        columns
    }

    fn prepare(&self, samples: &Array2<f64>) -> Result<Array2<f64>> {
        let features = self.columns.iter().map(Column::width).sum();
        let mut prepared = Array2::zeros((features, samples.ncols()));
        let mut first = 0;
        let places = self.places.iter().zip(&self.rounds);
        for (column, (place, rounds)) in self.columns.iter().zip(places) {
            let values = samples.row(*place);
            for (sample, &value) in values.iter().enumerate() {
                let encoded = match column {
                    Column::Number(number) => match number.missing {
                        Missing::Value(missing) if value.is_nan() => vec![missing],
                        _ => vec![value],
                    },
                    Column::Category(category) if *rounds => flags(category, value.trunc())?,
                    Column::Category(category) => flags(category, value)?,
                    Column::Date(_) => Vec::new(),
                };
                for (i, x) in encoded.into_iter().enumerate() {
                    let scale = column.scales().get(i).copied().unwrap_or(Scale::IDENTITY);
                    prepared[[first + i, sample]] = scale.apply(x);
                }
            }
            first += column.width();
        }
        Ok(prepared)
    }
}

impl Scaling {
    /// Of one feature, as schemas write it.
    pub fn of_feature(&self, feature: usize) -> Scale {
        let (s, t) = (self.scale[feature], self.shift[feature]);
        Scale { mean: -t / s, deviation: 1.0 / s }
    }
}

impl Cell {
    fn is_of_same_column(&self, other: &Self) -> bool {
        self.column == other.column
    }
}

fn numbered(place: usize) -> String {
    format!("x{}", place + 1)
}

/// The flags of one column.
fn categories(
    name: String,
    run: &[Cell],
    mut scales: Vec<Scale>,
    notes: &mut Vec<String>,
) -> Result<Column, String> {
    let Kind::Flag { category, .. } = &run[0].kind else {
        return Err("is read as a number and as words".into());
    };
    let mut places = Vec::new();
    for cell in run {
        match &cell.kind {
            Kind::Flag { category: other, word }
                if other == category && places.last().is_none_or(|last| last < word) =>
            {
                places.push(*word);
            }
            _ => return Err("has features of its words in another order, or twice".into()),
        }
    }
    let mut without = (0..category.words.len()).filter(|place| !places.contains(place));
    let reference = without.next();
    if without.next().is_some() {
        return Err("has words without a feature, of which there may be one (drop='first')".into());
    }
    let mut unknown = if category.takes_unknown { Unknown::Zeros } else { Unknown::Refuse };
    if let (Some(place), Unknown::Zeros) = (reference, unknown) {
        unknown = Unknown::Refuse;
        notes.push(format!(
            "other words than the known ones in {name} are refused: the file would take them for {:?}",
            category.words[place]
        ));
    }
    if scales.iter().all(|scale| *scale == Scale::IDENTITY) {
        scales.clear();
    }
    let reference = reference.map(|place| category.words[place].clone());
    let words = category.words.clone();
    Ok(Column::Category(Category {
        name,
        words,
        reference,
        unknown,
        missing: Missing::Refuse,
        scales,
    }))
}

/// A feature for each word, where all words are integers.
fn flags(category: &Category, value: f64) -> Result<Vec<f64>> {
    let known = |word: &String| word.parse::<i64>().is_ok_and(|word| word as f64 == value);
    let of_numbers = category.words.iter().all(|word| word.parse::<i64>().is_ok());
    if !of_numbers {
        return Err(Error::Samples(format!(
            "column {} holds words, which an array of numbers does not have; give a table",
            category.name
        )));
    }
    if category.unknown == Unknown::Refuse && !category.words.iter().any(known) {
        return Err(Error::Samples(format!(
            "{value} in column {} is none of {}",
            category.name,
            category.words.join(", ")
        )));
    }
    let featured = category.words.iter().filter(|word| Some(*word) != category.reference.as_ref());
    Ok(featured.map(|word| f64::from(u8::from(known(word)))).collect())
}
