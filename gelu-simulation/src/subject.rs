//! The model of all runs, and what its answers give away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gelu_core::blind::{Answer, Circuits};
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::ledger::{Exposure, Policy};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Network, Precision};
use gelu_nn::{Activation, Model, Sequential};
use gelu_service::server::Offer;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use tempfile::TempDir;

use crate::world::{Broken, World};

/// What an answer was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Query { batch: u32 },
    Training { batch: u32, steps: u32 },
    Blind,
}

/// The model under test: small, with all that can be asked of one.
pub(crate) struct Subject {
    pub(crate) model: Model,
    served: ServedModel,
    exposures: Mutex<BTreeMap<Kind, Exposure>>,
}

pub(crate) const NAME: &str = "small";
pub(crate) const FEATURES: usize = 4;
const CLASSES: usize = 3;

impl Subject {
    pub(crate) fn get() -> &'static Self {
        static SUBJECT: OnceLock<Subject> = OnceLock::new();
        SUBJECT.get_or_init(|| {
            let architecture = Sequential::dense(FEATURES, &[3], CLASSES, Activation::Relu);
            let rng = &mut ChaCha20Rng::seed_from_u64(1);
            let model = Model::initialise(
                NAME,
                architecture.expect("a network of two layers"),
                Precision::TRAINING,
                rng,
            );
            let model = model.expect("it can be initialised");
            Self { served: ServedModel::from(&model), model, exposures: Mutex::default() }
        })
    }

    pub(crate) fn network(&self) -> &Arc<Network> {
        &self.served.network
    }

    pub(crate) fn precision(&self) -> &Precision {
        &self.served.precision
    }

    /// What a sample of this kind gives away.
    pub(crate) fn exposure(&self, kind: Kind) -> gelu_core::Result<Exposure> {
        let mut exposures = self.exposures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exposure) = exposures.get(&kind) {
            return Ok(exposure.clone());
        }
        let (network, precision) = (&*self.served.network, &self.served.precision);
        let open = |batch: u32, purpose| {
            let plan = Plan::new::<Clear>(network, precision, batch as usize, purpose, &*key())?;
            Ok::<_, gelu_core::Error>(Exposure::new(network, precision, &plan))
        };
        let exposure = match kind {
            Kind::Query { batch } => open(batch, Purpose::Inference)?,
            Kind::Training { batch, steps } => open(batch, Purpose::Training { steps })?,
            Kind::Blind => {
                let circuits = Circuits::new(network, precision, Answer::Class)?;
                Exposure::blind(network, precision, &circuits)
            }
        };
        exposures.insert(kind, exposure.clone());
        Ok(exposure)
    }
}

/// A client's key.
pub(crate) fn key() -> Arc<ClearKey> {
    Arc::new(ClearKey::new(2048).expect("a size that the mock has"))
}

/// The terms on which the model in `folder` is served.
pub(crate) fn offer(folder: &TempDir) -> Offer<Clear> {
    let mut offer = Offer::new(folder.path().join(FILE), LearningRate::Public(0.25));
    offer.policy = Policy::AllowModelExtraction;
    offer
}

/// A folder with the model's file.
pub(crate) fn folder() -> Result<TempDir, Broken> {
    let setup = |error: std::io::Error| Broken::Setup(error.to_string());
    let folder = TempDir::new().map_err(setup)?;
    let bytes = Subject::get().model.to_bytes().map_err(|e| Broken::Setup(e.to_string()))?;
    std::fs::write(folder.path().join(FILE), bytes).map_err(setup)?;
    Ok(folder)
}

pub(crate) const FILE: &str = "model.safetensors";

/// Inputs, `[features, samples]`.
pub(crate) fn inputs(world: &World, samples: usize) -> Array2<f64> {
    // 1001 values: no precision is lost.
    #[allow(clippy::cast_precision_loss)]
    Array2::from_shape_simple_fn((FEATURES, samples), || world.draw(0..1001) as f64 / 500.0 - 1.0)
}

/// A mini-batch and its labels.
pub(crate) fn batch(world: &World, samples: usize) -> (Array2<f64>, Vec<usize>) {
    let labels = (0..samples).map(|_| usize::from(world.once_in(2)) + 1).collect();
    (inputs(world, samples), labels)
}
