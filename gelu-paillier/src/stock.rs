//! Noise made in idle time, for ciphertexts to come.
//!
//! Noise does not depend on what it hides, so it can be made before. Each element is taken out once
//! and never used twice; what is left is wiped on drop.

use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::elements::Elements;
use crate::kernel::Line;

/// The most elements that are kept: 2.6 MB at 2048 bits.
pub(crate) const MOST: usize = 4096;

/// A stock of noise, in the order in which it was made.
#[derive(Default)]
pub(crate) struct Stock(Mutex<Vec<Zeroizing<Vec<Line>>>>);

impl Stock {
    /// How many are missing to `wanted`, of which at most [`MOST`] are kept.
    pub(crate) fn missing(&self, wanted: usize) -> usize {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        wanted.min(MOST).saturating_sub(kept)
    }

    /// Lays elements in.
    pub(crate) fn put(&self, elements: &Elements) {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stock.extend(elements.iter().map(|element| Zeroizing::new(element.to_vec())));
    }

    /// Takes out up to `most` elements.
    pub(crate) fn take(&self, most: usize) -> Vec<Zeroizing<Vec<Line>>> {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(stock.len());
        stock.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Choice;
    use crate::oracle::boxed;
    use crate::ring::Ring;

    #[test]
    fn nothing_is_taken_twice() {
        let ring = Ring::new(
            &[&boxed(&((num_bigint_dig::BigUint::from(1u8) << 511) + 1u8), 512)],
            Choice::Portable,
        );
        let ring = ring.unwrap();
        let mut elements = ring.empty();
        for i in 0..5 {
            elements.push(ring.square(&[ring.one(0)], i).get(0));
        }
        let stock = Stock::default();
        assert_eq!((stock.missing(7), stock.missing(MOST + 9)), (7, MOST));
        stock.put(&elements);
        assert_eq!((stock.missing(7), stock.missing(3)), (2, 0));
        assert_eq!((stock.take(3).len(), stock.take(3).len(), stock.take(3).len()), (3, 2, 0));
    }
}
