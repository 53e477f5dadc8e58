//! Polynomials modulo X^N + 1 and Q, by coefficients or by evaluations.
//!
//! ```text
//! evaluations(a + b) = evaluations(a) + evaluations(b)
//! evaluations(a · b) = evaluations(a) · evaluations(b)     place by place
//! ```
//!
//! Both are held as one row of residues for each prime. They are different types: only evaluations can be
//! multiplied, and only coefficients have a size.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{AddAssign, Mul, Neg, Range, SubAssign};

use zeroize::{Zeroize, Zeroizing};

use crate::basis::{Basis, Prime};
use crate::memory::Row;

/// What the residues of a polynomial are.
pub trait Representation: Copy + sealed::Sealed + 'static {
    /// For people.
    const NAME: &'static str;
}

/// Coefficients of X⁰, X¹, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coefficients;

/// Values at the points ψ^e for odd e, in the order of [`ntt::exponent`](crate::ntt::exponent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluations;

impl Representation for Coefficients {
    const NAME: &'static str = "coefficients";
}

impl Representation for Evaluations {
    const NAME: &'static str = "evaluations";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Coefficients {}
    impl Sealed for super::Evaluations {}
}

/// A polynomial over a [`Basis`].
///
/// # Security
/// It may be public or secret. Secret ones are held as `Zeroizing<Poly<_>>`: wiping all would cost more than
/// adding. `Debug` shows no residue. All functions take the same time for all residues.
///
/// # Panics
/// Functions of two polynomials panic when their bases differ.
#[derive(Clone)]
pub struct Poly<R: Representation> {
    basis: Basis,
    rows: Vec<Row>,
    representation: PhantomData<R>,
}

impl<R: Representation> Poly<R> {
    /// 0.
    #[must_use]
    pub fn zero(basis: &Basis) -> Self {
        let zeros = basis.primes().iter().map(|_| basis.pool().zeros());
        Self::of(basis, zeros.collect())
    }

    /// From rows of residues, one for each prime.
    pub(crate) fn of(basis: &Basis, rows: Vec<Row>) -> Self {
        debug_assert_eq!(rows.len(), basis.primes().len());
        Self { basis: basis.clone(), rows, representation: PhantomData }
    }

    /// From its residues: `fill` writes those modulo prime number i over 0.
    ///
    /// # Panics
    /// When one is not below its prime. What a peer sent is read by [`bytes`](crate::bytes) instead.
    #[must_use]
    pub fn from_residues(basis: &Basis, mut fill: impl FnMut(usize, &mut [u64])) -> Self {
        let rows = basis.moduli().enumerate().map(|(i, q)| {
            let mut row = basis.pool().zeros();
            fill(i, &mut row);
            // The highest bit is set if one is above the last residue, all looked at alike.
            let last = q.value() - 1;
            let above = row.iter().fold(0, |above, &x| above | x | last.wrapping_sub(x));
            assert!(above >> 63 == 0, "a residue is not below {}", q.value());
            row
        });
        Self::of(basis, rows.collect())
    }

    /// The degree and the primes.
    #[must_use]
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The residues modulo prime number `i`, each below it.
    ///
    /// # Panics
    /// When there is no such prime.
    #[must_use]
    pub fn residues(&self, i: usize) -> &[u64] {
        &self.rows[i]
    }

    /// The same polynomial modulo all primes but the last: nothing is divided. `None` when there is but one.
    #[must_use]
    pub fn forget_last(mut self) -> Option<Self> {
        self.basis = self.basis.without_last()?;
        self.rows.pop();
        Some(self)
    }

