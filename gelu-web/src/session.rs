//! One session with a server: a greeting, a key, queries.
//!
//! ```text
//!  AwaitWelcome ──▶ Greeted ── open ──▶ Open (a machine) ──▶ Over
//! ```
//! What comes is handed to [`receive`](Session::receive); what goes is taken by [`poll_transmit`](Session::poll_transmit),
//! and what has happened by [`poll_event`](Session::poll_event).

use std::collections::VecDeque;
use std::sync::Arc;

use gelu_core::blind::Answer;
use gelu_core::client::{BlindClient, Client, ClientOutput, DataPolicy};
use gelu_core::error::{PeerIncompatible, PeerMisbehaved, Refused};
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::pass::argmax;
use gelu_core::plan::Purpose;
use gelu_core::{Cryptosystem, Network};
use gelu_garble::HalfGates;
use gelu_lattice::{Lattice, Parameters};
use gelu_nn::schema::Image;
use gelu_wire::frame::{Incoming, Outgoing};
use gelu_wire::handshake::{CARD_BYTES, Down, Hello, Mode, Up, VERSIONS, Welcome};
use gelu_wire::{Goodbye, ModelCard};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::event::{Event, Terms};

/// The largest frame, as the program has it by default.
pub const FRAME_BYTES: usize = 64 << 20;

