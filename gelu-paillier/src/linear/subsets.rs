//! Tables of subset products ("four Russians" on bit planes).
//!
//! For a group of g inputs that reach the same outputs, a table holds all 2^g products of some of
//! them. A plane of an output's weights says which of the g inputs take part, so it takes *one*
//! product from the table:
//!
//! ```text
//! plane_(o,p)  =  Π_groups  table_group[ digits p of the weights from the group to o ]
//! ```
//!
//! Which planes are negative is up to the group and the output ([`offsets`](super::offsets)), so an
//! output has two products of some planes.//!
//! An entry is one product of two smaller ones. Half the table is made from the other half and one
//! input, so all those products are independent.

use rayon::prelude::*;

use super::cost::{self, Workload};
use super::digits::{self, MOST};
use super::layer::{InputClass, Layer};
use super::offsets::{self, Range};
use super::products::{in_lanes, threads};
use super::sums::{Slots, Sums, Updates};
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Inputs that share a table.
struct Group<'c> {
    inputs: &'c [u32],
}

/// Groups of one size g whose tables are interleaved: entry S of table t, the product of the inputs
/// in the set S, is element `S · (number of tables) + t`. Entry 0 is left alone.
struct Tables<'c> {
    groups: Vec<Group<'c>>,
    lines: Vec<Line>,
}

/// The products of each output's planes.
pub(super) fn sums(ring: &Ring, layer: &Layer<'_>, load: &Workload) -> Sums {
    let mut groups = Vec::new();
    for InputClass { members, uses } in &layer.groups {
        let size = cost::group_size(load, members.len(), *uses);
        let count = members.len().div_ceil(size);
        let mut rest = &members[..];
        for i in 0..count {
            let (inputs, tail) = rest.split_at(rest.len().div_ceil(count - i));
            groups.push(Group { inputs });
            rest = tail;
        }
    }
    // Neighbours together, so that the groups of a pass of a convolution share their outputs.
    groups.sort_by_key(|group| group.inputs[0]);
    let products = layer.taps.len() * layer.planes / cost::MEAN_GROUP;
    let lowest = if layer.signed { load.fit.grain } else { layer.planes };
    let slots = Slots { planes: layer.planes, lowest };
    let mut sums = Sums::new(ring, layer.taps.outputs(), slots, products);
    let mut groups = groups.into_iter().peekable();
    let mut spare = Vec::new();
    while groups.peek().is_some() {
        let mut room = load.room;
        let mut pass = Vec::new();
        while let Some(group) =
            groups.next_if(|group| pass.is_empty() || 1 << group.inputs.len() <= room)
        {
            room = room.saturating_sub(1 << group.inputs.len());
            pass.push(group);
        }
        let tables = tables(ring, layer, pass, &mut spare);
        multiply(ring, layer, &tables, load.fit.grain, &mut sums);
        spare.extend(tables.into_iter().map(|tables| tables.lines));
    }
    sums
}

/// The tables of some groups; `spare` is memory for them.
fn tables<'c>(
    ring: &Ring,
    layer: &Layer<'_>,
    mut groups: Vec<Group<'c>>,
    spare: &mut Vec<Vec<Line>>,
) -> Vec<Tables<'c>> {
    groups.sort_by_key(|group| group.inputs.len());
    let entries: usize = groups.iter().map(|group| 1 << group.inputs.len()).sum();
    let threads = threads(entries);
    let mut all: Vec<Tables<'c>> = Vec::new();
    let mut rest = groups.into_iter().peekable();
    while let Some(first) = rest.next() {
        let size = first.inputs.len();
        // Enough for the lanes, and little enough to be spread over the cores.
        let most = (entries.div_ceil(threads) >> size).clamp(1, 4 * LANES);
        let mut groups = vec![first];
        while groups.len() < most
            && let Some(group) = rest.next_if(|group| group.inputs.len() == size)
        {
            groups.push(group);
        }
        all.push(Tables { groups, lines: spare.pop().unwrap_or_default() });
    }
    match threads {
        1 => all.iter_mut().for_each(|tables| tables.fill(ring, layer)),
        _ => all.par_iter_mut().for_each(|tables| tables.fill(ring, layer)),
    }
    all
}

