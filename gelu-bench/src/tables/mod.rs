//! The paper's tables.

pub mod activation;
pub mod complexity;
