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
use super::layer::{InputClass, Layer};
use super::products::{in_lanes, threads};
use super::sums::{Slots, Sums, Updates};
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Inputs that share a table.
const SHARING: usize = 4 * LANES;

/// An input, its inverse, and the width of its windows.
#[derive(Clone)]
struct Base<'e> {
    input: u32,
    width: usize,
    powers: [&'e [Line]; 2],
}

/// The odd powers of some inputs with windows of one width: power 2·i + 1 of input t is element
/// `2·i · (number of inputs) + t`, that of its inverse stands (number of inputs) behind it.
struct Table<'e> {
    bases: Vec<Base<'e>>,
    lines: Vec<Line>,
}

/// The products of each output's planes, all of which are positive.
pub(super) fn sums(ring: &Ring, layer: &Layer<'_>, load: &Workload) -> Sums {
    let mut used: Vec<(u32, usize)> = Vec::new();
    for InputClass { members, uses } in &layer.groups {
        let width = cost::width(load, *uses);
        used.extend(members.iter().map(|&input| (input, width)));
    }
    used.sort_unstable();
    let inputs: Vec<&[Line]> = used.iter().map(|&(i, _)| layer.inputs[i as usize]).collect();
    let inverses = invert_all(ring, &inputs);
    let bases: Vec<Base<'_>> = used
        .into_iter()
        .zip(inputs.iter().zip(inverses.iter()))
        .map(|((input, width), (x, inverse))| Base { input, width, powers: [x, inverse] })
        .collect();

    let products = layer.taps.len() * load.positions.div_ceil(5);
    let slots = Slots { planes: load.positions, lowest: load.positions };
    let mut sums = Sums::new(ring, layer.taps.outputs(), slots, products);
    let mut rest = &bases[..];
    let mut spare = Vec::new();
    while !rest.is_empty() {
        let mut room = load.room;
        let fits = |base: &&Base<'_>| {
            let entries = 1 << (base.width - 1);
            let fits = entries <= room;
            room = room.saturating_sub(entries);
            fits
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (pass, tail) = rest.split_at(count);
        rest = tail;
        let tables = tables(ring, pass, &mut spare);
        multiply(ring, layer, load.positions, &tables, &mut sums);
        spare.extend(tables.into_iter().map(|table| table.lines));
    }
    sums
}

/// The tables of some inputs; `spare` is memory for them.
fn tables<'e>(ring: &Ring, pass: &[Base<'e>], spare: &mut Vec<Vec<Line>>) -> Vec<Table<'e>> {
    let mut bases = pass.to_vec();
    bases.sort_by_key(|base| base.width);
    let mut tables: Vec<Table<'_>> = bases
        .chunk_by(|a, b| a.width == b.width)
        .flat_map(|bases| bases.chunks(SHARING))
        .map(|bases| Table { bases: bases.to_vec(), lines: spare.pop().unwrap_or_default() })
        .collect();
    let entries = pass.iter().map(|base| 1usize << (base.width - 1)).sum();
    match threads(entries) {
        1 => tables.iter_mut().for_each(|table| table.fill(ring)),
        _ => tables.par_iter_mut().for_each(|table| table.fill(ring)),
    }
    tables
}

impl Table<'_> {
    fn fill(&mut self, ring: &Ring) {
        let Self { bases, lines } = self;
        let (stride, count) = (ring.stride(), 2 * bases.len());
        let odd = 1usize << (bases[0].width - 2);
        lines.resize(odd * count * stride, Line::default());
        let powers = [0, 1].map(|sign| bases.iter().map(move |base| base.powers[sign]));
        let powers: Vec<&[Line]> = powers.into_iter().flatten().collect();
        for (entry, power) in lines.chunks_exact_mut(stride).zip(&powers) {
            entry.copy_from_slice(power);
        }
        if odd > 1 {
            let squares = ring.square(&powers, 1);
            let (mut before, mut rest) = lines.split_at_mut(count * stride);
            while !rest.is_empty() {
                let (new, tail) = rest.split_at_mut(count * stride);
                let a: Vec<&[Line]> = before.chunks_exact(stride).collect();
                in_lanes(0, &a, new, stride, |k, a, out| {
                    let b: [&[Line]; LANES] =
                        core::array::from_fn(|i| squares.get(k * LANES + i.min(a.len() - 1)));
                    ring.kernel().run(a, 0, Some(&b[..a.len()]), out);
                });
                (before, rest) = (new, tail);
            }
        }
    }

    /// The power of input t, or of its inverse, with exponent |digit|.
    fn power(&self, ring: &Ring, t: usize, digit: u16, inverse: bool) -> &[Line] {
        let row = 2 * usize::from(digit / 2) + usize::from(inverse);
        &self.lines[(row * self.bases.len() + t) * ring.stride()..][..ring.stride()]
    }
}

/// Multiplies powers to the planes of the outputs.
fn multiply(
    ring: &Ring,
    layer: &Layer<'_>,
    positions: usize,
    tables: &[Table<'_>],
    sums: &mut Sums,
) {
    // Where the table of an input is.
    let mut place: Vec<Option<(u32, u32)>> = vec![None; layer.inputs.len()];
    for (number, table) in (0..).zip(tables) {
        for (t, base) in (0..).zip(&table.bases) {
            place[base.input as usize] = Some((number, t));
        }
    }
    sums.multiply(ring, |outputs| {
        let mut updates = Updates::default();
        let mut planes: Vec<Vec<&[Line]>> = vec![Vec::new(); positions];
        for output in outputs {
            for tap in layer.taps.of(output) {
                let Some((table, t)) = place[tap.source as usize] else { continue };
                let (table, t) = (&tables[table as usize], t as usize);
                let weight = layer.weights[tap.weight as usize];
                for (position, digit) in Wnaf::new(weight.unsigned_abs(), table.bases[t].width) {
                    let inverse = (digit < 0) != (weight < 0);
                    planes[position].push(table.power(ring, t, digit.unsigned_abs(), inverse));
                }
            }
            for (position, factors) in planes.iter_mut().enumerate() {
                updates.push(output * positions + position, factors.drain(..));
            }
        }
        updates
    });
}
