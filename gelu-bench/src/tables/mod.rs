//! The paper's tables.
