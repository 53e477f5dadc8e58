//! The other way to compute on encrypted data: one arithmetic circuit, no client in between.
//!
//! CryptoNets (ICML 2016) evaluates a whole network under fully homomorphic encryption. That
//! scheme adds and multiplies, so each activation becomes a polynomial (CryptoNets takes the
//! square), and it holds integers of a fixed width, so nothing can be rescaled on the way. A
//! [`Circuit`] is such a network, exact over the integers. It says what any scheme must bring to
//! run it ([`Circuit::requirements`]: bits of plaintext, depth of multiplications), and it is the
//! oracle that an encrypted evaluation must reproduce ([`Circuit::evaluate`]).
//!
//! | module | system | feature |
//! |---|---|---|
//! | [`circuit`] | exact circuits over the integers: the oracle | |
//! | `torus` | CryptoNets with today's TFHE: a bootstrap for every activation | `tfhe` |
//! | [`leveled`] | CryptoNets as its authors meant it: whole batches in the slots of BFV | |
//! | [`packed`] | one image in the slots of CKKS, squares | |
#![forbid(unsafe_code)]

pub mod circuit;
pub mod leveled;
pub mod packed;
#[cfg(feature = "tfhe")]
pub mod torus;

pub use circuit::{Circuit, Requirement, Step};
