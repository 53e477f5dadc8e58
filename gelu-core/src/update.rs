//! What a client computes from its data, and what becomes of it.
//!
//! | type | holds | who may see it |
//! | --- | --- | --- |
//! | [`Parameters`] | W, also under masks: W − ΣR | the server |
//! | [`Update`] | a gradient, U, or ΣU until it is booked | the client |
//! | [`Masks`](crate::mask::Masks) | R, ΣR | the client |
//! | [`Masked`](crate::mask::Masked) | U + R | both |
//! | [`Revealed`] | ΣU at the end of a lease | both |
//!
//! An update has no wire form and moves no weights. It is masked first:
//!
//! ```compile_fail
//! use gelu_core::{Update, message::ClientMessage};
//! fn send(update: Update) -> ClientMessage {
//!     ClientMessage::MaskedUpdate(update)
//! }
//! ```
//! ```compile_fail
//! use gelu_core::{Parameters, Update};
//! fn apply(weights: &mut Parameters, update: &Update) {
//!     weights.subtract(update);
//! }
//! ```
//! ```compile_fail
//! use gelu_core::Update;
//! fn sent_anyhow(update: &Update) -> impl serde::Serialize {
//!     update.clone()
//! }
//! ```
//! The same of what is masked, and of what is revealed, compiles:
//! ```
//! use gelu_core::mask::{Kind, mask};
//! use gelu_core::message::ClientMessage;
//! use gelu_core::{Parameters, Update, rand_core::CryptoRng};
//! fn send(update: &Update, rng: &mut dyn CryptoRng) -> ClientMessage {
//!     ClientMessage::MaskedUpdate(mask(update, Kind::Statistical { bits: 84 }, rng).0)
//! }
//! fn apply(weights: &mut Parameters, sum: &Update) {
//!     weights.subtract(&sum.reveal());
//! }
//! ```

use core::ops::Deref;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::network::{Network, Parameters};

/// A gradient, the change of the weights that follows from it, or a sum of such changes: secret of the
/// client, wiped on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Update(Parameters);

/// Only how many values there are is printed.
impl core::fmt::Debug for Update {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Update({} values)", self.0.len())
    }
}

impl From<Parameters> for Update {
    fn from(values: Parameters) -> Self {
        Self(values)
    }
}

impl Update {
    /// No change.
    pub fn zeros(network: &Network) -> Self {
        Self(network.no_update())
    }

    /// All values, in the order of [`Parameters::values`].
    pub fn values(&self) -> impl Iterator<Item = &i128> {
        self.0.values()
    }

    /// self += other, value by value.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }

    /// f of each value, in the same shape.
    #[must_use]
    pub fn map(&self, f: impl FnMut(i128) -> i128) -> Self {
        Self(self.0.map(f))
    }

    /// Gives the secret up: for the sum of a lease that the [ledger](crate::ledger::SumLedger) has booked,
    /// and for whoever trains a model of its own.
    #[must_use]
    pub fn reveal(&self) -> Revealed {
        Revealed(self.0.clone())
    }

    pub(crate) fn secret(&self) -> &Parameters {
        &self.0
    }

    pub(crate) fn secret_mut(&mut self) -> &mut Parameters {
        &mut self.0
    }
}

/// An update that its owner has given away, or that a peer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revealed(Parameters);

impl Deref for Revealed {
    type Target = Parameters;

    fn deref(&self) -> &Parameters {
        &self.0
    }
}

impl From<Parameters> for Revealed {
    fn from(values: Parameters) -> Self {
        Self(values)
    }
}

impl From<Revealed> for Parameters {
    fn from(revealed: Revealed) -> Self {
        revealed.0
    }
}
