//! Errors, sorted by who must act.

use crate::text::printable;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Everything that can go wrong, sorted by who must act.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Our own caller broke a written rule. No byte from the network can cause this.
    #[error("misuse of the interface: {0}")]
    ApiMisuse(#[from] ApiMisuse),
    /// Two honest parties lack a common scheme, version or parameter.
    #[error("the peers do not fit together: {0}")]
    PeerIncompatible(#[from] PeerIncompatible),
    /// The peer sent what no honest peer sends. The session ends; the peer learns only that.
    #[error("the peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The leakage ledger or the operator's policy says no.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The model does not fit the numbers: a slot, a scale or a bound is too small.
    #[error("the numbers do not fit: {0}")]
    Range(#[from] RangeError),
    /// A ciphertext did not decrypt to a plaintext. Deliberately without detail.
    #[error("decryption failed")]
    Decryption,
}

impl Error {
    /// Why something was refused, for the peer and the log: without the words that the peer's own error adds, and
    /// without numbers of the model.
    pub fn reason(&self) -> String {
        match self {
            Self::Refused(refused) => refused.to_string(),
            Self::Range(RangeError::Weight { layer, bound, .. }) => {
                format!(
                    "the numbers do not fit: {layer}: a weight would leave the bound of {bound}"
                )
            }
            other => other.to_string(),
        }
    }

    /// What kind of error it is, in a word or two: for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ApiMisuse(_) => "misuse",
            Self::PeerIncompatible(_) => "incompatible",
            Self::PeerMisbehaved(_) => "misbehaved",
            Self::Refused(refused) => refused.kind(),
            Self::Range(_) => "range",
            Self::Decryption => "decryption",
        }
    }

    /// Why something cannot be, for whoever has only asked whether it can: that misuses nothing.
    pub fn why_not(&self) -> String {
        match self {
            Self::ApiMisuse(misuse) => misuse.to_string(),
            other => other.reason(),
        }
    }
}

/// Broken rules of the interface.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// A tensor has another shape than the network.
    #[error("expected a shape of {expected:?}, got {got:?}")]
    Shape {
        /// The shape that fits.
        expected: Vec<usize>,
        /// The shape that came.
        got: Vec<usize>,
    },
    /// A value does not fit its slot.
    #[error("the value needs {needed} bits, its slot has {available}")]
    SlotOverflow {
        /// Bits that the value needs, sign included.
        needed: u32,
        /// Bits of the slot, sign included.
        available: u32,
    },
    /// An operation that needs at least one operand got none.
    #[error("{0} needs at least one operand")]
    Empty(&'static str),
    /// A machine was asked for something in the wrong state.
    #[error("the machine cannot {asked} while it {state}")]
    State {
        /// What the caller asked for.
        asked: &'static str,
        /// What the machine is doing.
        state: &'static str,
    },
    /// A configuration value is outside its domain.
    #[error("{what}: {why}")]
    Configuration {
        /// The item that was configured.
        what: String,
        /// The rule that it breaks.
        why: String,
    },
}

impl ApiMisuse {
    /// A configuration error of `what`, with the broken rule.
    pub fn configuration(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Configuration { what: what.into(), why: why.into() }
    }
}

/// Honest disagreement.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// No common protocol version.
    #[error("we speak protocol versions {ours:?}, the peer {theirs:?}")]
    Version {
        /// Our lowest and highest version.
        ours: (u16, u16),
        /// Theirs.
        theirs: (u16, u16),
    },
    /// Different cryptosystems.
    #[error("we use the backend {ours:?}, the peer {:?}", printable(theirs))]
    Backend {
        /// Our backend's identifier.
        ours: String,
        /// Theirs.
        theirs: String,
    },
    /// A key size outside what this party accepts.
    #[error("a key of {got} bits, but this party accepts {}", printable(accepted))]
    KeySize {
        /// The size that came.
        got: u32,
        /// What would have been accepted.
        accepted: String,
    },
    /// No such model for this account.
    #[error("{}", no_model(wanted, served))]
    Model {
        /// The name that was asked for; empty for the only one.
        wanted: String,
        /// The names of those that the account may use.
        served: String,
    },
}

