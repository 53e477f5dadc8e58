//! Layers, models, data sets and the plaintext trainers.
//!
//! ```text
//!  architecture (JSON) ─▶ Sequential ─▶ gelu_core::Network ─┬─▶ encrypted protocol (gelu-core)
//!                             │                             ├─▶ FixedTrainer: its oracle, in the clear
//!  safetensors ◀─▶ Model ─────┘                             └─▶ FloatTrainer: the reference
//!                    ▲
//!  CSV ─▶ Schema ─┐
//!  IDX, features ─┴─▶ Dataset ─▶ Split, Standardiser, Preparation, Batches
//! ```
//!
//! A [`Sequential`] is a checked list of [`layers`]; a [`Model`] adds a precision and integer
//! parameters and can be saved. A [`Schema`] says what its inputs and
//! classes mean, in columns and words. A [`Dataset`] holds samples; [`Batches`] fixes the order in which any trainer, encrypted or not, sees them. Two trainers work in the clear:
//! [`FixedTrainer`] computes exactly what the encrypted protocol computes, integer by integer, and
//! [`FloatTrainer`] is ordinary deep learning to compare both with. [`zoo`] lists the networks of
//! the paper with the [`Recipe`]s that train them.
//!
//! ```
//! use gelu_nn::{Batches, Dataset, FloatTrainer, Recipe, Sequential, Standardiser, zoo};
//! use rand::SeedableRng;
//! use rand::rngs::ChaCha20Rng;
//!
//! let mut rng = ChaCha20Rng::seed_from_u64(7);
//! let mut split = Dataset::iris().stratified_split(0.2, &mut rng)?;
//! let standardiser = Standardiser::fit(&split.train);
//! standardiser.apply(&mut split.train)?;
//! standardiser.apply(&mut split.test)?;
//!
//! let recipe = Recipe { epochs: 200, batch: 10, rate: 0.1, ..Recipe::default() };
//! let mut trainer = FloatTrainer::<f32>::new(&zoo::iris(), recipe, &mut rng)?;
//! trainer.train(&split.train, 7, |_| ())?;
//! assert!(trainer.accuracy(&split.test)? > 0.9);
//! # Ok::<(), gelu_nn::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod bundle;
pub mod chain;
pub mod data;
pub mod error;
pub mod fixed_trainer;
pub mod float_trainer;
pub mod layers;
pub mod loss;
pub mod model;
pub mod parameters;
pub mod recipe;
pub mod report;
pub mod schema;
pub mod scores;
pub mod sequential;
pub mod storage;
pub mod zoo;

pub use bundle::{Calibration, Provenance};
pub use chain::Link;
pub use data::{Batches, Dataset, Preparation, Split, Standardiser};
pub use error::{Error, Result};
pub use fixed_trainer::{FixedTrainer, Rate};
pub use float_trainer::{FloatTrainer, Real};
pub use layers::{Activation, Shape, Sides};
pub use loss::SoftmaxCrossEntropy;
pub use model::{Evaluation, Model};
pub use parameters::{FloatLayer, FloatParameters};
pub use recipe::{Recipe, Schedule};
pub use report::{EpochReport, StepReport};
pub use schema::Schema;
pub use scores::Scores;
pub use sequential::{Block, LayerSpec, LossSpec, MAX_LAYERS, Sequential};
pub use storage::FILE_FORMAT;
