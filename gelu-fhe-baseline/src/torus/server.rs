//! The server: linear maps and bootstraps, on all cores.

use core::sync::atomic::{AtomicUsize, Ordering};

use gelu_core::error::{ApiMisuse, PeerMisbehaved, Result};
use rand_core::CryptoRng;
use rayon::prelude::*;
use tfhe::core_crypto::commons::generators::DeterministicSeeder;
use tfhe::core_crypto::prelude::*;

use super::client::{ClientKey, EncryptedInputs, EncryptedScores, seed};
use super::plan::StagePlan;
use super::{Parameters, Plan};

/// A ciphertext of the large lattice.
type Ciphertext = LweCiphertextOwned<u64>;

/// The keys of a client's bootstraps, expanded for use.
#[derive(Debug)]
pub struct EvaluationKey {
    parameters: Parameters,
    bootstrap: FourierLweBootstrapKeyOwned,
    key_switch: LweKeyswitchKeyOwned<u64>,
}

/// How far an evaluation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The layer at work.
    pub layer: &'a str,
    /// Outputs done.
    pub done: usize,
    /// Outputs in all.
    pub of: usize,
}

impl EvaluationKey {
    pub(super) fn generate(key: &ClientKey, rng: &mut dyn CryptoRng) -> Self {
        let parameters = *key.parameters();
        let standard = parameters.standard();
        let mut seeder = DeterministicSeeder::<DefaultRandomGenerator>::new(seed(rng));
        let (base_log, levels) = parameters.bootstrap().parts();
        let seeded = par_allocate_and_generate_new_seeded_lwe_bootstrap_key(
            &key.small,
            &key.ring,
            base_log,
            levels,
            standard.glwe_noise_distribution,
            standard.ciphertext_modulus,
            &mut seeder,
        );
        let expanded: LweBootstrapKeyOwned<u64> = seeded.par_decompress_into_lwe_bootstrap_key();
        let mut bootstrap = FourierLweBootstrapKey::new(
            expanded.input_lwe_dimension(),
            expanded.glwe_size(),
            expanded.polynomial_size(),
            base_log,
            levels,
        );
        par_convert_standard_lwe_bootstrap_key_to_fourier(&expanded, &mut bootstrap);
        let (base_log, levels) = parameters.key_switch().parts();
        let key_switch = allocate_and_generate_new_seeded_lwe_keyswitch_key(
            &key.large(),
            &key.small,
            base_log,
            levels,
            standard.lwe_noise_distribution,
            standard.ciphertext_modulus,
            &mut seeder,
        );
        let key_switch = key_switch.par_decompress_into_lwe_keyswitch_key();
        Self { parameters, bootstrap, key_switch }
    }

    /// Evaluates a planned network on one encrypted sample.
    ///
    /// `progress` is called from several threads after each output of a layer with a table.
    ///
    /// # Errors
    /// [`PeerMisbehaved::CiphertextLength`] for another number of inputs, [`ApiMisuse`] for a plan made for
    /// other parameters.
    pub fn evaluate(
        &self,
        plan: &Plan,
        inputs: EncryptedInputs,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<EncryptedScores> {
        let mut ciphertexts = self.accept(plan, inputs)?;
        for stage in plan.stages() {
            let sums = self.sums(stage, &ciphertexts);
            ciphertexts = self.look_up(stage, sums, progress);
        }
        Ok(EncryptedScores { ciphertexts })
    }

    /// Checks and expands what a client sent.
    pub(super) fn accept(&self, plan: &Plan, inputs: EncryptedInputs) -> Result<Vec<Ciphertext>> {
        if plan.parameters() != &self.parameters {
            return Err(ApiMisuse::configuration("plan", "made for other parameters").into());
        }
        if inputs.len() != plan.inputs() {
            let (expected, got) = (plan.inputs(), inputs.len());
            return Err(PeerMisbehaved::CiphertextLength { expected, got }.into());
        }
        Ok(inputs.expand(&self.parameters))
    }

    /// ⟦β·z⟧ for every output of a layer, moved up by a quarter where a table follows.
    pub(super) fn sums(&self, stage: &StagePlan, inputs: &[Ciphertext]) -> Vec<Ciphertext> {
        let modulus = self.parameters.standard().ciphertext_modulus;
        let sum = |output: usize| {
            let mut sum = vec![0u64; self.parameters.large_dimension() + 1];
            for tap in stage.layer.taps.of(output) {
                let k = stage.integers[tap.weight as usize].cast_unsigned();
                let input = inputs[tap.source as usize].as_ref();
                if k != 0 {
                    sum.iter_mut()
                        .zip(input)
                        .for_each(|(sum, &x)| *sum = sum.wrapping_add(k.wrapping_mul(x)));
                }
            }
            let body = sum.last_mut().expect("a body");
            *body = body.wrapping_add(stage.torus_offsets[output]);
            LweCiphertextOwned::from_container(sum, modulus)
        };
        (0..stage.outputs()).into_par_iter().map(sum).collect()
    }

    /// ⟦α'·f(z)⟧ from ⟦β·z + 1/4⟧, for every sum; the sums themselves where no table follows.
    pub(super) fn look_up(
        &self,
        stage: &StagePlan,
        sums: Vec<Ciphertext>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Vec<Ciphertext> {
        let Some(table) = &stage.table else { return sums };
        let standard = self.parameters.standard();
        let table = allocate_and_trivially_encrypt_new_glwe_ciphertext(
            standard.glwe_dimension.to_glwe_size(),
            &PlaintextList::from_container(table.as_slice()),
            standard.ciphertext_modulus,
        );
        let (done, of) = (AtomicUsize::new(0), sums.len());
        let one = |sum: &Ciphertext| {
            let result = self.bootstrap(sum, &table);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { layer: stage.name(), done, of });
            result
        };
        sums.par_iter().map(one).collect()
    }

    /// Key switch, centred modulus switch, blind rotation of the table, extraction.
    fn bootstrap(&self, sum: &Ciphertext, table: &GlweCiphertextOwned<u64>) -> Ciphertext {
        let modulus = self.parameters.standard().ciphertext_modulus;
        let size = self.key_switch.output_lwe_size();
        let mut small = LweCiphertext::new(0u64, size, modulus);
        keyswitch_lwe_ciphertext(&self.key_switch, sum, &mut small);
        let polynomial_size = self.bootstrap.polynomial_size();
        let log_modulus = polynomial_size.to_blind_rotation_input_modulus_log();
        let switched =
            lwe_ciphertext_centered_binary_modulus_switch::<u64, usize, _>(small, log_modulus);
        let mut rotated = table.clone();
        blind_rotate_assign(&switched, &mut rotated, &self.bootstrap);
        let size = self.bootstrap.output_lwe_dimension().to_lwe_size();
        let mut result = LweCiphertext::new(0u64, size, modulus);
        extract_lwe_sample_from_glwe_ciphertext(&rotated, &mut result, MonomialDegree(0));
        result
    }
}
