//! What goes wrong, and who must act.

/// Why something is refused or stopped. No feature, label or weight is in it but the size of the one that is too large.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The caller: one of the degrees, and a range from 1 to 64.
    #[error(
        "there is no polynomial of degree {degree} on ±{range}: take degree 1, 3, 5, 7 or 15 and a range from 1 to 64"
    )]
    Sigmoid {
        /// What was asked for.
        degree: usize,
        /// And its range.
        range: f64,
    },
    /// The caller: numbers that do not fit together.
    #[error("{what}: {got}, where {expected} is expected")]
    Shape {
        /// Of what.
        what: &'static str,
        /// What it is.
        got: usize,
        /// What it should be.
        expected: usize,
    },
    /// The caller: a setting that cannot be.
    #[error("{0}")]
    Setting(&'static str),
    /// The caller: more rows, or the exact sigmoid in the clear.
    #[error(
        "{rows} rows in a batch: polynomial sigmoids diverge with few (they did with 64); take batches of {least} rows at least"
    )]
    TooFewRows {
        /// In a batch.
        rows: usize,
        /// The least.
        least: usize,
    },
    /// The caller: smaller batches or fewer features.
    #[error(
        "a batch of {rows} rows and {inputs} inputs does not fit {slots} slots: take smaller batches or fewer features"
    )]
    DoesNotFit {
        /// In a batch.
        rows: usize,
        /// Features, and the constant.
        inputs: usize,
        /// N/2.
        slots: usize,
    },
    /// The caller: prepare the features first.
    #[error(
        "feature {feature} is {got:.3} in the mean of some rows, and {most} fit: prepare the features (centred, mean squared norm 16)"
    )]
    FeatureTooLarge {
        /// Its place; the constant comes last.
        feature: usize,
        /// Mean size in some part of a batch.
        got: f64,
        /// What fits.
        most: f64,
    },
    /// The caller: features, labels and states must be numbers.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
    /// Nobody has a ring for this: the caller takes a lower degree or fewer unattended iterations.
    #[error(
        "no ring below 2^17 bears {levels} levels: take fewer iterations between refreshes, or a lower degree"
    )]
    TooDeep {
        /// That are needed.
        levels: usize,
    },
    /// Whoever runs the compute party: more memory, or a smaller plan.
    #[error(
        "the compute party needs {needed} MiB and {available} MiB are available: take smaller batches, fewer iterations between refreshes, or a larger machine"
    )]
    Memory {
        /// MiB of the plan.
        needed: u64,
        /// MiB that there are.
        available: u64,
    },
    /// The data party: the head left the range of the polynomial before this iteration. Its state is that before.
    #[error(
        "before iteration {iteration} a weighted sum is {got:.1}, and the polynomial holds up to {range}: resume with a wider range or a smaller rate"
    )]
    LeftRange {
        /// Counted from 0.
        iteration: usize,
        /// The largest |z|.
        got: f64,
        /// Of the polynomial.
        range: f64,
    },
    /// The data party: the head left the range while nobody looked. Its state is that of the last refresh.
    #[error(
        "after iteration {iteration} a gradient decrypts to {got:.1e} and at most {most} is possible: the head left the polynomial's range since the last refresh; resume with fewer unattended iterations, a wider range or a smaller rate"
    )]
    Lost {
        /// The last one, counted from 0.
        iteration: usize,
        /// The largest part of a gradient.
        got: f64,
        /// What is possible.
        most: f64,
    },
    /// The owner of the base, or of the rows: what a base does not take.
    #[error("a base under CKKS {0}")]
    Base(&'static str),
    /// The owner of the base: what hides it would hide its features as well.
    #[error(
        "noise that hides the base would move a feature by {deviation:.1e}, and at most {most} is useful: freeze fewer layers, or scale inputs and weights down"
    )]
    Hidden {
        /// Of the noise, in a feature.
        deviation: f64,
        /// What is useful.
        most: f64,
    },
    /// The peer sent what no honest peer of this plan sends.
    #[error("the peer sent what does not belong to this plan: {0}")]
    Peer(&'static str),
    /// The owner of the file: saved state that is none.
    #[error("this is no state of a training: {0}")]
    State(&'static str),
    /// The peer sent bytes that cannot be read.
    #[error("the peer sent bytes that are no part of this plan: {0}")]
    Unreadable(#[from] gelu_ckks::Unreadable),
    /// The scheme refused.
    #[error(transparent)]
    Ckks(#[from] gelu_ckks::Error),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
