//! The security laboratory: attacks on this system, undefended and defended.

pub mod algebra;
pub mod extraction;
pub mod factorisation;
pub mod last_layer;
pub mod permutation;
pub mod reconstruction;
pub mod scene;
pub mod view;
