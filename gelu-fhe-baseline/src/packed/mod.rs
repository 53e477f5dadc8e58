//! CryptoNets with one image in the slots of CKKS.
//!
//! Batched BFV ([`leveled`](crate::leveled)) puts thousands of images side by side; a single one takes as long.
//! Here the pixels of *one* image fill the slots, and layers are linear maps between packings: what systems such as Orion
//! (ASPLOS 2025) compile to. The packings are written for the networks of the paper ([`networks`]), and the
//! steps that they consist of run in the clear as well ([`program`]).
//!
//! ```text
//! client: encrypt, 1 ciphertext ─▶ server: maps, squares, rotations ─▶ client: decrypt 10 scores
//! ```
//!
//! # Who learns what
//! Both parties follow the protocol (semi-honest).
//!
//! | party | knows | learns |
//! | --- | --- | --- |
//! | client, [`Privacy::Plain`] | its image, s, the network's shape | the scores; and the noise of the answer, which depends on the weights and on all values in between |
//! | client, [`Privacy::Hidden`] | the same | the scores, and next to nothing else: below |
//! | server | the weights, evaluation keys | nothing about images or scores |
//! | network | sizes and times | which network it is |
//!
//! In both variants every slot of the answer holds a score, never a partial sum of weighted values. In both a client may
//! rebuild the weights from enough scores, as with every prediction service.
//!
//! ## Hidden
//! The answer is c + Enc(0) + f: a fresh encryption of 0 under the client's public key makes c₁ look uniform to whoever does
//! not know its randomness, the client included; f is normal, in each coefficient 2^[`HIDING_BITS`] times as wide as
//! the noise of the computation. Each coefficient then says less than 2^-30 about its noise in statistical distance, all
//! N = 2^14 of them less than 2^-23, if the noise is as large as [`Program::noise`] says: an estimate for values up
//! to twice those of the images that the server calibrates with. A client that sends other numbers than pixels can make
//! values and noise larger, and learns what the surplus shows; it can also make scores that do not fit. Whoever asks the
//! same query τ times averages the noise that hides, to 1/√τ: a server that fears this limits queries.
//!
//! # Precision
//! [`Server::deviation`] is the estimated deviation of a score; the tests hold encrypted scores to six of them.
//! An answer is approximate: a client must not publish it beside the ciphertext, see [`Client::decrypt`].
mod clear;
pub mod error;
mod inference;
pub mod networks;
pub mod program;

pub use error::{Error, Result};
pub use inference::{Client, ClientKeys, Exchange, HIDING_BITS, Keys, Privacy, Server};
pub use networks::{Layer, Network};
pub use program::{Diagonals, Program, Step};