impl Tables<'_> {
    /// Entry `set` ≠ 0 of table t.
    fn entry(&self, ring: &Ring, t: usize, set: u16) -> &[Line] {
        &self.lines[(usize::from(set) * self.groups.len() + t) * ring.stride()..][..ring.stride()]
    }

    fn fill(&mut self, ring: &Ring, layer: &Layer<'_>) {
        let Self { groups, lines } = self;
        let (stride, count) = (ring.stride(), groups.len());
        let size = groups[0].inputs.len();
        lines.resize((count << size) * stride, Line::default());
        for h in 0..size {
            // Sets with h and nothing above: h alone, then h and a set of smaller ones.
            let single = count << h;
            for (t, group) in groups.iter().enumerate() {
                let input = layer.inputs[group.inputs[h] as usize];
                lines[(single + t) * stride..][..stride].copy_from_slice(input);
            }
            let (known, new) = lines.split_at_mut((single + count) * stride);
            let element = |i: usize| &known[i * stride..][..stride];
            let smaller: Vec<usize> = (count..single).collect();
            let new = &mut new[..(single - count) * stride];
            in_lanes(smaller.len(), &smaller, new, stride, |_, smaller, out| {
                let lane = |i: usize| smaller[i.min(smaller.len() - 1)];
                let a: [&[Line]; LANES] = core::array::from_fn(|i| element(lane(i)));
                let b: [&[Line]; LANES] =
                    core::array::from_fn(|i| element(single + lane(i) % count));
                let lanes = smaller.len();
                ring.kernel().run(&a[..lanes], 0, Some(&b[..lanes]), out);
            });
        }
    }
}

/// A group that an output reads: which tables, which of them, which of its inputs' readers.
#[derive(Clone, Copy)]
struct Use {
    tables: u32,
    t: u32,
    reader: u32,
}

/// Multiplies entries of the tables to the planes of the outputs.
fn multiply(ring: &Ring, layer: &Layer<'_>, tables: &[Tables<'_>], grain: usize, sums: &mut Sums) {
    let (slots, planes) = (sums.slots(), layer.planes);
    let mut uses: Vec<Vec<Use>> = vec![Vec::new(); layer.taps.outputs()];
    for (number, tables) in (0..).zip(tables) {
        for (t, group) in (0..).zip(&tables.groups) {
            for (reader, class) in (0..).zip(layer.readers(group.inputs[0])) {
                for &output in &class.members {
                    uses[output as usize].push(Use { tables: number, t, reader });
                }
            }
        }
    }
    sums.multiply(ring, |outputs| {
        let mut updates = Updates::default();
        let mut numbers = [0; MOST];
        let (mut sets, mut offsets) = (Vec::new(), Vec::new());
        for output in outputs {
            // One row of planes for each use.
            let uses = &uses[output];
            sets.resize(uses.len() * planes, 0u16);
            offsets.clear();
            for (used, sets) in uses.iter().zip(sets.chunks_exact_mut(planes)) {
                let group = &tables[used.tables as usize].groups[used.t as usize];
                let numbers = &mut numbers[..group.inputs.len()];
                for (number, &input) in numbers.iter_mut().zip(group.inputs) {
                    *number = layer.weight(output, input, used.reader);
                }
                let offset = Range::of(numbers).offset(grain);
                offsets.push(offset);
                offsets::digits(numbers, offset);
                digits::planes(numbers, sets);
            }
            for plane in 0..planes {
                let factors = |negative: bool| {
                    let (sets, offsets) = (&sets, &offsets);
                    uses.iter().enumerate().filter_map(move |(i, used)| {
                        let set = sets[i * planes + plane];
                        let here = set != 0 && (offsets[i] >> plane & 1 == 1) == negative;
                        here.then(|| tables[used.tables as usize].entry(ring, used.t as usize, set))
                    })
                };
                updates.push(slots.positive(output, plane), factors(false));
                if plane >= slots.lowest {
                    updates.push(slots.negative(output, plane), factors(true));
                }
            }
        }
        updates
    });
}
