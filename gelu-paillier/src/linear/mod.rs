//! Encrypted linear algebra: Σᵢ kᵢ·aᵢ on plaintexts is Πᵢ cᵢ^kᵢ on ciphertexts.
//!
//! # Method
//! A layer is computed as a whole, because its outputs share inputs:
//!
//! ```text
//! out_o  =  Πᵢ xᵢ^(W_oi)  =  Π_p plane_(o,p)^(2^p),       plane_(o,p)  =  Πᵢ xᵢ^(digit p of W_oi)
//! ```
//!
//! | step | file | how |
//! |---|---|---|
//! | who shares what | `layer` | inputs that reach the same outputs, outputs that read the same inputs |
//! | choice | `cost` | the cheapest of three algorithms, by a written formula |
//! | prices | `price` | what a layer is told to cost before its weights are known |
//! | planes | `subsets`, `powers`, `buckets` | tables of subsets, tables of powers, or no tables |
//! | signs | `offsets`, `signs`, `invert` | which planes of which weights are negative; one inversion for all |
//! | outputs | `horner` | from planes to outputs, and from outputs to packed slots, in one go |
//!
//! All products go through `products`, which fills the lanes of the kernel, and keeps a product there
//! from its first factor to its last. `sums` has the products that are not finished yet: tables need
//! memory, so a large layer is done in passes, each over some of the inputs. `digits` cuts weights
//! into digits.
//!
//! # Cores
//! Tables are filled by all cores, then each core multiplies for some of the outputs. Nothing is
//! computed twice, so layers cost as much on many cores as on one, up to the waiting at the end of
//! a pass. Work of less than 0.2 ms a core stays on one. Results are the same residues in any case.
//!
//! # Timing
//! Which entries of tables are read, and how many products are taken, follows the weights, and so
//! does the choice of the algorithm (from the longest weight, the signs, and the density and
//! the ranges of samples). The weights are the server's secret: somebody who observes its caches learns their
//! digits, and whoever can measure many responses with weights of his own choice learns about their
//! number. Over the network the client sees one time for a whole layer. With subsets it depends on
//! how long the ranges of the weights of groups are, in the mean; with buckets, on the length of the
//! longest weight and on whether there are negative ones; with both, on how many groups of digits
//! are all 0, which for g random bits is one in 2^g; with powers, on the density of the weights'
//! non-adjacent forms. Ciphertexts, and so the client's data, have no influence but in the inversion,
//! whose argument is a ciphertext, too, and public.

mod buckets;
mod cost;
mod digits;
mod horner;
mod invert;
mod layer;
mod offsets;
mod powers;
mod price;
mod products;
mod signs;
mod subsets;
mod sums;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing;

use gelu_core::linear::{Tap, Taps};

use crate::elements::Elements;
use crate::kernel::Line;
use crate::ring::Ring;
use cost::{Algorithm, Workload};
use layer::Layer;
pub use price::prices;

/// One product for each output of `taps`: Πᵢ `inputs[source]`^`weights[weight]`.
///
/// Inputs are units modulo n², the only modulus of `ring`. Time depends on the weights.
pub(crate) fn matvec(ring: &Ring, taps: &Taps, weights: &[i128], inputs: &[&[Line]]) -> Elements {
    matvec_packed(ring, taps, weights, inputs, 1, 0)
}

/// [`matvec`], and `group` neighbouring outputs packed into one: Πⱼ outⱼ^(2^(`slot_bits`·j)).
///
/// The last group may be smaller. Packing costs less here than afterwards.
pub(crate) fn matvec_packed(
    ring: &Ring,
    taps: &Taps,
    weights: &[i128],
    inputs: &[&[Line]],
    group: usize,
    slot_bits: usize,
) -> Elements {
    let layer = Layer::new(taps, weights, inputs);
    let load = Workload::new(ring, &layer);
    let algorithm = cost::choose(&load, &layer.groups, &layer.outputs);
    evaluate(ring, &layer, &load, algorithm, group, slot_bits)
}

/// `group` neighbouring elements in one: Πⱼ elementⱼ^(2^(`slot_bits`·j)).
pub(crate) fn pack(ring: &Ring, elements: &[&[Line]], group: usize, slot_bits: usize) -> Elements {
    let positions = (0..group).map(|j| j * slot_bits);
    let chains = elements.chunks(group);
    let chains = chains.map(|group| positions.clone().zip(group.iter().copied()).rev().collect());
    horner::evaluate(ring, chains.collect())
}

/// Πᵢ cᵢ^kᵢ, as [`matvec`] with one output.
pub(crate) fn linear_combination(ring: &Ring, terms: &[(i128, &[Line])]) -> Elements {
    let row: Vec<Tap> = (0..).zip(terms).map(|(i, _)| Tap { source: i, weight: i }).collect();
    let (weights, inputs): (Vec<i128>, Vec<&[Line]>) = terms.iter().copied().unzip();
    matvec(ring, &Taps::from_rows([row]), &weights, &inputs)
}

/// base^exponent.
pub(crate) fn power(ring: &Ring, base: &[Line], exponent: i128) -> Elements {
    // Windows of `width` bits that begin and end with a one.
    let width = if digits::length(exponent) <= 16 { 1 } else { 4 };
    let mut odd = ring.empty();
    odd.reserve(1 << (width - 1));
    odd.push(base);
    if width > 1 {
        let square = ring.square(&[base], 1);
        for i in 1..1 << (width - 1) {
            odd.append(&ring.multiply(&[odd.get(i - 1)], &[square.get(0)]));
        }
    }
    let mut chain = Vec::new();
    let mut position = 0;
    let mut rest = exponent.unsigned_abs();
    while rest != 0 {
        let zeros = rest.trailing_zeros();
        position += zeros as usize;
        rest >>= zeros;
        let digit = (rest & ((1 << width) - 1)) as usize;
        chain.push((position, odd.get(digit / 2)));
        rest -= digit as u128;
    }
    let power = horner::evaluate(ring, vec![chain]);
    if exponent < 0 { invert(ring, &power.refs()) } else { power }
}

/// The inverse of each element, all of which are units.
pub(crate) fn invert(ring: &Ring, units: &[&[Line]]) -> Elements {
    invert::invert_all(ring, units)
}

/// [`matvec_packed`] by one of the algorithms.
fn evaluate(
    ring: &Ring,
    layer: &Layer<'_>,
    load: &Workload,
    algorithm: Algorithm,
    group: usize,
    slot_bits: usize,
) -> Elements {
    if layer.planes == 0 {
        // All weights are 0.
        let count = layer.taps.outputs().div_ceil(group);
        return horner::evaluate(ring, vec![Vec::new(); count]);
    }
    let mut sums = match algorithm {
        Algorithm::Subsets => subsets::sums(ring, layer, load),
        Algorithm::Powers => powers::sums(ring, layer, load),
        Algorithm::Buckets => buckets::sums(ring, layer, load),
    };
    signs::fold(ring, &mut sums, layer.taps.outputs());
    let slots = sums.slots();

    let chain = |first: usize| -> horner::Chain<'_> {
        let last = (first + group).min(layer.taps.outputs());
        let factor = |output: usize, plane: usize| {
            let position = slot_bits * (output - first) + plane;
            sums.get(slots.positive(output, plane)).map(|factor| (position, factor))
        };
        let all = (first..last).rev().flat_map(|o| (0..slots.planes).rev().map(move |p| (o, p)));
        all.filter_map(|(output, plane)| factor(output, plane)).collect()
    };
    horner::evaluate(ring, (0..layer.taps.outputs()).step_by(group).map(chain).collect())
}
