//! Four residues at a time with AVX2 and FMA, as doubles.
//!
//! A double holds every integer up to 2^53, and a fused multiplication and addition rounds once. So the error of a rounded
//! product is known exactly, and a product of residues is two doubles.
//!
//! # Products
//! A fixed factor w, the representative of a residue below q/2 in absolute value, is held beside w/q, rounded to v. Then
//! for an integer y, |y| < 2^52, and M = 3·2^51,
//!
//! ```text
//! h = y·w, rounded              l = fma(y, w, −h) = y·w − h
//! c = fma(y, v, M) − M          the integer next to y·v, as doubles from 2^52 to 2^53 are integers
//! t = fma(−c, q, h) + l = y·w − c·q = y·w   mod q
//! ```
//!
//! |v − w/q| ≤ 2^−54, so |c − y·w/q| ≤ 1/2 + |y|/2^54, and
//!
//! ```text
//! |t| ≤ q·(1/2 + |y|/2^54) < q·3/4
//! ```
//!
//! exactly: |y·w| < 2^101 leaves |l| ≤ 2^47, so h − c·q = t − l is an integer below 2^50, which fma gives without an error, and so
//! is t. Six instructions for four products; no carry, no mask. (Van der Hoeven, Lecerf and Quintin,
//! *Modular SIMD arithmetic in Mathemagix*, ACM TOMS 43, 2016.)
//!
//! A number x is *centred*, for |x| ≤ 2^53, by the c next to x·(1/q): what is left is at most q/2 + 2 in absolute value.
//! `vector`'s tests try the edges of these bounds.
//!
//! Conversions are free of branches, too: the bits of 2^52 + x are those of 2^52 and x as an integer. No number is
//! subnormal, which would take longer: it is 0, or above 2^−51 in absolute value. No step depends on the residues: no
//! branch, no address.

mod factors;
mod matrix;
mod packed;
mod stages;
mod sums;
mod transform;
mod vector;

use super::stream::Stream;
use super::weights::{Shape, Weights};
use super::{
    BLOCK, Kernel, MAX_TERMS, Pair, add, check_pairs, check_parts, lift, neg, permute, shift, sub,
};
use crate::automorphism::Permutation;
use crate::modulus::{MAX_BITS, Modulus};
use sums::{Block, Sum, Sums, blocks, blocks_mut, integers, some_sums};
use transform::Transform;
use vector::{Factor, Field, Line, read, splat};

/// Proof that this processor has the instructions. Only [`Avx2::detect`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

/// A kernel for one q; its existence proves that the instructions are there.
pub(super) struct Rows {
    q: Modulus,
    degree: usize,
    transform: Transform,
}

impl Rows {
    pub(super) fn new(_: Avx2, q: Modulus, degree: usize) -> Self {
        Self { q, degree, transform: Transform::new(q, degree) }
    }

    /// Panics unless the row has N residues.
    fn check(&self, row: &[u64]) {
        assert_eq!(row.len(), self.degree, "the length of a row");
    }

    /// The lines of a row.
    fn lines_mut<'a>(&self, row: &'a mut [u64]) -> &'a mut [Line] {
        self.check(row);
        row.as_chunks_mut().0
    }

    /// The blocks of a row.
    fn row<'a>(&self, row: &'a [u64]) -> &'a [Block] {
        self.check(row);
        blocks(row)
    }

    fn row_mut<'a>(&self, row: &'a mut [u64]) -> &'a mut [Block] {
        self.check(row);
        blocks_mut(row)
    }
}

