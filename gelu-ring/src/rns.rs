//! Residues modulo several primes: Q = q₀·q₁·…, and a number by its residues.
//!
//! By the Chinese remainder theorem, arithmetic modulo Q is arithmetic modulo each prime. What is not
//! arithmetic modulo Q, a change of primes and [rounding](crate::quotient), is done on the *centred* representative:
//! the x with |x| ≤ (Q − 1)/2.
//!
//! A centred number modulo one prime q, with h = (q − 1)/2, is e − h for the residue e = x + h: so what is linear
//! in centred numbers is linear in residues, up to a constant, and each step is one linear combination of rows.

use std::fmt;

use zeroize::Zeroizing;

use crate::basis::{Basis, Prime};
use crate::memory::Row;
use crate::modulus::Modulus;
use crate::poly::{Coefficients, Poly};

impl Poly<Coefficients> {
    /// The centred integers themselves; `None` when Q is 2^126 or more. In the same time for all of them.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i128>> {
        let mut product = 1i128;
        let mut steps = Vec::new();
        for (i, q) in self.basis().moduli().enumerate() {
            // Of x modulo the primes before q, x + d·product is right modulo q as well.
            steps.push((q, q.inverse(q.reduce_signed(product)), product, self.residues(i)));
            product = product.checked_mul(q.value().into()).filter(|p| p >> 126 == 0)?;
        }
        let integer = |j: usize| {
            steps.iter().fold(0, |x, &(q, inverse, product, row)| {
                let missing = q.sub(row[j], q.reduce_signed(x));
                x + product * i128::from(q.centre(q.mul(missing, inverse)))
            })
        };
        Some((0..self.basis().degree()).map(integer).collect())
    }
}

/// A change of primes: x modulo Q to x modulo P.
pub struct Conversion {
    from: Basis,
    to: Basis,
    /// (Q/qᵢ)⁻¹ modulo qᵢ.
    inverses: Vec<u64>,
    fast: Weights,
    exact: Weights,
    /// Entry i gives digit i modulo qᵢ, of the digits before it and x.
    mixed: Weights,
    /// Q⁻¹ modulo each prime of P, and −P modulo each of Q; 0 for a prime that both have.
    pub(crate) inverse: Vec<u64>,
    pub(crate) minus_target: Vec<u64>,
}

/// For each prime, the sum that gives the residue.
type Weights = Vec<Weight>;

/// The constant −Σ hᵢ·wᵢ and the factors wᵢ: Σ (eᵢ − hᵢ)·wᵢ as one combination of the eᵢ.
struct Weight {
    constant: u64,
    factors: Vec<u64>,
    /// Where there is one e, and e − h is above −p and below p: that is h.
    lift: Option<u64>,
}

impl Weight {
    /// Modulo p, with wᵢ the product of the primes that `factors` gives for i.
    fn new<I>(p: Modulus, from: &[Modulus], factors: impl Fn(usize) -> I) -> Self
    where
        I: Iterator<Item = Modulus>,
    {
        let factors: Vec<_> = (0..from.len()).map(|i| p.product(factors(i))).collect();
        let constant =
            factors.iter().zip(from).fold(0, |sum, (&w, &q)| p.sub(sum, p.mul(w, q.value() / 2)));
        let one = from.first().filter(|_| from.len() == 1).map(|q| q.value() / 2);
        Self { constant, factors, lift: one.filter(|&h| h < p.value()) }
    }

    /// The sum times c, modulo p.
    fn times(&self, p: Modulus, c: u64) -> Self {
        let factors = self.factors.iter().map(|&w| p.mul(w, c)).collect();
        Self { constant: p.mul(self.constant, c), factors, lift: None }
    }

    fn apply(&self, prime: &Prime, shifted: &[Zeroizing<Row>], out: &mut [u64]) {
        if let (Some(h), [row]) = (self.lift, shifted) {
            return prime.kernel.lift(out, row, h);
        }
        let rows = shifted.iter().map(|row| &***row);
        let terms: Vec<(&[u64], u64)> = rows.zip(self.factors.iter().copied()).collect();
        prime.kernel.combine(out, self.constant, &terms);
    }
}

