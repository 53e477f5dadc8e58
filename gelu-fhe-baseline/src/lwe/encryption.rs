//! Encryption and decryption by the owner.

use gelu_core::error::{ApiMisuse, Error, Result};
use gelu_core::{Plaintext, SlotShape};
use rand_core::CryptoRng;
use rayon::prelude::*;
use tfhe::core_crypto::algorithms::slice_algorithms::slice_wrapping_dot_product;
use tfhe::core_crypto::prelude::decrypt_lwe_ciphertext;
use zeroize::Zeroizing;

use super::ciphertext::{Ciphertext, decode, encode, fits, value};
use super::keys::SecretKey;
use super::noise::NoiseBound;
use super::parameters::{DIMENSION, NOISE_BITS, OWNER_NOISE, PLAINTEXT_BITS};
use super::sample::{Sampler, seeds};

impl SecretKey {
    /// Encrypts each plaintext, on all processors.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] for more than one slot or more than 41 bits.
    pub(crate) fn encrypt_all(
        &self,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        plaintexts.iter().try_for_each(|plaintext| check_shape(plaintext.shape()))?;
        let seeds = seeds(plaintexts.len(), rng);
        let encrypt = |(plaintext, seed): (&Plaintext, &[u8; 32])| {
            self.encrypt_value(value(plaintext), Sampler::new(*seed))
        };
        Ok(plaintexts.par_iter().zip(&*seeds).map(encrypt).collect())
    }

    /// (a, ⟨a, s⟩ + noise + v·2^87).
    fn encrypt_value(&self, value: i128, mut sampler: Sampler) -> Ciphertext {
        let mut words = vec![0; DIMENSION + 1];
        let (mask, body) = words.split_at_mut(DIMENSION);
        sampler.uniform(mask);
        let inner = slice_wrapping_dot_product(mask, self.lwe().as_ref());
        body[0] = inner.wrapping_add(encode(value));
        sampler.add_noise(NOISE_BITS, body);
        Ciphertext::new(self.public_key(), words, NoiseBound(OWNER_NOISE))
    }

    /// Decrypts slots of the given shape.
    ///
    /// The only work on the key is an inner product by multiplications, whose time does not depend
    /// on it on processors that multiply in constant time.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] for a shape that no ciphertext holds; [`Error::Decryption`] for
    /// another key's ciphertext, one of ours with too much noise, and −2^(bits − 1), which no slot
    /// holds.
    pub(crate) fn decrypt(&self, ciphertext: &Ciphertext, shape: SlotShape) -> Result<Plaintext> {
        check_shape(shape)?;
        let ours = ciphertext.key == self.public_key().fingerprint();
        if !ours || !ciphertext.noise.decrypts() {
            return Err(Error::Decryption);
        }
        let phase = Zeroizing::new(self.phase(ciphertext));
        Plaintext::new(shape.bits, vec![decode(*phase, shape.bits)]).map_err(|_| Error::Decryption)
    }

    /// v·2^87 + noise.
    pub(crate) fn phase(&self, ciphertext: &Ciphertext) -> u128 {
        decrypt_lwe_ciphertext(&self.lwe(), &ciphertext.lwe).0
    }
}

/// One slot of at most 41 bits.
pub(crate) fn check_shape(shape: SlotShape) -> Result<()> {
    if !fits(shape) {
        let needed = u32::try_from(shape.total_bits()).unwrap_or(u32::MAX);
        return Err(ApiMisuse::SlotOverflow { needed, available: PLAINTEXT_BITS }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lwe::keys::tests::{KEY, rng};
    use crate::lwe::parameters::lwe_dimension;
    use tfhe::core_crypto::commons::generators::DeterministicSeeder;
    use tfhe::core_crypto::commons::math::random::Seed;
    use tfhe::core_crypto::prelude::{
        DefaultRandomGenerator, EncryptionRandomGenerator, LweCiphertext, Plaintext as Encoded,
        TUniform, encrypt_lwe_ciphertext,
    };

    /// What tfhe encrypts, we decrypt and add to ours; what we encrypt, tfhe decrypts (it is what
    /// [`SecretKey::phase`] calls).
    #[test]
    fn ciphertexts_are_those_of_tfhe() {
        let public = KEY.public_key();
        let mut seeder = DeterministicSeeder::<DefaultRandomGenerator>::new(Seed(5));
        let mut generator =
            EncryptionRandomGenerator::<DefaultRandomGenerator>::new(Seed(6), &mut seeder);
        let mut theirs = Ciphertext::trivial(public, 0);
        for value in [0, 1, -77, (1 << 40) - 1] {
            let size = lwe_dimension().to_lwe_size();
            theirs.lwe = LweCiphertext::new(0, size, theirs.lwe.ciphertext_modulus());
            theirs.noise = NoiseBound(OWNER_NOISE);
            let noise = TUniform::new(NOISE_BITS);
            let encoded = Encoded(encode(value));
            encrypt_lwe_ciphertext(&KEY.lwe(), &mut theirs.lwe, encoded, noise, &mut generator);

            let shape = SlotShape { bits: 41, count: 1 };
            assert_eq!(KEY.decrypt(&theirs, shape).unwrap().values(), [value]);
            let three = Plaintext::new(3, vec![-3]).unwrap();
            let ours = KEY.encrypt_all(&[three], &mut rng(1)).unwrap().remove(0);
            let sum = theirs.clone().add(public, &ours);
            assert_eq!(KEY.decrypt(&sum, shape).unwrap().values(), [value - 3]);
        }
    }

    #[test]
    fn items_are_independent_of_each_other() {
        let plaintext = Plaintext::new(3, vec![1]).unwrap();
        let many = KEY.encrypt_all(&vec![plaintext.clone(); 3], &mut rng(1)).unwrap();
        let one = KEY.encrypt_all(&[plaintext], &mut rng(1)).unwrap();
        assert_eq!(many[0].lwe, one[0].lwe);
        assert_ne!(many[0].lwe, many[1].lwe);
    }
}
