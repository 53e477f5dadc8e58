//! Eight residues at a time with AVX-512 IFMA.
//!
//! `vpmadd52luq` and `vpmadd52huq` multiply eight pairs of numbers below 2^52 (upper bits of the factors are
//! ignored) and add the low or high 52 bits of the products to eight words.
//!
//! # Products
//! With R = 2^52, a fixed factor w is held in Montgomery form, w̃ = w·R mod q, beside w̃·q⁻¹ mod R. Then for
//! y < R,
//!
//! ```text
//! m = lo(y · w̃q⁻¹)            lo(m·q) = lo(y·w̃), so both products cancel below R:
//! t = hi(y · w̃) − hi(m · q) = (y·w̃ − m·q) / R = y·w   mod q,        −q < t < q
//! ```
//!
//! exactly: three multiplications, no carry and no mask. (Montgomery, Math. Comp. 44, 1985; with the signed
//! quotient.)
//!
//! Sums of products of residues are kept as Σ lo and Σ hi, two multiplications each, and leave a factor
//! 1/R behind when they are reduced like that; a second product, by R² mod q, takes it away. Where one factor of each is
//! a constant, R times that constant needs no second one.
//!
//! No step depends on the residues: no branch, no address.

mod columns;
mod factors;
mod forward;
mod inverse;
mod matrix;
mod packed;
mod transform;
mod vector;

use core::arch::x86_64::{
    _mm512_add_epi64, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_permutex2var_epi64,
    _mm512_setzero_si512, _mm512_srli_epi64, _mm512_sub_epi64,
};

use super::stream::Stream;
use super::weights::{Shape, Weights};
use super::{BLOCK, Kernel, MAX_TERMS, Pair, add, check_pairs, check_parts, lift, neg, shift, sub};
use crate::automorphism::Permutation;
use crate::modulus::{MAX_BITS, Modulus};
use transform::Transform;
use vector::{Factor, Factors, LANES, Line, RADIX, V, Vectors, inverse, load, splat, store};

/// Proof that this processor has the instructions. Only [`Ifma::detect`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Ifma(());

impl Ifma {
    pub(super) fn detect() -> Option<Self> {
        // `packed` takes the last two: no processor has the second without them.
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi");
        has.then_some(Self(()))
    }
}

/// A kernel for one q; its existence proves that the instructions are there.
pub(super) struct Rows {
    q: Modulus,
    degree: usize,
    /// q⁻¹ mod 2^52.
    inverse: u64,
    /// R as a number to multiply by: it takes away the 1/R that a reduction leaves.
    radix: Factor,
    transform: Transform,
}

impl Rows {
    pub(super) fn new(_: Ifma, q: Modulus, degree: usize) -> Self {
        let radix = Factor::new(q.reduce(1 << RADIX), q);
        let transform = Transform::new(q, degree);
        Self { q, degree, inverse: inverse(q), radix, transform }
    }

    /// The lines of a row; panics unless it has N residues.
    fn lines<'a>(&self, row: &'a [u64]) -> &'a [Line] {
        assert_eq!(row.len(), self.degree, "the length of a row");
        row.as_chunks().0
    }

    fn lines_mut<'a>(&self, row: &'a mut [u64]) -> &'a mut [Line] {
        assert_eq!(row.len(), self.degree, "the length of a row");
        row.as_chunks_mut().0
    }
}

