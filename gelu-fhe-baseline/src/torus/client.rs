//! The client: keys, encryption of inputs, decryption of scores.

use core::fmt;

use gelu_core::error::{ApiMisuse, PeerMisbehaved, Result};
use rand_core::CryptoRng;
use tfhe::core_crypto::commons::generators::DeterministicSeeder;
use tfhe::core_crypto::commons::math::random::Seed;
use tfhe::core_crypto::prelude::*;
use zeroize::Zeroize;

use super::plan::{from_torus, to_torus};
use super::{EvaluationKey, Parameters, Plan};

/// The keys of both lattices. Wiped on drop.
pub struct ClientKey {
    parameters: Parameters,
    pub(super) small: LweSecretKeyOwned<u64>,
    pub(super) ring: GlweSecretKeyOwned<u64>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Drop for ClientKey {
    fn drop(&mut self) {
        self.small.as_mut().zeroize();
        self.ring.as_mut().zeroize();
    }
}

/// Inputs under encryption: a seed for all masks, and a body for each.
#[derive(Debug, Clone, PartialEq)]
pub struct EncryptedInputs {
    seed: u128,
    bodies: Vec<u64>,
}

/// Scores under encryption.
#[derive(Debug, Clone, PartialEq)]
pub struct EncryptedScores {
    pub(super) ciphertexts: Vec<LweCiphertextOwned<u64>>,
}

impl ClientKey {
    /// Fresh keys.
    ///
    /// tfhe's generators are AES in counter mode with keys of 128 bits, drawn from `rng`.
    pub fn generate(parameters: Parameters, rng: &mut dyn CryptoRng) -> Self {
        let mut generator = SecretRandomGenerator::<DefaultRandomGenerator>::new(seed(rng));
        let standard = parameters.standard();
        let small =
            allocate_and_generate_new_binary_lwe_secret_key(standard.lwe_dimension, &mut generator);
        let ring = allocate_and_generate_new_binary_glwe_secret_key(
            standard.glwe_dimension,
            standard.polynomial_size,
            &mut generator,
        );
        Self { parameters, small, ring }
    }

    /// The lattices.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What the server needs to bootstrap.
    pub fn evaluation_key(&self, rng: &mut dyn CryptoRng) -> EvaluationKey {
        EvaluationKey::generate(self, rng)
    }

    /// Encrypts one sample for a plan.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for a sample of another length.
    pub fn encrypt(
        &self,
        plan: &Plan,
        sample: &[f64],
        rng: &mut dyn CryptoRng,
    ) -> Result<EncryptedInputs> {
        if sample.len() != plan.inputs() {
            let (expected, got) = (vec![plan.inputs()], vec![sample.len()]);
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        let mask_seed = seed(rng);
        let encoded: Vec<_> = sample.iter().map(|x| to_torus(x * plan.input_scale())).collect();
        let key = self.large();
        let mut list = SeededLweCiphertextList::new(
            0u64,
            key.lwe_dimension().to_lwe_size(),
            LweCiphertextCount(sample.len()),
            mask_seed.into(),
            self.parameters.standard().ciphertext_modulus,
        );
        let mut noise = DeterministicSeeder::<DefaultRandomGenerator>::new(seed(rng));
        let mut generator =
            EncryptionRandomGenerator::<DefaultRandomGenerator>::new(mask_seed, &mut noise);
        encrypt_seeded_lwe_ciphertext_list_with_pre_seeded_generator(
            &key,
            &mut list,
            &PlaintextList::from_container(encoded),
            self.parameters.standard().glwe_noise_distribution,
            &mut generator,
        );
        Ok(EncryptedInputs { seed: mask_seed.0, bodies: list.into_container() })
    }

    /// Decrypts scores, with the noise that they carry. Not to be sent back: see the
    /// [module](super).
    pub fn decrypt(&self, plan: &Plan, scores: &EncryptedScores) -> Vec<f64> {
        let scale = plan.output_scale();
        scores.ciphertexts.iter().map(|c| self.phase(c) / scale).collect()
    }

    /// What a ciphertext of the large lattice says, noise included, in [-1/2, 1/2): to measure noise
    /// with.
    pub(super) fn phase(&self, ciphertext: &LweCiphertextOwned<u64>) -> f64 {
        from_torus(decrypt_lwe_ciphertext(&self.large(), ciphertext).0)
    }

    pub(super) fn large(&self) -> LweSecretKeyView<'_, u64> {
        self.ring.as_lwe_secret_key()
    }
}

impl EncryptedInputs {
    /// A seed of 16 bytes, then 8 bytes an input, all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bodies = self.bodies.iter().flat_map(|body| body.to_le_bytes());
        self.seed.to_le_bytes().into_iter().chain(bodies).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote for `count` inputs.
    ///
    /// # Errors
    /// [`PeerMisbehaved::CiphertextLength`]; every bit string of the right length is a ciphertext.
    pub fn from_bytes(bytes: &[u8], count: usize) -> Result<Self> {
        let expected = 16 + 8 * count;
        let Some((seed, bodies)) = bytes.split_first_chunk().filter(|_| bytes.len() == expected)
        else {
            return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
        };
        Ok(Self { seed: u128::from_le_bytes(*seed), bodies: words(bodies) })
    }

    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// The ciphertexts, their masks expanded.
    pub(super) fn expand(self, parameters: &Parameters) -> Vec<LweCiphertextOwned<u64>> {
        let modulus = parameters.standard().ciphertext_modulus;
        let size = LweSize(parameters.large_dimension() + 1);
        let list = SeededLweCiphertextList::from_container(
            self.bodies,
            size,
            Seed(self.seed).into(),
            modulus,
        );
        let list = list.decompress_into_lwe_ciphertext_list();
        let own = |c: LweCiphertextView<'_, u64>| {
            LweCiphertextOwned::from_container(c.as_ref().to_vec(), modulus)
        };
        list.iter().map(own).collect()
    }
}

impl EncryptedScores {
    /// Every ciphertext as 8 bytes a coefficient, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.ciphertexts.iter().flat_map(|c| c.as_ref());
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads `count` scores.
    ///
    /// # Errors
    /// As [`EncryptedInputs::from_bytes`].
    pub fn from_bytes(parameters: &Parameters, bytes: &[u8], count: usize) -> Result<Self> {
        let expected = parameters.ciphertext_bytes() * count;
        if bytes.len() != expected {
            return Err(PeerMisbehaved::CiphertextLength { expected, got: bytes.len() }.into());
        }
        let modulus = parameters.standard().ciphertext_modulus;
        let chunks = bytes.chunks_exact(parameters.ciphertext_bytes());
        let read = |chunk| LweCiphertextOwned::from_container(words(chunk), modulus);
        Ok(Self { ciphertexts: chunks.map(read).collect() })
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight"))).collect()
}

/// 128 fresh bits for one of tfhe's generators.
pub(super) fn seed(rng: &mut dyn CryptoRng) -> Seed {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    let seed = Seed(u128::from_le_bytes(bytes));
    bytes.zeroize();
    seed
}