    /// The same polynomial modulo the primes at these places.
    ///
    /// # Panics
    /// When there are none, or no such places.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        Self::of(&self.basis.part(places.clone()), self.rows[places].to_vec())
    }

    /// Multiplies by an integer, given by one residue for each prime ([`Basis::residues`]).
    ///
    /// # Panics
    /// When there are more or fewer residues.
    pub fn scale(&mut self, factor: &[u64]) {
        assert_eq!(factor.len(), self.rows.len(), "residues of a factor");
        for ((prime, row), &factor) in self.basis.primes().iter().zip(&mut self.rows).zip(factor) {
            prime.kernel.scale(row, factor);
        }
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Applies a kernel's function to each row.
    fn each(&mut self, f: impl Fn(&Prime, &mut [u64])) {
        for (prime, row) in self.basis.primes().iter().zip(&mut self.rows) {
            f(prime, row);
        }
    }

    /// Applies a kernel's function to each row and the same one of `other`.
    fn each_with(&mut self, other: &Self, f: impl Fn(&Prime, &mut [u64], &[u64])) {
        assert_eq!(self.basis, other.basis, "the bases of two polynomials");
        for ((prime, row), other) in self.basis.primes().iter().zip(&mut self.rows).zip(&other.rows)
        {
            f(prime, row, other);
        }
    }

    fn becomes<S: Representation>(self) -> Poly<S> {
        Poly { basis: self.basis, rows: self.rows, representation: PhantomData }
    }
}

impl Poly<Coefficients> {
    /// The polynomial with these coefficients, of any sign and size, modulo each prime.
    ///
    /// # Panics
    /// Unless there are N.
    #[must_use]
    pub fn from_signed<T: Copy + Into<i128>>(basis: &Basis, coefficients: &[T]) -> Self {
        assert_eq!(coefficients.len(), basis.degree(), "the number of coefficients");
        let rows = basis.primes().iter().map(|prime| {
            let mut row = basis.pool().row();
            for (residue, &c) in row.iter_mut().zip(coefficients) {
                *residue = prime.modulus.reduce_signed(c.into());
            }
            row
        });
        Self::of(basis, rows.collect())
    }

    /// [`from_signed`](Self::from_signed) in vectors, where a kernel has them.
    ///
    /// # Panics
    /// Unless there are N.
    #[must_use]
    pub fn from_words(basis: &Basis, coefficients: &[i64]) -> Self {
        // c + 2^63 is a word.
        let raise = |c: &i64| c.cast_unsigned() ^ 1 << 63;
        let raised = Zeroizing::new(coefficients.iter().map(raise).collect::<Vec<_>>());
        let mut poly = Self::from_unsigned(basis, &raised);
        poly.each(|prime, row| {
            let q = prime.modulus;
            prime.kernel.shift(row, q.neg(q.reduce(1 << 63)));
        });
        poly
    }

    /// The polynomial with these coefficients, any words, modulo each prime: in vectors, where a kernel has them.
    ///
    /// # Panics
    /// Unless there are N.
    #[must_use]
    pub fn from_unsigned(basis: &Basis, coefficients: &[u64]) -> Self {
        assert_eq!(coefficients.len(), basis.degree(), "the number of coefficients");
        let rows = basis.primes().iter().map(|prime| {
            let mut row = basis.pool().row();
            row.copy_from_slice(coefficients);
            prime.kernel.reduce(&mut row);
            row
        });
        Self::of(basis, rows.collect())
    }

    /// The same polynomial by its evaluations; takes over the memory, so no copy stays behind.
    #[must_use]
    pub fn into_evaluations(mut self) -> Poly<Evaluations> {
        self.each(|prime, row| prime.kernel.forward(&mut [row]));
        self.becomes()
    }
}

impl Poly<Evaluations> {
    /// The same polynomial by its coefficients; takes over the memory, so no copy stays behind.
    #[must_use]
    pub fn into_coefficients(mut self) -> Poly<Coefficients> {
        self.each(|prime, row| prime.kernel.inverse(&mut [row]));
        self.becomes()
    }

    /// self ← self + Σ a·b over all pairs (a, b) of `terms`, at half the price of as many products.
    pub fn multiply_accumulate(&mut self, terms: &[(&Self, &Self)]) {
        let same = |poly: &Self| poly.basis == self.basis;
        assert!(terms.iter().all(|(a, b)| same(a) && same(b)), "the bases of polynomials differ");
        for (i, (prime, row)) in self.basis.primes().iter().zip(&mut self.rows).enumerate() {
            let terms: Vec<(&[u64], &[u64])> =
                terms.iter().map(|(a, b)| (&*a.rows[i], &*b.rows[i])).collect();
            prime.kernel.multiply_accumulate(row, &terms);
        }
    }
}

