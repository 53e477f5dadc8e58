//! Errors: a file that is none, one beyond the limits, one with what we cannot run exactly.

use core::fmt;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a model cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no file of the kind that was expected; says what they are, where that can be seen.
    #[error("not {expected}: {why}")]
    NotA {
        /// What was expected.
        expected: &'static str,
        /// What was found instead.
        why: String,
    },
    /// Beyond a limit.
    #[error("{got} {what} in the file, the limit is {limit}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// All that cannot be run exactly under encryption, or not at all.
    #[error("{}", listed(.0))]
    Unsupported(Vec<Unsupported>),
    /// Weights without a description of the network that they belong to, or with one that does not fit.
    #[error("{0}")]
    Architecture(String),
    /// Samples that do not fit the model, or cannot be read.
    #[error("samples: {0}")]
    Samples(String),
    /// The network that the file describes is beyond what this program runs.
    #[error(transparent)]
    Network(#[from] gelu_nn::Error),
}

/// One operation that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Name of the node, or of what it computes where it has none.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What about it is not supported.
    pub why: String,
}

/// `node (operator): why`.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.node, self.operator, self.why)
    }
}

fn listed(all: &[Unsupported]) -> String {
    let nodes = if all.len() == 1 { "1 node" } else { &format!("{} nodes", all.len()) };
    let lines = all.iter().map(|one| format!("\n  {one}"));
    format!("{nodes} cannot be imported:{}", lines.collect::<String>())
}
