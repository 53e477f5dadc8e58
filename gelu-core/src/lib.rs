//! The heart of gelu: what it means to compute on data one cannot see.
//!
//! This crate holds the promise a cryptosystem makes ([`AdditiveHE`]), the integers that travel
//! under it ([`fixed`], [`slots`]), the linear maps that the server applies to ciphertexts
//! ([`linear`]), the plan that both parties derive before any key is used ([`plan`], [`layout`],
//! [`prices`]), the protocol as two machines without I/O ([`client`], [`server`]), and the account
//! of what each exchange gives away ([`ledger`]).
//!
//! # The way of the data
//!
//! ```text
//!  inputs ─ Format::encode ─▶ i128 ─ Exchange::encrypt ─▶ ⟦A⟧ ── server: LinearMap over ⟦·⟧ ──┐
//!     ▲                                                                                       │
//!     └── Pass: activation, exact ◀─ unmask ◀─ Exchange::decrypt ◀── sealed, packed ⟦W·A + B⟧ ┘
//! ```
//!
//! Everything here is deterministic given its arguments: no I/O, no clock, no global randomness.
//! Tensors are `ndarray` arrays of shape `[features, batch]`: one row is one feature over all
//! samples of a mini-batch, which is also one ciphertext unless another [`layout`] is cheaper.
//!
//! Source: GELU-Net, IJCAI 2018, sections 3 and 4; where this crate departs from the paper, the
//! item's documentation says so and why.
#![forbid(unsafe_code)]

pub mod clear;
pub mod client;
pub mod conformance;
pub mod error;
pub mod exchange;
pub mod fixed;
pub mod he;
pub mod layout;
pub mod ledger;
pub mod linear;
pub mod mask;
pub mod message;
pub mod network;
pub mod pair;
pub mod pass;
pub mod plan;
pub mod prices;
pub mod server;
pub mod slots;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod text;

pub use clear::Clear;
pub use error::{Error, Result};
pub use fixed::{Format, Precision};
pub use he::{AdditiveHE, Sealed};
pub use linear::LinearMap;
pub use network::{LocalFunction, Loss, Network, Parameters, Stage};
pub use pass::Pass;
pub use plan::Plan;
pub use prices::Prices;
pub use rand_core;
pub use slots::{Plaintext, SlotShape};
