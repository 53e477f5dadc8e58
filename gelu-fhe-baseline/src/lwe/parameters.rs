//! The numbers: dimension, noise, and where the 128 bits of a ciphertext's body go.
//!
//! ```text
//! bit 127          87+bits         87              47                      4        0
//!     ├──────────────┼──────────────┼───────────────┼──────────────────────┼────────┤
//!     │ random mask  │    value     │     flood     │ noise of the weighted sum     │
//!     └──────────────┴──────────────┴───────────────┴───────────────────────────────┘
//!       rerandomize    41 bits at most  40 bits above      fresh: 4 bits
//!                      (with the mask)  the noise
//! ```
//!
//! # Where dimension and noise come from
//! From tfhe 1.8.2 itself, whose parameters are chosen for 132 bits by the
//! [Lattice Estimator](https://github.com/malb/lattice-estimator). Its file
//! `shortint/parameters/v1_8/noise_squashing/p_fail_2_minus_128/mod.rs` has ciphertexts modulo 2^128
//! with `packing_ks_glwe_dimension` 5, `packing_ks_polynomial_size` 1024 (so dimension 5,120) and
//! `packing_ks_key_noise_distribution` TUniform(4), which are the numbers here. Its curve
//! (`core_crypto/commons/noise_formulas/secure_noise.rs`) gives the same b = ⌈132.1 − n/39.7⌉ = 4.
//! The table of the Homomorphic Encryption Standard (2018, ternary secrets, σ = 3.2, 128 bits)
//! agrees: it allows moduli of 109 bits at n = 4096 and of 218 at 8192, about 136 between them at
//! 5120; here are 128, with σ = 9.2. A test here estimates the primal attack on its own: 138 bits,
//! where that standard's sets have 128 by the same formula. (Without the formula's allowance for
//! what a sieve does besides its exponent, "core SVP", that is 105 bits, against the standard's 95.)
//!
//! A smaller dimension does not do. At n = 4096 the noise must be TUniform(30), and what is left
//! between it and 2^128 after flooding holds 29 bits of value or so, where a layer of 784 inputs takes
//! 30 at `Precision::INFERENCE`.
//!
//! # Noise
//! TUniform(b) is uniform on −2^b … 2^b with half weight on the two ends. So it has a *bound*, and
//! every law here holds with certainty, not up to a failure probability:
//!
//! | ciphertext | noise at most |
//! |---|---|
//! | encrypted by the owner | 2^4 |
//! | encrypted by others | (2·5120 + 1)·2^4 < 2^18 |
//! | Σ kᵢ·⟦aᵢ⟧ | Σ \|kᵢ\|·noiseᵢ |
//! | what sealing adds | 5120·(2^4 + 2^16) < 2^29, then a flood that fills the cell |
//! | what can be sealed | 2^47 − 5120·(2^4 + 2^16) |
//! | what decrypts | 2^86 − 1 |
//!
//! So the weights of a sum may have an l1 norm of 2^42 over ciphertexts of the owner's, which is
//! more than any sum has whose value fits 41 bits, and of 2^29 over ciphertexts that were read from
//! the wire, where nobody knows who made them. A layer that was planned for inputs of 11 bits or
//! more (12 at `Precision::INFERENCE`) cannot exceed that either: its l1 norm times 2^11 is below
//! 2^40. For shorter inputs under very large weights the sum is an error, `linear` says which.

use tfhe::core_crypto::prelude::{GlweDimension, LweDimension, PolynomialSize};

/// N: the ring is ℤ\[X\]/(X^N + 1) modulo 2^128.
pub const POLYNOMIAL_SIZE: usize = 1024;
/// k: a secret is k polynomials.
pub const RANK: usize = 5;
/// n = k·N: bits of the secret key, words of a ciphertext's mask.
pub const DIMENSION: usize = RANK * POLYNOMIAL_SIZE;
/// [`DIMENSION`], as the size of a key.
pub const KEY_BITS: u32 = 5120;

