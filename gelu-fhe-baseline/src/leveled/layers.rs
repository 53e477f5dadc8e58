//! A circuit as the scheme runs it: sums with known weights, of values or of squares.
//!
//! ```text
//! y[o] = Σ w[o,i]·x[i] + b[o]          y[o] = Σ w[o,i]·x[i]² + b[o]
//! ```
//!
//! A square and the linear step after it are one layer. Tensor products can be added before they are
//! rescaled and relinearised, and both cost much more than an addition: a sum pooling of 720 squares
//! to 180 rescales 180 times instead of 720.

use std::collections::BTreeMap;

use gelu_core::error::{ApiMisuse, Result};

use crate::{Circuit, Step};

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) name: String,
    /// Whether the sums are of squares.
    pub(super) squares: bool,
    /// For each output the inputs and their weights.
    pub(super) rows: Vec<Vec<(usize, i64)>>,
    pub(super) biases: Vec<i128>,
    pub(super) inputs: usize,
}

impl Layer {
    /// The largest Σ|w| of a row: by how much it may multiply noise.
    pub(super) fn gain(&self) -> f64 {
        let row = |row: &Vec<(usize, i64)>| row.iter().map(|(_, w)| w.unsigned_abs() as f64).sum();
        self.rows.iter().map(row).fold(1.0, f64::max)
    }

    /// Outputs whose rows have the same inputs, such as the filters at one position, at most 8 at a
    /// time: what one thread computes while it has these inputs at hand.
    pub(super) fn groups(&self) -> Vec<Vec<usize>> {
        let mut by_inputs: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (output, row) in self.rows.iter().enumerate() {
            by_inputs.entry(row.iter().map(|&(i, _)| i).collect()).or_default().push(output);
        }
        by_inputs.values().flat_map(|outputs| outputs.chunks(8).map(<[_]>::to_vec)).collect()
    }

    /// Whether no input is used twice.
    pub(super) fn is_partition(&self) -> bool {
        let mut used = vec![false; self.inputs];
        self.rows.iter().flatten().all(|&(i, _)| !core::mem::replace(&mut used[i], true))
    }
}

/// A circuit, layer by layer.
#[derive(Debug, Clone)]
pub(super) struct Layers(pub(super) Vec<Layer>);

impl Layers {
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the step with a weight of more than 64 bits.
    pub(super) fn of(circuit: &Circuit) -> Result<Self> {
        let mut width = circuit.inputs();
        let mut pending = None;
        let mut layers = Vec::new();
        for step in circuit.steps() {
            match step {
                Step::Square => {
                    if let Some(name) = pending.replace("square".to_owned()) {
                        layers.push(alone(name, width));
                    }
                }
                Step::Linear { name, map, weights, biases } => {
                    let entries = map.entries(weights).into_iter().map(i64::try_from);
                    let entries: Vec<i64> =
                        entries.collect::<core::result::Result<_, _>>().map_err(|_| {
                            ApiMisuse::configuration(name, "has a weight of more than 64 bits")
                        })?;
                    let taps = map.forward_taps();
                    let row = |o| {
                        let taps = taps.of(o).iter();
                        taps.map(|t| (t.source as usize, entries[t.weight as usize])).collect()
                    };
                    let squares = pending.take();
                    let joined = match &squares {
                        Some(square) => format!("{square}+{name}"),
                        None => name.clone(),
                    };
                    let biases = (0..map.outputs()).map(|o| biases[map.bias_of(o)]).collect();
                    let rows = (0..map.outputs()).map(row).collect();
                    let squares = squares.is_some();
                    layers.push(Layer { name: joined, squares, rows, biases, inputs: width });
                    width = map.outputs();
                }
            }
        }
        layers.extend(pending.map(|name| alone(name, width)));
        Ok(Self(layers))
    }
}

/// Squares without sums.
fn alone(name: String, width: usize) -> Layer {
    let rows = (0..width).map(|i| vec![(i, 1)]).collect();
    Layer { name, squares: true, rows, biases: vec![0; width], inputs: width }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::tests::dense;

    #[test]
    fn squares_join_the_sums_after_them() {
        let steps = vec![
            dense(vec![3, -2, 1, 1], 2, vec![1, 0]),
            Step::Square,
            Step::Square,
            dense(vec![1, -7], 2, vec![5]),
            Step::Square,
        ];
        let layers = Layers::of(&Circuit::new(7, steps).unwrap()).unwrap().0;
        let shapes: Vec<_> =
            layers.iter().map(|l| (l.name.as_str(), l.squares, l.rows.len(), l.inputs)).collect();
        let expected = [
            ("dense2", false, 2, 2),
            ("square", true, 2, 2),
            ("square+dense1", true, 1, 2),
            ("square", true, 1, 1),
        ];
        assert_eq!(shapes, expected);
        assert_eq!(layers[2].gain(), 8.0);
        assert!(layers[1].is_partition() && !layers[0].is_partition());
        assert_eq!(layers[0].groups(), [[0, 1]]);
        assert_eq!(layers[1].groups(), [[0], [1]]);
    }

    #[test]
    fn huge_weights_are_refused_by_name() {
        let circuit = Circuit::new(1, vec![dense(vec![1 << 70, 0], 2, vec![0])]).unwrap();
        assert!(Layers::of(&circuit).unwrap_err().to_string().contains("dense1"));
    }
}
