//! TFHE's ciphertexts under GELU-Net's own protocol: [`Tfhe`], an
//! [`AdditiveHE`](gelu_core::AdditiveHE) backend.
//!
//! A TFHE ciphertext is a sample of *learning with errors* (Regev, STOC 2005; in this form Chillotti,
//! Gama, Georgieva and Izabachène, ASIACRYPT 2016): for a binary secret s and a value v,
//!
//! ```text
//! ⟦v⟧ = (a, b)      b = ⟨a, s⟩ + noise + v·2^87      modulo 2^128
//!
//! ⟦v⟧ + ⟦w⟧ = ⟦v + w⟧          k·⟦v⟧ = ⟦k·v⟧          the noise adds up likewise
//! ```
//!
//! Linear layers are therefore ordinary integer arithmetic on vectors, where Paillier has powers
//! modulo n². That is what TFHE's own networks do between two bootstraps; here a client decrypts,
//! applies the exact activation and encrypts again, as in the paper, and no bootstrap is left.
//!
//! ```
//! use gelu_core::{AdditiveHE, Plaintext, SlotShape};
//! use gelu_fhe_baseline::lwe::{KEY_BITS, Tfhe};
//! # fn main() -> gelu_core::Result<()> {
//! let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let secret = Tfhe::keygen(KEY_BITS, rng)?;
//! let public = Tfhe::public_key(&secret);
//!
//! let a = Tfhe::encrypt(public, &Plaintext::new(32, vec![3])?, rng)?;
//! let b = Tfhe::encrypt_as_owner(&secret, &Plaintext::new(32, vec![10])?, rng)?;
//! let c = Tfhe::linear_combination(public, &[(2, &a), (-1, &b)])?;
//!
//! let shape = SlotShape { bits: 32, count: 1 };
//! assert_eq!(Tfhe::decrypt(&secret, &c, shape)?.values(), [-4]);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | `parameters` | dimension, noise and bits, and why |
//! | `noise` | a bound on the noise that travels with a ciphertext, inside one party |
//! | `ring` | products with a public matrix of polynomials, by number theoretic transforms |
//! | `sample` | random words, bits and noise |
//! | `keys`, `keyfile` | who may know what; keys on disk |
//! | `ciphertext`, `encryption` | arithmetic; encryption and decryption by the owner |
//! | `seal` | encryptions of zero, and what hides the weights |
//! | `linear` | the server's sums |
//! | `scheme`, `wire` | the trait; bytes and their validation |
//!
//! # Facts
//!
//! | | |
//! |---|---|
//! | security | 132 bits by tfhe's curve, IND-CPA |
//! | plaintext | one slot of up to 41 bits, exact |
//! | failures of decryption | none between honest parties within the budget: noise is bounded |
//! | budget of a sum | Σ\|k\| ≤ 2^29 over ciphertexts from the wire, else an error |
//! | ciphertext | 81,936 bytes, either way |
//! | public key | 81,953 bytes |
//! | secret key | 5,120 bits, made of 32 bytes |
//! | licence | tfhe: BSD-3-Clause-Clear, which grants no patents |
//!
//! With 41 bits there is inference, and not training: masked weights alone have more than 80. The
//! planner refuses it, naming the layer.
//!
//! # Security
//! *The client's data* is protected from the server by learning with errors with binary secrets,
//! and for the public key and encryptions by others than the owner by its module form (rank 5, ring
//! dimension 1024), in the random oracle model for the expansion of the matrix. *The server's
//! weights* are protected from what mask, noise and overflow of an answer would tell, whatever key
//! and ciphertexts the client made; the file `seal` has the argument. Ciphertexts are malleable:
//! IND-CPA, nothing more.
//!
//! Decryption rounds, so what the client computes with, and sends back encrypted, is an exact
//! integer without a trace of noise: the attacks of Li and Micciancio (EUROCRYPT 2021) on schemes
//! whose decryptions are approximate find nothing. Those on failing decryptions (Cheon, Choe,
//! Passelègue, Stehlé and Suvanto, 2024) need failures, and there are none.
//!
//! | who acts | constant in time with respect to |
//! |---|---|
//! | owner: generation, encryption, decryption | key and message |
//! | others: encryption, seals | message, randomness (a flood is drawn again once in 2^39) |
//! | server: `mul_plain` | ciphertext and scalar |
//! | server: `linear_combination`, `matvec` | ciphertexts, and weights but for which are zero |
//!
//! where 64-bit multiplications take constant time, and as far as tfhe's transforms do. Keys are
//! wiped on drop; the states of generators and values inside tfhe's functions are out of reach.
//!
//! Not audited.

mod ciphertext;
mod encryption;
mod keyfile;
mod keys;
mod linear;
mod noise;
#[cfg(test)]
mod noise_laws;
mod parameters;
mod ring;
mod sample;
mod scheme;
mod seal;
mod wire;

pub use ciphertext::Ciphertext;
pub use gelu_keyfile::StoredKey;
pub use keyfile::{Damaged, KeyFileError};
pub use keys::{PublicKey, SecretKey};
pub use parameters::{DIMENSION, FLOOD_BITS, KEY_BITS, PLAINTEXT_BITS, POLYNOMIAL_SIZE, RANK};
pub use scheme::Tfhe;
