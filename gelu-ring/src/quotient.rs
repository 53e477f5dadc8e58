//! Rounding division, by the last prime or by several at once.
//!
//! ```text
//! x  modulo  p₀·…·pₖ₋₁ · q₀·…·qₗ · r₀·…         D = p₀·…·pₖ₋₁ · r₀·…,   P = p₀·…·pₖ₋₁
//! divide(x)       =  round(x / D)              modulo q₀·…·qₗ
//! quotients(x, y) =  round((x + P·y) / D)      for y modulo q₀·…·qₗ·r₀·…
//! ```
//! Rounding is exact: the remainder x mod D is centred and converted by balanced mixed radix
//! ([`Conversion::exact`]), so the quotient is at most 1/2 away from x/D and not biased.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::basis::Basis;
use crate::memory::Row;
use crate::modulus::Modulus;
use crate::poly::{Coefficients, Evaluations, Poly};
use crate::rns::Conversion;

/// Rounding division by the last prime q (modulus switching).
///
/// # Law
/// For x modulo Q, the result modulo Q/q is round(x / q) of the centred x, coefficient by coefficient:
/// at most 1/2 away from x/q, and without ties, as q is odd. (Without rounding, the error would be up to 1
/// and always on one side.)
impl Poly<Coefficients> {
    /// The quotient; `None` when there is but one prime.
    #[must_use]
    pub fn divide_by_last(&self) -> Option<Self> {
        let basis = self.basis().without_last()?;
        let (dropped, shifted) = self.shifted_last();
        let rows = basis.primes().iter().zip(self.rows()).map(|(prime, row)| {
            let (q, mut out) = (prime.modulus, basis.pool().row());
            // (x − (e − h))/q, by the inverse c of q.
            let c = q.inverse(q.reduce(dropped.value().into()));
            let constant = q.mul(c, dropped.value() / 2);
            prime.kernel.combine(&mut out, constant, &[(row, c), (&shifted, q.neg(c))]);
            out
        });
        Some(Self::of(&basis, rows.collect()))
    }

    /// The last prime q, and the residues e = x + (q − 1)/2 modulo it.
    fn shifted_last(&self) -> (Modulus, Zeroizing<Row>) {
        let last = self.basis().primes().last().expect("a basis has a prime");
        let mut row = Zeroizing::new(self.rows().last().expect("a row for each prime").clone());
        last.kernel.shift(&mut row, last.modulus.value() / 2);
        (last.modulus, row)
    }
}

impl Poly<Evaluations> {
    /// The quotient of the [same division](Poly::<Coefficients>::divide_by_last), for one inverse
    /// transform and one forward transform a prime; `None` when there is but one prime.
    #[must_use]
    pub fn divide_by_last(&self) -> Option<Self> {
        let basis = self.basis().without_last()?;
        let last = self.basis().primes().last().expect("a basis has a prime");
        let dropped = last.modulus;
        let mut shifted = Zeroizing::new(self.rows().last().expect("a row for each prime").clone());
        last.kernel.inverse(&mut [&mut shifted]);
        last.kernel.shift(&mut shifted, dropped.value() / 2);
        let mut centred = basis.pool().scratch();
        let rows = basis.primes().iter().zip(self.rows()).map(|(prime, row)| {
            let (q, mut out) = (prime.modulus, basis.pool().row());
            prime.kernel.combine(
                &mut centred,
                q.neg(q.reduce((dropped.value() / 2).into())),
                &[(&shifted, 1)],
            );
            prime.kernel.forward(&mut [&mut centred]);
            let c = q.inverse(q.reduce(dropped.value().into()));
            prime.kernel.combine(&mut out, 0, &[(row, c), (&centred, q.neg(c))]);
            out
        });
        Some(Self::of(&basis, rows.collect()))
    }
}

impl Conversion {
    /// round(x / Q) modulo P of the x that is `low` modulo Q and `high` modulo P: division by several primes at once.
    ///
    /// # Law
    /// (x − r)/Q for the centred r = x mod Q, of any x with these residues.
    ///
    /// # Panics
    /// When `low` is not over `from`, `high` is not over `to`, or the two share a prime.
    #[must_use]
    pub fn divide(
        &self,
        low: &Poly<Coefficients>,
        mut high: Poly<Evaluations>,
    ) -> Poly<Evaluations> {
        self.check_divisor();
        high -= &self.exact(low).into_evaluations();
        high.scale(&self.inverse);
        high
    }

    /// round(x·P/Q) modulo P of the centred x: the same fraction of another modulus.
    ///
    /// # Panics
    /// When x is not over `from`, or `from` and `to` share a prime.
    #[must_use]
    pub fn switch(&self, x: &Poly<Coefficients>) -> Poly<Coefficients> {
        self.check_divisor();
        // −r/Q for the centred r = x·P mod Q, as x·P is 0 modulo P.
        let mut multiple = Zeroizing::new(x.clone());
        multiple.scale(&self.minus_target);
        let mut quotient = self.exact(&multiple);
        quotient.scale(&self.inverse);
        quotient
    }

