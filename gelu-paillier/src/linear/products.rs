//! Many products at once: in lanes, and on all cores when there are enough of them.

use rayon::prelude::*;

use crate::elements::Elements;
use crate::kernel::{LANES, Line};
use crate::ring::Ring;

/// Fewer products than this (0.2 ms) are not worth waking another core.
const WORTH_A_THREAD: usize = 512;

/// Cores to count on for `products` products.
pub(super) fn threads(products: usize) -> usize {
    rayon::current_num_threads().min(products / WORTH_A_THREAD).max(1)
}

/// Calls `f` for each item and `LANES · stride` lines of `out`, the last of which may be fewer; for
/// enough `products` on all cores.
pub(super) fn in_lanes<T: Sync>(
    products: usize,
    items: &[T],
    out: &mut [Line],
    stride: usize,
    f: impl Fn(usize, &[T], &mut [Line]) + Sync,
) {
    let lines = LANES * stride;
    if threads(products) == 1 {
        let batches = items.chunks(LANES).zip(out.chunks_mut(lines)).enumerate();
        batches.for_each(|(k, (items, out))| f(k, items, out));
    } else {
        let batches = items.par_chunks(LANES).zip(out.par_chunks_mut(lines)).enumerate();
        batches.for_each(|(k, (items, out))| f(k, items, out));
    }
}

/// a\[i\]·b\[i\].
pub(super) fn multiply(ring: &Ring, a: &[&[Line]], b: &[&[Line]]) -> Elements {
    let threads = threads(a.len());
    if threads == 1 {
        return ring.multiply(a, b);
    }
    let each = a.len().div_ceil(threads).next_multiple_of(LANES);
    let parts: Vec<Elements> =
        a.par_chunks(each).zip(b.par_chunks(each)).map(|(a, b)| ring.multiply(a, b)).collect();
    concatenate(ring, parts)
}

/// All parts behind each other.
pub(super) fn concatenate(ring: &Ring, parts: Vec<Elements>) -> Elements {
    let mut all = ring.empty();
    all.reserve(parts.iter().map(Elements::len).sum());
    parts.iter().for_each(|part| all.append(part));
    all
}

/// Lists of factors, behind each other.
#[derive(Default)]
pub(super) struct Lists<'f> {
    factors: Vec<&'f [Line]>,
    ends: Vec<usize>,
}

impl<'f> Lists<'f> {
    /// Adds a factor to the list that is still open.
    pub(super) fn push(&mut self, factor: &'f [Line]) {
        self.factors.push(factor);
    }

    /// Whether the open list has a factor.
    pub(super) fn is_open(&self) -> bool {
        self.ends.last().copied().unwrap_or(0) < self.factors.len()
    }

    /// Closes the open list, which has a factor.
    pub(super) fn close(&mut self) {
        debug_assert!(self.is_open());
        self.ends.push(self.factors.len());
    }

    /// Adds a whole list, which is not empty.
    pub(super) fn extend(&mut self, list: impl IntoIterator<Item = &'f [Line]>) {
        self.factors.extend(list);
        self.close();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[&'f [Line]]> {
        let starts = core::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.factors[start..end])
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The product of each list.
    ///
    /// Eight lists of about the same length are multiplied in the lanes; longer ones than that
    /// allows are cut.
    pub(super) fn products(&self, ring: &Ring) -> Products {
        let threads = threads(self.factors.len() - self.len());
        let longest = self.factors.len().div_ceil(4 * LANES * threads).max(8);
        let mut pieces: Vec<&[&[Line]]> = Vec::with_capacity(self.len());
        let mut count = Vec::with_capacity(self.len());
        for list in self.iter() {
            let parts = list.len().div_ceil(longest);
            pieces.extend(list.chunks(list.len().div_ceil(parts)));
            count.push(parts);
        }
        let products = product_of_each(ring, &pieces);
        if pieces.len() == self.len() {
            return products;
        }
        let mut rest = Lists::default();
        let mut next = 0..pieces.len();
        count.iter().for_each(|&n| rest.extend(next.by_ref().take(n).map(|i| products.get(i))));
        rest.products(ring)
    }
}

/// The products of lists.
pub(super) struct Products {
    lines: Vec<Line>,
    stride: usize,
    /// Where the product of list i lies.
    place: Vec<u32>,
}

impl Products {
    /// The product of list i.
    pub(super) fn get(&self, i: usize) -> &[Line] {
        &self.lines[self.place[i] as usize * self.stride..][..self.stride]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[Line]> {
        (0..self.place.len()).map(|i| self.get(i))
    }
}

/// The product of each list, none of which is empty; lists of like length share the lanes.
fn product_of_each(ring: &Ring, lists: &[&[&[Line]]]) -> Products {
    let stride = ring.stride();
    let mut order: Vec<u32> = (0..).take(lists.len()).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(lists[i as usize].len()));
    let mut place = vec![0; lists.len()];
    (0..).zip(&order).for_each(|(at, &i)| place[i as usize] = at);

    let mut lines = vec![Line::default(); lists.len() * stride];
    let total: usize = lists.iter().map(|list| list.len()).sum();
    in_lanes(total, &order, &mut lines, stride, |k, batch, out| {
        // What the next batch begins with.
        for &i in order.iter().skip((k + 1) * LANES).take(LANES) {
            lists[i as usize].iter().take(2).for_each(|soon| ring.kernel().prefetch(soon));
        }
        let list = |i: usize| lists[batch[i] as usize];
        let steps = list(0).len();
        if steps == 1 {
            let copies = out.chunks_exact_mut(stride).enumerate();
            return copies.for_each(|(i, out)| out.copy_from_slice(list(i)[0]));
        }
        let mut factors = Vec::with_capacity(steps * batch.len());
        for step in 0..steps {
            let factor = |i| list(i).get(step).copied().unwrap_or(ring.one(0));
            factors.extend((0..batch.len()).map(factor));
        }
        ring.kernel().product(&factors, batch.len(), out);
    });
    Products { lines, stride, place }
}
