//! Matrices of polynomials in X^step, times vectors of polynomials.
//!
//! ```text
//! product(a)[o]  =  Σ_i M[o][i] · a[i]        mod X^N + 1 and Q
//! ```
//!
//! A polynomial in X^step, r(X^step), has the value r(ψ^(step·e)) at ψ^e, which depends on e modulo 2N/step alone. The
//! exponents 2·rev(i) + 1 of `step` successive i agree in that, as the upper bits of i are the lower ones of
//! rev(i). So from a span upwards, step ≥ 16, its N evaluations are N/step different ones, each `step` times in
//! succession, and they are those of r by the transform of N/step values. Block by block, the product is one of a
//! small matrix of scalars and vectors of `step` residues. Below a span, weights are kept as polynomials.

use std::fmt;

use crate::basis::Basis;
use crate::kernel::weights::{Shape, Weights};
use crate::ntt::SPAN;
use crate::poly::{Evaluations, Poly};

/// A matrix of polynomials in X^step, ready to be multiplied by vectors of polynomials.
///
/// # Security
/// It holds the weights of a model, which are their owner's secret: `Debug` shows the shape alone. They are not
/// wiped on drop. The time of a product depends on the shape, and on whether all weights are constants of few bits (52
/// less those of a prime, or 49 with AVX2), for which it takes a half or a quarter of the time; on nothing else.
pub struct Matrix {
    basis: Basis,
    step: usize,
    outputs: usize,
    inputs: usize,
    entries: Entries,
}

enum Entries {
    /// For each prime.
    Scalars(Vec<Weights>),
    /// `outputs` rows of `inputs`.
    Polynomials(Vec<Poly<Evaluations>>),
}

impl Matrix {
    /// The matrix M with M\[o\]\[i\] = Σ_j c_j·X^(step·j), of the N/step coefficients c that `fill(o, i, c)`
    /// writes over zeros. Each entry is asked for once, in any order.
    ///
    /// # Panics
    /// Unless `step` is a power of two from 1 to N.
    #[must_use]
    pub fn new(
        basis: &Basis,
        step: usize,
        outputs: usize,
        inputs: usize,
        fill: impl FnMut(usize, usize, &mut [i64]),
    ) -> Self {
        let degree = basis.degree();
        assert!(step.is_power_of_two() && step <= degree, "a step of {step} for degree {degree}");
        let entries = if step < SPAN {
            Entries::Polynomials(polynomials(basis, step, outputs, inputs, fill))
        } else {
            let shape = Shape { outputs, inputs, blocks: degree / step };
            let coefficients = shape.coefficients(fill);
            let primes = basis.primes().iter();
            Entries::Scalars(
                primes.map(|prime| prime.kernel.weights(shape, &coefficients)).collect(),
            )
        };
        Self { basis: basis.clone(), step, outputs, inputs, entries }
    }

    /// out\[o\] = Σ_i M\[o\]\[i\]·inputs\[i\].
    ///
    /// # Panics
    /// When there are more or fewer inputs than columns, or they are over another basis.
    #[must_use]
    pub fn product<'a>(
        &self,
        inputs: impl IntoIterator<Item = &'a Poly<Evaluations>>,
    ) -> Vec<Poly<Evaluations>> {
        let inputs: Vec<_> = inputs.into_iter().collect();
        assert_eq!(inputs.len(), self.inputs, "the inputs of a matrix");
        assert!(inputs.iter().all(|a| *a.basis() == self.basis), "the bases of matrix and inputs");
        match &self.entries {
            Entries::Scalars(primes) => self.scalar_product(primes, &inputs),
            Entries::Polynomials(all) => {
                let output = |o: usize| {
                    let row = &all[o * self.inputs..][..self.inputs];
                    let mut sum = Poly::zero(&self.basis);
                    let terms = row.iter().zip(inputs.iter().copied());
                    sum.multiply_accumulate(&terms.collect::<Vec<_>>());
                    sum
                };
                (0..self.outputs).map(output).collect()
            }
        }
    }

    fn scalar_product(
        &self,
        weights: &[Weights],
        inputs: &[&Poly<Evaluations>],
    ) -> Vec<Poly<Evaluations>> {
        let mut outs: Vec<_> =
            (0..self.outputs).map(|_| Vec::with_capacity(weights.len())).collect();
        for (i, (prime, weights)) in self.basis.primes().iter().zip(weights).enumerate() {
            let mut rows: Vec<_> = outs.iter().map(|_| self.basis.pool().row()).collect();
            let mut slices: Vec<&mut [u64]> = rows.iter_mut().map(|row| &mut **row).collect();
            let inputs: Vec<_> = inputs.iter().map(|a| a.residues(i)).collect();
            prime.kernel.product(&mut slices, weights, &inputs);
            outs.iter_mut().zip(rows).for_each(|(out, row)| out.push(row));
        }
        outs.into_iter().map(|rows| Poly::of(&self.basis, rows)).collect()
    }
}