impl Kernel for Rows {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn forward(&self, rows: &mut [&mut [u64]]) {
        for row in rows {
            let row = self.lines_mut(row);
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.transform.forward(row) };
        }
    }

    fn inverse(&self, rows: &mut [&mut [u64]]) {
        for row in rows {
            let row = self.lines_mut(row);
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.transform.inverse(row) };
        }
    }

    fn multiply_accumulate(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        let terms: Vec<_> = terms.iter().map(|(a, b)| (self.row(a), self.row(b))).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.add_products(self.row_mut(out), &terms) };
    }

    fn sums_of_products(&self, outs: [&mut [u64]; 2], terms: &[Pair<'_>]) {
        check_pairs(&outs, terms);
        let terms: Vec<_> = terms.iter().map(|(a, b)| (blocks(a), b.map(blocks))).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.sum_products(outs.map(blocks_mut), &terms) };
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
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.sum_packed(outs.map(blocks_mut), stream, &factors) };
    }

    fn scale(&self, row: &mut [u64], factor: u64) {
        let row = self.lines_mut(row);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.scale_lines(row, factor) };
    }

    fn combine(&self, out: &mut [u64], constant: u64, terms: &[(&[u64], u64)]) {
        let terms: Vec<_> = terms.iter().map(|(a, w)| (self.row(a), *w)).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.combine_blocks::<false>(self.row_mut(out), 0, constant, &terms) };
    }

    fn update(&self, row: &mut [u64], factor: u64, constant: u64, terms: &[(&[u64], u64)]) {
        let terms: Vec<_> = terms.iter().map(|(a, w)| (self.row(a), *w)).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.combine_blocks::<true>(self.row_mut(row), factor, constant, &terms) };
    }

    fn weights(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        matrix::small(self.q, shape, coefficients).unwrap_or_else(|| {
            // SAFETY: `Rows` is only made where the instructions are available.
            unsafe { self.evaluate(shape, coefficients) }
        })
    }

    fn product(&self, outs: &mut [&mut [u64]], weights: &Weights, inputs: &[&[u64]]) {
        weights.shape.check(outs, inputs);
        let mut outs: Vec<_> = outs.iter_mut().map(|out| self.row_mut(out)).collect();
        let inputs: Vec<_> = inputs.iter().map(|a| self.row(a)).collect();
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.product_blocks(&mut outs, weights, &inputs) };
    }

    fn permute(&self, out: &mut [u64], row: &[u64], permutation: &Permutation) {
        [&*out, row].into_iter().for_each(|row| self.check(row));
        permute(out, row, permutation);
    }

    fn reduce(&self, row: &mut [u64]) {
        let row = self.lines_mut(row);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { self.reduce_lines(row) };
    }

    fn shift(&self, row: &mut [u64], constant: u64) {
        self.check(row);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { by_fours(|| shift(self.q.value(), row, constant)) };
    }

    fn lift(&self, out: &mut [u64], row: &[u64], constant: u64) {
        self.check(out);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { by_fours(|| lift(self.q.value(), out, row, constant)) };
    }

    fn add(&self, out: &mut [u64], b: &[u64]) {
        self.check(out);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { by_fours(|| add(self.q.value(), out, b)) };
    }

    fn sub(&self, out: &mut [u64], b: &[u64]) {
        self.check(out);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { by_fours(|| sub(self.q.value(), out, b)) };
    }

    fn neg(&self, out: &mut [u64]) {
        self.check(out);
        // SAFETY: `Rows` is only made where the instructions are available.
        unsafe { by_fours(|| neg(self.q.value(), out)) };
    }
}

/// f, compiled for these vectors: the compiler makes four residues at a time of one after the other.
#[target_feature(enable = "avx2,fma")]
fn by_fours(f: impl FnOnce()) {
    f();
}

impl Rows {
    #[target_feature(enable = "avx2,fma")]
    fn add_products(&self, out: &mut [Block], terms: &[(&[Block], &[Block])]) {
        let blocks = |i: usize, j: usize| (&terms[j].0[i], &terms[j].1[i]);
        self.sums::<1, true, _>([out], terms.len(), blocks, |(a, b), line| {
            (read(&a[line]), [read(&b[line])])
        });
    }

    #[target_feature(enable = "avx2,fma")]
    fn sum_products(&self, outs: [&mut [Block]; 2], terms: &[(&[Block], [&[Block]; 2])]) {
        let blocks = |i: usize, j: usize| {
            let (a, [b, c]) = terms[j];
            (&a[i], &b[i], &c[i])
        };
        self.sums::<2, false, _>(outs, terms.len(), blocks, |(a, b, c), line| {
            (read(&a[line]), [read(&b[line]), read(&c[line])])
        });
    }

    #[target_feature(enable = "avx2,fma")]
    fn scale_lines(&self, row: &mut [Line], factor: u64) {
        let (field, factor) = (Field::new(self.q), Factor::splat(Factor::new(self.q, factor)));
        for line in row {
            field.write(line, field.times(read(line), factor));
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn reduce_lines(&self, row: &mut [Line]) {
        let sums = Sums::new(self.q, 2 * self.q.bits());
        for line in row {
            sums.field.write(line, sums.field.centred(sums.word(integers(line))));
        }
    }

    /// out·factor, where `UPDATE`, and the constant and all terms.
    #[target_feature(enable = "avx2,fma")]
    fn combine_blocks<const UPDATE: bool>(
        &self,
        out: &mut [Block],
        factor: u64,
        constant: u64,
        terms: &[(&[Block], u64)],
    ) {
        let sums = Sums::new(self.q, MAX_BITS + self.q.bits());
        let (times, constant) = (splat(factor as f64), integers(&[constant; 4]));
        let blocks = |i: usize, j: usize| (&terms[j].0[i], terms[j].1);
        let term = |(a, w): (&Block, u64), line: usize| (read(&a[line]), [splat(w as f64)]);
        let most = terms.len().min(MAX_TERMS - 1);
        let start = |line: &Line| {
            let mut sum = Sum::of(constant);
            if UPDATE {
                sums.add(&mut sum, read(line), times);
            }
            sum
        };
        let outs = &mut [&mut *out];
        some_sums(&sums, outs, 0..most, usize::from(UPDATE), start, &blocks, &term);
        for first in (most..terms.len()).step_by(MAX_TERMS) {
            let range = first..terms.len().min(first + MAX_TERMS);
            let there = |line: &Line| Sum::of(integers(line));
            some_sums(&sums, outs, range, 0, there, &blocks, &term);
        }
    }
}
