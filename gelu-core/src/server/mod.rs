//! The server: owner of the model.
//!
//! A machine without I/O, one for each session. What it needs of the process around it is a
//! [`Host`]; what it asks of it are its [outputs](ServerOutput): a turn to train for its client, and
//! the commit of a finished lease. A lease is a transaction: it ends in [`ServerOutput::Commit`],
//! or the machine is dropped and the model is what it was.
//!
//! ```text
//!  AwaitOpen ──▶ Ready ⇄ Query (stage 1, 2, …)
//!                  └ RequestLease ──▶ AwaitGrant ──▶ Lease (forward, backward, update, …)
//!                                                      ├ FinalUpdate ──▶ Committing ──▶ Ready
//!                                                      └ ReturnLease ──▶ Ready
//! ```
//!
//! # Security
//! Every ciphertext that leaves is [`Sealed`](crate::backend::Sealed). The weights are secret from the
//! client: evaluation takes time that depends on them (their bit lengths and signs choose the
//! multiplications), so a client that measures response times precisely can learn about the
//! distribution of weights in a layer; the documentation of each backend says more.

pub mod blind;
mod cache;
mod layer;
mod lease;

use core::ops::RangeInclusive;
use std::collections::VecDeque;
use std::sync::Arc;

use rand_core::CryptoRng;

use crate::backend::Backend;
use crate::error::{ApiMisuse, Error, PeerIncompatible, PeerMisbehaved, Refused, Result};
use crate::fixed::Precision;
use crate::ledger::Exposure;
use crate::message::{ClientMessage, ServerMessage};
use crate::network::{Network, Parameters};
use crate::plan::{MAX_BATCH, MAX_STEPS, Plan, Purpose};
pub use blind::{BlindServer, BlindTerms};
pub use cache::WeightCache;
use layer::evaluate;
use lease::{Ended, Lease, LeaseStep};

/// A version of a model, ready to serve.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// Its network.
    pub network: Arc<Network>,
    /// Its scales and bounds.
    pub precision: Precision,
    /// Its weights.
    pub parameters: Parameters,
    /// Its version.
    pub version: u64,
}

/// The learning rate of a lease.
#[derive(Debug)]
pub enum LearningRate<B: Backend> {
    /// Known to the client.
    Public(f64),
    /// 2^−g, with g ≤ g_max and known to the server alone.
    Secret {
        /// The server's own key pair.
        key: Arc<B::SecretKey>,
        /// The exponent.
        g: u32,
        /// The largest exponent; that many fractional bits of the weights are spent on it.
        g_max: u32,
    },
}

impl<B: Backend> Clone for LearningRate<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Public(eta) => Self::Public(*eta),
            Self::Secret { key, g, g_max } => {
                Self::Secret { key: Arc::clone(key), g: *g, g_max: *g_max }
            }
        }
    }
}

/// The process that a server machine lives in.
pub trait Host {
    /// The current version of the model.
    fn model(&self) -> Arc<ServedModel>;

    /// Books samples that this session's account is about to see, durably, or refuses.
    ///
    /// # Errors
    /// [`Refused`]; the machine then tells the client and answers nothing.
    fn charge(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused>;

    /// Whether keys of this size may be used, of those that the cryptosystem offers; all of them by default.
    ///
    /// # Errors
    /// [`PeerIncompatible::KeySize`]; the session is over.
    fn check_key(&self, _bits: u32) -> Result<(), PeerIncompatible> {
        Ok(())
    }
}

/// What a server machine asks of its process.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerOutput {
    /// The client waits for a turn: answer with [`Server::grant`] or [`Server::refuse`].
    LeaseRequested {
        /// Samples of a mini-batch.
        batch: usize,
        /// Mini-batches that the client would like.
        steps: u32,
        /// Mini-batches below which its data does not let it go.
        least: u32,
    },
    /// The lease is over: store the parameters as the successor of `base`, then call
    /// [`Server::committed`] (or [`Server::refuse`], which rolls back).
    Commit {
        /// The version on which the lease started.
        base: u64,
        /// The new weights.
        parameters: Parameters,
    },
}

