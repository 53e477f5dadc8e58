//! A model and the terms on which it is served.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use gelu_core::Backend;
use gelu_core::ledger::Policy;
use gelu_core::server::{BlindTerms, LearningRate};

use super::host::{Checked, Hosted};
use super::shared::Shared;
use crate::error::Result;
use crate::handshake::Mode;

/// A model and the terms on which it is served.
#[non_exhaustive]
pub struct Offer<B: Backend> {
    /// The model's file. What it holds is published, if no version has held the same; and it is replaced by each
    /// committed version, unless the store is shared with other servers.
    pub model: PathBuf,
    /// The name that clients ask for, and under which its books are kept, if not the model's own.
    pub name: Option<String>,
    /// Begin empty books for a trained model whose ledger is gone: whatever accounts have been shown before counts no
    /// more.
    pub new_ledger: bool,
    /// The accounts that may use it, if not all.
    pub accounts: Option<BTreeSet<String>>,
    /// How many of the model's first stages are frozen, if not as its file says. The file of every committed version
    /// says it then.
    pub freeze: Option<usize>,
    /// The learning rate of every lease.
    pub rate: LearningRate<B>,
    /// What happens at the ledger's bound.
    pub policy: Policy,
    /// How queries may be asked, the preferred mode first. `None`: open and blind where the ledger lets an open query
    /// pass, blind alone where it does not, as far as the model can be computed blindly.
    pub modes: Option<Vec<Mode>>,
    /// What sessions of blind queries may have.
    pub blind: BlindTerms,
    /// The most samples of a lease. Under [`Policy::Enforce`] the ledger's bound may be lower.
    pub lease_samples: u64,
    /// The key sizes that clients may use.
    pub key_bits: RangeInclusive<u32>,
    /// Whether sessions use the time after a query to prepare the next one: answers come sooner,
    /// and clients that never ask again have cost more.
    pub precompute: bool,
    /// Draws the lengths of leases from this seed, so that a demonstration can be repeated. A client
    /// that knows it knows `d_max`; ciphertexts take their randomness from the operating system
    /// in any case.
    pub danger_lease_seed: Option<[u8; 32]>,
}

impl<B: Backend> Offer<B> {
    /// A model whose ledger is enforced; every other setting has a default and is a field.
    pub fn new(model: impl Into<PathBuf>, rate: LearningRate<B>) -> Self {
        Self {
            model: model.into(),
            name: None,
            new_ledger: false,
            accounts: None,
            freeze: None,
            rate,
            policy: Policy::Enforce,
            modes: None,
            blind: BlindTerms::default(),
            lease_samples: 4096,
            key_bits: 2048..=8192,
            precompute: false,
            danger_lease_seed: None,
        }
    }
}

/// An offer under any backend.
pub struct AnyOffer(Box<dyn Check>);

impl<B: Backend> From<Offer<B>> for AnyOffer {
    fn from(offer: Offer<B>) -> Self {
        Self(Box::new(offer))
    }
}

impl AnyOffer {
    /// Reads the model's file and checks that it can be served so.
    pub(super) fn check(self) -> Result<Box<dyn Ready>> {
        self.0.check()
    }
}

trait Check: Send {
    fn check(self: Box<Self>) -> Result<Box<dyn Ready>>;
}

impl<B: Backend> Check for Offer<B> {
    fn check(self: Box<Self>) -> Result<Box<dyn Ready>> {
        Ok(Box::new(Checked::new(*self)?))
    }
}

/// An offer that was checked.
pub(super) trait Ready {
    /// The name that clients will ask for.
    fn name(&self) -> &str;

    /// Takes the place of the model of its name among those that the server has by now, if there is one: that one's
    /// versions, line and prepared weights go on.
    fn succeed(&mut self, before: &[Arc<dyn Hosted>]) -> Result<()>;

    /// Opens its books, and publishes what its file holds, if that is news.
    fn open(self: Box<Self>, shared: &Arc<Shared>) -> Result<Arc<dyn Hosted>>;
}
