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
use super::layer::{Class, Layer};
use super::products::{Lists, Products, multiply, threads};
use super::sums::Sums;
use crate::kernel::Line;
use crate::ring::Ring;

/// Windows whose buckets are folded together, to fill the lanes.
const TOGETHER: usize = 8;

/// Some neighbouring windows of a class of outputs.
struct Task<'c> {
    class: &'c Class,
    /// The first row of each window, and the end of the last one.
    cuts: Vec<usize>,
}

/// The products of each output's planes: slot `output · planes + plane`.
pub(super) fn sums(ring: &Ring, layer: &Layer<'_>, classes: &[Class], load: &Workload) -> Sums {
    let mut tasks = Vec::new();
    let mut total = 0;
    for class in classes {
        let rows = class.members.len() * layer.planes;
        let width = cost::window(load, rows, class.others);
        let windows = rows.div_ceil(width);
        let products = windows * (class.others + (2 << width));
        let each = windows.div_ceil(threads(products)).min(TOGETHER);
        for first in (0..windows).step_by(each) {
            let last = (first + each).min(windows);
            let cuts = (first..=last).map(|window| window * rows / windows).collect();
            tasks.push(Task { class, cuts });
        }
        total += products;
    }
    let rows: Vec<_> = match threads(total) {
        1 => tasks.iter().map(|task| task.run(ring, layer)).collect(),
        _ => tasks.par_iter().map(|task| task.run(ring, layer)).collect(),
    };
    let mut sums = Sums::new(ring, layer.taps.outputs(), layer.planes, 0);
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
    fn run(&self, ring: &Ring, layer: &Layer<'_>) -> (Vec<usize>, Products) {
        let (taps, planes) = (layer.taps, layer.planes);
        let width = self.windows().map(|(_, width)| width).max().expect("a task has windows");
        let (first, last) = (self.cuts[0], self.cuts[self.cuts.len() - 1]);
        let outputs = &self.class.members[first / planes..last.div_ceil(planes)];
        let skipped = first / planes * planes;
        let rows: Vec<_> = outputs.iter().map(|&output| taps.of(output as usize)).collect();

        let mut buckets: Vec<Vec<&[Line]>> = vec![Vec::new(); self.windows().len() << width];
        let mut string = BitString::default();
        for (i, tap) in rows[0].iter().enumerate() {
            string.clear();
            rows.iter().for_each(|row| string.push(layer.weights[row[i].weight as usize], planes));
            for (window, (start, width_here)) in self.windows().enumerate() {
                match string.cut(start - skipped, width_here) {
                    0 => {}
                    d => buckets[window << width | d].push(layer.inputs[tap.source as usize]),
                }
            }
        }
        let mut lists = Lists::default();
        let filled = |bucket: &&Vec<_>| !bucket.is_empty();
        buckets.iter().filter(filled).for_each(|bucket| lists.extend(bucket.iter().copied()));
        let products = lists.products(ring);
        let mut next = products.iter();
        let bucket = |bucket| filled(&bucket).then(|| next.next()).flatten();
        let buckets: Vec<Option<&[Line]>> = buckets.iter().map(bucket).collect();
        let windows: Vec<_> = buckets.chunks(1 << width).map(<[_]>::to_vec).collect();
        self.fold(ring, planes, &windows, (Vec::new(), Lists::default()))
    }

    /// The rows of windows of as many buckets each, besides those that are `done`.
    fn fold<'f>(
        &self,
        ring: &Ring,
        planes: usize,
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
                done.0.push(self.class.members[row / planes] as usize * planes + row % planes);
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
        self.fold(ring, planes, &windows, done)
    }
}
