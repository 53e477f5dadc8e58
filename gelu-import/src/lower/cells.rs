//! A sample that is a row of a table, before anything is computed of it.
//!
//! ```text
//! feature i = scale · x + shift      x a cell: a number, or 1 where the cell holds a certain word and 0 elsewhere
//! ```
//! Pipelines of scikit-learn choose columns, fill in what is missing, scale some, encode others and join them. All that is
//! what clients do by a schema, so it is collected here, number by number; the first operation that computes anything
//! makes the network's input of it.

use std::rc::Rc;

use super::codes::{Codes, expanded, label_encoder};
use super::elementwise::REAL_TYPES;
use super::linear::scaler;
use super::{Act, Lowering, Op, Scaling, Stop, Value, natural, refuse};
use crate::graph::{Elements, Input, Node};

/// The most columns that are kept one by one; a wider list is an array.
pub(crate) const MOST_COLUMNS: usize = 1 << 14;

/// The most cells of all values together.
pub(super) const MOST_MADE: usize = 1 << 18;

/// Types of numbers by ONNX: of integers.
const WHOLE_TYPES: [i64; 2] = [6, 7];

/// What a feature is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    /// Place of its column among all of the file.
    pub(crate) column: usize,
    pub(crate) kind: Kind,
}

/// What is read of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Its text.
    Word,
    /// A number, and what stands for it where it is missing.
    Number { missing: Option<f64>, elements: Elements },
    /// A number that is rounded to an integer, which only a category may be.
    Rounded,
    /// Whether it is the word of this place in the category.
    Flag { category: Rc<Category>, word: usize },
    /// The number of its word.
    Code(Rc<Codes>),
}

/// Words that have a feature each.
#[derive(Debug, PartialEq)]
pub(crate) struct Category {
    pub(crate) words: Vec<String>,
    /// Whether an unknown word gives zeros; otherwise there may be none.
    pub(crate) takes_unknown: bool,
    /// Of words that are integers: whether a number that is none is rounded towards zero, or is another word.
    pub(crate) rounds: bool,
}

/// One number of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Feature {
    pub(super) cell: Cell,
    pub(super) scale: f64,
    pub(super) shift: f64,
}

/// Numbers of a row, along the last axis of a tensor.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    pub(super) features: Vec<Feature>,
    /// Axes of size 1 between the batch and them.
    ones: usize,
}

impl Cells {
    /// A tensor of the file, whose first column has this number.
    pub(super) fn of_input(input: &Input, first: usize) -> Self {
        let kind = match input.elements {
            Elements::Words => Kind::Word,
            elements => Kind::Number { missing: None, elements },
        };
        let cell = |column| Feature::plain(Cell { column, kind: kind.clone() });
        Self { features: (first..first + input.shape[0]).map(cell).collect(), ones: 0 }
    }

    fn shape(&self) -> Vec<usize> {
        [vec![1; self.ones], vec![self.features.len()]].concat()
    }

    /// Whether an axis of ONNX is that of the features.
    fn is_last(&self, axis: i64) -> bool {
        axis == -1 || usize::try_from(axis) == Ok(self.ones + 1)
    }

    fn chosen(&self, places: &[i64]) -> Result<Self, Stop> {
        let count = self.features.len();
        let place = |&place: &i64| {
            let place = if place < 0 { place + count as i64 } else { place };
            usize::try_from(place).ok().and_then(|place| self.features.get(place)).cloned()
        };
        match places.iter().map(place).collect::<Option<Vec<_>>>() {
            Some(features) if !features.is_empty() => Ok(Self { features, ..*self }),
            _ => refuse(format!("chooses the columns {places:?} of {count}")),
        }
    }
}

impl Feature {
    fn plain(cell: Cell) -> Self {
        Self { cell, scale: 1.0, shift: 0.0 }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.scale == 1.0 && self.shift == 0.0
    }
}

