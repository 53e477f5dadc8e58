//! Polynomials that multiply many others, in as little memory as they take.
//!
//! Keys and encoded weights are read once for each product, from memory, and memory is what they wait for. A residue modulo a
//! prime of 34 bits in a word of 64 is mostly zeros; in as many bytes as its prime has it takes five, and block by block, those of
//! all polynomials together, it is one stream of memory instead of one for each polynomial. (The sums of five products of
//! a rotation at N = 2^14, with a key of 14 MB of words, took 0.9 ms; with bytes 0.4; in one stream 0.3.)
//!
//! ```text
//! sums_of_products(p, [b, c])  =  [ Σ pⱼ·bⱼ, Σ pⱼ·cⱼ ]
//! ```
//! Products of digits with packed pairs are in [`digits`](crate::digits).

use std::fmt;

use crate::basis::Basis;
use crate::kernel::stream::{Stream, pack, packed_len};
use crate::poly::{Evaluations, Poly};
use crate::sums::{by_columns, part};

/// Polynomials over one basis, packed.
///
/// # Security
/// Nothing is wiped: for what is public, or for a server's weights. `Debug` shows no residue.
#[derive(Clone)]
pub struct Packed {
    basis: Basis,
    count: usize,
    /// A stream for each prime.
    streams: Vec<Vec<u8>>,
}

/// For each packed polynomial, two that it multiplies.
pub type Factors<'a> = Vec<[&'a Poly<Evaluations>; 2]>;

impl Packed {
    /// So many polynomials, made one by one.
    ///
    /// # Panics
    /// When one is over another basis.
    #[must_use]
    pub fn new(
        basis: &Basis,
        count: usize,
        mut poly: impl FnMut(usize) -> Poly<Evaluations>,
    ) -> Self {
        let streams = basis.moduli().map(|q| vec![0; packed_len(q, count, basis.degree())]);
        let mut streams: Vec<_> = streams.collect();
        for j in 0..count {
            let poly = poly(j);
            assert_eq!(poly.basis(), basis, "the basis of a polynomial to pack");
            for (i, (q, stream)) in basis.moduli().zip(&mut streams).enumerate() {
                pack(q, poly.residues(i), j, count, stream);
            }
        }
        Self { basis: basis.clone(), count, streams }
    }

    /// How many polynomials there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their basis.
    #[must_use]
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Bytes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.streams.iter().map(Vec::len).sum()
    }

    /// Polynomial `j`.
    ///
    /// # Panics
    /// When there is no such polynomial.
    #[must_use]
    pub fn poly(&self, j: usize) -> Poly<Evaluations> {
        let rows = (0..self.streams.len()).map(|i| {
            let mut row = self.basis.pool().row();
            self.stream(i).unpack(j, &mut row);
            row
        });
        Poly::of(&self.basis, rows.collect())
    }

    /// For each list, Σ p·b and Σ p·c over its packed p and their factors \[b, c\]. The sums of all lists are made for
    /// some columns before the next, so factors that lists have in common are read from memory once. Of polynomials over
    /// more primes than the basis has, the first ones count.
    ///
    /// # Panics
    /// When the basis is not the first part of a polynomial's, or a list has another number of factors than of packed
    /// polynomials.
    #[must_use]
    pub fn sums_of_products(
        basis: &Basis,
        lists: &[(&Self, Factors<'_>)],
    ) -> Vec<[Poly<Evaluations>; 2]> {
        for (packed, factors) in lists {
            let fits = packed.basis.begins_with(basis)
                && factors.iter().flatten().all(|b| b.basis().begins_with(basis));
            assert!(fits, "the bases of polynomials differ");
            assert_eq!(packed.count, factors.len(), "factors of packed polynomials");
        }
        by_columns(basis, lists, |(packed, factors), i, columns, outs| {
            let parts = factors.iter().map(|b| b.map(|b| part(b, i, columns)));
            let stream = packed.stream(i).at_column(columns.start);
            let kernel = &basis.primes()[i].kernel;
            kernel.sums_of_packed(outs, stream, &parts.collect::<Vec<_>>());
        })
    }

    /// The residues modulo prime `i`.
    pub(crate) fn stream(&self, i: usize) -> Stream<'_> {
        Stream::new(&self.streams[i], self.basis.primes()[i].modulus, self.count)
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packed polynomials over {:?}", self.count, self.basis)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::rns::tests::basis;
    use crate::sample::uniform;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn what_is_packed_comes_back_and_its_sums_are_those_of_polynomials(
            choice in Choice::any(), count in 0..20usize, widths in prop::array::uniform3(20..=50u32), seed: u64,
        ) {
            let mut widths = widths;
            // The same width twice would be the same prime.
            widths.sort_unstable();
            prop_assume!(widths[0] < widths[1] && widths[1] < widths[2]);
            let basis = basis(&widths, 0, choice);
            let random = |i: usize| uniform(&basis, &[7; 32], seed.wrapping_add(i as u64));
            let polys: Vec<_> = (0..3 * count).map(random).collect();
            let packed = Packed::new(&basis, count, |j| polys[3 * j].clone());
            for j in 0..count {
                prop_assert_eq!(&packed.poly(j), &polys[3 * j]);
            }
            let lower = basis.part(0..2);
            let (factors, lists): (Vec<_>, Vec<_>) =
                polys.as_chunks().0.iter().map(|[a, b, c]| ([b, c], (a, [b, c]))).unzip();
            for basis in [&basis, &lower] {
                let sums = Packed::sums_of_products(basis, &[(&packed, factors.clone())]);
                prop_assert_eq!(sums, Poly::sums_of_products(basis, std::slice::from_ref(&lists)));
            }
        }
    }

    #[test]
    fn the_largest_residues_do_not_overflow() {
        for choice in Choice::ALL {
            let basis = basis(&[36, 46, 50], 0, choice);
            let constant = |x: i64| {
                let mut coefficients = vec![0; basis.degree()];
                coefficients[0] = x;
                Poly::from_words(&basis, &coefficients).into_evaluations()
            };
            // All residues of −1 are q − 1.
            let minus_one = constant(-1);
            for count in [1u32, 7, 8, 9, 600, 2049] {
                let packed = Packed::new(&basis, count as usize, |_| minus_one.clone());
                let list = (&packed, vec![[&minus_one; 2]; count as usize]);
                let sums = Packed::sums_of_products(&basis, &[list]).remove(0);
                assert!(sums.iter().all(|sum| *sum == constant(count.into())), "{count}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "factors of packed polynomials")]
    fn each_packed_polynomial_has_factors() {
        let basis = basis(&[36], 0, Choice::Best);
        let packed = Packed::new(&basis, 1, |_| Poly::zero(&basis));
        let _ = Packed::sums_of_products(&basis, &[(&packed, vec![])]);
    }
}
