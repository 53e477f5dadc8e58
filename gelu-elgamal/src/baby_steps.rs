//! Small discrete logarithms: v from v·G, by baby steps and giant steps.
//!
//! ```text
//! v = k·T + j,  0 ≤ j < T        a table of j·G for all j;  v·G − k·T·G  for k = 0, −1, 1, −2, …
//! ```
//!
//! (Shanks 1971.) The group tells nothing of how large v is, so somebody who encrypts must keep it
//! small and somebody who decrypts must search. With a range of R bits (|v| < 2^(R−1)) and a table
//! of T = 2^t baby steps:
//!
//! | | formula | default: R = 40, t = 23 |
//! |---|---|---|
//! | memory | 8·T bytes | 64 MiB, once a process |
//! | table | T additions and encodings | 4.7 s of one core, at the first decryption or before |
//! | worst case | 2^R / T additions and encodings | 2^17 steps, 82 ms of one core |
//! | value v | 2·⌈abs(v)/T⌉ + 2 of them | abs(v) < 2^23: 57 µs; 2^29: 0.2 ms; 2^31: 0.5 ms |
//!
//! An encoding costs an inversion, and inversions are cheap in batches, but Ristretto batches only
//! encodings of *doubled* points (`double_and_compress_batch`). So both table and search look at
//! 2·P instead of P: 2·(v·G − k·T·G) = 2·j·G exactly if v = k·T + j, since the order is odd.
//!
//! 40 bits are what a decryption in under 100 ms and a table of 64 MiB reach. Each halving of the
//! table doubles the worst case; the ranges of a program that knows its numbers can be smaller, and
//! so can its table: [`Decoder::new`].
//!
//! The table maps the first 8 bytes of an encoding to j. Four bytes an entry, half of them empty: t
//! bits of j and 32 − t bits to tell most strangers apart. What it finds is a guess until v·G was
//! computed and compared, so a decoded value is never wrong: outside the range there is no value.
//!
//! # Security
//! Values are the client's own plaintexts. [`Search::FromZero`] takes time proportional to abs(v),
//! so whoever sees *when* the client answers (the server does) learns about how large its numbers
//! are. It stops at the ends of batches, which double up to 128 giant steps each way: below 2^23
//! nothing shows, below 2^30 the magnitude to a factor of two, above it to the nearest 2^30.
//! [`Search::WholeRange`] always takes all steps; which lines of the table are touched still follows
//! the value, but only somebody on the same machine can see that.

use std::sync::OnceLock;

use curve25519_dalek::{RistrettoPoint, Scalar};
use rayon::prelude::*;

/// Bits of the values that decryption finds, sign included: abs(v) < 2^39.
pub const RANGE_BITS: u32 = 40;

/// Bits of the shared table's baby steps.
pub const BABY_BITS: u32 = 23;

/// The largest table that can be made: 256 MiB.
const MOST_BABY_BITS: u32 = 25;

/// The largest range that can be searched: in hours, with the largest table.
const MOST_RANGE_BITS: u32 = 60;

/// Points encoded at a time: enough to share an inversion, few enough for the cache.
const BATCH: usize = 256;

/// In which order giant steps are taken, and when they stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// From zero outwards until found: time tells abs(v).
    #[default]
    FromZero,
    /// All steps, always.
    WholeRange,
}

/// A range of values and the table that finds them.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    steps: &'a BabySteps,
    range_bits: u32,
}

impl Decoder<'static> {
    /// The decoder of [`RANGE_BITS`], with the one table of [`BABY_BITS`] of this process.
    pub fn shared() -> Self {
        Self { steps: BabySteps::shared(), range_bits: RANGE_BITS }
    }
}

impl<'a> Decoder<'a> {
    /// Finds values of `range_bits` bits, sign included; `None` outside 1 to 60 bits.
    pub fn new(steps: &'a BabySteps, range_bits: u32) -> Option<Self> {
        (1..=MOST_RANGE_BITS).contains(&range_bits).then_some(Self { steps, range_bits })
    }

    /// The same table for a smaller range; `None` if it is no smaller.
    pub fn narrowed(&self, range_bits: u32) -> Option<Self> {
        Self::new(self.steps, range_bits).filter(|narrow| narrow.range_bits <= self.range_bits)
    }

