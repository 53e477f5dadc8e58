//! Products that grow: a numbered one for each bit plane of each output.

use super::products::{Lists, Products};
use crate::kernel::Line;
use crate::ring::{Elements, Ring};

/// A product for each of some slots; empty ones take no memory.
pub(super) struct Sums {
    /// Where the product of a slot lies, plus 1; 0 if it is empty.
    place: Vec<u32>,
    elements: Elements,
}

impl Sums {
    pub(super) fn new(ring: &Ring, slots: usize) -> Self {
        let mut elements = ring.empty();
        elements.reserve(slots);
        Self { place: vec![0; slots], elements }
    }

    /// The product of a slot, unless it is empty.
    pub(super) fn get(&self, slot: usize) -> Option<&[Line]> {
        self.place[slot].checked_sub(1).map(|place| self.elements.get(place as usize))
    }

    pub(super) fn set(&mut self, slot: usize, value: &[Line]) {
        let place = &mut self.place[slot];
        if *place == 0 {
            self.elements.push(value);
            *place = u32::try_from(self.elements.len()).expect("fewer than 2^32 elements");
        } else {
            self.elements.get_mut(*place as usize - 1).copy_from_slice(value);
        }
    }
}

/// New factors for some slots, each of which occurs once.
#[derive(Default)]
pub(super) struct Updates<'f> {
    slots: Vec<usize>,
    lists: Lists<'f>,
}

/// New values for some slots.
pub(super) struct Values {
    slots: Vec<usize>,
    products: Products,
}

impl<'f> Updates<'f> {
    /// Gives `slot` its factors, if there are any.
    pub(super) fn push(
        &mut self,
        sums: &'f Sums,
        slot: usize,
        factors: impl IntoIterator<Item = &'f [Line]>,
    ) {
        factors.into_iter().for_each(|factor| self.lists.push(factor));
        if self.lists.is_open() {
            sums.get(slot).into_iter().for_each(|before| self.lists.push(before));
            self.lists.close();
            self.slots.push(slot);
        }
    }

    /// Multiplies.
    pub(super) fn values(self, ring: &Ring) -> Values {
        Values { products: self.lists.products(ring), slots: self.slots }
    }
}

impl Values {
    pub(super) fn store(&self, sums: &mut Sums) {
        for (&slot, value) in self.slots.iter().zip(self.products.iter()) {
            sums.set(slot, value);
        }
    }
}
