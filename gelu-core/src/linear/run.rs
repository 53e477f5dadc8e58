//! Runs: how a linear map tells its matrix without listing it.

/// A stretch of a diagonal: entry `entry` of the matrix stands at (output + j, source + j) for
/// j < `len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) output: usize,
    pub(super) source: usize,
    pub(super) entry: usize,
    pub(super) len: usize,
}

/// In which order runs come: it fixes the order of additions, and so the last bit of real numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Those that meet one output: by entry.
    ByEntry,
    /// Those that meet one input: by output.
    ByOutput,
}