    /// Bits of the values that are found, sign included.
    pub fn range_bits(&self) -> u32 {
        self.range_bits
    }

    /// v, if `point` = v·G and abs(v) < 2^(`range_bits` − 1).
    pub fn decode(&self, point: &RistrettoPoint, search: Search) -> Option<i64> {
        let bound = 1i64 << (self.range_bits - 1);
        let stride = self.steps.stride();
        let giants = bound.unsigned_abs().div_ceil(stride.unsigned_abs());
        let step = multiple(stride);
        // points[2i] = P − k·T·G for k = 0, 1, …; points[2i + 1] the same for k = −1, −2, ….
        let (mut up, mut down) = (*point, point + step);
        let (mut taken, mut batch, mut found) = (0u64, 2, None);
        let mut points = Vec::with_capacity(BATCH);
        while taken < giants {
            points.clear();
            let first = taken;
            while taken < giants && points.len() < batch {
                points.extend([up, down]);
                up -= step;
                down += step;
                taken += 1;
            }
            let encoded = RistrettoPoint::double_and_compress_batch(&points);
            for ((k, pair), points) in (first..).zip(encoded.chunks(2)).zip(points.chunks(2)) {
                let k = i64::try_from(k).expect("fewer steps than the range has values");
                for ((k, key), point) in [k, -1 - k].into_iter().zip(pair).zip(points) {
                    let value = self.steps.find(key.as_bytes(), point).map(|j| k * stride + j);
                    found = found.or(value.filter(|v| v.abs() < bound));
                }
            }
            if found.is_some() && search == Search::FromZero {
                return found;
            }
            batch = (2 * batch).min(BATCH);
        }
        found
    }
}

/// A table of j·G for all j below 2^t: see the [module](self).
pub struct BabySteps {
    bits: u32,
    slots: Vec<u32>,
}

/// No j: the tag of all ones is never used.
const EMPTY: u32 = u32::MAX;

impl BabySteps {
    /// A table of 2^`bits` steps, built by all processors; `None` outside 4 to 25 bits.
    pub fn new(bits: u32) -> Option<Self> {
        if !(4..=MOST_BABY_BITS).contains(&bits) {
            return None;
        }
        let count = 1u32 << bits;
        let mut table = Self { bits, slots: vec![EMPTY; 2 << bits] };
        // Encodings of one range at a time, which bounds the memory beside the table.
        let chunk = 1u32 << bits.min(12);
        let range = chunk << 6;
        for start in (0..count).step_by(range as usize) {
            let encoded: Vec<_> = (start..count.min(start.saturating_add(range)))
                .into_par_iter()
                .step_by(chunk as usize)
                .map(|first| {
                    let one = multiple(1);
                    let points = (0..chunk).scan(multiple(i64::from(first)), |next, _| {
                        let this = *next;
                        *next += one;
                        Some(this)
                    });
                    let points: Vec<_> = points.collect();
                    let keys = RistrettoPoint::double_and_compress_batch(&points);
                    (first, keys.iter().map(|key| word(key.as_bytes())).collect::<Vec<_>>())
                })
                .collect();
            for (first, keys) in encoded {
                (first..).zip(keys).for_each(|(j, key)| table.insert(key, j));
            }
        }
        Some(table)
    }

    /// The table of [`BABY_BITS`] that the whole process shares, built at the first use.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<BabySteps> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(BABY_BITS).expect("a size within bounds"))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u32>()
    }

    /// T, the number of steps.
    fn stride(&self) -> i64 {
        1 << self.bits
    }

    fn insert(&mut self, key: u64, j: u32) {
        let entry = self.tag(key) << self.bits | j;
        let mut at = self.home(key);
        while self.slots[at] != EMPTY {
            at = self.next(at);
        }
        self.slots[at] = entry;
    }

    /// j with j·G = `point`, whose double encodes as `key`.
    fn find(&self, key: &[u8; 32], point: &RistrettoPoint) -> Option<i64> {
        let key = word(key);
        let (tag, mut at) = (self.tag(key), self.home(key));
        while self.slots[at] != EMPTY {
            if self.slots[at] >> self.bits == tag {
                let j = i64::from(self.slots[at] & ((1 << self.bits) - 1));
                if multiple(j) == *point {
                    return Some(j);
                }
            }
            at = self.next(at);
        }
        None
    }

    /// Where a key would like to be. (Encodings are even, hence the shift.)
    fn home(&self, key: u64) -> usize {
        usize::try_from((key >> 1) & (self.slots.len() as u64 - 1)).expect("an index of a slot")
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn tag(&self, key: u64) -> u32 {
        u32::try_from((key >> 32) % ((1 << (32 - self.bits)) - 1)).expect("less than the modulus")
    }
}

