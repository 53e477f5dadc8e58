//! The server of [blind] queries: owner of the model.
//!
//! A machine without I/O, one for each session, driven as [`Server`](super::Server) is: whoever runs sessions picks the
//! machine by the first message, `Open` or `OpenBlind`.
//!
//! ```text
//!  AwaitOpen ──▶ AwaitAnswer ──▶ Ready ─┬ EncryptedMasks ──▶ Garbling (ticket 1, 2, …) ──▶ Ready
//!                                       └ HiddenInputs ──▶ Query (stage 1, 2, …) ──▶ Ready
//! ```
//!
//! # Security
//! A ticket is in this machine's memory alone, so it belongs to one session, key and account. It is taken out of there
//! first of all when a query names it, then the query is [charged](Host::charge), then the first label leaves: whatever
//! fails, the ticket is gone, and no label is sent twice. A query for a ticket that is not there ends the session. A new
//! version of the model voids all tickets at once.

mod cache;
mod query;
mod ticket;

use std::collections::VecDeque;
use std::sync::Arc;

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use super::{Host, ServedModel, WeightCache, accept_key, check_batch};
use crate::backend::{Backend, Layout, Sealed};
use crate::blind::{self, Answer, BlindPlan, numbers};
use crate::circuit::two_party::{ServerMask, TwoParty};
use crate::error::{Error, PeerMisbehaved, Refused, Result};
use crate::message::{ClientMessage, EncryptedStage, ServerMessage};
pub(super) use cache::BlindCache;
use cache::Shape;
use query::Query;
use ticket::{Tickets, garble};

/// What a server's operator lets a session of blind queries have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlindTerms {
    /// Tickets that a session may hold.
    pub tickets: usize,
    /// Whether clients may ask for scores, and not for classes alone.
    pub scores: bool,
}

/// 256 tickets (3 MB for LeNet-5), classes alone.
impl Default for BlindTerms {
    fn default() -> Self {
        Self { tickets: 256, scores: false }
    }
}

/// An accepted key.
struct Opened<B: Backend> {
    public: B::PublicKey,
    shape: Shape,
    planned: Option<Arc<BlindPlan<B>>>,
}

enum Phase<P: TwoParty> {
    Ready,
    /// The masks of tickets that wait for their transfers.
    Garbling(VecDeque<Vec<ServerMask>>),
    Query(Query<P>),
}

enum State<B: Backend, P: TwoParty> {
    AwaitOpen,
    AwaitAnswer(Opened<B>, P::Offer),
    Open { opened: Opened<B>, garbler: P::Garbler, tickets: Tickets<P>, phase: Phase<P> },
    Failed,
}

impl<B: Backend, P: TwoParty> State<B, P> {
    fn expected(&self) -> &'static str {
        match self {
            Self::AwaitOpen => "OpenBlind",
            Self::AwaitAnswer(..) => "TransferAnswer",
            Self::Open { phase: Phase::Ready, .. } => "EncryptedMasks or HiddenInputs",
            Self::Open { phase: Phase::Garbling(_), .. } => "TransferRequest",
            Self::Open { phase: Phase::Query(_), .. } => "HiddenActivations",
            Self::Failed => "nothing",
        }
    }
}

/// The server machine of one session of blind queries: see the [module](self).
pub struct BlindServer<B: Backend, P: TwoParty> {
    state: State<B, P>,
    terms: BlindTerms,
    weights: Arc<WeightCache<B>>,
    transmit: VecDeque<ServerMessage>,
    refusal: Option<&'static str>,
}

impl<B: Backend, P: TwoParty> BlindServer<B, P> {
    /// A machine that waits for a client's key, and shares the weights that it makes ready with other sessions of
    /// the same process.
    pub fn sharing(weights: Arc<WeightCache<B>>, terms: BlindTerms) -> Self {
        Self { state: State::AwaitOpen, terms, weights, transmit: VecDeque::new(), refusal: None }
    }

    /// The client's public key, once the session is open and while it lives.
    pub fn client_key(&self) -> Option<&B::PublicKey> {
        match &self.state {
            State::AwaitOpen | State::Failed => None,
            State::AwaitAnswer(opened, _) | State::Open { opened, .. } => Some(&opened.public),
        }
    }

