//! Eight numbers at a time with AVX-512 IFMA.
//!
//! `vpmadd52luq` and `vpmadd52huq` multiply eight pairs of 52-bit limbs and add the low or high
//! half of the products to eight 64-bit accumulators. So limbs have radix 2^52, a vector holds limb
//! j of eight *different* numbers (a lane is a number), and carries may wait: an accumulator takes
//! 2·(P + 1)·L products below 2^52, less than 2^62 in all.
//!
//! | file | what it does |
//! |---|---|
//! | `phase` | x·y + m·n, five limbs of y and m at a time |
//! | `lanes` | numbers into vectors and back |
//! | `issue` | how fast the multipliers could be |

mod issue;
mod lanes;
mod phase;

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mul_epu32, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64,
    _mm512_srli_epi64, _mm512_ternarylogic_epi64,
};

use zeroize::Zeroize;

use lanes::{Pairs, V, load, store, transpose_in};
use phase::phase;

use super::vectors::{check_product, check_run, prefetch};
use super::{Issue, Kernel, LANES, Line, Modulus};

/// Bits of a limb.
pub(super) const RADIX: u32 = 52;

/// Limbs of y and m that a block takes.
const BLOCK: usize = 5;

/// Limbs that hold a modulus of `bits` bits with the headroom that [`Kernel`] asks for.
pub(super) const fn limbs(bits: u32) -> usize {
    (bits as usize + 8).div_ceil(RADIX as usize).next_multiple_of(BLOCK * 2)
}

/// Whether this processor has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma")
}

/// The kernel for the size of `moduli`, lane i working modulo number i mod `moduli.len()`.
///
/// `None` where the processor lacks the instructions, or for other sizes.
pub(super) fn kernel(moduli: &[Modulus]) -> Option<Box<dyn Kernel>> {
    if !is_available() {
        return None;
    }
    Some(match limbs(moduli[0].bits()) {
        10 => Box::new(Ifma::<10>::new(moduli)),
        20 => Box::new(Ifma::<20>::new(moduli)),
        30 => Box::new(Ifma::<30>::new(moduli)),
        40 => Box::new(Ifma::<40>::new(moduli)),
        60 => Box::new(Ifma::<60>::new(moduli)),
        80 => Box::new(Ifma::<80>::new(moduli)),
        _ => return None,
    })
}

/// The moduli of the eight lanes; its existence proves that the instructions are there.
struct Ifma<const L: usize> {
    n: [V; L],
    /// −n⁻¹ mod 2^52.
    minus_inverse: V,
}

impl<const L: usize> Ifma<L> {
    /// Expects [`is_available`].
    fn new(moduli: &[Modulus]) -> Self {
        assert!(is_available());
        let lines: Vec<_> = moduli.iter().map(|n| n.limbs(RADIX, L)).collect();
        let lanes: [&[Line]; LANES] = core::array::from_fn(|i| &lines[i % lines.len()][..]);
        let inverses = Line(core::array::from_fn(|i| {
            moduli[i % moduli.len()].minus_inverse() & ((1 << RADIX) - 1)
        }));
        // SAFETY: the instructions are available.
        unsafe { Self { n: transpose_in(&lanes), minus_inverse: load(&inverses) } }
    }
}

/// The moduli may be secret.
impl<const L: usize> Drop for Ifma<L> {
    fn drop(&mut self) {
        for vectors in [&mut self.n[..], core::slice::from_mut(&mut self.minus_inverse)] {
            let (pointer, words) = (vectors.as_mut_ptr().cast(), LANES * vectors.len());
            // SAFETY: vectors are eight words each, and nothing else.
            <[u64]>::zeroize(unsafe { core::slice::from_raw_parts_mut(pointer, words) });
        }
    }
}