impl Conversion {
    /// From one basis to another of the same degree. They may share primes.
    ///
    /// # Panics
    /// When the degrees differ.
    #[must_use]
    pub fn new(from: &Basis, to: &Basis) -> Self {
        assert_eq!(from.degree(), to.degree(), "the degrees of two bases");
        let q: Vec<_> = from.moduli().collect();
        let before = |i: usize| q[..i].iter().copied();
        let others = |i: usize| before(i).chain(q[i + 1..].iter().copied());
        let inverses = (0..q.len()).map(|i| q[i].inverse(q[i].product(others(i)))).collect();
        let fast = to.moduli().map(|p| Weight::new(p, &q, others)).collect();
        let exact = to.moduli().map(|p| Weight::new(p, &q, before)).collect();
        let mixed = (0..q.len()).map(|i| {
            // d = (x − Σ dⱼ·q₀·…·qⱼ₋₁) / (q₀·…·qᵢ₋₁), kept as d + h.
            let (modulus, lower) = (q[i], &q[..i]);
            let inverse = modulus.inverse(modulus.product(before(i)));
            let mut weight =
                Weight::new(modulus, lower, before).times(modulus, modulus.neg(inverse));
            weight.constant = modulus.add(weight.constant, modulus.value() / 2);
            weight.factors.push(inverse);
            weight
        });
        let mixed = mixed.collect();
        let inverse = to.moduli().map(|p| p.inverse(p.product(from.moduli()))).collect();
        let minus_target = q.iter().map(|q| q.neg(q.product(to.moduli()))).collect();
        let (from, to) = (from.clone(), to.clone());
        Self { from, to, inverses, fast, exact, mixed, inverse, minus_target }
    }

    /// The centred x, exactly: for the k primes of `from`, about k²/2 more products a coefficient than
    /// [`fast`](Self::fast).
    ///
    /// By *balanced mixed radix*: x = d₀ + d₁·q₀ + d₂·q₀·q₁ + …, with centred digits |dᵢ| ≤ (qᵢ − 1)/2, is
    /// unique, and reaches from −(Q − 1)/2 to (Q − 1)/2: no digit is estimated and nothing compared.
    ///
    /// # Panics
    /// When x is not over `from`.
    #[must_use]
    pub fn exact(&self, x: &Poly<Coefficients>) -> Poly<Coefficients> {
        self.check(x);
        self.assemble(&self.exact, &self.exact_digits(scratch(x.rows())))
    }

    /// The digits of [`exact`](Self::exact), each as d + h, in the memory of x.
    pub(crate) fn exact_digits(&self, mut x: Vec<Zeroizing<Row>>) -> Vec<Zeroizing<Row>> {
        for (i, (prime, weight)) in self.from.primes().iter().zip(&self.mixed).enumerate() {
            let (digits, rest) = x.split_at_mut(i);
            let (own, factors) = weight.factors.split_last().expect("its own");
            let digits = digits.iter().map(|row| &***row);
            let terms: Vec<_> = digits.zip(factors.iter().copied()).collect();
            prime.kernel.update(&mut rest[0], *own, weight.constant, &terms);
        }
        x
    }

    /// Row `i` of [`exact`](Self::exact), from its digits.
    pub(crate) fn exact_row(&self, i: usize, digits: &[Zeroizing<Row>], out: &mut [u64]) {
        self.exact[i].apply(&self.to.primes()[i], digits, out);
    }

    /// x + u·Q for the centred x and an integer |u| ≤ k/2 that depends on the coefficient, for the k
    /// primes of `from`.
    ///
    /// With yᵢ = x·(Q/qᵢ)⁻¹ modulo qᵢ, x is Σ yᵢ·Q/qᵢ modulo Q, and the sum's size is below k·Q/2 as the
    /// digits yᵢ are centred. Their signs even out: over random x, u has mean 0 and variance about k/12.
    ///
    /// # Panics
    /// When x is not over `from`.
    #[must_use]
    pub fn fast(&self, x: &Poly<Coefficients>) -> Poly<Coefficients> {
        self.check(x);
        self.assemble(&self.fast, &self.fast_digits(scratch(x.rows())))
    }

