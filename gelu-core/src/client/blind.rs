//! The client of [blind](crate::blind) queries: owner of the data and the key pair.
//!
//! A machine without I/O, driven as [`Client`](super::Client) is.
//!
//! ```text
//!  AwaitOffer ──▶ Idle ─┬ request_tickets ──▶ AwaitShares ──▶ AwaitTickets ──▶ Idle
//!                       └ classify ──▶ Query (stage 1, 2, …) ──▶ Idle
//! ```
//! `AwaitShares` and `Query` may get `Refused` instead, `Query` also `TicketsExpired`: both lead to Idle. The tickets of
//! a query are spent when it is asked, whatever comes of it.
//!
//! # Security
//! Whatever the server sends at a query, the client sends as many numbers, each under a mask that is used once, and
//! never says whether an answer looked right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::vec::IntoIter;

use ndarray::Array2;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, Zeroizing};

use super::ClientOutput;
use crate::backend::{Backend, Layout, Shares};
use crate::blind::{self, Answer, BlindPlan, Circuits, numbers};
use crate::circuit::locals;
use crate::circuit::two_party::{ClientTicket, TwoParty, reduced, ring};
use crate::error::{ApiMisuse, PeerMisbehaved, Refused, Result};
use crate::fixed::{Precision, add_by_layer, centred};
use crate::message::{ClientMessage, EncryptedStage, ServerMessage};
use crate::network::Network;
use crate::pass::{Pass, scale};

/// Secret numbers of a ring.
type Numbers = Zeroizing<Vec<u64>>;

/// One query's worth of masks and garbled circuits.
struct Ticket<P: TwoParty> {
    number: u64,
    stages: Vec<StageTicket<ClientTicket<P>>>,
}

/// The part of one stage, with what there is of its circuits.
struct StageTicket<T> {
    /// What hides the stage's inputs.
    r: Numbers,
    half: Half<T>,
}

/// What turns the server's share of the sums into what comes next.
enum Half<T> {
    /// A stage with circuits.
    Circuit(T),
    /// c = W·r − s, the client's own share of the scores.
    Scores(Numbers),
}

/// New tickets on their way.
struct Making<P: TwoParty> {
    version: u64,
    first: u64,
    requested: VecDeque<Vec<StageTicket<P::Request>>>,
    made: Vec<Ticket<P>>,
}

/// A query between two stages.
struct Query<P: TwoParty> {
    stage: usize,
    /// Of each sample, the current stage and those that follow.
    samples: Vec<(Half<ClientTicket<P>>, IntoIter<StageTicket<ClientTicket<P>>>)>,
}

enum Phase<B: Backend, P: TwoParty> {
    Idle,
    /// By stage, then by ticket.
    AwaitShares(BlindPlan<B>, Vec<Vec<Numbers>>),
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
        let public_key = B::public_key_to_bytes(B::public_key(&secret));
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

