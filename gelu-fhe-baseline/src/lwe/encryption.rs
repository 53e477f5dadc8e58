//! Encryption and decryption by the owner, with tfhe's own functions.

use gelu_core::error::{ApiMisuse, Error, Result};
use gelu_core::{Plaintext, SlotShape};
use rand_core::CryptoRng;
use rayon::prelude::*;
use tfhe::core_crypto::commons::math::random::{Seed, Seeder};
use tfhe::core_crypto::prelude::{
    DefaultRandomGenerator, EncryptionRandomGenerator, Plaintext as Encoded,
    decrypt_lwe_ciphertext, encrypt_lwe_ciphertext,
};
use zeroize::Zeroizing;

use super::ciphertext::{Ciphertext, decode, encode, fits, value};
use super::keys::{SecretKey, draw_seed};
use super::noise::NoiseBound;
use super::parameters::{OWNER_NOISE, PLAINTEXT_BITS, lwe_dimension, noise};

impl SecretKey {
    /// Encrypts each plaintext, on all processors.
    ///
    /// The mask and the noise of each have a generator of their own, with a seed of 128 bits from
    /// `rng`, so results do not depend on who works on which.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotOverflow`] for more than one slot or more than 42 bits.
    pub(crate) fn encrypt_all(
        &self,
        plaintexts: &[Plaintext],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<Ciphertext>> {
        plaintexts.iter().try_for_each(|plaintext| check_shape(plaintext.shape()))?;
        let seeds: Vec<_> = plaintexts.iter().map(|_| (draw_seed(rng), draw_seed(rng))).collect();
        let encrypt = |(plaintext, &(mask, noise)): (&Plaintext, &(Seed, Seed))| {
            self.encrypt_value(value(plaintext), mask, noise)
        };
        Ok(plaintexts.par_iter().zip(&seeds).map(encrypt).collect())
    }

    fn encrypt_value(&self, value: i128, mask_seed: Seed, noise_seed: Seed) -> Ciphertext {
        let words = vec![0; lwe_dimension().to_lwe_size().0];
        let mut result = Ciphertext::new(self.public_key(), words, NoiseBound(OWNER_NOISE));
        let mut generator = EncryptionRandomGenerator::<DefaultRandomGenerator>::new(
            mask_seed,
            &mut Fixed(noise_seed),
        );
        let encoded = Encoded(encode(value));
        encrypt_lwe_ciphertext(&self.lwe(), &mut result.lwe, encoded, noise(), &mut generator);
        result
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

    /// v·2^86 + noise.
    pub(crate) fn phase(&self, ciphertext: &Ciphertext) -> u128 {
        decrypt_lwe_ciphertext(&self.lwe(), &ciphertext.lwe).0
    }
}

/// One slot of at most 42 bits.
pub(crate) fn check_shape(shape: SlotShape) -> Result<()> {
    if !fits(shape) {
        let needed = u32::try_from(shape.total_bits()).unwrap_or(u32::MAX);
        return Err(ApiMisuse::SlotOverflow { needed, available: PLAINTEXT_BITS }.into());
    }
    Ok(())
}

/// Hands a seed that was drawn before to tfhe, which asks once.
struct Fixed(Seed);

impl Seeder for Fixed {
    fn seed(&mut self) -> Seed {
        self.0
    }

    fn is_available() -> bool {
        true
    }
}
