//! Additive encryption on a ring, as a backend of [`gelu_core`].
//!
//! Plaintexts are polynomials modulo X^N + 1 and t = 2^v, encrypted as in BFV: c₀ + c₁·s = Δ·m + noise modulo q.
//! The server multiplies ciphertexts by polynomials that it knows and adds them up; there are no products of
//! ciphertexts and no keys for them. A linear layer is a product of polynomials when values and weights sit
//! in the right coefficients ([`layout`]).
//!
//! ```
//! use gelu_core::{Cryptosystem, conformance};
//! use gelu_lattice::Lattice;
//! # fn main() -> gelu_core::Result<()> {
//! # let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let secret = Lattice::keygen(4096, rng)?;
//! println!("{}", conformance::check_layouts::<Lattice>(&secret, rng));
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a value
//!
//! | step | file |
//! |---|---|
//! | which coefficient it gets | [`layout`] |
//! | ⌊Δ·m⌋ modulo q | `plain` |
//! | client: encrypted, with half a ciphertext as a seed | `upload` |
//! | server: multiplied by weights | [`gelu_ring::matrix`] |
//! | twice an encryption of 0 is added | `zero` |
//! | flooded, cut to the outputs | `answer` |
//! | in the larger ring: several answers as one | `packing` |
//! | modulo 2^w | `answer` |
//! | client: decrypted | `answer`, `plain` |
//!
//! # Security
//! The client's values are hidden by ring-LWE with 128 bits ([`parameters`]), also from quantum computers as far as is
//! known; in the larger ring, where keys for packing encrypt images of the secret under itself, also by circular
//! security. The server's weights are hidden from the owner of the key by encryptions of 0 (ring-LWE) and by
//! flooding (statistically, [`Budget::hiding_bits`] a coefficient). A public key comes with a proof that it was made of
//! small polynomials, so this holds also for a key made in bad faith, with fewer bits:
//! [`Budget::hiding_bits_from_any_key`].
//! All of the client's and the server's steps take the same time whatever the values and weights; only whether all
//! weights of a layer are short shows.
//!
//! Not audited.
#![forbid(unsafe_code)]

mod answer;
#[cfg(test)]
mod attack;
mod backend;
mod bits;
mod keyfile;
mod keys;
#[cfg(feature = "laboratory")]
pub mod laboratory;
pub mod layout;
mod packing;
pub mod parameters;
mod plain;
mod prices;
mod proof;
mod stock;
mod upload;
mod zero;

pub use backend::Lattice;
pub use gelu_keyfile::StoredKey;
pub use keyfile::{Fields, InvalidSecretKey};
pub use keys::{PublicKey, SecretKey};
pub use layout::TileLayout;
pub use parameters::{Budget, Parameters};
pub use prices::Prices;
