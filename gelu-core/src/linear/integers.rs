//! The products of a linear map on integers: in words of 64 bits wherever the result is the same.
//!
//! Integers are held in 128 bits, for the widest masks and scales. Most are far shorter, and words of 64 bits are
//! multiplied in a third of the time.

use core::num::Wrapping;

use ndarray::{Array2, ArrayView2};

use super::LinearMap;

/// Arithmetic modulo 2^64.
type Word = Wrapping<i64>;

impl LinearMap {
    /// [`forward`](Self::forward) of integers.
    ///
    /// # Panics
    /// As `forward`.
    pub fn forward_integers(
        &self,
        weights: &[i128],
        biases: &[i128],
        x: ArrayView2<'_, i128>,
        constant: i128,
    ) -> Array2<i128> {
        let product = bound([self.forward_gain() as u128, largest(weights), largest(x)]);
        let shift = bound([constant.unsigned_abs(), largest(biases)]);
        match product.saturating_add(shift) <= MOST {
            true => self.forward_modulo(weights, biases, x, constant),
            false => self.forward(weights, biases, x, constant),
        }
    }

    /// [`forward`](Self::forward) of integers modulo 2^64, centred.
    ///
    /// # Panics
    /// As `forward`.
    pub fn forward_modulo(
        &self,
        weights: &[i128],
        biases: &[i128],
        x: ArrayView2<'_, i128>,
        constant: i128,
    ) -> Array2<i128> {
        let x = x.mapv(word);
        wide(self.forward(&words(weights), &words(biases), x.view(), word(constant)))
    }

    /// [`backward`](Self::backward) of integers.
    ///
    /// # Panics
    /// As `backward`.
    pub fn backward_integers(&self, weights: &[i128], d: ArrayView2<'_, i128>) -> Array2<i128> {
        match bound([self.backward_gain() as u128, largest(weights), largest(d)]) <= MOST {
            true => self.backward_modulo(weights, d),
            false => self.backward(weights, d),
        }
    }

    /// [`backward`](Self::backward) of integers modulo 2^64, centred.
    ///
    /// # Panics
    /// As `backward`.
    pub fn backward_modulo(&self, weights: &[i128], d: ArrayView2<'_, i128>) -> Array2<i128> {
        wide(self.backward(&words(weights), d.mapv(word).view()))
    }

    /// [`gradient`](Self::gradient) of integers.
    ///
    /// # Panics
    /// As `gradient`.
    pub fn gradient_integers(
        &self,
        x: ArrayView2<'_, i128>,
        d: ArrayView2<'_, i128>,
        constant: i128,
    ) -> (Vec<i128>, Vec<i128>) {
        // A weight meets each output of a sample once, or once for each of the outputs that are added up.
        let terms = self.outputs() as u128 * u128::from(self.divisor()) * x.ncols() as u128;
        let factor = largest(x).max(constant.unsigned_abs());
        if bound([terms, factor, largest(d)]) > MOST {
            return self.gradient(x, d, constant);
        }
        let (x, d) = (x.mapv(word), d.mapv(word));
        let (weights, biases) = self.gradient(x.view(), d.view(), word(constant));
        let wide = |values: Vec<Word>| values.into_iter().map(|v| v.0.into()).collect();
        (wide(weights), wide(biases))
    }
}

/// What a word holds.
const MOST: u128 = i64::MAX.unsigned_abs() as u128;

fn largest<'a>(values: impl IntoIterator<Item = &'a i128>) -> u128 {
    values.into_iter().fold(0, |most, value| most.max(value.unsigned_abs()))
}

fn bound<const N: usize>(factors: [u128; N]) -> u128 {
    factors.into_iter().fold(1, u128::saturating_mul)
}

/// The lowest 64 bits.
fn word(value: i128) -> Word {
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^64")]
    Wrapping(value as i64)
}

fn words(values: &[i128]) -> Vec<Word> {
    values.iter().map(|&value| word(value)).collect()
}

fn wide(values: Array2<Word>) -> Array2<i128> {
    values.mapv(|value| value.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::networks::{dense, pooled_convolution};
    use proptest::prelude::*;

    proptest! {
        /// Values just below and just above what fits a word.
        #[test]
        fn words_and_wide_integers_agree(
            convolution: bool, bits in 20u32..40, batch in 1usize..5, seed in any::<[i128; 8]>(),
        ) {
            let linear = if convolution { pooled_convolution(9) } else { dense(3, 5) };
            let draw = |salt: usize, count: usize| -> Vec<i128> {
                let value = |i: u32| seed[(i as usize + salt) % 8].rotate_left(7 * i) >> (127 - bits);
                (0..).map(value).take(count).collect()
            };
            let array = |salt, rows: usize| {
                Array2::from_shape_vec((rows, batch), draw(salt, rows * batch)).unwrap()
            };
            let (w, b) = (draw(0, linear.weights()), draw(1, linear.biases()));
            let (x, d) = (array(2, linear.inputs()), array(3, linear.outputs()));
            let (x, d) = (x.view(), d.view());
            let wide = linear.forward(&w, &b, x, 99);
            prop_assert_eq!(&linear.forward_integers(&w, &b, x, 99), &wide);
            let low = |value: i128| value << 64 >> 64;
            prop_assert_eq!(linear.forward_modulo(&w, &b, x, 99), wide.mapv(low));
            let wide = linear.backward(&w, d);
            prop_assert_eq!(&linear.backward_integers(&w, d), &wide);
            prop_assert_eq!(linear.backward_modulo(&w, d), wide.mapv(low));
            prop_assert_eq!(linear.gradient_integers(x, d, 99), linear.gradient(x, d, 99));
        }
    }
}
