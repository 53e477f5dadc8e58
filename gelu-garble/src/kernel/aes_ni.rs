//! One block an instruction: AES-NI, with SSE2 and SSSE3.

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_clmulepi64_si128,
    _mm_load_si128, _mm_loadu_si128, _mm_set_epi8, _mm_set_epi64x, _mm_set1_epi32,
    _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_epi32, _mm_slli_si128,
    _mm_srai_epi32, _mm_store_si128, _mm_xor_si128,
};

use super::lanes::{self, Engine, LANES, Lanes};
use super::{Group, KEYS, Keys};

/// Proof that this processor has the instructions. Only [`AesNi::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AesNi(());

/// Round keys by round and key.
#[repr(C, align(64))]
pub(super) struct Schedule(pub(super) [[u128; KEYS]; ROUNDS + 1]);

/// Of AES-128.
pub(super) const ROUNDS: usize = 10;

/// What each round's key adds: powers of X in the field of AES.
pub(super) const ROUND_CONSTANTS: [i32; ROUNDS] =
    [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

impl AesNi {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("pclmulqdq");
        has.then_some(Self(()))
    }

    pub(super) fn garble(self, group: &mut Group<'_>, delta: u128) {
        #[target_feature(enable = "aes,ssse3,pclmulqdq")]
        fn inner(e: AesNi, group: &mut Group<'_>, delta: u128) {
            lanes::garble(e, group, delta);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, group, delta) }
    }

    pub(super) fn evaluate(self, group: &mut Group<'_>) {
        #[target_feature(enable = "aes,ssse3,pclmulqdq")]
        fn inner(e: AesNi, group: &mut Group<'_>) {
            lanes::evaluate(e, group);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, group) }
    }

    pub(super) fn hash(self, keys: Keys, per_key: usize, x: &mut [Lanes]) {
        #[target_feature(enable = "aes,ssse3,pclmulqdq")]
        fn inner(e: AesNi, keys: Keys, per_key: usize, x: &mut [Lanes]) {
            lanes::hash(e, keys, per_key, x);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, keys, per_key, x) }
    }

    pub(super) fn streams(self, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
        #[target_feature(enable = "aes,ssse3,pclmulqdq")]
        fn inner(e: AesNi, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
            lanes::streams(e, seeds, first, out);
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(self, seeds, first, out) }
    }

    pub(super) fn carryless_sum(self, a: &[u128], b: &[u128]) -> [u128; 3] {
        #[target_feature(enable = "aes,ssse3,pclmulqdq")]
        fn inner(a: &[u128], b: &[u128]) -> [u128; 3] {
            let mut sum = [_mm_setzero_si128(); 3];
            for (a, b) in a.iter().zip(b) {
                let (a, b) = (number(*a), number(*b));
                let middle = _mm_xor_si128(
                    _mm_clmulepi64_si128::<0x10>(a, b),
                    _mm_clmulepi64_si128::<0x01>(a, b),
                );
                sum[0] = _mm_xor_si128(sum[0], _mm_clmulepi64_si128::<0x00>(a, b));
                sum[1] = _mm_xor_si128(sum[1], middle);
                sum[2] = _mm_xor_si128(sum[2], _mm_clmulepi64_si128::<0x11>(a, b));
            }
            // SAFETY: both types are 128 bits without padding, and every pattern is a number.
            sum.map(|sum| unsafe { core::mem::transmute::<__m128i, u128>(sum) })
        }
        // SAFETY: `self` exists, so the instructions were detected.
        unsafe { inner(a, b) }
    }
}

impl Engine for AesNi {
    type Vector = [__m128i; LANES];
    type Schedule = Schedule;

    #[inline(always)]
    fn load(self, lanes: &Lanes) -> Self::Vector {
        let pointer = lanes.0.as_ptr().cast::<__m128i>();
        let mut out = self.splat(0);
        for (lane, out) in out.iter_mut().enumerate() {
            // SAFETY: SSE2 is part of x86-64; eight blocks of 16 bytes follow, aligned to 64.
            *out = unsafe { _mm_load_si128(pointer.add(lane)) };
        }
        out
    }