/// An accepted key, and the plan of the last batch size, which is rarely another one.
struct Opened<B: Backend> {
    public: B::PublicKey,
    planned: Option<Arc<Planned<B::Layout>>>,
    /// Those of the last query, one for each stage that it has reached.
    layouts: Vec<B::Layout>,
}

struct Planned<L> {
    plan: Plan<L>,
    exposure: Exposure,
}

impl<B: Backend> Opened<B> {
    fn plan(
        &mut self,
        model: &ServedModel,
        batch: usize,
        purpose: Purpose,
    ) -> Result<Arc<Planned<B::Layout>>> {
        let fits = |p: &&Arc<Planned<_>>| p.plan.batch == batch && p.plan.purpose == purpose;
        if let Some(planned) = self.planned.as_ref().filter(fits) {
            return Ok(Arc::clone(planned));
        }
        let (network, precision) = (&model.network, &model.precision);
        let plan = Plan::new::<B>(network, precision, batch, purpose, &self.public)?;
        let exposure = Exposure::new(&model.network, &model.precision, &plan);
        let planned = Arc::new(Planned { plan, exposure });
        self.planned = Some(Arc::clone(&planned));
        Ok(planned)
    }
}

/// An inference between two stages; it sees one version of the model to its end.
struct Query<B: Backend> {
    model: Arc<ServedModel>,
    planned: Arc<Planned<B::Layout>>,
    stage: usize,
}

enum State<B: Backend> {
    AwaitOpen,
    Ready(Opened<B>),
    Query(Opened<B>, Query<B>),
    AwaitGrant(Opened<B>, usize, RangeInclusive<u32>),
    Lease(Opened<B>, Box<Lease<B>>),
    Committing(Opened<B>),
    Failed,
}

impl<B: Backend> State<B> {
    fn expected(&self) -> &'static str {
        match self {
            Self::AwaitOpen => "Open",
            Self::Ready(_) => "EncryptedActivations or RequestLease",
            Self::Query(..) => "EncryptedActivations",
            Self::Lease(_, lease) => lease.expected(),
            Self::AwaitGrant(..) | Self::Committing(_) | Self::Failed => "nothing",
        }
    }
}

/// The server machine of one session: see the [module](self).
pub struct Server<B: Backend> {
    state: State<B>,
    weights: Arc<WeightCache<B>>,
    transmit: VecDeque<ServerMessage>,
    outputs: VecDeque<ServerOutput>,
    refusal: Option<&'static str>,
}

impl<B: Backend> Default for Server<B> {
    fn default() -> Self {
        Self::sharing(Arc::default())
    }
}

impl<B: Backend> Server<B> {
    /// A machine that waits for a client's key.
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine that shares the weights that it makes ready with other sessions of the same process.
    pub fn sharing(weights: Arc<WeightCache<B>>) -> Self {
        let (transmit, outputs) = (VecDeque::new(), VecDeque::new());
        Self { state: State::AwaitOpen, weights, transmit, outputs, refusal: None }
    }

    /// The [kind](Error::kind) of what was refused last.
    pub fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// Whether the session's client holds a lease.
    pub fn holds_lease(&self) -> bool {
        matches!(self.state, State::Lease(..) | State::Committing(_))
    }

    /// The client's public key, once the session is open and while it lives.
    pub fn client_key(&self) -> Option<&B::PublicKey> {
        match &self.state {
            State::AwaitOpen | State::Failed => None,
            State::Ready(opened)
            | State::Query(opened, _)
            | State::AwaitGrant(opened, ..)
            | State::Lease(opened, _)
            | State::Committing(opened) => Some(&opened.public),
        }
    }

    /// The next message for the client, if any.
    pub fn poll_transmit(&mut self) -> Option<ServerMessage> {
        self.transmit.pop_front()
    }

