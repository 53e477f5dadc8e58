//! Eight numbers at a time with AVX-512 IFMA.
//!
//! `vpmadd52luq` and `vpmadd52huq` multiply eight pairs of 52-bit limbs and add the low or high
//! half of the products to eight 64-bit accumulators. So limbs have radix 2^52, a vector holds limb
//! j of eight *different* numbers (a lane is a number), and carries may wait: an accumulator takes
//! 2·(P + 1)·L products below 2^52, less than 2^62 in all.
//!
//! # How the multipliers are kept busy
//! Two of these instructions start every cycle and each takes four, so eight must always be under
//! way. [`phase`] computes x·y + m·n with Montgomery's quotient m, five limbs of y and m at a time
//! (a *block*). A block sweeps over the limbs of x and n with five columns of the result in
//! registers, the low and the high halves apart: ten independent sums.
//!
//! ```text
//!   block k:   head          rest             chunk 1        chunk 2 …             flush
//!              columns 0..5  limbs 0..5 of x  limbs 5..10    limbs 10..15 …        columns L..L+5
//!              gives m       columns 5..10
//! ```
//!
//! The head is one long dependency chain: each limb of m needs the column that the limb before it
//! completes. Its columns are final as soon as chunk 1 of the block before is done, so it stands
//! there in the program, and the processor works it off while the chunks behind it run.
//!
//! The quotient digit is chosen such that column r becomes a multiple of 2^52 when the low half of
//! m_r·n₀ is added; that product is never computed: the carry is ⌈column / 2^52⌉.
//!
//! `lanes` brings numbers into vectors and back; `issue` measures how fast the multipliers could be.
//!
//! # Pitfalls
//! Loops that shift the window would keep it in memory, so the window rotates: column c is index
//! c mod 5, and macros spell the five rotations out.

mod issue;
mod lanes;

use core::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mul_epu32, _mm512_or_si512, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_ternarylogic_epi64,
};

use zeroize::Zeroize;

pub(crate) use issue::issue;
use lanes::{Pairs, V, load, store, transpose_in};

