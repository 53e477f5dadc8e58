//! The Paillier cryptosystem as an [`AdditiveHE`](gelu_core::AdditiveHE) backend.
//!
//! Paillier, *Public-key cryptosystems based on composite degree residuosity classes* (EUROCRYPT
//! '99). For n = p·q, a message m in ℤ/n and random r, with g = 1 + n:
//!
//! ```text
//! Enc(m)  =  (1 + n)^m · rⁿ  =  (1 + m·n) · rⁿ     mod n²
//!
//! Enc(a) · Enc(b)  =  Enc(a + b)          Enc(a)^k  =  Enc(k·a)
//! ```
//!
//! So sums cost one multiplication, scalar products one exponentiation, and a layer of a neural
//! network is a product of powers.
//!
//! ```
//! use gelu_core::{AdditiveHE, Cryptosystem, Plaintext};
//! use gelu_paillier::InsecurePaillier as P; // 512 bits, to be quick; use `Paillier`
//! # fn main() -> gelu_core::Result<()> {
//! let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let secret = P::keygen(512, rng)?;
//! let public = P::public_key(&secret);
//!
//! let a = P::encrypt(public, &Plaintext::new(32, vec![3, -4])?, rng)?;
//! let b = P::encrypt(public, &Plaintext::new(32, vec![10, 20])?, rng)?;
//! let c = P::linear_combination(public, &[(2, &a), (-1, &b)])?;
//!
//! let shape = gelu_core::SlotShape { bits: 32, count: 2 };
//! assert_eq!(P::decrypt(&secret, &c, shape)?.values(), [-4, -28]);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | `kernel` | products modulo n²: eight at a time with AVX-512 IFMA, four with AVX2 and FMA, or one everywhere |
//! | `ring`, `elements` | arithmetic modulo n², or p² and q² side by side, and the ways in and out; many residues in one block |
//! | `full_lanes` | independent products, collected until the lanes of the kernel are full |
//! | `power`, `power_table` | long powers; random powers of fixed bases |
//! | `linear` | encrypted matrix products, by the algorithm that needs the fewest products |
//! | `digits` | slots: a row of signed integers as one integer modulo n |
//! | `keys` | generation, checks, who may know what |
//! | `certificate` | what a public modulus can be made to prove, and why the server needs it |
//! | `noise` | four kinds of noise, and which of them hide weights from the key's owner |
//! | `tables`, `memory` | what a key keeps for its noise; what the tables of all keys together may take |
//! | `owner`, `prime_products` | decryption and encryption modulo p² and q²; the owner's noise |
//! | `arithmetic`, `hash` | what happens once a key: arithmetic modulo n, numbers that nobody chose |
//! | `scheme`, `ciphertext`, `wire` | the trait; what it computes on; bytes and their validation |
//! | `batches` | many encryptions, seals and decryptions at once |
//! | `stock` | noise made in idle time |
//! | `keyfile`, [`phe`] | keys on disk; exchange with python-paillier |
//! | [`measure`], `constant_time` | how fast it is; whether time tells secrets |
//!
//! `docs/src/paillier.md` tells it as a story.
//!
//! # Security
//! *The client's data* is protected from the server by the decisional composite residuosity
//! assumption. (Encryption by the owner also leans on the even spread of products of small primes,
//! see `prime_products`, unless its key asks for [`OwnerNoise::Uniform`]; that by others on short
//! discrete logarithms, see [`Noise`].) *The server's
//! weights* are protected from what a response's noise and overflow would tell, whatever key the
//! client chose; the result itself is the client's to know. Ciphertexts are malleable: IND-CPA,
//! nothing more.
//!
//! | who acts | constant in time with respect to |
//! |---|---|
//! | owner: decryption, certificate | key and message |
//! | owner: encryption | message and noise |
//! | owner: generation, loading of keys | nothing |
//! | others: encoding of messages | message |
//! | others: noise | exponents, up to the cache lines of table look-ups |
//! | server: `mul_plain`, `linear_combination`, `matvec` | ciphertexts, *not* weights |
//!
//! Keys, encoded plaintexts and noise are wiped on drop (`owner` says what is out of reach); the
//! generators that noise is drawn from are not.
//!
//! Not audited.
#![deny(unsafe_code)]

mod arithmetic;
mod batches;
mod certificate;
mod ciphertext;
#[cfg(test)]
mod constant_time;
mod digits;
mod elements;
mod full_lanes;
mod hash;
mod kernel;
mod keyfile;
mod keys;
mod linear;
pub mod measure;
mod memory;
mod noise;
#[cfg(test)]
mod oracle;
mod owner;
pub mod phe;
mod power;
mod power_table;
mod prime_products;
mod ring;
mod scheme;
mod stock;
mod tables;
mod wire;

pub use ciphertext::Ciphertext;
pub use gelu_keyfile::StoredKey;
pub use keyfile::KeyFileError;
pub use keys::{InvalidSecretKey, PublicKey, STANDARD_KEY_BITS, SecretKey};
pub use linear::prices;
pub use noise::Noise;
pub use owner::OwnerNoise;
pub use scheme::{InsecureKeys, InsecurePaillier, KeyPolicy, Paillier, Scheme, StandardKeys};
