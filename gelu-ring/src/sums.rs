//! Sums of products for two factors at once, column by column.
//!
//! ```text
//! sums[i]  =  [ Σ a·b,  Σ a·c ]          over all (a, [b, c]) of list i
//! ```
//! Digits and weights multiply both polynomials of a ciphertext or a key: each is read once for both. The sums of all lists
//! are made for some columns before the next, so what lists have in common is read from memory once.

use std::ops::Range;

use crate::basis::Basis;
use crate::memory::Row;
use crate::poly::{Evaluations, Poly};

/// A polynomial, and two that it is multiplied by.
pub type Factors<'a> = (&'a Poly<Evaluations>, [&'a Poly<Evaluations>; 2]);

impl Poly<Evaluations> {
    /// For each list, Σ a·b and Σ a·c over all its (a, \[b, c\]): see [`sums`](crate::sums). Of polynomials
    /// over more primes than the basis has, the first ones count.
    ///
    /// # Panics
    /// When the basis is not the first part of a polynomial's.
    #[must_use]
    pub fn sums_of_products(basis: &Basis, lists: &[Vec<Factors<'_>>]) -> Vec<[Self; 2]> {
        let fits = |poly: &Self| poly.basis().begins_with(basis);
        let all = lists.iter().flatten().all(|(a, [b, c])| fits(a) && fits(b) && fits(c));
        assert!(all, "the bases of polynomials differ");
        by_columns(basis, lists, |list, i, columns, outs| {
            let part = |poly| part(poly, i, columns);
            let terms = list.iter().map(|(a, b)| (part(a), b.map(part)));
            basis.primes()[i].kernel.sums_of_products(outs, &terms.collect::<Vec<_>>());
        })
    }
}

/// Columns that are worked on together: those of many polynomials stay in the second cache.
const COLUMNS: usize = 1 << 10;

/// The two sums of each list, of which `sum`(list, i, columns, outs) makes some columns of row `i`.
pub(crate) fn by_columns<L>(
    basis: &Basis,
    lists: &[L],
    sum: impl Fn(&L, usize, &Range<usize>, [&mut [u64]; 2]),
) -> Vec<[Poly<Evaluations>; 2]> {
    let rows = || -> Vec<Row> { basis.primes().iter().map(|_| basis.pool().row()).collect() };
    let mut sums: Vec<[_; 2]> = lists.iter().map(|_| [rows(), rows()]).collect();
    for i in 0..basis.primes().len() {
        for first in (0..basis.degree()).step_by(COLUMNS) {
            let columns = first..basis.degree().min(first + COLUMNS);
            for (list, sums) in lists.iter().zip(&mut sums) {
                let outs = sums.each_mut().map(|rows| &mut rows[i][columns.clone()]);
                sum(list, i, &columns, outs);
            }
        }
    }
    sums.into_iter().map(|rows| rows.map(|rows| Poly::of(basis, rows))).collect()
}

/// Some columns of row `i`.
pub(crate) fn part<'a>(poly: &'a Poly<Evaluations>, i: usize, columns: &Range<usize>) -> &'a [u64] {
    &poly.rows()[i][columns.clone()]
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
        fn sums_of_pairs_are_sums_of_products(choice in Choice::any(), count in 0..20usize, seed: u64) {
            let basis = basis(&[36, 46, 50], 0, choice);
            let random = |i: u64| uniform(&basis, &[7; 32], seed.wrapping_add(i));
            let factors: Vec<[_; 3]> =
                (0..count as u64).map(|i| [0, 1, 2].map(|j| random(3 * i + j))).collect();
            let terms: Vec<_> = factors.iter().map(|[a, b, c]| (a, [b, c])).collect();
            let lists = [terms.clone(), vec![], terms[count / 2..].to_vec()];
            for (sums, list) in Poly::sums_of_products(&basis, &lists).iter().zip(&lists) {
                for (k, sum) in sums.iter().enumerate() {
                    let mut expected = Poly::zero(&basis);
                    let pairs: Vec<_> = list.iter().map(|(a, b)| (*a, b[k])).collect();
                    expected.multiply_accumulate(&pairs);
                    prop_assert_eq!(sum, &expected);
                }
            }
            // Over fewer primes than the factors have.
            let lower = basis.part(0..2);
            let parts: Vec<_> = factors.iter().map(|all| all.each_ref().map(|a| a.part(0..2))).collect();
            let parts = parts.iter().map(|[a, b, c]| (a, [b, c])).collect();
            prop_assert_eq!(Poly::sums_of_products(&lower, &[terms]), Poly::sums_of_products(&lower, &[parts]));
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
            for count in [1u32, 7, 8, 9, 600, 2047, 2048, 2049, 4097] {
                let list = vec![(&minus_one, [&minus_one; 2]); count as usize];
                let sums = Poly::sums_of_products(&basis, &[list]).remove(0);
                assert!(sums.iter().all(|sum| *sum == constant(count.into())), "{count}");
            }
        }
    }
}
