//! Four blocks an instruction: VAES on AVX-512.
//!
//! As in [`aes_ni`](super::aes_ni), no closure holds an instruction: a closure is compiled without the features of
//! the function around it, and where it is not inlined each instruction becomes a call.

use core::arch::x86_64::{
    __m512i, _mm_load_si128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_bslli_epi128, _mm512_load_si512, _mm512_loadu_si512,
    _mm512_maskz_mov_epi32, _mm512_maskz_mov_epi64, _mm512_set1_epi32, _mm512_shuffle_epi8,
    _mm512_shuffle_epi32, _mm512_store_si512, _mm512_test_epi32_mask, _mm512_xor_si512,
};

use super::aes_ni::{AesNi, ROUND_CONSTANTS, ROUNDS, Schedule};
use super::lanes::{self, Engine, Lanes};
use super::{Group, KEYS, Keys};

/// Proof that this processor has the instructions. Only [`Vaes::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vaes(AesNi);

impl Vaes {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        has.then(AesNi::detect).flatten().map(Self)
    }

    /// What it has besides.
    pub(super) fn aes_ni(self) -> AesNi {
        self.0
    }

    pub(super) fn garble(self, group: &mut Group<'_>, delta: u128) {
        #[target_feature(enable = "aes,vaes,avx512f,avx512bw")]
        fn inner(e: Vaes, group: &mut Group<'_>, delta: u128) {
            lanes::garble(e, group, delta);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, group, delta) }
    }

    pub(super) fn evaluate(self, group: &mut Group<'_>) {
        #[target_feature(enable = "aes,vaes,avx512f,avx512bw")]
        fn inner(e: Vaes, group: &mut Group<'_>) {
            lanes::evaluate(e, group);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, group) }
    }

    pub(super) fn hash(self, keys: Keys, per_key: usize, x: &mut [Lanes]) {
        #[target_feature(enable = "aes,vaes,avx512f,avx512bw")]
        fn inner(e: Vaes, keys: Keys, per_key: usize, x: &mut [Lanes]) {
            lanes::hash(e, keys, per_key, x);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, keys, per_key, x) }
    }

    pub(super) fn streams(self, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
        #[target_feature(enable = "aes,vaes,avx512f,avx512bw")]
        fn inner(e: Vaes, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
            lanes::streams(e, seeds, first, out);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, seeds, first, out) }
    }
}

impl Engine for Vaes {
    type Vector = [__m512i; 2];
    type Schedule = Schedule;

    #[inline(always)]
    fn load(self, lanes: &Lanes) -> Self::Vector {
        let pointer = lanes.0.as_ptr().cast::<__m512i>();
        // SAFETY: `self` exists, so AVX-512 was detected; 128 bytes follow, aligned to 64.
        unsafe { [_mm512_load_si512(pointer), _mm512_load_si512(pointer.add(1))] }
    }

    #[inline(always)]
    fn store(self, x: Self::Vector, lanes: &mut Lanes) {
        let pointer = lanes.0.as_mut_ptr().cast::<__m512i>();
        // SAFETY: `self` exists, so AVX-512 was detected; 128 bytes follow, aligned to 64.
        unsafe {
            _mm512_store_si512(pointer, x[0]);
            _mm512_store_si512(pointer.add(1), x[1]);
        }
    }

    #[inline(always)]
    fn splat(self, x: u128) -> Self::Vector {
        let four = [x; 4];
        // SAFETY: `self` exists, so AVX-512 was detected; four numbers are 64 bytes.
        [unsafe { _mm512_loadu_si512(four.as_ptr().cast()) }; 2]
    }

    #[inline(always)]
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        // SAFETY: `self` exists, so AVX-512 was detected.
        unsafe { [_mm512_xor_si512(a[0], b[0]), _mm512_xor_si512(a[1], b[1])] }
    }

    #[inline(always)]
    fn where_odd(self, selector: Self::Vector, x: Self::Vector) -> Self::Vector {
        // SAFETY: `self` exists, so AVX-512 was detected.
        unsafe { [four_where_odd(selector[0], x[0]), four_where_odd(selector[1], x[1])] }
    }

    #[inline(always)]
    fn sigma(self, x: Self::Vector) -> Self::Vector {
        // SAFETY: `self` exists, so AVX-512 was detected.
        unsafe { [four_sigma(x[0]), four_sigma(x[1])] }
    }

    #[inline(always)]
    fn blank(self) -> Schedule {
        Schedule([[0; KEYS]; ROUNDS + 1])
    }

    /// As in [`aes_ni`](super::aes_ni), sixteen keys side by side.
    #[inline(always)]
    fn schedule(self, keys: &[u128; KEYS], schedule: &mut Schedule) {
        schedule.0[0] = *keys;
        // SAFETY: `self` exists, so VAES and AVX-512 BW were detected; sixteen numbers are four times 64 bytes,
        // aligned to 64 in a schedule.
        unsafe {
            let rotated = _mm512_set1_epi32(0x0c0f_0e0d);
            let first = keys.as_ptr().cast::<__m512i>();
            let mut keys = [
                _mm512_loadu_si512(first),
                _mm512_loadu_si512(first.add(1)),
                _mm512_loadu_si512(first.add(2)),
                _mm512_loadu_si512(first.add(3)),
            ];
            for (round, out) in schedule.0.iter_mut().enumerate().skip(1) {
                let constant = _mm512_set1_epi32(ROUND_CONSTANTS[round - 1]);
                for (n, key) in keys.iter_mut().enumerate() {
                    let last = _mm512_shuffle_epi8(*key, rotated);
                    let last = _mm512_aesenclast_epi128(last, constant);
                    *key = _mm512_xor_si512(*key, _mm512_bslli_epi128::<4>(*key));
                    *key = _mm512_xor_si512(*key, _mm512_bslli_epi128::<8>(*key));
                    *key = _mm512_xor_si512(*key, last);
                    _mm512_store_si512(out.as_mut_ptr().cast::<__m512i>().add(n), *key);
                }
            }
        }
    }

    #[inline(always)]
    fn encrypt<const N: usize>(
        self,
        schedule: &Schedule,
        keys: [usize; N],
        mut x: [Self::Vector; N],
    ) -> [Self::Vector; N] {
        for (round, all) in schedule.0.iter().enumerate() {
            for (n, x) in x.iter_mut().enumerate() {
                let key = &raw const all[keys[n]];
                // SAFETY: `self` exists, so VAES was detected; a round key has 16 bytes, aligned to 16.
                unsafe {
                    let key = _mm512_broadcast_i32x4(_mm_load_si128(key.cast()));
                    *x = match round {
                        0 => [_mm512_xor_si512(x[0], key), _mm512_xor_si512(x[1], key)],
                        ROUNDS => [
                            _mm512_aesenclast_epi128(x[0], key),
                            _mm512_aesenclast_epi128(x[1], key),
                        ],
                        _ => [_mm512_aesenc_epi128(x[0], key), _mm512_aesenc_epi128(x[1], key)],
                    };
                }
            }
        }
        x
    }
}

/// # Safety
/// Needs AVX-512.
#[inline(always)]
unsafe fn four_where_odd(selector: __m512i, x: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_shuffle_epi32::<0>(selector);
        _mm512_maskz_mov_epi32(_mm512_test_epi32_mask(low, _mm512_set1_epi32(1)), x)
    }
}

/// # Safety
/// Needs AVX-512.
#[inline(always)]
unsafe fn four_sigma(x: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let high = _mm512_maskz_mov_epi64(0b1010_1010, x);
        _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(x), high)
    }
}