/// Why a session has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the peer's bytes say, or do not.
    #[error(transparent)]
    Wire(#[from] gelu_wire::Error),
    /// What the machine says.
    #[error(transparent)]
    Core(#[from] gelu_core::Error),
    /// The server has ended the session and said why.
    #[error("{0}")]
    Ended(#[from] Goodbye),
    /// The model takes something else than a grey image.
    #[error("this page shows models of grey images, and {0}; ask this one with `gelu predict`")]
    NoImage(String),
    /// The page asked at the wrong time.
    #[error("{0}")]
    Misuse(&'static str),
}

impl From<PeerMisbehaved> for Error {
    fn from(error: PeerMisbehaved) -> Self {
        Self::Wire(error.into())
    }
}

impl From<PeerIncompatible> for Error {
    fn from(error: PeerIncompatible) -> Self {
        Self::Wire(error.into())
    }
}

type Result<T, E = Error> = core::result::Result<T, E>;

/// A client's end of one connection: see the [module](self).
pub struct Session {
    rng: ChaCha20Rng,
    outgoing: Outgoing,
    incoming: Incoming,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    state: State,
}

enum State {
    AwaitWelcome,
    Greeted(Box<Greeted>),
    Open(Open),
    Over,
}

/// A card that was checked, and how its server is asked.
struct Greeted {
    card: ModelCard,
    network: Arc<Network>,
    image: Image,
    agreed: Agreed,
}

#[derive(Clone, Copy)]
enum Agreed {
    Open,
    Blind(Answer),
}

struct Open {
    machine: Machine,
    image: Image,
    /// Whether the machine waits for the server.
    busy: bool,
    /// Tickets to have in idle time.
    wanted: usize,
    /// Tickets that the server lets a session hold.
    most: usize,
    /// The query that is under way, or waits for a ticket.
    query: Option<Query>,
}

struct Query {
    inputs: Array2<f64>,
    asked: bool,
    /// A new version of the model has voided its ticket once.
    expired: bool,
}

enum Machine {
    Open(Box<Client<Lattice>>),
    Blind(Box<BlindClient<Lattice, HalfGates>>),
}

impl Session {
    /// A session whose randomness is drawn from `seed`, with its greeting ready to be sent: for the model called `model`,
    /// or the only one that there is.
    ///
    /// # Security
    /// Who knows the seed can decrypt.
    pub fn new(seed: [u8; 32], model: &str) -> Self {
        let mut session = Self {
            rng: ChaCha20Rng::from_seed(seed),
            outgoing: Outgoing::new(FRAME_BYTES),
            incoming: Incoming::new(CARD_BYTES),
            transmit: VecDeque::new(),
            events: VecDeque::new(),
            state: State::AwaitWelcome,
        };
        session.attempt(|session| {
            session.send(&Up::Hello(Hello::ours()))?;
            session.send(&Up::Choose(model.to_owned()))
        });
        session
    }

    /// The next bytes for the server, if any.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// What has happened next, if anything has.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes bytes from the server, as they come.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.attempt(|session| {
            session.incoming.push(bytes);
            while let Some((frame, bytes)) = session.incoming.poll::<Down>()? {
                let name = name(&frame);
                session.events.push_back(Event::Received { name, bytes });
                session.handle(frame)?;
            }
            Ok(())
        });
    }

    /// Makes a key and sends its public half.
    pub fn open(&mut self) {
        self.attempt(Self::make_key);
    }

    /// Uses idle time: makes tickets until there are `count`, or as many as the server lets a session hold. Does nothing
    /// while a query is under way, or where queries are open.
    pub fn prepare(&mut self, count: usize) {
        self.attempt(|session| {
            if let State::Open(open) = &mut session.state {
                open.wanted = count;
            }
            session.go_on()
        });
    }

    /// Asks about an image: a byte for each pixel, row by row, 255 for the brightest.
    pub fn ask(&mut self, pixels: &[u8]) {
        self.attempt(|session| {
            let State::Open(open) = &mut session.state else {
                return Err(Error::Misuse("the session is not open yet"));
            };
            let pixels: Vec<_> = pixels.iter().map(|&pixel| pixel.into()).collect();
            let features = open.image.features(&pixels, u8::MAX.into());
            let features = features.map_err(gelu_wire::Error::from)?;
            let inputs = Array2::from_shape_vec((features.len(), 1), features);
            if open.query.is_some() {
                return Err(Error::Misuse("the query before this one was not answered yet"));
            }
            let inputs = inputs.expect("one column");
            open.query = Some(Query { inputs, asked: false, expired: false });
            session.go_on()
        });
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        if !matches!(self.state, State::Over) {
            self.attempt(|session| session.send(&Up::Bye));
            self.state = State::Over;
        }
    }

    /// An error ends the session: keys and tickets are wiped.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = step(self) {
            self.state = State::Over;
            self.events.push_back(Event::Ended { reason: error.to_string() });
        }
    }

    fn send(&mut self, frame: &Up) -> Result<()> {
        let name = frame.name();
        let bytes = self.outgoing.frame(frame)?;
        self.events.push_back(Event::Sent { name, bytes: bytes.len() as u64 });
        self.transmit.push_back(bytes);
        Ok(())
    }

    fn handle(&mut self, frame: Down) -> Result<()> {
        match (frame, &mut self.state) {
            (_, State::Over) => Ok(()),
            (Down::Goodbye(goodbye), _) => Err(goodbye.into()),
            (Down::Incompatible(incompatible), _) => Err(incompatible.heard(Lattice::ID).into()),
            (Down::Welcome(welcome), State::AwaitWelcome) => self.greeted(*welcome),
            (Down::Waiting { .. } | Down::Working, State::Open(_)) => Ok(()),
            (Down::Message(message), State::Open(open)) => {
                open.machine.handle_message(message, &mut self.rng)?;
                self.go_on()
            }
            (frame, state) => {
                let (got, expected) = (name(&frame), state.expected());
                Err(PeerMisbehaved::UnexpectedMessage { expected, got }.into())
            }
        }
    }

    /// Checks what the server says of itself, before there is a key.
    fn greeted(&mut self, welcome: Welcome) -> Result<()> {
        let Welcome { version, card } = welcome;
        if !(VERSIONS.0..=VERSIONS.1).contains(&version) {
            let expected = format!("{VERSIONS:?}");
            return Err(PeerMisbehaved::out_of_bounds("version", version, expected).into());
        }
        let card = card.printable();
        if card.backend != Lattice::ID {
            let (ours, theirs) = (Lattice::ID.into(), card.backend);
            return Err(PeerIncompatible::Backend { ours, theirs }.into());
        }
        let described = card.describe()?;
        let schema = described.schema.ok_or_else(|| {
            Error::NoImage("the model file does not say what its inputs mean".into())
        })?;
        let image = match schema.image() {
            Some(image) if image.shape[0] == 1 => image.clone(),
            Some(image) => {
                return Err(Error::NoImage(format!("this one has {} channels", image.shape[0])));
            }
            None => return Err(Error::NoImage("this one takes columns of a table".into())),
        };
        let agreed = match (card.modes.contains(&Mode::Blind), card.scores) {
            (false, _) => Agreed::Open,
            (true, false) => Agreed::Blind(Answer::Class),
            (true, true) => Agreed::Blind(Answer::Scores),
        };
        let numbers = (0..described.network.classes()).map(|class| class.to_string());
        let classes = match schema.classes() {
            [] => numbers.collect(),
            words => words.iter().map(|word| gelu_core::text::printable(word)).collect(),
        };
        let (mode, verdict) = match agreed {
            Agreed::Open => (Mode::Open, &card.inference),
            Agreed::Blind(_) => (Mode::Blind, &card.blind),
        };
        self.events.push_back(Event::Welcome(Box::new(Terms {
            model: card.name.clone(),
            version: card.version,
            account: card.account.clone(),
            mode,
            scores: !matches!(agreed, Agreed::Blind(Answer::Class)),
            image: [image.shape[1], image.shape[2]],
            classes,
            verdict: verdict.clone(),
        })));
        self.incoming.set_limit(FRAME_BYTES);
        let network = Arc::new(described.network);
        self.state = State::Greeted(Box::new(Greeted { card, network, image, agreed }));
        Ok(())
    }

    /// The smallest key that the server takes and that carries the model.
    fn make_key(&mut self) -> Result<()> {
        let greeted = match std::mem::replace(&mut self.state, State::Over) {
            State::Greeted(greeted) => greeted,
            _ => {
                return Err(Error::Misuse("a session is opened once, after the server's greeting"));
            }
        };
        let (least, most) = greeted.card.key_bits;
        let mut tried = Err(Error::from(PeerIncompatible::KeySize {
            got: Parameters::KEY_BITS[0],
            accepted: format!("{least} to {most} bits"),
        }));
        for bits in Parameters::KEY_BITS.into_iter().filter(|bits| (least..=most).contains(bits)) {
            tried = Machine::new(&greeted, bits, &mut self.rng);
            if tried.is_ok() {
                break;
            }
        }
        let (machine, Greeted { card, image, .. }) = (tried?, *greeted);
        let most = (card.tickets as usize).max(1);
        let open = Open { machine, image, busy: true, wanted: 0, most, query: None };
        self.state = State::Open(open);
        self.go_on()
    }

    /// *Drain, then one mutation*, until the machine waits for the server or for the page.
    fn go_on(&mut self) -> Result<()> {
        loop {
            let State::Open(open) = &mut self.state else { return Ok(()) };
            while let Some(output) = open.machine.poll_output() {
                self.events.extend(open.heard(output)?);
            }
            while let State::Open(open) = &mut self.state
                && let Some(message) = open.machine.poll_transmit()
            {
                self.send(&Up::Message(message))?;
            }
            let State::Open(open) = &mut self.state else { return Ok(()) };
            if open.busy || !open.next_request(&mut self.rng)? {
                return Ok(());
            }
        }
    }
}

