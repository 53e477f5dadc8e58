//! Training the head of a network on encrypted features, under CKKS.
#![forbid(unsafe_code)]

pub mod compute;
pub mod data;
pub mod error;
pub mod layout;
pub mod message;
pub mod plain;
pub mod plan;
pub mod scores;
pub mod sigmoid;
pub mod state;

pub use compute::ComputeParty;
pub use data::DataParty;
pub use error::{Error, Result};
pub use layout::Layout;
pub use plain::{Head, Preparation, Rows};
pub use plan::{Plan, Settings};
pub use scores::Scores;
pub use sigmoid::{Activation, Sigmoid};
pub use state::State;
