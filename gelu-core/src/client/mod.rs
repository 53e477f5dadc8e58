//! The client: owner of the data, the labels and the key pair.
//!
//! A machine without I/O. A transport *drains* ([`poll_transmit`](Client::poll_transmit),
//! [`poll_output`](Client::poll_output)), then makes one mutation: a message that came, or a request
//! ([`classify`](Client::classify), [`request_lease`](Client::request_lease),
//! [`train`](Client::train), [`finish`](Client::finish)).
//!
//! ```text
//!             classify ──▶ Round (forward) ──▶ probabilities ─┐
//!  Idle ──┬────────────────────────────────────────────────────┴──▶ Idle
//!         └ request_lease ──▶ AwaitLease ──▶ Training ⇄ Round (forward, backward, update)
//!                                               ├ finish, or last step ──▶ AwaitCommit ──▶ Idle
//!                                               └ return_lease ──▶ AwaitReturn ──▶ Idle
//! ```
//!
//! Whatever waits for an answer may get `Refused` instead, which leads to Idle: a lease is over then. The machine that is
//! refused at its opening has failed.
//!
//! The sum of a lease is booked in a [`SumLedger`] before it is sent. A new machine has one of its own,
//! which it forgets; a client that comes back gives it one that lasts ([`Client::with_sums`]).
//!
//! A machine that has returned an error stays failed.

pub mod blind;
mod round;
mod training;

use core::ops::RangeInclusive;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ndarray::Array2;
use rand_core::CryptoRng;

use crate::backend::Backend;
use crate::error::{ApiMisuse, PeerMisbehaved, Refused, Result};
use crate::fixed::{Precision, add_by_layer};
pub use crate::ledger::DataPolicy;
use crate::ledger::{DataExposure, DataLedger, Exposure, SumLedger, data};
use crate::mask;
use crate::message::{ClientMessage, Lease, ServerMessage};
use crate::network::Network;
use crate::plan::{Plan, Purpose};
pub use blind::BlindClient;
use round::Round;
use training::{Training, TrainingRound};

/// What a client machine has to say to its own side.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientOutput {
    /// The server has accepted the key.
    Opened,
    /// The answer to [`Client::classify`], `[classes, batch]`.
    Probabilities(Array2<f64>),
    /// It is this client's turn: give it mini-batches.
    LeaseGranted(Lease),
    /// A mini-batch is done.
    StepDone(StepReport),
    /// The lease has become this version of the model.
    Committed {
        /// The new version.
        version: u64,
    },
    /// The server, or our own [`DataPolicy`], said no, and why; the session goes on.
    Refused(Refused),
    /// The lease was given back.
    LeaseReturned,
    /// New tickets for blind queries are there.
    TicketsMade {
        /// The version of the model that they are for.
        version: u64,
        /// How many there are now.
        tickets: usize,
    },
    /// The answer to a blind query for classes: one for each sample.
    Classes(Vec<usize>),
}

/// What one training step looked like to the owner of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Mean loss of the mini-batch, before the update.
    pub loss: f64,
    /// Samples whose most probable class was their label.
    pub correct: usize,
    /// Samples of the mini-batch.
    pub samples: usize,
    /// Values that were cut off at the bound of their format: a layer's inputs, its errors and its
    /// update; by layer, those after the last one with any left out.
    pub saturations: Vec<u64>,
    /// Whether this was the last step of the lease.
    pub last: bool,
}

/// What every state of a client needs.
pub(crate) struct Context<B: Backend> {
    pub(crate) secret: Arc<B::SecretKey>,
    pub(crate) network: Arc<Network>,
    pub(crate) precision: Precision,
    pub(crate) policy: DataPolicy,
    pub(crate) sums: Arc<dyn SumLedger>,
    /// What layouts are chosen by, unless it is the backend's own advice.
    pub(crate) prices: Option<B::Prices>,
}

impl<B: Backend> Context<B> {
    pub(crate) fn plan(&self, batch: usize, purpose: Purpose) -> Result<Plan<B::Layout>> {
        let public = B::public_key(&self.secret);
        let own = || B::prices(public);
        let prices = self.prices.clone().unwrap_or_else(own);
        Plan::priced::<B>(&self.network, &self.precision, batch, purpose, public, &prices)
    }
}

enum State<B: Backend> {
    AwaitOpened,
    Idle,
    Query(Box<Round<B>>),
    AwaitLease { batch: usize, lengths: RangeInclusive<u32> },
    Training(Box<Training<B>>),
    Step(Box<TrainingRound<B>>),
    AwaitUpdateApplied(Box<Training<B>>),
    AwaitCommit,
    AwaitReturn,
    Failed,
}

