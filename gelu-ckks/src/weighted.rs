//! Sums of ciphertexts with constant weights.
//!
//! Where each value has a ciphertext of its own, with one row of a table in each slot, a linear layer needs neither rotations nor
//! keys nor transforms:
//!
//! ```text
//! y[o]  =  Σ_i w[o][i]·x[i]         at the scale Δ·Δ_w and the same level; rescale when it is needed
//! ```
//! Weights are rounded to integers round(w·Δ_w), one residue for each prime. Noises add up as Σ |w|²·variance.
//!
//! Slots are complex, so a ciphertext can hold two numbers of a row, and Re (u − i·v)·(a + i·b) = u·a + v·b: half as many
//! ciphertexts, half as many products, and one conjugation for each output ([`real_part`](Ciphertext::real_part)). A complex weight
//! is as cheap as a real one: i in all slots is X^(N/2), and a polynomial in that has two different evaluations.

use std::fmt;

use gelu_ring::{Evaluations, Matrix, Poly};
use num_complex::Complex64;

use crate::ciphertext::{Ciphertext, check_scale, check_scales, integer, lowered};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::scale::Scale;

/// A matrix of constants.
///
/// # Security
/// It holds a model's weights: `Debug` shows the shape alone.
pub struct WeightedSums {
    parameters: Parameters,
    matrix: Matrix,
    inputs: usize,
    scale: Scale,
    level: usize,
}

impl WeightedSums {
    /// Weights by outputs, real or complex, each with one for every input, for ciphertexts of this level.
    ///
    /// # Errors
    /// [`Error::Empty`] without weights or with rows of several lengths; [`Error::ValueTooLarge`] when a weight at this scale has
    /// 2^62 or more, or is not finite; [`Error::NoSuchLevel`].
    pub fn encode<T: Copy + Into<Complex64>>(
        parameters: &Parameters,
        weights: &[Vec<T>],
        scale: &Scale,
        level: usize,
    ) -> Result<Self> {
        parameters.check_level(level)?;
        let inputs = weights.first().map_or(0, Vec::len);
        if inputs == 0 || weights.iter().any(|row| row.len() != inputs) {
            return Err(Error::Empty("a matrix without weights, or with rows of several lengths"));
        }
        let word = |weight: f64| {
            let wide = integer(weight, scale)?;
            let large =
                || Error::ValueTooLarge { bits: (wide as f64).abs().log2(), most: MOST_BITS };
            i64::try_from(wide).ok().filter(|w| w.unsigned_abs() < 1 << 62).ok_or_else(large)
        };
        let words: Vec<Vec<[i64; 2]>> = weights
            .iter()
            .map(|row| {
                let parts = row.iter().map(|&weight| weight.into());
                parts.map(|w: Complex64| Ok([word(w.re)?, word(w.im)?])).collect()
            })
            .collect::<Result<_>>()?;
        let basis = &parameters.level(level).basis;
        // A polynomial in X^N is a constant.
        let real = words.iter().flatten().all(|&[_, im]| im == 0);
        let step = if real { parameters.degree() } else { parameters.slots() };
        let matrix = Matrix::new(basis, step, words.len(), inputs, |o, i, c| {
            c.copy_from_slice(&words[o][i][..c.len()]);
        });
        Ok(Self { parameters: parameters.clone(), matrix, inputs, scale: scale.clone(), level })
    }

    /// All outputs.
    ///
    /// # Errors
    /// [`Error::Empty`] for another number of inputs; [`Error::ScalesDiffer`], [`Error::OtherParameters`]; [`Error::NoSuchLevel`]
    /// for an input of a lower level; [`Error::ScaleOutOfRange`].
    pub fn apply(&self, x: &[&Ciphertext]) -> Result<Vec<Ciphertext>> {
        let (parameters, level) = (&self.parameters, self.level);
        let first = x.first().filter(|_| x.len() == self.inputs);
        let first = first.ok_or(Error::Empty("another number of inputs than the matrix has"))?;
        for x in x {
            parameters.check_same(&x.parameters)?;
            check_scales(&first.scale, &x.scale)?;
            if x.level < level {
                return Err(Error::NoSuchLevel { level, most: x.level });
            }
        }
        let scale = first.scale.times(&self.scale);
        check_scale(parameters, &scale, level)?;
        let product = |part: fn(&Ciphertext) -> &Poly<Evaluations>| {
            let parts: Vec<_> = x.iter().map(|x| lowered(part(x), level)).collect();
            self.matrix.product(parts.iter().map(|part| &**part))
        };
        let (c0, c1) = (product(|x| &x.c0), product(|x| &x.c1));
        let pairs = c0.into_iter().zip(c1);
        Ok(pairs.map(|(c0, c1)| first.with(c0, c1, scale.clone(), level)).collect())
    }
}

