//! The security laboratory: attacks on this system, undefended and defended.
//!
//! | module | the attacker | reads |
//! |---|---|---|
//! | [`reconstruction`] | a server | training data, from activations and updates |
//! | [`factorisation`] | a server | inputs, from the sum of a short lease |
//! | [`extraction`] | a client | all weights, from fan-in + 1 answers |
//! | [`last_layer`] | a client | the last layer, from propagated errors |
//! | [`permutation`] | a client | weights, although the neurons are permuted for each query |
//!
//! [`view`] reads what a party has really seen out of a transcript, [`algebra`] solves,
//! [`scene`] has data, models and sessions.

pub mod algebra;
pub mod extraction;
pub mod factorisation;
pub mod last_layer;
pub mod permutation;
pub mod reconstruction;
pub mod scene;
pub mod view;
