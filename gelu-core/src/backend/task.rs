//! A task: one linear map over encrypted values, with the bounds of its numbers.

use crate::error::RangeError;
use crate::linear::LinearMap;

/// Which way an exchange goes through its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Activations in, weighted sums out.
    Forward,
    /// Errors in, propagated errors out.
    Backward,
}

impl core::fmt::Display for Direction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        })
    }
}

/// What a backend is asked to carry: Z = W·X + b forwards, Q = Wᵀ·D backwards.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The layer's name, for errors.
    pub layer: &'a str,
    /// The linear map.
    pub linear: &'a LinearMap,
    /// Which way.
    pub direction: Direction,
    /// Samples.
    pub batch: usize,
    /// Bits of the widest value of the result, sign included; where values
    /// [wrap](super::Backend::WRAPS), of the widest true one.
    pub value_bits: u32,
    /// Bits of the widest entry of the matrix, sign included. In a training of a backend that
    /// [wraps](super::Backend::WRAPS): bits of a weight, T for every layer, at least `value_bits`; entries
    /// are sums of weights, and count modulo 2^`value_bits`.
    pub weight_bits: u32,
}

/// Bits of values that [wrap](super::Backend::WRAPS), sign included, at most: so a product of two of them,
/// as of a mask and an input, stays in `i128`.
pub const MAX_WRAPPING_BITS: u32 = 62;

impl Task<'_> {
    /// Its numbers need more bits than the `available` ones.
    pub fn too_wide(&self, available: u32) -> RangeError {
        let layer = format!("{} ({})", self.layer, self.direction);
        RangeError::Slot { layer, needed: self.value_bits, available }
    }
}
