//! Four numbers at a time with AVX2 and FMA, as doubles.
//!
//! For processors without AVX-512 IFMA: laptops, AMD before Zen 4, Intel's Xeons before Ice Lake.
//! Limbs have radix 2^50, and a product of two limbs is two fused multiplications and additions, a
//! subtraction and two additions of integers ([`product`]): five instructions for four products,
//! which two 64-bit multiplications with their carries do not reach.
//!
//! | file | what it does |
//! |---|---|
//! | `product` | a product of limbs in two halves, and the offsets that they come with |
//! | `phase` | x·y + m·n, six limbs of y and m at a time |
//! | `head` | six limbs of m at once |
//! | `carry` | from columns to limbs |
//! | `noise` | powers of small primes, sums of multiples |
//! | `lanes` | numbers into vectors and back |
//! | `issue` | how fast products of limbs could be |
//!
//! A modulus needs C limbs with its headroom, and blocks of six make L ≥ C of y: R is 2^(50·L), but
//! the sweeps over x and n have C steps.
//!
//! # Bounds
//! Columns are sums of at most 3·C products below 2^101 in both halves, and of a limb: below 2^61
//! in absolute value for C ≤ 84.

mod carry;
mod head;
mod issue;
mod lanes;
mod noise;
mod phase;
mod product;

use core::arch::x86_64::{_mm256_add_epi64, _mm256_add_pd, _mm256_set1_epi64x};

use zeroize::{Zeroize, Zeroizing};

use super::vectors::{check_product, check_run, prefetch};
use super::{Issue, Kernel, LANES, Line, Modulus};
use carry::Carry;
use lanes::{D, Pairs, WIDTH, double, transpose_in};
use phase::{BLOCK, Columns, phase};
use product::offset;

/// Bits of a limb.
const RADIX: i32 = 50;

/// The bits of a limb, set.
const MASK: i64 = (1 << RADIX) - 1;

/// Limbs that hold a modulus of `bits` bits with the headroom that [`Kernel`] asks for.
const fn columns(bits: u32) -> usize {
    (bits as usize + 8).div_ceil(RADIX as usize)
}

/// Whether this processor has the instructions.
fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// The kernel for the size of `moduli`, lane i working modulo number i mod `moduli.len()`, of which
/// there are one, two or four.
///
/// `None` where the processor lacks the instructions, or for other sizes.
pub(super) fn kernel(moduli: &[Modulus]) -> Option<Box<dyn Kernel>> {
    if !is_available() {
        return None;
    }
    // At 256 bits the portable kernel is faster, but an owner's two rings must cut limbs alike, and the
    // other one has 512: for keys of tests.
    Some(match columns(moduli[0].bits()) {
        6 | 11 => Box::new(Avx2::<12, 12>::new(moduli)),
        21 => Box::new(Avx2::<21, 24>::new(moduli)),
        31 => Box::new(Avx2::<31, 36>::new(moduli)),
        42 => Box::new(Avx2::<42, 42>::new(moduli)),
        62 => Box::new(Avx2::<62, 66>::new(moduli)),
        83 => Box::new(Avx2::<83, 84>::new(moduli)),
        _ => return None,
    })
}

/// The moduli of the lanes; its existence proves that the instructions are there.
struct Avx2<const C: usize, const L: usize> {
    n: [D; L],
    /// The first limbs of −n⁻¹.
    minus_inverse: [D; BLOCK],
}

impl<const C: usize, const L: usize> Avx2<C, L> {
    /// Lines of half an element.
    const HALF: usize = L.div_ceil(LANES);

    /// Expects [`is_available`].
    fn new(moduli: &[Modulus]) -> Self {
        assert!(is_available() && WIDTH.is_multiple_of(moduli.len()));
        let lines: Vec<_> = moduli.iter().map(|n| n.limbs(RADIX.unsigned_abs(), L)).collect();
        let inverses: Vec<_> = moduli.iter().map(minus_inverse).collect();
        let lanes: [&[Line]; WIDTH] = core::array::from_fn(|i| &lines[i % lines.len()][..]);
        let inverse: [&[Line]; WIDTH] =
            core::array::from_fn(|i| core::slice::from_ref(&*inverses[i % inverses.len()]));
        // SAFETY: the instructions are available.
        unsafe { Self { n: transpose_in(&lanes), minus_inverse: transpose_in(&inverse) } }
    }
}

