//! The two parties: a client with a batch of samples, a server with a circuit.
//!
//! ```text
//! client                                      server
//! key ─────────────────────────────────────▶  once
//! for each t:  ⟦x₁⟧ … ⟦xₙ⟧ ────────────────▶  evaluates all layers
//!              ◀──────────────── ⟦y₁⟧ … ⟦yₖ⟧
//! combines the residues: y, exactly
//! ```
//!
//! Ciphertext i holds feature i of every sample, a slot each, so a batch costs the same for one
//! sample as for all slots. The moduli t are served one after the other, which keeps only one set
//! of ciphertexts in memory.

use std::time::{Duration, Instant};

use gelu_core::error::{ApiMisuse, Result};
use gelu_ring::Poly;
use gelu_ring::sample::Seed;
use ndarray::{Array2, ArrayView2};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::evaluate::{Evaluator, LevelKey};
use super::layers::Layers;
use super::noise::{self, Stage};
use super::parameters::Parameters;
use super::scheme::SecretKey;
use super::wire;
use crate::Circuit;

/// The party that has the samples and the secret key, and learns the results.
#[derive(Debug)]
pub struct Client {
    parameters: Parameters,
    secret: SecretKey,
    inputs: usize,
    outputs: usize,
    input_bound: u64,
}

impl Client {
    /// A client with a fresh key, for a circuit of which only shape and bounds matter.
    pub fn generate(circuit: &Circuit, parameters: &Parameters, rng: &mut dyn CryptoRng) -> Self {
        let secret = SecretKey::generate(parameters, rng);
        let (inputs, outputs) = (circuit.inputs(), circuit.outputs());
        let (parameters, input_bound) = (parameters.clone(), circuit.input_bound());
        Self { parameters, secret, inputs, outputs, input_bound }
    }

    /// What the server needs once, for all queries and all plaintext moduli: the key of
    /// relinearisation, which is public.
    pub fn evaluation_key(&self, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let key = super::scheme::RelinearisationKey::generate(&self.secret, rng);
        wire::key_to_bytes(&self.parameters, &key)
    }

    /// Encrypts a batch `[features, samples]` modulo plaintext modulus number `index`.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for other features or more samples than slots;
    /// [`ApiMisuse::Configuration`] for a value beyond the circuit's bound.
    pub fn encrypt(
        &self,
        index: usize,
        inputs: ArrayView2<'_, i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let (features, samples) = inputs.dim();
        if features != self.inputs || samples > self.parameters.slots() {
            let expected = vec![self.inputs, self.parameters.slots()];
            return Err(ApiMisuse::Shape { expected, got: vec![features, samples] }.into());
        }
        self.check_index(index)?;
        let seed = rng.random();
        let secrets: Zeroizing<Vec<Seed>> =
            Zeroizing::new((0..features).map(|_| rng.random()).collect());
        let bound = u128::from(self.input_bound);
        wire::query_to_bytes(&self.parameters, index, seed, features, |n| {
            let narrow =
                |&v: &i128| i64::try_from(v).ok().filter(|v| u128::from(v.unsigned_abs()) <= bound);
            let row: Option<Vec<_>> = inputs.row(n).iter().map(narrow).collect();
            let why = || ApiMisuse::configuration("inputs", format!("must be at most {bound}"));
            let row = Zeroizing::new(row.ok_or_else(why)?);
            let mut rng = ChaCha20Rng::from_seed(secrets[n]);
            self.secret.encrypt(index, &row, (seed, n as u64), &mut rng)
        })
    }

    /// Decrypts the results `[outputs, slots]` modulo plaintext modulus number `index`.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no answer.
    pub fn decrypt(&self, index: usize, answer: &[u8]) -> Result<Array2<u64>> {
        self.check_index(index)?;
        let results = wire::answer_from_bytes(&self.parameters, index, self.outputs, answer)?;
        let slots: Vec<_> =
            results.iter().flat_map(|c| self.secret.decrypt(index, c).to_vec()).collect();
        Ok(Array2::from_shape_vec((self.outputs, self.parameters.slots()), slots)
            .expect("all slots"))
    }