/// The entries, row by row.
fn polynomials(
    basis: &Basis,
    step: usize,
    outputs: usize,
    inputs: usize,
    mut fill: impl FnMut(usize, usize, &mut [i64]),
) -> Vec<Poly<Evaluations>> {
    let mut coefficients = vec![0; basis.degree() / step];
    let mut spread = vec![0; basis.degree()];
    let mut entry = |(o, i)| {
        coefficients.fill(0);
        fill(o, i, &mut coefficients);
        spread.iter_mut().step_by(step).zip(&coefficients).for_each(|(place, &c)| *place = c);
        Poly::from_signed(basis, &spread).into_evaluations()
    };
    (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))).map(&mut entry).collect()
}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, outputs, inputs, basis, .. } = self;
        write!(f, "Matrix of {outputs} x {inputs} polynomials in X^{step} over {basis:?}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::Choice;
    use crate::poly::Coefficients;
    use crate::primes::descending;
    use crate::testing::{residues, schoolbook};

    const N: usize = 1 << 11;

    fn basis(choice: Choice) -> Basis {
        let primes = [36, 46, 50].map(|bits| descending(bits, N).next().unwrap().value());
        Basis::with(N, &primes, choice).unwrap()
    }

    fn random(basis: &Basis, seed: u64) -> Poly<Coefficients> {
        let moduli: Vec<_> = basis.moduli().collect();
        Poly::from_residues(basis, |i, row| row.copy_from_slice(&residues(moduli[i], N, seed)))
    }

    /// Coefficients of so many bits that follow from a seed and the place.
    fn weights(seed: u64, bits: u32, o: usize, i: usize, out: &mut [i64]) {
        let q = descending(50, N).next().unwrap();
        let place = seed ^ ((o << 8 | i) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let words = residues(q, 2 * out.len(), place);
        for (out, word) in out.iter_mut().zip(words.as_chunks::<2>().0) {
            *out = (word[0] << 32 ^ word[1]).cast_signed() >> (64 - bits);
        }
    }

    /// M·a, each product by the schoolbook.
    fn plain(
        step: usize,
        outputs: usize,
        inputs: &[Poly<Coefficients>],
        mut fill: impl FnMut(usize, usize, &mut [i64]),
    ) -> Vec<Vec<Vec<u64>>> {
        let mut output = |o: usize| {
            let mut sums: Vec<Vec<u64>> = inputs[0].basis().moduli().map(|_| vec![0; N]).collect();
            for (i, a) in inputs.iter().enumerate() {
                let mut coefficients = vec![0; N / step];
                fill(o, i, &mut coefficients);
                for (prime, q) in a.basis().moduli().enumerate() {
                    let mut spread = vec![0; N];
                    for (j, &c) in coefficients.iter().enumerate() {
                        spread[j * step] = q.reduce_signed(c.into());
                    }
                    let product = schoolbook(q, &spread, a.residues(prime));
                    let sum = &mut sums[prime];
                    sum.iter_mut().zip(product).for_each(|(sum, x)| *sum = q.add(*sum, x));
                }
            }
            sums
        };
        (0..outputs).map(&mut output).collect()
    }

    fn rows(product: Vec<Poly<Evaluations>>) -> Vec<Vec<Vec<u64>>> {
        let poly = |p: Poly<Evaluations>| {
            let p = p.into_coefficients();
            (0..p.basis().moduli().len()).map(|i| p.residues(i).to_vec()).collect()
        };
        product.into_iter().map(poly).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_product_is_that_of_the_schoolbook(
            log in 0..=11u32, outputs in 1..4usize, count in 1..4usize, bits in 1..=64u32, seed: u64,
        ) {
            let step = 1 << log;
            let fill = |o: usize, i: usize, out: &mut [i64]| weights(seed, bits, o, i, out);
            for choice in Choice::ALL {
                let basis = basis(choice);
                let inputs: Vec<_> = (0..count as u64).map(|i| random(&basis, seed ^ i)).collect();
                let expected = plain(step, outputs, &inputs, fill);
                let inputs: Vec<_> = inputs.into_iter().map(Poly::into_evaluations).collect();
                let matrix = Matrix::new(&basis, step, outputs, count, fill);
                prop_assert_eq!(rows(matrix.product(&inputs)), expected);
            }
        }
    }

    /// Products of constants, on both sides of what is small for 36, 46 and 50 bits, and of the most that is added up.
    #[test]
    fn the_largest_weights_and_residues_do_not_overflow() {
        for choice in Choice::ALL {
            let basis = basis(choice);
            let constant = |c: i128| {
                let mut coefficients = vec![0; N];
                coefficients[0] = c;
                Poly::from_signed(&basis, &coefficients).into_evaluations()
            };
            let minus_one = constant(-1);
            for (step, count) in
                [(1, 3), (16, 7), (64, 40), (N, 7), (N, 2048), (N, 2049), (N, 4097)]
            {
                let inputs = vec![minus_one.clone(); count];
                let edges = [1 << 15, 1 << 12, 1 << 5, 1 << 2, 1 << 1, 0];
                let edges = edges.into_iter().flat_map(|k| [k - 1, k, -k, -k - 1]);
                for c in edges.chain([i64::MIN, i64::MAX]) {
                    let matrix = Matrix::new(&basis, step, 1, count, |_, _, out| out[0] = c);
                    let expected = constant(-i128::from(c) * count as i128);
                    assert_eq!(matrix.product(&inputs), [expected], "{step}, {count} times {c}");
                }
            }
        }
    }

    #[test]
    fn all_kernels_agree_in_every_size() {
        for step in [16, 32, 64, 256, N] {
            for (outputs, bits) in (1..=13).zip([64, 5].into_iter().cycle()) {
                let inputs = 14 - outputs;
                let products = Choice::ALL.map(|choice| {
                    let basis = basis(choice);
                    let vector: Vec<_> =
                        (0..inputs as u64).map(|i| random(&basis, i).into_evaluations()).collect();
                    let fill = |o: usize, i: usize, out: &mut [i64]| weights(9, bits, o, i, out);
                    Matrix::new(&basis, step, outputs, inputs, fill).product(&vector)
                });
                assert!(
                    products.iter().all(|p| *p == products[2]),
                    "step {step}, {outputs} x {inputs}"
                );
            }
        }
    }

    #[test]
    fn evaluations_of_a_polynomial_in_a_power_of_x_come_in_blocks() {
        let basis = basis(Choice::Best);
        for step in [16, 64, N] {
            let mut coefficients = vec![0i64; N];
            for (j, c) in coefficients.iter_mut().step_by(step).enumerate() {
                *c = 3 - (j as i64).pow(2);
            }
            let poly = Poly::from_signed(&basis, &coefficients).into_evaluations();
            for prime in 0..3 {
                let mut blocks = poly.residues(prime).chunks(step);
                assert!(blocks.all(|block| block.iter().all(|x| *x == block[0])), "{step}");
            }
        }
    }

    #[test]
    fn nothing_times_nothing_is_nothing() {
        for basis in Choice::ALL.map(basis) {
            let none = Matrix::new(&basis, 64, 2, 0, |_, _, _| unreachable!());
            assert_eq!(none.product(&[]), vec![Poly::zero(&basis); 2]);
            let none = Matrix::new(&basis, 64, 0, 1, |_, _, _| unreachable!());
            assert_eq!(none.product(&[Poly::zero(&basis)]), vec![]);
        }
    }

    #[test]
    fn no_weight_is_printed() {
        let matrix = Matrix::new(&basis(Choice::Best), N, 1, 1, |_, _, out| out.fill(77_777));
        let text = format!("{matrix:?}");
        assert!(text.contains("1 x 1") && !text.contains("77777"), "{text}");
    }

    #[test]
    #[should_panic(expected = "a step of 48")]
    fn a_step_is_a_power_of_two() {
        let _ = Matrix::new(&basis(Choice::Best), 48, 1, 1, |_, _, _| ());
    }

    #[test]
    #[should_panic(expected = "the inputs of a matrix")]
    fn each_column_has_an_input() {
        let basis = basis(Choice::Best);
        let _ = Matrix::new(&basis, 64, 1, 2, |_, _, _| ()).product(&[Poly::zero(&basis)]);
    }
}
