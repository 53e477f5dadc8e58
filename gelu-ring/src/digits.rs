//! Digits of a polynomial by groups of primes, over more primes: what switches keys.
//!
//! Let Q = D₀·D₁·… be a product of groups of primes, and P one of further primes. The digits of x are small numbers
//! dⱼ ≡ x mod Dⱼ, and with the constants gⱼ that are P modulo the primes of Dⱼ and 0 modulo all others, P too,
//!
//! ```text
//! Σⱼ dⱼ·gⱼ  =  P·x          modulo P·Q
//! |dⱼ|      ≤  k/2·Dⱼ       for the k primes of a group, centred digits; 1/2·Dⱼ for one prime
//! ```
//! So when key number j is an encryption of gⱼ·s′, Σ dⱼ·keyⱼ is one of P·x·s′, and its noise the keys' times digits,
//! which a [division](crate::quotient) by P takes away: the hybrid key switching of Gentry, Halevi and Smart
//! (*Homomorphic evaluation of the AES circuit*, CRYPTO 2012), in residues (Han and Ki, *Better bootstrapping for
//! approximate homomorphic encryption*, CT-RSA 2020).
//!
//! # Cost
//! With l + 1 primes in Q, k in P and β groups: l + 1 inverse transforms, and β·(l + 1 + k) − (l + 1) forward ones, as
//! modulo the primes of a group the digit is x itself.

use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::basis::{Basis, Prime};
use crate::memory::Row;
use crate::modulus::Modulus;
use crate::packed::Packed;
use crate::poly::{Evaluations, Poly};
use crate::rns::Conversion;

/// How polynomials over the primes of Q are taken to digits over those of P·Q.
pub struct Decomposition {
    to: Basis,
    from: Basis,
    /// Primes of P, which come first.
    special: usize,
    groups: Vec<Group>,
}

struct Group {
    /// Its primes, as places in P·Q.
    places: Range<usize>,
    conversion: Conversion,
}

/// The digits of a polynomial.
pub struct Digits {
    to: Basis,
    /// For each prime of P·Q, a row of each digit.
    rows: Vec<Vec<Row>>,
}

impl Decomposition {
    /// For P·Q = `to`, whose first `special` primes are those of P, and groups of `size` primes in their order, of
    /// which the last may be smaller.
    ///
    /// # Panics
    /// When a group or Q is empty.
    #[must_use]
    pub fn new(to: &Basis, special: usize, size: usize) -> Self {
        let count = to.moduli().len();
        assert!(special < count && size > 0, "no primes to decompose by");
        let group = |first: usize| {
            let places = first..count.min(first + size);
            Group { conversion: Conversion::new(&to.part(places.clone()), to), places }
        };
        let groups = (special..count).step_by(size).map(group).collect();
        Self { to: to.clone(), from: to.part(special..count), special, groups }
    }

    /// The number of digits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// False: there is a digit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The primes of P·Q.
    #[must_use]
    pub fn target(&self) -> &Basis {
        &self.to
    }

    /// gⱼ modulo the primes of P·Q: P for those of group j, else 0.
    ///
    /// # Panics
    /// When there is no group j.
    #[must_use]
    pub fn gadget(&self, j: usize) -> Vec<u64> {
        let residue = |(place, q): (usize, Modulus)| match self.groups[j].places.contains(&place) {
            true => q.product(self.to.moduli().take(self.special)),
            false => 0,
        };
        self.to.moduli().enumerate().map(residue).collect()
    }

    /// The digits of x, to be used more than once.
    ///
    /// # Panics
    /// When x is not over the primes of Q.
    #[must_use]
    pub fn digits(&self, x: &Poly<Evaluations>) -> Digits {
        let converted = self.convert(x);
        let rows = self.to.primes().iter().enumerate().map(|(place, prime)| {
            let rows = self.groups.iter().zip(&converted).map(|(group, digits)| {
                let mut row = self.to.pool().row();
                match group.places.contains(&place) {
                    true => row.copy_from_slice(&x.rows()[place - self.special]),
                    false => group.conversion.fast_row(place, digits, &mut row),
                }
                row
            });
            let mut rows: Vec<Row> = rows.collect();
            self.forward(place, prime, &mut rows);
            rows
        });
        Digits { to: self.to.clone(), rows: rows.collect() }
    }

