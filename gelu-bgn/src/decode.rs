//! From m·e(g₁, g₂) back to m, for small m: baby steps and giant steps.
//!
//! ```text
//! table     j ↦ fingerprint of j·g        for 0 ≤ j ≤ T, the same for −j
//! m·g − 2T·k·g  =  j·g  with |j| ≤ T      ⇒   m = 2T·k + j,     k = 0, 1, −1, 2, −2, …
//! ```
//!
//! (Shanks 1971; the trick with both signs is an old one too.) A table of 2^t
//! entries takes 2^(t+4) bytes and serves every key, because the base is a constant of the curve; it
//! is built at its first use. A range of b bits costs up to 2^(b−t−1) giant steps, and each table hit is
//! verified, so the answer is right or there is none. Both kinds of steps run on traces over 𝔽p⁴, with 4
//! products in 𝔽p² each in place of the 18 of a step in GT (`Traces` in the file `group/traces`).
//!
//! # Timing
//! The search goes outwards from 0 and ends where it finds something: its time tells |m| in units of
//! 2^t. Decryption is the key owner's; who may measure it learns the size of what was decrypted. A
//! masked value's size is the mask's.

use std::sync::OnceLock;

use gelu_core::error::ApiMisuse;
use rayon::prelude::*;

use crate::group::{Group, Gt, Scalar, Trace, Traces};

/// The widest range that [`Decoder::new`] takes, in bits with sign.
pub const MAX_RANGE_BITS: u32 = 48;

/// The largest table, as the logarithm of its entries.
pub const MAX_TABLE_BITS: u32 = 24;

/// Finds |m| < 2^(bits−1) from m·e(g₁, g₂), by baby steps and giant steps, or says that there is none.
///
/// The answer is verified. A range of b bits and a table of 2^t entries cost up to 2^(b−t−1) steps;
/// the time of a search tells |m| in units of 2^t. Tables are shared, whatever the key.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    table: &'static Table,
    bits: u32,
}

impl Decoder {
    /// A decoder for integers of `range_bits` bits, sign included, with the table of 2^`table_bits`
    /// entries, which is built if nobody has used it yet (about half a second for 20 bits).
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] unless the table has 1 to [`MAX_TABLE_BITS`] bits and the range
    /// 1 to [`MAX_RANGE_BITS`].
    pub fn new(range_bits: u32, table_bits: u32) -> gelu_core::Result<Self> {
        static TABLES: [OnceLock<Table>; MAX_TABLE_BITS as usize + 1] =
            [const { OnceLock::new() }; MAX_TABLE_BITS as usize + 1];
        let refuse = |what, got, most| {
            let why = format!("{got} bits, must be 1 to {most}");
            Err(ApiMisuse::configuration(what, why).into())
        };
        if !(1..=MAX_TABLE_BITS).contains(&table_bits) {
            return refuse("decoding table", table_bits, MAX_TABLE_BITS);
        }
        if !(1..=MAX_RANGE_BITS).contains(&range_bits) {
            return refuse("decoding range", range_bits, MAX_RANGE_BITS);
        }
        let table = TABLES[table_bits as usize].get_or_init(|| Table::build(table_bits));
        Ok(Self { table, bits: range_bits })
    }

    /// The same table with another range.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_range(self, range_bits: u32) -> gelu_core::Result<Self> {
        Self::new(range_bits, self.table.bits)
    }

    /// Bits of the range, sign included.
    pub fn range_bits(self) -> u32 {
        self.bits
    }

    /// The one m in range with `element` = m·e(g₁, g₂), or none.
    pub(crate) fn decode(self, element: &Gt) -> Option<i64> {
        let bound = (1i64 << (self.bits - 1)) - 1;
        let (reach, giant) = (self.table.reach(), &self.table.giant);
        let is_answer = |m: i64| Gt::generator().times(&Scalar::from_i128(m.into())) == *element;
        let above = Traces::new(element, &giant.minus());
        let below = Traces::new(element, giant);
        let centres = (0..).step_by(2 << self.table.bits);
        centres
            .take_while(|centre| centre - reach <= bound)
            .zip(above.zip(below))
            .find_map(|(centre, (above, below))| {
                let near = |trace: Trace, centre: i64| {
                    let candidates = self.table.find(trace.fingerprint());
                    candidates.flat_map(|j| [centre + j, centre - j]).find(|&m| is_answer(m))
                };
                near(above, centre).or_else(|| near(below, -centre))
            })
            .filter(|m| m.abs() <= bound)
    }
}

