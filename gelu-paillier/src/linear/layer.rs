//! A layer as the algorithms want to see it: what reaches the same, or is reached by the same, is
//! together.

use std::collections::HashMap;

use gelu_core::linear::{Tap, Taps};

use super::digits::signed_length;
use crate::kernel::Line;

/// A matrix and the ciphertexts that it is applied to.
pub(super) struct Layer<'a> {
    pub(super) taps: &'a Taps,
    pub(super) weights: &'a [i128],
    pub(super) inputs: &'a [&'a [Line]],
    /// Bits of a weight: in two's complement if there are negative ones.
    pub(super) planes: usize,
    /// Whether there are negative weights: the top plane then counts −2^(planes − 1).
    pub(super) signed: bool,
    /// The outputs, those that read the same inputs in the same order together.
    pub(super) outputs: Vec<OutputClass>,
    /// The inputs, those that reach the same outputs together.
    pub(super) groups: Vec<InputClass>,
    columns: Columns,
}

/// Outputs that read the same inputs in the same order, for example the filters of a convolution
/// at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutputClass {
    pub(super) members: Vec<u32>,
    /// How many inputs they read.
    pub(super) sources: usize,
}

/// Inputs that reach the same outputs, for example the channels of a convolution at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputClass {
    pub(super) members: Vec<u32>,
    /// How many outputs they reach.
    pub(super) uses: usize,
}

/// Which classes of outputs read an input, and where in their rows it stands.
struct Columns {
    starts: Vec<u32>,
    classes: Vec<u32>,
    positions: Vec<u32>,
}

impl<'a> Layer<'a> {
    pub(super) fn new(taps: &'a Taps, weights: &'a [i128], inputs: &'a [&'a [Line]]) -> Self {
        // All bits that differ from their number's sign, and all signs.
        let (bits, signs) = weights
            .iter()
            .fold((0, 0), |(bits, signs), &k| (bits | (k ^ (k >> (i128::BITS - 1))), signs | k));
        let (signed, length) = (signs < 0, signed_length(bits));
        let planes = if signed { length } else { length - 1 };
        let outputs = output_classes(taps);
        let columns = Columns::new(taps, &outputs, inputs.len());
        let groups = input_classes(&outputs, &columns, inputs.len());
        Self { taps, weights, inputs, planes, signed, outputs, groups, columns }
    }

    /// The classes of outputs that read an input, ascending.
    pub(super) fn readers(&self, input: u32) -> impl Iterator<Item = &OutputClass> {
        let classes = &self.columns.classes[self.columns.range(input)];
        classes.iter().map(|&class| &self.outputs[class as usize])
    }

    /// The weight of an input in an output of the class that is number `reader` of its
    /// [`readers`](Self::readers).
    pub(super) fn weight(&self, output: usize, input: u32, reader: u32) -> i128 {
        let range = self.columns.range(input);
        let position = self.columns.positions[range][reader as usize];
        self.weights[self.taps.of(output)[position as usize].weight as usize]
    }
}

fn output_classes(taps: &Taps) -> Vec<OutputClass> {
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut classes: Vec<OutputClass> = Vec::new();
    let mut last = None;
    for (output, number) in (0..taps.outputs()).zip(0..) {
        let row = taps.of(output);
        if row.is_empty() {
            continue;
        }
        // Most often an output is like the one before.
        let class = match last {
            Some((other, class)) if same_sources(row, taps.of(other)) => class,
            _ => {
                let sources = row.iter().map(|tap| tap.source).collect();
                *known.entry(sources).or_insert(classes.len())
            }
        };
        if class == classes.len() {
            classes.push(OutputClass { members: Vec::new(), sources: row.len() });
        }
        classes[class].members.push(number);
        last = Some((output, class));
    }
    classes
}

fn same_sources(a: &[Tap], b: &[Tap]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.source == b.source)
}

fn input_classes(outputs: &[OutputClass], columns: &Columns, inputs: usize) -> Vec<InputClass> {
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let mut classes: Vec<InputClass> = Vec::new();
    for input in (0..).take(inputs) {
        let readers = &columns.classes[columns.range(input)];
        if readers.is_empty() {
            continue;
        }
        let class = *known.entry(readers).or_insert(classes.len());
        if class == classes.len() {
            let uses = readers.iter().map(|&class| outputs[class as usize].members.len()).sum();
            classes.push(InputClass { members: Vec::new(), uses });
        }
        classes[class].members.push(input);
    }
    classes
}

impl Columns {
    fn new(taps: &Taps, outputs: &[OutputClass], inputs: usize) -> Self {
        let row = |class: &OutputClass| taps.of(class.members[0] as usize);
        let mut starts = vec![0u32; inputs + 1];
        for tap in outputs.iter().flat_map(row) {
            starts[tap.source as usize + 1] += 1;
        }
        for i in 0..inputs {
            starts[i + 1] += starts[i];
        }
        let mut ends = starts.clone();
        let mut classes = vec![0; starts[inputs] as usize];
        let mut positions = classes.clone();
        for (number, class) in (0..).zip(outputs) {
            for (position, tap) in (0..).zip(row(class)) {
                let end = &mut ends[tap.source as usize];
                classes[*end as usize] = number;
                positions[*end as usize] = position;
                *end += 1;
            }
        }
        Self { starts, classes, positions }
    }

    fn range(&self, input: u32) -> core::ops::Range<usize> {
        self.starts[input as usize] as usize..self.starts[input as usize + 1] as usize
    }
}
