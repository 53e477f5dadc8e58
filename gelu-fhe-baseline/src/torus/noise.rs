//! How much noise each operation adds, as variances on the torus ℝ/ℤ.
//!
//! The usual heuristics (Chillotti et al. 2020, sections 3 and 4; keys of independent fair bits,
//! rounding errors uniform and independent), with n the small dimension, N the ring's size, B and ℓ
//! base and levels of a decomposition and ρ its rounding:
//!
//! ```text
//! sum with integers K   ‖K‖² · V
//! key switch            N·ℓ·(B² + 2)/12 · σ²small  +  N/2 · ρ²
//! modulus switch        (1/(2N))² · (1 + n/4)/12            centred: Σ eᵢ·(sᵢ − 1/2)
//! bootstrap             n · ( 2·ℓ·N·(B² + 2)/12 · σ²large  +  (1 + N/2)/2 · ρ² )
//! ```
//!
//! The arithmetic of the Fourier transform in `f64` adds to the last, which a test against measured
//! noise bounds.

use super::Parameters;

/// A fresh encryption.
pub fn fresh(parameters: &Parameters) -> f64 {
    parameters.large_noise().powi(2)
}

/// What a key switch to the small lattice adds.
pub fn key_switch(parameters: &Parameters) -> f64 {
    let gadget = parameters.key_switch();
    let dimension = parameters.large_dimension() as f64;
    let digits = (gadget.base().powi(2) + 2.0) / 12.0;
    dimension * gadget.levels as f64 * digits * parameters.small_noise().powi(2)
        + dimension / 2.0 * gadget.rounding().powi(2)
}

/// What rounding to the entries of a table adds.
pub fn modulus_switch(parameters: &Parameters) -> f64 {
    let step = 0.5 / parameters.polynomial_size() as f64;
    step.powi(2) * (1.0 + parameters.small_dimension() as f64 / 4.0) / 12.0
}

/// The noise of a bootstrap's result.
pub fn bootstrap(parameters: &Parameters) -> f64 {
    let gadget = parameters.bootstrap();
    let size = parameters.polynomial_size() as f64;
    let digits = (gadget.base().powi(2) + 2.0) / 12.0;
    let products = 2.0 * gadget.levels as f64 * size * digits * parameters.large_noise().powi(2);
    let rounding = (1.0 + size / 2.0) / 2.0 * gadget.rounding().powi(2);
    parameters.small_dimension() as f64 * (products + rounding)
}
