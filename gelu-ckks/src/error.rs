//! What goes wrong, and who must act.

use gelu_ring::basis::InvalidBasis;

use crate::switching::KeyKind;

/// Why an operation or parameters are refused. No residue and no value is in it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Error {
    /// Whoever chose the parameters: fewer or narrower primes, or a larger ring.
    #[error(
        "the moduli have {bits:.1} bits; a ring of degree {degree} hides with 128 bits only below {most}: take fewer or narrower primes, or a larger ring"
    )]
    Insecure {
        /// N.
        degree: usize,
        /// log₂ of the product of all primes, the special ones included.
        bits: f64,
        /// What the guideline allows.
        most: u32,
    },
    /// Whoever chose the parameters: wider special primes, or more digits.
    #[error(
        "a digit has {digit_bits:.1} bits and the special primes {special_bits:.1}: switching keys would drown the message; take wider special primes or more digits"
    )]
    SmallSpecialPrimes {
        /// The widest group of primes.
        digit_bits: f64,
        /// The product of the special primes.
        special_bits: f64,
    },
    /// Whoever chose the parameters: the reason says which number.
    #[error("the parameters do not fit together: {0}")]
    Chain(&'static str),
    /// Whoever chose the primes.
    #[error(transparent)]
    Basis(#[from] InvalidBasis),
    /// The caller mixed two rings.
    #[error("two things of different parameters: make both under the same ones")]
    OtherParameters,
    /// The caller asked for a level that the parameters do not have.
    #[error("level {level} where there are levels 0 to {most}")]
    NoSuchLevel {
        /// What was asked for.
        level: usize,
        /// The highest there is.
        most: usize,
    },
    /// The caller: plan for fewer multiplications, or take parameters with more primes.
    #[error(
        "no level is left to multiply on: take parameters with more primes, or refresh the ciphertext"
    )]
    NoLevelLeft,
    /// The caller: bring one operand to the scale of the other, by a factor at the right scale.
    #[error(
        "scales of {left:.6} and {right:.6} bits are not the same: multiply one operand by 1 at a scale that makes up for it"
    )]
    ScalesDiffer {
        /// log₂ of the first.
        left: f64,
        /// log₂ of the second.
        right: f64,
    },
    /// The caller: a scale must leave the message between noise and modulus.
    #[error(
        "a scale of {bits:.1} bits where the modulus has {modulus:.1}: rescale first, or encode at a smaller scale"
    )]
    ScaleOutOfRange {
        /// log₂ of the scale.
        bits: f64,
        /// log₂ of the modulus.
        modulus: f64,
    },
    /// The caller has more values than there are places.
    #[error("{values} values for {slots} slots: use several ciphertexts")]
    TooManyValues {
        /// How many there are.
        values: usize,
        /// N/2.
        slots: usize,
    },
    /// The caller: scale the values down, or choose a smaller scale or a higher level.
    #[error(
        "a value at its scale has {bits:.1} bits, and {most:.1} fit the modulus: make values, scale or level smaller"
    )]
    ValueTooLarge {
        /// Bits of the largest coefficient, infinite or NaN for such values.
        bits: f64,
        /// What fits.
        most: f64,
    },
    /// The owner of the secret key must make this key.
    #[error(
        "the {kind} at level {level} is missing: the owner of the secret key must make and send it"
    )]
    MissingKey {
        /// Which.
        kind: KeyKind,
        /// For ciphertexts of this level.
        level: usize,
    },
    /// The owner of the secret key must make the key for a higher level, or the caller lower the ciphertext.
    #[error(
        "the {kind} is for ciphertexts up to level {key}, and this one is at level {ciphertext}: lower it, or ask for a key of its level"
    )]
    KeyLevel {
        /// Which.
        kind: KeyKind,
        /// The level that the key was made for.
        key: usize,
        /// The level of the ciphertext.
        ciphertext: usize,
    },
    /// The caller: flood with fewer bits or queries, or use a larger scale.
    #[error(
        "flooding of {flood_bits:.1} bits leaves nothing of a scale of {scale_bits:.1}: fewer queries, or parameters with a wider scale"
    )]
    NothingLeft {
        /// log₂ of the flooding's deviation, in slots.
        flood_bits: f64,
        /// log₂ of the scale.
        scale_bits: f64,
    },
    /// The caller: at least so many bits.
    #[error("flooding by {got} bits, and at least {least} are asked for")]
    TooFewFloodBits {
        /// What was asked for.
        got: u32,
        /// The least.
        least: u32,
    },
    /// The caller has a sum, a polynomial or a map with nothing in it.
    #[error("there is nothing to compute: {0}")]
    Empty(&'static str),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