use super::{Kernel, LANES, Line, Modulus};

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
        let lines: Vec<Vec<Line>> = moduli.iter().map(|n| n.limbs(RADIX, L)).collect();
        let lanes: [&[Line]; LANES] = core::array::from_fn(|i| &*lines[i % lines.len()]);
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
        // SAFETY: `n` is 64·L bytes of plain data, of which these are words.
        let words =
            unsafe { core::slice::from_raw_parts_mut(self.n.as_mut_ptr().cast(), LANES * L) };
        <[u64]>::zeroize(words);
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
        let half = L.div_ceil(LANES);
        let fits = |lanes: &[&[Line]]| {
            (1..=LANES).contains(&lanes.len()) && lanes.iter().all(|e| e.len() == 2 * half)
        };
        assert!(fits(a) && b.is_none_or(|b| fits(b) && b.len() == a.len()));
        assert_eq!(out.len(), a.len() * 2 * half);
        // SAFETY: `Ifma` is only made where the instructions are available.
        unsafe { self.run_lanes(a, squarings, b, out) };
    }

    fn product(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        let half = L.div_ceil(LANES);
        assert!((1..=LANES).contains(&lanes) && factors.len() >= lanes);
        assert!(factors.len().is_multiple_of(lanes) && out.len() == lanes * 2 * half);
        assert!(factors.iter().all(|factor| factor.len() == 2 * half));
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
        for line in element {
            // SAFETY: every x86-64 processor has the instruction, and any address may be given.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast()) };
        }
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
            soon.for_each(|factor| self.prefetch(factor));
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

/// Low half of the products added: `acc + (a·b mod 2^52)`.
macro_rules! lo {
    ($acc:expr, $a:expr, $b:expr) => {
        $acc = _mm512_madd52lo_epu64($acc, $a, $b)
    };
}

/// High half of the products added: `acc + ⌊a·b / 2^52⌋`.
macro_rules! hi {
    ($acc:expr, $a:expr, $b:expr) => {
        $acc = _mm512_madd52hi_epu64($acc, $a, $b)
    };
}

/// One limb x of the multiplicand times five limbs y: columns `$c0`, `$c1`, … of both windows.
macro_rules! sweep {
    ($lo:ident, $hi:ident, $x:expr, $y:expr, $c0:tt $c1:tt $c2:tt $c3:tt $c4:tt) => {{
        let (x, y): (V, &[V; BLOCK]) = ($x, $y);
        lo!($lo[$c0], x, y[0]);
        hi!($hi[$c1], x, y[0]);
        lo!($lo[$c1], x, y[1]);
        hi!($hi[$c2], x, y[1]);
        lo!($lo[$c2], x, y[2]);
        hi!($hi[$c3], x, y[2]);
        lo!($lo[$c3], x, y[3]);
        hi!($hi[$c4], x, y[3]);
        lo!($lo[$c4], x, y[4]);
        hi!($hi[$c0], x, y[4]);
    }};
}

/// The products of limbs 0..5 of x with five limbs y that fall on columns 0..5.
macro_rules! lower_triangle {
    ($c:ident, $d:ident, $x:expr, $y:expr) => {{
        let (x, y): (&[V; BLOCK], &[V; BLOCK]) = ($x, $y);
        lo!($c[0], x[0], y[0]);
        lo!($c[1], x[0], y[1]);
        lo!($c[2], x[0], y[2]);
        lo!($c[3], x[0], y[3]);
        lo!($c[4], x[0], y[4]);
        hi!($d[1], x[0], y[0]);
        hi!($d[2], x[0], y[1]);
        hi!($d[3], x[0], y[2]);
        hi!($d[4], x[0], y[3]);
        lo!($c[1], x[1], y[0]);
        lo!($c[2], x[1], y[1]);
        lo!($c[3], x[1], y[2]);
        lo!($c[4], x[1], y[3]);
        hi!($d[2], x[1], y[0]);
        hi!($d[3], x[1], y[1]);
        hi!($d[4], x[1], y[2]);
        lo!($c[2], x[2], y[0]);
        lo!($c[3], x[2], y[1]);
        lo!($c[4], x[2], y[2]);
        hi!($d[3], x[2], y[0]);
        hi!($d[4], x[2], y[1]);
        lo!($c[3], x[3], y[0]);
        lo!($c[4], x[3], y[1]);
        hi!($d[4], x[3], y[0]);
        lo!($c[4], x[4], y[0]);
    }};
}

/// The products of limbs 0..5 of x with five limbs y that fall on columns 5..10.
macro_rules! upper_triangle {
    ($lo:ident, $hi:ident, $x:expr, $y:expr) => {{
        let (x, y): (&[V; BLOCK], &[V; BLOCK]) = ($x, $y);
        hi!($hi[0], x[0], y[4]);
        hi!($hi[0], x[1], y[3]);
        hi!($hi[1], x[1], y[4]);
        lo!($lo[0], x[1], y[4]);
        hi!($hi[0], x[2], y[2]);
        hi!($hi[1], x[2], y[3]);
        hi!($hi[2], x[2], y[4]);
        lo!($lo[0], x[2], y[3]);
        lo!($lo[1], x[2], y[4]);
        hi!($hi[0], x[3], y[1]);
        hi!($hi[1], x[3], y[2]);
        hi!($hi[2], x[3], y[3]);
        hi!($hi[3], x[3], y[4]);
        lo!($lo[0], x[3], y[2]);
        lo!($lo[1], x[3], y[3]);
        lo!($lo[2], x[3], y[4]);
        hi!($hi[0], x[4], y[0]);
        hi!($hi[1], x[4], y[1]);
        hi!($hi[2], x[4], y[2]);
        hi!($hi[3], x[4], y[3]);
        hi!($hi[4], x[4], y[4]);
        lo!($lo[0], x[4], y[1]);
        lo!($lo[1], x[4], y[2]);
        lo!($lo[2], x[4], y[3]);
        lo!($lo[3], x[4], y[4]);
    }};
}

/// All limbs, as L is a multiple of the block's length.
fn blocks<const L: usize>(limbs: &[V; L]) -> &[[V; BLOCK]] {
    limbs.as_chunks().0
}

/// t ← (t + Σ_p x_p·y_p + m·n) / 2^(52·L), leaving carries in t; m goes to `quotient`, if there is one.
///
/// The first P (1 or 2) pairs count. Limbs of x, y and n are below 2^52, those of t below 2^53.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn phase<const L: usize, const P: usize>(
    x: [&[V; L]; 2],
    y: [&[V; L]; 2],
    n: &[V; L],
    minus_inverse: V,
    t: &mut [V; L],
    mut quotient: Option<&mut [V; L]>,
) {
    let zero = _mm512_setzero_si512();
    let mask = _mm512_set1_epi64((1 << RADIX) - 1);
    let (xa, xb, ya, yb, n) = (blocks(x[0]), blocks(x[1]), blocks(y[0]), blocks(y[1]), blocks(n));

    // Five quotient limbs from columns 0..5, and the carry into column 5.
    macro_rules! head {
        ($k:expr) => {{
            let mut c: [V; BLOCK] = *t.first_chunk().expect("L >= BLOCK");
            let mut d = [zero; BLOCK];
            lower_triangle!(c, d, &xa[0], &ya[$k]);
            if P > 1 {
                lower_triangle!(c, d, &xb[0], &yb[$k]);
            }
            let n = &n[0];
            macro_rules! digit {
                ($r:tt) => {{
                    c[$r] = _mm512_add_epi64(c[$r], d[$r]);
                    _mm512_madd52lo_epu64(zero, c[$r], minus_inverse)
                }};
            }
            macro_rules! carry {
                ($r:tt) => {
                    _mm512_srli_epi64::<RADIX>(_mm512_add_epi64(c[$r], mask))
                };
            }
            let m0 = digit!(0);
            c[1] = _mm512_add_epi64(c[1], carry!(0));
            hi!(d[1], m0, n[0]);
            lo!(c[1], m0, n[1]);
            hi!(d[2], m0, n[1]);
            lo!(c[2], m0, n[2]);
            hi!(d[3], m0, n[2]);
            lo!(c[3], m0, n[3]);
            hi!(d[4], m0, n[3]);
            lo!(c[4], m0, n[4]);
            let m1 = digit!(1);
            c[2] = _mm512_add_epi64(c[2], carry!(1));
            hi!(d[2], m1, n[0]);
            lo!(c[2], m1, n[1]);
            hi!(d[3], m1, n[1]);
            lo!(c[3], m1, n[2]);
            hi!(d[4], m1, n[2]);
            lo!(c[4], m1, n[3]);
            let m2 = digit!(2);
            c[3] = _mm512_add_epi64(c[3], carry!(2));
            hi!(d[3], m2, n[0]);
            lo!(c[3], m2, n[1]);
            hi!(d[4], m2, n[1]);
            lo!(c[4], m2, n[2]);
            let m3 = digit!(3);
            c[4] = _mm512_add_epi64(c[4], carry!(3));
            hi!(d[4], m3, n[0]);
            lo!(c[4], m3, n[1]);
            let m4 = digit!(4);
            ([m0, m1, m2, m3, m4], carry!(4))
        }};
    }

    let (mut m, mut carry) = head!(0);
    for k in 0..L / BLOCK {
        if let Some(quotient) = &mut quotient {
            quotient[BLOCK * k..][..BLOCK].copy_from_slice(&m);
        }
        let (u, v, w) = (&ya[k], &yb[k], m);
        let mut lo: [V; BLOCK] = *t[BLOCK..].first_chunk().expect("L >= 2 * BLOCK");
        let mut hi = [zero; BLOCK];
        lo[0] = _mm512_add_epi64(lo[0], carry);
        upper_triangle!(lo, hi, &xa[0], u);
        if P > 1 {
            upper_triangle!(lo, hi, &xb[0], v);
        }
        upper_triangle!(lo, hi, &n[0], &w);

        // Limbs 5c + s of x and n: column 5c + s is then complete and leaves, column 5c + s + 5
        // enters.
        macro_rules! limb {
            ($c:expr, $next:expr, $s:tt, $i:tt $($rest:tt)*) => {{
                let complete = hi[$i];
                hi[$i] = zero;
                sweep!(lo, hi, xa[$c][$s], u, $i $($rest)*);
                if P > 1 {
                    sweep!(lo, hi, xb[$c][$s], v, $i $($rest)*);
                }
                sweep!(lo, hi, n[$c][$s], &w, $i $($rest)*);
                t[BLOCK * ($c - 1) + $s] = _mm512_add_epi64(lo[$i], complete);
                lo[$i] = $next[$s];
            }};
        }
        macro_rules! chunk {
            ($c:expr, $next:expr) => {{
                let next: [V; BLOCK] = $next;
                limb!($c, next, 0, 0 1 2 3 4);
                limb!($c, next, 1, 1 2 3 4 0);
                limb!($c, next, 2, 2 3 4 0 1);
                limb!($c, next, 3, 3 4 0 1 2);
                limb!($c, next, 4, 4 0 1 2 3);
            }};
        }
        let entering = |t: &[V; L], c: usize| -> [V; BLOCK] {
            t[BLOCK * (c + 1)..].first_chunk().copied().unwrap_or([zero; BLOCK])
        };
        let last = L / BLOCK - 1;
        if last == 1 {
            chunk!(1, [zero; BLOCK]);
        } else {
            chunk!(1, entering(t, 1));
        }
        if k < last {
            (m, carry) = head!(k + 1);
        }
        for c in 2..last {
            chunk!(c, entering(t, c));
        }
        if last > 1 {
            chunk!(last, [zero; BLOCK]);
        }
        for i in 0..BLOCK {
            t[L - BLOCK + i] = _mm512_add_epi64(lo[i], hi[i]);
        }
    }
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
