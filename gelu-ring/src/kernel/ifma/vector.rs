//! Eight residues in a register, and what is done to them.

use core::arch::x86_64::{
    __m512i, _mm_loadl_epi64, _mm256_loadu_si256, _mm512_broadcast_i64x4, _mm512_loadu_si512,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_broadcastq_epi64, _mm512_min_epu64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512,
    _mm512_sub_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use crate::modulus::Modulus;

/// Bits of a factor.
pub(super) const RADIX: u32 = 52;

/// Residues of a vector.
pub(super) const LANES: usize = 8;

/// Eight residues in memory.
pub(super) type Line = [u64; LANES];

/// Eight residues in a register.
pub(super) type V = __m512i;

/// A number to multiply by, in one of two forms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Factor {
    pub(super) value: u64,
    pub(super) quotient: u64,
}

impl Factor {
    /// w̃ and w̃·q⁻¹ mod 2^52: see [`ifma`](super).
    pub(super) fn new(w: u64, q: Modulus) -> Self {
        let value = q.reduce(u128::from(w) << RADIX);
        Self { value, quotient: value.wrapping_mul(inverse(q)) & ((1 << RADIX) - 1) }
    }

    /// w and ⌊w·2^52 / q⌋: see `transform`.
    pub(super) fn lazy(w: u64, q: Modulus) -> Self {
        let quotient = (u128::from(w) << RADIX) / u128::from(q.value());
        Self { value: w, quotient: u64::try_from(quotient).expect("a residue is below q") }
    }
}

/// q⁻¹ modulo 2^64, by Newton's iteration: each step doubles the bits that are right, of which q itself
/// has three.
pub(super) fn inverse(q: Modulus) -> u64 {
    let q = q.value();
    (0..5).fold(q, |x, _| x.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(x))))
}

/// A [`Factor`], or eight, in registers.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) value: V,
    pub(super) quotient: V,
}

impl Factors {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn splat(factor: Factor) -> Self {
        Self { value: splat(factor.value), quotient: splat(factor.quotient) }
    }
}

/// Multiples of q in registers.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    pub(super) q: V,
    pub(super) two_q: V,
    pub(super) minus_q: V,
}

impl Vectors {
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn new(q: Modulus) -> Self {
        let q = q.value();
        Self { q: splat(q), two_q: splat(2 * q), minus_q: splat(q.wrapping_neg()) }
    }

    /// y·w modulo q, above 0 and below 2q, for y < 2^52.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn times(&self, y: V, w: Factors) -> V {
        let zero = _mm512_setzero_si512();
        let m = _mm512_madd52lo_epu64(zero, y, w.quotient);
        let high = _mm512_madd52hi_epu64(zero, y, w.value);
        _mm512_sub_epi64(high, _mm512_madd52hi_epu64(self.minus_q, m, self.q))
    }

    /// x modulo q for x < 2q.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn canonical(&self, x: V) -> V {
        below(x, self.q)
    }
}

/// x, less `bound` where x is not below it, for x < 2·bound.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn below(x: V, bound: V) -> V {
    _mm512_min_epu64(x, _mm512_sub_epi64(x, bound))
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn splat(x: u64) -> V {
    _mm512_set1_epi64(x.cast_signed())
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn load(line: &Line) -> V {
    // SAFETY: a line has 64 bytes, and no alignment is asked for.
    unsafe { _mm512_loadu_si512(core::ptr::from_ref(line).cast()) }
}

/// `low` in the lower half of the lanes, `high` in the upper one.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn two(low: &u64, high: &u64) -> V {
    // Loaded as a vector: by a general register it would take longer.
    // SAFETY: a word is read, and no alignment is asked for.
    let high = unsafe { _mm_loadl_epi64(core::ptr::from_ref(high).cast()) };
    _mm512_mask_broadcastq_epi64(splat(*low), 0b1111_0000, high)
}

/// Half a line, twice.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn four_twice(half: &[u64; LANES / 2]) -> V {
    // SAFETY: half a line has 32 bytes, and no alignment is asked for.
    _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(core::ptr::from_ref(half).cast()) })
}

/// The odd or the even lanes, each twice.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn doubled(a: V, odd: bool) -> V {
    if odd { _mm512_unpackhi_epi64(a, a) } else { _mm512_unpacklo_epi64(a, a) }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn store(line: &mut Line, v: V) {
    // SAFETY: a line has 64 bytes, and no alignment is asked for.
    unsafe { _mm512_storeu_si512(core::ptr::from_mut(line).cast(), v) }
}

/// a₀a₁a₂a₃b₀b₁b₂b₃ and a₄a₅a₆a₇b₄b₅b₆b₇; its own inverse.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn halves(a: V, b: V) -> (V, V) {
    (_mm512_shuffle_i64x2::<0b01_00_01_00>(a, b), _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b))
}

/// a₀a₁a₄a₅b₀b₁b₄b₅ and a₂a₃a₆a₇b₂b₃b₆b₇.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn even_and_odd_pairs(a: V, b: V) -> (V, V) {
    (_mm512_shuffle_i64x2::<0b10_00_10_00>(a, b), _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
}

/// a₀b₀a₂b₂a₄b₄a₆b₆ and a₁b₁a₃b₃a₅b₅a₇b₇; its own inverse.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
pub(super) fn even_and_odd(a: V, b: V) -> (V, V) {
    (_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
}
