//! Six limbs of Montgomery's quotient at once.

use core::arch::x86_64::{_mm256_add_epi64, _mm256_set1_epi64x, _mm256_setzero_si256};

use super::RADIX;
use super::carry::Carry;
use super::lanes::{D, I, double};
use super::phase::{BLOCK, Columns};
use super::product::{Constants, offset};

/// What the lower columns of a block give.
pub(super) struct Head {
    /// Six limbs of m.
    pub(super) m: [D; BLOCK],
    /// The same as integers.
    pub(super) digits: [I; BLOCK],
    /// What these columns carry into the seventh, with the offsets of its high halves.
    pub(super) carry: I,
}

/// The sums low\[j\] of products of the first limbs of x and y, and high\[j\], which belongs to the
/// column after it.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn lower_triangle(
    low: &mut [I; BLOCK],
    high: &mut [I; BLOCK],
    x: &[D; BLOCK],
    y: &[D; BLOCK],
    k: Constants,
) {
    for j in 0..BLOCK {
        for i in 0..BLOCK - j {
            let (below, above) = k.halves(x[j], y[i]);
            low[i + j] = _mm256_add_epi64(low[i + j], below);
            high[i + j] = _mm256_add_epi64(high[i + j], above);
        }
    }
}

/// The limbs of columns whose halves are apart, with what takes their offsets away; and the last column.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn limbs(low: [I; BLOCK], high: [I; BLOCK], offset: impl Fn(usize) -> i64) -> ([I; BLOCK], I) {
    let (mut limbs, mut last, mut carry) = (low, low[0], Carry::none());
    for (c, limb) in limbs.iter_mut().enumerate() {
        last = _mm256_add_epi64(*limb, _mm256_set1_epi64x(offset(c)));
        if c > 0 {
            last = _mm256_add_epi64(last, high[c - 1]);
        }
        *limb = carry.cut(last);
    }
    (limbs, last)
}

/// The head of block `row`: m = −T·n⁻¹ mod 2^300 for the lower columns T, x·y included.
///
/// T + m·n is a multiple of 2^300. So its column 5, with what column 4 carries, is one of 2^50, and
/// the nearest one to column 5 alone, as column 4 is below 2^61: lower columns of m·n need not be
/// known.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn head<const C: usize, const L: usize, const P: usize>(
    t: &Columns<L>,
    row: usize,
    x: [&[D; BLOCK]; 2],
    y: [&[D; BLOCK]; 2],
    n: &[D; BLOCK],
    minus_inverse: &[D; BLOCK],
    k: Constants,
) -> Head {
    let zero = _mm256_setzero_si256();
    let (mut low, mut high) = (*t.body.first_chunk().expect("L >= BLOCK"), [zero; BLOCK]);
    for (x, y) in x.into_iter().zip(y).take(P) {
        lower_triangle(&mut low, &mut high, x, y, k);
    }
    let (limbs_t, last) = limbs(low, high, |c| {
        // Products that fall on a column, of x·y and of what m·n there has been before this block.
        let terms = |column: usize, missing: usize| (P + 1) * C.min(column) - missing;
        let column = BLOCK * row + c;
        offset(terms(column + 1, c + 1), terms(column, c))
    });
    let (mut sum, mut above) = (last, high[BLOCK - 1]);

    let (mut low, mut high) = ([zero; BLOCK], [zero; BLOCK]);
    lower_triangle(&mut low, &mut high, &limbs_t.map(|limb| double(limb)), minus_inverse, k);
    let (digits, _) = limbs(low, high, |c| offset(c + 1, c));
    let m = digits.map(|digit| double(digit));

    for i in 0..BLOCK {
        let (low, high) = k.halves(m[i], n[BLOCK - 1 - i]);
        sum = _mm256_add_epi64(sum, low);
        above = _mm256_add_epi64(above, high);
    }
    for i in 0..BLOCK - 1 {
        sum = _mm256_add_epi64(sum, k.high(m[i], n[BLOCK - 2 - i]));
    }
    // Half a limb more, so that cutting rounds.
    let nearest = offset(BLOCK, BLOCK - 1).wrapping_add(1 << (RADIX - 1));
    let mut carry = Carry::none();
    carry.cut(_mm256_add_epi64(sum, _mm256_set1_epi64x(nearest)));
    Head { m, digits, carry: _mm256_add_epi64(carry.rest(), above) }
}
