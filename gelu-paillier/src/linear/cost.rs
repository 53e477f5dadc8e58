//! What a layer costs by each algorithm, in products; and which one is taken.
//!
//! With b planes a weight, N inputs and M outputs of a dense layer, or of the part of a sparse one
//! in which they all meet, a multiply-accumulate costs about
//!
//! | algorithm | products | best for |
//! |---|---|---|
//! | [`subsets`](super::subsets), g inputs together | b'/g + 2^g/(g·M) | most layers |
//! | [`powers`](super::powers), windows of w bits | (b + 1)/(w + 1) + 2^(w−1)/M | inputs that share their outputs with few others |
//! | [`buckets`](super::buckets), windows of c rows | b/c · (1 + 2^(c+1)/N) | few outputs of many inputs |
//!
//! where b' ≤ b planes suffice for a group of g ([`offsets`](super::offsets)),
//! and the functions below count more exactly: what is only copied, digits that are 0, groups of
//! unequal size, inversions. All algorithms end with planes that [`horner`](super::horner) joins;
//! that is left out. Examples, at 2048 bits:
//!
//! | layer | bits | products a multiply-accumulate | algorithm |
//! |---|---|---|---|
//! | dense 784 to 300 | 6, 8, 12, 16 | 0.86, 1.08, 1.53, 1.98 | subsets, g = 9 and 10 |
//! | dense 784 to 300 | 62 | 6.3 | subsets, g = 11 |
//! | dense 256 to 120 | 8 | 1.28 | subsets |
//! | dense 784 to 10 | 8 | 1.5 | buckets, c = 8 |
//! | 16 filters of 5x5 on 6 channels of 12x12 | 8 | 1.3 | subsets |
//! | 6 filters of 5x5 on 28x28 | 8 | 1.6 | powers |
//!
//! Windows of several bits for several inputs, with tables of 2^(g·w) entries, would contain both
//! subsets and powers, but nothing that is better than both: for as many entries, more inputs or odd
//! powers always save more products.

use super::digits::{MOST, WIDEST, Wnaf};
use super::layer::{InputClass, Layer, OutputClass};
use super::offsets::Fit;
use super::products::threads;
use crate::kernel::Line;
use crate::ring::Ring;

/// Memory for one table of [subsets](super::subsets), or for the [buckets](super::buckets) of one
/// window: most of a core's own cache. With twice as much, the products saved are lost again.
const MOST_MEMORY: usize = 3 << 19;

/// Memory for the tables of a pass. Operands are announced to the processor early enough, so that
/// tables need not fit in a core's own cache; and longer passes read and write the sums less often.
const TABLES: usize = 1 << 23;

/// What one inversion costs, in products (with the fast kernel, at 2048 bits).
const INVERSION: f64 = 140.0;

/// What a product costs more than elsewhere where lists are short and uneven, so that lanes stay
/// empty and operands are read anew (measured: 1.03 to 1.2).
const UNEVEN: f64 = 1.1;

/// What a square costs, in products.
const SQUARE: f64 = 0.8;

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
    /// The offsets of [`subsets`](super::subsets).
    pub(super) fit: Fit,
    /// Bit positions at which a weight has wNAF digits.
    pub(super) positions: usize,
    /// The mean number of wNAF digits, for each width.
    pub(super) digits: [f64; WIDEST + 1],
    /// The most that a group or window is worth, whatever else would be gained.
    pub(super) widest: usize,
    /// How many entries the tables of a pass may have.
    pub(super) room: usize,
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
        let widest = ((MOST_MEMORY / element).max(2).ilog2() as usize).min(MOST);
        let fit = Fit::new(layer, widest, |fit| fitted(layer, widest, fit));
        Self {
            outputs: layer.taps.outputs(),
            planes: layer.planes,
            signed: layer.signed,
            fit,
            // |k| ≤ 2^planes, and the last carry goes one further.
            positions: layer.planes + 1,
            digits,
            room: TABLES / element,
            widest,
        }
    }
}

/// The products of some of `width` things that are not the things themselves, nor empty.
fn table(width: usize) -> f64 {
    ((1u64 << width) - 1) as f64 - width as f64
}

/// The share of digits of `width` random bits that are not 0.
fn present(width: usize) -> f64 {
    1.0 - (0.5f64).powi(i32::try_from(width).expect("few bits"))
}

/// Splits `count` into parts of at most `size`, as equal as can be, and sums up their costs.
fn in_parts(count: usize, size: usize, cost: impl Fn(usize) -> f64) -> f64 {
    let parts = count.div_ceil(size).max(1);
    let (least, more) = (count / parts, count % parts);
    more as f64 * cost(least + 1) + (parts - more) as f64 * cost(least)
}

/// Inputs with `uses` outputs each, in groups of g: a product for each table entry, and one for
/// each group and plane.
fn subsets(fit: &Fit, inputs: usize, uses: usize, g: usize) -> f64 {
    in_parts(inputs, g, |g| table(g) + present(g) * fit.planes[g] * uses as f64)
}

/// The size of groups that costs least.
pub(super) fn group_size(load: &Workload, inputs: usize, uses: usize) -> usize {
    size_for(&load.fit, load.widest, inputs, uses)
}

fn size_for(fit: &Fit, widest: usize, inputs: usize, uses: usize) -> usize {
    cheapest(1..=widest.min(inputs), |g| subsets(fit, inputs, uses, g))
}

