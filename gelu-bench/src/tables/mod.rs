//! The paper's tables.

pub mod accuracy;