/// Fingerprints of 0·g to T·g, in open addressing.
struct Table {
    bits: u32,
    /// (upper half of the fingerprint, j + 1); 0 is free.
    slots: Vec<u64>,
    /// 2T·g.
    giant: Gt,
}

impl Table {
    fn build(bits: u32) -> Self {
        let reach = 1u32 << bits;
        let g = Gt::generator();
        let starts: Vec<u32> = (0..=reach).step_by(CHUNK).collect();
        let fingerprints: Vec<Vec<u64>> = starts
            .par_iter()
            .map(|&start| {
                let first = g.times(&Scalar::from_i128(start.into()));
                let count = CHUNK.min((reach - start) as usize + 1);
                Traces::new(&first, &g).take(count).map(|trace| trace.fingerprint()).collect()
            })
            .collect();
        let giant = g.times(&Scalar::from_i128(2 << bits));
        let mut table = Self { bits, slots: vec![0; 2 << bits], giant };
        for (fingerprint, entry) in fingerprints.iter().flatten().zip(1u64..) {
            let mut place = table.home(*fingerprint);
            while table.slots[place] != 0 {
                place = (place + 1) % table.slots.len();
            }
            table.slots[place] = fingerprint >> 32 << 32 | entry;
        }
        table
    }

    fn reach(&self) -> i64 {
        1 << self.bits
    }

    fn home(&self, fingerprint: u64) -> usize {
        usize::try_from(fingerprint & (self.slots.len() as u64 - 1)).expect("an index")
    }

    /// All j up to T that have this fingerprint, and hardly ever others.
    fn find(&self, fingerprint: u64) -> impl Iterator<Item = i64> {
        let (home, mask) = (self.home(fingerprint), self.slots.len() - 1);
        (0..)
            .map(move |i| self.slots[(home + i) & mask])
            .take_while(|&slot| slot != 0)
            .filter(move |slot| slot >> 32 == fingerprint >> 32)
            .map(|slot| i64::try_from(slot & u64::from(u32::MAX)).expect("32 bits") - 1)
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Table").field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// Multiples that one task computes.
const CHUNK: usize = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times_g(m: i64) -> Gt {
        Gt::generator().times(&Scalar::from_i128(m.into()))
    }

    /// Every table against every border: of the table, of a giant step, of the range.
    #[test]
    fn edges_of_table_steps_and_range() {
        for table_bits in [1, 2, 5, 8] {
            let reach = 1i64 << table_bits;
            for range_bits in [1u32, 2, 6, 9, 14] {
                let decoder = Decoder::new(range_bits, table_bits).unwrap();
                let bound = (1i64 << (range_bits - 1)) - 1;
                let near = |x: i64| [x - 1, x, x + 1, -x - 1, -x, -x + 1];
                let edges = [0, reach, 2 * reach, 3 * reach, 4 * reach, bound, bound + reach];
                for m in edges.into_iter().flat_map(near) {
                    let expected = (m.abs() <= bound).then_some(m);
                    assert_eq!(decoder.decode(&times_g(m)), expected, "{m} {range_bits}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_small_multiple_has_no_answer() {
        let decoder = Decoder::new(14, 8).unwrap();
        assert_eq!(decoder.decode(&times_g(i64::MAX)), None);
        let large = Gt::generator().times(&Scalar::from_i128(i128::MIN));
        assert_eq!(decoder.decode(&large), None);
    }

    #[test]
    fn sizes_are_checked_and_tables_are_shared() {
        assert!(Decoder::new(30, 0).is_err() && Decoder::new(30, 25).is_err());
        assert!(Decoder::new(0, 8).is_err() && Decoder::new(49, 8).is_err());
        let (a, b) = (Decoder::new(9, 8).unwrap(), Decoder::new(14, 8).unwrap());
        assert!(core::ptr::eq(a.table, b.table));
        assert_eq!(a.with_range(14).unwrap().range_bits(), 14);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn decoding_undoes_multiplication(m in -(1i64 << 19)..1i64 << 19) {
            prop_assume!(m != -(1 << 19));
            prop_assert_eq!(Decoder::new(20, 10).unwrap().decode(&times_g(m)), Some(m));
        }
    }
}
