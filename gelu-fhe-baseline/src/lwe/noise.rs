//! How much noise a ciphertext may have.

use super::parameters::{FLOODED_NOISE, HALF_CELL, SEAL_NOISE};

/// A bound on |noise|, saturating: it can be too large, never too small.
///
/// It follows from who encrypted and from the magnitudes of weights, never from keys or values. It
/// stays with the party that computed it and is no part of a ciphertext's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NoiseBound(pub(crate) u128);

impl NoiseBound {
    pub(crate) const NONE: Self = Self(0);

    /// Of a sum.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Of a product with a scalar.
    pub(crate) fn times(self, magnitude: u128) -> Self {
        Self(self.0.saturating_mul(magnitude))
    }

    /// Whether the value is still what rounding gives.
    pub(crate) fn decrypts(self) -> bool {
        self.0 < HALF_CELL
    }

    /// Whether the flood covers it, so that it may be sealed.
    pub(crate) fn can_be_sealed(self) -> bool {
        self.0 <= FLOODED_NOISE - SEAL_NOISE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_never_wrap() {
        let much = NoiseBound(u128::MAX / 2);
        assert_eq!(much.plus(much).plus(much).0, u128::MAX);
        assert_eq!(much.times(3).0, u128::MAX);
        assert!(!much.times(3).decrypts() && !much.can_be_sealed());
        assert!(NoiseBound(HALF_CELL - 1).decrypts() && !NoiseBound(HALF_CELL).decrypts());
        assert!(NoiseBound::NONE.can_be_sealed() && !NoiseBound(FLOODED_NOISE).can_be_sealed());
    }
}