impl<'a> Lowering<'a> {
    /// What a node does to columns of the sample; `None` after they were made the network's input for it.
    pub(super) fn of_cells(&mut self, node: &'a Node) -> Result<Option<Value>, Stop> {
        let cells = |name: &String| match self.values.get(name.as_str()) {
            Some(Value::Cells(cells)) => Some(cells.clone()),
            _ => None,
        };
        let inputs: Vec<_> = node.inputs.iter().map(cells).collect();
        let done = match (&inputs[..], node.operator.as_str()) {
            (all, "Concat") => match all.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() {
                Some(all) => self.joined(node, &all)?,
                None => None,
            },
            ([Some(first), ..], _) => self.of_first(node, first.clone())?,
            _ => None,
        };
        if let Some(cells) = done {
            self.made += cells.features.len();
            return match self.made <= MOST_MADE {
                true => Ok(Some(Value::Cells(cells))),
                false => refuse(format!("the file chooses columns more than {MOST_MADE} times")),
            };
        }
        for (name, cells) in node.inputs.iter().zip(inputs) {
            if let Some(cells) = cells {
                let act = self.network_input(node, cells)?;
                self.values.insert(name, Value::Act(act));
            }
        }
        Ok(None)
    }

    fn joined(&self, node: &'a Node, all: &[&Cells]) -> Result<Option<Cells>, Stop> {
        let Some(first) = all.first() else { return Ok(None) };
        if all.iter().any(|cells| cells.ones != first.ones)
            || !first.is_last(node.integer("axis", 1))
        {
            return refuse("joins columns otherwise than side by side");
        }
        let features = all.iter().flat_map(|cells| cells.features.iter().cloned()).collect();
        Ok(Some(Cells { features, ones: first.ones }))
    }

    fn of_first(&self, node: &'a Node, mut cells: Cells) -> Result<Option<Cells>, Stop> {
        match node.operator.as_str() {
            "Identity" => {}
            "Cast" => {
                let to = node.integer("to", 0);
                let is_word = |feature: &Feature| feature.cell.kind == Kind::Word;
                match WHOLE_TYPES.contains(&to) {
                    _ if cells.features.iter().any(is_word) => return Ok(None),
                    true => cells.features.iter_mut().try_for_each(Feature::round)?,
                    false if REAL_TYPES.contains(&to) => {}
                    false => return Ok(None),
                }
            }
            "Gather" if cells.is_last(node.integer("axis", 0)) => return self.choose(node, &cells),
            "ai.onnx.ml.ArrayFeatureExtractor" => return self.choose(node, &cells),
            "Reshape" => {
                let wanted = self.constant(node, 1)?.to_integers().unwrap_or_default();
                let shape =
                    self.reshaped(&cells.shape(), &wanted, node.integer("allowzero", 0) != 0)?;
                match shape[..] {
                    [_] => cells.ones = 0,
                    _ => return Ok(None),
                }
            }
            "Flatten" if node.integer("axis", 1) == 1 => cells.ones = 0,
            "ai.onnx.ml.Imputer" => fill(node, &mut cells)?,
            "ai.onnx.ml.Scaler" => {
                let Scaling { scale, shift } = scaler(node, cells.features.len())?;
                for (feature, (s, t)) in cells.features.iter_mut().zip(scale.into_iter().zip(shift))
                {
                    (feature.scale, feature.shift) = (s * feature.scale, s * feature.shift + t);
                }
            }
            "ai.onnx.ml.OneHotEncoder" => cells = one_hot(node, &cells)?,
            "ai.onnx.ml.LabelEncoder" => label_encoder(node, &mut cells)?,
            _ => return Ok(None),
        }
        Ok(Some(cells))
    }

    fn choose(&self, node: &'a Node, cells: &Cells) -> Result<Option<Cells>, Stop> {
        match self.constant(node, 1)?.to_integers() {
            Some(places) => cells.chosen(&places).map(Some),
            None => refuse("its places are no list of integers"),
        }
    }

