//! Training the head of a network on encrypted features, under CKKS.
#![forbid(unsafe_code)]

pub mod error;
pub mod layout;
pub mod plain;
pub mod scores;
pub mod sigmoid;

pub use error::{Error, Result};
pub use layout::Layout;
pub use plain::{Head, Preparation, Rows};
pub use scores::Scores;
pub use sigmoid::{Activation, Sigmoid};
