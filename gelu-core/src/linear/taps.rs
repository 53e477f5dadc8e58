//! A sparse matrix whose entries are shared weights.

use super::run::Run;
use super::size::{SizeError, check_multiply_accumulates};
use crate::error::{ApiMisuse, Result};

/// One entry of the matrix: `weights[weight]` times `inputs[source]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// Index of the input.
    pub source: u32,
    /// Index of the weight.
    pub weight: u32,
}

/// A sparse matrix in row form: for each output its taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taps {
    starts: Vec<usize>,
    taps: Vec<Tap>,
}

impl Taps {
    /// Collects the rows.
    pub fn from_rows<R: AsRef<[Tap]>>(rows: impl IntoIterator<Item = R>) -> Self {
        let mut starts = vec![0];
        let mut taps = Vec::new();
        for row in rows {
            taps.extend_from_slice(row.as_ref());
            starts.push(taps.len());
        }
        Self { starts, taps }
    }

    /// Collects `outputs` rows from what `each` tells, twice the same: which row, and its next tap.
    pub(super) fn collect(outputs: usize, each: impl Fn(&mut dyn FnMut(usize, Tap))) -> Self {
        let mut starts = vec![0; outputs + 1];
        each(&mut |output, _| starts[output + 1] += 1);
        for output in 0..outputs {
            starts[output + 1] += starts[output];
        }
        let mut taps = vec![Tap { source: 0, weight: 0 }; starts[outputs]];
        let mut ends = starts.clone();
        each(&mut |output, tap| {
            taps[ends[output]] = tap;
            ends[output] += 1;
        });
        Self { starts, taps }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of taps of all outputs: the multiply-accumulates of one evaluation.
    pub fn len(&self) -> usize {
        self.taps.len()
    }

    /// Whether there is no tap at all.
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    /// The taps of one output.
    pub fn of(&self, output: usize) -> &[Tap] {
        &self.taps[self.starts[output]..self.starts[output + 1]]
    }
}

/// A matrix without further structure: its taps are listed, and so is the bias of each output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    inputs: usize,
    weights: usize,
    biases: usize,
    taps: Taps,
    bias_of: Vec<u32>,
}

impl Listed {
    /// Checks that every index is in range and every weight and bias used.
    pub(super) fn new(
        inputs: usize,
        weights: usize,
        rows: &[Vec<Tap>],
        bias_of: Vec<u32>,
    ) -> Result<Self> {
        let wrong = |why: &str| Err(ApiMisuse::configuration("linear map", why).into());
        if rows.is_empty() || rows.len() != bias_of.len() {
            return wrong("needs outputs, and one bias index for each");
        }
        let count = rows.iter().map(|row| row.len() as u64).sum();
        let too_large = |e: SizeError| ApiMisuse::configuration("linear map", e.to_string());
        check_multiply_accumulates(count).map_err(too_large)?;
        if rows.iter().any(Vec::is_empty) {
            return wrong("has an output without a tap");
        }
        let in_range =
            |tap: &Tap| (tap.source as usize) < inputs && (tap.weight as usize) < weights;
        if !rows.iter().flatten().all(in_range) {
            return wrong("has a tap outside its inputs or weights");
        }
        let mut used = vec![false; weights];
        rows.iter().flatten().for_each(|tap| used[tap.weight as usize] = true);
        let biases = bias_of.iter().max().map_or(0, |&b| b as usize + 1);
        if biases > rows.len() {
            return wrong("has more biases than outputs");
        }
        let mut biases_used = vec![false; biases];
        bias_of.iter().for_each(|&b| biases_used[b as usize] = true);
        if used.contains(&false) || biases_used.contains(&false) {
            return wrong("has a weight or bias that nothing uses");
        }
        Ok(Self { inputs, weights, biases, taps: Taps::from_rows(rows), bias_of })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.weights
    }

    /// Number of biases.
    pub fn biases(&self) -> usize {
        self.biases
    }

    /// The list.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// The bias index of each output.
    pub fn bias_of(&self) -> &[u32] {
        &self.bias_of
    }

    /// The most taps of an output, and the most that meet an input.
    pub(super) fn gains(&self) -> (usize, usize) {
        let mut met = vec![0; self.inputs];
        self.taps.taps.iter().for_each(|tap| met[tap.source as usize] += 1);
        let widest = (0..self.taps.outputs()).map(|o| self.taps.of(o).len()).max();
        (widest.unwrap_or(0), met.into_iter().max().unwrap_or(0))
    }

    pub(super) fn each_run(&self, mut visit: impl FnMut(Run)) {
        for output in 0..self.taps.outputs() {
            for tap in self.taps.of(output) {
                let (source, entry) = (tap.source as usize, tap.weight as usize);
                visit(Run { output, source, entry, len: 1 });
            }
        }
    }
}
