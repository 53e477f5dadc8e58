//! Rows of N words, aligned and reused.
//!
//! A row of a usual size is larger than what allocators keep: each would be mapped, zeroed page by page and
//! unmapped again, which costs more than computing with it. So a basis keeps the rows of dropped
//! polynomials. (Without: products of polynomials over five primes at N = 8192 take 7 times as long, divisions
//! by the last prime 3 times.)
//!
//! And rows that all begin at one offset of a page would compete for the same lines of the caches when several
//! are walked at once, so each begins five lines after the one before. (Without: the same over twelve
//! primes at N = 32768 take 1.4 and 1.2 times as long, and as long as with it at small N.)
//!
//! What is kept was public, or was wiped before it came here: by `Zeroizing<Poly<_>>` or as scratch.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::{Zeroize, Zeroizing};

/// Words of a cache line.
const LINE: usize = 8;

/// Words between the places in a page where rows begin, and the number of such places.
const STAGGER: (usize, usize) = (5 * LINE, 8);

/// Bytes that a pool keeps at most.
const MAX_KEPT: usize = 64 << 20;

/// The free rows of a ring.
pub(crate) struct Pool {
    degree: usize,
    made: AtomicUsize,
    free: Mutex<Vec<Buffer>>,
}

/// Words, and which of them is the first on a boundary.
struct Buffer {
    words: Vec<u64>,
    start: usize,
}

/// N words on the boundary of a cache line, given back to their pool on drop.
pub(crate) struct Row {
    buffer: Buffer,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(degree: usize) -> Arc<Self> {
        Arc::new(Self { degree, made: AtomicUsize::new(0), free: Mutex::default() })
    }

    /// A row of any content.
    pub(crate) fn row(self: &Arc<Self>) -> Row {
        let kept = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Row { buffer: kept.unwrap_or_else(|| self.make()), pool: self.clone() }
    }

    /// A row that is 0.
    pub(crate) fn zeros(self: &Arc<Self>) -> Row {
        let mut row = self.row();
        row.fill(0);
        row
    }

    /// A row of any content that is wiped on drop: for steps of what may be secret.
    pub(crate) fn scratch(self: &Arc<Self>) -> Zeroizing<Row> {
        Zeroizing::new(self.row())
    }

    fn make(&self) -> Buffer {
        let (distance, places) = STAGGER;
        let words = vec![0u64; self.degree + LINE + distance * places];
        // Alignment is for speed alone: an address that cannot be aligned would do.
        let aligned = words.as_ptr().align_offset(LINE * size_of::<u64>()).min(LINE);
        let place = self.made.fetch_add(1, Ordering::Relaxed) % places;
        Buffer { words, start: aligned + place * distance }
    }
}

impl Row {
    /// A row of any content from the same pool.
    pub(crate) fn another(&self) -> Self {
        self.pool.row()
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let words = std::mem::take(&mut self.buffer.words);
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if (free.len() + 1) * size_of_val(&*words) <= MAX_KEPT {
            free.push(Buffer { words, start: self.buffer.start });
        }
    }
}

impl Zeroize for Row {
    fn zeroize(&mut self) {
        (**self).zeroize();
    }
}

impl Clone for Row {
    fn clone(&self) -> Self {
        let mut row = self.another();
        row.copy_from_slice(self);
        row
    }
}

impl Deref for Row {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.buffer.words[self.buffer.start..][..self.pool.degree]
    }
}

impl DerefMut for Row {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.buffer.words[self.buffer.start..][..self.pool.degree]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned_staggered_and_reused() {
        let pool = Pool::new(2048);
        let rows: Vec<_> = (0..4).map(|_| pool.row()).collect();
        assert!(rows.iter().all(|row| row.len() == 2048 && row.as_ptr().addr() % 64 == 0));
        let addresses: Vec<_> = rows.iter().map(|row| row.as_ptr()).collect();
        drop(rows);
        assert!(addresses.contains(&pool.row().as_ptr()));
        let mut row = pool.row();
        row.fill(7);
        drop(row);
        assert!(pool.zeros().iter().all(|&word| word == 0), "whatever was in it");
    }
}