impl core::fmt::Debug for BabySteps {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BabySteps").field("bits", &self.bits).finish_non_exhaustive()
    }
}

/// v·G in constant time.
pub(crate) fn multiple(v: i64) -> RistrettoPoint {
    RistrettoPoint::mul_base(&scalar(v.into()))
}

/// v modulo the group's order, without a branch on v.
pub(crate) fn scalar(v: i128) -> Scalar {
    use subtle::{Choice, ConditionallySelectable};
    let magnitude = Scalar::from(v.unsigned_abs());
    let negative = Choice::from(u8::from(v.is_negative()));
    Scalar::conditional_select(&magnitude, &-magnitude, negative)
}

fn word(key: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*key.first_chunk().expect("32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::identity;
    use crate::oracle::rng;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SMALL: LazyLock<BabySteps> = LazyLock::new(|| BabySteps::new(8).unwrap());

    #[test]
    fn every_value_of_a_small_range_is_found() {
        for bits in [1, 2, 6, 9, 10, 12] {
            let decoder = Decoder::new(&SMALL, bits).unwrap();
            let bound = 1 << (bits - 1);
            for v in 1 - bound..bound {
                for search in [Search::FromZero, Search::WholeRange] {
                    assert_eq!(decoder.decode(&multiple(v), search), Some(v), "{bits} bits");
                }
            }
        }
    }

    /// Nothing beyond the range is found, however close, and nothing else is taken for a value.
    #[test]
    fn overflow_is_nothing_and_never_something_else() {
        let decoder = Decoder::new(&SMALL, 12).unwrap();
        for beyond in [2048i64, 2049, 2303, 2304, 1 << 20, i64::MAX] {
            for v in [beyond, -beyond] {
                assert_eq!(decoder.decode(&multiple(v), Search::FromZero), None, "{v}");
                assert_eq!(decoder.decode(&multiple(v), Search::WholeRange), None, "{v}");
            }
        }
        let random = RistrettoPoint::random(&mut rng(5));
        assert_eq!(decoder.decode(&random, Search::FromZero), None);
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(BabySteps::new(3).is_none() && BabySteps::new(26).is_none());
        assert!(Decoder::new(&SMALL, 0).is_none() && Decoder::new(&SMALL, 61).is_none());
        assert_eq!(SMALL.bytes(), 8 << 8);
    }

    #[test]
    fn the_shared_range_has_the_promised_edges() {
        let (decoder, edge) = (Decoder::shared(), (1i64 << (RANGE_BITS - 1)) - 1);
        for v in [0, 1, -1, (1 << BABY_BITS) - 1, 1 << BABY_BITS, -(1 << BABY_BITS), edge, -edge] {
            assert_eq!(decoder.decode(&multiple(v), Search::FromZero), Some(v));
        }
        assert_eq!(decoder.decode(&multiple(edge + 1), Search::FromZero), None);
        assert_eq!(decoder.decode(&multiple(-edge - 1), Search::FromZero), None);
    }

    #[test]
    fn scalars_of_edges() {
        for v in [0, 1, -1, i128::MAX, i128::MIN + 1] {
            assert_eq!(scalar(v) + scalar(-v), Scalar::ZERO);
        }
        assert_eq!(scalar(i128::MIN) + Scalar::from(1u128 << 127), Scalar::ZERO);
        assert_eq!(multiple(0), identity());
    }

    proptest! {
        #[test]
        fn random_values(v in -(1i64 << 23)..1 << 23) {
            let decoder = Decoder::shared();
            prop_assert_eq!(decoder.decode(&multiple(v), Search::FromZero), Some(v));
        }
    }
}