impl<B: Backend> State<B> {
    fn name(&self) -> &'static str {
        match self {
            Self::AwaitOpened => "waits for its key to be accepted",
            Self::Idle => "is idle",
            Self::Query(_) => "answers a query",
            Self::AwaitLease { .. } => "waits for its turn",
            Self::Training(_) => "holds a lease",
            Self::Step(_) => "is in the middle of a step",
            Self::AwaitUpdateApplied(_) => "waits for its update to be applied",
            Self::AwaitCommit => "waits for its lease to be committed",
            Self::AwaitReturn => "gives its lease back",
            Self::Failed => "has failed",
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::AwaitOpened => "Opened",
            Self::Query(_) => "WeightedSums",
            Self::AwaitLease { .. } => "LeaseGranted",
            Self::Step(_) => "WeightedSums or PropagatedErrors",
            Self::AwaitUpdateApplied(_) => "UpdateApplied",
            Self::AwaitCommit => "Committed",
            Self::AwaitReturn => "LeaseReturned",
            Self::Idle | Self::Training(_) | Self::Failed => "nothing",
        }
    }
}

/// The client machine: see the [module](self).
pub struct Client<B: Backend> {
    context: Context<B>,
    state: State<B>,
    transmit: VecDeque<ClientMessage>,
    outputs: VecDeque<ClientOutput>,
    /// Values of all queries so far that were cut off, by layer.
    saturations: Vec<u64>,
}

impl<B: Backend> Client<B> {
    /// A client of a server whose model has this network and precision.
    ///
    /// Both parties must have been told the same; what the server says about its model is checked
    /// by whoever parsed it into a [`Network`].
    pub fn new(
        network: Arc<Network>,
        precision: Precision,
        secret: Arc<B::SecretKey>,
        policy: DataPolicy,
    ) -> Self {
        let public_key = B::public_key_to_bytes(&secret);
        let open = ClientMessage::Open { backend: B::ID.into(), public_key };
        let sums = Arc::new(Mutex::new(DataLedger::new([0; 32])));
        Self {
            context: Context { secret, network, precision, policy, sums, prices: None },
            state: State::AwaitOpened,
            transmit: [open].into(),
            outputs: VecDeque::new(),
            saturations: Vec::new(),
        }
    }

    /// Books sums in `sums`, where what was revealed before is still known.
    #[must_use]
    pub fn with_sums(mut self, sums: Arc<dyn SumLedger>) -> Self {
        self.context.sums = sums;
        self
    }

    /// Chooses layouts by `prices`, such as measured ones, and not by those of the
    /// [backend](Backend::prices).
    #[must_use]
    pub fn with_prices(mut self, prices: B::Prices) -> Self {
        self.context.prices = Some(prices);
        self
    }

    /// Starts an encrypted inference of `inputs`, `[features, batch]`.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] unless idle, [`ApiMisuse::Shape`], and what the range analysis says.
    pub fn classify(&mut self, inputs: &Array2<f64>, rng: &mut dyn CryptoRng) -> Result<()> {
        self.require(matches!(self.state, State::Idle), "classify")?;
        let plan = self.context.plan(inputs.ncols(), Purpose::Inference)?;
        let round = Round::new(&self.context, Arc::new(plan), inputs, None)?;
        self.transmit.push_back(round.question(&self.context, rng)?);
        self.state = State::Query(Box::new(round));
        Ok(())
    }

    /// Uses idle time: makes what the encryptions of the next query of `batch` samples need and what
    /// does not depend on them.
    ///
    /// # Errors
    /// What the range analysis says.
    pub fn precompute(&self, batch: usize, rng: &mut dyn CryptoRng) -> Result<()> {
        let plan = self.context.plan(batch, Purpose::Inference)?;
        let layouts: Vec<_> = plan.exchanges().map(|(_, _, exchange)| exchange.layout()).collect();
        B::prepare_encryptions(&self.context.secret, &layouts, rng);
        Ok(())
    }

    /// Asks for the next turn to train: `steps` mini-batches of `batch` samples, or as many as the
    /// server grants.
    ///
    /// # Errors
    /// As [`request_lease_of`](Self::request_lease_of).
    pub fn request_lease(&mut self, batch: usize, steps: u32) -> Result<()> {
        self.request_lease_of(batch, 1..=steps)
    }

