//! One residue at a time, in safe Rust with 64-bit words.
//!
//! The transforms are Harvey's (*Faster arithmetic for number-theoretic transforms*, J. Symb. Comp. 60,
//! 2014): a factor w comes with ⌊w·2^64 / q⌋ (Shoup), so that y·w modulo q costs three products, for
//! every word y, and is below 2q. Between stages, values are below 4q going forward and below 2q
//! coming back.

use super::stream::Stream;
use super::weights::{GROUP, Shape, Weights};
use super::{
    Kernel, MAX_TERMS, Pair, add, check_pairs, check_parts, lift, neg, permute, shift, sub,
};
use crate::automorphism::Permutation;
use crate::modulus::{Modulus, below, high};
use crate::ntt::{SPAN, SPAN_ORDER, roots};

/// A kernel for one q, with its roots of unity.
pub(super) struct Rows {
    q: Modulus,
    degree: usize,
    forward: Vec<Factor>,
    inverse: Vec<Factor>,
    /// 1/N.
    scale: Factor,
}

/// A number to multiply by.
#[derive(Clone, Copy)]
struct Factor {
    value: u64,
    /// ⌊value·2^64 / q⌋.
    quotient: u64,
}

impl Factor {
    /// For a residue.
    fn new(value: u64, q: Modulus) -> Self {
        let quotient = (u128::from(value) << 64) / u128::from(q.value());
        Self { value, quotient: u64::try_from(quotient).expect("a residue is below q") }
    }

    /// y·value modulo q, below 2q, for every word y.
    #[inline]
    fn times(self, y: u64, q: u64) -> u64 {
        let quotient = high(y, self.quotient);
        y.wrapping_mul(self.value).wrapping_sub(quotient.wrapping_mul(q))
    }
}

impl Rows {
    pub(super) fn new(q: Modulus, degree: usize) -> Self {
        let factors = |roots: Vec<u64>| roots.into_iter().map(|w| Factor::new(w, q)).collect();
        let (forward, inverse) = roots(q, degree);
        let scale = Factor::new(q.inverse(degree as u64), q);
        Self { q, degree, forward: factors(forward), inverse: factors(inverse), scale }
    }

    /// The transform of N values or fewer, in bit-reversed order.
    fn forward_stages(&self, row: &mut [u64]) {
        let q = self.q.value();
        let mut half = row.len() / 2;
        while half > 0 {
            let groups = row.len() / (2 * half);
            for (group, w) in row.chunks_exact_mut(2 * half).zip(&self.forward[groups..]) {
                let (left, right) = group.split_at_mut(half);
                for (x, y) in left.iter_mut().zip(right) {
                    let (u, t) = (below(*x, 2 * q), w.times(*y, q));
                    (*x, *y) = (u + t, u + 2 * q - t);
                }
            }
            half /= 2;
        }
        row.iter_mut().for_each(|x| *x = below(below(*x, 2 * q), q));
    }

    /// The whole way back.
    fn inverse_stages(&self, row: &mut [u64]) {
        let q = self.q.value();
        for span in row.as_chunks_mut::<SPAN>().0 {
            let stored = *span;
            for (x, i) in stored.into_iter().zip(SPAN_ORDER) {
                span[i] = x;
            }
        }
        let mut half = 1;
        while half < self.degree {
            let groups = self.degree / (2 * half);
            for (group, w) in row.chunks_exact_mut(2 * half).zip(&self.inverse[groups..]) {
                let (left, right) = group.split_at_mut(half);
                for (x, y) in left.iter_mut().zip(right) {
                    let (sum, difference) = (*x + *y, *x + 2 * q - *y);
                    (*x, *y) = (below(sum, 2 * q), w.times(difference, q));
                }
            }
            half *= 2;
        }
        for x in row {
            *x = self.q.below(self.scale.times(*x, q));
        }
    }

    /// Panics unless the row has N residues.
    fn check(&self, row: &[u64]) {
        assert_eq!(row.len(), self.degree, "the length of a row");
    }
}

/// So many residues of the first rows.
fn unpacked(stream: Stream<'_>, rows: usize, count: usize) -> Vec<Vec<u64>> {
    let row = |row| {
        let mut residues = vec![0; count];
        stream.unpack(row, &mut residues);
        residues
    };
    (0..rows).map(row).collect()
}

impl Kernel for Rows {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn forward(&self, rows: &mut [&mut [u64]]) {
        for row in rows {
            self.check(row);
            self.forward_stages(row);
            for span in row.as_chunks_mut::<SPAN>().0 {
                let stored = *span;
                *span = SPAN_ORDER.map(|i| stored[i]);
            }
        }
    }

    fn inverse(&self, rows: &mut [&mut [u64]]) {
        for row in rows {
            self.check(row);
            self.inverse_stages(row);
        }
    }

