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
use super::products::{in_lanes, threads};
use super::sums::{Sums, Updates};
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Memory for the tables that are in use at a time.
const TABLES: usize = 1 << 24;

/// Inputs that share a table.
const SHARING: usize = 4 * LANES;

/// An input, its inverse, and the width of its windows.
struct Base<'e> {
    input: u32,
    width: usize,
    powers: [&'e [Line]; 2],
}

/// The odd powers of some inputs with windows of one width: power 2·i + 1 of input t is element
/// `2·i · (number of inputs) + t`, that of its inverse stands (number of inputs) behind it.
struct Table<'e> {
    bases: &'e [Base<'e>],
    lines: Vec<Line>,
}

/// The products of each output's planes: slot `output · load.positions + plane`.
pub(super) fn sums(ring: &Ring, layer: &Layer<'_>, classes: &[Class], load: &Workload) -> Sums {
    let mut used: Vec<(u32, usize)> = Vec::new();
    for Class { members, others } in classes {
        let width = cost::width(load, *others);
        used.extend(members.iter().map(|&input| (input, width)));
    }
    used.sort_unstable_by_key(|&(input, width)| (width, input));
    let inputs: Vec<&[Line]> = used.iter().map(|&(i, _)| layer.inputs[i as usize]).collect();
    let inverses = invert_all(ring, &inputs);
    let bases: Vec<Base<'_>> = used
        .into_iter()
        .zip(inputs.iter().zip(inverses.iter()))
        .map(|((input, width), (x, inverse))| Base { input, width, powers: [x, inverse] })
        .collect();

    let products = layer.taps.len() * load.positions.div_ceil(5);
    let mut sums = Sums::new(ring, layer.taps.outputs(), load.positions, products);
    let element = core::mem::size_of::<Line>() * ring.stride();
    for bases in bases.chunk_by(|a, b| a.width == b.width) {
        let fit = (TABLES / element) >> (bases[0].width - 1);
        for bases in bases.chunks(fit.next_multiple_of(SHARING).max(SHARING)) {
            let table = |bases| Table::new(ring, bases);
            let tables: Vec<Table<'_>> = match threads(bases.len() << bases[0].width) {
                1 => bases.chunks(SHARING).map(table).collect(),
                _ => bases.par_chunks(SHARING).map(table).collect(),
            };
            multiply(ring, layer, load.positions, &tables, &mut sums);
        }
    }
    sums
}

impl<'e> Table<'e> {
    fn new(ring: &Ring, bases: &'e [Base<'e>]) -> Self {
        let (stride, count) = (ring.stride(), 2 * bases.len());
        let odd = 1usize << (bases[0].width - 2);
        let mut lines = vec![Line::default(); odd * count * stride];
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
        Self { bases, lines }
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
        for (t, base) in (0..).zip(table.bases) {
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
