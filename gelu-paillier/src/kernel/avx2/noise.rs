//! What noise from small primes asks of a kernel: products of their powers, and sums of multiples.

use core::arch::x86_64::{
    _mm256_add_epi64, _mm256_and_si256, _mm256_mul_epu32, _mm256_set_epi64x, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64,
};

use super::RADIX;
use super::carry::Carry;
use super::lanes::{I, WIDTH, double, load, store, write};
use super::product::{Constants, offset};
use crate::kernel::{LANES, Line};

/// [`Kernel::powers_of_primes`](crate::kernel::Kernel::powers_of_primes) for four lanes, those from
/// `first` on.
#[target_feature(enable = "avx2,fma")]
pub(super) fn powers_of_primes<const L: usize>(
    primes: &[u32],
    exponents: &[[u8; LANES]],
    first: usize,
    out: &mut [Line],
) {
    let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi64x(1));
    let k = Constants::new();
    let mut product = [zero; L];
    product[0] = one;
    let (mut bits, mut limbs) = (1, 1);
    for (&prime, exponents) in primes.iter().zip(exponents) {
        // One of 1, l, l², l³ in each lane, as (1 + bit·(l − 1))·(1 + bit·(l² − 1)).
        let [a, b, c, d] = core::array::from_fn(|lane| i64::from(exponents[first + lane]));
        let exponents = _mm256_set_epi64x(d, c, b, a);
        let prime = i64::from(prime);
        let chosen = |bit: I, factor: i64| {
            let bit = _mm256_and_si256(bit, one);
            _mm256_add_epi64(one, _mm256_mul_epu32(bit, _mm256_set1_epi64x(factor - 1)))
        };
        let power = double(_mm256_mul_epu32(
            chosen(exponents, prime),
            chosen(_mm256_srli_epi64::<1>(exponents), prime * prime),
        ));
        // The most limbs that the product can have by now.
        bits += 64 - (prime * prime * prime).leading_zeros() as usize;
        let next = bits.div_ceil(RADIX as usize).min(L);
        // The high half of the limb before, with its offset.
        let (mut above, mut carry) =
            (_mm256_set1_epi64x(offset(0, 1).wrapping_neg()), Carry::none());
        for limb in &mut product[..limbs] {
            let (low, high) = k.halves(double(*limb), power);
            let column = _mm256_add_epi64(low, _mm256_set1_epi64x(offset(1, 1)));
            *limb = carry.cut(_mm256_add_epi64(column, above));
            above = high;
        }
        if next > limbs {
            let high = _mm256_add_epi64(above, _mm256_set1_epi64x(offset(0, 1)));
            product[limbs] = _mm256_add_epi64(high, carry.rest());
            limbs = next;
        }
    }
    out.fill(Line::default());
    write(&product, 0, out, 2 * L.div_ceil(LANES));
}

/// [`Kernel::combine`](crate::kernel::Kernel::combine).
#[target_feature(enable = "avx2,fma")]
pub(super) fn combine(terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
    let mut lines = [Line::default(); LANES];
    for part in 0..LANES / WIDTH {
        let mut sums = [_mm256_setzero_si256(); LANES];
        for ((even, odd), factors) in terms[0].iter().zip(terms[1]).zip(factors) {
            let terms = [even, odd].map(|line| load(core::slice::from_ref(line), part));
            let above = terms.map(|term| _mm256_srli_epi64::<32>(term));
            for (k, (sum, &factor)) in sums.iter_mut().zip(factors).enumerate() {
                let factor = _mm256_set1_epi64x(i64::from(factor));
                let high = _mm256_slli_epi64::<32>(_mm256_mul_epu32(above[k % 2], factor));
                let low = _mm256_mul_epu32(terms[k % 2], factor);
                *sum = _mm256_add_epi64(*sum, _mm256_add_epi64(high, low));
            }
        }
        for (line, sum) in lines.iter_mut().zip(sums) {
            store(core::slice::from_mut(line), part, sum);
        }
    }
    lines
}
