//! A dense layer to be computed on encrypted samples, with its answer.

use gelu_core::backend::{Direction, Task};
use gelu_core::error::ApiMisuse;
use gelu_core::linear::LinearMap;
use gelu_core::slots::signed_bits;
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_nn::layers::{Dense, LayerError, Shape};
use ndarray::Array2;
use rand::{CryptoRng, RngExt};

use crate::Error;

/// Bits of a slot, as in the bench `layer`: sums of 2^18 products of weights of 8 bits with sign and
/// inputs of 9 would fit.
const SLOT_BITS: u32 = 34;

/// W·x for random W and x.
pub(super) struct Problem {
    pub(super) map: LinearMap,
    pub(super) weights: Vec<i128>,
    /// A column for each sample.
    pub(super) x: Array2<i128>,
}

impl Problem {
    /// With signed 8-bit weights, and inputs as pixels are, of both signs.
    pub(super) fn random(
        (inputs, outputs): (usize, usize),
        batch: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let refuse = |why: LayerError| ApiMisuse::configuration("a layer", why.to_string());
        let dense = Dense::new(Shape::Vector(inputs), outputs);
        let dense = dense.map_err(|why| gelu_core::Error::from(refuse(why)))?;
        let map = dense.linear_map();
        let weights = (0..map.weights()).map(|_| rng.random_range(-128..=127)).collect();
        let x = Array2::from_shape_simple_fn((inputs, batch), || rng.random_range(-255..=255));
        Ok(Self { map, weights, x })
    }

    /// What a backend is asked to do.
    pub(super) fn task(&self) -> Task<'_> {
        let most = self.map.inputs() as i128 * 128 * 255;
        Task {
            layer: "layer",
            linear: &self.map,
            direction: Direction::Forward,
            batch: self.x.ncols(),
            value_bits: signed_bits(most),
            weight_bits: 8,
        }
    }

    /// W·x.
    pub(super) fn answer(&self) -> Array2<i128> {
        self.map.forward(&self.weights, &vec![0; self.map.outputs()], self.x.view(), 1)
    }

    /// Ciphertexts of the first sample's inputs, one each, under the owner's key.
    pub(super) fn encrypt_one<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<H::Ciphertext>, Error> {
        let plaintext = |&value: &i128| Plaintext::new(SLOT_BITS, vec![value]);
        let plaintexts: Vec<_> =
            self.x.column(0).iter().map(plaintext).collect::<Result<_, _>>()?;
        Ok(H::encrypt_many(secret, &plaintexts, rng)?)
    }

    /// Compares sums of the first sample, one output in a ciphertext, with integers.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`].
    pub(super) fn check_one<H: AdditiveHE>(
        &self,
        what: &str,
        secret: &H::SecretKey,
        sums: Vec<H::Ciphertext>,
    ) -> Result<(), Error> {
        let shape = SlotShape { bits: SLOT_BITS, count: 1 };
        let sums: Vec<_> = sums.into_iter().map(|sum| (sum, shape)).collect();
        let sums = H::decrypt_many(secret, &sums)?;
        match sums.iter().flat_map(Plaintext::values).eq(self.answer().column(0)) {
            true => Ok(()),
            false => Err(Error::WrongAnswer(what.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// The answer by hand, and a task that holds the widest one.
    #[test]
    fn a_task_and_its_answer() {
        let problem = Problem::random((4, 3), 5, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let terms = (0..4).map(|i| problem.weights[4 + i] * problem.x[[i, 3]]);
        assert_eq!(problem.answer()[[1, 3]], terms.sum::<i128>());
        let task = problem.task();
        // 4 · 128 · 255 = 130,560 has 17 bits.
        assert_eq!((task.batch, task.value_bits), (5, 18));
    }
}
