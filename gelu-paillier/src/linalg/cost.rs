//! What a layer costs by each algorithm, in products; and which one is taken.

use super::digits::{MOST, WIDEST, Wnaf};
use super::layer::{Class, Layer};
use super::products::threads;
use crate::kernel::Line;
use crate::ring::Ring;

/// Memory for one table of [subsets](super::subsets) or one set of [buckets](super::buckets): most
/// of a core's own cache.
const MOST_MEMORY: usize = 3 << 19;

/// What one inversion costs, in products (with the fast kernel, at 2048 bits).
const INVERSION: f64 = 140.0;

/// A usual size of a group, where a rough count will do.
pub(super) const MEAN_GROUP: usize = 6;

/// Weights that are looked at to learn how many digits they have.
const SAMPLE: usize = 64;

/// How a layer is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// [`subsets`](super::subsets)
    Subsets,
    /// [`powers`](super::powers)
    Powers,
    /// [`buckets`](super::buckets)
    Buckets,
}

/// What the cost depends on, besides the classes of inputs and outputs.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) outputs: usize,
    /// Bit planes of a weight in two's complement.
    pub(super) planes: usize,
    /// Whether the top plane is negative.
    pub(super) signed: bool,
    /// Bit positions at which a weight has wNAF digits.
    pub(super) positions: usize,
    /// The mean number of wNAF digits, for each width.
    pub(super) digits: [f64; WIDEST + 1],
    /// The most that a group or window is worth, whatever else would be gained.
    pub(super) widest: usize,
}

impl Workload {
    pub(super) fn new(ring: &Ring, layer: &Layer<'_>) -> Self {
        let weights = layer.weights;
        let sample = || weights.iter().step_by(weights.len().div_ceil(SAMPLE).max(1));
        let digits = core::array::from_fn(|width| {
            let digits = |k: &i128| Wnaf::new(k.unsigned_abs(), width).count();
            if width < 2 {
                return 0.0;
            }
            sample().map(digits).sum::<usize>() as f64 / sample().len().max(1) as f64
        });
        let element = core::mem::size_of::<Line>() * ring.stride();
        Self {
            outputs: layer.taps.outputs(),
            planes: layer.planes,
            signed: layer.signed,
            // |k| ≤ 2^planes, and the last carry goes one further.
            positions: layer.planes + 1,
            digits,
            widest: ((MOST_MEMORY / element).max(2).ilog2() as usize).min(MOST),
        }
    }
}

/// The products of `groups` − 1 that are not needed: entries of a table with one input, the first
/// factor of every accumulator, and so on, are copies.
fn table(width: usize) -> f64 {
    ((1u64 << width) - 1) as f64 - width as f64
}

/// The share of digits of `width` random bits that are not 0.
fn present(width: usize) -> f64 {
    1.0 - (0.5f64).powi(i32::try_from(width).expect("few bits"))
}

/// Splits `count` into parts of at most `size`, as equal as can be, and sums up their costs.
fn in_parts(count: usize, size: usize, cost: impl Fn(usize) -> f64) -> f64 {
    let parts = count.div_ceil(size);
    let (least, more) = (count / parts, count % parts);
    more as f64 * cost(least + 1) + (parts - more) as f64 * cost(least)
}

/// Inputs with `uses` outputs each, in groups of g: a product for each table entry, and one for
/// each group and plane.
fn subsets(load: &Workload, inputs: usize, uses: usize, g: usize) -> f64 {
    in_parts(inputs, g, |g| table(g) + present(g) * (uses * load.planes) as f64)
}

/// The size of groups that costs least.
pub(super) fn group_size(load: &Workload, inputs: usize, uses: usize) -> usize {
    cheapest(1..=load.widest.min(inputs), |g| subsets(load, inputs, uses, g))
}

/// An input with `uses` outputs and windows of width w: powers of both signs, and the digits.
fn powers(load: &Workload, uses: usize, w: usize) -> f64 {
    2.0 * (1u64 << (w - 2)) as f64 - if w == 2 { 2.0 } else { 0.4 } + uses as f64 * load.digits[w]
}

/// The width of windows that costs least.
pub(super) fn width(load: &Workload, uses: usize) -> usize {
    cheapest(2..=WIDEST.min(load.widest), |w| powers(load, uses, w))
}

/// Outputs with `rows` planes and `inputs` inputs, in windows of c rows: a product for each input,
/// and two for each bucket.
fn buckets(rows: usize, inputs: usize, c: usize) -> f64 {
    in_parts(rows, c, |c| {
        let copies = (((1u64 << c) - 1) as f64).min(inputs as f64);
        inputs as f64 * present(c) - copies + (2.0 * table(c)).min(copies * c as f64 / 2.0)
    })
}

/// The width of windows that costs least.
pub(super) fn window(load: &Workload, rows: usize, inputs: usize) -> usize {
    // With less than one window for each core, cores would stand idle.
    let most = load.widest.min(rows.div_ceil(threads(rows * inputs / 8)));
    cheapest(1..=most.max(1), |c| buckets(rows, inputs, c))
}

fn cheapest(sizes: impl Iterator<Item = usize>, cost: impl Fn(usize) -> f64) -> usize {
    sizes.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).expect("there are sizes")
}

/// Products for a layer, up to what is the same for all algorithms.
pub(super) fn cost(
    algorithm: Algorithm,
    load: &Workload,
    inputs: &[Class],
    outputs: &[Class],
) -> f64 {
    let sum = |classes: &[Class], cost: &dyn Fn(usize, usize) -> f64| -> f64 {
        classes.iter().map(|class| cost(class.members.len(), class.others)).sum()
    };
    let inversions = |count: usize| 3.0 * count as f64 + INVERSION;
    let signs = if load.signed { inversions(load.outputs) } else { 0.0 };
    match algorithm {
        Algorithm::Subsets => {
            let products = sum(inputs, &|inputs, uses| {
                subsets(load, inputs, uses, group_size(load, inputs, uses))
            });
            products - (load.outputs * load.planes) as f64 + signs
        }
        Algorithm::Powers => {
            let count = inputs.iter().map(|class| class.members.len()).sum();
            let products =
                sum(inputs, &|inputs, uses| inputs as f64 * powers(load, uses, width(load, uses)));
            products - (load.outputs * load.positions) as f64 + inversions(count)
        }
        Algorithm::Buckets => {
            let products = sum(outputs, &|outputs, inputs| {
                let rows = outputs * load.planes;
                buckets(rows, inputs, window(load, rows, inputs))
            });
            products + signs
        }
    }
}

/// The algorithm that costs least.
pub(super) fn choose(load: &Workload, inputs: &[Class], outputs: &[Class]) -> Algorithm {
    [Algorithm::Subsets, Algorithm::Powers, Algorithm::Buckets]
        .into_iter()
        .min_by(|&a, &b| cost(a, load, inputs, outputs).total_cmp(&cost(b, load, inputs, outputs)))
        .expect("there are algorithms")
}
