//! Why an experiment has nothing to show.

/// Why an experiment has nothing to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network, a data set or the protocol refused.
    #[error(transparent)]
    Network(#[from] gelu_nn::Error),
    /// An answer differs from the same in the clear: a bug, and figures of wrong answers are not
    /// reported.
    #[error("{0} differs from the same in the clear")]
    WrongAnswer(String),
    /// Something that is not there: a data set, a model, a feature of the build.
    #[error("{what} is missing: {advice}")]
    Missing {
        /// What.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// Another program failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

impl From<gelu_core::Error> for Error {
    fn from(error: gelu_core::Error) -> Self {
        Self::Network(error.into())
    }
}
