//! CryptoNets with today's TFHE: linear layers on LWE ciphertexts, one programmable bootstrap for
//! each activation.
//!
//! CryptoNets squares because its scheme can only add and multiply. TFHE (Chillotti, Gama, Georgieva,
//! Izabachène, *Journal of Cryptology* 2020) evaluates a table of any function while it refreshes a
//! ciphertext, at one price for all of them, and adds ciphertexts for next to nothing. So a network
//! is
//!
//! ```text
//! real number a  ──▶  torus element α·a in ℝ/ℤ, encrypted with noise
//! z = W·a + b    ──▶  Σ Kᵢ·⟦α·aᵢ⟧ + β·b  =  ⟦β·z⟧,   K = round(s·W),  β = α·s        no bootstrap
//! a' = f(z)      ──▶  a bootstrap whose table holds α'·f(z) at β·z                    any f
//! ```
//!
//! Nothing is exact here and nothing needs to be: a number is a point on the circle, known up to the
//! noise. The half of the circle from −1/4 to 1/4 holds the range of z (the table is negacyclic: **what leaves
//! that range comes back with the wrong sign**), so β is chosen layer by layer from the largest z that
//! calibration data reach, plus a margin. A [`Plan`] does this, predicts the noise of every layer
//! from the formulas in [`noise`], chooses s where rounding of weights and noise together are least,
//! and refuses a network whose range leaves too little precision, by the layer's name.
//!
//! | step | who | cost at [`Parameters::fast`] |
//! |---|---|---|
//! | encrypt, a seed and 8 bytes a number | client | microseconds |
//! | multiply-accumulate | server | 1 µs |
//! | key switch and bootstrap | server | about 26 ms |
//! | decrypt | client | microseconds |
//!
//! # Security
//! The parameters are tfhe's own for 128 bits, symmetric encryption by the client. The server learns
//! nothing but sizes. **There is no circuit privacy**: scores are not flooded with noise (a torus of 64 bits
//! has no room for it), and their noise depends on the server's weights; the client, who holds the key,
//! could learn more from it than the scores. And decrypted scores carry an error that depends on the key:
//! **the client must never send decrypted values, or whether they looked wrong, back to the server**
//! (IND-CPA-D; Li and Micciancio, EUROCRYPT 2021).
//!
//! | file | idea |
//! |---|---|
//! | `parameters` | which lattice, which decompositions, how large keys and ciphertexts are |
//! | [`noise`] | how much noise each operation adds |
//! | `plan` | scales, integers and tables of a network |
//! | `client` | keys, encryption of inputs, decryption of scores |
//! | `server` | linear maps and bootstraps |
//! | `measure` | how precise it is, layer by layer |

mod client;
mod measure;
pub mod noise;
mod parameters;
mod plan;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientKey, EncryptedInputs, EncryptedScores};
pub use measure::{LayerPrecision, precision};
pub use parameters::{Gadget, Parameters};
pub use plan::{Function, Layer, Plan, Range, StagePlan};
pub use server::{EvaluationKey, Progress};