    /// The next demand on the process, if any.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        self.outputs.pop_front()
    }

    /// Gives the waiting client its turn: `steps` mini-batches on `model`, cut to what it asked for.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] when no client waits; what the range analysis says.
    pub fn grant(
        &mut self,
        model: &Arc<ServedModel>,
        steps: u32,
        rate: LearningRate<B>,
        rng: &mut dyn CryptoRng,
    ) -> Result<()> {
        let State::AwaitGrant(mut opened, batch, lengths) = self.take() else {
            return Err(ApiMisuse::State { asked: "grant", state: "has no client waiting" }.into());
        };
        let steps = steps.clamp(*lengths.start(), *lengths.end());
        let planned = opened.plan(model, batch, Purpose::Training { steps })?;
        let weights = Arc::clone(&self.weights);
        let (lease, terms) = Lease::new(model, weights, planned, rate, rng)?;
        self.transmit.push_back(ServerMessage::LeaseGranted(terms));
        self.state = State::Lease(opened, Box::new(lease));
        Ok(())
    }

    /// Tells a client that waits for its turn or its commit that it will not come, and why: by its
    /// [kind](Error::kind), and in one sentence.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] when no client waits.
    pub fn refuse(&mut self, kind: &'static str, reason: String) -> Result<()> {
        let (State::AwaitGrant(opened, ..) | State::Committing(opened)) = self.take() else {
            return Err(ApiMisuse::State { asked: "refuse", state: "has no client waiting" }.into());
        };
        self.tell(kind, reason);
        self.state = State::Ready(opened);
        Ok(())
    }

    /// Tells the client that its lease is stored as `version`.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] when nothing was to be committed.
    pub fn committed(&mut self, version: u64) -> Result<()> {
        let State::Committing(opened) = self.take() else {
            let state = "has nothing to commit";
            return Err(ApiMisuse::State { asked: "confirm a commit", state }.into());
        };
        self.transmit.push_back(ServerMessage::Committed { version });
        self.state = State::Ready(opened);
        Ok(())
    }

    /// Uses idle time: makes what sealing the answers of another query like the last one needs.
    /// Does nothing in the middle of one.
    pub fn precompute(&self, rng: &mut dyn CryptoRng) {
        let State::Ready(Opened { public, layouts, .. }) = &self.state else { return };
        B::prepare_seals(public, &layouts.iter().collect::<Vec<_>>(), rng);
    }

    /// What a lease would give away to this client: for the ledger, before [`grant`](Self::grant).
    ///
    /// # Errors
    /// [`ApiMisuse::State`] when no client waits; what the range analysis says.
    pub fn exposure(&mut self, model: &ServedModel) -> Result<Exposure> {
        let State::AwaitGrant(opened, batch, lengths) = &mut self.state else {
            let state = "has no client waiting";
            return Err(ApiMisuse::State { asked: "weigh a lease", state }.into());
        };
        let planned = opened.plan(model, *batch, Purpose::Training { steps: *lengths.end() })?;
        Ok(planned.exposure.clone())
    }

    /// Takes a message from the client.
    ///
    /// # Errors
    /// [`PeerMisbehaved`], [`PeerIncompatible`]: the machine has failed, the session must end, and
    /// the peer must learn no more than that. What the ledger or the range analysis refuses is no
    /// error here: the client is told, and the session goes on.
    pub fn handle_message(
        &mut self,
        message: ClientMessage,
        host: &dyn Host,
        rng: &mut dyn CryptoRng,
    ) -> Result<()> {
        let state = self.take();
        self.state = self.next(state, message, host, rng)?;
        Ok(())
    }

    fn tell(&mut self, kind: &'static str, reason: String) {
        self.refusal = Some(kind);
        self.transmit.push_back(ServerMessage::Refused { reason });
    }

    fn take(&mut self) -> State<B> {
        core::mem::replace(&mut self.state, State::Failed)
    }

    fn next(
        &mut self,
        state: State<B>,
        message: ClientMessage,
        host: &dyn Host,
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B>> {
        match (state, message) {
            (State::AwaitOpen, ClientMessage::Open { backend, public_key }) => {
                let public = accept_key::<B>(host, backend, &public_key)?;
                self.transmit.push_back(ServerMessage::Opened);
                Ok(State::Ready(Opened { public, planned: None, layouts: Vec::new() }))
            }
            (
                State::Ready(mut opened),
                ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout },
            ) => {
                let (model, batch) = (host.model(), check_batch(batch)?);
                let planned = opened.plan(&model, batch, Purpose::Inference);
                let charged = planned.and_then(|planned| {
                    host.charge(model.version, &planned.exposure, batch as u64)?;
                    Ok(planned)
                });
                match charged {
                    Ok(planned) => {
                        let query = Query { model, planned, stage: 0 };
                        self.answer(opened, query, stage, (&layout, &ciphertexts), rng)
                    }
                    Err(Error::PeerMisbehaved(error)) => Err(error.into()),
                    Err(refusal) => {
                        self.tell(refusal.kind(), refusal.reason());
                        Ok(State::Ready(opened))
                    }
                }
            }
            (
                State::Query(opened, query),
                ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout },
            ) => {
                PeerMisbehaved::check_equal("batch", batch as usize, query.planned.plan.batch)?;
                self.answer(opened, query, stage, (&layout, &ciphertexts), rng)
            }
            (State::Ready(opened), ClientMessage::RequestLease { batch, steps, least }) => {
                let batch = check_batch(batch)?;
                if !(1..=MAX_STEPS).contains(&steps) {
                    let expected = format!("1 to {MAX_STEPS}");
                    return Err(PeerMisbehaved::out_of_bounds("steps", steps, expected).into());
                }
                if !(1..=steps).contains(&least) {
                    let expected = format!("1 to {steps}");
                    return Err(PeerMisbehaved::out_of_bounds("least", least, expected).into());
                }
                self.outputs.push_back(ServerOutput::LeaseRequested { batch, steps, least });
                Ok(State::AwaitGrant(opened, batch, least..=steps))
            }
            (State::Lease(opened, mut lease), message) => {
                match lease.handle(&opened.public, message, host, rng)? {
                    LeaseStep::Reply(reply) => {
                        self.transmit.push_back(reply);
                        Ok(State::Lease(opened, lease))
                    }
                    LeaseStep::Ended(Ended::Commit { base, parameters }) => {
                        self.outputs.push_back(ServerOutput::Commit { base, parameters });
                        Ok(State::Committing(opened))
                    }
                    LeaseStep::Ended(Ended::Returned) => {
                        self.transmit.push_back(ServerMessage::LeaseReturned);
                        Ok(State::Ready(opened))
                    }
                    LeaseStep::Ended(Ended::RolledBack(error)) => {
                        self.tell(error.kind(), error.reason());
                        Ok(State::Ready(opened))
                    }
                }
            }
            (state, message) => Err(PeerMisbehaved::UnexpectedMessage {
                expected: state.expected(),
                got: message.name(),
            }
            .into()),
        }
    }

    /// One stage of an inference.
    fn answer(
        &mut self,
        mut opened: Opened<B>,
        mut query: Query<B>,
        stage: u32,
        (name, ciphertexts): (&str, &[u8]),
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B>> {
        PeerMisbehaved::check_equal("stage", stage as usize, query.stage)?;
        let Query { model, planned, .. } = &query;
        let layout = planned.plan.stages[query.stage].forward.named(name)?;
        let weights = self.weights.get(model, query.stage, layout, true)?;
        opened.layouts.truncate(query.stage);
        opened.layouts.push(layout.clone());
        let sealed = evaluate::<B>(layout, &opened.public, &weights, ciphertexts, rng)?;
        let ciphertexts = sealed.into_bytes();
        self.transmit.push_back(ServerMessage::WeightedSums { stage, ciphertexts });
        let over = query.stage + 1 == model.network.stages().len();
        query.stage += 1;
        Ok(if over { State::Ready(opened) } else { State::Query(opened, query) })
    }
}

/// The key of a client that uses the same cryptosystem.
fn accept_key<B: Backend>(
    host: &dyn Host,
    theirs: String,
    public_key: &[u8],
) -> Result<B::PublicKey> {
    if theirs != B::ID {
        return Err(PeerIncompatible::Backend { ours: B::ID.into(), theirs }.into());
    }
    let public = B::public_key_from_bytes(public_key)?;
    host.check_key(B::key_bits(&public))?;
    Ok(public)
}

fn check_batch(batch: u32) -> Result<usize, PeerMisbehaved> {
    let bounds = 1..=MAX_BATCH;
    match bounds.contains(&(batch as usize)) {
        true => Ok(batch as usize),
        false => Err(PeerMisbehaved::out_of_bounds("batch", batch, format!("1 to {MAX_BATCH}"))),
    }
}
