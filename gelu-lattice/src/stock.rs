//! What was made in idle time, for encryptions to come: each piece is taken out once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most pieces that are kept: 6 MB, or 17 MB in the larger ring.
pub(crate) const MOST: usize = 32;

/// A stock that its clones share. Pieces have no `Clone`: what was taken is gone, and what was left is wiped.
pub(crate) struct Stock<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Stock<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Stock<T> {
    /// How many are missing to `wanted`, of which at most [`MOST`] are kept.
    pub(crate) fn missing(&self, wanted: usize) -> usize {
        wanted.min(MOST).saturating_sub(self.pieces().len())
    }

    /// Lays pieces in.
    pub(crate) fn put(&self, pieces: impl IntoIterator<Item = T>) {
        self.pieces().extend(pieces);
    }

    /// Takes out up to `most` pieces.
    pub(crate) fn take(&self, most: usize) -> Vec<T> {
        let mut pieces = self.pieces();
        let left = pieces.len().saturating_sub(most);
        pieces.split_off(left)
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_twice() {
        let stock = Stock::default();
        assert_eq!((stock.missing(7), stock.missing(MOST + 9)), (7, MOST));
        stock.put(0..5);
        assert_eq!((stock.missing(7), stock.missing(3)), (2, 0));
        let mut all = [stock.take(3), stock.clone().take(3), stock.take(3)].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
    }
}
