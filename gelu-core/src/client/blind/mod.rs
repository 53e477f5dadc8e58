//! The client of [blind] queries: owner of the data and the key pair.
//!
//! A machine without I/O, driven as [`Client`](super::Client) is.
//!
//! ```text
//!  AwaitOffer ──▶ Idle ─┬ request_tickets ──▶ AwaitShares ──▶ AwaitTickets ──▶ Idle
//!                       └ classify ──▶ Query (stage 1, 2, …) ──▶ Idle
//! ```
//! Whatever waits may get `Refused` instead, `Query` also `TicketsExpired`: both lead to Idle, or the machine has failed
//! where that was its opening. The tickets of
//! a query are spent when it is asked, whatever comes of it.
//!
//! # Security
//! Whatever the server sends at a query, the client sends as many numbers, each under a mask that is used once, and
//! never says whether an answer looked right.

mod query;
mod ticket;

use std::collections::VecDeque;
use std::sync::Arc;

use ndarray::Array2;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use zeroize::Zeroize;

use super::ClientOutput;
use crate::backend::{Backend, Layout, Share, Shares};
use crate::blind::{self, Answer, BlindPlan, Circuits, SharedExchange};
use crate::circuit::two_party::TwoParty;
use crate::error::{ApiMisuse, PeerMisbehaved, Refused, Result};
use crate::fixed::{Precision, add_by_layer, centred};
use crate::message::{ClientMessage, EncryptedStage, ServerMessage};
use crate::network::Network;
use crate::pass::Pass;
use query::Query;
use ticket::{Making, NewMasks, Ticket};

enum Phase<B: Backend, P: TwoParty> {
    Idle,
    AwaitShares(BlindPlan<B>, NewMasks),
    AwaitTickets(Making<P>),
    Query(Query<P>),
}

enum State<B: Backend, P: TwoParty> {
    AwaitOffer([u8; 32]),
    Open(P::Evaluator, Phase<B, P>),
    Failed,
}

impl<B: Backend, P: TwoParty> State<B, P> {
    fn name(&self) -> &'static str {
        match self {
            Self::AwaitOffer(_) => "waits for its key to be accepted",
            Self::Open(_, Phase::Idle) => "is idle",
            Self::Open(_, Phase::AwaitShares(..) | Phase::AwaitTickets(_)) => "waits for tickets",
            Self::Open(_, Phase::Query(_)) => "answers a query",
            Self::Failed => "has failed",
        }
    }
}

impl<B: Backend, P: TwoParty> Phase<B, P> {
    fn expected(&self, circuits: &Circuits) -> &'static str {
        match self {
            Self::Idle => "nothing",
            Self::AwaitShares(..) => "EncryptedShares",
            Self::AwaitTickets(_) => "GarbledTicket",
            Self::Query(query) if query.stage + 1 < circuits.stages().len() => "ShareLabels",
            Self::Query(_) => match circuits.answer() {
                Answer::Class => "ClassLabels",
                Answer::Scores => "ScoreShares",
            },
        }
    }
}

/// The client machine of blind queries: see the [module](self).
pub struct BlindClient<B: Backend, P: TwoParty> {
    secret: Arc<B::SecretKey>,
    network: Arc<Network>,
    precision: Precision,
    circuits: Arc<Circuits>,
    prices: Option<B::Prices>,
    state: State<B, P>,
    /// For `version`.
    tickets: VecDeque<Ticket<P>>,
    version: u64,
    transmit: VecDeque<ClientMessage>,
    outputs: VecDeque<ClientOutput>,
    saturations: Vec<u64>,
}

impl<B: Backend, P: TwoParty> BlindClient<B, P> {
    /// A client of a server whose model has this network and precision, which both parties have been told.
    ///
    /// # Errors
    /// As [`Circuits::new`]: naming the layer that cannot be computed blindly.
    pub fn new(
        network: Arc<Network>,
        precision: Precision,
        secret: Arc<B::SecretKey>,
        answer: Answer,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let circuits = Arc::new(Circuits::new(&network, &precision, answer)?);
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let public_key = B::public_key_to_bytes(&secret);
        let open = ClientMessage::OpenBlind { backend: B::ID.into(), public_key, nonce, answer };
        Ok(Self {
            secret,
            network,
            precision,
            circuits,
            prices: None,
            state: State::AwaitOffer(nonce),
            tickets: VecDeque::new(),
            version: 0,
            transmit: [open].into(),
            outputs: VecDeque::new(),
            saturations: Vec::new(),
        })
    }