/// The widest value that a ciphertext holds, sign included.
pub const PLAINTEXT_BITS: u32 = 41;
/// A value v stands as v·2^87, in the middle of a cell of 2^87.
pub(crate) const DELTA_BITS: u32 = 128 - PLAINTEXT_BITS;
/// Bits by which the flood is wider than all noise that may be under it.
pub const FLOOD_BITS: u32 = 40;

/// b of the noise of keys and encryptions.
pub(crate) const NOISE_BITS: u32 = 4;
/// b of the noise in a seal's mask: wider, because a client in bad faith may learn up to 41 bits of
/// the secret beneath. At this width tfhe's curve asks for a dimension of 4,613, 507 less than there
/// are.
pub(crate) const SEAL_NOISE_BITS: u32 = 16;

/// Noise, at most, of what the owner encrypts.
pub(crate) const OWNER_NOISE: u128 = 1 << NOISE_BITS;
/// Noise, at most, of what others encrypt: ⟨e, r⟩ + e₂ − ⟨e₁, s⟩ with binary r and s.
pub(crate) const PUBLIC_NOISE: u128 = (2 * DIMENSION as u128 + 1) << NOISE_BITS;
/// Noise, at most, that a seal adds below the flood: ⟨e, r⟩ − ⟨e₁, s⟩.
pub(crate) const SEAL_NOISE: u128 =
    DIMENSION as u128 * ((1 << NOISE_BITS) + (1 << SEAL_NOISE_BITS));
/// All noise under a flood.
pub(crate) const FLOODED_NOISE: u128 = 1 << (DELTA_BITS - FLOOD_BITS);
/// Half a cell: noise below it decrypts.
pub(crate) const HALF_CELL: u128 = 1 << (DELTA_BITS - 1);
/// The flood is uniform on −`FLOOD` … `FLOOD` − 1: with the noise under it, it stays in the cell.
pub(crate) const FLOOD: u128 = HALF_CELL - 1 - FLOODED_NOISE;

