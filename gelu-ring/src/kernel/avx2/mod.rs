//! Four residues at a time with AVX2 and FMA.

mod factors;
mod stages;
mod transform;
mod vector;

use super::portable;
use super::stream::Stream;
use super::weights::{Shape, Weights};
use super::{Kernel, Pair};
use crate::automorphism::Permutation;
use crate::modulus::Modulus;
use transform::Transform;
use vector::Line;

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
    degree: usize,
    transform: Transform,
    plain: portable::Rows,
}

impl Rows {
    pub(super) fn new(_: Avx2, q: Modulus, degree: usize) -> Self {
        let transform = Transform::new(q, degree);
        Self { degree, transform, plain: portable::Rows::new(q, degree) }
    }

    fn lines_mut<'a>(&self, row: &'a mut [u64]) -> &'a mut [Line] {
        assert_eq!(row.len(), self.degree, "the length of a row");
        row.as_chunks_mut().0
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
            // SAFETY: the same.
            unsafe { self.transform.inverse(row) };
        }
    }

    fn multiply_accumulate(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        self.plain.multiply_accumulate(out, terms);
    }
    fn sums_of_products(&self, outs: [&mut [u64]; 2], terms: &[Pair<'_>]) {
        self.plain.sums_of_products(outs, terms);
    }
    fn sums_with_pairs(&self, outs: [&mut [u64]; 2], factors: &[&[u64]], pairs: Stream<'_>) {
        self.plain.sums_with_pairs(outs, factors, pairs);
    }
    fn sums_of_packed(&self, outs: [&mut [u64]; 2], stream: Stream<'_>, factors: &[[&[u64]; 2]]) {
        self.plain.sums_of_packed(outs, stream, factors);
    }
    fn scale(&self, row: &mut [u64], factor: u64) {
        self.plain.scale(row, factor);
    }
    fn combine(&self, out: &mut [u64], constant: u64, terms: &[(&[u64], u64)]) {
        self.plain.combine(out, constant, terms);
    }
    fn update(&self, row: &mut [u64], factor: u64, constant: u64, terms: &[(&[u64], u64)]) {
        self.plain.update(row, factor, constant, terms);
    }
    fn weights(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        self.plain.weights(shape, coefficients)
    }
    fn product(&self, outs: &mut [&mut [u64]], weights: &Weights, inputs: &[&[u64]]) {
        self.plain.product(outs, weights, inputs);
    }
    fn permute(&self, out: &mut [u64], row: &[u64], permutation: &Permutation) {
        self.plain.permute(out, row, permutation);
    }
    fn reduce(&self, row: &mut [u64]) {
        self.plain.reduce(row);
    }
    fn shift(&self, row: &mut [u64], constant: u64) {
        self.plain.shift(row, constant);
    }
    fn lift(&self, out: &mut [u64], row: &[u64], constant: u64) {
        self.plain.lift(out, row, constant);
    }
    fn add(&self, out: &mut [u64], b: &[u64]) {
        self.plain.add(out, b);
    }
    fn sub(&self, out: &mut [u64], b: &[u64]) {
        self.plain.sub(out, b);
    }
    fn neg(&self, out: &mut [u64]) {
        self.plain.neg(out);
    }
}
