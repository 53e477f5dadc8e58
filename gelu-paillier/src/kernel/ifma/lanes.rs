//! Eight numbers in vectors: a vector holds one limb of each, memory holds the numbers one by one.

use core::arch::x86_64::{
    __m512i, _mm512_load_si512, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_store_si512,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use crate::kernel::{LANES, Line};

/// One limb of eight numbers.
pub(super) type V = __m512i;

/// The split pairs of eight lanes.
#[derive(Clone, Copy)]
pub(super) struct Pairs<const L: usize> {
    pub(super) low: [V; L],
    pub(super) high: [V; L],
}

impl<const L: usize> Pairs<L> {
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn zero() -> Self {
        let zero = [_mm512_setzero_si512(); L];
        Self { low: zero, high: zero }
    }

    /// Reads up to eight elements; missing lanes repeat the last one.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn read(elements: &[&[Line]]) -> Self {
        let half = L.div_ceil(LANES);
        let lane = |i: usize| elements[i.min(elements.len() - 1)];
        let (low, high): ([&[Line]; LANES], [&[Line]; LANES]) = (
            core::array::from_fn(|i| &lane(i)[..half]),
            core::array::from_fn(|i| &lane(i)[half..]),
        );
        Self { low: transpose_in(&low), high: transpose_in(&high) }
    }

    /// Writes the first `count` lanes.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn write(&self, out: &mut [Line], count: usize) {
        let half = L.div_ceil(LANES);
        for (h, limbs) in [&self.low, &self.high].into_iter().enumerate() {
            for (block, limbs) in limbs.chunks(LANES).enumerate() {
                let mut square = [_mm512_setzero_si512(); LANES];
                square[..limbs.len()].copy_from_slice(limbs);
                let lanes = transpose(square);
                for (lane, &line) in lanes[..count].iter().enumerate() {
                    store(&mut out[lane * 2 * half + h * half + block], line);
                }
            }
        }
    }
}

/// The limbs of eight numbers, from each number's lines.
#[target_feature(enable = "avx512f,avx512ifma")]
pub(super) fn transpose_in<const L: usize>(lanes: &[&[Line]; LANES]) -> [V; L] {
    let mut limbs = [_mm512_setzero_si512(); L];
    for (block, limbs) in limbs.chunks_mut(LANES).enumerate() {
        let mut square = [_mm512_setzero_si512(); LANES];
        for (line, lane) in square.iter_mut().zip(lanes) {
            *line = load(&lane[block]);
        }
        let columns = transpose(square);
        limbs.copy_from_slice(&columns[..limbs.len()]);
    }
    limbs
}

/// Rows to columns.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn transpose(r: [V; LANES]) -> [V; LANES] {
    let pair =
        |a: usize, b: usize| (_mm512_unpacklo_epi64(r[a], r[b]), _mm512_unpackhi_epi64(r[a], r[b]));
    // Even and odd columns of rows (0,1), (2,3), (4,5), (6,7), in 128-bit parts.
    let ((e0, o0), (e1, o1), (e2, o2), (e3, o3)) = (pair(0, 1), pair(2, 3), pair(4, 5), pair(6, 7));
    let quarter = |p: [V; 4]| -> [V; 4] {
        let a = _mm512_shuffle_i64x2::<0b10_00_10_00>(p[0], p[1]); // columns 0, 4
        let b = _mm512_shuffle_i64x2::<0b11_01_11_01>(p[0], p[1]); // columns 2, 6
        let c = _mm512_shuffle_i64x2::<0b10_00_10_00>(p[2], p[3]);
        let d = _mm512_shuffle_i64x2::<0b11_01_11_01>(p[2], p[3]);
        [
            _mm512_shuffle_i64x2::<0b10_00_10_00>(a, c), // column 0
            _mm512_shuffle_i64x2::<0b10_00_10_00>(b, d), // column 2
            _mm512_shuffle_i64x2::<0b11_01_11_01>(a, c), // column 4
            _mm512_shuffle_i64x2::<0b11_01_11_01>(b, d), // column 6
        ]
    };
    let (even, odd) = (quarter([e0, e1, e2, e3]), quarter([o0, o1, o2, o3]));
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn load(line: &Line) -> V {
    // SAFETY: a line has 64 bytes and is aligned to them.
    unsafe { _mm512_load_si512(core::ptr::from_ref(line).cast()) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn store(line: &mut Line, v: V) {
    // SAFETY: a line has 64 bytes and is aligned to them.
    unsafe { _mm512_store_si512(core::ptr::from_mut(line).cast(), v) }
}