impl State {
    fn expected(&self) -> &'static str {
        match self {
            Self::AwaitWelcome => "Welcome",
            Self::Greeted(_) | Self::Over => "nothing",
            Self::Open(_) => "Message",
        }
    }
}

impl Open {
    /// What the page is told of it, if anything.
    fn heard(&mut self, output: ClientOutput) -> Result<Option<Event>> {
        self.busy = false;
        let (class, probabilities) = match output {
            ClientOutput::Opened => return Ok(Some(Event::Opened)),
            ClientOutput::TicketsMade { tickets, .. } => {
                return Ok(Some(Event::Tickets { held: tickets }));
            }
            ClientOutput::Refused(refused) => return Ok(self.refused(&refused)),
            ClientOutput::Classes(classes) => (classes[0], None),
            ClientOutput::Probabilities(all) => {
                let probabilities: Vec<_> = all.iter().copied().collect();
                (argmax(probabilities.iter().copied()), Some(probabilities))
            }
            _ => {
                return Err(Error::Misuse("the machine tells of training, which nobody asked for"));
            }
        };
        self.query = None;
        let cut_off = self.machine.saturations().iter().sum();
        Ok(Some(Event::Answer { class, probabilities, cut_off }))
    }

    /// A ticket for an old version is made again, once. Whatever else is refused is not asked for again by itself.
    fn refused(&mut self, refused: &Refused) -> Option<Event> {
        match (refused, &mut self.query) {
            (Refused::TicketsExpired { .. }, Some(query)) if !query.expired => {
                (query.asked, query.expired) = (false, true);
                None
            }
            _ => {
                (self.query, self.wanted) = (None, 0);
                Some(Event::Refused { reason: refused.to_string() })
            }
        }
    }

