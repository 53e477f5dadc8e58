//! What goes wrong, and who must act.

/// Why a model, a message or a key is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The owner of the model: a layer of another network.
    #[error(
        "{what} needs {expected} numbers and has {got}: take the network that this program is for"
    )]
    Shape {
        /// Which numbers.
        what: &'static str,
        /// How many there must be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// The owner of the model: scores and noise cannot be bounded without images.
    #[error("no images to calibrate with: give some of the training data")]
    NoCalibration,
    /// The client: the server hides its computation only under a public key.
    #[error("the public key is missing: the client must make and send it with the others")]
    NoPublicKey,
    /// The other party sent a ciphertext of another level or scale than this exchange has.
    #[error("a ciphertext of level {level} at another level or scale than this exchange has")]
    OtherCiphertext {
        /// Its level.
        level: usize,
    },
    /// The other party sent what cannot be read.
    #[error(transparent)]
    Unreadable(#[from] gelu_ckks::bytes::Unreadable),
    /// The scheme refuses; its message says who must act.
    #[error(transparent)]
    Scheme(#[from] gelu_ckks::Error),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