    /// Columns as what the network takes, and its scaling as a step after it.
    fn network_input(&mut self, node: &'a Node, cells: Cells) -> Result<Act, Stop> {
        let shape = cells.shape();
        if let Some(feature) = cells.features.iter().find(|feature| !feature.cell.is_number()) {
            let column = self.column_name(feature.cell.column);
            return refuse(match feature.cell.kind {
                Kind::Word => {
                    format!(
                        "takes the words of {column}; encode them (OneHotEncoder, OrdinalEncoder)"
                    )
                }
                _ => format!("rounds the numbers of {column} to integers"),
            });
        }
        let (list, scaling, mixture) = expanded(cells.features)?;
        if self.steps.is_empty() {
            self.cells = list;
            let input = natural(&[self.cells.len()]);
            self.push(node.label(), Op::Input, Vec::new(), input);
        } else if self.cells != list {
            return refuse(
                "takes other columns of the sample, or in another order, than a node before it",
            );
        }
        let mut step = 0;
        if !scaling.is_identity() {
            let shape_of_input = self.steps[0].shape;
            step = self.push(node.label(), Op::Affine(Rc::new(scaling)), vec![0], shape_of_input);
        }
        if let Some(mixture) = mixture {
            let features = natural(&[shape.iter().product()]);
            step = self.push(node.label(), Op::Mix(Rc::new(mixture)), vec![step], features);
        }
        Ok(Act::of(step, &shape))
    }

    /// What errors call a column of the file.
    fn column_name(&self, column: usize) -> String {
        let mut first = 0;
        for input in &self.graph.inputs {
            let place = column - first;
            first += input.shape[0];
            match column < first {
                true if input.shape[0] == 1 => return input.name.clone(),
                true => return format!("column {} of {}", place + 1, input.name),
                false => {}
            }
        }
        format!("column {column}")
    }
}

impl Cell {
    fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Number { .. } | Kind::Flag { .. } | Kind::Code(_))
    }
}

impl Feature {
    /// As a cast to an integer does.
    fn round(&mut self) -> Result<(), Stop> {
        let is_plain = self.is_plain();
        match &mut self.cell.kind {
            Kind::Number { elements: Elements::Integers, .. }
            | Kind::Flag { .. }
            | Kind::Rounded
                if is_plain => {}
            Kind::Code(codes) if is_plain && codes.are_whole() => {}
            kind @ Kind::Number { missing: None, .. } if is_plain => *kind = Kind::Rounded,
            _ => return refuse("rounds numbers that were filled in or scaled to integers"),
        }
        Ok(())
    }
}

/// What stands for missing values, which clients fill in.
fn fill(node: &Node, cells: &mut Cells) -> Result<(), Stop> {
    let replaced = node.real("replaced_value_float", f32::NAN);
    let count = cells.features.len();
    let values = match node.reals("imputed_value_floats") {
        one if one.len() == 1 => vec![one[0]; count],
        each => each,
    };
    if !replaced.is_nan() || values.len() != count || values.iter().any(|v| !v.is_finite()) {
        return refuse(format!(
            "puts {} values in the place of {replaced}, must be one for each of {count} features in the place of what \
             is missing",
            values.len()
        ));
    }
    for (feature, value) in cells.features.iter_mut().zip(values) {
        match &mut feature.cell.kind {
            Kind::Number { missing, .. } if feature.scale == 1.0 && feature.shift == 0.0 => {
                *missing = Some(value);
            }
            _ => return refuse("fills in what is missing of words, or after a scaling"),
        }
    }
    Ok(())
}

/// A feature for each word of one column.
fn one_hot(node: &Node, cells: &Cells) -> Result<Cells, Stop> {
    let [feature] = &cells.features[..] else {
        return refuse(format!("encodes {} columns at once, must be one", cells.features.len()));
    };
    let Some(words) = node.classes("cats_strings", "cats_int64s")? else {
        return refuse("it names no words");
    };
    let holds_words = node.integers("cats_int64s").is_none_or(<[i64]>::is_empty);
    let fits = match feature.cell.kind {
        Kind::Word => holds_words,
        Kind::Number { missing: None, .. } | Kind::Rounded => !holds_words,
        _ => false,
    };
    if !(fits && feature.is_plain()) {
        return refuse(
            "its words are of another type than the column, or the column was changed before",
        );
    }
    let category =
        Rc::new(Category { words, takes_unknown: node.integer("zeros", 1) != 0, rounds: true });
    let flag = |word| {
        let (column, category) = (feature.cell.column, Rc::clone(&category));
        Feature::plain(Cell { column, kind: Kind::Flag { category, word } })
    };
    let features = (0..category.words.len()).map(flag).collect();
    Ok(Cells { features, ones: cells.ones + 1 })
}
