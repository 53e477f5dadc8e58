//! Buckets (Pippenger's method): the transpose of [`subsets`](super::subsets), for few outputs.
//!
//! Outputs that read the same inputs have together R bit planes, their *rows*. In a window of c
//! rows an input takes part in some of them; it goes into the bucket that says which:
//!
//! ```text
//! bucket_d  =  Π  x   over the inputs whose bits in the window's rows are d
//! row_r     =  Π  bucket_d   over the d that have bit r
//! ```
//!
//! That is one product for an input and a window. To get from 2^c buckets to c rows, the upper half
//! of the buckets makes the top row, and is then merged into the lower half, whose rows remain:
//! 2·(2^c − c − 1) products.

use rayon::prelude::*;

use super::cost::{self, Workload};
use super::digits::BitString;
use super::layer::{Layer, OutputClass};
use super::products::{Lists, Products, multiply, threads};
use super::sums::{Slots, Sums};
use crate::kernel::Line;
use crate::ring::Ring;

/// Memory for the buckets of the windows that are folded together, to fill the lanes.
const BUCKETS: usize = 1 << 21;

/// Some neighbouring windows of a class of outputs.
struct Task<'c> {
    class: &'c OutputClass,
    /// The first row of each window, and the end of the last one.
    cuts: Vec<usize>,
}

/// The products of each output's planes; in two's complement, the top one is negative.
pub(super) fn sums(ring: &Ring, layer: &Layer<'_>, load: &Workload) -> Sums {
    let planes = layer.planes;
    let slots = Slots { planes, lowest: planes - usize::from(layer.signed) };
    let mut tasks = Vec::new();
    let mut total = 0;
    for class in &layer.outputs {
        let rows = class.members.len() * layer.planes;
        let width = cost::window(load, rows, class.sources);
        let windows = rows.div_ceil(width);
        let products = windows * (class.sources + (2 << width));
        let fit = (BUCKETS / core::mem::size_of::<Line>() / ring.stride()) >> width;
        let each = windows.div_ceil(threads(products)).min(fit.max(1));
        for first in (0..windows).step_by(each) {
            let last = (first + each).min(windows);
            let cuts = (first..=last).map(|window| window * rows / windows).collect();
            tasks.push(Task { class, cuts });
        }
        total += products;
    }
    let rows: Vec<_> = match threads(total) {
        1 => tasks.iter().map(|task| task.run(ring, layer, slots)).collect(),
        _ => tasks.par_iter().map(|task| task.run(ring, layer, slots)).collect(),
    };
    let mut sums = Sums::new(ring, layer.taps.outputs(), slots, 0);
    for (slots, products) in rows {
        slots.iter().zip(products.iter()).for_each(|(&slot, product)| sums.set(slot, product));
    }
    sums
}

impl Task<'_> {
    fn windows(&self) -> impl ExactSizeIterator<Item = (usize, usize)> {
        self.cuts.windows(2).map(|cut| (cut[0], cut[1] - cut[0]))
    }

    /// The slots of the rows that are not empty, and their products.
    fn run(&self, ring: &Ring, layer: &Layer<'_>, slots: Slots) -> (Vec<usize>, Products) {
        let (taps, planes) = (layer.taps, layer.planes);
        let width = self.windows().map(|(_, width)| width).max().expect("a task has windows");
        let (first, last) = (self.cuts[0], self.cuts[self.cuts.len() - 1]);
        let outputs = &self.class.members[first / planes..last.div_ceil(planes)];
        let skipped = first / planes * planes;
        let rows: Vec<_> = outputs.iter().map(|&output| taps.of(output as usize)).collect();

        // The bucket of each input in each window, one window behind the other.
        let count = rows[0].len();
        let mut buckets = vec![0u16; self.windows().len() * count];
        let mut string = BitString::default();
        for i in 0..count {
            string.clear();
            rows.iter().for_each(|row| string.push(layer.weights[row[i].weight as usize], planes));
            for (window, (start, width)) in self.windows().enumerate() {
                buckets[window * count + i] = string.cut(start - skipped, width);
            }
        }
        let inputs: Vec<&[Line]> =
            rows[0].iter().map(|tap| layer.inputs[tap.source as usize]).collect();
        let mut lists = Lists::default();
        let mut filled = vec![false; self.windows().len() << width];
        for (buckets, filled) in
            buckets.chunks_exact(count).zip(filled.chunks_exact_mut(1 << width))
        {
            sort(buckets, &inputs, filled, &mut lists);
        }
        let products = lists.products(ring);
        let mut next = products.iter();
        let bucket = |filled: &bool| filled.then(|| next.next()).flatten();
        let buckets: Vec<Option<&[Line]>> = filled.iter().map(bucket).collect();
        let windows: Vec<_> = buckets.chunks(1 << width).map(<[_]>::to_vec).collect();
        self.fold(ring, slots, &windows, (Vec::new(), Lists::default()))
    }

    /// The rows of windows of as many buckets each, besides those that are `done`.
    fn fold<'f>(
        &self,
        ring: &Ring,
        slots: Slots,
        windows: &[Vec<Option<&'f [Line]>>],
        mut done: (Vec<usize>, Lists<'f>),
    ) -> (Vec<usize>, Products) {
        let half = windows[0].len() / 2;
        if half == 0 {
            return (done.0, done.1.products(ring));
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for ((start, _), window) in self.windows().zip(windows) {
            let (lower, upper) = window.split_at(half);
            if upper.iter().any(Option::is_some) {
                let row = start + half.trailing_zeros() as usize;
                let output = self.class.members[row / slots.planes] as usize;
                done.0.push(match row % slots.planes {
                    plane if plane < slots.lowest => slots.positive(output, plane),
                    plane => slots.negative(output, plane),
                });
                done.1.extend(upper.iter().flatten().copied());
            }
            for (lower, upper) in lower.iter().zip(upper).skip(1) {
                if let (Some(lower), Some(upper)) = (lower, upper) {
                    a.push(*lower);
                    b.push(*upper);
                }
            }
        }
        let merged = multiply(ring, &a, &b);
        let mut merged = merged.iter();
        let windows: Vec<Vec<_>> = windows
            .iter()
            .map(|window| {
                let (lower, upper) = window.split_at(half);
                let merge = |(i, (lower, upper)): (usize, (&Option<_>, &Option<_>))| match i {
                    0 => None,
                    _ if lower.is_some() && upper.is_some() => merged.next(),
                    _ => lower.or(*upper),
                };
                lower.iter().zip(upper).enumerate().map(merge).collect()
            })
            .collect();
        self.fold(ring, slots, &windows, done)
    }
}

/// Adds a list for each bucket but 0 that has inputs, and says which do.
fn sort<'f>(buckets: &[u16], inputs: &[&'f [Line]], filled: &mut [bool], lists: &mut Lists<'f>) {
    let mut starts = vec![0; filled.len() + 1];
    buckets.iter().for_each(|&bucket| starts[usize::from(bucket) + 1] += 1);
    for bucket in 0..filled.len() {
        filled[bucket] = bucket > 0 && starts[bucket + 1] > 0;
        starts[bucket + 1] += starts[bucket];
    }
    let mut ends = starts.clone();
    let mut sorted: Vec<&[Line]> = vec![&[]; inputs.len()];
    for (&bucket, input) in buckets.iter().zip(inputs) {
        let end = &mut ends[usize::from(bucket)];
        sorted[*end] = input;
        *end += 1;
    }
    for bucket in (0..filled.len()).filter(|&bucket| filled[bucket]) {
        lists.extend(sorted[starts[bucket]..starts[bucket + 1]].iter().copied());
    }
}
