//! Accumulators: numbered products that grow by a factor at a time, eight at a time.
//!
//! An accumulator begins as a copy of its first factor, so n factors cost n − 1 products and what
//! is never touched costs nothing. The slots fill in the order of their first use, which is the
//! order in which they will be used again.

use super::products::product_of_each;
use crate::kernel::{LANES, Line};
use crate::ring::{Elements, Ring};

/// Factors of numbered slots: number i belongs to `slots[i]`. A slot may have several, or none.
pub(super) struct Factors {
    pub(super) slots: Vec<u32>,
    pub(super) elements: Elements,
}

/// For each slot the product of all its factors in `parts`, `None` if there are none; `joined`
/// keeps what had to be multiplied.
pub(super) fn join<'f>(
    ring: &Ring,
    slots: usize,
    parts: &'f [Factors],
    joined: &'f mut Elements,
) -> Vec<Option<&'f [Line]>> {
    let mut first: Vec<Option<&[Line]>> = vec![None; slots];
    // The slots that have several factors, and the number of their list + 1.
    let mut several: Vec<(usize, Vec<&[Line]>)> = Vec::new();
    let mut list_of = vec![0; if parts.len() > 1 { slots } else { 0 }];
    for part in parts {
        for (&slot, factor) in part.slots.iter().zip(part.elements.iter()) {
            let slot = slot as usize;
            let Some(other) = first[slot] else {
                first[slot] = Some(factor);
                continue;
            };
            list_of.resize(slots, 0);
            if list_of[slot] == 0 {
                several.push((slot, vec![other]));
                list_of[slot] = several.len();
            }
            several[list_of[slot] - 1].1.push(factor);
        }
    }
    if !several.is_empty() {
        let (slots, lists): (Vec<_>, Vec<_>) = several.into_iter().unzip();
        *joined = product_of_each(ring, &lists);
        for (slot, product) in slots.into_iter().zip(joined.iter()) {
            first[slot] = Some(product);
        }
    }
    first
}

/// A product for each of `slots` slots.
pub(super) struct Accumulators<'r> {
    ring: &'r Ring,
    slots: usize,
    /// Accumulators a slot may have, so that few slots fill the lanes, too.
    copies: usize,
    /// Where accumulator `copy · slots + slot` lies, plus 1; 0 as long as it is empty.
    place: Vec<u32>,
    factors: Factors,
    /// The last batch that concerned each place.
    last: Vec<u32>,
}

impl<'r> Accumulators<'r> {
    pub(super) fn new(ring: &'r Ring, slots: usize) -> Self {
        let copies = (2 * LANES).div_ceil(slots.max(1)).min(LANES);
        let factors = Factors { slots: Vec::new(), elements: ring.empty() };
        Self { ring, slots, copies, place: vec![0; copies * slots], factors, last: Vec::new() }
    }

    /// Multiplies by factors that live as long as the queue.
    pub(super) fn queue<'q, 'f>(&'q mut self) -> Queue<'q, 'r, 'f> {
        let results = vec![Line::default(); LANES * self.ring.stride()];
        self.last.fill(0);
        Queue { ready: Batch::default(), filling: Batch::default(), number: 1, results, acc: self }
    }

    pub(super) fn finish(self) -> Factors {
        self.factors
    }
}

/// Up to eight products of different accumulators.
#[derive(Default)]
struct Batch<'f> {
    count: usize,
    places: [usize; LANES],
    factors: [&'f [Line]; LANES],
}

/// Collects products until the lanes are full.
///
/// Operands are announced to the processor when they come and used a batch later.
pub(super) struct Queue<'q, 'r, 'f> {
    acc: &'q mut Accumulators<'r>,
    ready: Batch<'f>,
    filling: Batch<'f>,
    /// The number of the batch that is filling.
    number: u32,
    results: Vec<Line>,
}

impl<'f> Queue<'_, '_, 'f> {
    /// Multiplies `factor` into `slot`, now or later.
    pub(super) fn push(&mut self, slot: usize, factor: &'f [Line]) {
        let Accumulators { slots, copies, place, factors, last, .. } = &mut *self.acc;
        for copy in 0..*copies {
            let place = &mut place[copy * *slots + slot];
            if *place == 0 {
                factors.elements.push(factor);
                factors.slots.push(u32::try_from(slot).expect("fewer slots than 2^32"));
                last.push(0);
                *place = u32::try_from(last.len()).expect("fewer slots than 2^32");
                return;
            }
            let place = *place as usize - 1;
            if last[place] != self.number {
                return self.add(place, factor);
            }
        }
        let place = place[slot] as usize - 1;
        self.next_batch();
        self.add(place, factor);
    }

    fn add(&mut self, place: usize, factor: &'f [Line]) {
        let kernel = self.acc.ring.kernel();
        kernel.prefetch(factor);
        kernel.prefetch(self.acc.factors.elements.get(place));
        self.acc.last[place] = self.number;
        let Batch { count, places, factors } = &mut self.filling;
        (places[*count], factors[*count]) = (place, factor);
        *count += 1;
        if *count == LANES {
            self.next_batch();
        }
    }

    /// Does the batch that is ready and closes the one that is filling.
    fn next_batch(&mut self) {
        let Batch { count, places, factors } = &self.ready;
        if *count > 0 {
            let elements = &mut self.acc.factors.elements;
            let a: [&[Line]; LANES] =
                core::array::from_fn(|i| elements.get(places[i.min(count - 1)]));
            let stride = self.acc.ring.stride();
            let results = &mut self.results[..count * stride];
            self.acc.ring.kernel().run(&a[..*count], 0, Some(&factors[..*count]), results);
            for (place, result) in places[..*count].iter().zip(results.chunks_exact(stride)) {
                elements.get_mut(*place).copy_from_slice(result);
            }
        }
        core::mem::swap(&mut self.ready, &mut self.filling);
        self.filling.count = 0;
        self.number += 1;
    }

    /// Does all that waits.
    pub(super) fn finish(mut self) {
        self.next_batch();
        self.next_batch();
    }
}