    /// The digits of [`fast`](Self::fast), each as y + h, in the memory of x.
    pub(crate) fn fast_digits(&self, mut x: Vec<Zeroizing<Row>>) -> Vec<Zeroizing<Row>> {
        for ((prime, row), &inverse) in self.from.primes().iter().zip(&mut x).zip(&self.inverses) {
            let half = prime.modulus.value() / 2;
            match inverse {
                1 => prime.kernel.shift(row, half),
                _ => prime.kernel.update(row, inverse, half, &[]),
            }
        }
        x
    }

    /// Row `i` of [`fast`](Self::fast), from its digits.
    pub(crate) fn fast_row(&self, i: usize, digits: &[Zeroizing<Row>], out: &mut [u64]) {
        self.fast[i].apply(&self.to.primes()[i], digits, out);
    }

    fn check(&self, x: &Poly<Coefficients>) {
        assert_eq!(*x.basis(), self.from, "the basis of a polynomial to convert");
    }

    fn assemble(&self, weights: &Weights, digits: &[Zeroizing<Row>]) -> Poly<Coefficients> {
        let rows = self.to.primes().iter().zip(weights).map(|(prime, weight)| {
            let mut out = self.to.pool().row();
            weight.apply(prime, digits, &mut out);
            out
        });
        Poly::of(&self.to, rows.collect())
    }
}

/// Copies that are wiped on drop.
fn scratch(rows: &[Row]) -> Vec<Zeroizing<Row>> {
    rows.iter().cloned().map(Zeroizing::new).collect()
}

