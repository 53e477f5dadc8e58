//! CryptoNets as its authors meant it: BFV, one pixel a ciphertext, thousands of images at once.
#![doc = ""]
mod activation;
mod evaluate;
mod inference;
mod layers;
mod noise;
mod parameters;
mod residues;
mod sampling;
mod scheme;
mod wire;

pub use activation::{ActivationCost, Polynomial, measure_activation};
pub use inference::{Client, LayerTime, Server};
pub use parameters::{Parameters, SECURITY_128};
