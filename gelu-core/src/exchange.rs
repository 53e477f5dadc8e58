//! One encrypted linear map, the three steps of it: encrypt, evaluate, decrypt.
//!
//! Whatever the [layout](crate::layout), the server multiplies a matrix of `outputs` × `inputs` by
//! *columns*: the samples of the batch, or the positions of all samples. Slot by slot:
//!
//! ```text
//! client   gather   [features, batch]   → [inputs, columns]           encrypt
//! server   E·⟦x⟧    [inputs, columns]   → [outputs, columns]          pack, seal
//! client   decrypt  [outputs, columns]  → [features, batch]           scatter
//! ```
//!
//! Ciphertexts go up row by row: all inputs of the first columns, as many as there are slots, then
//! of the next. They come down sealed and, where all columns fit into the slots several times, that
//! many outputs in one ciphertext (a *group*).

use ndarray::{Array2, Axis, Slice};
use rand_core::CryptoRng;

use crate::error::Result;
use crate::he::{AdditiveHE, Sealed, check_block_len};
use crate::layout::Layout;
use crate::linear::{LinearMap, Taps};
use crate::slots::{MAX_SLOT_BITS, Plaintext, SlotShape};

/// One encrypted linear map: how many values go each way, and how they sit in ciphertexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What the slots of a ciphertext are.
    pub layout: Layout,
    /// Values of a column that go up.
    pub inputs: usize,
    /// Values of a column that come down.
    pub outputs: usize,
    /// Samples.
    pub batch: usize,
    /// Bits of a slot, sign included: what the widest value needs.
    pub slot_bits: u32,
    /// Bits of the widest entry of the matrix, sign included.
    pub weight_bits: u32,
    /// Slots of one ciphertext.
    pub slots: usize,
    /// Multiply-accumulates of the linear map on ciphertexts, per row.
    pub taps: usize,
    /// Outputs in one ciphertext on the way down.
    pub group: usize,
}

/// What an exchange costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Ciphertexts from client to server.
    pub ciphertexts_up: usize,
    /// Ciphertexts from server to client.
    pub ciphertexts_down: usize,
    /// Homomorphic multiply-accumulates.
    pub multiply_accumulates: usize,
    /// Plaintext bits that the slots leave unused in a full ciphertext.
    pub headroom_bits: u32,
}

impl Exchange {
    /// Columns that the matrix is multiplied by.
    pub fn columns(&self) -> usize {
        self.layout.positions() * self.batch
    }

    /// Ciphertexts of one input.
    pub fn rows(&self) -> usize {
        self.columns().div_ceil(self.slots)
    }

    /// Columns in the slots of row `row`.
    pub fn columns_in(&self, row: usize) -> core::ops::Range<usize> {
        let start = row * self.slots;
        start..self.columns().min(start + self.slots)
    }

    /// The shape of a ciphertext that holds `features` inputs or outputs of row `row`.
    pub fn shape(&self, row: usize, features: usize) -> SlotShape {
        SlotShape { bits: self.slot_bits, count: self.columns_in(row).len() * features }
    }

    /// Ciphertexts on the way up.
    pub fn ciphertexts_up(&self) -> usize {
        self.inputs * self.rows()
    }

    /// Ciphertexts on the way down.
    pub fn ciphertexts_down(&self) -> usize {
        self.outputs.div_ceil(self.group) * self.rows()
    }

    /// Slots by which the outputs of a group are moved, one after the other, to be packed.
    pub fn slots_moved(&self) -> usize {
        (self.group - 1) * self.columns_in(0).len()
    }

    /// Bits of plaintext that one sample reveals at most: every slot in full, because a client may
    /// pack values that do not belong into its slots (`docs/src/security.md`).
    pub fn revealed_bits_per_output(&self) -> u64 {
        u64::from(self.slot_bits)
    }

    /// Ciphertexts and operations.
    pub fn cost(&self) -> Cost {
        Cost {
            ciphertexts_up: self.ciphertexts_up(),
            ciphertexts_down: self.ciphertexts_down(),
            multiply_accumulates: self.taps * self.rows(),
            headroom_bits: MAX_SLOT_BITS - self.slot_bits,
        }
    }

