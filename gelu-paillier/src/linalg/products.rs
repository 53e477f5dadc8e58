//! Many products at once: in lanes, and on all cores when there are enough of them.

use rayon::prelude::*;

use crate::kernel::{LANES, Line};
use crate::ring::{Elements, Ring};

/// Fewer products than this (0.2 ms) are not worth waking another core.
pub(super) const WORTH_A_THREAD: usize = 512;

/// Cores to count on for `products` products.
pub(super) fn threads(products: usize) -> usize {
    rayon::current_num_threads().min(products / WORTH_A_THREAD).max(1)
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
    parts.into_iter().fold(ring.empty(), |mut all, part| {
        all.append(part);
        all
    })
}

/// The product of each list, none of which is empty.
///
/// A binary tree over each list; the trees grow together, level by level.
pub(super) fn product_of_each(ring: &Ring, lists: &[Vec<&[Line]>]) -> Elements {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for pair in lists.iter().flat_map(|list| list.chunks_exact(2)) {
        a.push(pair[0]);
        b.push(pair[1]);
    }
    if a.is_empty() {
        let mut products = ring.empty();
        lists.iter().for_each(|list| products.push(list[0]));
        return products;
    }
    let products = multiply(ring, &a, &b);
    let mut next = products.iter();
    let shorter: Vec<Vec<&[Line]>> = lists
        .iter()
        .map(|list| {
            let mut shorter: Vec<_> = next.by_ref().take(list.len() / 2).collect();
            shorter.extend(list.chunks_exact(2).remainder());
            shorter
        })
        .collect();
    product_of_each(ring, &shorter)
}