impl Mul for &Poly<Evaluations> {
    type Output = Poly<Evaluations>;

    fn mul(self, other: Self) -> Poly<Evaluations> {
        let mut product = Poly::zero(&self.basis);
        product.multiply_accumulate(&[(self, other)]);
        product
    }
}

impl<R: Representation> AddAssign<&Self> for Poly<R> {
    fn add_assign(&mut self, other: &Self) {
        self.each_with(other, |prime, row, other| prime.kernel.add(row, other));
    }
}

impl<R: Representation> SubAssign<&Self> for Poly<R> {
    fn sub_assign(&mut self, other: &Self) {
        self.each_with(other, |prime, row, other| prime.kernel.sub(row, other));
    }
}

impl<R: Representation> Neg for Poly<R> {
    type Output = Self;

    fn neg(mut self) -> Self {
        self.each(|prime, row| prime.kernel.neg(row));
        self
    }
}

/// The same residues over the same basis. Not constant-time: for public polynomials.
impl<R: Representation> PartialEq for Poly<R> {
    fn eq(&self, other: &Self) -> bool {
        self.basis == other.basis && self.rows.iter().zip(&other.rows).all(|(a, b)| **a == **b)
    }
}

impl<R: Representation> Eq for Poly<R> {}

impl<R: Representation> Zeroize for Poly<R> {
    fn zeroize(&mut self) {
        self.rows.iter_mut().for_each(|row| row.zeroize());
    }
}

