//! The heart of gelu: what it means to compute on data one cannot see.
//!
//! This crate holds what the protocol asks of a cryptosystem ([`backend`]) and what schemes with slots
//! give for it ([`slots`]), the integers that travel ([`fixed`]), the linear maps that the server applies
//! to ciphertexts ([`linear`]), the plan that both parties derive before any key is used ([`plan`]), the
//! protocol as two machines without I/O ([`client`], [`server`]), queries whose sums nobody sees ([`blind`]),
//! and the account of what each exchange gives away ([`ledger`]).
//!
//! # The way of the data
//!
//! ```text
//!  inputs ─ Format::encode ─▶ i128 ─ Layout::encrypt ──▶ ⟦A⟧ ── server: LinearMap over ⟦·⟧ ──┐
//!     ▲                                                                                       │
//!     └── Pass: activation, exact ◀─ unmask ◀─ Layout::decrypt ◀──── sealed, packed ⟦W·A + B⟧ ┘
//! ```
//!
//! Everything here is deterministic given its arguments: no I/O, no clock, no global randomness.
//! Tensors are `ndarray` arrays of shape `[features, batch]`: one row is one feature over all
//! samples of a mini-batch, which is also one ciphertext unless another [layout](slots::SlotLayout) is cheaper.
//!
//! Source: GELU-Net, IJCAI 2018, sections 3 and 4; where this crate departs from the paper, the
//! item's documentation says so and why.
#![forbid(unsafe_code)]

pub mod backend;
pub mod blind;
pub mod circuit;
pub mod clear;
pub mod client;
pub mod conformance;
pub mod error;
pub mod fixed;
pub mod ledger;
pub mod linear;
pub mod mask;
pub mod message;
pub mod network;
pub mod pair;
pub mod pass;
pub mod plan;
pub mod server;
pub mod slots;
pub mod stats;
pub mod tape;
#[cfg(test)]
mod tests;
pub mod text;
pub mod update;

pub use backend::{Backend, Cryptosystem};
pub use clear::Clear;
pub use error::{Error, Result};
pub use fixed::{Format, Precision};
pub use linear::LinearMap;
pub use network::{LocalFunction, Loss, Network, Parameters, Stage, Step};
pub use pass::Pass;
pub use plan::Plan;
pub use rand_core;
pub use slots::{AdditiveHE, Plaintext, SlotShape};
pub use update::Update;