    /// The exact results `[outputs, samples]` from the residues modulo each plaintext modulus.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] unless there is one array of [`decrypt`](Self::decrypt) for each;
    /// [`ApiMisuse::Configuration`] for a number that is not below its modulus.
    pub fn combine(&self, residues: &[Array2<u64>], samples: usize) -> Result<Array2<i128>> {
        let moduli: Vec<_> = self.parameters.plaintext_moduli().collect();
        let shape = (self.outputs, self.parameters.slots());
        let fits = residues.iter().all(|r| r.dim() == shape) && residues.len() == moduli.len();
        if !fits || samples > shape.1 {
            let expected = vec![moduli.len(), shape.0, shape.1];
            let got = residues.iter().flat_map(|r| r.shape().to_vec()).chain([samples]).collect();
            return Err(ApiMisuse::Shape { expected, got }.into());
        }
        if residues.iter().zip(&moduli).any(|(r, t)| r.iter().any(|x| x >= t)) {
            let why = "must be below their plaintext modulus".to_owned();
            return Err(ApiMisuse::configuration("residues", why).into());
        }
        // As if the slots were coefficients: the Chinese remainder theorem is the same.
        let basis = self.parameters.plaintext_product();
        let mut results = Array2::zeros((self.outputs, samples));
        for (output, mut row) in results.outer_iter_mut().enumerate() {
            let all = Zeroizing::new(Poly::from_residues(basis, |i, row| {
                row.iter_mut().zip(residues[i].row(output)).for_each(|(x, &r)| *x = r);
            }));
            let integers = all.integers().expect("checked by the parameters");
            row.iter_mut().zip(integers).for_each(|(result, x)| *result = x);
        }
        Ok(results)
    }

    fn check_index(&self, index: usize) -> Result<()> {
        check_index(&self.parameters, index)
    }
}

/// How long a layer took.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTime {
    /// The layer: a step of the circuit, or `square+` the step whose sums it joins.
    pub layer: String,
    /// Wall-clock time.
    pub time: Duration,
}

/// The party that has the circuit, and sees ciphertexts only.
pub struct Server {
    parameters: Parameters,
    layers: Layers,
    stages: Vec<Stage>,
    keys: Vec<Option<LevelKey>>,
    inputs: usize,
}

impl Server {
    /// A server for one client's key.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no key,
    /// [`PeerIncompatible`](gelu_core::error::PeerIncompatible) for a key of other parameters;
    /// [`ApiMisuse::Configuration`] naming the layer when the parameters are too small.
    pub fn new(circuit: &Circuit, parameters: &Parameters, key: &[u8]) -> Result<Self> {
        let layers = Layers::of(circuit)?;
        let stages = noise::plan(&layers, &parameters.budget())?;
        let key = wire::key_from_bytes(parameters, key)?;
        let mut keys: Vec<_> = (0..parameters.limbs()).map(|_| None).collect();
        let mut limbs = parameters.limbs();
        for (layer, stage) in layers.0.iter().zip(&stages) {
            if layer.squares && keys[limbs - 1].is_none() {
                keys[limbs - 1] = Some(LevelKey::new(parameters, &key, limbs));
            }
            limbs = stage.limbs;
        }
        let (parameters, inputs) = (parameters.clone(), circuit.inputs());
        Ok(Self { parameters, layers, stages, keys, inputs })
    }

    /// Evaluates the circuit on a query modulo plaintext modulus number `index`, and tells after each
    /// layer how long it took.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes that are no query of this
    /// circuit.
    pub fn answer(
        &self,
        index: usize,
        query: &[u8],
        mut report: impl FnMut(&LayerTime),
    ) -> Result<Vec<u8>> {
        check_index(&self.parameters, index)?;
        let mut timed = |layer: &str, since: Instant| {
            report(&LayerTime { layer: layer.to_owned(), time: since.elapsed() });
        };
        let start = Instant::now();
        let mut x = wire::query_from_bytes(&self.parameters, index, self.inputs, query)?;
        timed("read", start);
        let evaluator = Evaluator { parameters: &self.parameters, index, keys: &self.keys };
        for (layer, stage) in self.layers.0.iter().zip(&self.stages) {
            let start = Instant::now();
            x = evaluator.layer(layer, &x, stage);
            timed(&layer.name, start);
        }
        Ok(wire::answer_to_bytes(&self.parameters, index, &x))
    }

    /// For each layer the limbs that its outputs keep and the predicted margin of the noise in bits.
    pub fn plan(&self) -> impl Iterator<Item = (&str, usize, f64)> {
        let stages = self.layers.0.iter().zip(&self.stages);
        stages.map(|(layer, stage)| (layer.name.as_str(), stage.limbs, stage.margin))
    }
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

fn check_index(parameters: &Parameters, index: usize) -> Result<()> {
    let count = parameters.plaintext_moduli().len();
    match index < count {
        true => Ok(()),
        false => {
            let why = format!("there are {count}, number {index} was asked for");
            Err(ApiMisuse::configuration("plaintext modulus", why).into())
        }
    }
}