    /// Asks what is to be asked next; says whether there was anything.
    fn next_request(&mut self, rng: &mut ChaCha20Rng) -> Result<bool> {
        let query = self.query.as_mut().filter(|query| !query.asked);
        match (&mut self.machine, query) {
            (Machine::Open(client), Some(query)) => {
                client.classify(&query.inputs, rng)?;
                query.asked = true;
            }
            (Machine::Blind(client), Some(query)) if client.tickets() > 0 => {
                client.classify(&query.inputs)?;
                query.asked = true;
            }
            // One at a time, so that a query waits for one at most.
            (Machine::Blind(client), query)
                if query.is_some() || client.tickets() < self.wanted.min(self.most) =>
            {
                client.request_tickets(1, rng)?;
            }
            _ => return Ok(false),
        }
        self.busy = true;
        Ok(true)
    }
}

impl Machine {
    /// A machine with a fresh key, which has said nothing yet.
    fn new(greeted: &Greeted, bits: u32, rng: &mut ChaCha20Rng) -> Result<Self> {
        let (network, precision) = (Arc::clone(&greeted.network), greeted.card.precision);
        let secret = Arc::new(Lattice::keygen(bits, rng)?);
        Ok(match greeted.agreed {
            // No lease is ever asked for here, so nothing of the data is revealed under any policy.
            Agreed::Open => {
                let client = Client::new(network, precision, secret, DataPolicy::Enforce);
                client.exposure(1, Purpose::Inference)?;
                Self::Open(Box::new(client))
            }
            Agreed::Blind(answer) => {
                let client = BlindClient::new(network, precision, secret, answer, rng)?;
                client.plan(1)?;
                Self::Blind(Box::new(client))
            }
        })
    }

    fn poll_transmit(&mut self) -> Option<ClientMessage> {
        match self {
            Self::Open(client) => client.poll_transmit(),
            Self::Blind(client) => client.poll_transmit(),
        }
    }

    fn poll_output(&mut self) -> Option<ClientOutput> {
        match self {
            Self::Open(client) => client.poll_output(),
            Self::Blind(client) => client.poll_output(),
        }
    }

    fn handle_message(&mut self, message: ServerMessage, rng: &mut ChaCha20Rng) -> Result<()> {
        match self {
            Self::Open(client) => client.handle_message(message, rng)?,
            Self::Blind(client) => client.handle_message(message, rng)?,
        }
        Ok(())
    }

    fn saturations(&self) -> &[u64] {
        match self {
            Self::Open(client) => client.saturations(),
            Self::Blind(client) => client.saturations(),
        }
    }
}

fn name(frame: &Down) -> &'static str {
    match frame {
        Down::Welcome(_) => "Welcome",
        Down::Message(message) => message.name(),
        Down::Waiting { .. } => "Waiting",
        Down::Working => "Working",
        Down::Goodbye(_) => "Goodbye",
        Down::Incompatible(_) => "Incompatible",
    }
}

#[cfg(test)]
mod tests;
