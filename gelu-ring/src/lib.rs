//! Polynomials modulo X^N + 1 and many primes: what lattice schemes compute on.
//!
//! The ring is R_Q = ℤ_Q\[X\] / (X^N + 1) for a power of two N and a product Q of primes q ≡ 1 mod 2N below 2^50.
//! An element is N residues for each prime: of its coefficients, which is where size and rounding have a meaning,
//! or of its values at N roots of unity, where products are taken place by place. The way between them is
//! a [transform](ntt).
//!
//! ```
//! use gelu_ring::sample::{self, Small};
//! use gelu_ring::{Basis, Poly, primes};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! let n = 4096;
//! let primes: Vec<u64> = primes::descending(36, n).take(3).map(|q| q.value()).collect();
//! let basis = Basis::new(n, &primes)?;
//!
//! // An encryption of m under the secret s: c₀ + c₁·s = 2^60·m + e.
//! let s = Small::ternary(n, rng);
//! let mut m = vec![0i64; n];
//! m[0] = -7;
//! let mut c0 = Poly::from_signed(&basis, &m);
//! c0.scale(&basis.residues(1 << 60));
//! c0 += &Small::error(n, rng).coefficients(&basis);
//! let c1 = sample::uniform(&basis, &[1; 32], 0);
//! c0 -= &(&c1 * &s.evaluations(&basis)).into_coefficients();
//!
//! // One prime less: 2^60·m becomes about 2^24·m, which fits one prime.
//! let (c0, c1) = (c0.divide_by_last().unwrap(), c1.divide_by_last().unwrap());
//! let mut phase = (&c1 * &s.evaluations(c1.basis())).into_coefficients();
//! phase += &c0;
//! let q = basis.moduli().next().unwrap();
//! let m0 = q.centre(phase.residues(0)[0]) as f64 * primes[2] as f64 / f64::from(2).powi(60);
//! assert_eq!(m0.round(), -7.0);
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | [`modulus`], `primality`, [`primes`] | a prime below 2^50; what one is, and which there are |
//! | [`ntt`] | the transform: its law, its order, its roots |
//! | `kernel` | rows of residues: eight at a time with AVX-512 IFMA, four with AVX2 and FMA, or one at a time everywhere |
//! | [`basis`] | several primes at once |
//! | [`poly`] | polynomials by coefficients or by evaluations, as different types |
//! | [`automorphism`] | the maps a(X) → a(X^g) |
//! | [`sums`] | sums of products for two factors at once |
//! | [`packed`] | polynomials in as few bytes as they take, and sums of their products |
//! | [`matrix`] | matrices of polynomials in a power of X, times vectors |
//! | [`rns`] | numbers by their residues, change of primes |
//! | [`quotient`] | rounding division by one prime or several |
//! | [`digits`] | digits of a polynomial over more primes: switching keys |
//! | [`sample`] | uniform polynomials from a seed; ternary secrets, binomial errors |
//! | [`limits`] | how large a modulus may be for N |
//! | [`bytes`] | residues as bytes, and what is checked when they come back |
//! | `memory` | rows, aligned and reused |
//! | `constant_time` | whether time tells secrets |
//!
//! `examples/transforms.rs` measures the transforms, `examples/matrices.rs` the matrices.
//!
//! # Ranges
//! A residue is below its prime wherever this crate takes or gives one, and all kernels give the same: what they
//! leave above q between two steps never leaves a function.
//!
//! # Security
//! This is arithmetic, not a scheme: which N, Q and errors are secure is for schemes to say, by the table in [`limits`]. All operations on
//! residues, and the sampling of secrets, take the same time for all values, in all kernels; reading bytes and
//! comparing with `==` do not. Small secret polynomials and all scratch are wiped on drop; other
//! polynomials where they are held as `Zeroizing<Poly<_>>`. No residue is printed.
//!
//! Not audited.
#![deny(unsafe_code)]

pub mod automorphism;
pub mod basis;
pub mod bytes;
#[cfg(test)]
mod constant_time;
pub mod digits;
mod kernel;
pub mod limits;
pub mod matrix;
mod memory;
pub mod modulus;
pub mod ntt;
pub mod packed;
pub mod poly;
mod primality;
pub mod primes;
pub mod quotient;
pub mod rns;
pub mod sample;
pub mod sums;
#[cfg(test)]
mod testing;

pub use automorphism::Automorphism;
pub use basis::Basis;
pub use digits::{Decomposition, Digits};
pub use matrix::Matrix;
pub use modulus::Modulus;
pub use packed::Packed;
pub use poly::{Coefficients, Evaluations, Poly};
pub use quotient::Division;
pub use rns::Conversion;