fn no_model(wanted: &str, served: &str) -> String {
    let (wanted, served) = (printable(wanted), printable(served));
    match (&*wanted, &*served) {
        (_, "") => "the server has no model for this account".into(),
        ("", _) => format!("the server has several models, name one: {served}"),
        _ => format!("the server has no model {wanted:?} for this account; it has {served}"),
    }
}

/// What no honest peer sends.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// Bytes that are no message.
    #[error("bytes that are no message of this protocol")]
    Undecodable,
    /// A message that does not belong here (reordered, replayed, invented).
    #[error("expected {expected}, got {got}")]
    UnexpectedMessage {
        /// What this state waits for.
        expected: &'static str,
        /// The name of what came.
        got: &'static str,
    },
    /// A block of ciphertexts of the wrong length.
    #[error("expected {expected} ciphertext bytes, got {got}")]
    CiphertextLength {
        /// Bytes expected.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A layout that does not carry this task.
    #[error("no such layout for this exchange: {}", printable(name))]
    UnknownLayout {
        /// Its name.
        name: String,
    },
    /// A residue that is not a ciphertext under the key (out of range, or no unit).
    #[error("an invalid ciphertext")]
    InvalidCiphertext,
    /// A public key that cannot be one.
    #[error("an invalid public key: {0}")]
    InvalidKey(&'static str),
    /// A check of a proof that every honest peer passes.
    #[error("{0} fails its check")]
    FailedCheck(&'static str),
    /// A blind query by a ticket that is spent, or was never made.
    #[error("ticket {ticket} is spent, or was never made")]
    NoTicket {
        /// Its number.
        ticket: u64,
    },
    /// A count, a shape or a number outside its bounds.
    #[error("{what} is {}, must be {expected}", printable(got))]
    OutOfBounds {
        /// Which number.
        what: &'static str,
        /// Its value.
        got: String,
        /// Its domain.
        expected: String,
    },
}

impl PeerMisbehaved {
    /// Refuses a number of the peer's that is not the expected one.
    ///
    /// # Errors
    /// [`PeerMisbehaved::OutOfBounds`].
    pub fn check_equal(what: &'static str, got: usize, expected: usize) -> Result<(), Self> {
        if got == expected { Ok(()) } else { Err(Self::out_of_bounds(what, got, expected)) }
    }

    /// A number of the peer's that is outside its domain.
    pub fn out_of_bounds(
        what: &'static str,
        got: impl core::fmt::Debug,
        expected: impl core::fmt::Display,
    ) -> Self {
        Self::OutOfBounds { what, got: format!("{got:?}"), expected: expected.to_string() }
    }
}

/// Refusals by either party's ledger, or by a rule of its operator.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Answering would let this account solve for a layer's weights.
    #[error(
        "layer {layer}: this account's equations about the model would reach {revealed} bits, \
         and {bound} can determine weights"
    )]
    Budget {
        /// The layer whose bound would be crossed.
        layer: String,
        /// Bits revealed to this account after the answer.
        revealed: u64,
        /// Bits that determine a row or a column of the layer.
        bound: u64,
    },
    /// The network is so narrow, or the account has seen so much, that not even the shortest lease that
    /// the client can accept is safe.
    #[error(
        "layer {layer}: the ledger's bound leaves {safe} samples before weights can be determined, this \
         client needs a lease of {samples}"
    )]
    TooNarrow {
        /// The narrowest layer.
        layer: String,
        /// Samples of the shortest lease that the client can accept.
        samples: u64,
        /// Samples that this account may still see.
        safe: u64,
    },
    /// The operator's maximum is below what the client's data, or its mini-batch, needs.
    #[error(
        "the server's operator grants at most {most} samples a lease (--lease-samples), this client \
         needs {samples}"
    )]
    LeaseLimit {
        /// Samples of the shortest lease that the client can accept.
        samples: u64,
        /// Samples that the operator grants.
        most: u64,
    },
    /// The sum of a lease of so few different samples would expose the client's own data.
    #[error(
        "the sum of a lease over {samples} different samples exposes the inputs: it needs {least} or \
         more{}",
        after(*.sums)
    )]
    ExposesData {
        /// Different samples of the lease.
        samples: u64,
        /// The fewest that protect the data.
        least: u64,
        /// Sums that are linked by samples in common, this one included.
        sums: u64,
    },
    /// Masks so short that over a whole lease they do not hide the updates.
    #[error(
        "masks of sigma = {sigma} bits hide {values} updates a step within 2^-40 for at most {most} \
         steps of a lease, this client needs {steps}"
    )]
    ShortMasks {
        /// Bits by which masks are longer than what they hide.
        sigma: u32,
        /// Values that are masked in each step.
        values: u64,
        /// Steps of the shortest lease that the client can accept.
        steps: u32,
        /// Steps that keep the total distance within 2^-40.
        most: u32,
    },
    /// The client's own ledger of revealed sums cannot be kept: nothing is revealed without it.
    #[error("the ledger of revealed sums cannot be kept: {0}")]
    Unbooked(String),
    /// Tickets of a blind query were made for a version that the server no longer serves.
    #[error("the model has version {now}, the tickets are for version {made}: make new ones")]
    TicketsExpired {
        /// The version that they were made for.
        made: u64,
        /// The version now.
        now: u64,
    },
    /// More tickets than the server keeps for a session.
    #[error(
        "the server keeps at most {most} tickets for a session, {held} are held and {asked} asked for"
    )]
    TooManyTickets {
        /// Tickets that the client asks for.
        asked: usize,
        /// Those that it has not used.
        held: usize,
        /// Those that it may have.
        most: usize,
    },
    /// A blind session for scores, where the operator lets clients know classes alone.
    #[error("this server tells classes and no scores: ask for classes")]
    ClassesOnly,
    /// The server's disk or database fails: without a booking there is no answer.
    #[error("the server cannot keep its ledger; tell its operator")]
    StoreFailed,
    /// The other party said no, in its own words.
    #[error("{}", printable(.0))]
    ByPeer(String),
}

