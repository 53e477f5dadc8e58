//! Four numbers in vectors: a vector holds one limb of each, memory holds the numbers one by one.

use core::arch::x86_64::{
    __m256d, __m256i, _mm256_add_pd, _mm256_and_si256, _mm256_castpd_si256, _mm256_castsi256_pd,
    _mm256_load_si256, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi64x,
    _mm256_set1_pd, _mm256_setzero_pd, _mm256_setzero_si256, _mm256_store_si256, _mm256_sub_pd,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64,
};

use super::MASK;
use crate::kernel::{LANES, Line};

/// One limb of four numbers, as integers.
pub(super) type I = __m256i;

/// One limb of four numbers, as doubles.
pub(super) type D = __m256d;

/// Numbers that a vector holds.
pub(super) const WIDTH: usize = 4;

/// From here to 2^53 doubles are integers, and their last bits are those of what exceeds it.
const TWO_52: f64 = (1u64 << 52) as f64;

/// The split pairs of four lanes.
#[derive(Clone, Copy)]
pub(super) struct Pairs<const L: usize> {
    pub(super) low: [D; L],
    pub(super) high: [D; L],
}

impl<const L: usize> Pairs<L> {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn zero() -> Self {
        let zero = [_mm256_setzero_pd(); L];
        Self { low: zero, high: zero }
    }

    /// Reads up to four elements; missing lanes repeat the last one.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn read(elements: &[&[Line]]) -> Self {
        let half = L.div_ceil(LANES);
        let lane = |i: usize| elements[i.min(elements.len() - 1)];
        let (low, high): ([&[Line]; WIDTH], [&[Line]; WIDTH]) = (
            core::array::from_fn(|i| &lane(i)[..half]),
            core::array::from_fn(|i| &lane(i)[half..]),
        );
        Self { low: transpose_in(&low), high: transpose_in(&high) }
    }

    /// Writes the first lanes, as many as `out` has room for.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn write(&self, out: &mut [Line]) {
        let half = L.div_ceil(LANES);
        for (start, limbs) in [(0, &self.low), (half, &self.high)] {
            write(&limbs.map(|limb| integer(limb)), start, out, 2 * half);
        }
    }
}

/// The limbs of four numbers, from each number's lines.
#[target_feature(enable = "avx2,fma")]
pub(super) fn transpose_in<const L: usize>(lanes: &[&[Line]; WIDTH]) -> [D; L] {
    let mut limbs = [_mm256_setzero_pd(); L];
    for (part, limbs) in limbs.chunks_mut(WIDTH).enumerate() {
        let columns = transpose([0, 1, 2, 3].map(|lane| load(lanes[lane], part)));
        limbs.iter_mut().zip(columns).for_each(|(limb, column)| *limb = double(column));
    }
    limbs
}

/// Writes a number of each lane to `out`, from line `start` of each `stride` lines on, for as many
/// lanes as there are.
#[target_feature(enable = "avx2,fma")]
pub(super) fn write<const L: usize>(limbs: &[I; L], start: usize, out: &mut [Line], stride: usize) {
    let half = L.div_ceil(LANES);
    for part in 0..half * LANES / WIDTH {
        let limb = |i| limbs.get(WIDTH * part + i).copied().unwrap_or(_mm256_setzero_si256());
        let lanes = transpose([0, 1, 2, 3].map(limb));
        for (element, four) in out.chunks_exact_mut(stride).zip(lanes) {
            store(&mut element[start..], part, four);
        }
    }
}

/// Integers from 0 to 2^52 − 1 as doubles.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn double(x: I) -> D {
    let offset = _mm256_set1_pd(TWO_52);
    _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(x, _mm256_castpd_si256(offset))), offset)
}

/// Limbs as integers.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn integer(limb: D) -> I {
    let sum = _mm256_add_pd(limb, _mm256_set1_pd(TWO_52));
    _mm256_and_si256(_mm256_castpd_si256(sum), _mm256_set1_epi64x(MASK))
}

/// Rows to columns.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn transpose(r: [I; WIDTH]) -> [I; WIDTH] {
    let (even01, odd01) = (_mm256_unpacklo_epi64(r[0], r[1]), _mm256_unpackhi_epi64(r[0], r[1]));
    let (even23, odd23) = (_mm256_unpacklo_epi64(r[2], r[3]), _mm256_unpackhi_epi64(r[2], r[3]));
    [
        _mm256_permute2x128_si256::<0x20>(even01, even23),
        _mm256_permute2x128_si256::<0x20>(odd01, odd23),
        _mm256_permute2x128_si256::<0x31>(even01, even23),
        _mm256_permute2x128_si256::<0x31>(odd01, odd23),
    ]
}

/// Limbs 4·`part` to 4·`part` + 3 of a number.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn load(lines: &[Line], part: usize) -> I {
    let limbs: &[u64; WIDTH] = &lines[part / 2].0.as_chunks().0[part % 2];
    // SAFETY: 32 bytes, which are half a line, aligned to that.
    unsafe { _mm256_load_si256(limbs.as_ptr().cast()) }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn store(lines: &mut [Line], part: usize, limbs: I) {
    let place: &mut [u64; WIDTH] = &mut lines[part / 2].0.as_chunks_mut().0[part % 2];
    // SAFETY: 32 bytes, which are half a line, aligned to that.
    unsafe { _mm256_store_si256(place.as_mut_ptr().cast(), limbs) }
}
