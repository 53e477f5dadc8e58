//! CryptoNets as its authors meant it: BFV, one pixel a ciphertext, thousands of images at once.
//!
//! Gilad-Bachrach and others (ICML 2016) put pixel i of 8,192 images into the slots of one
//! ciphertext. Every neuron is then a sum of whole ciphertexts with known weights, every activation
//! a square, and one pass serves all slots. What is paid for is the batch: a single image takes just
//! as long.
//!
//! ```text
//! client: encrypt pixels ─▶ server: Σ w·⟦x⟧ ─▶ Σ ⟦z⟧² ─▶ Σ w·⟦a⟧² ─▶ client: decrypt, combine
//!          784 ciphertexts          720            180            10         modulo t₁, t₂
//! ```
//!
//! A [`Circuit`](crate::Circuit) goes in, its exact results come out: encrypted evaluation equals
//! [`Circuit::evaluate`](crate::Circuit::evaluate) bit for bit, for every sample of the batch.
//! [`Parameters::for_circuit`] chooses the moduli from the circuit's
//! [requirements](crate::Circuit::requirements) and from the growth of its noise, or says which layer
//! does not fit.
//!
//! # Stronger than the original
//! The baseline is meant to be as good as its literature makes it:
//!
//! - Fresh ciphertexts travel as one polynomial and a seed, answers modulo one limb (two, where t is
//!   wide).
//! - The squares that a linear step adds up are rescaled and relinearised once for the sum.
//! - Limbs that the noise no longer needs are dropped after each square.
//! - q is no larger than the circuit needs. The example takes two plaintext moduli, as CryptoNets
//!   does; where one of 50 bits is enough, it halves the time.
//!
//! # Who learns what
//! | party | knows | learns |
//! | --- | --- | --- |
//! | client | its samples, s, the circuit's shape, its bounds and so the parameters | all logits, and the noise in them |
//! | server | the circuit, the key of relinearisation, how many features | nothing about samples or results |
//! | network | sizes and times | the circuit's number of inputs and outputs |
//!
//! Both parties follow the protocol (semi-honest), as in the original. The answer's noise depends on
//! the weights and is not flooded: this is not circuit privacy, and a client may also rebuild the
//! weights from enough logits, as with every prediction service. A client must not tell the server
//! which answers failed to decrypt; with these margins none does. Decrypted values go no further
//! than the client, and are exact.
//!
//! # Where the arithmetic comes from
//! Residues, transforms, rescaling, sampling and bytes are those of `gelu-ring`. The crate `fhe` (fhe.rs, MIT) serves in
//! a test, with the feature `judge`, as the second implementation: it decrypts our ciphertexts, and its products
//! equal ours.
//!
//! # Measured
//! `gelu-bench/examples/cryptonets_batched.rs` runs 8,192 encrypted test images, compares
//! all logits and prints times, bytes and memory. [`measure_activation`] times one activation.
pub mod activation;
mod evaluate;
pub mod inference;
#[cfg(all(test, feature = "judge"))]
mod judge;
mod layers;
mod noise;
pub mod parameters;
mod scheme;
mod wire;

pub use activation::{ActivationCost, Polynomial, measure_activation};
pub use inference::{Client, LayerTime, Server};
pub use parameters::Parameters;
