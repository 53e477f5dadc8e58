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
use super::products::{multiply, product_of_each, threads};
use super::sums::{Accumulators, Factors, join};
use crate::kernel::Line;
use crate::ring::Ring;

/// Memory for the buckets that are in use at a time: a part of a core's own cache.
const BUCKETS: usize = 1 << 19;

/// Some neighbouring windows of a class of outputs.
struct Task<'c> {
    class: &'c Class,
    /// The first row of each window, and the end of the last one.
    cuts: Vec<usize>,
}

/// The factors of each output's planes: slot `output · planes + plane`.
pub(super) fn factors(
    ring: &Ring,
    layer: &Layer<'_>,
    classes: &[Class],
    load: &Workload,
) -> Vec<Factors> {
    let mut tasks = Vec::new();
    let mut total = 0;
    for class in classes {
        let rows = class.members.len() * layer.planes;
        let width = cost::window(load, rows, class.others);
        let windows = rows.div_ceil(width);
        total += windows * (class.others + (2 << width));
        let fit = (BUCKETS / core::mem::size_of::<Line>() / ring.stride()) >> width;
        let each = fit.clamp(1, windows.div_ceil(threads(total)));
        for first in (0..windows).step_by(each) {
            let last = (first + each).min(windows);
            let cuts = (first..=last).map(|window| window * rows / windows).collect();
            tasks.push(Task { class, cuts });
        }
    }
    match threads(total) {
        1 => tasks.iter().map(|task| task.run(ring, layer)).collect(),
        _ => tasks.par_iter().map(|task| task.run(ring, layer)).collect(),
    }
}

impl Task<'_> {
    fn windows(&self) -> impl ExactSizeIterator<Item = (usize, usize)> {
        self.cuts.windows(2).map(|cut| (cut[0], cut[1] - cut[0]))
    }

    fn run(&self, ring: &Ring, layer: &Layer<'_>) -> Factors {
        let (taps, planes) = (layer.taps, layer.planes);
        let width = self.windows().map(|(_, width)| width).max().expect("a task has windows");
        let (first, last) = (self.cuts[0], self.cuts[self.cuts.len() - 1]);
        let outputs = &self.class.members[first / planes..last.div_ceil(planes)];
        let skipped = first / planes * planes;
        let rows: Vec<_> = outputs.iter().map(|&output| taps.of(output as usize)).collect();

        let mut sums = Accumulators::new(ring, self.windows().len() << width);
        let mut queue = sums.queue();
        let mut string = BitString::default();
        for (i, tap) in rows[0].iter().enumerate() {
            string.clear();
            rows.iter().for_each(|row| string.push(layer.weights[row[i].weight as usize], planes));
            for (window, (start, width_here)) in self.windows().enumerate() {
                let bucket = string.cut(start - skipped, width_here);
                if bucket != 0 {
                    queue.push(window << width | bucket, layer.inputs[tap.source as usize]);
                }
            }
        }
        queue.finish();

        let parts = [sums.finish()];
        let mut joined = ring.empty();
        let buckets = join(ring, self.windows().len() << width, &parts, &mut joined);
        let windows: Vec<_> = buckets.chunks(1 << width).map(<[_]>::to_vec).collect();
        self.fold(ring, planes, &windows, Vec::new())
    }

    /// The rows of windows of as many buckets each, and those `done`, whose factors are known.
    fn fold<'f>(
        &self,
        ring: &Ring,
        planes: usize,
        windows: &[Vec<Option<&'f [Line]>>],
        mut done: Vec<(u32, Vec<&'f [Line]>)>,
    ) -> Factors {
        let half = windows[0].len() / 2;
        if half == 0 {
            let (slots, lists): (Vec<_>, Vec<_>) = done.into_iter().unzip();
            return Factors { slots, elements: product_of_each(ring, &lists) };
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for ((start, _), window) in self.windows().zip(windows) {
            let (lower, upper) = window.split_at(half);
            let top: Vec<_> = upper.iter().flatten().copied().collect();
            if !top.is_empty() {
                let row = start + half.trailing_zeros() as usize;
                let slot = self.class.members[row / planes] as usize * planes + row % planes;
                done.push((u32::try_from(slot).expect("fewer planes than 2^32"), top));
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