    fn check_divisor(&self) {
        assert!(!self.inverse.contains(&0), "a prime to divide by and to divide modulo");
    }
}

/// x, and y where x + P·y is divided.
pub type Dividend<'a> = (Poly<Evaluations>, Option<&'a Poly<Evaluations>>);

/// A division by all primes of a basis but those of a range. One inverse transform for each of the former, one
/// forward transform for each of the latter.
pub struct Division {
    from: Basis,
    to: Basis,
    kept: Range<usize>,
    conversion: Conversion,
    /// P modulo each prime.
    front: Vec<u64>,
    /// For each kept prime: D⁻¹, and P·D⁻¹.
    factors: Vec<(u64, u64)>,
}

impl Division {
    /// A division of polynomials over `from` that keeps the primes at the places `kept`.
    ///
    /// # Panics
    /// When all primes or none are kept, or there are no such places.
    #[must_use]
    pub fn new(from: &Basis, kept: Range<usize>) -> Self {
        let to = from.part(kept.clone());
        let dropped = from.choose((0..kept.start).chain(kept.end..from.moduli().len()));
        let front = from.moduli().map(|q| q.product(from.moduli().take(kept.start)));
        let front: Vec<_> = front.collect();
        let factors = to.moduli().zip(&front[kept.clone()]).map(|(q, &front)| {
            let inverse = q.inverse(q.product(dropped.moduli()));
            (inverse, q.mul(front, inverse))
        });
        let factors = factors.collect();
        let conversion = Conversion::new(&dropped, &to);
        Self { from: from.clone(), to, kept, conversion, front, factors }
    }

    /// round(x / D).
    ///
    /// # Panics
    /// When x is over another basis.
    #[must_use]
    pub fn divide(&self, x: Poly<Evaluations>) -> Poly<Evaluations> {
        let [quotient] = self.quotients([(x, None)]);
        quotient
    }

    /// round(x / D), or round((x + P·y) / D) for the same price, of each (x, y): in the memory of x. Several at once take less
    /// time than one by one, as their transforms do.
    ///
    /// # Panics
    /// When an x is over another basis, or a y not over the primes from the first that is kept.
    #[must_use]
    pub fn quotients<const COUNT: usize>(
        &self,
        dividends: [Dividend<'_>; COUNT],
    ) -> [Poly<Evaluations>; COUNT] {
        let y = dividends.each_ref().map(|(_, y)| *y);
        let mut rows = dividends.map(|(x, y)| {
            assert_eq!(*x.basis(), self.from, "the basis of a polynomial to divide");
            let expected = self.from.moduli().skip(self.kept.start);
            let fits = y.is_none_or(|y| y.basis().moduli().eq(expected));
            assert!(fits, "the basis of a polynomial to add");
            x.into_rows()
        });
        let digits = self.remainders(&mut rows, y);
        let mut rests: [_; COUNT] = std::array::from_fn(|_| self.from.pool().scratch());
        for (i, (prime, &(inverse, front))) in
            self.to.primes().iter().zip(&self.factors).enumerate()
        {
            for (rest, digits) in rests.iter_mut().zip(&digits) {
                self.conversion.exact_row(i, digits, rest);
            }
            prime.kernel.forward(&mut rests.each_mut().map(|rest| &mut ***rest));
            for ((rows, y), rest) in rows.iter_mut().zip(y).zip(&rests) {
                let rest = (&***rest, prime.modulus.neg(inverse));
                let y = y.map(|y| (&*y.rows()[i], front));
                let terms: Vec<_> = [rest].into_iter().chain(y).collect();
                prime.kernel.update(&mut rows[i], inverse, 0, &terms);
            }
        }
        rows.map(|rows| Poly::of(&self.to, rows))
    }

    /// Takes away the rows that are not kept, and says what each x, or x + P·y, is modulo D: as digits of the conversion.
    fn remainders<const COUNT: usize>(
        &self,
        rows: &mut [Vec<Row>; COUNT],
        y: [Option<&Poly<Evaluations>>; COUNT],
    ) -> [Vec<Zeroizing<Row>>; COUNT] {
        let mut dropped = rows.each_mut().map(|rows| {
            let last = rows.split_off(self.kept.end);
            rows.drain(..self.kept.start).chain(last).map(Zeroizing::new).collect::<Vec<_>>()
        });
        let places = (0..self.kept.start).chain(self.kept.end..self.from.primes().len());
        for (i, place) in places.enumerate() {
            let prime = &self.from.primes()[place];
            for (rows, y) in dropped.iter_mut().zip(y) {
                if let Some(y) = y.filter(|_| place >= self.kept.end) {
                    let y = (&*y.rows()[place - self.kept.start], self.front[place]);
                    prime.kernel.update(&mut rows[i], 1, 0, &[y]);
                }
            }
            prime.kernel.inverse(&mut dropped.each_mut().map(|rows| &mut **rows[i]));
        }
        dropped.map(|rows| self.conversion.exact_digits(rows))
    }
}

impl fmt::Debug for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Division").field("from", &self.from).field("to", &self.to).finish()
    }
}