    /// Client: gathers and encrypts `values`, the `[features, batch]` that go into `linear` (or,
    /// backwards, come out of it).
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`](crate::error::ApiMisuse::SlotOverflow), which the range
    /// analysis rules out for encoded values.
    pub fn encrypt<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        linear: &LinearMap,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let columns = self.layout.gather(linear, values);
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

    /// Server: E·⟦x⟧ + offset for each row, packed and sealed.
    ///
    /// `matrix` is the layout's; `offsets`, if given, holds what is added to each of its outputs
    /// (the bias in the output's scale).
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for a block of the wrong length or an
    /// invalid ciphertext.
    pub fn evaluate<H: AdditiveHE>(
        &self,
        public: &H::PublicKey,
        matrix: &Taps,
        entries: &[i128],
        offsets: Option<&[i128]>,
        bytes: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        check_block_len::<H>(public, bytes, self.ciphertexts_up())?;
        let mut results = Vec::with_capacity(self.ciphertexts_down());
        for (row, block) in bytes.chunks_exact(bytes.len() / self.rows()).enumerate() {
            let inputs = H::ciphertexts_from_bytes(public, block, self.inputs)?;
            let each = self.shape(row, 1);
            let packed = H::matvec_packed(public, matrix, entries, &inputs, self.group, each)?;
            for (g, packed) in packed.into_iter().enumerate() {
                let outputs = self.outputs_in(g);
                let shape = self.shape(row, outputs.len());
                let result = match offsets {
                    None => packed,
                    Some(offsets) => {
                        let slots = self.offsets(row, &offsets[outputs])?;
                        H::add_plain(public, &packed, &slots)
                    }
                };
                results.push((result, shape));
            }
        }
        Ok(Sealed::to_bytes(public, &Sealed::<H>::seal(public, &results, rng)))
    }

    /// Outputs in group `g`.
    fn outputs_in(&self, g: usize) -> core::ops::Range<usize> {
        let start = g * self.group;
        start..self.outputs.min(start + self.group)
    }

    /// The offsets of one group, each repeated for the columns of the row.
    fn offsets(&self, row: usize, offsets: &[i128]) -> Result<Plaintext> {
        let columns = self.columns_in(row).len();
        let slots = offsets.iter().flat_map(|&o| core::iter::repeat_n(o, columns)).collect();
        Plaintext::new(self.slot_bits, slots)
    }

    /// Client: decrypts a block of sealed groups and scatters it to `[features, batch]`.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) as in [`evaluate`](Self::evaluate);
    /// [`Error::Decryption`](crate::Error::Decryption).
    pub fn decrypt<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        bytes: &[u8],
    ) -> Result<Array2<i128>> {
        let public = H::public_key(secret);
        let received = H::ciphertexts_from_bytes(public, bytes, self.ciphertexts_down())?;
        let groups = self.outputs.div_ceil(self.group);
        let shapes = (0..self.rows())
            .flat_map(|row| (0..groups).map(move |g| self.shape(row, self.outputs_in(g).len())));
        let shaped: Vec<_> = received.into_iter().zip(shapes).collect();
        let plaintexts = H::decrypt_many(secret, &shaped)?;
        let mut values = Array2::zeros((self.outputs, self.columns()));
        for (n, plaintext) in plaintexts.iter().enumerate() {
            let (columns, outputs) = (self.columns_in(n / groups), self.outputs_in(n % groups));
            for (output, slots) in outputs.zip(plaintext.values().chunks(columns.len())) {
                for (column, &value) in columns.clone().zip(slots) {
                    values[[output, column]] = value;
                }
            }
        }
        Ok(self.layout.scatter(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::layout::{Widths, candidates};
    use crate::linear::LinearMap;
    use crate::plan::Direction;
    use crate::tests::networks::{dense, pooled_convolution};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn key() -> ClearKey {
        ClearKey::new(256).unwrap()
    }

    fn exchanges(linear: &LinearMap, batch: usize) -> Vec<Exchange> {
        let widths = Widths { slot_bits: 20, weight_bits: 9 };
        candidates::<Clear>(&key(), linear, Direction::Forward, batch, widths).collect()
    }

    /// Slots of 20 bits: twelve of them.
    #[test]
    fn batches_fill_slots_and_groups() {
        let shapes = |linear: &LinearMap, batch| -> Vec<_> {
            let of = |e: &Exchange| {
                assert_eq!(e.slots, 12);
                (e.group, e.rows(), e.ciphertexts_up(), e.ciphertexts_down(), e.slots_moved())
            };
            exchanges(linear, batch).iter().map(of).collect()
        };
        let dense = dense(3, 5);
        assert_eq!(
            shapes(&dense, 3),
            [(1, 1, 3, 5, 0), (2, 1, 3, 3, 3), (3, 1, 3, 2, 6), (4, 1, 3, 2, 9)]
        );
        assert_eq!(shapes(&dense, 1).len(), 5, "no group is larger than the layer");
        assert_eq!(shapes(&dense, 12), [(1, 1, 3, 5, 0)]);
        assert_eq!(shapes(&dense, 13), [(1, 2, 6, 10, 0)]);
        assert_eq!(exchanges(&dense, 13)[0].shape(1, 1), SlotShape { bits: 20, count: 1 });

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
            let (x, entries) = (x.unwrap(), linear.entries(&weights));
            for exchange in exchanges(&linear, batch) {
                let matrix = exchange.layout.matrix(&linear, Direction::Forward);
                let offsets: Vec<_> =
                    exchange.layout.bias_of(&linear).map(|bias| biases[bias]).collect();
                let up = exchange.encrypt::<Clear>(&key(), &linear, &x, rng).unwrap();
                let mut evaluate = |bytes: &[u8]| {
                    let offsets = Some(&offsets[..]);
                    exchange.evaluate::<Clear>(&key(), &matrix, &entries, offsets, bytes, rng)
                };
                let down = evaluate(&up).unwrap();
                let z = exchange.decrypt::<Clear>(&key(), &down).unwrap();
                prop_assert_eq!(z, linear.forward(&weights, &biases, x.view(), 1));
                prop_assert_eq!(up.len(), exchange.ciphertexts_up() * 64);
                prop_assert_eq!(down.len(), exchange.ciphertexts_down() * 64);
                prop_assert!(evaluate(&up[1..]).is_err());
            }
        }
    }
}
