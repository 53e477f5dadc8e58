//! Tables of odd powers, one for each input, shared by all outputs (width-w non-adjacent form).
//!
//! A weight is k = Σ d·2^p with odd digits |d| < 2^(w−1), of which b bits need about b/(w + 1).
//! An input's table has x^d for all those d, negative ones included, so a digit takes one product:
//!
//! ```text
//! plane_(o,p)  =  Π  x^d   over the inputs whose weight to o has digit d at bit p
//! ```

use rayon::prelude::*;

use super::cost::{self, Workload};
use super::digits::Wnaf;
use super::invert::invert_all;
use super::layer::{Class, Layer};
use super::products::threads;
use super::sums::{Accumulators, Factors};
use crate::kernel::{LANES, Line};
use crate::ring::{Elements, Ring};

/// Memory for the tables that are in use at a time: a part of a core's own cache.
const TABLES: usize = 1 << 19;

/// An input, its inverse, and the width of its windows.
struct Base<'e> {
    input: u32,
    width: usize,
    powers: [&'e [Line]; 2],
}

/// The factors of each output's planes: slot `output · load.positions + plane`.
pub(super) fn factors(
    ring: &Ring,
    layer: &Layer<'_>,
    classes: &[Class],
    load: &Workload,
) -> Vec<Factors> {
    let mut used: Vec<(u32, usize)> = Vec::new();
    for Class { members, others } in classes {
        let width = cost::width(load, *others);
        used.extend(members.iter().map(|&input| (input, width)));
    }
    used.sort_unstable();
    let inputs: Vec<&[Line]> = used.iter().map(|&(i, _)| layer.inputs[i as usize]).collect();
    let inverses: Elements = invert_all(ring, &inputs);
    let bases: Vec<Base<'_>> = used
        .into_iter()
        .zip(inputs.iter().zip(inverses.iter()))
        .map(|((input, width), (x, inverse))| Base { input, width, powers: [x, inverse] })
        .collect();
    let total = layer.taps.len() * load.positions.div_ceil(5);
    let each = bases.len().div_ceil(threads(total)).max(1);
    let part = |bases: &[Base<'_>]| part(ring, layer, bases, load.positions);
    match bases.len() <= each {
        true => bases.chunks(each).map(part).collect(),
        false => bases.par_chunks(each).map(part).collect(),
    }
}

/// What some inputs contribute, on one core.
fn part(ring: &Ring, layer: &Layer<'_>, bases: &[Base<'_>], positions: usize) -> Factors {
    let mut sums = Accumulators::new(ring, layer.taps.outputs() * positions);
    let mut bases: Vec<&Base<'_>> = bases.iter().collect();
    bases.sort_by_key(|base| base.width);
    let mut table = Vec::new();
    let element = core::mem::size_of::<Line>() * ring.stride();
    for bases in bases.chunk_by(|a, b| a.width == b.width) {
        let entries = 1usize << (bases[0].width - 1);
        for bases in bases.chunks((TABLES / element / entries).max(LANES / 2)) {
            fill(ring, bases, &mut table);
            scatter(ring, layer, positions, bases, &table, &mut sums);
        }
    }
    sums.finish()
}

/// x, x³, x⁵, … for each input x and each inverse: power 2i + 1 of input t is element
/// `(2·i) · (number of inputs) + t`, that of its inverse stands (number of inputs) behind it.
fn fill(ring: &Ring, bases: &[&Base<'_>], table: &mut Vec<Line>) {
    let (stride, count) = (ring.stride(), 2 * bases.len());
    let odd = 1usize << (bases[0].width - 2);
    table.resize(table.len().max(odd * count * stride), Line::default());
    let powers = [0, 1].map(|sign| bases.iter().map(move |base| base.powers[sign]));
    let powers: Vec<&[Line]> = powers.into_iter().flatten().collect();
    for (entry, power) in table.chunks_exact_mut(stride).zip(&powers) {
        entry.copy_from_slice(power);
    }
    if odd == 1 {
        return;
    }
    let squares = ring.square(&powers, 1);
    let (known, new) = table.split_at_mut(count * stride);
    let mut before: &[Line] = known;
    for new in new.chunks_exact_mut(count * stride).take(odd - 1) {
        for (k, out) in new.chunks_mut(LANES * stride).enumerate() {
            let lanes = out.len() / stride;
            let at = |i: usize| k * LANES + i.min(lanes - 1);
            let a: [&[Line]; LANES] = core::array::from_fn(|i| &before[at(i) * stride..][..stride]);
            let b: [&[Line]; LANES] = core::array::from_fn(|i| squares.get(at(i)));
            ring.kernel().run(&a[..lanes], 0, Some(&b[..lanes]), out);
        }
        before = new;
    }
}

/// Multiplies the powers into the planes of the outputs.
fn scatter(
    ring: &Ring,
    layer: &Layer<'_>,
    positions: usize,
    bases: &[&Base<'_>],
    table: &[Line],
    sums: &mut Accumulators<'_>,
) {
    let (stride, count) = (ring.stride(), bases.len());
    let mut queue = sums.queue();
    for (t, base) in bases.iter().enumerate() {
        let outputs = layer.columns.outputs(base.input as usize);
        let weights = layer.columns.weights(base.input as usize);
        for (&output, &weight) in outputs.iter().zip(weights) {
            let weight = layer.weights[weight as usize];
            for (position, digit) in Wnaf::new(weight.unsigned_abs(), base.width) {
                let inverse = usize::from((digit < 0) != (weight < 0));
                let power = usize::from(digit.unsigned_abs() / 2);
                let entry = (2 * power + inverse) * count + t;
                let entry = &table[entry * stride..][..stride];
                queue.push(output as usize * positions + position, entry);
            }
        }
    }
    queue.finish();
}
