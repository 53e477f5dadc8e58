#![forbid(unsafe_code)]
mod baby_steps;
mod keyfile;
mod keys;
mod multiscalar;
pub mod net;
#[cfg(test)]
mod oracle;
mod scheme;
mod wire;
pub use baby_steps::{BABY_BITS, BabySteps, Decoder, RANGE_BITS, Search};
pub use keyfile::KeyFileError;
pub use keys::{InvalidSecretKey, KEY_BITS, PUBLIC_KEY_BYTES, PublicKey, SecretKey};
pub use scheme::{Ciphertext, ElGamal};
