//! Products that grow pass by pass: one for each bit plane of each output.

use core::ops::Range;

use rayon::prelude::*;

use super::products::{Lists, threads};
use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Products that are made at a time: so few that the results stay in a core's own cache.
const BLOCK: usize = 256;

/// Which products an output has: one for each plane, and one more for planes that may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) planes: usize,
    /// The lowest plane that may be negative; `planes` if there is none.
    pub(super) lowest: usize,
}

impl Slots {
    /// Of an output.
    fn count(self) -> usize {
        2 * self.planes - self.lowest
    }

    /// The slot of 2^`plane`.
    pub(super) fn positive(self, output: usize, plane: usize) -> usize {
        output * self.count() + plane
    }

    /// The slot of −2^`plane`, which is not below [`lowest`](Self::lowest).
    pub(super) fn negative(self, output: usize, plane: usize) -> usize {
        debug_assert!(self.lowest <= plane);
        output * self.count() + self.planes + plane - self.lowest
    }
}

/// A product for each slot of each output; empty ones take no memory.
pub(super) struct Sums {
    slots: Slots,
    /// Outputs of a part.
    each: usize,
    parts: Vec<Part>,
}

/// What one core works on.
struct Part {
    outputs: Range<usize>,
    /// Where the product of a slot lies, plus 1; 0 if it is empty.
    place: Vec<u32>,
    elements: Elements,
}

/// New factors for some slots, each of which occurs once.
#[derive(Default)]
pub(super) struct Updates<'f> {
    slots: Vec<usize>,
    lists: Lists<'f>,
}

impl Sums {
    /// Empty products, in as many parts as `products` products are worth.
    pub(super) fn new(ring: &Ring, outputs: usize, slots: Slots, products: usize) -> Self {
        let parts = match threads(products) {
            1 => 1,
            // More than there are cores: the parts may differ.
            threads => (outputs / LANES).clamp(1, 4 * threads),
        };
        let each = outputs.div_ceil(parts).max(1);
        let part = |first: usize| {
            let outputs = first..(first + each).min(outputs);
            let mut elements = ring.empty();
            elements.reserve(outputs.len() * slots.planes);
            Part { place: vec![0; outputs.len() * slots.count()], outputs, elements }
        };
        Self { slots, each, parts: (0..outputs).step_by(each).map(part).collect() }
    }

    pub(super) fn slots(&self) -> Slots {
        self.slots
    }

    /// The product of a slot, unless it is empty.
    pub(super) fn get(&self, slot: usize) -> Option<&[Line]> {
        let slots = self.each * self.slots.count();
        self.parts[slot / slots].get(slot % slots)
    }

    pub(super) fn set(&mut self, slot: usize, value: &[Line]) {
        let slots = self.each * self.slots.count();
        self.parts[slot / slots].set(slot % slots, value);
    }

    /// Multiplies factors into the slots of all outputs, which `factors` has for ranges of them.
    pub(super) fn multiply<'f>(
        &mut self,
        ring: &Ring,
        factors: impl Fn(Range<usize>) -> Updates<'f> + Sync,
    ) {
        let slots = self.slots.count();
        let update = |part: &mut Part| {
            let all = part.outputs.clone();
            let block = (BLOCK / slots).max(1);
            for first in all.clone().step_by(block) {
                part.multiply(ring, slots, &factors(first..(first + block).min(all.end)));
            }
        };
        match &mut self.parts[..] {
            [part] => update(part),
            parts => parts.par_iter_mut().for_each(update),
        }
    }
}

impl Part {
    fn get(&self, slot: usize) -> Option<&[Line]> {
        self.place[slot].checked_sub(1).map(|place| self.elements.get(place as usize))
    }

    fn set(&mut self, slot: usize, value: &[Line]) {
        let place = &mut self.place[slot];
        if *place == 0 {
            self.elements.push(value);
            *place = u32::try_from(self.elements.len()).expect("fewer than 2^32 elements");
        } else {
            self.elements.get_mut(*place as usize - 1).copy_from_slice(value);
        }
    }

    fn multiply(&mut self, ring: &Ring, slots: usize, updates: &Updates<'_>) {
        let start = self.outputs.start * slots;
        let slots = updates.slots.iter().map(|slot| slot - start);
        let mut lists = Lists::default();
        for (slot, list) in slots.clone().zip(updates.lists.iter()) {
            lists.extend(list.iter().copied().chain(self.get(slot)));
        }
        let products = lists.products(ring);
        slots.zip(products.iter()).for_each(|(slot, value)| self.set(slot, value));
    }
}

impl<'f> Updates<'f> {
    /// Gives `slot` its factors, if there are any.
    pub(super) fn push(&mut self, slot: usize, factors: impl IntoIterator<Item = &'f [Line]>) {
        factors.into_iter().for_each(|factor| self.lists.push(factor));
        if self.lists.is_open() {
            self.lists.close();
            self.slots.push(slot);
        }
    }
}
