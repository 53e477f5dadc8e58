//! Where the attacks take place: data, a model, sessions of the real machines over
//! [`Clear`], which send what Paillier would send and hide nothing from a test.

use std::sync::Arc;

use gelu_algebra::cut;
use gelu_core::clear::ClearKey;
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::plan::Purpose;
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Backend, Clear};
use gelu_nn::{Dataset, Model, Sequential, zoo};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::view::{Answer, Batch, Knowledge, equations};
use crate::exhibit::Image;
use crate::setting::Setting;
use crate::{Error, exhibit};

/// The learning rate of every lease here.
pub const RATE: f64 = 0.1;

/// Pictures to attack with.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// To train with.
    pub train: Dataset,
    /// Pixels across and down.
    pub side: u32,
    /// A pixel is a multiple of 1 / levels.
    pub levels: f64,
    /// What they are, for captions.
    pub name: &'static str,
}

impl Pictures {
    /// MNIST from the setting's folder; without one the 8x8 digits that the program carries.
    ///
    /// # Errors
    /// What reading the folder says.
    pub fn load(setting: &Setting) -> Result<Self, Error> {
        match setting.data.as_deref().filter(|dir| dir.join("mnist").is_dir()) {
            Some(dir) => Ok(Self {
                train: Dataset::load("mnist", dir)?,
                side: 28,
                levels: 255.0,
                name: "MNIST",
            }),
            None => Ok(Self::small()),
        }
    }

    /// The 8x8 digits that the program carries.
    pub fn small() -> Self {
        Self { train: Dataset::digits(), side: 8, levels: 16.0, name: "8x8 digits" }
    }

    /// The network for them: dense, one hidden layer (the paper's, for MNIST).
    pub fn architecture(&self) -> Sequential {
        if self.side == 28 { zoo::mnist_dense() } else { zoo::digits() }
    }

    /// Pixels.
    pub fn pixels(&self) -> usize {
        self.train.inputs()
    }

    /// A picture of values; those below 0 and above 1 are cut off.
    pub fn image(&self, values: &[f64], label: impl Into<String>) -> Image {
        image(self.side, values, label)
    }

    /// A picture of values of any size: the smallest is paper, the largest ink.
    pub fn stretched(&self, values: &[f64], label: impl Into<String>) -> Image {
        stretched(self.side, values, label)
    }
}

/// Values as grey, row by row; those below 0 and above 1 are cut off.
pub fn image(width: u32, values: &[f64], label: impl Into<String>) -> Image {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    let byte = |v: &f64| (cut(*v) * 255.0).round() as u8;
    Image { width, pixels: values.iter().map(byte).collect(), label: label.into() }
}

/// Values of any size as grey, row by row: the smallest is paper, the largest ink.
pub fn stretched(width: u32, values: &[f64], label: impl Into<String>) -> Image {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if most > least { most - least } else { 1.0 };
    let values: Vec<f64> = values.iter().map(|v| (v - least) / range).collect();
    image(width, &values, label)
}

/// A model behind a server, and a client.
#[derive(Debug)]
pub struct Scene {
    /// The model.
    pub model: Model,
    seed: u64,
    key_bits: u32,
}

/// An open session.
pub struct Session<H: Backend> {
    /// Both machines.
    pub pair: Pair<H>,
    /// The client's key.
    pub secret: Arc<H::SecretKey>,
    /// Everybody's randomness.
    pub rng: ChaCha20Rng,
}

impl Scene {
    /// A server of `model`; `seed` fixes all randomness of its sessions.
    pub fn new(model: Model, seed: u64, key_bits: u32) -> Self {
        Self { model, seed, key_bits }
    }

    /// A session in which the client gives its sums away.
    ///
    /// # Errors
    /// What the machines say.
    pub fn open(&self, policy: Policy) -> Result<Session<Clear>, Error> {
        self.open_with(policy, DataPolicy::AllowInputReconstruction)
    }

    /// A session under both parties' policies.
    ///
    /// # Errors
    /// What the machines say.
    pub fn open_with(&self, policy: Policy, data: DataPolicy) -> Result<Session<Clear>, Error> {
        let secret = Arc::new(ClearKey::new(self.key_bits)?);
        self.open_as::<Clear>(secret, policy, data)
    }

    /// A session over any cryptosystem.
    ///
    /// # Errors
    /// What the machines say.
    pub fn open_as<H: Backend>(
        &self,
        secret: Arc<H::SecretKey>,
        policy: Policy,
        data: DataPolicy,
    ) -> Result<Session<H>, Error> {
        let host = Arc::new(PairHost::new(ServedModel::from(&self.model), "attacker", policy));
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let rate = LearningRate::Public(RATE);
        let pair = Pair::open_with(host, Arc::clone(&secret), rate, data, &mut rng)?;
        Ok(Session { pair, secret, rng })
    }
}

impl<H: Backend> Session<H> {
    /// What the client has learnt about `model` by queries (or, `training`, one lease) with
    /// `batches`.
    ///
    /// # Errors
    /// As [`equations`].
    pub fn learnt(
        &self,
        model: &Model,
        batches: &[Batch],
        training: bool,
    ) -> Result<Vec<Answer>, Error> {
        let steps = u32::try_from(batches.len()).unwrap_or(u32::MAX);
        let purpose = if training { Purpose::Training { steps } } else { Purpose::Inference };
        let known = Knowledge {
            network: model.network(),
            precision: *model.precision(),
            purpose,
            rate: RATE,
            batches,
        };
        Ok(equations::<H>(&self.pair.transcript, &self.secret, known)?)
    }
}

/// Inputs between −bound and bound, uniform: what a client sends that wants independent equations.
pub fn noise(features: usize, samples: usize, bound: f64, seed: u64) -> Batch {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let inputs = Array2::from_shape_fn((features, samples), |_| rng.random_range(-bound..bound));
    (inputs, vec![0; samples])
}

/// A share as per cent with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A measured row.
pub fn measured(cells: Vec<exhibit::Cell>) -> exhibit::Row {
    exhibit::Row { source: exhibit::Source::Measured, cells }
}