/// n as tfhe has it.
pub(crate) fn lwe_dimension() -> LweDimension {
    GlweDimension(RANK).to_equivalent_lwe_dimension(PolynomialSize(POLYNOMIAL_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfhe::core_crypto::commons::noise_formulas::secure_noise::minimal_lwe_bound_for_132_bits_security_tuniform as secure_bound;

    const MODULUS: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

    #[test]
    fn noise_is_on_the_curve_of_132_bits() {
        assert_eq!(lwe_dimension(), LweDimension(DIMENSION));
        assert_eq!(KEY_BITS as usize, DIMENSION);
        assert_eq!(secure_bound(LweDimension(DIMENSION), MODULUS), NOISE_BITS);
        // Far more of a seal's secret may leak than the 41 bits that can.
        let left = DIMENSION - 500;
        assert!(secure_bound(LweDimension(left), MODULUS) <= SEAL_NOISE_BITS);
    }

    #[test]
    fn tfhe_has_these_parameters_itself() {
        use tfhe::shortint::parameters::v1_8::*;
        let theirs = V1_8_NOISE_SQUASHING_COMP_PARAM_GPU_MULTI_BIT_GROUP_4_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;
        assert_eq!(theirs.packing_ks_glwe_dimension.0, RANK);
        assert_eq!(theirs.packing_ks_polynomial_size.0, POLYNOMIAL_SIZE);
        assert!(theirs.ciphertext_modulus.is_native_modulus());
        let noise = theirs.packing_ks_key_noise_distribution;
        assert_eq!(
            noise,
            tfhe::shortint::parameters::DynamicDistribution::new_t_uniform(NOISE_BITS)
        );
    }

    /// The primal attack: embed the secret's vector, of n bits and m noises, in a lattice of
    /// dimension d = n + m + 1 (Bai and Galbraith 2014), and find it by BKZ with the least block size
    /// β for which (Alkim, Ducas, Pöppelmann and Schwabe 2016, section 6.3)
    ///
    /// ```text
    /// σ·√β ≤ δ^(2β − d − 1) · (q^m · ξ^n)^(1/d)      ξ = σ/σ_s      δ = ((πβ)^(1/β)·β/2πe)^(1/(2β − 2))
    /// ```
    ///
    /// The cost is that of sieving (Becker, Ducas, Gama and Laarhoven 2016) in 8d blocks.
    fn primal_attack(n: usize, modulus_bits: f64, sigma: f64, secret_sigma: f64) -> f64 {
        use core::f64::consts::{E, PI};
        let finds = |beta: f64, m: usize| {
            let d = (n + m + 1) as f64;
            let delta = (beta / (2.0 * PI * E) * (PI * beta).powf(1.0 / beta)).log2();
            let volume = m as f64 * modulus_bits + n as f64 * (sigma / secret_sigma).log2();
            sigma.log2() + beta.log2() / 2.0
                <= (2.0 * beta - d - 1.0) * delta / (2.0 * (beta - 1.0)) + volume / d
        };
        let cost = |m: usize| {
            let beta = (60..3000).map(f64::from).find(|&beta| finds(beta, m)).unwrap_or(f64::MAX);
            0.292 * beta + 16.4 + (8.0 * (n + m + 1) as f64).log2()
        };
        (n / 4..2 * n).step_by(64).map(cost).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn an_estimate_of_our_own_agrees() {
        // The standard's sets of 128 bits say whether the formula is any good.
        let ternary = (2.0f64 / 3.0).sqrt();
        for (n, modulus_bits) in [(2048, 54.0), (4096, 109.0), (8192, 218.0)] {
            let bits = primal_attack(n, modulus_bits, 3.2, ternary);
            assert!((126.0..131.0).contains(&bits), "{n}: {bits}");
        }
        // The standard deviations of TUniform(b) and of a bit.
        let sigma = |b: u32| ((f64::from(2 * b + 1).exp2() + 1.0) / 6.0).sqrt();
        let keys = primal_attack(DIMENSION, 128.0, sigma(NOISE_BITS), 0.5);
        assert!((136.0..140.0).contains(&keys), "{keys}");
        let left = DIMENSION - PLAINTEXT_BITS as usize;
        let seals = primal_attack(left, 128.0, sigma(SEAL_NOISE_BITS), 0.5);
        assert!(seals > keys, "{seals}: what may leak of a seal's secret is paid for by its noise");
    }

    #[test]
    fn the_bits_add_up() {
        assert_eq!(DELTA_BITS + PLAINTEXT_BITS, 128);
        const { assert!(SEAL_NOISE < 1 << 29 && PUBLIC_NOISE < 1 << 18) };
        let sealable = FLOODED_NOISE - SEAL_NOISE;
        // A value below 2^40 has weights of l1 norm below 2^40.
        assert!(OWNER_NOISE << (PLAINTEXT_BITS - 1) <= sealable);
        assert!((PUBLIC_NOISE << 29..PUBLIC_NOISE << 30).contains(&sealable));
        // So no layer that was planned for the usual inputs can meet the budget at run time.
        let activations = gelu_core::Precision::INFERENCE.activations;
        let input_bits = activations.integer + activations.fraction;
        assert!(PUBLIC_NOISE << (PLAINTEXT_BITS - 1 - input_bits) <= sealable);
        // Moved by the noise, a uniform flood of width w is |noise|/w away from where it was.
        assert_eq!(FLOODED_NOISE << FLOOD_BITS, 2 * HALF_CELL);
        const { assert!(FLOOD + FLOODED_NOISE < HALF_CELL) };
        const { assert!(FLOOD > HALF_CELL - (HALF_CELL >> 38)) };
    }
}
