//! The steps of an exchange in slots. Slot by slot:
//!
//! ```text
//! client   gather   [features, batch]   → [inputs, columns]           encrypt
//! server   E·⟦x⟧    [inputs, columns]   → [outputs, columns]          pack, seal
//! client   decrypt  [outputs, columns]  → [features, batch]           scatter
//! ```

use core::fmt::Debug;

use ndarray::{Array2, Axis, Slice};
use rand_core::CryptoRng;

use super::additive::{AdditiveHE, check_block_len, seal};
use super::backend::SlotBackend;
use super::layout::SlotLayout;
use super::matrix::Matrix;
use super::packing::Packing;
use super::plaintext::{Plaintext, SlotShape};
use crate::backend::{Cost, Layout};
use crate::error::Result;
use crate::linear::LinearMap;

/// A matrix and what is added to its products, ready for any number of exchanges.
pub struct SlotWeights<H: AdditiveHE> {
    matrix: H::Prepared,
    /// One for each output of the matrix.
    offsets: Option<Vec<i128>>,
}

/// Weights are the server's secret: nothing is printed.
impl<H: AdditiveHE> Debug for SlotWeights<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SlotWeights").finish_non_exhaustive()
    }
}

/// Results with the shapes of their slots, not sealed.
#[derive(Debug)]
pub struct SlotAnswer<H: AdditiveHE>(pub(super) Vec<(H::Ciphertext, SlotShape)>);

impl<H: SlotBackend> Layout<H> for SlotLayout {
    type Weights = SlotWeights<H>;
    /// All inputs of the first columns, then of the next.
    type Inputs = Vec<Vec<H::Ciphertext>>;
    type Answer = SlotAnswer<H>;

    fn cost(&self) -> Cost {
        self.cost()
    }

    fn encrypt(
        &self,
        secret: &H::SecretKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let columns = self.arrangement.gather(linear, values);
        debug_assert_eq!(columns.dim(), (self.inputs, self.columns()));
        let plaintexts = (0..self.rows()).flat_map(|row| {
            let part = columns.slice_axis(Axis(1), Slice::from(self.columns_in(row)));
            let inputs: Vec<_> = part.outer_iter().map(|input| input.to_vec()).collect();
            inputs.into_iter().map(|input| Plaintext::new(self.slot_bits, input))
        });
        let plaintexts: Vec<_> = plaintexts.collect::<Result<_>>()?;
        let public = H::public_key(secret);
        let mut bytes = Vec::with_capacity(plaintexts.len() * H::ciphertext_len(public));
        let ciphertexts = H::encrypt_many(secret, &plaintexts, rng)?;
        H::ciphertexts_to_bytes(public, &ciphertexts, &mut bytes);
        Ok(bytes)
    }

    fn prepare(
        &self,
        linear: &LinearMap,
        weights: &[i128],
        offsets: Option<&[i128]>,
    ) -> Result<SlotWeights<H>> {
        let taps = self.arrangement.matrix(linear, self.direction);
        let entries = linear.entries(weights);
        // Outputs of one filter are neighbours and have one offset.
        let step = self.arrangement.positions();
        let offsets = offsets.map(|offsets| offsets.iter().step_by(step).copied().collect());
        Ok(SlotWeights { matrix: Matrix { taps, entries }.into(), offsets })
    }

    fn read(&self, public: &H::PublicKey, bytes: &[u8]) -> Result<Vec<Vec<H::Ciphertext>>> {
        check_block_len::<H>(public, bytes, self.ciphertexts_up())?;
        let rows = bytes.chunks_exact(bytes.len() / self.rows());
        rows.map(|row| H::ciphertexts_from_bytes(public, row, self.inputs)).collect()
    }

    fn evaluate(
        &self,
        public: &H::PublicKey,
        weights: &SlotWeights<H>,
        inputs: &Vec<Vec<H::Ciphertext>>,
    ) -> Result<SlotAnswer<H>> {
        let mut results = Vec::with_capacity(self.ciphertexts_down());
        for (row, inputs) in inputs.iter().enumerate() {
            let (matrix, each) = (&weights.matrix, self.shape(row, 1));
            let packed = H::Packing::matvec(public, matrix, inputs, self.group, each)?;
            for (g, packed) in packed.into_iter().enumerate() {
                let outputs = self.outputs_in(g);
                let shape = self.shape(row, outputs.len());
                let result = match &weights.offsets {
                    None => packed,
                    Some(offsets) => {
                        let slots = self.offsets(row, &offsets[outputs])?;
                        H::add_plain(public, &packed, &slots)
                    }
                };
                results.push((result, shape));
            }
        }
        Ok(SlotAnswer(results))
    }

    fn seal(
        &self,
        public: &H::PublicKey,
        answer: SlotAnswer<H>,
        rng: &mut dyn CryptoRng,
    ) -> Vec<u8> {
        seal::<H>(public, &answer.0, rng)
    }

    fn decrypt(&self, secret: &H::SecretKey, bytes: &[u8]) -> Result<Array2<i128>> {
        let plaintexts =
            H::decrypt_many(secret, &self.answers::<H>(H::public_key(secret), bytes)?)?;
        let values = self.outputs_from(plaintexts.iter().map(Plaintext::values));
        let shape = (values.len() / self.batch, self.batch);
        Ok(Array2::from_shape_vec(shape, values).expect("as many values as places"))
    }
}

