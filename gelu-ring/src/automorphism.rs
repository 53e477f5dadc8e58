//! The maps a(X) → a(X^g) for odd g, which rotate and conjugate what schemes pack into a polynomial.
//!
//! ```text
//! apply(a + b) = apply(a) + apply(b)            apply(a)(X) = a(X^g)
//! apply(a · b) = apply(a) · apply(b)            g after h is g·h modulo 2N
//! ```
//!
//! By evaluations it is a permutation, as a(X^g) has at ψ^e the value of a at ψ^(g·e). Span s holds the
//! exponents f + t·N/8 for an f < N/8 and all t < 16. Times g, they are g·t·N/8 + g·f = f' + (g·t + c)·N/8
//! modulo 2N, for an f' < N/8 and a c < 16: those of another span, in an order which depends on c alone.

use std::fmt;

use crate::basis::{DEGREES, Prime};
use crate::memory::Row;
use crate::ntt::{SPAN, SPAN_ORDER, bit_reversed, exponent};
use crate::poly::{Evaluations, Poly};

/// A map a(X) → a(X^g), ready to be applied.
pub struct Automorphism {
    degree: usize,
    power: usize,
    permutation: Permutation,
}

/// A permutation of a row that moves whole spans.
pub(crate) struct Permutation {
    /// For each span, the span that it takes, and which order.
    pub(crate) sources: Vec<(usize, usize)>,
    /// Each c's: for each place of a span, the place that it takes.
    pub(crate) orders: [[u64; SPAN]; SPAN],
}

impl Automorphism {
    /// a(X) → a(X^`power`) modulo X^N + 1, for N = `degree`.
    ///
    /// # Panics
    /// Unless the degree is a power of two in [`DEGREES`], and the power is odd.
    #[must_use]
    pub fn new(degree: usize, power: usize) -> Self {
        assert!(degree.is_power_of_two() && DEGREES.contains(&degree), "the degree {degree}");
        assert!(power % 2 == 1, "the power {power} of X is not odd");
        let power = power % (2 * degree);
        let source = |span| {
            let taken = power * exponent(span * SPAN, degree) % (2 * degree);
            let (c, first) = (taken / (degree / 8), taken % (degree / 8));
            (bit_reversed(first / 2, degree / SPAN), c)
        };
        let sources = (0..degree / SPAN).map(source).collect();
        let orders = std::array::from_fn(|c| {
            SPAN_ORDER.map(|i| {
                let t = (power * bit_reversed(i, SPAN) + c) % SPAN;
                let place = SPAN_ORDER.iter().position(|&i| i == bit_reversed(t, SPAN));
                place.expect("a permutation") as u64
            })
        });
        Self { degree, power, permutation: Permutation { sources, orders } }
    }

    /// a(X^g).
    ///
    /// # Panics
    /// When a has another degree.
    #[must_use]
    pub fn apply(&self, a: &Poly<Evaluations>) -> Poly<Evaluations> {
        self.check(a);
        let rows = a.basis().primes().iter().zip(a.rows());
        Poly::of(a.basis(), rows.map(|(prime, row)| self.row(prime, row)).collect())
    }

    /// The same of an a that is not needed any more, and public: its rows are used again on the way.
    ///
    /// # Panics
    /// When a has another degree.
    #[must_use]
    pub fn apply_to(&self, a: Poly<Evaluations>) -> Poly<Evaluations> {
        self.check(&a);
        let basis = a.basis().clone();
        let rows = basis.primes().iter().zip(a.into_rows());
        Poly::of(&basis, rows.map(|(prime, row)| self.row(prime, &row)).collect())
    }

    fn row(&self, prime: &Prime, row: &Row) -> Row {
        let mut out = row.another();
        prime.kernel.permute(&mut out, row, &self.permutation);
        out
    }

    fn check(&self, a: &Poly<Evaluations>) {
        assert_eq!(a.basis().degree(), self.degree, "the degree of a polynomial to map");
    }
}

impl fmt::Debug for Automorphism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Automorphism(X → X^{}, degree {})", self.power, self.degree)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::basis::Basis;
    use crate::kernel::Choice;
    use crate::modulus::Modulus;
    use crate::poly::Coefficients;
    use crate::primes::descending;
    use crate::sample::uniform;

    fn basis(degree: usize, choice: Choice) -> Basis {
        let primes: Vec<_> = descending(36, degree).take(2).map(Modulus::value).collect();
        Basis::with(degree, &primes, choice).unwrap()
    }

    /// By the definition: the coefficient of X^j goes to X^(g·j), where X^N is −1.
    fn plain(a: &Poly<Coefficients>, power: usize) -> Poly<Coefficients> {
        let (n, moduli) = (a.basis().degree(), a.basis().moduli().collect::<Vec<_>>());
        Poly::from_residues(a.basis(), |prime, out| {
            for (j, &c) in a.residues(prime).iter().enumerate() {
                let to = j * (power % (2 * n)) % (2 * n);
                out[to % n] = if to < n { c } else { moduli[prime].neg(c) };
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn coefficients_go_where_the_definition_says(log in 11..=14u32, half in 0..1usize << 20) {
            let (n, power) = (1 << log, 2 * half + 1);
            for choice in Choice::ALL {
                let a = uniform(&basis(n, choice), &[1; 32], half as u64);
                let map = Automorphism::new(n, power);
                let mapped = map.apply(&a);
                prop_assert_eq!(&map.apply_to(a.clone()), &mapped);
                prop_assert_eq!(mapped.into_coefficients(), plain(&a.into_coefficients(), power));
            }
        }

        #[test]
        fn one_after_the_other_is_their_product(g in 0..1usize << 12, h in 0..1usize << 12) {
            let (n, g, h) = (1 << 11, 2 * g + 1, 2 * h + 1);
            let a = uniform(&basis(n, Choice::Best), &[2; 32], 0);
            let map = |power, a: &_| Automorphism::new(n, power).apply(a);
            let after = map(h, &a);
            prop_assert_eq!(map(g, &after), map(g * h, &a));
        }
    }

    #[test]
    fn edges_of_powers_and_degrees_are_mapped() {
        for n in [1 << 11, 1 << 16] {
            let a = uniform(&basis(n, Choice::Best), &[3; 32], 0);
            assert_eq!(Automorphism::new(n, 1).apply(&a), a);
            for power in [5, n - 1, n + 1, 2 * n - 1, 2 * n + 1, usize::MAX] {
                let mapped = Automorphism::new(n, power).apply(&a).into_coefficients();
                assert_eq!(mapped, plain(&a.clone().into_coefficients(), power), "{power}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "is not odd")]
    fn even_powers_are_no_automorphisms() {
        let _ = Automorphism::new(1 << 11, 4);
    }
}
