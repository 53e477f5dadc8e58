//! Layers, models, data sets and the plaintext trainers.
#![forbid(unsafe_code)]

pub mod data;
pub mod error;
pub mod layers;
mod loss;
mod model;
mod parameters;
mod recipe;
mod sequential;
mod storage;
pub mod zoo;

pub use data::{Batches, Dataset, Split, Standardiser};
pub use error::{Error, Result};
pub use layers::{Activation, Shape};
pub use loss::SoftmaxCrossEntropy;
pub use model::{Evaluation, Model};
pub use parameters::{FloatLayer, FloatParameters};
pub use recipe::{Recipe, Schedule};
pub use sequential::{Block, LayerSpec, LossSpec, MAX_LAYERS, Sequential};
pub use storage::FILE_FORMAT;
