//! The paper's tables.

pub mod accuracy;
pub mod activation;
pub mod complexity;