/// What the planes of an output that may be negative cost more than one: to be joined.
fn joining(fit: &Fit, planes: usize) -> f64 {
    SQUARE * (planes.saturating_sub(1) - fit.grain) as f64
}

/// What a layer costs that is like its largest class of inputs, up to what is the same for all offsets.
fn fitted(layer: &Layer<'_>, widest: usize, fit: &Fit) -> f64 {
    let Some(class) = layer.groups.iter().max_by_key(|class| class.members.len() * class.uses)
    else {
        return 0.0;
    };
    let (inputs, uses) = (class.members.len(), class.uses);
    let share = (inputs * uses) as f64 / layer.taps.len() as f64;
    subsets(fit, inputs, uses, size_for(fit, widest, inputs, uses))
        + share * layer.taps.outputs() as f64 * joining(fit, layer.planes)
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
    inputs: &[InputClass],
    outputs: &[OutputClass],
) -> f64 {
    let inversions = |count: usize| 3.0 * count as f64 + INVERSION;
    let signs = if load.signed { inversions(load.outputs) } else { 0.0 };
    match algorithm {
        Algorithm::Subsets => {
            let products = |class: &InputClass| {
                let (members, uses) = (class.members.len(), class.uses);
                subsets(&load.fit, members, uses, group_size(load, members, uses))
            };
            let products: f64 = inputs.iter().map(products).sum();
            let joining = load.outputs as f64 * joining(&load.fit, load.planes);
            products - (load.outputs * load.planes) as f64 + signs + joining
        }
        Algorithm::Powers => {
            let products = |class: &InputClass| {
                class.members.len() as f64 * powers(load, class.uses, width(load, class.uses))
            };
            let products: f64 = inputs.iter().map(products).sum();
            let count = inputs.iter().map(|class| class.members.len()).sum();
            UNEVEN * (products - (load.outputs * load.positions) as f64) + inversions(count)
        }
        Algorithm::Buckets => {
            let products = |class: &OutputClass| {
                let (rows, sources) = (class.members.len() * load.planes, class.sources);
                buckets(rows, sources, window(load, rows, sources))
            };
            UNEVEN * outputs.iter().map(products).sum::<f64>() + signs
        }
    }
}

/// The algorithm that costs least.
pub(super) fn choose(load: &Workload, inputs: &[InputClass], outputs: &[OutputClass]) -> Algorithm {
    let cost = |algorithm| cost(algorithm, load, inputs, outputs);
    [Algorithm::Subsets, Algorithm::Powers, Algorithm::Buckets]
        .into_iter()
        .min_by(|&a, &b| cost(a).total_cmp(&cost(b)))
        .expect("there are algorithms")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Pair, convolution, dense};
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::rng;
    use gelu_core::linear::Taps;
    use rand_core::Rng;

    /// The choice for a layer with uniform weights, and its products a multiply-accumulate.
    fn choice(pair: &Pair, taps: &Taps, bits: u32) -> (Algorithm, f64) {
        let weights = (0..taps.outputs()).flat_map(|o| taps.of(o)).map(|tap| tap.weight + 1).max();
        let mut rng = rng(1);
        let weights: Vec<i128> = (0..weights.unwrap())
            .map(|_| i128::from(rng.next_u64().cast_signed()) >> (64 - bits))
            .collect();
        let units = pair.import(&pair.units(1, 1));
        let inputs = (0..taps.outputs()).flat_map(|o| taps.of(o)).map(|tap| tap.source + 1).max();
        let inputs = vec![units.get(0); inputs.unwrap() as usize];
        let layer = Layer::new(taps, &weights, &inputs);
        let load = Workload::new(&pair.ring, &layer);
        let algorithm = choose(&load, &layer.groups, &layer.outputs);
        let cost = cost(algorithm, &load, &layer.groups, &layer.outputs);
        (algorithm, cost / taps.len() as f64)
    }

    #[test]
    fn choices() {
        // With many cores, windows are shorter.
        rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap()
            .install(choices_of_one_core);
    }

    fn choices_of_one_core() {
        use Algorithm::{Buckets, Powers, Subsets};
        let pair = Pair::new(2048, Choice::Best);
        let cases = [
            (dense(300, 784), 6, Subsets, 0.86),
            (dense(300, 784), 8, Subsets, 1.08),
            (dense(300, 784), 12, Subsets, 1.53),
            (dense(300, 784), 16, Subsets, 1.98),
            (dense(300, 784), 62, Subsets, 6.3),
            (dense(784, 300), 62, Subsets, 5.8),
            (dense(10, 300), 62, Subsets, 10.4),
            (dense(120, 256), 8, Subsets, 1.28),
            (dense(84, 120), 8, Subsets, 1.34),
            (dense(10, 784), 8, Buckets, 1.45),
            (dense(1, 784), 8, Buckets, 1.65),
            (convolution(12, 6, 5, 1, 16), 8, Subsets, 1.33),
            (convolution(12, 6, 6, 2, 16), 9, Subsets, 1.5),
            (convolution(28, 1, 6, 2, 6), 9, Subsets, 2.0),
            (convolution(28, 1, 5, 1, 6), 8, Powers, 1.55),
        ];
        for (taps, bits, algorithm, products) in cases {
            let got = choice(&pair, &taps, bits);
            let shape = (taps.len() / taps.outputs(), taps.outputs(), bits);
            assert_eq!(got.0, algorithm, "{shape:?}: {got:?}");
            assert!((got.1 / products - 1.0).abs() < 0.05, "{shape:?}: {got:?}");
        }
    }
}
