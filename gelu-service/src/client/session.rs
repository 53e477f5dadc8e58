//! An open session: encrypted inference, encrypted training.

use std::iter::Peekable;
use std::sync::Arc;

use gelu_core::client::{Client, ClientOutput, DataPolicy, StepReport};
use gelu_core::error::ApiMisuse;
use gelu_core::ledger::{Exposure, SumLedger};
use gelu_core::message::LeaseRate;
use gelu_core::plan::Purpose;
use gelu_core::{Backend, Network};
use ndarray::Array2;

use super::ClientEvent;
use super::driver::{Driver, Running, no_such};
use super::line::Line;
use super::statistics::{Phase, Statistics};
use crate::error::{Error, Result};
use crate::handshake::ModelCard;

/// An open session: see the [module](super).
pub struct Session<B: Backend> {
    driver: Driver<Client<B>>,
    card: ModelCard,
    network: Arc<Network>,
    sums: Arc<dyn SumLedger>,
    policy: DataPolicy,
    /// Values of all queries so far that were cut off, by layer.
    saturations: Vec<u64>,
}

/// A lease that has become a version.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseReport {
    /// The version that it started from.
    pub base: u64,
    /// The version that it has become.
    pub version: u64,
    /// Mini-batches granted. There can be fewer steps, when the data ended first.
    pub granted: u32,
    /// Samples of a mini-batch.
    pub batch: usize,
    /// The learning rate, where the client may know it.
    pub rate: Option<f64>,
    /// What each step looked like.
    pub steps: Vec<StepReport>,
    /// What the lease has cost, the wait for it included.
    pub statistics: Statistics,
}

impl<B: Backend> Session<B> {
    /// Sends the key, which `client` has ready.
    pub(super) async fn begin(
        line: Line,
        card: ModelCard,
        network: Arc<Network>,
        client: Client<B>,
    ) -> Result<Self> {
        let (sums, policy) = (Arc::clone(client.sums()), client.policy());
        let driver = Driver::begin(line, network.stages().len(), |_| Ok(client)).await?;
        Ok(Self { driver, card, network, sums, policy, saturations: Vec::new() })
    }

    /// What the server said at the greeting. Its version may be out of date.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Where the sums that it reveals are counted.
    pub fn sums(&self) -> &Arc<dyn SumLedger> {
        &self.sums
    }

    /// What it lets happen to the data.
    pub fn policy(&self) -> DataPolicy {
        self.policy
    }

    /// What this session has cost so far.
    pub fn statistics(&self) -> &Statistics {
        &self.driver.statistics
    }

    /// Values of all queries so far that were cut off at the bound of their format: see
    /// [`Client::saturations`]. Steps report their own.
    pub fn saturations(&self) -> &[u64] {
        &self.saturations
    }

    /// Takes randomness from `seed` instead of the operating system: whoever knows it can
    /// decrypt. For tests and demonstrations that must repeat bit for bit.
    pub fn danger_seed(&mut self, seed: [u8; 32]) {
        self.driver.seed(seed);
    }

    /// What queries or a lease of this kind give away, on both sides.
    ///
    /// # Errors
    /// What the range analysis says; [`Error::SessionOver`].
    pub fn exposure(&self, batch: usize, purpose: Purpose) -> Result<Exposure> {
        Ok(self.driver.machine()?.exposure(batch, purpose)?)
    }

    /// Encrypted inference: the class probabilities, `[classes, batch]`, of `inputs`,
    /// `[features, batch]`.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Protocol`] (inputs of another shape) leave the session open.
    pub async fn classify(&mut self, inputs: &Array2<f64>) -> Result<Array2<f64>> {
        let inputs = inputs.clone();
        self.driver.ask(Phase::Inference, move |m| m.machine.classify(&inputs, &mut m.rng)).await?;
        let mut outputs = self.driver.rounds().await?;
        self.driver.machine()?.saturations().clone_into(&mut self.saturations);
        match outputs.pop() {
            Some(ClientOutput::Probabilities(probabilities)) => Ok(probabilities),
            other => Err(no_such(other)),
        }
    }

    /// Uses idle time: prepares what a query of `batch` samples will need and what does not depend
    /// on them, so that it takes less time when it comes.
    ///
    /// # Errors
    /// What the range analysis says; [`Error::SessionOver`].
    pub async fn precompute(&mut self, batch: usize) -> Result<()> {
        self.driver.ask(Phase::Inference, move |m| m.machine.precompute(batch, &mut m.rng)).await
    }

    /// Encrypted training: waits for a lease, then trains on mini-batches `[features, batch]` with
    /// their labels until the lease or the data is over, and commits.
    ///
    /// The first mini-batch decides on the size of all. The server grants `steps` mini-batches or
    /// fewer; those that it did not grant stay in `batches`, for the next lease.
    ///
    /// # Errors
    /// As [`train_to`](Self::train_to).
    pub async fn train<I: Iterator<Item = (Array2<f64>, Vec<usize>)>>(
        &mut self,
        steps: u32,
        batches: &mut Peekable<I>,
    ) -> Result<LeaseReport> {
        self.train_to(&(1..=steps).collect::<Vec<_>>(), batches).await
    }

