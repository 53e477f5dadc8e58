//! Leveled CKKS: approximate arithmetic on packed, encrypted numbers.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod ciphertext;
mod embedding;
pub mod error;
pub mod flood;
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

pub use bytes::Unreadable;
pub use ciphertext::Ciphertext;
pub use error::{Error, Result};
pub use flood::{Decryption, Flooding, Shareable};
pub use keys::{PublicKey, SecretKey, Upload};
pub use linear::{LinearMap, Plan};
pub use multiply::Product;
pub use num_complex::Complex64;
pub use parameters::{Chain, Parameters};
pub use plaintext::Plaintext;
pub use rotate::{Extended, ExtendedPlaintext, Hoisted};
pub use scale::Scale;
pub use switching::{EvaluationKeys, KeyKind, SwitchingKey};