impl<const L: usize> Kernel for Ifma<L> {
    fn name(&self) -> &'static str {
        "avx512ifma"
    }

    fn radix(&self) -> u32 {
        RADIX
    }

    fn limbs(&self) -> usize {
        L
    }

    fn run(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]) {
        check_run(a, b, out, 2 * L.div_ceil(LANES));
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { self.run_lanes(a, squarings, b, out) };
    }

    fn product(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        check_product(factors, lanes, out, 2 * L.div_ceil(LANES));
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { self.product_lanes(factors, lanes, out) };
    }

    fn select(&self, table: &[&[Line]], digit: u8, out: &mut [Line]) {
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { select_lines(table, digit, out) };
    }

    fn powers_of_primes(&self, primes: &[u32], exponents: &[[u8; LANES]], out: &mut [Line]) {
        assert!((1..=LANES).contains(&(out.len() / (2 * L.div_ceil(LANES)))));
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { powers_of_primes::<L>(primes, exponents, out) };
    }

    fn combine(&self, terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { combine_lines(terms, factors) }
    }

    fn prefetch(&self, element: &[Line]) {
        prefetch(element);
    }

    fn issue(&self) -> Option<Issue> {
        Some(Issue { run: issue::issue, a_round: issue::A_ROUND, a_product: 10 * L * L })
    }
}

impl<const L: usize> Ifma<L> {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn run_lanes(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]) {
        let (mut x, mut next) = (Pairs::read(a), Pairs::zero());
        let (mut x, mut next) = (&mut x, &mut next);
        for _ in 0..squarings {
            self.square(x, next);
            (x, next) = (next, x);
        }
        if let Some(b) = b {
            self.multiply(x, &Pairs::read(b), next);
            x = next;
        }
        x.write(out, a.len());
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn product_lanes(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        let (mut x, mut next) = (Pairs::read(&factors[..lanes]), Pairs::zero());
        let (mut x, mut next) = (&mut x, &mut next);
        for at in (lanes..factors.len()).step_by(lanes) {
            let soon = factors.iter().skip(at + lanes).take(lanes);
            soon.for_each(|factor| prefetch(factor));
            self.multiply(x, &Pairs::read(&factors[at..at + lanes]), next);
            (x, next) = (next, x);
        }
        x.write(out, lanes);
    }

    /// out ← x·y: 10·L² multiplications.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiply(&self, x: &Pairs<L>, y: &Pairs<L>, out: &mut Pairs<L>) {
        let (n, inverse) = (&self.n, self.minus_inverse);
        out.low = [_mm512_setzero_si512(); L];
        let quotient = Some(&mut out.high);
        phase::<L, 1>([&x.low, &x.low], [&y.low, &y.low], n, inverse, &mut out.low, quotient);
        phase::<L, 2>([&x.low, &x.high], [&y.high, &y.low], n, inverse, &mut out.high, None);
        normalize(&mut out.low, &mut out.high);
    }

    /// out ← x²: 8·L² multiplications, as both mixed products are one.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn square(&self, x: &Pairs<L>, out: &mut Pairs<L>) {
        let (n, inverse) = (&self.n, self.minus_inverse);
        out.low = [_mm512_setzero_si512(); L];
        let quotient = Some(&mut out.high);
        phase::<L, 1>([&x.low, &x.low], [&x.low, &x.low], n, inverse, &mut out.low, quotient);
        let twice = double(&x.high);
        phase::<L, 1>([&x.low, &x.low], [&twice, &twice], n, inverse, &mut out.high, None);
        normalize(&mut out.low, &mut out.high);
    }
}

/// [`Kernel::select`], with the masks of sixteen entries in registers.
#[target_feature(enable = "avx512f,avx512ifma")]
fn select_lines(table: &[&[Line]], digit: u8, out: &mut [Line]) {
    const CHUNK: usize = 16;
    let (chunks, rest) = table.as_chunks::<CHUNK>();
    super::select(rest, (CHUNK * chunks.len()) as u64, digit, out);
    for (start, entries) in (0u64..).step_by(CHUNK).zip(chunks) {
        let masks: [V; CHUNK] = core::array::from_fn(|i| {
            _mm512_set1_epi64(super::mask(start + i as u64, digit).cast_signed())
        });
        for (at, out) in out.iter_mut().enumerate() {
            let mut found = load(out);
            for (entry, mask) in entries.iter().zip(masks) {
                // found | (entry & mask)
                found = _mm512_ternarylogic_epi64::<0xf8>(found, load(&entry[at]), mask);
            }
            store(out, found);
        }
    }
}

