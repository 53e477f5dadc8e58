//! A dense layer to be computed on encrypted samples, with its answer.

use gelu_core::error::ApiMisuse;
use gelu_core::linear::LinearMap;
use gelu_core::{AdditiveHE, Plaintext, SlotShape};
use gelu_nn::layers::{Dense, LayerError, Shape};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice};
use rand::{CryptoRng, RngExt};

use crate::Error;

/// Bits of a slot, as in the bench `layer`: sums of 2^18 products of weights of 8 bits with sign and
/// inputs of 9 would fit.
pub(super) const SLOT_BITS: u32 = 34;

/// W·x for random W and x.
pub(super) struct Problem {
    pub(super) map: LinearMap,
    pub(super) weights: Vec<i128>,
    /// A column for each sample.
    x: Array2<i128>,
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

    /// At most `count` samples.
    fn samples(&self, start: usize, count: usize) -> ArrayView2<'_, i128> {
        let end = (start + count).min(self.x.ncols());
        self.x.slice_axis(Axis(1), Slice::from(start..end))
    }

    /// The inputs, samples side by side in slots: for each ciphertext's worth of samples a row of
    /// plaintexts, one for each input.
    pub(super) fn plaintexts(&self, slots: usize) -> Result<Vec<Vec<Plaintext>>, Error> {
        let row = |values: ArrayView1<'_, i128>| Ok(Plaintext::new(SLOT_BITS, values.to_vec())?);
        let chunk = |start| self.samples(start, slots).rows().into_iter().map(row).collect();
        (0..self.x.ncols()).step_by(slots.max(1)).map(chunk).collect()
    }

    /// What comes out for the samples of one row of [`plaintexts`](Self::plaintexts), `group` outputs
    /// in a plaintext.
    pub(super) fn answer(&self, row: usize, slots: usize, group: usize) -> Vec<Vec<i128>> {
        let x = self.samples(row * slots, slots);
        let sums = self.map.forward(&self.weights, &vec![0; self.map.outputs()], x, 1);
        sums.outer_iter()
            .collect::<Vec<_>>()
            .chunks(group.max(1))
            .map(|outputs| outputs.iter().flat_map(|output| output.iter().copied()).collect())
            .collect()
    }

    /// Ciphertexts of one sample each, under the owner's key.
    pub(super) fn encrypt_one<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<H::Ciphertext>, Error> {
        let row = self.plaintexts(1)?.remove(0);
        Ok(H::encrypt_many(secret, &row, rng)?)
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
        check(what, &H::decrypt_many(secret, &sums)?, &self.answer(0, 1, 1))
    }
}

/// # Errors
/// [`Error::WrongAnswer`] when they differ.
pub(super) fn check(what: &str, got: &[Plaintext], expected: &[Vec<i128>]) -> Result<(), Error> {
    let same = got.iter().map(Plaintext::values).eq(expected.iter().map(Vec::as_slice));
    if same { Ok(()) } else { Err(Error::WrongAnswer(what.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// Five samples two by two; three outputs two by two.
    #[test]
    fn rows_and_groups() {
        let problem = Problem::random((4, 3), 5, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let rows = problem.plaintexts(2).unwrap();
        let lengths: Vec<_> = rows.iter().map(|row| (row.len(), row[0].values().len())).collect();
        assert_eq!(lengths, [(4, 2), (4, 2), (4, 1)]);
        let answer = problem.answer(1, 2, 2);
        assert_eq!(answer.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
        // By hand: output 1 of sample 3 is the last of its group.
        let terms = (0..4).map(|i| problem.weights[4 + i] * problem.x[[i, 3]]);
        assert_eq!(answer[0][3], terms.sum::<i128>());
    }
}