    /// As [`train`](Self::train), by a lease that ends after one of `lengths` mini-batches, in ascending
    /// order: of the longest that does not exceed what the server grants.
    ///
    /// # Errors
    /// [`Error::Refused`] leaves the session open; before the first step it leaves `batches` as they
    /// were, afterwards the lease is over and was not committed. [`ApiMisuse::Empty`] without data leaves
    /// everything as it was. Whatever else happens later ends the session: the server rolls back, and
    /// its model is what it was.
    ///
    /// Under [`DataPolicy::Enforce`] a lease that is too short to hide the data is not asked for, and
    /// one whose sum is over too few different samples is given back
    /// ([`Refused::ExposesData`](gelu_core::error::Refused::ExposesData)).
    pub async fn train_to<I: Iterator<Item = (Array2<f64>, Vec<usize>)>>(
        &mut self,
        lengths: &[u32],
        batches: &mut Peekable<I>,
    ) -> Result<LeaseReport> {
        let before = core::mem::take(&mut self.driver.statistics);
        let trained = self.lease(lengths, batches).await;
        let spent = core::mem::replace(&mut self.driver.statistics, before);
        self.driver.statistics.absorb(&spent);
        trained.map(|report| LeaseReport { statistics: spent, ..report })
    }

    /// Says goodbye; returns what the session has cost.
    pub async fn close(self) -> Statistics {
        self.driver.close().await
    }

    async fn lease<I: Iterator<Item = (Array2<f64>, Vec<usize>)>>(
        &mut self,
        lengths: &[u32],
        batches: &mut Peekable<I>,
    ) -> Result<LeaseReport> {
        let nothing = gelu_core::Error::from(ApiMisuse::Empty("a lease"));
        let batch = batches.peek().ok_or(nothing)?.0.ncols();
        let wanted = lengths.first().copied().unwrap_or(1)..=lengths.last().copied().unwrap_or(0);
        let request = move |m: &mut Running<Client<B>>| m.machine.request_lease_of(batch, wanted);
        self.driver.ask(Phase::Queue, request).await?;
        let lease = match self.driver.rounds().await?.pop() {
            Some(ClientOutput::LeaseGranted(lease)) => lease,
            other => return Err(no_such(other)),
        };
        let (base, granted) = (lease.version, lease.steps);
        let secret_rate = matches!(lease.rate, LeaseRate::Secret { .. });
        let event = ClientEvent::LeaseGranted { base, steps: granted, secret_rate };
        (self.driver.observer())(&event);
        let within = lengths.partition_point(|&length| length <= granted);
        let steps = within.checked_sub(1).map_or(granted, |last| lengths[last]);
        self.driver.forward = Phase::Forward;
        let held = self.hold(&mut batches.take(steps as usize)).await;
        self.driver.forward = Phase::Inference;
        match &held {
            Ok(_) => {}
            Err(Error::Refused(_)) => self.let_go().await?,
            Err(_) => self.driver.abandon().await,
        }
        let (version, steps) = held?;
        (self.driver.observer())(&ClientEvent::Committed { version });
        let rate = match lease.rate {
            LeaseRate::Public(eta) => Some(eta),
            LeaseRate::Secret { .. } => None,
        };
        let statistics = Statistics::default();
        Ok(LeaseReport { base, version, granted, batch, rate, steps, statistics })
    }

    /// All steps of a granted lease, to its commit.
    async fn hold(
        &mut self,
        batches: &mut impl Iterator<Item = (Array2<f64>, Vec<usize>)>,
    ) -> Result<(u64, Vec<StepReport>)> {
        let mut reports = Vec::new();
        for (inputs, labels) in batches {
            let train =
                move |m: &mut Running<Client<B>>| m.machine.train(&inputs, &labels, &mut m.rng);
            self.driver.ask(Phase::Forward, train).await?;
            for output in self.driver.rounds().await? {
                match output {
                    ClientOutput::StepDone(report) => {
                        (self.driver.observer())(&ClientEvent::StepDone(report.clone()));
                        reports.push(report);
                    }
                    ClientOutput::Committed { version } => return Ok((version, reports)),
                    other => return Err(no_such(Some(other))),
                }
            }
        }
        self.driver.ask(Phase::Commit, |m| m.machine.finish()).await?;
        match self.driver.rounds().await?.pop() {
            Some(ClientOutput::Committed { version }) => Ok((version, reports)),
            other => Err(no_such(other)),
        }
    }

    /// After a refusal: gives the lease back, if it was not the server that ended it.
    async fn let_go(&mut self) -> Result<()> {
        if self.driver.machine().is_ok_and(Client::holds_lease) {
            self.driver.ask(Phase::Queue, |m| m.machine.return_lease()).await?;
            self.driver.rounds().await?;
        }
        Ok(())
    }
}