    /// Asks for the next turn to train: as many mini-batches of `batch` samples as `lengths` says.
    ///
    /// Under [`DataPolicy::Enforce`] none fewer are asked for than the data needs at least, and none
    /// more than statistical [masks](crate::mask::most_steps) bear.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] unless idle, [`ApiMisuse::Configuration`] for an empty range,
    /// [`Refused::ExposesData`] and [`Refused::ShortMasks`] when no length is left, and what the range
    /// analysis says. Nothing is sent then.
    pub fn request_lease_of(&mut self, batch: usize, lengths: RangeInclusive<u32>) -> Result<()> {
        self.require(matches!(self.state, State::Idle), "ask for a lease")?;
        if lengths.is_empty() || *lengths.start() == 0 {
            return Err(ApiMisuse::configuration("lease", "needs lengths of 1 step or more").into());
        }
        let lengths = match self.context.policy {
            DataPolicy::Enforce => self.allowed(batch, lengths)?,
            DataPolicy::AllowInputReconstruction => lengths,
        };
        let (least, steps) = (*lengths.start(), *lengths.end());
        self.context.plan(batch, Purpose::Training { steps })?;
        let wanted = u32::try_from(batch).expect("a planned batch is below 2^16");
        self.transmit.push_back(ClientMessage::RequestLease { batch: wanted, steps, least });
        self.state = State::AwaitLease { batch, lengths };
        Ok(())
    }

    /// Those of `lengths` that keep the data and its masks safe.
    fn allowed(
        &self,
        batch: usize,
        lengths: RangeInclusive<u32>,
    ) -> Result<RangeInclusive<u32>, Refused> {
        let Context { network, precision, .. } = &self.context;
        let least = data::least_samples(&DataExposure::of(network), 1);
        let needed = least.div_ceil((batch as u64).max(1));
        let (start, end) = (u64::from(*lengths.start()), u64::from(*lengths.end()));
        if end < needed {
            let samples = end * batch as u64;
            return Err(Refused::ExposesData { samples, least, sums: 1 });
        }
        let steps = u32::try_from(start.max(needed)).expect("at most the end");
        let (values, sigma) = (network.trained_parameters(), precision.mask_bits);
        let most = if B::WRAPS { u32::MAX } else { mask::most_steps(values, sigma) };
        if steps > most {
            return Err(Refused::ShortMasks { sigma, values: values as u64, steps, most });
        }
        Ok(steps..=most.min(*lengths.end()))
    }

    /// Trains on one mini-batch of exactly the lease's size.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] without a lease or in the middle of a step; [`ApiMisuse::Shape`];
    /// [`ApiMisuse::Configuration`] for labels that are no classes; [`Refused::ExposesData`] when this
    /// would be the last step of a lease of too few different samples. The lease goes on then, and can
    /// be [given back](Self::return_lease).
    pub fn train(
        &mut self,
        inputs: &Array2<f64>,
        labels: &[usize],
        rng: &mut dyn CryptoRng,
    ) -> Result<()> {
        self.require(matches!(self.state, State::Training(_)), "train")?;
        let State::Training(training) = core::mem::replace(&mut self.state, State::Failed) else {
            unreachable!("checked above")
        };
        match TrainingRound::new(&self.context, *training, inputs, labels) {
            Ok(step) => {
                self.transmit.push_back(step.round.question(&self.context, rng)?);
                self.state = State::Step(Box::new(step));
                Ok(())
            }
            Err((training, error)) => {
                self.state = State::Training(Box::new(training));
                Err(error)
            }
        }
    }

    /// Ends the lease early, after at least one step, and asks the server to commit it.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] without a lease or before its first step;
    /// [`Refused::ExposesData`] when the sum of so few different samples would expose the data: train
    /// on, or [give the lease back](Self::return_lease); [`Refused::Unbooked`].
    pub fn finish(&mut self) -> Result<()> {
        let may = matches!(&self.state, State::Training(training) if training.steps_done() > 0);
        self.require(may, "finish the lease")?;
        let State::Training(training) = &self.state else { unreachable!("checked above") };
        self.transmit.push_back(training.final_update(&self.context)?);
        self.state = State::AwaitCommit;
        Ok(())
    }

    /// Gives the lease back between two steps: the server learns nothing more, and its model is
    /// what it was.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] without a lease or in the middle of a step.
    pub fn return_lease(&mut self) -> Result<()> {
        self.require(matches!(self.state, State::Training(_)), "give a lease back")?;
        self.transmit.push_back(ClientMessage::ReturnLease);
        self.state = State::AwaitReturn;
        Ok(())
    }

    /// The next message for the server, if any.
    pub fn poll_transmit(&mut self) -> Option<ClientMessage> {
        self.transmit.pop_front()
    }

    /// The next event for this side, if any.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// Values of all queries so far that were cut off at the bound of their format: the inputs of
    /// each layer, those after the last one with any left out. Steps report their own.
    pub fn saturations(&self) -> &[u64] {
        &self.saturations
    }