impl SlotLayout {
    /// What comes down: each ciphertext with the shape of its slots.
    pub(super) fn answers<H: AdditiveHE>(
        &self,
        public: &H::PublicKey,
        bytes: &[u8],
    ) -> Result<Vec<(H::Ciphertext, SlotShape)>> {
        let received = H::ciphertexts_from_bytes(public, bytes, self.ciphertexts_down())?;
        let groups = self.groups();
        let shapes = (0..self.rows())
            .flat_map(|row| (0..groups).map(move |g| self.shape(row, self.outputs_in(g).len())));
        Ok(received.into_iter().zip(shapes).collect())
    }

    /// `[features, batch]` values, row by row, from the slots of what comes down.
    ///
    /// Output f of position s and sample j is output f of column s·batch + j, and feature f·positions + s: so the
    /// outputs of all columns are in that order already.
    pub(super) fn outputs_from<'a, T: Copy + Default + 'a>(
        &self,
        slots: impl IntoIterator<Item = &'a [T]>,
    ) -> Vec<T> {
        let (groups, width) = (self.groups(), self.columns());
        let mut values = vec![T::default(); self.outputs * width];
        for (n, slots) in slots.into_iter().enumerate() {
            let (columns, outputs) = (self.columns_in(n / groups), self.outputs_in(n % groups));
            for (output, slots) in outputs.zip(slots.chunks(columns.len())) {
                values[output * width..][columns.clone()].copy_from_slice(slots);
            }
        }
        values
    }

    /// The offsets of one group, each repeated for the columns of the row.
    fn offsets(&self, row: usize, offsets: &[i128]) -> Result<Plaintext> {
        let columns = self.columns_in(row).len();
        let slots = offsets.iter().flat_map(|&o| core::iter::repeat_n(o, columns)).collect();
        Plaintext::new(self.slot_bits, slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, Direction, Sealed, Task};
    use crate::clear::{Clear, ClearKey};
    use crate::tests::networks::{dense, pooled_convolution};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn key() -> ClearKey {
        ClearKey::new(256).unwrap()
    }

    fn layouts(linear: &LinearMap, batch: usize) -> Vec<SlotLayout> {
        let (direction, value_bits, weight_bits) = (Direction::Forward, 20, 9);
        let task = Task { layer: "test", linear, direction, batch, value_bits, weight_bits };
        Clear::layouts(&key(), &task).unwrap()
    }

    /// Slots of 20 bits: twelve of them.
    #[test]
    fn batches_fill_slots_and_groups() {
        let shapes = |linear: &LinearMap, batch| -> Vec<_> {
            let of = |e: &SlotLayout| {
                assert_eq!(e.slots, 12);
                (e.group, e.rows(), e.ciphertexts_up(), e.ciphertexts_down(), e.slots_moved())
            };
            layouts(linear, batch).iter().map(of).collect()
        };
        let dense = dense(3, 5);
        assert_eq!(
            shapes(&dense, 3),
            [(1, 1, 3, 5, 0), (2, 1, 3, 3, 3), (3, 1, 3, 2, 6), (4, 1, 3, 2, 9)]
        );
        assert_eq!(shapes(&dense, 1).len(), 5, "no group is larger than the layer");
        assert_eq!(shapes(&dense, 12), [(1, 1, 3, 5, 0)]);
        assert_eq!(shapes(&dense, 13), [(1, 2, 6, 10, 0)]);
        assert_eq!(layouts(&dense, 13)[0].shape(1, 1), SlotShape { bits: 20, count: 1 });

        // Four outputs, or one filter of three taps at four positions.
        let convolution = pooled_convolution(9);
        assert_eq!(shapes(&convolution, 12), [(1, 1, 9, 4, 0), (1, 4, 12, 4, 0)]);
        assert_eq!(
            shapes(&convolution, 3),
            [(1, 1, 9, 4, 0), (2, 1, 9, 2, 3), (3, 1, 9, 2, 6), (4, 1, 9, 1, 9), (1, 1, 3, 1, 0)]
        );
    }

    proptest! {
        /// decrypt(evaluate(encrypt(x))) = E·x + offset, for every layout, batch and group.
        #[test]
        fn encrypted_equals_plain(
            batch in 1usize..30,
            outputs in 1u32..9,
            convolution: bool,
            seed: u64,
        ) {
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            let linear =
                if convolution { pooled_convolution(2 * outputs + 1) } else { dense(3, outputs) };
            let mut draw = |n: usize| -> Vec<i128> {
                (0..n).map(|_| i128::from(rand_core::Rng::next_u32(rng) % 201) - 100).collect()
            };
            let (weights, biases) = (draw(linear.weights()), draw(linear.biases()));
            let x = Array2::from_shape_vec((linear.inputs(), batch), draw(linear.inputs() * batch));
            let x = x.unwrap();
            let offsets: Vec<_> = (0..linear.outputs()).map(|o| biases[linear.bias_of(o)]).collect();
            for layout in layouts(&linear, batch) {
                let up = Layout::<Clear>::encrypt(&layout, &key(), &linear, &x, rng).unwrap();
                let prepared: SlotWeights<Clear> =
                    layout.prepare(&linear, &weights, Some(&offsets)).unwrap();
                let inputs = Layout::<Clear>::read(&layout, &key(), &up).unwrap();
                let answer = layout.evaluate(&key(), &prepared, &inputs).unwrap();
                let down = Sealed::seal::<Clear, _>(&layout, &key(), answer, rng).into_bytes();
                let z = Layout::<Clear>::decrypt(&layout, &key(), &down).unwrap();
                prop_assert_eq!(z, linear.forward(&weights, &biases, x.view(), 1));
                prop_assert_eq!(up.len(), layout.ciphertexts_up() * 64);
                prop_assert_eq!(down.len(), layout.ciphertexts_down() * 64);
                prop_assert!(Layout::<Clear>::read(&layout, &key(), &up[1..]).is_err());
            }
        }
    }
}
