//! Tables of subset products ("four Russians" on bit planes).
//!
//! For a group of g inputs that reach the same outputs, a table holds all 2^g products of some of
//! them. A bit plane of an output's weights says which of the g inputs take part, so it takes *one*
//! product from the table:
//!
//! ```text
//! plane_(o,p)  =  Π_groups  table_group[ bits p of the weights from the group to o ]
//! ```
//!
//! An entry is one product of two smaller ones. Half the table is made from the other half and one
//! input, so all those products are independent.

use rayon::prelude::*;

use super::cost::{self, Workload};
use super::digits::{self, MOST};
use super::layer::{Class, Layer};
use super::products::threads;
use super::sums::{Accumulators, Factors};
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Memory for the tables that are in use at a time: a part of a core's own cache.
const TABLES: usize = 1 << 19;

/// Inputs that share a table.
struct Group<'c> {
    inputs: &'c [u32],
    cost: usize,
}

/// The factors of each output's planes: slot `output · planes + plane`.
pub(super) fn factors(
    ring: &Ring,
    layer: &Layer<'_>,
    classes: &[Class],
    load: &Workload,
) -> Vec<Factors> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for Class { members, others } in classes {
        let size = cost::group_size(load, members.len(), *others);
        let count = members.len().div_ceil(size);
        let mut rest = &members[..];
        for i in 0..count {
            let (inputs, tail) = rest.split_at(rest.len().div_ceil(count - i));
            groups.push(Group { inputs, cost: (1 << inputs.len()) + others * load.planes });
            rest = tail;
        }
    }
    // Neighbours in one part, so that the parts of a convolution share few outputs.
    groups.sort_by_key(|group| group.inputs[0]);
    let total: usize = groups.iter().map(|group| group.cost).sum();
    let threads = threads(total);
    let mut parts: Vec<Vec<Group<'_>>> = (0..threads).map(|_| Vec::new()).collect();
    let mut before = 0;
    for group in groups {
        let part = before * threads / total;
        before += group.cost;
        parts[part].push(group);
    }
    let part = |groups: Vec<Group<'_>>| part(ring, layer, groups);
    match parts.len() {
        1 => parts.into_iter().map(part).collect(),
        _ => parts.into_par_iter().map(part).collect(),
    }
}

/// What some groups contribute, on one core.
fn part(ring: &Ring, layer: &Layer<'_>, mut groups: Vec<Group<'_>>) -> Factors {
    let mut sums = Accumulators::new(ring, layer.taps.outputs() * layer.planes);
    groups.sort_by_key(|group| group.inputs.len());
    let mut table = Vec::new();
    let element = core::mem::size_of::<Line>() * ring.stride();
    for groups in groups.chunk_by(|a, b| a.inputs.len() == b.inputs.len()) {
        let entries = 1usize << groups[0].inputs.len();
        for groups in groups.chunks((TABLES / element / entries).max(1)) {
            fill(ring, layer, groups, &mut table);
            scatter(ring, layer, groups, &table, &mut sums);
        }
    }
    sums.finish()
}

/// The tables of groups of one size g: entry S of table t, the product of the inputs in the set S,
/// is element `S · (number of tables) + t`. Entry 0 is left alone.
fn fill(ring: &Ring, layer: &Layer<'_>, groups: &[Group<'_>], table: &mut Vec<Line>) {
    let (stride, count) = (ring.stride(), groups.len());
    let size = groups[0].inputs.len();
    table.resize(table.len().max((count << size) * stride), Line::default());
    for h in 0..size {
        // Sets with h and nothing above: h alone, then h and a set of smaller ones.
        let single = count << h;
        for (t, group) in groups.iter().enumerate() {
            let input = layer.inputs[group.inputs[h] as usize];
            table[(single + t) * stride..][..stride].copy_from_slice(input);
        }
        let (known, new) = table.split_at_mut((single + count) * stride);
        let element = |i: usize| &known[i * stride..][..stride];
        let new = &mut new[..(single - count) * stride];
        for (k, out) in new.chunks_mut(LANES * stride).enumerate() {
            let lanes = out.len() / stride;
            let at = |i: usize| k * LANES + i.min(lanes - 1);
            let smaller: [&[Line]; LANES] = core::array::from_fn(|i| element(count + at(i)));
            let alone: [&[Line]; LANES] = core::array::from_fn(|i| element(single + at(i) % count));
            ring.kernel().run(&smaller[..lanes], 0, Some(&alone[..lanes]), out);
        }
    }
}

/// Multiplies the entries into the planes of the outputs.
fn scatter<'t>(
    ring: &Ring,
    layer: &Layer<'_>,
    groups: &[Group<'_>],
    table: &'t [Line],
    sums: &mut Accumulators<'_>,
) {
    let (stride, count) = (ring.stride(), groups.len());
    let entry = |set: u16, t: usize| -> &'t [Line] {
        &table[(usize::from(set) * count + t) * stride..][..stride]
    };
    let mut queue = sums.queue();
    let mut sets = vec![0u16; layer.planes];
    let mut numbers = [0; MOST];
    for (t, group) in groups.iter().enumerate() {
        let numbers = &mut numbers[..group.inputs.len()];
        let first = group.inputs[0] as usize;
        let columns: Vec<&[u32]> =
            group.inputs.iter().map(|&i| layer.columns.weights(i as usize)).collect();
        for (row, &output) in layer.columns.outputs(first).iter().enumerate() {
            for (number, column) in numbers.iter_mut().zip(&columns) {
                *number = layer.weights[column[row] as usize];
            }
            digits::planes(numbers, &mut sets);
            for (plane, &set) in sets.iter().enumerate() {
                if set != 0 {
                    queue.push(output as usize * layer.planes + plane, entry(set, t));
                }
            }
        }
    }
    queue.finish();
}
