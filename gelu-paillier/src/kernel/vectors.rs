//! What the vector kernels share.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::{LANES, Line};

/// Panics unless `a` has one to eight elements of `stride` lines, `b` as many, and `out` room for as many.
pub(super) fn check_run(a: &[&[Line]], b: Option<&[&[Line]]>, out: &[Line], stride: usize) {
    let fits = |lanes: &[&[Line]]| {
        (1..=LANES).contains(&lanes.len()) && lanes.iter().all(|e| e.len() == stride)
    };
    assert!(fits(a) && b.is_none_or(|b| fits(b) && b.len() == a.len()));
    assert_eq!(out.len(), a.len() * stride);
}

/// Panics unless each of one to eight lanes has as many factors of `stride` lines, and `out` room for the products.
pub(super) fn check_product(factors: &[&[Line]], lanes: usize, out: &[Line], stride: usize) {
    assert!((1..=LANES).contains(&lanes) && factors.len() >= lanes);
    assert!(factors.len().is_multiple_of(lanes) && out.len() == lanes * stride);
    assert!(factors.iter().all(|factor| factor.len() == stride));
}

/// [`Kernel::prefetch`](super::Kernel::prefetch).
pub(super) fn prefetch(element: &[Line]) {
    for line in element {
        // SAFETY: every x86-64 processor has the instruction, and any address may be given.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast()) };
    }
}