/// The first limbs of −n⁻¹ modulo their power of two, each from what the ones before it leave.
fn minus_inverse(n: &Modulus) -> Zeroizing<Line> {
    let mask = u128::from(MASK.cast_unsigned());
    let limbs = n.limbs(RADIX.unsigned_abs(), BLOCK)[0].0.map(u128::from);
    // 1 + n·inverse, whose limbs become 0 one by one.
    let (mut rest, mut inverse) = ([1, 0, 0, 0, 0, 0], Zeroizing::new(Line::default()));
    for r in 0..BLOCK {
        let digit = (rest[r] * (u128::from(n.minus_inverse()) & mask)) & mask;
        inverse.0[r] = u64::try_from(digit).expect("a limb");
        let mut carry = 0;
        for i in r..BLOCK {
            let sum = rest[i] + digit * limbs[i - r] + carry;
            (rest[i], carry) = (sum & mask, sum >> RADIX);
        }
    }
    inverse
}

/// The moduli may be secret.
impl<const C: usize, const L: usize> Drop for Avx2<C, L> {
    fn drop(&mut self) {
        for vectors in [&mut self.n[..], &mut self.minus_inverse] {
            let (pointer, words) = (vectors.as_mut_ptr().cast(), WIDTH * vectors.len());
            // SAFETY: vectors are four words each, and nothing else.
            <[u64]>::zeroize(unsafe { core::slice::from_raw_parts_mut(pointer, words) });
        }
    }
}

impl<const C: usize, const L: usize> Kernel for Avx2<C, L> {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn radix(&self) -> u32 {
        RADIX.unsigned_abs()
    }

    fn limbs(&self) -> usize {
        L
    }

    fn run(&self, a: &[&[Line]], squarings: usize, b: Option<&[&[Line]]>, out: &mut [Line]) {
        check_run(a, b, out, 2 * Self::HALF);
        let outs = out.chunks_mut(WIDTH * 2 * Self::HALF);
        for ((i, a), out) in a.chunks(WIDTH).enumerate().zip(outs) {
            let b = b.map(|b| &b[WIDTH * i..][..a.len()]);
            // SAFETY: `Avx2` is only made where the instructions are available.
            unsafe { self.run_lanes(a, squarings, b, out) };
        }
    }

    fn product(&self, factors: &[&[Line]], lanes: usize, out: &mut [Line]) {
        check_product(factors, lanes, out, 2 * Self::HALF);
        let outs = out.chunks_mut(WIDTH * 2 * Self::HALF);
        for (first, out) in (0..lanes).step_by(WIDTH).zip(outs) {
            let factors = factors.chunks(lanes).map(|all| &all[first..lanes.min(first + WIDTH)]);
            // SAFETY: `Avx2` is only made where the instructions are available.
            unsafe { self.product_lanes(factors, out) };
        }
    }

    fn select(&self, table: &[&[Line]], digit: u8, out: &mut [Line]) {
        // SAFETY: `Avx2` is only made where the instructions are available.
        unsafe { select(table, digit, out) };
    }

    fn powers_of_primes(&self, primes: &[u32], exponents: &[[u8; LANES]], out: &mut [Line]) {
        let outs = out.chunks_mut(WIDTH * 2 * Self::HALF);
        for (first, out) in (0..LANES).step_by(WIDTH).zip(outs) {
            // SAFETY: `Avx2` is only made where the instructions are available.
            unsafe { noise::powers_of_primes::<L>(primes, exponents, first, out) };
        }
    }

    fn combine(&self, terms: [&[Line]; 2], factors: &[[u8; LANES]]) -> [Line; LANES] {
        // SAFETY: `Avx2` is only made where the instructions are available.
        unsafe { noise::combine(terms, factors) }
    }

