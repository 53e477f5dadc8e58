//! The paper's figures, and more.

pub mod precision;
pub mod training;