impl<R: Representation> fmt::Debug for Poly<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poly by {} over {:?}", R::NAME, self.basis)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::modulus::Modulus;
    use crate::primes::descending;
    use crate::testing::{residues, schoolbook};

    const N: usize = 1 << 11;

    fn basis(choice: Choice) -> Basis {
        let primes = [36, 46, 50].map(|bits| descending(bits, N).next().unwrap().value());
        Basis::with(N, &primes, choice).unwrap()
    }

    fn random<R: Representation>(basis: &Basis, seed: u64) -> Poly<R> {
        let primes: Vec<Modulus> = basis.moduli().collect();
        Poly::from_residues(basis, |i, row| {
            row.copy_from_slice(&residues(primes[i], N, seed ^ primes[i].value()));
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_ring_is_that_of_the_schoolbook(choice in Choice::any(), seed: u64) {
            let basis = basis(choice);
            let (a, b) = (random::<Coefficients>(&basis, seed), random(&basis, !seed));
            let product = &a.clone().into_evaluations() * &b.clone().into_evaluations();
            let product = product.into_coefficients();
            let (mut sum, mut difference) = (a.clone(), a.clone());
            sum += &b;
            difference -= &b;
            let mut scaled = a.clone();
            scaled.scale(&basis.residues(-3));
            for (i, q) in basis.moduli().enumerate() {
                let (a, b) = (a.residues(i), b.residues(i));
                prop_assert_eq!(product.residues(i), schoolbook(q, a, b));
                for j in 0..N {
                    prop_assert_eq!(sum.residues(i)[j], q.add(a[j], b[j]));
                    prop_assert_eq!(difference.residues(i)[j], q.sub(a[j], b[j]));
                    prop_assert_eq!(scaled.residues(i)[j], q.mul(a[j], q.value() - 3));
                }
            }
            let mut nothing = a.clone();
            nothing += &-a;
            prop_assert_eq!(nothing, Poly::zero(&basis));
        }

        #[test]
        fn sums_of_products_are_sums_of_products(choice in Choice::any(), count in 0..40usize, seed: u64) {
            let basis = basis(choice);
            let factors: Vec<_> =
                (0..count as u64).map(|i| [random(&basis, seed ^ i), random(&basis, seed ^ !i)]).collect();
            let mut expected: Poly<Evaluations> = random(&basis, seed);
            let mut sum = expected.clone();
            let terms: Vec<_> = factors.iter().map(|[a, b]| (a, b)).collect();
            sum.multiply_accumulate(&terms);
            factors.iter().for_each(|[a, b]| expected += &(a * b));
            prop_assert_eq!(sum, expected);
        }

        #[test]
        fn coefficients_come_back(choice in Choice::any(), seed: u64) {
            let a: Poly<Coefficients> = random(&basis(choice), seed);
            prop_assert_eq!(a.clone().into_evaluations().into_coefficients(), a);
        }
    }

    #[test]
    fn the_largest_residues_do_not_overflow() {
        for choice in Choice::ALL {
            let basis = basis(choice);
            let minus_one = -Poly::from_constant(&basis, 1);
            for count in [1u32, 7, 8, 9, 11, 12, 13, 600, 2047, 2048, 2049, 4097] {
                let mut sum = minus_one.clone();
                sum.multiply_accumulate(&vec![(&minus_one, &minus_one); count as usize]);
                assert_eq!(sum, Poly::from_constant(&basis, i128::from(count) - 1), "{count}");
            }
        }
    }

    impl Poly<Evaluations> {
        /// The same value everywhere.
        fn from_constant(basis: &Basis, value: i128) -> Self {
            let mut coefficients = vec![0; N];
            coefficients[0] = value;
            Poly::from_signed(basis, &coefficients).into_evaluations()
        }
    }

    #[test]
    fn any_words_are_reduced() {
        for choice in Choice::ALL {
            let basis = basis(choice);
            let q = basis.moduli().last().unwrap();
            let mut words = residues(q, N, 3);
            words.iter_mut().enumerate().for_each(|(i, word)| *word <<= i % 15);
            let edges = basis.moduli().flat_map(|q| [q.value() - 1, q.value(), q.value() + 1]);
            for (word, edge) in words.iter_mut().zip(edges.chain([0, 1 << 52, 1 << 63, u64::MAX])) {
                *word = edge;
            }
            assert_eq!(Poly::from_unsigned(&basis, &words), Poly::from_signed(&basis, &words));
        }
    }

    #[test]
    fn words_of_any_sign_are_reduced() {
        for choice in Choice::ALL {
            let basis = basis(choice);
            let q = basis.moduli().last().unwrap();
            let mut words: Vec<_> =
                residues(q, N, 4).into_iter().map(|x| (x << 14).cast_signed()).collect();
            words[..5].copy_from_slice(&[0, 1, -1, i64::MIN, i64::MAX]);
            assert_eq!(Poly::from_words(&basis, &words), Poly::from_signed(&basis, &words));
        }
    }

    #[test]
    fn a_part_has_the_residues_of_its_primes() {
        let basis = basis(Choice::Best);
        let a: Poly<Coefficients> = random(&basis, 2);
        let part = a.part(1..3);
        assert_eq!(part.basis(), &basis.part(1..3));
        assert!(part.basis().moduli().eq(basis.moduli().skip(1)));
        assert!((0..2).all(|i| part.residues(i) == a.residues(i + 1)));
        assert_eq!(a.part(0..3), a);
        assert_eq!(a.part(0..2), a.forget_last().unwrap());
    }

    #[test]
    fn forgetting_a_prime_divides_nothing() {
        let basis = basis(Choice::Best);
        let a: Poly<Coefficients> = random(&basis, 1);
        let shorter = a.clone().forget_last().unwrap();
        assert_eq!(shorter.basis(), &basis.without_last().unwrap());
        assert!((0..2).all(|i| shorter.residues(i) == a.residues(i)));
        assert!(shorter.forget_last().unwrap().forget_last().is_none());
    }

    #[test]
    fn no_residue_is_printed() {
        let text = format!("{:?}", Poly::from_signed(&basis(Choice::Best), &[77_777i64; N]));
        assert!(text.contains("coefficients") && !text.contains("77777"), "{text}");
    }

    #[test]
    #[should_panic(expected = "a residue is not below")]
    fn residues_are_below_their_primes() {
        let basis = basis(Choice::Best);
        let first = basis.moduli().next().unwrap().value();
        let _: Poly<Evaluations> = Poly::from_residues(&basis, |i, row| {
            row[N - 1] = if i == 0 { first } else { 0 };
        });
    }

    #[test]
    #[should_panic(expected = "the bases of two polynomials")]
    fn polynomials_of_two_bases_do_not_mix() {
        let basis = basis(Choice::Best);
        let mut a = Poly::<Coefficients>::zero(&basis);
        a += &Poly::zero(&basis.without_last().unwrap());
    }
}