    fn prefetch(&self, element: &[Line]) {
        prefetch(element);
    }

    fn issue(&self) -> Option<Issue> {
        let batches = LANES / WIDTH;
        Some(Issue { run: issue::issue, a_round: issue::A_ROUND, a_product: 5 * C * L * batches })
    }
}

impl<const C: usize, const L: usize> Avx2<C, L> {
    #[target_feature(enable = "avx2,fma")]
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
        x.write(out);
    }

    #[target_feature(enable = "avx2,fma")]
    fn product_lanes<'a>(
        &self,
        mut factors: impl Iterator<Item = &'a [&'a [Line]]> + Clone,
        out: &mut [Line],
    ) {
        let first = factors.next().expect("a factor for each lane");
        let (mut x, mut next) = (Pairs::read(first), Pairs::zero());
        let (mut x, mut next) = (&mut x, &mut next);
        while let Some(factor) = factors.next() {
            let soon = factors.clone().next().unwrap_or_default();
            soon.iter().for_each(|factor| prefetch(factor));
            self.multiply(x, &Pairs::read(factor), next);
            (x, next) = (next, x);
        }
        x.write(out);
    }

    /// out ← x·y: 5·C·L products of limbs. Numbers of x may be any below R: they take the part of
    /// all limbs.
    #[target_feature(enable = "avx2,fma")]
    fn multiply(&self, x: &Pairs<L>, y: &Pairs<L>, out: &mut Pairs<L>) {
        let (n, inverse) = (&self.n, &self.minus_inverse);
        let (mut low, mut high) = (Columns::zero(), Columns::zero());
        let quotient = Some(&mut high.body);
        phase::<C, L, 1>([&y.low, &y.low], [&x.low, &x.low], n, inverse, &mut low, quotient);
        phase::<C, L, 2>([&y.high, &y.low], [&x.low, &x.high], n, inverse, &mut high, None);
        normalize::<C, L>([(&low, 1), (&high, 2)], out);
    }

    /// out ← x²: 4·C·L products of limbs, as both mixed products are one.
    #[target_feature(enable = "avx2,fma")]
    fn square(&self, x: &Pairs<L>, out: &mut Pairs<L>) {
        let (n, inverse) = (&self.n, &self.minus_inverse);
        let (mut low, mut high) = (Columns::zero(), Columns::zero());
        let quotient = Some(&mut high.body);
        phase::<C, L, 1>([&x.low, &x.low], [&x.low, &x.low], n, inverse, &mut low, quotient);
        let twice = x.high.map(|limb| _mm256_add_pd(limb, limb));
        phase::<C, L, 1>([&twice, &twice], [&x.low, &x.low], n, inverse, &mut high, None);
        normalize::<C, L>([(&low, 1), (&high, 1)], out);
    }
}

/// Carries two numbers through, so that all limbs are below 2^50; the top carry is 0.
///
/// Each is what is left of so many products of numbers, and m·n.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn normalize<const C: usize, const L: usize>(sums: [(&Columns<L>, usize); 2], out: &mut Pairs<L>) {
    let mut carries = [Carry::none(), Carry::none()];
    *out = Pairs::zero();
    for i in 0..C {
        let outs = [&mut out.low, &mut out.high];
        for (((columns, products), out), carry) in sums.into_iter().zip(outs).zip(&mut carries) {
            // Column L + i of all: of C − 1 − i products of limbs each, and the high halves of the
            // one before.
            let offset = offset((products + 1) * (C - 1 - i), (products + 1) * (C - i));
            let column = _mm256_add_epi64(columns.body[i], _mm256_set1_epi64x(offset));
            out[i] = double(carry.cut(column));
        }
    }
}

/// [`Kernel::select`], on longer vectors.
#[target_feature(enable = "avx2,fma")]
fn select(table: &[&[Line]], digit: u8, out: &mut [Line]) {
    super::select(table, 0, digit, out);
}