    /// Takes a message from the server.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] for what no honest server sends here, and
    /// [`Error::Decryption`](crate::Error::Decryption); the machine has failed then.
    pub fn handle_message(
        &mut self,
        message: ServerMessage,
        rng: &mut dyn CryptoRng,
    ) -> Result<()> {
        let state = core::mem::replace(&mut self.state, State::Failed);
        self.state = self.next(state, message, rng)?;
        Ok(())
    }

    fn next(
        &mut self,
        state: State<B>,
        message: ServerMessage,
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B>> {
        match (state, message) {
            (State::AwaitOpened, ServerMessage::Opened) => {
                self.outputs.push_back(ClientOutput::Opened);
                Ok(State::Idle)
            }
            (
                State::Query(_)
                | State::AwaitLease { .. }
                | State::Step(_)
                | State::AwaitUpdateApplied(_)
                | State::AwaitCommit
                | State::AwaitReturn,
                ServerMessage::Refused { reason },
            ) => {
                self.outputs.push_back(ClientOutput::Refused(Refused::ByPeer(reason)));
                Ok(State::Idle)
            }
            (State::AwaitOpened, ServerMessage::Refused { reason }) => {
                self.outputs.push_back(ClientOutput::Refused(Refused::ByPeer(reason)));
                Ok(State::Failed)
            }
            (State::Query(mut round), message @ ServerMessage::WeightedSums { .. }) => {
                round.answer(&self.context, message)?;
                if round.pass.stage().is_some() {
                    self.transmit.push_back(round.question(&self.context, rng)?);
                    return Ok(State::Query(round));
                }
                self.outputs.push_back(ClientOutput::Probabilities(round.pass.probabilities()?));
                add_by_layer(&mut self.saturations, &round.pass.saturations().by_layer());
                Ok(State::Idle)
            }
            (State::AwaitLease { batch, lengths }, ServerMessage::LeaseGranted(lease)) => {
                let training = Training::new(&self.context, &lease, batch, lengths)?;
                self.outputs.push_back(ClientOutput::LeaseGranted(lease));
                Ok(State::Training(Box::new(training)))
            }
            (
                State::Step(mut step),
                message @ (ServerMessage::WeightedSums { .. }
                | ServerMessage::PropagatedErrors { .. }),
            ) => {
                step.round.answer(&self.context, message)?;
                self.continue_step(step, rng)
            }
            (State::AwaitUpdateApplied(training), ServerMessage::UpdateApplied) => {
                self.outputs.push_back(ClientOutput::StepDone(training.report()));
                Ok(State::Training(training))
            }
            (State::AwaitCommit, ServerMessage::Committed { version }) => {
                self.outputs.push_back(ClientOutput::Committed { version });
                Ok(State::Idle)
            }
            (State::AwaitReturn, ServerMessage::LeaseReturned) => {
                self.outputs.push_back(ClientOutput::LeaseReturned);
                Ok(State::Idle)
            }
            (state, message) => Err(PeerMisbehaved::UnexpectedMessage {
                expected: state.expected(),
                got: message.name(),
            }
            .into()),
        }
    }

    /// Asks the next question of a step, or ends it with its update.
    fn continue_step(
        &mut self,
        mut step: Box<TrainingRound<B>>,
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B>> {
        step.compare_when_forward_is_over()?;
        if step.round.expects_answer() {
            self.transmit.push_back(step.round.question(&self.context, rng)?);
            return Ok(State::Step(step));
        }
        let mut training = Box::new(step.finish(&self.context)?);
        if training.is_over() {
            self.transmit.push_back(training.final_update(&self.context)?);
            self.outputs.push_back(ClientOutput::StepDone(training.report()));
            return Ok(State::AwaitCommit);
        }
        self.transmit.push_back(training.masked_update(rng)?);
        Ok(State::AwaitUpdateApplied(training))
    }

    /// What a lease of `steps` mini-batches of `batch` samples would give away, for the user.
    ///
    /// # Errors
    /// What the range analysis says.
    pub fn exposure(&self, batch: usize, purpose: Purpose) -> Result<Exposure> {
        let plan = self.context.plan(batch, purpose)?;
        Ok(Exposure::new(&self.context.network, &self.context.precision, &plan))
    }

    /// Whether it holds a lease, between two steps.
    pub fn holds_lease(&self) -> bool {
        matches!(self.state, State::Training(_))
    }

    /// Where it books its sums.
    pub fn sums(&self) -> &Arc<dyn SumLedger> {
        &self.context.sums
    }

    /// What it lets happen to its data.
    pub fn policy(&self) -> DataPolicy {
        self.context.policy
    }

    fn require(&self, holds: bool, asked: &'static str) -> Result<()> {
        if holds {
            Ok(())
        } else {
            Err(ApiMisuse::State { asked, state: self.state.name() }.into())
        }
    }
}