    fn multiply_accumulate(&self, out: &mut [u64], terms: &[(&[u64], &[u64])]) {
        self.check(out);
        terms.iter().for_each(|(a, b)| [a, b].into_iter().for_each(|row| self.check(row)));
        for terms in terms.chunks(MAX_TERMS) {
            for (i, out) in out.iter_mut().enumerate() {
                let products = terms.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[i]));
                *out = self.q.reduce(u128::from(*out) + products.sum::<u128>());
            }
        }
    }

    fn sums_of_products(&self, outs: [&mut [u64]; 2], terms: &[Pair<'_>]) {
        check_pairs(&outs, terms);
        for (k, out) in outs.into_iter().enumerate() {
            out.fill(0);
            for terms in terms.chunks(MAX_TERMS) {
                for (i, out) in out.iter_mut().enumerate() {
                    let products =
                        terms.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[k][i]));
                    *out = self.q.reduce(u128::from(*out) + products.sum::<u128>());
                }
            }
        }
    }

    fn sums_with_pairs(&self, outs: [&mut [u64]; 2], factors: &[&[u64]], pairs: Stream<'_>) {
        check_parts(&outs, factors.iter().copied());
        let count = outs[0].len();
        let rows = unpacked(pairs, 2 * factors.len(), count);
        let terms = factors.iter().zip(rows.as_chunks().0);
        let terms: Vec<Pair<'_>> = terms.map(|(a, [b, c])| (*a, [&**b, &**c])).collect();
        self.sums_of_products(outs, &terms);
    }

    fn sums_of_packed(&self, outs: [&mut [u64]; 2], stream: Stream<'_>, factors: &[[&[u64]; 2]]) {
        check_parts(&outs, factors.iter().flatten().copied());
        let count = outs[0].len();
        let rows = unpacked(stream, factors.len(), count);
        let terms: Vec<Pair<'_>> = rows.iter().zip(factors).map(|(a, b)| (&**a, *b)).collect();
        self.sums_of_products(outs, &terms);
    }

    fn scale(&self, row: &mut [u64], factor: u64) {
        self.check(row);
        let factor = Factor::new(factor, self.q);
        for x in row {
            *x = self.q.below(factor.times(*x, self.q.value()));
        }
    }

    fn combine(&self, out: &mut [u64], constant: u64, terms: &[(&[u64], u64)]) {
        self.check(out);
        out.fill(0);
        self.update(out, 0, constant, terms);
    }

    fn update(&self, row: &mut [u64], factor: u64, constant: u64, terms: &[(&[u64], u64)]) {
        self.check(row);
        terms.iter().for_each(|(row, _)| self.check(row));
        self.scale(row, factor);
        self.shift(row, constant);
        for terms in terms.chunks(MAX_TERMS) {
            for (i, out) in row.iter_mut().enumerate() {
                let products = terms.iter().map(|(a, w)| u128::from(a[i]) * u128::from(*w));
                *out = self.q.reduce(u128::from(*out) + products.sum::<u128>());
            }
        }
    }

    fn weights(&self, shape: Shape, coefficients: &[i64]) -> Weights {
        let width = shape.width();
        let mut words = vec![0; shape.blocks * width];
        let mut row = vec![0; shape.blocks];
        for at in 0..width {
            let group = &coefficients[at / GROUP * GROUP * shape.blocks..];
            for (x, &c) in row.iter_mut().zip(group[at % GROUP..].iter().step_by(GROUP)) {
                *x = self.q.reduce_signed(c.into());
            }
            self.forward_stages(&mut row);
            words[at..].iter_mut().step_by(width).zip(&row).for_each(|(word, x)| *word = *x);
        }
        Weights { shape, words, small: 0 }
    }

    fn product(&self, outs: &mut [&mut [u64]], weights: &Weights, inputs: &[&[u64]]) {
        weights.shape.check(outs, inputs);
        outs.iter().for_each(|row| self.check(row));
        inputs.iter().for_each(|row| self.check(row));
        let step = self.degree / weights.shape.blocks;
        for first in (0..self.degree).step_by(SPAN) {
            for tile in weights.shape.tiles() {
                let scalars = weights.tile(first / step, &tile);
                for (j, out) in outs[tile.clone()].iter_mut().enumerate() {
                    let mut sums = [0u128; SPAN];
                    let terms = scalars.iter().skip(j).step_by(tile.len()).zip(inputs);
                    for (i, (w, a)) in terms.enumerate() {
                        // At most 2^11 products of two residues, and a residue.
                        if i % MAX_TERMS == 0 {
                            sums = sums.map(|sum| self.q.reduce(sum).into());
                        }
                        for (sum, a) in sums.iter_mut().zip(&a[first..]) {
                            *sum += u128::from(*w) * u128::from(*a);
                        }
                    }
                    out[first..][..SPAN].copy_from_slice(&sums.map(|sum| self.q.reduce(sum)));
                }
            }
        }
    }

    fn permute(&self, out: &mut [u64], row: &[u64], permutation: &Permutation) {
        [&*out, row].into_iter().for_each(|row| self.check(row));
        permute(out, row, permutation);
    }

    fn reduce(&self, row: &mut [u64]) {
        self.check(row);
        row.iter_mut().for_each(|x| *x = self.q.reduce((*x).into()));
    }

    fn shift(&self, row: &mut [u64], constant: u64) {
        self.check(row);
        shift(self.q.value(), row, constant);
    }

    fn lift(&self, out: &mut [u64], row: &[u64], constant: u64) {
        self.check(out);
        lift(self.q.value(), out, row, constant);
    }

    fn add(&self, out: &mut [u64], b: &[u64]) {
        self.check(out);
        add(self.q.value(), out, b);
    }

    fn sub(&self, out: &mut [u64], b: &[u64]) {
        self.check(out);
        sub(self.q.value(), out, b);
    }

    fn neg(&self, out: &mut [u64]) {
        self.check(out);
        neg(self.q.value(), out);
    }
}