impl Kernel for Rows {
    fn name(&self) -> &'static str {
        "avx512ifma"
    }

    fn forward(&self, rows: &mut [&mut [u64]]) {
        let (pairs, last) = rows.as_chunks_mut();
        for pair in pairs {
            let rows = pair.each_mut().map(|row| self.lines_mut(row));
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.transform.forward::<2>(rows) };
        }
        for row in last {
            let row = self.lines_mut(row);
            // SAFETY: the same.
            unsafe { self.transform.forward([row]) };
        }
    }

    fn inverse(&self, rows: &mut [&mut [u64]]) {
        let (pairs, last) = rows.as_chunks_mut();
        for pair in pairs {
            let rows = pair.each_mut().map(|row| self.lines_mut(row));
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.transform.inverse::<2>(rows) };
        }
        for row in last {
            let row = self.lines_mut(row);
            // SAFETY: the same.
            unsafe { self.transform.inverse([row]) };
        }
    }

    fn multiply_accumulate(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        let out = self.lines_mut(out);
        let terms: Vec<_> = terms.iter().map(|(a, b)| (self.lines(a), self.lines(b))).collect();
        for terms in terms.chunks(max_terms(2 * self.q.bits())) {
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.multiply_accumulate_lines(out, terms) };
        }
    }

    fn sums_of_products(&self, outs: [&mut [u64]; 2], terms: &[Pair<'_>]) {
        check_pairs(&outs, terms);
        let [b, c] = outs.map(blocks_mut);
        let terms: Vec<_> = terms.iter().map(|(a, b)| (blocks(a), b.map(blocks))).collect();
        let mut lists = terms.chunks(max_terms(2 * self.q.bits()));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.sum_blocks::<false>([b, c], lists.next().unwrap_or_default()) };
        for terms in lists {
            // SAFETY: the same.
            unsafe { self.sum_blocks::<true>([b, c], terms) };
        }
    }

    fn sums_with_pairs(&self, outs: [&mut [u64]; 2], factors: &[&[u64]], pairs: Stream<'_>) {
        check_parts(&outs, factors.iter().copied());
        let factors: Vec<_> = factors.iter().map(|a| blocks(a)).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.sum_pairs(outs.map(blocks_mut), &factors, pairs) };
    }

    fn sums_of_packed(&self, outs: [&mut [u64]; 2], stream: Stream<'_>, factors: &[[&[u64]; 2]]) {
        check_parts(&outs, factors.iter().flatten().copied());
        let factors: Vec<_> = factors.iter().map(|b| b.map(blocks)).collect();
        // SAFETY: the same.
        unsafe { self.sum_packed(outs.map(blocks_mut), stream, &factors) };
    }

    fn scale(&self, row: &mut [u64], factor: u64) {
        let (row, factor) = (self.lines_mut(row), Factor::new(factor, self.q));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.scale_lines(row, factor) };
    }

    fn combine(&self, out: &mut [u64], constant: u64, terms: &[(&[u64], u64)]) {
        let first = Start::Constant(constant);
        self.combination(out, first, terms);
    }

    fn update(&self, row: &mut [u64], factor: u64, constant: u64, terms: &[(&[u64], u64)]) {
        self.combination(row, Start::Times { factor, constant }, terms);
    }

    fn weights(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        matrix::small(self.q, shape, coefficients).unwrap_or_else(|| {
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.evaluate(shape, coefficients) }
        })
    }

    fn product(&self, outs: &mut [&mut [u64]], weights: &Weights, inputs: &[&[u64]]) {
        weights.shape.check(outs, inputs);
        let mut outs: Vec<_> = outs.iter_mut().map(|out| self.lines_mut(out)).collect();
        let inputs: Vec<_> = inputs.iter().map(|a| self.lines(a)).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.product_lines(&mut outs, weights, &inputs) };
    }

    fn permute(&self, out: &mut [u64], row: &[u64], permutation: &Permutation) {
        let (out, row) = (self.lines_mut(out), self.lines(row));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { permute_lines(out, row, permutation) };
    }

    fn reduce(&self, row: &mut [u64]) {
        let row = blocks_mut(self.lines_mut(row).as_flattened_mut());
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.combine_blocks::<false>(row, Start::Word, &[]) };
    }

    fn shift(&self, row: &mut [u64], constant: u64) {
        let row = self.lines_mut(row);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.shift_lines(row, constant) };
    }

    fn lift(&self, out: &mut [u64], row: &[u64], constant: u64) {
        let (out, row) = (self.lines_mut(out), self.lines(row));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.lift_lines(out, row, constant) };
    }

    fn add(&self, out: &mut [u64], b: &[u64]) {
        let (out, b) = (self.lines_mut(out), self.lines(b));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.add_lines(out, b) };
    }

    fn sub(&self, out: &mut [u64], b: &[u64]) {
        let (out, b) = (self.lines_mut(out), self.lines(b));
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.sub_lines(out, b) };
    }

    fn neg(&self, out: &mut [u64]) {
        let out = self.lines_mut(out);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.neg_lines(out) };
    }
}

/// Lines that are summed together.
type Block = [Line; BLOCK / LANES];