#[cfg(test)]
mod tests {
    use num_bigint_dig::{BigInt, ModInverse};
    use num_integer::Integer;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::rns::tests::{bases, basis, compose, decompose, polynomial};

    const WIDTHS: [u32; 6] = [50, 47, 36, 36, 50, 30];

    fn product(basis: &Basis, places: impl Iterator<Item = usize>) -> BigInt {
        let primes: Vec<_> = basis.moduli().map(|q| BigInt::from(q.value())).collect();
        places.map(|i| &primes[i]).product()
    }

    /// round(x / q) for odd q.
    fn rounded(x: &BigInt, q: &BigInt) -> BigInt {
        (x * 2u32 + q).div_floor(&(q * 2u32))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn division_rounds(basis in bases(), seed: u64) {
            let x = polynomial(&basis, seed);
            let Some(lower) = basis.without_last() else {
                prop_assert!(x.divide_by_last().is_none());
                prop_assert!(x.into_evaluations().divide_by_last().is_none());
                return Ok(());
            };
            let last = BigInt::from(basis.moduli().next_back().unwrap().value());
            let quotients: Vec<_> = compose(&x).iter().map(|x| rounded(x, &last)).collect();
            let quotient = x.divide_by_last().unwrap();
            prop_assert_eq!(quotient.basis(), &lower);
            prop_assert_eq!(&quotient, &decompose(&lower, &quotients));
            let evaluated = x.into_evaluations().divide_by_last().unwrap();
            prop_assert_eq!(evaluated.into_coefficients(), quotient);
        }

        #[test]
        fn division_by_several_primes_rounds(from in bases(), skip in 6..9usize, choice in Choice::any(), seed: u64) {
            let to = basis(&[50, 36, 40], skip, choice);
            let conversion = Conversion::new(&from, &to);
            let (low, high) = (polynomial(&from, seed), polynomial(&to, !seed));
            let divisor: BigInt = from.moduli().map(|q| BigInt::from(q.value())).product();
            let factor: BigInt = to.moduli().map(|q| BigInt::from(q.value())).product();
            // One of the x with both residues; which one is no matter modulo P.
            let inverse = (&divisor).mod_inverse(&factor).expect("coprime");
            let joined = compose(&low).into_iter().zip(compose(&high)).map(|(low, high)| {
                let steps = ((high - &low) * &inverse).mod_floor(&factor);
                low + &divisor * steps
            });
            let expected: Vec<_> = joined.map(|x| rounded(&x, &divisor)).collect();
            let quotient = conversion.divide(&low, high.into_evaluations()).into_coefficients();
            prop_assert_eq!(quotient, decompose(&to, &expected));
            let switched = compose(&low).iter().map(|x| rounded(&(x * &factor), &divisor)).collect::<Vec<_>>();
            prop_assert_eq!(conversion.switch(&low), decompose(&to, &switched));
        }

        #[test]
        fn quotients_are_those_of_integers(
            start in 0..3usize, len in 1..4usize, choice in Choice::any(), seed: u64,
        ) {
            let from = basis(&WIDTHS, 0, choice);
            let (count, kept) = (WIDTHS.len(), start..start + len);
            let division = Division::new(&from, kept.clone());
            let divisor = product(&from, (0..kept.start).chain(kept.end..count));
            let x = polynomial(&from, seed);
            let quotients: Vec<_> = compose(&x).iter().map(|x| rounded(x, &divisor)).collect();
            let expected = decompose(&from.part(kept.clone()), &quotients);
            let x = x.into_evaluations();
            prop_assert_eq!(division.divide(x.clone()).into_coefficients(), expected);

            // x + P·y, added before.
            let front = product(&from, 0..kept.start);
            let y: Poly<Coefficients> = polynomial(&from.part(kept.start..count), !seed);
            let raised: Vec<_> = compose(&y).iter().map(|y| y * &front).collect();
            let mut sum = x.clone();
            sum += &decompose(&from, &raised).into_evaluations();
            let [quotient, other] = division.quotients([(x.clone(), Some(&y.into_evaluations())), (x.clone(), None)]);
            prop_assert_eq!([quotient, other], [sum, x].map(|x| division.divide(x)));
        }

        #[test]
        fn by_the_last_prime_it_is_division_by_the_last_prime(seed: u64) {
            let from = basis(&WIDTHS[..4], 0, Choice::Best);
            let x = polynomial(&from, seed).into_evaluations();
            let quotient = Division::new(&from, 0..3).divide(x.clone());
            prop_assert_eq!(Some(quotient), x.divide_by_last());
        }
    }

    #[test]
    #[should_panic(expected = "a prime to divide by")]
    fn a_shared_prime_is_not_divided_by() {
        let basis = basis(&[36, 50], 0, Choice::Best);
        let _ = Conversion::new(&basis, &basis.without_last().unwrap()).switch(&Poly::zero(&basis));
    }
}