/// [`Kernel::powers_of_primes`].
#[target_feature(enable = "avx512f,avx512ifma")]
fn powers_of_primes<const L: usize>(primes: &[u32], exponents: &[[u8; LANES]], out: &mut [Line]) {
    let (zero, one) = (_mm512_setzero_si512(), _mm512_set1_epi64(1));
    let mask = _mm512_set1_epi64((1 << RADIX) - 1);
    let mut product = Pairs::<L>::zero();
    product.low[0] = one;
    let (mut bits, mut limbs) = (1, 1);
    for (&prime, exponents) in primes.iter().zip(exponents) {
        // One of 1, l, l², l³ in each lane, as (1 + bit·(l − 1))·(1 + bit·(l² − 1)).
        let exponents = load(&Line(exponents.map(u64::from)));
        let prime = i64::from(prime);
        let chosen = |bit: V, factor: i64| {
            let bit = _mm512_and_si512(bit, one);
            _mm512_add_epi64(one, _mm512_mul_epu32(bit, _mm512_set1_epi64(factor - 1)))
        };
        let power = _mm512_mul_epu32(
            chosen(exponents, prime),
            chosen(_mm512_srli_epi64::<1>(exponents), prime * prime),
        );
        // The most limbs that the product can have by now.
        bits += 64 - (prime * prime * prime).leading_zeros() as usize;
        let next = bits.div_ceil(RADIX as usize).min(L);
        let (mut high, mut carry) = (zero, zero);
        for limb in &mut product.low[..limbs] {
            let low = _mm512_madd52lo_epu64(high, *limb, power);
            high = _mm512_madd52hi_epu64(zero, *limb, power);
            let sum = _mm512_add_epi64(low, carry);
            *limb = _mm512_and_si512(sum, mask);
            carry = _mm512_srli_epi64::<RADIX>(sum);
        }
        if next > limbs {
            product.low[limbs] = _mm512_add_epi64(high, carry);
            limbs = next;
        }
    }
    product.write(out, out.len() / (2 * L.div_ceil(LANES)));
}

/// [`Kernel::combine`].
#[target_feature(enable = "avx512f,avx512ifma")]
fn combine_lines(terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
    let mut sums = [_mm512_setzero_si512(); LANES];
    for ((even, odd), factors) in terms[0].iter().zip(terms[1]).zip(factors) {
        let terms = [load(even), load(odd)];
        for (k, (sum, &factor)) in sums.iter_mut().zip(factors).enumerate() {
            let factor = _mm512_set1_epi64(i64::from(factor));
            *sum = _mm512_madd52lo_epu64(*sum, terms[k % 2], factor);
        }
    }
    let mut lines = [Line::default(); LANES];
    lines.iter_mut().zip(sums).for_each(|(line, sum)| store(line, sum));
    lines
}

/// Carries two numbers through, so that all limbs are below 2^52; the top carry is 0.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn normalize<const L: usize>(a: &mut [V; L], b: &mut [V; L]) {
    let mask = _mm512_set1_epi64((1 << RADIX) - 1);
    let mut carries = [_mm512_setzero_si512(); 2];
    for (a, b) in a.iter_mut().zip(b) {
        for (limb, carry) in [a, b].into_iter().zip(&mut carries) {
            let sum = _mm512_add_epi64(*limb, *carry);
            *limb = _mm512_and_si512(sum, mask);
            *carry = _mm512_srli_epi64::<RADIX>(sum);
        }
    }
}

/// 2·x, which must be below 2^(52·L).
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn double<const L: usize>(x: &[V; L]) -> [V; L] {
    let mask = _mm512_set1_epi64((1 << RADIX) - 1);
    let mut twice = *x;
    let mut below = _mm512_setzero_si512();
    for limb in &mut twice {
        let carry = _mm512_srli_epi64::<{ RADIX - 1 }>(*limb);
        let shifted = _mm512_and_si512(_mm512_slli_epi64::<1>(*limb), mask);
        *limb = _mm512_or_si512(shifted, below);
        below = carry;
    }
    twice
}