/// A [`Pair`] by blocks.
type Blocks<'a> = (&'a [Block], [&'a [Block]; 2]);

fn blocks(part: &[u64]) -> &[Block] {
    part.as_chunks().0.as_chunks().0
}

fn blocks_mut(part: &mut [u64]) -> &mut [Block] {
    part.as_chunks_mut().0.as_chunks_mut().0
}

#[target_feature(enable = "avx512f,avx512ifma")]
fn permute_lines(out: &mut [Line], row: &[Line], permutation: &Permutation) {
    let spans = row.as_chunks::<2>().0;
    let outs = out.as_chunks_mut::<2>().0.iter_mut();
    for (out, &(source, order)) in outs.zip(&permutation.sources) {
        let (a, b) = (load(&spans[source][0]), load(&spans[source][1]));
        for (out, order) in out.iter_mut().zip(permutation.orders[order].as_chunks().0) {
            store(out, _mm512_permutex2var_epi64(a, load(order), b));
        }
    }
}

/// What a combination begins with.
#[derive(Clone, Copy)]
enum Start {
    Constant(u64),
    /// What there is: any word.
    Word,
    /// What there is, times a factor, and a constant.
    Times {
        factor: u64,
        constant: u64,
    },
}

impl Start {
    fn map(self, f: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Constant(c) => Self::Constant(f(c)),
            Self::Word => Self::Word,
            Self::Times { factor, constant } => {
                Self::Times { factor: f(factor), constant: f(constant) }
            }
        }
    }
}

/// So many products of numbers below 2^50 and residues are below R·q.
const FEW: usize = 4;

/// How many products of `bits` bits may be added to a residue: the sum stays below 2^103 + 2^50, so that its
/// high half and another q < 2^50 stay below 2^52, and sums of halves fit a word.
fn max_terms(bits: u32) -> usize {
    MAX_TERMS.min(1 << (103 - bits).min(63))
}

impl Rows {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn multiply_accumulate_lines(&self, out: &mut [Line], terms: &[(&[Line], &[Line])]) {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        for (i, out) in out.iter_mut().enumerate() {
            let (mut low, mut high) = (load(out), zero);
            for (a, b) in terms {
                let (a, b) = (load(&a[i]), load(&b[i]));
                low = _mm512_madd52lo_epu64(low, a, b);
                high = _mm512_madd52hi_epu64(high, a, b);
            }
            store(out, field.reduce(low, high));
        }
    }

