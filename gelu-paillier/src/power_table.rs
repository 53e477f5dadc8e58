//! Random elements of a group at a fraction of an exponentiation: products from tables.
//!
//! For bases g₁ … g_B and rows r < R the table holds g_b^(d·2^(w·r)) for all digits d < 2^w. A
//! product of one random entry from each of the B·R rows is
//!
//! ```text
//! Π_b g_b^(x_b),   x_b uniform in [0, 2^(w·R)),
//! ```
//!
//! for B·R multiplications and no squaring (Brickell, Gordon, McCurley and Wilson, EUROCRYPT '92).

use std::num::NonZero;
use std::thread;

use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::arithmetic::{Modulus, Residue};

/// A group that products can be taken in.
pub(crate) trait Group: Sync {
    /// An element; as secret as its group.
    type Element: Clone + Send + Sync;

    fn one(&self) -> Self::Element;
    fn mul(&self, a: &Self::Element, b: &Self::Element) -> Self::Element;

    /// The entry of `row` at a secret `digit`: implementations say what its timing tells.
    fn look_up(&self, row: &[Self::Element], digit: u8) -> Self::Element;
}

/// Powers of several bases: see the [module](self).
#[derive(Clone)]
pub(crate) struct PowerTable<E> {
    window: u32,
    /// Rows of 2^`window` entries, one after the other.
    entries: Vec<E>,
}

impl<E: Clone + Send + Sync> PowerTable<E> {
    /// Tables for exponents of at least `exponent_bits` bits for each base.
    pub(crate) fn new(
        group: &impl Group<Element = E>,
        bases: Vec<E>,
        exponent_bits: u32,
        window: u32,
    ) -> Self {
        let rows = exponent_bits.div_ceil(window);
        let entries = spread(bases, |mut base| {
            let mut entries = Vec::with_capacity((rows << window) as usize);
            for _ in 0..rows {
                let mut entry = group.one();
                for _ in 0..1 << window {
                    let next = group.mul(&entry, &base);
                    entries.push(core::mem::replace(&mut entry, next));
                }
                base = entry; // base^(2^window)
            }
            entries
        });
        Self { window, entries: entries.into_iter().flatten().collect() }
    }

    /// Π_b base_b^(x_b) for fresh uniform exponents.
    pub(crate) fn random_product(
        &self,
        group: &impl Group<Element = E>,
        rng: &mut dyn CryptoRng,
    ) -> E {
        let rows = self.entries.chunks_exact(1 << self.window);
        let mut digits = Zeroizing::new(vec![0u8; rows.len()]);
        rng.fill_bytes(&mut digits);
        let mask = u8::MAX >> (u8::BITS - self.window);
        let mut factors =
            rows.zip(digits.iter()).map(|(row, digit)| group.look_up(row, digit & mask));
        let first = factors.next().unwrap_or_else(|| group.one());
        factors.fold(first, |product, factor| group.mul(&product, &factor))
    }
}

impl<E: Zeroize> Zeroize for PowerTable<E> {
    fn zeroize(&mut self) {
        self.entries.zeroize();
    }
}

/// Maps `items` on all processors, in order.
///
/// Tables are built inside a `OnceLock`, where rayon must not be used: a worker that waits for its
/// own part would pick up another task, which may ask for the same lock and never get it.
pub(crate) fn spread<T: Send, U: Send>(items: Vec<T>, f: impl Fn(T) -> U + Sync) -> Vec<U> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(threads).max(1);
    let mut items = items.into_iter();
    let shares = core::iter::from_fn(|| {
        let share: Vec<T> = items.by_ref().take(share).collect();
        (!share.is_empty()).then_some(share)
    });
    thread::scope(|scope| {
        let f = &f;
        let handles: Vec<_> = shares
            .map(|share| scope.spawn(move || share.into_iter().map(f).collect::<Vec<U>>()))
            .collect();
        let join = |handle: thread::ScopedJoinHandle<'_, Vec<U>>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().flat_map(join).collect()
    })
}

/// Public residues. Which entry is read shows in the cache: an observer who shares the processor
/// may learn digits of the noise exponents, the same way as it may learn weights.
impl Group for Modulus {
    type Element = Residue;

    fn one(&self) -> Residue {
        Modulus::one(self)
    }

    fn mul(&self, a: &Residue, b: &Residue) -> Residue {
        a * b
    }

    fn look_up(&self, row: &[Residue], digit: u8) -> Residue {
        row[usize::from(digit)].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::rng;

    /// The additive group of integers, where products are sums and powers multiples.
    struct Integers;

    impl Group for Integers {
        type Element = u128;
        fn one(&self) -> u128 {
            0
        }
        fn mul(&self, a: &u128, b: &u128) -> u128 {
            a + b
        }
        fn look_up(&self, row: &[u128], digit: u8) -> u128 {
            row[usize::from(digit)]
        }
    }

    #[test]
    fn tables_hold_all_powers() {
        let table = PowerTable::new(&Integers, vec![1, 1000], 5, 2);
        let row = |unit: u128| (0..4).map(move |d| d * unit);
        let expected = [1, 4, 16, 1000, 4000, 16000].into_iter().flat_map(row);
        assert_eq!(table.entries, expected.collect::<Vec<_>>());
    }

    #[test]
    fn spreading_keeps_order() {
        for len in [0, 1, 2, 3, 17] {
            assert_eq!(
                spread((0..len).collect(), |i| i * i),
                (0..len).map(|i| i * i).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn products_reach_every_exponent() {
        let table = PowerTable::new(&Integers, vec![1], 4, 2);
        let mut rng = rng(3);
        let seen: std::collections::BTreeSet<_> =
            (0..500).map(|_| table.random_product(&Integers, &mut rng)).collect();
        assert_eq!(seen, (0..16).collect());
    }
}