impl fmt::Debug for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversion").field("from", &self.from).field("to", &self.to).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use num_bigint_dig::{BigInt, ModInverse};
    use num_integer::Integer;
    use num_traits::{One, Signed, ToPrimitive, Zero};
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::primes::descending;
    use crate::testing::residues;

    const N: usize = 1 << 11;

    /// The centred integers that a polynomial's residues stand for.
    pub(crate) fn compose(x: &Poly<Coefficients>) -> Vec<BigInt> {
        let primes: Vec<_> = x.basis().moduli().map(|q| BigInt::from(q.value())).collect();
        let product: BigInt = primes.iter().product();
        let units: Vec<BigInt> = primes
            .iter()
            .map(|q| {
                let other = &product / q;
                let inverse = (&other).mod_inverse(q).expect("primes");
                other * inverse
            })
            .collect();
        let integer = |i: usize| {
            let terms = units.iter().enumerate().map(|(j, unit)| unit * x.residues(j)[i]);
            let x = terms.sum::<BigInt>().mod_floor(&product);
            if &x * 2 > product { x - &product } else { x }
        };
        (0..x.basis().degree()).map(integer).collect()
    }

    /// The polynomial of these integers.
    pub(crate) fn decompose(basis: &Basis, x: &[BigInt]) -> Poly<Coefficients> {
        let rows = basis.moduli().map(|q| {
            let mut row = basis.pool().row();
            let residue = |x: &BigInt| x.mod_floor(&q.value().into()).to_u64().expect("a residue");
            row.iter_mut().zip(x).for_each(|(out, x)| *out = residue(x));
            row
        });
        Poly::of(basis, rows.collect())
    }

    /// A basis of primes of these widths.
    pub(crate) fn basis(bits: &[u32], skip: usize, choice: Choice) -> Basis {
        let mut primes: Vec<u64> = Vec::new();
        for &bits in bits {
            let mut fresh = descending(bits, N).map(Modulus::value).skip(skip);
            primes.push(fresh.find(|q| !primes.contains(q)).expect("enough primes"));
        }
        Basis::with(N, &primes, choice).unwrap()
    }

    pub(crate) fn bases() -> impl Strategy<Value = Basis> {
        let bits = proptest::collection::vec(proptest::sample::select(vec![30, 36, 47, 50]), 1..6);
        (bits, Choice::any()).prop_map(|(bits, choice)| basis(&bits, 0, choice))
    }

    /// Edges of the centred range first, then random residues.
    pub(crate) fn polynomial(basis: &Basis, seed: u64) -> Poly<Coefficients> {
        let mut x = random(basis, seed);
        let product: BigInt = basis.moduli().map(|q| BigInt::from(q.value())).product();
        let half: BigInt = (&product - 1u32) / 2u32;
        let edges = [BigInt::zero(), BigInt::one(), -BigInt::one(), half.clone(), -half];
        let edges = decompose(basis, &[edges.to_vec(), vec![BigInt::zero(); N - 5]].concat());
        for (row, edges) in x.iter_mut().zip(edges.rows()) {
            row[..5].copy_from_slice(&edges[..5]);
        }
        Poly::of(basis, x)
    }

    fn random(basis: &Basis, seed: u64) -> Vec<Row> {
        let row = |q: Modulus| {
            let mut row = basis.pool().row();
            row.copy_from_slice(&residues(q, N, seed ^ q.value()));
            row
        };
        basis.moduli().map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn integers_come_back(basis in bases(), seed: u64) {
            let x = polynomial(&basis, seed);
            prop_assert_eq!(decompose(&basis, &compose(&x)), x);
        }

        #[test]
        fn exact_conversion_keeps_the_centred_integer(from in bases(), skip in 0..4usize, seed: u64) {
            let to = basis(&[50, 33, 40], skip, Choice::Best);
            let x = polynomial(&from, seed);
            let converted = Conversion::new(&from, &to).exact(&x);
            prop_assert_eq!(converted, decompose(&to, &compose(&x)));
        }

        #[test]
        fn integers_are_those_of_the_oracle(basis in bases(), seed: u64) {
            let x = polynomial(&basis, seed);
            let product: BigInt = basis.moduli().map(|q| BigInt::from(q.value())).product();
            match x.integers() {
                Some(integers) => {
                    let integers: Vec<_> = integers.into_iter().map(BigInt::from).collect();
                    prop_assert_eq!(integers, compose(&x));
                }
                None => prop_assert!(product.bits() > 126),
            }
        }

        #[test]
        fn fast_conversion_adds_few_multiples(from in bases(), seed: u64) {
            // Wide enough to see the multiple.
            let to = basis(&[50; 8], 6, Choice::Best);
            let x = polynomial(&from, seed);
            let product: BigInt = from.moduli().map(|q| BigInt::from(q.value())).product();
            let converted = compose(&Conversion::new(&from, &to).fast(&x));
            for (x, y) in compose(&x).iter().zip(&converted) {
                let (multiple, rest) = (y - x).div_rem(&product);
                prop_assert!(rest.is_zero());
                prop_assert!(multiple.abs() * 2u32 <= BigInt::from(from.moduli().len()));
            }
        }
    }

    /// More digits than a kernel adds before it reduces.
    #[test]
    fn many_wide_primes_convert_exactly() {
        let wide: Vec<_> = descending(50, N).take(20).map(Modulus::value).collect();
        for choice in Choice::ALL {
            let from = Basis::with(N, &wide[..17], choice).unwrap();
            let to = Basis::with(N, &wide[15..], choice).unwrap();
            let x = polynomial(&from, 5);
            let exact = Conversion::new(&from, &to).exact(&x);
            assert_eq!(exact, decompose(&to, &compose(&x)));
            // The two primes that both have keep their residues.
            assert!((0..2).all(|i| exact.residues(i) == x.residues(15 + i)));
        }
    }

    #[test]
    fn residues_of_an_integer_are_its_own() {
        let basis = basis(&[30, 50], 0, Choice::Best);
        for x in [0, 1, -1, i128::MAX, i128::MIN] {
            for (residue, q) in basis.residues(x).into_iter().zip(basis.moduli()) {
                let expected = BigInt::from(x).mod_floor(&q.value().into());
                assert_eq!(BigInt::from(residue), expected);
            }
        }
    }
}