    #[inline(always)]
    fn store(self, x: Self::Vector, lanes: &mut Lanes) {
        let pointer = lanes.0.as_mut_ptr().cast::<__m128i>();
        for (lane, x) in x.into_iter().enumerate() {
            // SAFETY: SSE2 is part of x86-64; eight blocks of 16 bytes follow, aligned to 64.
            unsafe { _mm_store_si128(pointer.add(lane), x) }
        }
    }

    #[inline(always)]
    fn splat(self, x: u128) -> Self::Vector {
        [number(x); LANES]
    }

    #[inline(always)]
    fn xor(self, mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
        for (a, b) in a.iter_mut().zip(b) {
            // SAFETY: SSE2 is part of x86-64.
            *a = unsafe { _mm_xor_si128(*a, b) };
        }
        a
    }

    #[inline(always)]
    fn where_odd(self, selector: Self::Vector, mut x: Self::Vector) -> Self::Vector {
        for (x, selector) in x.iter_mut().zip(selector) {
            // SAFETY: SSE2 is part of x86-64.
            *x = unsafe {
                let low = _mm_shuffle_epi32::<0>(selector);
                _mm_and_si128(*x, _mm_srai_epi32::<31>(_mm_slli_epi32::<31>(low)))
            };
        }
        x
    }

    #[inline(always)]
    fn sigma(self, mut x: Self::Vector) -> Self::Vector {
        for x in &mut x {
            // SAFETY: SSE2 is part of x86-64.
            *x = unsafe {
                let high = _mm_and_si128(*x, _mm_set_epi64x(-1, 0));
                _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(*x), high)
            };
        }
        x
    }

    #[inline(always)]
    fn blank(self) -> Schedule {
        Schedule([[0; KEYS]; ROUNDS + 1])
    }

    #[inline(always)]
    fn schedule(self, keys: &[u128; KEYS], schedule: &mut Schedule) {
        for (four, keys) in keys.chunks(4).enumerate() {
            let mut keys = [number(keys[0]), number(keys[1]), number(keys[2]), number(keys[3])];
            for round in 0..=ROUNDS {
                let out = schedule.0[round][4 * four..][..4].as_mut_ptr().cast::<__m128i>();
                for (n, key) in keys.iter_mut().enumerate() {
                    // SAFETY: `self` exists, so AES-NI and SSSE3 were detected; four blocks of 16 bytes follow, each
                    // aligned to 16.
                    unsafe {
                        if round > 0 {
                            *key = next_round(*key, ROUND_CONSTANTS[round - 1]);
                        }
                        _mm_store_si128(out.add(n), *key);
                    }
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
        for (n, x) in x.iter_mut().enumerate() {
            for (round, all) in schedule.0.iter().enumerate() {
                let key = number(all[keys[n]]);
                for x in x.iter_mut() {
                    // SAFETY: `self` exists, so AES-NI was detected.
                    *x = unsafe {
                        match round {
                            0 => _mm_xor_si128(*x, key),
                            ROUNDS => _mm_aesenclast_si128(*x, key),
                            _ => _mm_aesenc_si128(*x, key),
                        }
                    };
                }
            }
        }
        x
    }
}

/// The next round key: `aesenclast` of four equal words is their S-boxes, as its shift of rows then changes
/// nothing.
///
/// # Safety
/// Needs AES-NI and SSSE3.
#[inline(always)]
unsafe fn next_round(key: __m128i, constant: i32) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let rotated = _mm_set_epi8(12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13, 12, 15, 14, 13);
        let last = _mm_shuffle_epi8(key, rotated);
        let last = _mm_aesenclast_si128(last, _mm_set1_epi32(constant));
        let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
        let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
        _mm_xor_si128(key, last)
    }
}

#[inline(always)]
fn number(x: u128) -> __m128i {
    // SAFETY: SSE2 is part of x86-64; a number has 16 bytes.
    unsafe { _mm_loadu_si128((&raw const x).cast()) }
}