impl fmt::Debug for WeightedSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightedSums({:?}, level {}, scale {:?})", self.matrix, self.level, self.scale)
    }
}

const MOST_BITS: f64 = 62.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{encrypted, keys, open, random, shallow, worst};

    #[test]
    fn sums_with_weights_are_those_of_constants_one_by_one_bit_for_bit() {
        let parameters = shallow();
        let x: Vec<_> = (1..=3).map(|seed| encrypted(&random(&parameters, seed), 3)).collect();
        let (scale, weights) = (Scale::power_of_two(20), [[0.5, -1.25, 3.0], [0.0, 7.5, -0.125]]);
        let sums = WeightedSums::encode(&parameters, &weights.map(Vec::from), &scale, 2).unwrap();
        let sums = sums.apply(&x.iter().collect::<Vec<_>>()).unwrap();
        for (sum, weights) in sums.iter().zip(weights) {
            let terms = x
                .iter()
                .zip(weights)
                .map(|(x, w)| x.at_level(2).unwrap().mul_constant(w, &scale).unwrap());
            let expected = terms.reduce(|a, b| a.add(&b).unwrap()).unwrap();
            assert_eq!((sum.level(), sum.scale()), (2, expected.scale()));
            assert!(sum.c0 == expected.c0 && sum.c1 == expected.c1);
        }
        assert_eq!(sums.len(), 2);
    }

    #[test]
    fn complex_weights_weigh_two_numbers_of_a_slot() {
        let parameters = shallow();
        let [x, y] = [1, 2].map(|seed| random(&parameters, seed));
        let (a, b) = (encrypted(&x, 3), encrypted(&y, 3));
        let weights = vec![vec![Complex64::new(0.5, -1.25), Complex64::new(0.0, 2.0)]];
        let scale = Scale::power_of_two(20);
        let sums = WeightedSums::encode(&parameters, &weights, &scale, 3).unwrap();
        let sum = sums.apply(&[&a, &b]).unwrap().remove(0);
        let expected: Vec<_> =
            x.iter().zip(&y).map(|(x, y)| weights[0][0] * x + weights[0][1] * y).collect();
        let noise = 3.0 * parameters.fresh_noise() + parameters.switching_noise();
        let bound = parameters.slot_bound(noise, &parameters.scale());
        assert!(worst(&open(&sum), &expected) < bound);
        // Of the first input alone that is 0.5·Re + 1.25·Im.
        let sums = WeightedSums::encode(&parameters, &[weights[0][..1].to_vec()], &scale, 3);
        let real = sums.unwrap().apply(&[&a]).unwrap().remove(0).real_part(keys()).unwrap();
        let expected: Vec<_> =
            x.iter().map(|x| Complex64::from(0.5 * x.re + 1.25 * x.im)).collect();
        assert!(worst(&open(&real), &expected) < bound);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let parameters = shallow();
        let encode = |weights: &[Vec<f64>], bits, level| {
            WeightedSums::encode(&parameters, weights, &Scale::power_of_two(bits), level)
        };
        assert!(matches!(encode(&[], 20, 2), Err(Error::Empty(_))));
        assert!(matches!(encode(&[vec![1.0], vec![]], 20, 2), Err(Error::Empty(_))));
        assert!(matches!(encode(&[vec![4.0]], 60, 2), Err(Error::ValueTooLarge { .. })));
        assert!(matches!(encode(&[vec![f64::NAN]], 20, 2), Err(Error::ValueTooLarge { .. })));
        assert!(matches!(encode(&[vec![1.0]], 20, 9), Err(Error::NoSuchLevel { .. })));
        let sums = encode(&[vec![1.0, 2.0]], 20, 2).unwrap();
        let x = encrypted(&random(&parameters, 1), 2);
        let other = x.mul_constant(1.0, &Scale::power_of_two(3)).unwrap();
        assert!(matches!(sums.apply(&[&x]), Err(Error::Empty(_))));
        assert!(matches!(sums.apply(&[&x, &other]), Err(Error::ScalesDiffer { .. })));
        let low = x.at_level(1).unwrap();
        assert_eq!(sums.apply(&[&x, &low]).unwrap_err(), Error::NoSuchLevel { level: 2, most: 1 });
        assert!(!format!("{sums:?}").contains("2.0"));
    }
}