impl Refused {
    /// What kind of refusal it is, in a word or two: for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Budget { .. } => "budget",
            Self::TooNarrow { .. } => "too narrow",
            Self::LeaseLimit { .. } => "lease limit",
            Self::ExposesData { .. } => "exposes data",
            Self::ShortMasks { .. } => "short masks",
            Self::Unbooked(_) => "unbooked",
            Self::TicketsExpired { .. } => "tickets expired",
            Self::TooManyTickets { .. } => "too many tickets",
            Self::ClassesOnly => "classes only",
            Self::StoreFailed => "store",
            Self::ByPeer(_) => "by peer",
        }
    }
}

/// How many other sums a sum is linked with, where there are any.
fn after(sums: u64) -> String {
    match sums.saturating_sub(1) {
        0 => String::new(),
        1 => ", after the sum of another lease with samples in common".into(),
        n => format!(", after the sums of {n} other leases with samples in common"),
    }
}

/// A number that does not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// The widest value of a layer exceeds what a slot can hold.
    #[error("{layer} needs {needed} bits, the plaintext slot has {available}")]
    Slot {
        /// The layer, with its direction.
        layer: String,
        /// Bits that its widest value needs, sign included.
        needed: u32,
        /// Bits that a slot can have.
        available: u32,
    },
    /// A secret learning rate under a scheme that has none.
    #[error(
        "the plaintexts of {backend} have no room for updates at a secret learning rate: use a public one"
    )]
    NoSecretRate {
        /// The scheme's identifier.
        backend: &'static str,
    },
    /// Blind inference under a scheme that hands out no shares of its answers, or none of such a ring.
    #[error(
        "{layer}: blind inference needs shares modulo 2^{ring_bits}, which {backend} has not: take another \
         cryptosystem, or narrower formats"
    )]
    NoShares {
        /// The scheme's identifier.
        backend: &'static str,
        /// The layer.
        layer: String,
        /// Bits of its ring.
        ring_bits: u32,
    },
    /// A weight has left the bound for which the slots were planned.
    #[error("{layer}: a weight of {got} exceeds the bound of {bound}")]
    Weight {
        /// The layer.
        layer: String,
        /// The weight, as a real number.
        got: f64,
        /// The bound, as a real number.
        bound: f64,
    },
}
