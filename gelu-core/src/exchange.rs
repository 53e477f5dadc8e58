//! One encrypted linear map, the three steps of it: encrypt, evaluate, decrypt.
//!
//! The layout is the [`Exchange`]'s; both parties hold the same one. Ciphertexts go up row by row
//! (all features of the first samples, then of the next), and come down sealed and in groups.

use ndarray::{Array2, Axis, Slice};
use rand_core::CryptoRng;

use crate::error::Result;
use crate::he::{AdditiveHE, Sealed, check_block_len};
use crate::linear::Taps;
use crate::plan::Exchange;
use crate::slots::Plaintext;

impl Exchange {
    /// Client: encrypts `values` of shape `[inputs, batch]`.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`](crate::error::ApiMisuse::SlotOverflow), which the range
    /// analysis rules out for encoded values.
    pub fn encrypt<H: AdditiveHE>(
        &self,
        secret: &H::SecretKey,
        values: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        debug_assert_eq!(values.dim(), (self.inputs, self.batch));
        let plaintexts = (0..self.rows()).flat_map(|row| {
            let samples = self.samples_in(row);
            let part = values.slice_axis(Axis(1), Slice::from(samples));
            let features: Vec<_> = part.outer_iter().map(|feature| feature.to_vec()).collect();
            features.into_iter().map(|feature| Plaintext::new(self.slot_bits, feature))
        });
        let plaintexts: Vec<_> = plaintexts.collect::<Result<_>>()?;
        let public = H::public_key(secret);
        let mut bytes = Vec::with_capacity(plaintexts.len() * H::ciphertext_len(public));
        for ciphertext in H::encrypt_many(secret, &plaintexts, rng)? {
            H::ciphertext_to_bytes(public, &ciphertext, &mut bytes);
        }
        Ok(bytes)
    }

    /// Server: E·⟦x⟧ + offset for each row, packed and sealed.
    ///
    /// `offsets`, if given, holds what is added to each output (the bias in the output's scale).
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for a block of the wrong length or an
    /// invalid ciphertext.
    pub fn evaluate<H: AdditiveHE>(
        &self,
        public: &H::PublicKey,
        taps: &Taps,
        entries: &[i128],
        offsets: Option<&[i128]>,
        bytes: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        check_block_len::<H>(public, bytes, self.ciphertexts_up())?;
        let mut results = Vec::with_capacity(self.ciphertexts_down());
        for (row, block) in bytes.chunks_exact(bytes.len() / self.rows()).enumerate() {
            let inputs = H::ciphertexts_from_bytes(public, block, self.inputs)?;
            let outputs = H::matvec(public, taps, entries, &inputs)?;
            for (g, group) in outputs.chunks(self.group()).enumerate() {
                let packed = match group {
                    [single] => single.clone(),
                    several => H::pack(public, several, self.shape(row, 1))?,
                };
                let first = g * self.group();
                let result = match offsets {
                    None => packed,
                    Some(offsets) => {
                        let slots = self.offsets(row, &offsets[first..first + group.len()])?;
                        H::add_plain(public, &packed, &slots)
                    }
                };
                results.push((result, self.shape(row, group.len())));
            }
        }
        Ok(Sealed::to_bytes(public, &Sealed::<H>::seal(public, &results, rng)))
    }

    /// The offsets of one group, each repeated for the samples of the row.
    fn offsets(&self, row: usize, offsets: &[i128]) -> Result<Plaintext> {
        let samples = self.samples_in(row).len();
        let slots = offsets.iter().flat_map(|&o| core::iter::repeat_n(o, samples)).collect();
        Plaintext::new(self.slot_bits, slots)
    }

    /// Client: decrypts a block of sealed groups to `[outputs, batch]`.
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
        let features = |g: usize| self.group().min(self.outputs - g * self.group());
        let groups = self.outputs.div_ceil(self.group());
        let shapes =
            (0..self.rows()).flat_map(|row| (0..groups).map(move |g| self.shape(row, features(g))));
        let shaped: Vec<_> = received.into_iter().zip(shapes).collect();
        let plaintexts = H::decrypt_many(secret, &shaped)?;
        let mut values = Array2::zeros((self.outputs, self.batch));
        for (n, plaintext) in plaintexts.iter().enumerate() {
            let (row, first) = (n / groups, n % groups * self.group());
            let samples = self.samples_in(row);
            for (j, slots) in plaintext.values().chunks(samples.len()).enumerate() {
                for (sample, &value) in samples.clone().zip(slots) {
                    values[[first + j, sample]] = value;
                }
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clear::{Clear, ClearKey};
    use crate::linear::{LinearMap, Tap};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    proptest! {
        /// decrypt(evaluate(encrypt(x))) = E·x + offset, for every batch and group.
        #[test]
        fn encrypted_equals_plain(batch in 1usize..30, outputs in 1u32..9, seed: u64) {
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            let rows: Vec<_> = (0..outputs)
                .map(|o| (0..3).map(|i| Tap { source: i, weight: 3 * o + i }).collect())
                .collect();
            let linear = LinearMap::new(3, 3 * outputs as usize, &rows, (0..outputs).collect())
                .unwrap();
            let mut draw = |n: usize| -> Vec<i128> {
                (0..n).map(|_| i128::from(rand_core::Rng::next_u32(rng) % 201) - 100).collect()
            };
            let weights = draw(linear.weights());
            let offsets = draw(linear.outputs());
            let x = Array2::from_shape_vec((3, batch), draw(3 * batch)).unwrap();
            let exchange = Exchange {
                inputs: 3,
                outputs: linear.outputs(),
                batch,
                slot_bits: 20,
                slots: Clear::slots(&ClearKey::new(256).unwrap(), 20),
                taps: linear.forward_taps().len(),
            };
            let key = ClearKey::new(256).unwrap();
            let up = exchange.encrypt::<Clear>(&key, &x, rng).unwrap();
            let down = exchange
                .evaluate::<Clear>(&key, linear.forward_taps(), &weights, Some(&offsets), &up, rng)
                .unwrap();
            let z = exchange.decrypt::<Clear>(&key, &down).unwrap();
            prop_assert_eq!(z, linear.forward(&weights, &offsets, x.view(), 1));
            prop_assert_eq!(up.len(), exchange.ciphertexts_up() * 64);
            prop_assert_eq!(down.len(), exchange.ciphertexts_down() * 64);
            prop_assert!(exchange.evaluate::<Clear>(
                &key, linear.forward_taps(), &weights, None, &up[1..], rng).is_err());
        }
    }
}
