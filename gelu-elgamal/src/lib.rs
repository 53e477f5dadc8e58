//! Exponential ElGamal on Ristretto as an [`AdditiveHE`](gelu_core::AdditiveHE) backend, and
//! [ElGamal-Net](net) on it: the oldest system that GELU-Net is compared with.
//!
//! ElGamal, *A public key cryptosystem and a signature scheme based on discrete logarithms* (IEEE
//! Transactions on Information Theory, 1985), with the message in the exponent (Cramer, Gennaro and
//! Schoenmakers, EUROCRYPT '97), in the group of prime order that RFC 9496 makes from Curve25519.
//! For a secret x and h = x·G, an integer m and a uniform r:
//!
//! ```text
//! Enc(m)  =  (r·G,  m·G + r·h)
//!
//! Enc(a) + Enc(b)  =  Enc(a + b)          k · Enc(a)  =  Enc(k·a)
//! ```
//!
//! A ciphertext is 64 bytes, an addition takes a quarter of a microsecond. The price: decryption ends
//! at m·G, and from there m has to be searched, so numbers must be small. One slot, 40 bits.
//!
//! ```
//! use gelu_core::{AdditiveHE, Cryptosystem, Plaintext, SlotShape};
//! use gelu_elgamal::{ElGamal as E, KEY_BITS};
//! # fn main() -> gelu_core::Result<()> {
//! let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let secret = E::keygen(KEY_BITS, rng)?;
//! let public = E::public_key(&secret);
//!
//! let a = E::encrypt(public, &Plaintext::new(32, vec![3])?, rng)?;
//! let b = E::encrypt(public, &Plaintext::new(32, vec![10])?, rng)?;
//! let c = E::linear_combination(public, &[(2, &a), (-1, &b)])?;
//!
//! let shape = SlotShape { bits: 32, count: 1 };
//! assert_eq!(E::decrypt(&secret, &c, shape)?.values(), [-4]);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | [`baby_steps`] | small discrete logarithms: range, memory, time, and what time tells |
//! | `multiscalar` | sums of products with short weights |
//! | `keys` | generation, checks, who may know what |
//! | `ciphertext` | the scheme by itself: an encrypted integer |
//! | `scheme`, `wire` | the trait; bytes and their validation |
//! | `keyfile` | keys on disk |
//! | [`net`] | ElGamal-Net: two parties train on divided data |
//!
//! `examples/elgamal_speed.rs` measures, `examples/elgamal_net.rs` trains.
//!
//! # Security
//! *The client's data* is protected from the server by the decisional Diffie-Hellman assumption in
//! a group of 252 bits: about 126 bits of security, none against a quantum computer. *The server's
//! weights* are protected from what a response's randomness would tell, whatever key the client
//! chose, without any assumption: [rerandomised](gelu_core::AdditiveHE::rerandomize) ciphertexts
//! are uniform. They are *not* protected from overflow: there is no room for a mask above the slot,
//! so a client that encrypts numbers far beyond the range gets results against which it can check
//! guesses about weights. Paillier has that room; here the server would have to bound what its
//! clients encrypt, which nothing does. Ciphertexts are malleable: IND-CPA, nothing more.
//!
//! | who acts | constant in time with respect to |
//! |---|---|
//! | owner: encryption, key generation | key and message |
//! | owner: decryption | key; *not* the size of the message, unless [`Search::WholeRange`] |
//! | others: encryption, rerandomisation | message and randomness |
//! | server: `mul_plain`, `linear_combination`, `matvec` | ciphertexts, *not* weights |
//!
//! Keys are wiped on drop; points and products that a multiplication leaves on the stack are not.
//!
//! Not audited.
#![forbid(unsafe_code)]

pub mod baby_steps;
mod ciphertext;
mod keyfile;
mod keys;
mod multiscalar;
pub mod net;
#[cfg(test)]
mod oracle;
mod scheme;
mod wire;

pub use baby_steps::{BabySteps, Decoder, RANGE_BITS, Search};
pub use ciphertext::Ciphertext;
pub use gelu_keyfile::StoredKey;
pub use keyfile::KeyFileError;
pub use keys::{InvalidSecretKey, KEY_BITS, PUBLIC_KEY_BYTES, PublicKey, SecretKey};
pub use scheme::ElGamal;