    /// Σ dⱼ·keys\[2j + i\] for both i, as by [`digits`](Self::digits), of which no more than one prime's are in memory
    /// at a time. Keys may have further primes after those of P·Q, and there may be more keys than digits.
    ///
    /// # Panics
    /// When x is not over the primes of Q, the keys' do not begin with those of P·Q, or there are too few keys.
    #[must_use]
    pub fn inner_products(&self, x: &Poly<Evaluations>, keys: &Packed) -> [Poly<Evaluations>; 2] {
        check(&self.to, self.len(), keys);
        let converted = self.convert(x);
        let mut scratch: Vec<Row> = self.groups.iter().map(|_| self.to.pool().row()).collect();
        let mut rows = [Vec::new(), Vec::new()];
        for (place, prime) in self.to.primes().iter().enumerate() {
            for ((group, digits), row) in self.groups.iter().zip(&converted).zip(&mut scratch) {
                if !group.places.contains(&place) {
                    group.conversion.fast_row(place, digits, row);
                }
            }
            self.forward(place, prime, &mut scratch);
            let digits = self.groups.iter().zip(&scratch).map(|(group, row)| {
                match group.places.contains(&place) {
                    true => &*x.rows()[place - self.special],
                    false => &**row,
                }
            });
            let sums = inner_products(&self.to, place, digits, keys);
            rows.iter_mut().zip(sums).for_each(|(rows, sum)| rows.push(sum));
        }
        rows.map(|rows| Poly::of(&self.to, rows))
    }

    /// The digits of each group modulo its own primes.
    fn convert(&self, x: &Poly<Evaluations>) -> Vec<Vec<Zeroizing<Row>>> {
        assert_eq!(*x.basis(), self.from, "the basis of a polynomial to decompose");
        let mut rows = x.clone().into_coefficients().into_rows().into_iter().map(Zeroizing::new);
        let digits = self.groups.iter().map(|group| {
            group.conversion.fast_digits(rows.by_ref().take(group.places.len()).collect())
        });
        digits.collect()
    }

    /// Transforms the rows of all groups but the one that has the prime, where x is by evaluations already.
    fn forward(&self, place: usize, prime: &Prime, rows: &mut [Row]) {
        let converted =
            self.groups.iter().zip(rows).filter(|(group, _)| !group.places.contains(&place));
        prime.kernel.forward(&mut converted.map(|(_, row)| &mut **row).collect::<Vec<_>>());
    }
}

impl Digits {
    /// Σ dⱼ·keys\[2j + i\] over P·Q for both i.
    ///
    /// # Panics
    /// When the primes of the keys do not begin with those of P·Q, or there are too few keys.
    #[must_use]
    pub fn inner_products(&self, keys: &Packed) -> [Poly<Evaluations>; 2] {
        check(&self.to, self.rows[0].len(), keys);
        let mut rows = [Vec::new(), Vec::new()];
        for (place, digits) in self.rows.iter().enumerate() {
            let sums = inner_products(&self.to, place, digits.iter().map(|row| &**row), keys);
            rows.iter_mut().zip(sums).for_each(|(rows, sum)| rows.push(sum));
        }
        rows.map(|rows| Poly::of(&self.to, rows))
    }
}

fn check(to: &Basis, digits: usize, keys: &Packed) {
    assert!(keys.len() >= 2 * digits, "{} keys for {digits} digits", keys.len());
    assert!(keys.basis().begins_with(to), "the primes of a key");
}

/// Row `place` of Σ dⱼ·keys\[2j + i\].
fn inner_products<'a>(
    to: &Basis,
    place: usize,
    digits: impl Iterator<Item = &'a [u64]>,
    keys: &Packed,
) -> [Row; 2] {
    let mut out = [to.pool().row(), to.pool().row()];
    let [b, a] = &mut out;
    let digits: Vec<_> = digits.collect();
    to.primes()[place].kernel.sums_with_pairs([b, a], &digits, keys.stream(place));
    out
}

