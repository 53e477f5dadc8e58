//! The paper's figures, and more.

pub mod cost;
mod layer;
pub mod precision;
pub mod roofline;
pub mod training;
