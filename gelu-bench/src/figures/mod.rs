//! The paper's figures, and more.