impl fmt::Debug for Decomposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.groups.len();
        f.debug_struct("Decomposition").field("to", &self.to).field("digits", &digits).finish()
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits over {:?}", self.rows[0].len(), self.to)
    }
}

#[cfg(test)]
mod tests {
    use num_bigint_dig::BigInt;
    use num_traits::{Signed, Zero};
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::rns::tests::{basis, compose, polynomial};
    use crate::sample::uniform;

    /// One or two special primes, then Q, of different widths: lifted, and converted.
    const WIDTHS: [u32; 7] = [50, 47, 47, 36, 36, 36, 30];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn digits_times_the_gadget_are_p_times_x(
            special in 1..3usize, size in 1..4usize, choice in Choice::any(), seed: u64,
        ) {
            let to = basis(&WIDTHS, 0, choice);
            let decomposition = Decomposition::new(&to, special, size);
            let x = polynomial(&to.part(special..WIDTHS.len()), seed);
            let p: BigInt = to.moduli().take(special).map(|p| BigInt::from(p.value())).product();
            let pq: BigInt = to.moduli().map(|p| BigInt::from(p.value())).product();

            let x_evaluated = x.clone().into_evaluations();
            let digits = decomposition.digits(&x_evaluated);
            let gadget = (0..decomposition.len()).map(|j| {
                let mut one = vec![0; to.degree()];
                one[0] = 1;
                let mut g = Poly::from_words(&to, &one).into_evaluations();
                g.scale(&decomposition.gadget(j));
                g
            });
            let gadget: Vec<_> = gadget.collect();
            let pairs = Packed::new(&to, 2 * gadget.len(), |i| gadget[i / 2].clone());
            let [sum, same] = digits.inner_products(&pairs);
            prop_assert_eq!(&sum, &same);
            let sum = sum.into_coefficients();
            for (x, sum) in compose(&x).iter().zip(compose(&sum)) {
                prop_assert!(((x * &p - sum) % &pq).is_zero());
            }

            // Each digit is small, and x modulo its group.
            for (j, group) in decomposition.groups.iter().enumerate() {
                let rows = digits.rows.iter().map(|row| row[j].clone()).collect();
                let digit = compose(&Poly::of(&to, rows).into_coefficients());
                let d: BigInt = group.places.clone().map(|i| to.primes()[i].modulus.value()).map(BigInt::from).product();
                for (x, digit) in compose(&x).iter().zip(&digit) {
                    prop_assert!(((x - digit) % &d).is_zero());
                    prop_assert!(digit.abs() * 2u32 <= &d * group.places.len());
                }
            }
        }

        /// The streaming sum against the plain one and against products of polynomials, with longer keys.
        #[test]
        fn sums_are_the_same_digit_by_digit_and_prime_by_prime(
            size in 1..4usize, choice in Choice::any(), seed: u64,
        ) {
            let all = basis(&WIDTHS, 0, choice);
            let to = all.part(0..6);
            let decomposition = Decomposition::new(&to, 1, size);
            let x = polynomial(&to.part(1..6), seed).into_evaluations();
            let key = |i: usize| uniform(&all, &[3; 32], seed ^ i as u64);
            let keys = Packed::new(&all, 12, key);
            let digits = decomposition.digits(&x);
            let sums = digits.inner_products(&keys);
            prop_assert_eq!(&sums, &decomposition.inner_products(&x, &keys));
            for (k, sum) in sums.iter().enumerate() {
                let mut expected = Poly::zero(&to);
                for j in 0..decomposition.len() {
                    let rows = digits.rows.iter().map(|row| row[j].clone()).collect();
                    expected += &(&Poly::of(&to, rows) * &key(2 * j + k).part(0..6));
                }
                prop_assert_eq!(sum, &expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "the primes of a key")]
    fn keys_of_other_primes_are_refused() {
        let all = basis(&WIDTHS, 0, Choice::Best);
        let decomposition = Decomposition::new(&all, 1, 6);
        let x = uniform(&all.part(1..7), &[1; 32], 0);
        let keys = Packed::new(&all.part(1..7), 2, |_| x.clone());
        let _ = decomposition.digits(&x).inner_products(&keys);
    }
}