    /// The [kind](Error::kind) of what was refused last.
    pub fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }

    /// Tickets that are made and not spent.
    pub fn tickets(&self) -> usize {
        match &self.state {
            State::Open { tickets, .. } => tickets.len(),
            _ => 0,
        }
    }

    /// The next message for the client, if any.
    pub fn poll_transmit(&mut self) -> Option<ServerMessage> {
        self.transmit.pop_front()
    }

    /// Uses idle time: makes what sealing the answers of another request for tickets like the last one needs.
    /// Does nothing in the middle of one, or of a query.
    pub fn precompute(&self, rng: &mut dyn CryptoRng) {
        if let State::Open { opened, phase: Phase::Ready, .. } = &self.state
            && let Some(plan) = &opened.planned
        {
            B::prepare_seals(&opened.public, &plan.layouts(), rng);
        }
    }

    /// Takes a message from the client.
    ///
    /// # Errors
    /// [`PeerMisbehaved`], [`PeerIncompatible`](crate::error::PeerIncompatible): the machine has failed, the session must end, and
    /// the peer must learn no more than that. A failed check of transfers may be an attack by guesses: a service
    /// should not let an account repeat it at will. What the ledger, the terms or the range analysis refuse is
    /// no error here: the client is told, and the session goes on.
    pub fn handle_message(
        &mut self,
        message: ClientMessage,
        host: &dyn Host,
        rng: &mut dyn CryptoRng,
    ) -> Result<()> {
        let state = core::mem::replace(&mut self.state, State::Failed);
        self.state = self.next(state, message, host, rng)?;
        Ok(())
    }

    fn next(
        &mut self,
        state: State<B, P>,
        message: ClientMessage,
        host: &dyn Host,
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B, P>> {
        match (state, message) {
            (State::AwaitOpen, ClientMessage::OpenBlind { backend, public_key, nonce, answer }) => {
                let public = accept_key::<B>(host, backend, &public_key)?;
                let shape = match self.shape(&host.model(), answer) {
                    Ok(shape) => shape,
                    Err(error) => {
                        self.refuse(error)?;
                        return Ok(State::AwaitOpen);
                    }
                };
                let mut own = [0; 32];
                rng.fill_bytes(&mut own);
                let session = blind::session_name::<B>(&public_key, answer, [&nonce, &own]);
                let (offer, message) = P::offer(session, rng);
                self.transmit
                    .push_back(ServerMessage::TransferOffer { nonce: own, offer: message });
                Ok(State::AwaitAnswer(Opened { public, shape, planned: None }, offer))
            }
            (State::AwaitAnswer(opened, offer), ClientMessage::TransferAnswer { answer }) => {
                let garbler = P::accept(offer, &answer)?;
                let tickets = Tickets::new(&host.model(), &self.weights.blind)?;
                Ok(State::Open { opened, garbler, tickets, phase: Phase::Ready })
            }
            (
                State::Open { mut opened, garbler, mut tickets, phase: Phase::Ready },
                ClientMessage::EncryptedMasks { tickets: count, stages },
            ) => {
                let (count, model) = (check_batch(count)?, host.model());
                let held = tickets.held(model.version);
                let shared = self.share(&mut opened, &model, (held, count), &stages, rng);
                let phase = match shared {
                    Ok((masks, stages)) => {
                        let (version, first) = (model.version, tickets.next());
                        tickets.renew(&model, &self.weights.blind)?;
                        self.transmit.push_back(ServerMessage::EncryptedShares {
                            version,
                            first,
                            stages,
                        });
                        Phase::Garbling(masks)
                    }
                    Err(error) => {
                        self.refuse(error)?;
                        Phase::Ready
                    }
                };
                Ok(State::Open { opened, garbler, tickets, phase })
            }
            (
                State::Open { opened, garbler, mut tickets, phase: Phase::Garbling(mut masks) },
                ClientMessage::TransferRequest { stages },
            ) => {
                let masks_of_next = masks.pop_front().expect("a ticket is due");
                let (garbler, halves, stages) =
                    garble::<P>(&opened.shape.circuits, garbler, masks_of_next, &stages, rng)?;
                self.transmit.push_back(ServerMessage::GarbledTicket { stages });
                tickets.add(halves);
                let phase = match masks.is_empty() {
                    true => Phase::Ready,
                    false => Phase::Garbling(masks),
                };
                Ok(State::Open { opened, garbler, tickets, phase })
            }
            (
                State::Open { opened, garbler, mut tickets, phase: Phase::Ready },
                ClientMessage::HiddenInputs { tickets: named, numbers },
            ) => {
                let phase = self.query(&opened, &mut tickets, &named, &numbers, host)?;
                Ok(State::Open { opened, garbler, tickets, phase })
            }
            (
                State::Open { opened, garbler, tickets, phase: Phase::Query(query) },
                ClientMessage::HiddenActivations { stage, numbers },
            ) => {
                PeerMisbehaved::check_equal("stage", stage as usize, query.stage)?;
                let answered = query.go_on(&opened.shape.circuits, &numbers)?;
                let phase = self.send(answered);
                Ok(State::Open { opened, garbler, tickets, phase })
            }
            (state, message) => Err(PeerMisbehaved::UnexpectedMessage {
                expected: state.expected(),
                got: message.name(),
            }
            .into()),
        }
    }

    /// The circuits for a client that asks for answers of a kind.
    fn shape(&self, model: &ServedModel, answer: Answer) -> Result<Shape> {
        if answer == Answer::Scores && !self.terms.scores {
            return Err(Refused::ClassesOnly.into());
        }
        self.weights.blind.shape(model, answer)
    }

    /// Tells the client what our side refuses; hands on what the peer has done wrong.
    fn refuse(&mut self, error: Error) -> Result<()> {
        match error {
            Error::PeerMisbehaved(_) => Err(error),
            refusal => {
                self.refusal = Some(refusal.kind());
                self.transmit.push_back(ServerMessage::Refused { reason: refusal.reason() });
                Ok(())
            }
        }
    }

    /// ⟦W·r − s⟧ of every stage, sealed, and s by ticket.
    fn share(
        &self,
        opened: &mut Opened<B>,
        model: &Arc<ServedModel>,
        (held, count): (usize, usize),
        stages: &[EncryptedStage],
        rng: &mut dyn CryptoRng,
    ) -> Result<(VecDeque<Vec<ServerMask>>, Vec<ByteBuf>)> {
        let most = self.terms.tickets;
        if held + count > most {
            return Err(Refused::TooManyTickets { asked: count, held, most }.into());
        }
        let plan = opened.plan(model, count)?;
        PeerMisbehaved::check_equal("stages of masks", stages.len(), plan.exchanges.len())?;
        let mut masks: VecDeque<_> = (0..count).map(|_| Vec::new()).collect();
        let mut sealed = Vec::new();
        let rings = plan.circuits.stages().iter().map(|stage| stage.ring_bits);
        let exchanges = plan.exchanges.iter().zip(rings);
        for (number, (stage, (exchange, ring_bits))) in stages.iter().zip(exchanges).enumerate() {
            let EncryptedStage { layout, ciphertexts } = stage;
            let layout = exchange.exchange.named(layout)?;
            let weights = self.weights.get(model, number, layout, false)?;
            let inputs = layout.read(&opened.public, ciphertexts)?;
            let answer = layout.evaluate(&opened.public, &weights, &inputs)?;
            let (bytes, s) =
                Sealed::share::<B>(&exchange.shares, layout, &opened.public, answer, rng)?;
            sealed.push(ByteBuf::from(bytes.into_bytes()));
            for (ticket, masks) in masks.iter_mut().enumerate() {
                masks.push(ServerMask::new(&s.sample(ticket), ring_bits));
            }
        }
        Ok((masks, sealed))
    }

    /// Spends the tickets, books the samples, and answers the first stage.
    fn query(
        &mut self,
        opened: &Opened<B>,
        tickets: &mut Tickets<P>,
        named: &[u64],
        hidden: &[u8],
        host: &dyn Host,
    ) -> Result<Phase<P>> {
        check_batch(u32::try_from(named.len()).unwrap_or(u32::MAX))?;
        let spent = named.iter().map(|ticket| tickets.spend(*ticket));
        let spent = spent.collect::<Result<Vec<_>, _>>()?;
        let (weights, now) = (Arc::clone(tickets.weights()), host.model());
        if tickets.version() != now.version {
            let version = now.version;
            tickets.renew(&now, &self.weights.blind)?;
            self.transmit.push_back(ServerMessage::TicketsExpired { version });
            return Ok(Phase::Ready);
        }
        let (bits, features) =
            (opened.shape.circuits.stages()[0].ring_bits, now.network.stages()[0].linear.inputs());
        let what = "a query's hidden inputs";
        let inputs = numbers::read(what, hidden, features * named.len(), bits)?;
        if let Err(refused) = host.charge(now.version, &opened.shape.exposure, named.len() as u64) {
            self.refuse(refused.into())?;
            return Ok(Phase::Ready);
        }
        let query = Query::new(weights, spent);
        let answered = query.answer(&opened.shape.circuits, inputs.chunks_exact(features))?;
        Ok(self.send(answered))
    }

    fn send(&mut self, (message, query): (ServerMessage, Option<Query<P>>)) -> Phase<P> {
        self.transmit.push_back(message);
        query.map_or(Phase::Ready, Phase::Query)
    }
}

impl<B: Backend> Opened<B> {
    fn plan(&mut self, model: &ServedModel, tickets: usize) -> Result<Arc<BlindPlan<B>>> {
        if let Some(plan) = self.planned.as_ref().filter(|plan| plan.tickets == tickets) {
            return Ok(Arc::clone(plan));
        }
        let (public, prices) = (&self.public, B::prices(&self.public));
        let plan =
            BlindPlan::priced(&model.network, &self.shape.circuits, tickets, public, &prices)?;
        let plan = Arc::new(plan);
        self.planned = Some(Arc::clone(&plan));
        Ok(plan)
    }
}