    /// Chooses layouts by `prices`, and not by those of the [backend](Backend::prices).
    #[must_use]
    pub fn with_prices(mut self, prices: B::Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// What making `tickets` tickets at once takes, and a query with one of them.
    ///
    /// # Errors
    /// As [`BlindPlan::priced`].
    pub fn plan(&self, tickets: usize) -> Result<BlindPlan<B>> {
        let public = B::public_key(&self.secret);
        let prices = self.prices.clone().unwrap_or_else(|| B::prices(public));
        BlindPlan::priced(&self.network, &self.circuits, tickets, public, &prices)
    }

    /// Tickets left: samples that can be asked about without making new ones.
    pub fn tickets(&self) -> usize {
        self.tickets.len()
    }

    /// The version of the model that they are for, if there are any.
    pub fn version(&self) -> Option<u64> {
        (!self.tickets.is_empty()).then_some(self.version)
    }

    /// Inputs of all queries so far that were cut off at the bound of their format. What is cut off further on,
    /// nobody sees.
    pub fn saturations(&self) -> &[u64] {
        &self.saturations
    }

    /// The next message for the server, if any.
    pub fn poll_transmit(&mut self) -> Option<ClientMessage> {
        self.transmit.pop_front()
    }

    /// The next event for this side, if any.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// Uses idle time: makes what the encryptions of the next request for `count` tickets need and what does not
    /// depend on them.
    ///
    /// # Errors
    /// What the range analysis says.
    pub fn precompute(&self, count: usize, rng: &mut dyn CryptoRng) -> Result<()> {
        B::prepare_encryptions(&self.secret, &self.plan(count)?.layouts(), rng);
        Ok(())
    }

    /// Asks for `count` new tickets, made at once: the more, the cheaper each is where slots are left over.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] unless idle, and what the range analysis says.
    pub fn request_tickets(&mut self, count: usize, rng: &mut dyn CryptoRng) -> Result<()> {
        self.require_idle("ask for tickets")?;
        let plan = self.plan(count)?;
        let stages = || plan.circuits.stages().iter().zip(self.network.stages());
        let shapes = stages().map(|(blind, stage)| (stage.linear.inputs(), blind.ring_bits));
        let masks = NewMasks::draw(shapes, count, rng);
        let mut encrypted = Vec::new();
        for (number, (stage, exchange)) in stages().zip(&plan.exchanges).enumerate() {
            let (r, (blind, stage)) = (masks.stage(number), stage);
            let linear = &stage.linear;
            let value = |(i, n): (usize, usize)| centred(r[n][i].into(), blind.ring_bits);
            let mut values = Array2::from_shape_fn((linear.inputs(), count), value);
            let layout = exchange.exchange.layout();
            let ciphertexts = layout.encrypt(&self.secret, linear, &values, rng);
            values.iter_mut().for_each(Zeroize::zeroize);
            let (layout, ciphertexts) = (layout.to_string(), ciphertexts?);
            encrypted.push(EncryptedStage { layout, ciphertexts });
        }
        let tickets = u32::try_from(count).expect("a plan has at most 2^16 tickets");
        self.transmit.push_back(ClientMessage::EncryptedMasks { tickets, stages: encrypted });
        self.enter(Phase::AwaitShares(plan, masks));
        Ok(())
    }

    /// Asks about `inputs`, `[features, samples]`: spends a ticket for each sample.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] unless idle, [`ApiMisuse::Shape`], and [`ApiMisuse::Configuration`] for more samples than
    /// [`tickets`](Self::tickets).
    pub fn classify(&mut self, inputs: &Array2<f64>) -> Result<()> {
        self.require_idle("classify")?;
        let (samples, held) = (inputs.ncols(), self.tickets.len());
        if samples > held {
            let why = format!("are {held} for a query of {samples} samples: ask for more first");
            return Err(ApiMisuse::configuration("tickets", why).into());
        }
        let pass = Pass::new(Arc::clone(&self.network), self.precision, inputs)?;
        add_by_layer(&mut self.saturations, &pass.saturations().by_layer());
        let bits = self.circuits.stages()[0].ring_bits;
        let tickets = self.tickets.drain(..samples);
        let (query, message) = Query::ask(tickets, pass.activations(0), bits);
        self.transmit.push_back(message);
        self.enter(Phase::Query(query));
        Ok(())
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
        self.state = match core::mem::replace(&mut self.state, State::Failed) {
            State::AwaitOffer(nonce) => self.open(nonce, message, rng)?,
            State::Open(mut evaluator, phase) => {
                let phase = self.next(&mut evaluator, phase, message, rng)?;
                State::Open(evaluator, phase)
            }
            State::Failed => return Err(unexpected("nothing", &message)),
        };
        Ok(())
    }

    fn open(
        &mut self,
        nonce: [u8; 32],
        message: ServerMessage,
        rng: &mut dyn CryptoRng,
    ) -> Result<State<B, P>> {
        match message {
            ServerMessage::TransferOffer { nonce: theirs, offer } => {
                let key = B::public_key_to_bytes(&self.secret);
                let answer = self.circuits.answer();
                let session = blind::session_name::<B>(&key, answer, [&nonce, &theirs]);
                let (evaluator, answer) = P::answer(session, &offer, rng)?;
                self.transmit.push_back(ClientMessage::TransferAnswer { answer });
                self.outputs.push_back(ClientOutput::Opened);
                Ok(State::Open(evaluator, Phase::Idle))
            }
            ServerMessage::Refused { reason } => {
                self.outputs.push_back(ClientOutput::Refused(Refused::ByPeer(reason)));
                Ok(State::Failed)
            }
            other => Err(unexpected("TransferOffer", &other)),
        }
    }

    fn next(
        &mut self,
        evaluator: &mut P::Evaluator,
        phase: Phase<B, P>,
        message: ServerMessage,
        rng: &mut dyn CryptoRng,
    ) -> Result<Phase<B, P>> {
        match (phase, message) {
            (
                Phase::AwaitShares(..) | Phase::AwaitTickets(_) | Phase::Query(_),
                ServerMessage::Refused { reason },
            ) => {
                self.outputs.push_back(ClientOutput::Refused(Refused::ByPeer(reason)));
                Ok(Phase::Idle)
            }
            (Phase::Query(_), ServerMessage::TicketsExpired { version }) => {
                self.tickets.clear();
                let refused = Refused::TicketsExpired { made: self.version, now: version };
                self.outputs.push_back(ClientOutput::Refused(refused));
                Ok(Phase::Idle)
            }
            (
                Phase::AwaitShares(plan, masks),
                ServerMessage::EncryptedShares { version, first, stages },
            ) => {
                let shares = self.decrypt(&plan, &stages)?;
                let tickets = (version, first);
                let (making, messages) =
                    Making::request(evaluator, &plan, masks, &shares, tickets, rng)?;
                self.transmit.extend(messages);
                Ok(Phase::AwaitTickets(making))
            }
            (Phase::AwaitTickets(mut making), ServerMessage::GarbledTicket { stages }) => {
                making.receive(evaluator, &self.circuits, stages)?;
                let version = making.version;
                match making.finish() {
                    Ok(tickets) => self.store(version, tickets),
                    Err(making) => return Ok(Phase::AwaitTickets(making)),
                }
                Ok(Phase::Idle)
            }
            (Phase::Query(query), ServerMessage::ShareLabels { stage, samples })
                if query.stage + 1 < self.circuits.stages().len() =>
            {
                let (query, message) = query.advance(&self.circuits, stage, &samples)?;
                self.transmit.push_back(message);
                Ok(Phase::Query(query))
            }
            (Phase::Query(query), ServerMessage::ScoreShares { numbers })
                if self.is_last(&query, Answer::Scores) =>
            {
                let model = (&*self.network, &self.precision);
                let probabilities = query.probabilities(&self.circuits, model, &numbers)?;
                self.outputs.push_back(ClientOutput::Probabilities(probabilities));
                Ok(Phase::Idle)
            }
            (Phase::Query(query), ServerMessage::ClassLabels { samples, rho })
                if self.is_last(&query, Answer::Class) =>
            {
                let classes = self.network.classes();
                let classes = query.classes(&self.circuits, classes, &samples, &rho)?;
                self.outputs.push_back(ClientOutput::Classes(classes));
                Ok(Phase::Idle)
            }
            (phase, message) => Err(unexpected(phase.expected(&self.circuits), &message)),
        }
    }

    fn is_last(&self, query: &Query<P>, answer: Answer) -> bool {
        self.circuits.answer() == answer && query.stage + 1 == self.circuits.stages().len()
    }

    /// c = W·r − s of every stage, for all tickets.
    fn decrypt(&self, plan: &BlindPlan<B>, encrypted: &[ByteBuf]) -> Result<Vec<Share>> {
        let (got, stages) = (encrypted.len(), plan.exchanges.len());
        PeerMisbehaved::check_equal("stages of shares", got, stages)?;
        let decrypt = |(stage, bytes): (&SharedExchange<B>, &ByteBuf)| {
            stage.shares.decrypt(stage.exchange.layout(), &self.secret, bytes)
        };
        plan.exchanges.iter().zip(encrypted).map(decrypt).collect()
    }

    /// Adds new tickets; those for another version are void.
    fn store(&mut self, version: u64, new: Vec<Ticket<P>>) {
        if version != self.version {
            self.tickets.clear();
        }
        self.version = version;
        self.tickets.extend(new);
        let tickets = self.tickets.len();
        self.outputs.push_back(ClientOutput::TicketsMade { version, tickets });
    }

    fn enter(&mut self, next: Phase<B, P>) {
        if let State::Open(_, phase) = &mut self.state {
            *phase = next;
        }
    }

    fn require_idle(&self, asked: &'static str) -> Result<()> {
        match &self.state {
            State::Open(_, Phase::Idle) => Ok(()),
            state => Err(ApiMisuse::State { asked, state: state.name() }.into()),
        }
    }
}

fn unexpected(expected: &'static str, message: &ServerMessage) -> crate::Error {
    PeerMisbehaved::UnexpectedMessage { expected, got: message.name() }.into()
}
