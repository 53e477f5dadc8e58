//! Words as numbers (`OrdinalEncoder`), which clients read as flags.
//!
//! A word w of a list gives the number v(w), any other word d. With a flag for each word,
//! ```text
//! s · v(w) + t  =  Σₖ s · (vₖ − d) · flagₖ(w)  +  (s · d + t)
//! ```
//! so a schema needs flags alone, and the numbers are folded into the dense layer that takes them.

use std::rc::Rc;

use gelu_core::linear::MAX_PARAMETERS;
use gelu_nn::{FloatLayer, LayerSpec};

use super::cells::{Category, Cell, Cells, Feature, Kind, MOST_MADE};
use super::{Scaling, Stop, refuse};
use crate::graph::{Elements, Node};

/// Words that have a number each.
#[derive(Debug, PartialEq)]
pub(crate) struct Codes {
    category: Rc<Category>,
    values: Vec<f64>,
    /// Of other words, where those may be.
    other: f64,
}

impl Codes {
    /// Whether all its numbers are integers.
    pub(super) fn are_whole(&self) -> bool {
        self.values.iter().chain([&self.other]).all(|value| value.fract() == 0.0)
    }
}

/// Sums of cells: feature i is shiftᵢ + Σ value · cell over those that are `of` it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mixture {
    /// The feature that each cell goes to, and what it is multiplied by.
    of: Vec<(usize, f64)>,
    /// Of each feature.
    shift: Vec<f64>,
}

impl Mixture {
    /// This one first, then a scaling of the features.
    pub(crate) fn then(&self, scaling: &Scaling) -> Self {
        let of = self.of.iter().map(|&(i, value)| (i, value * scaling.scale[i])).collect();
        let each = self.shift.iter().zip(scaling.scale.iter().zip(&scaling.shift));
        Self { of, shift: each.map(|(shift, (s, t))| s * shift + t).collect() }
    }

    /// The layer that takes cells, of one that takes features.
    ///
    /// # Errors
    /// It is no dense layer, or would have too many weights.
    pub(crate) fn before(&self, layer: &FloatLayer, spec: LayerSpec) -> Result<FloatLayer, String> {
        let LayerSpec::Dense { outputs } = spec else {
            return Err("takes words as numbers, and is no dense layer".into());
        };
        if (outputs as u64).saturating_mul(self.of.len() as u64) > MAX_PARAMETERS {
            return Err(format!("has more than {MAX_PARAMETERS} weights with one for each word"));
        }
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (row, bias) in layer.weights.chunks(self.shift.len()).zip(&layer.biases) {
            weights.extend(self.of.iter().map(|&(i, value)| row[i] * value));
            biases.push(bias + row.iter().zip(&self.shift).map(|(w, t)| w * t).sum::<f64>());
        }
        Ok(FloatLayer { weights, biases })
    }
}

/// Cells that a schema can describe, what clients do to each, and how the features are made of them: nothing, where
/// they are the features.
pub(super) fn expanded(
    features: Vec<Feature>,
) -> Result<(Vec<Cell>, Scaling, Option<Mixture>), Stop> {
    let words = |feature: &Feature| match &feature.cell.kind {
        Kind::Code(codes) => codes.values.len(),
        _ => 1,
    };
    let count = features.iter().map(words).sum::<usize>();
    if count > MOST_MADE {
        return refuse(format!("takes {count} words as numbers, at most {MOST_MADE} may be"));
    }
    let mut scaling = Scaling { scale: Vec::new(), shift: Vec::new() };
    let mut mixture = Mixture { of: Vec::new(), shift: Vec::new() };
    let (mut cells, mut is_mixed) = (Vec::new(), false);
    for (i, Feature { cell, scale, shift }) in features.into_iter().enumerate() {
        let Kind::Code(codes) = &cell.kind else {
            cells.push(cell);
            scaling.scale.push(scale);
            scaling.shift.push(shift);
            mixture.of.push((i, 1.0));
            mixture.shift.push(0.0);
            continue;
        };
        is_mixed = true;
        for (word, value) in codes.values.iter().enumerate() {
            let category = Rc::clone(&codes.category);
            cells.push(Cell { column: cell.column, kind: Kind::Flag { category, word } });
            scaling.scale.push(1.0);
            scaling.shift.push(0.0);
            mixture.of.push((i, scale * (value - codes.other)));
        }
        mixture.shift.push(scale * codes.other + shift);
    }
    Ok((cells, scaling, is_mixed.then_some(mixture)))
}

/// The number of each column's word.
pub(super) fn label_encoder(node: &Node, cells: &mut Cells) -> Result<(), Stop> {
    let reals = node.reals("keys_floats");
    let keys = match node.classes("keys_strings", "keys_int64s")? {
        Some(keys) => keys,
        // Every integer that `f32` holds exactly is below 2^53.
        None if reals.iter().all(|key| key.fract() == 0.0 && key.abs() < 2f64.powi(53)) => {
            reals.iter().map(|key| format!("{key:.0}")).collect()
        }
        None => return refuse("its words are numbers that are no integers"),
    };
    let (values, other) = match node.integers("values_int64s") {
        Some(whole) if !whole.is_empty() => {
            let whole = whole.iter().map(|&value| value as f64).collect();
            (whole, node.has("default_int64").then(|| node.integer("default_int64", -1) as f64))
        }
        _ => {
            let other = node.has("default_float").then(|| node.real("default_float", 0.0));
            (node.reals("values_floats"), other)
        }
    };
    if keys.is_empty() || keys.len() != values.len() {
        let (keys, values) = (keys.len(), values.len());
        return refuse(format!("it lists {keys} words and {values} numbers for them"));
    }
    if values.iter().chain(&other).any(|value| !value.is_finite()) {
        return refuse("takes words for what is no finite number");
    }
    let holds_words =
        node.integers("keys_int64s").is_none_or(<[i64]>::is_empty) && reals.is_empty();
    let (takes_unknown, other) = (other.is_some(), other.unwrap_or(0.0));
    for feature in &mut cells.features {
        let rounds = match feature.cell.kind {
            Kind::Word if holds_words => true,
            Kind::Number { missing: None, elements: Elements::Reals } if !reals.is_empty() => false,
            Kind::Number { missing: None, elements: Elements::Integers } | Kind::Rounded
                if !holds_words && reals.is_empty() =>
            {
                true
            }
            _ => return refuse("its words are of another type than the column"),
        };
        if !feature.is_plain() {
            return refuse("the column was changed before");
        }
        let category = Rc::new(Category { words: keys.clone(), takes_unknown, rounds });
        let codes = Codes { category, values: values.clone(), other };
        feature.cell.kind = Kind::Code(Rc::new(codes));
    }
    Ok(())
}
