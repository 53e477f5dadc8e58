//! The doubly homomorphic cryptosystem BGN in prime-order form, and BGN-Net on it.
//!
//! Boneh, Goh and Nissim (TCC 2005) encrypt small integers so that anybody can add ciphertexts
//! without end and multiply them *once*, by a pairing. Their groups have composite order, which makes
//! them slow; Freeman (EUROCRYPT 2010) carries the idea over to groups of prime order. This is his
//! construction in the form that Attrapadung, Hanaoka, Mitsunari, Sakai, Shimizu and Teruya give it
//! (*Efficient two-level homomorphic encryption in prime-order bilinear groups*, ASIACCS 2018):
//! lifted ElGamal twice, once in each source group of a pairing e : G1 × G2 → GT.
//!
//! ```text
//! keys       y₁ = s₁·g₁,  y₂ = s₂·g₂                                         e = e(g₁, g₂)
//! level 1    (m·g₁ + ρ·y₁, ρ·g₁)  in G1        or  (m·g₂ + ρ·y₂, ρ·g₂)  in G2
//! product    (s, t)·(s', t') = (e(s, s'), e(s, t'), e(t, s'), e(t, t'))      four pairings
//! level 2    c₀ − s₂·c₁ − s₁·c₂ + s₁·s₂·c₃ = m·e                             in GT, additively
//! ```
//!
//! (Freeman's other instantiation rests on the decision linear assumption and takes three points and
//! nine elements of GT; on a curve without maps between G1 and G2, SXDH and two points do.) What remains of a plaintext is m·e, so
//! decryption has to find a discrete logarithm: it works for small m, by baby steps and giant steps
//! ([`Decoder`]).
//!
//! ```
//! use gelu_bgn::{Decoder, G1, G2, SecretKey};
//! # fn main() -> gelu_core::Result<()> {
//! let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let secret = SecretKey::generate(rng);
//! let public = secret.public_key();
//!
//! let (three, five) = (public.encrypt::<G1>(3, rng), public.encrypt::<G2>(-5, rng));
//! let product = public.mul(&three, &five);
//! let sum = public.add_products(&product, &public.encrypt_product(100, rng));
//!
//! let decoder = Decoder::new(16, 10)?; // |m| < 2^15, by a table of 2^10 entries
//! assert_eq!(secret.decrypt_product(&sum, decoder)?, 85);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | `group` | the three groups and the pairing: all calls of the C library, all `unsafe` code |
//! | `sums` | Σ kᵢ·Pᵢ for short signed kᵢ, by buckets |
//! | `decode` | small discrete logarithms |
//! | `keys`, `keyfile` | generation, who may know what; keys on disk |
//! | `scheme` | both levels and their laws |
//! | `wire` | bytes and their validation |
//! | `backend` | level 1 in G1 as an [`AdditiveHE`](gelu_core::AdditiveHE) backend, [`Bgn`] |
//! | [`net`] | BGN-Net: a network evaluated on this scheme, its messages and its costs |
//!
//! # Security
//! IND-CPA under SXDH: decisional Diffie–Hellman in G1 and in G2. In the source groups the best
//! attack takes 2^127 steps. In GT, a subgroup of 𝔽p¹² with p of 381 bits, it is the number field
//! sieve in the variant exTNFS: BLS12-381 is put at **117 to 120 bits** (Barbulescu and Duquesne,
//! Journal of Cryptology 2019; Guillevic, PKC 2020), somewhat above Paillier with 2048 bits and
//! somewhat below 128. Results that were rerandomised are uniform among the encryptions of their
//! plaintext, for every key that is accepted. Ciphertexts are malleable, by design.
//!
//! | who acts | constant in time with respect to |
//! |---|---|
//! | owner: decryption | key; the search tells the size of the plaintext |
//! | owner: encryption | key, message and noise |
//! | others: encryption, rerandomisation | message and noise |
//! | server: `mul_plain`, `linear_combination` | ciphertexts, *not* weights |
//! | server: `mul`, `scalar_product` | everything but which parts are the identity |
//!
//! Keys are wiped on drop. Points and field elements on the way (m·g + ρ·y before they are added up)
//! are not. Not audited; `blst` itself has been audited and verified in part.
#![deny(unsafe_code)]

mod backend;
mod decode;
#[allow(unsafe_code, reason = "all calls of the C library are in this file and its folder")]
mod group;
mod keyfile;
mod keys;
pub mod net;
mod scheme;
mod sums;
mod wire;

pub use backend::{Bgn, SLOT_BITS, TABLE_BITS};
pub use decode::{Decoder, MAX_RANGE_BITS, MAX_TABLE_BITS};
pub use gelu_keyfile::StoredKey;
pub use group::{G1, G2};
pub use keyfile::KeyFileError;
pub use keys::{InvalidSecretKey, KEY_BITS, PublicKey, SecretKey};
pub use scheme::{Ciphertext, Half, Product, SealedProduct};