    /// Both sums, added to what there is where `ADD`: in blocks, whose many products hide their latency.
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sum_blocks<const ADD: bool>(&self, outs: [&mut [Block]; 2], terms: &[Blocks<'_>]) {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        let [first, second] = outs;
        for (i, (first, second)) in first.iter_mut().zip(second).enumerate() {
            let mut sums = [[[zero; 2]; BLOCK / LANES]; 2];
            if ADD {
                for (sums, out) in sums.iter_mut().zip([&*first, &*second]) {
                    sums.iter_mut().zip(out).for_each(|(sum, out)| sum[0] = load(out));
                }
            }
            for (a, [b, c]) in terms {
                let (a, b, c) = (&a[i], &b[i], &c[i]);
                for line in 0..BLOCK / LANES {
                    let a = load(&a[line]);
                    for (sums, b) in sums.iter_mut().zip([&b[line], &c[line]]) {
                        let ([low, high], b) = (&mut sums[line], load(b));
                        *low = _mm512_madd52lo_epu64(*low, a, b);
                        *high = _mm512_madd52hi_epu64(*high, a, b);
                    }
                }
            }
            for (sums, out) in sums.iter().zip([first, second]) {
                for (&[low, high], out) in sums.iter().zip(out) {
                    store(out, field.reduce(low, high));
                }
            }
        }
    }

    fn combination(&self, out: &mut [u64], start: Start, terms: &[(&[u64], u64)]) {
        let out = blocks_mut(self.lines_mut(out).as_flattened_mut());
        let block = |row| blocks(self.lines(row).as_flattened());
        if terms.len() < FEW {
            let times_radix = |w: u64| self.q.reduce(u128::from(w) << RADIX);
            let terms = terms.iter().map(|(row, w)| (block(row), times_radix(*w)));
            let (start, terms) = (start.map(times_radix), terms.collect::<Vec<_>>());
            // SAFETY: `Rows` is only made where the instructions are available.
            return unsafe { self.combine_blocks::<true>(out, start, &terms) };
        }
        let terms: Vec<_> = terms.iter().map(|(row, w)| (block(row), *w)).collect();
        // One for the start.
        let most = max_terms(self.q.bits() + MAX_BITS) - 1;
        for (i, terms) in terms.chunks(most).enumerate() {
            let start = if i == 0 { start } else { Start::Word };
            // SAFETY: the same.
            unsafe { self.combine_blocks::<false>(out, start, terms) };
        }
    }

    /// The combination: in blocks, as [`Self::sum_blocks`]. Where `RADIX_IN`, all factors and the constant are R times what is
    /// meant, and there are no more than [`FEW`].
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn combine_blocks<const RADIX_IN: bool>(
        &self,
        out: &mut [Block],
        start: Start,
        terms: &[(&[Block], u64)],
    ) {
        let (field, zero) = (self.field(), _mm512_setzero_si512());
        for (i, out) in out.iter_mut().enumerate() {
            let mut sums = [[zero; 2]; BLOCK / LANES];
            for (sum, line) in sums.iter_mut().zip(&*out) {
                *sum = match start {
                    Start::Constant(c) => [splat(c), zero],
                    Start::Word => [load(line), zero],
                    Start::Times { factor, constant } => {
                        let (a, w, c) = (load(line), splat(factor), splat(constant));
                        [_mm512_madd52lo_epu64(c, a, w), _mm512_madd52hi_epu64(zero, a, w)]
                    }
                };
            }
            for (a, w) in terms {
                let w = splat(*w);
                for ([low, high], a) in sums.iter_mut().zip(&a[i]) {
                    let a = load(a);
                    *low = _mm512_madd52lo_epu64(*low, a, w);
                    *high = _mm512_madd52hi_epu64(*high, a, w);
                }
            }
            for ([low, high], out) in sums.into_iter().zip(out) {
                let reduced = match RADIX_IN {
                    true => field.modulus.canonical(field.over_radix(low, high)),
                    false => field.reduce(low, high),
                };
                store(out, reduced);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn scale_lines(&self, row: &mut [Line], factor: Factor) {
        let (modulus, factor) = (Vectors::new(self.q), Factors::splat(factor));
        for line in row {
            store(line, modulus.canonical(modulus.times(load(line), factor)));
        }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn shift_lines(&self, row: &mut [Line], constant: u64) {
        shift(self.q.value(), row.as_flattened_mut(), constant);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn lift_lines(&self, out: &mut [Line], row: &[Line], constant: u64) {
        lift(self.q.value(), out.as_flattened_mut(), row.as_flattened(), constant);
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn add_lines(&self, out: &mut [Line], b: &[Line]) {
        add(self.q.value(), out.as_flattened_mut(), b.as_flattened());
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn sub_lines(&self, out: &mut [Line], b: &[Line]) {
        sub(self.q.value(), out.as_flattened_mut(), b.as_flattened());
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    fn neg_lines(&self, out: &mut [Line]) {
        neg(self.q.value(), out.as_flattened_mut());
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn field(&self) -> Reduction {
        let radix = Factors::splat(self.radix);
        Reduction { modulus: Vectors::new(self.q), inverse: splat(self.inverse), radix }
    }
}

/// What reduces a sum of products.
struct Reduction {
    modulus: Vectors,
    /// q⁻¹ mod 2^52.
    inverse: V,
    /// R.
    radix: Factors,
}

impl Reduction {
    /// low + high·2^52 modulo q, for less than 2^103 in all.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn reduce(&self, low: V, high: V) -> V {
        self.modulus.canonical(self.modulus.times(self.over_radix(low, high), self.radix))
    }

    /// (low + high·2^52)/R modulo q, for less than 2^103 in all: above 0, and below q more than their sum over R.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn over_radix(&self, low: V, high: V) -> V {
        let zero = _mm512_setzero_si512();
        let high = _mm512_add_epi64(high, _mm512_srli_epi64::<RADIX>(low));
        let m = _mm512_madd52lo_epu64(zero, low, self.inverse);
        let quotient = _mm512_madd52hi_epu64(self.modulus.minus_q, m, self.modulus.q);
        _mm512_sub_epi64(high, quotient)
    }
}
