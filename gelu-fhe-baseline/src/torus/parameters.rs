//! Which lattice, which decompositions, and how large keys and ciphertexts are.

use tfhe::core_crypto::prelude::*;
use tfhe::shortint::parameters::ClassicPBSParameters;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128 as STANDARD;

/// How a decomposition approximates a number of the torus: by `levels` digits of `base_log` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gadget {
    /// Bits of a digit.
    pub base_log: usize,
    /// Number of digits.
    pub levels: usize,
}

impl Gadget {
    /// Half a digit, in units of the digit below: the largest |digit|.
    pub(super) fn base(self) -> f64 {
        libm::exp2(self.base_log as f64)
    }

    /// The standard deviation of what the digits leave out, on the torus.
    pub(super) fn rounding(self) -> f64 {
        libm::exp2(-((self.base_log * self.levels) as f64)) / 12f64.sqrt()
    }

    pub(super) fn parts(self) -> (DecompositionBaseLog, DecompositionLevelCount) {
        (DecompositionBaseLog(self.base_log), DecompositionLevelCount(self.levels))
    }
}

/// A choice of lattices and decompositions: see [`fast`](Self::fast), [`precise`](Self::precise).
///
/// Security is that of the dimensions and noises, which are tfhe 1.8's
/// `V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_GAUSSIAN_2M128` in both cases: 128 bits, by the lattice
/// estimator as Zama ran it. Decompositions change speed and precision, not security.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    name: &'static str,
    bootstrap: Gadget,
}

impl Parameters {
    /// Bits of security.
    pub const SECURITY_BITS: u32 = 128;

    /// tfhe's own decompositions: one digit of 23 bits in a bootstrap.
    pub const fn fast() -> Self {
        let (base_log, levels) = (STANDARD.pbs_base_log.0, STANDARD.pbs_level.0);
        Self { name: "fast", bootstrap: Gadget { base_log, levels } }
    }

    /// Two digits of 15 bits in a bootstrap: about half as fast again, and the noise of its result 2^7 times smaller,
    /// for layers that sum many activations.
    pub const fn precise() -> Self {
        Self { name: "precise", bootstrap: Gadget { base_log: 15, levels: 2 } }
    }

    /// `fast` or `precise`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Dimension of the lattice of a bootstrap's input.
    pub fn small_dimension(&self) -> usize {
        STANDARD.lwe_dimension.0
    }

    /// Size of the ring, and entries of an activation's table.
    pub fn polynomial_size(&self) -> usize {
        STANDARD.polynomial_size.0
    }

    /// Dimension of the lattice of inputs, activations and scores.
    pub fn large_dimension(&self) -> usize {
        STANDARD.glwe_dimension.0 * STANDARD.polynomial_size.0
    }

    /// Standard deviation of the noise in the small lattice, on the torus.
    pub fn small_noise(&self) -> f64 {
        STANDARD.lwe_noise_distribution.gaussian_std_dev().0
    }

    /// Standard deviation of the noise in the large lattice, on the torus.
    pub fn large_noise(&self) -> f64 {
        STANDARD.glwe_noise_distribution.gaussian_std_dev().0
    }

    /// The decomposition of a key switch.
    pub fn key_switch(&self) -> Gadget {
        Gadget { base_log: STANDARD.ks_base_log.0, levels: STANDARD.ks_level.0 }
    }

    /// The decomposition of a bootstrap.
    pub fn bootstrap(&self) -> Gadget {
        self.bootstrap
    }

    /// Bytes of one ciphertext of the large lattice.
    pub fn ciphertext_bytes(&self) -> usize {
        8 * (self.large_dimension() + 1)
    }

    /// Bytes of what the client keeps, at one bit a coefficient.
    pub fn client_key_bytes(&self) -> usize {
        (self.small_dimension() + self.large_dimension()).div_ceil(8)
    }

    /// Bytes of the server's key as the client sends it, masks given by seeds.
    pub fn evaluation_key_bytes(&self) -> usize {
        let rows = STANDARD.glwe_dimension.0 + 1;
        let bootstrap =
            self.small_dimension() * self.bootstrap.levels * rows * self.polynomial_size();
        let key_switch = self.large_dimension() * self.key_switch().levels;
        8 * (bootstrap + key_switch)
    }

    /// Bytes of the server's key in its memory.
    pub fn expanded_key_bytes(&self) -> usize {
        let rows = STANDARD.glwe_dimension.0 + 1;
        let bootstrap =
            self.small_dimension() * self.bootstrap.levels * rows * rows * self.polynomial_size();
        let key_switch =
            self.large_dimension() * self.key_switch().levels * (self.small_dimension() + 1);
        8 * (bootstrap + key_switch)
    }

    pub(super) const fn standard(&self) -> &'static ClassicPBSParameters {
        const { &STANDARD }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_standard() {
        let fast = Parameters::fast();
        assert_eq!((fast.small_dimension(), fast.polynomial_size()), (866, 2048));
        assert_eq!(fast.ciphertext_bytes(), 16_392);
        assert_eq!(fast.evaluation_key_bytes(), 8 * (866 * 2 * 2048 + 2048 * 5));
        assert_eq!(Parameters::precise().bootstrap().levels, 2);
        assert_eq!(Parameters::precise().small_noise(), fast.small_noise());
    }
}
