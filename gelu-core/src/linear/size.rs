//! How large a layer may be: counted before anything is built.
//!
//! An architecture may come from a peer, so every limit is compared with a product of the layer's
//! sizes, never with something that was allocated.

/// The most features that a layer may take or give: 2^20.
pub const MAX_FEATURES: usize = 1 << 20;

/// The most parameters of a network, and the most matrix entries of a layer: 2^24. A client that trains
/// holds several integers of 16 bytes for each.
pub const MAX_PARAMETERS: u64 = 1 << 24;

/// The most multiply-accumulates of one sample in a network: 2^32.
pub const MAX_MULTIPLY_ACCUMULATES: u64 = 1 << 32;

/// The most values into which an image is unrolled for a layer, taps of a filter times its positions: 2^24.
/// A client holds an integer of 16 bytes for each.
pub const MAX_GATHERED: u64 = 1 << 24;

/// A size that a layer cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A size is outside its domain.
    #[error("{what} is {got}, must be {expected}")]
    Domain {
        /// Which size.
        what: &'static str,
        /// Its value.
        got: usize,
        /// Its domain.
        expected: String,
    },
    /// There is more of something than its limit.
    #[error("{what}: {got}, the limit is {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        got: u64,
        /// The limit.
        limit: u64,
    },
}

impl SizeError {
    /// `what` is `got`, outside its domain.
    pub fn domain(what: &'static str, got: usize, expected: impl Into<String>) -> Self {
        Self::Domain { what, got, expected: expected.into() }
    }
}

/// Refuses a size of zero or beyond [`MAX_FEATURES`].
///
/// # Errors
/// [`SizeError::Domain`].
pub fn check_size(what: &'static str, got: usize) -> Result<(), SizeError> {
    match got {
        1..=MAX_FEATURES => Ok(()),
        _ => Err(SizeError::domain(what, got, format!("between 1 and {MAX_FEATURES}"))),
    }
}

/// Refuses more parameters than [`MAX_PARAMETERS`].
///
/// # Errors
/// [`SizeError::TooLarge`].
pub fn check_parameters(got: u64) -> Result<(), SizeError> {
    at_most("parameters", got, MAX_PARAMETERS)
}

/// Refuses more multiply-accumulates than [`MAX_MULTIPLY_ACCUMULATES`].
///
/// # Errors
/// [`SizeError::TooLarge`].
pub fn check_multiply_accumulates(got: u64) -> Result<(), SizeError> {
    at_most("multiply-accumulates", got, MAX_MULTIPLY_ACCUMULATES)
}

pub(super) fn at_most(what: &'static str, got: u64, limit: u64) -> Result<(), SizeError> {
    if got > limit { Err(SizeError::TooLarge { what, got, limit }) } else { Ok(()) }
}

/// The product of sizes, saturating: a hostile one counts as huge.
pub(super) fn product<const N: usize>(sizes: [usize; N]) -> u64 {
    sizes.iter().fold(1, |product: u64, &size| product.saturating_mul(size as u64))
}
