//! Polynomials modulo X^N + 1.
#![deny(unsafe_code)]

pub mod bytes;
mod kernel;
mod memory;
pub mod modulus;
pub mod ntt;
pub mod poly;
pub mod primes;
pub mod rns;
pub mod sample;
#[cfg(test)]
mod testing;

pub use modulus::Modulus;
pub use poly::{Coefficients, Evaluations, Poly};
pub use rns::{Basis, Conversion};