    /// Asks for `count` new tickets, made at once: the more, the cheaper each is where slots are left over.
    ///
    /// # Errors
    /// [`ApiMisuse::State`] unless idle, and what the range analysis says.
    pub fn request_tickets(&mut self, count: usize, rng: &mut dyn CryptoRng) -> Result<()> {
        self.require_idle("ask for tickets")?;
        let plan = self.plan(count)?;
        let (mut stages, mut masks) = (Vec::new(), Vec::new());
        let linears = self.network.stages().iter().map(|stage| &stage.linear);
        for ((stage, exchange), linear) in
            plan.circuits.stages().iter().zip(&plan.exchanges).zip(linears)
        {
            let r: Vec<Numbers> =
                (0..count).map(|_| uniform(linear.inputs(), stage.ring_bits, rng)).collect();
            let centred = |(i, n): (usize, usize)| centred(i128::from(r[n][i]), stage.ring_bits);
            let mut values = Array2::from_shape_fn((linear.inputs(), count), centred);
            let layout = exchange.exchange.layout();
            let encrypted = layout.encrypt(&self.secret, linear, &values, rng);
            values.iter_mut().for_each(Zeroize::zeroize);
            stages.push(EncryptedStage { layout: layout.to_string(), ciphertexts: encrypted? });
            masks.push(r);
        }
        let tickets = u32::try_from(count).expect("a plan has at most 2^16 tickets");
        self.transmit.push_back(ClientMessage::EncryptedMasks { tickets, stages });
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
        let (mut hidden, mut spent, mut state) = (Vec::new(), Vec::new(), Vec::new());
        for (ticket, x) in self.tickets.drain(..samples).zip(pass.activations(0).columns()) {
            let mut stages = ticket.stages.into_iter();
            let StageTicket { r, half } = stages.next().expect("a network has a stage");
            let difference = |(x, r): (&i128, &u64)| reduced(ring(*x).wrapping_sub(*r), bits);
            let difference: Vec<_> = x.iter().zip(r.iter()).map(difference).collect();
            numbers::write(&difference, bits, &mut hidden);
            spent.push(ticket.number);
            state.push((half, stages));
        }
        let message = ClientMessage::HiddenInputs { tickets: spent, numbers: hidden };
        self.transmit.push_back(message);
        self.enter(Phase::Query(Query { stage: 0, samples: state }));
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
                let key = B::public_key_to_bytes(B::public_key(&self.secret));
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
            (Phase::AwaitShares(..) | Phase::Query(_), ServerMessage::Refused { reason }) => {
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
                let requested = self.request(evaluator, &plan, masks, &stages, rng)?;
                Ok(Phase::AwaitTickets(Making { version, first, requested, made: Vec::new() }))
            }
            (Phase::AwaitTickets(making), ServerMessage::GarbledTicket { stages }) => {
                self.receive(evaluator, making, stages)
            }
            (Phase::Query(query), ServerMessage::ShareLabels { stage, samples })
                if query.stage + 1 < self.circuits.stages().len() =>
            {
                self.advance(query, stage as usize, &samples)
            }
            (Phase::Query(query), ServerMessage::ScoreShares { numbers })
                if self.is_last(&query, Answer::Scores) =>
            {
                let probabilities = self.probabilities(query, &numbers)?;
                self.outputs.push_back(ClientOutput::Probabilities(probabilities));
                Ok(Phase::Idle)
            }
            (Phase::Query(query), ServerMessage::ClassLabels { samples, rho })
                if self.is_last(&query, Answer::Class) =>
            {
                let classes = self.classes(query, &samples, &rho)?;
                self.outputs.push_back(ClientOutput::Classes(classes));
                Ok(Phase::Idle)
            }
            (phase, message) => Err(unexpected(phase.expected(&self.circuits), &message)),
        }
    }

    fn is_last(&self, query: &Query<P>, answer: Answer) -> bool {
        self.circuits.answer() == answer && query.stage + 1 == self.circuits.stages().len()
    }

    /// Decrypts c = W·r − s of all tickets and asks for the transfer of its bits.
    fn request(
        &mut self,
        evaluator: &mut P::Evaluator,
        plan: &BlindPlan<B>,
        masks: Vec<Vec<Numbers>>,
        encrypted: &[ByteBuf],
        rng: &mut dyn CryptoRng,
    ) -> Result<VecDeque<Vec<StageTicket<P::Request>>>> {
        let stages = plan.circuits.stages();
        PeerMisbehaved::check_equal("stages of shares", encrypted.len(), stages.len())?;
        let mut shares = Vec::new();
        for (exchange, bytes) in plan.exchanges.iter().zip(encrypted) {
            let layout = exchange.exchange.layout();
            shares.push(exchange.shares.decrypt(layout, &self.secret, bytes)?);
        }
        let mut masks: Vec<_> = masks.into_iter().map(Vec::into_iter).collect();
        let mut tickets = VecDeque::new();
        for n in 0..plan.tickets {
            let (mut requested, mut messages) = (Vec::new(), Vec::new());
            for ((stage, r), c) in stages.iter().zip(&mut masks).zip(&shares) {
                let (r, c) = (r.next().expect("a mask of each ticket"), c.sample(n));
                let half = match stage.batch() {
                    Some(batch) => {
                        let (request, message) =
                            ClientTicket::<P>::request(evaluator, &batch, &c, rng)?;
                        messages.push(ByteBuf::from(message));
                        Half::Circuit(request)
                    }
                    None => Half::Scores(c),
                };
                requested.push(StageTicket { r, half });
            }
            self.transmit.push_back(ClientMessage::TransferRequest { stages: messages });
            tickets.push_back(requested);
        }
        Ok(tickets)
    }

    /// Takes the garbled circuits of the next ticket.
    fn receive(
        &mut self,
        evaluator: &mut P::Evaluator,
        mut making: Making<P>,
        garbled: Vec<ByteBuf>,
    ) -> Result<Phase<B, P>> {
        let requested = making.requested.pop_front().expect("a ticket is due");
        let circuits = self.circuits.stages().iter().filter(|s| s.circuit.is_some()).count();
        PeerMisbehaved::check_equal("stages of a garbled ticket", garbled.len(), circuits)?;
        let (mut garbled, mut stages) = (garbled.into_iter(), Vec::new());
        for (stage, StageTicket { r, half }) in self.circuits.stages().iter().zip(requested) {
            let half = match (half, stage.batch()) {
                (Half::Circuit(request), Some(batch)) => {
                    let bytes = garbled.next().expect("counted above").into_vec();
                    let ticket = ClientTicket::<P>::receive(evaluator, &batch, request, bytes)?;
                    Half::Circuit(ticket)
                }
                (Half::Scores(c), _) => Half::Scores(c),
                (Half::Circuit(_), None) => unreachable!("asked for a circuit's bits"),
            };
            stages.push(StageTicket { r, half });
        }
        let number = making.first.wrapping_add(making.made.len() as u64);
        making.made.push(Ticket { number, stages });
        if !making.requested.is_empty() {
            return Ok(Phase::AwaitTickets(making));
        }
        if making.version != self.version {
            self.tickets.clear();
        }
        self.version = making.version;
        self.tickets.extend(making.made);
        let (version, tickets) = (self.version, self.tickets.len());
        self.outputs.push_back(ClientOutput::TicketsMade { version, tickets });
        Ok(Phase::Idle)
    }

    /// Evaluates the circuits of a stage, and hides what comes out for the server.
    fn advance(
        &mut self,
        mut query: Query<P>,
        stage: usize,
        labels: &[ByteBuf],
    ) -> Result<Phase<B, P>> {
        PeerMisbehaved::check_equal("stage", stage, query.stage)?;
        PeerMisbehaved::check_equal("samples of labels", labels.len(), query.samples.len())?;
        let batch = self.circuits.stages()[stage].batch().expect("only the last stage has none");
        let mut hidden = Vec::new();
        let mut samples = Vec::new();
        for ((half, mut rest), labels) in query.samples.into_iter().zip(labels) {
            let StageTicket { r, half: next } = rest.next().expect("not the last stage");
            let Half::Circuit(ticket) = half else { unreachable!("not the last stage") };
            numbers::write(&ticket.finish(&batch, labels, &r)?, batch.ring_bits, &mut hidden);
            samples.push((next, rest));
        }
        (query.stage, query.samples) = (stage + 1, samples);
        let stage = u32::try_from(stage + 1).expect("few stages");
        self.transmit.push_back(ClientMessage::HiddenActivations { stage, numbers: hidden });
        Ok(Phase::Query(query))
    }

    /// Puts the scores together, and makes probabilities of them as the [`Pass`] does.
    fn probabilities(&self, query: Query<P>, shares: &[u8]) -> Result<Array2<f64>> {
        let (stage, last) =
            (&self.circuits.stages()[query.stage], &self.network.stages()[query.stage]);
        let (outputs, samples) = (last.linear.outputs(), query.samples.len());
        let bits = stage.ring_bits;
        let shares = numbers::read("a share of scores", shares, outputs * samples, bits)?;
        let scale = scale(&last.linear, &self.precision);
        let mut scores = Array2::zeros((outputs, samples));
        for (n, (half, _)) in query.samples.iter().enumerate() {
            let Half::Scores(c) = half else { unreachable!("the last stage for scores") };
            for (i, (own, theirs)) in c.iter().zip(&shares[n * outputs..]).enumerate() {
                let z = i128::from(reduced(own.wrapping_add(*theirs), bits));
                scores[[i, n]] = centred(z, bits) as f64 / scale;
            }
        }
        let locals = locals(&self.network, query.stage)?;
        let scores = locals.iter().fold(scores, |z, local| local.forward(&z));
        Ok(self.network.loss().probabilities(&scores))
    }

    /// Evaluates the last circuits. An index that is no class, which no honest server sends, counts as the last class:
    /// to report it would tell the server something of the sums.
    fn classes(&self, query: Query<P>, labels: &[ByteBuf], rho: &[u8]) -> Result<Vec<usize>> {
        let batch = self.circuits.stages()[query.stage].batch().expect("a circuit of the class");
        let samples = query.samples.len();
        PeerMisbehaved::check_equal("samples of labels", labels.len(), samples)?;
        let rho = numbers::read("what hides classes", rho, samples, batch.ring_bits)?;
        let mut classes = Vec::new();
        for (((half, _), labels), rho) in query.samples.into_iter().zip(labels).zip(rho.iter()) {
            let Half::Circuit(ticket) = half else { unreachable!("the last stage for classes") };
            let class = ticket.finish(&batch, labels, &[*rho])?[0];
            let class = usize::try_from(class).unwrap_or(usize::MAX);
            classes.push(class.min(self.network.classes() - 1));
        }
        Ok(classes)
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

/// `count` uniform numbers modulo 2^`bits`.
fn uniform(count: usize, bits: u32, rng: &mut dyn CryptoRng) -> Numbers {
    let mut numbers = Zeroizing::new(Vec::with_capacity(count));
    numbers.extend((0..count).map(|_| reduced(rng.next_u64(), bits)));
    numbers
}

fn unexpected(expected: &'static str, message: &ServerMessage) -> crate::Error {
    PeerMisbehaved::UnexpectedMessage { expected, got: message.name() }.into()
}
