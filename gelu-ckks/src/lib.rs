//! Leveled CKKS: approximate arithmetic on packed, encrypted numbers.
//!
//! # Why
//! The exact schemes of this project add, and multiply by what the server knows; an activation goes back to the client. CKKS
//! (Cheon, Kim, Kim and Song, ASIACRYPT 2017) multiplies ciphertexts, so a network with polynomial activations, or a step
//! of training, runs at the server with no word in between. What it costs: results are approximate, depth is bought with
//! larger rings, and a decryption must not be shown as it is ([`flood`]).
//!
//! A ciphertext holds N/2 complex numbers x at a scale Δ:
//!
//! ```text
//! c₀ + c₁·s  =  Δ·x + noise        modulo q₀·…·q_l and X^N + 1, x in its slots by the canonical embedding
//! ```
//! A product is at the scale Δ²; dividing it by the prime q_l ≈ Δ ("rescaling") brings the scale back and takes a *level*.
//!
//! ```
//! use gelu_ckks::{Chain, KeyKind, Parameters, Plaintext, SecretKey};
//! # fn main() -> gelu_ckks::Result<()> {
//! # let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let parameters = Parameters::new(&Chain::N13_LEVELS4)?;
//! let secret = SecretKey::generate(parameters.clone(), rng);
//! let kinds = [(KeyKind::Relinearization, 4), (KeyKind::Rotation(1), 2)];
//! let keys = secret.evaluation_keys(kinds, rng)?;
//!
//! // The client sends half a ciphertext; the other half follows from a seed.
//! let x = Plaintext::encode(&parameters, &[0.5, -0.25], &parameters.scale(), 4)?;
//! let x = secret.encrypt(&x, rng)?.expand();
//!
//! // The server: 0.5 + 0.2·x − 0.01·x³, and the sum of neighbours.
//! let y = x.evaluate(&[0.5, 0.2, 0.0, -0.01], &keys)?;
//! let sum = y.add(&y.rotate(1, &keys)?)?;
//!
//! let sum = secret.decrypt(&sum)?.danger_values()[0];
//! assert!((sum - (1.0 + 0.2 * 0.25 - 0.01 * (0.125 - 0.015625))).abs() < 1e-5);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | [`parameters`] | rings and chains of primes below the limits for 128 bits |
//! | [`scale`] | scales as exact rationals: equal or not |
//! | `embedding`, [`plaintext`] | numbers to polynomials and back |
//! | [`keys`], [`switching`] | secret, public, and keys that switch keys, each for a level |
//! | [`ciphertext`] | sums, plaintext factors, rescaling |
//! | [`multiply`] | products, relinearised and rescaled by one division |
//! | [`rotate`] | rotations, hoisted, and summed before the division |
//! | [`polynomial`] | polynomials at the least depth |
//! | [`linear`] | sparse maps by their diagonals |
//! | [`weighted`] | sums of ciphertexts with constant weights |
//! | `noise` | how much noise there is, as numbers |
//! | [`flood`] | what happens before a decryption is shown |
//! | [`bytes`] | everything as bytes, and what is checked |
//! | `keyfile` | secret keys on disk |
//!
//! `examples/operations.rs` measures all of it, after it has decrypted and checked the answers.
//!
//! # Security
//! Values are hidden by ring-LWE with 128 bits ([`parameters`]), from whoever sees ciphertexts and keys (IND-CPA), also from
//! quantum computers as far as is known. Key-switching keys are encryptions of s² and of s under rotations of s: that this is
//! safe is the usual circular assumption.
//!
//! - *Not* IND-CPA-D: a decryption shows its noise, and with it the key. [`Decryption`] is for the owner of the key until it is
//!   [flooded](flood).
//! - *Not* against tampering: ciphertexts are malleable by design, and a server can compute something else than agreed.
//! - The server's weights are not hidden from the owner of the key: unused slots hold sums of them, and the noise
//!   depends on them.
//!
//! What touches the secret key takes the same time for all keys, by [`gelu_ring`]; encoding and decoding are f64 arithmetic of
//! their owner's values, for which no such promise is made. Secrets are wiped on drop. Randomness is an argument
//! everywhere.
//!
//! Not audited.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod ciphertext;
mod embedding;
pub mod error;
pub mod flood;
mod keyfile;
pub mod keys;
pub mod linear;
pub mod multiply;
mod noise;
pub mod parameters;
pub mod plaintext;
pub mod polynomial;
pub mod rotate;
pub mod scale;
pub mod switching;
#[cfg(test)]
mod testing;
pub mod weighted;

pub use bytes::Unreadable;
pub use ciphertext::Ciphertext;
pub use error::{Error, Result};
pub use flood::{Decryption, Flooding, Shareable};
pub use gelu_keyfile::StoredKey;
pub use keyfile::{Fields, InvalidSecretKey};
pub use keys::{PublicKey, SecretKey, Upload};
pub use linear::{LinearMap, Plan};
pub use multiply::Product;
pub use num_complex::Complex64;
pub use parameters::{Chain, Parameters};
pub use plaintext::Plaintext;
pub use rotate::{Extended, ExtendedPlaintexts, Hoisted};
pub use scale::Scale;
pub use switching::{EvaluationKeys, KeyKind, SwitchingKey};
pub use weighted::WeightedSums;
