//! A layer as the algorithms want to see it: by columns, and with equal columns and rows together.

use std::collections::HashMap;

use gelu_core::linear::Taps;

use super::digits::signed_length;
use crate::kernel::Line;

/// A matrix and the ciphertexts that it is applied to.
pub(super) struct Layer<'a> {
    pub(super) taps: &'a Taps,
    pub(super) weights: &'a [i128],
    pub(super) inputs: &'a [&'a [Line]],
    pub(super) columns: Columns,
    /// Bits of a weight: in two's complement if there are negative ones.
    pub(super) planes: usize,
    /// Whether there are negative weights: the top plane then counts −2^(planes − 1).
    pub(super) signed: bool,
}

/// The matrix by inputs: which outputs an input reaches, and by which weights.
pub(super) struct Columns {
    starts: Vec<u32>,
    outputs: Vec<u32>,
    weights: Vec<u32>,
}

/// Things that reach, or are reached by, the same list of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) members: Vec<u32>,
    /// The length of that list.
    pub(super) others: usize,
}

impl<'a> Layer<'a> {
    pub(super) fn new(taps: &'a Taps, weights: &'a [i128], inputs: &'a [&'a [Line]]) -> Self {
        // All bits that differ from their number's sign, and all signs.
        let bits = weights.iter().fold(0, |bits, &k| bits | (k ^ (k >> 127)));
        let signed = weights.iter().fold(0, |signs, &k| signs | k) < 0;
        let length = signed_length(bits);
        let planes = if signed { length } else { length.saturating_sub(1) };
        let columns = Columns::new(taps, inputs.len());
        Self { taps, weights, inputs, columns, planes, signed }
    }

    /// The inputs, those that reach the same outputs together; each class in ascending order.
    pub(super) fn input_classes(&self) -> Vec<Class> {
        classes((0..self.inputs.len()).map(|input| self.columns.outputs(input)))
    }

    /// The outputs, those that read the same inputs in the same order together.
    pub(super) fn output_classes(&self) -> Vec<Class> {
        let sources: Vec<u32> = (0..self.taps.outputs())
            .flat_map(|output| self.taps.of(output))
            .map(|tap| tap.source)
            .collect();
        let mut rest = &sources[..];
        classes((0..self.taps.outputs()).map(|output| {
            let (row, tail) = rest.split_at(self.taps.of(output).len());
            rest = tail;
            row
        }))
    }
}

/// Numbers lists and collects the numbers of equal ones; those of empty lists are left out.
fn classes<'l>(lists: impl Iterator<Item = &'l [u32]>) -> Vec<Class> {
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for (number, list) in (0..).zip(lists).filter(|(_, list)| !list.is_empty()) {
        let class = *known.entry(list).or_insert(classes.len());
        if class == classes.len() {
            classes.push(Class { members: Vec::new(), others: list.len() });
        }
        classes[class].members.push(number);
    }
    classes
}

impl Columns {
    fn new(taps: &Taps, inputs: usize) -> Self {
        let mut starts = vec![0u32; inputs + 1];
        let all = |output| taps.of(output).iter();
        for tap in (0..taps.outputs()).flat_map(all) {
            starts[tap.source as usize + 1] += 1;
        }
        for i in 0..inputs {
            starts[i + 1] += starts[i];
        }
        let mut ends = starts.clone();
        let mut outputs = vec![0; taps.len()];
        let mut weights = outputs.clone();
        for (output, number) in (0..taps.outputs()).zip(0u32..) {
            for tap in taps.of(output) {
                let end = &mut ends[tap.source as usize];
                outputs[*end as usize] = number;
                weights[*end as usize] = tap.weight;
                *end += 1;
            }
        }
        Self { starts, outputs, weights }
    }

    fn range(&self, input: usize) -> core::ops::Range<usize> {
        self.starts[input] as usize..self.starts[input + 1] as usize
    }

    /// The outputs that an input reaches, ascending.
    pub(super) fn outputs(&self, input: usize) -> &[u32] {
        &self.outputs[self.range(input)]
    }

    /// The numbers of the weights by which it does.
    pub(super) fn weights(&self, input: usize) -> &[u32] {
        &self.weights[self.range(input)]
    }
}
