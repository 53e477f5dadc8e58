//! A session that can be stopped before anything that happens in it: where a liar begins.
//!
//! Its plan is fixed: a query of three samples; a lease of two steps of three samples, which becomes
//! version 2; and a lease that is given back.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{Batches, batches, model};
use crate::clear::{Clear, ClearKey};
use crate::client::{Client, ClientOutput, DataPolicy};
use crate::error::{Error, PeerMisbehaved, Refused, Result};
use crate::ledger::Exposure;
use crate::message::{ClientMessage, ServerMessage};
use crate::network::Parameters;
use crate::server::{Host, LearningRate, ServedModel, Server, ServerOutput};

/// Samples of every mini-batch.
pub(super) const BATCH: u32 = 3;
/// Mini-batches of a lease.
pub(super) const STEPS: u32 = 2;
/// A rate that the client knows.
pub(super) const PUBLIC: LearningRate<Clear> = LearningRate::Public(0.1);

/// The error is that of a number outside its bounds.
pub(super) fn out_of_bounds<T: core::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::PeerMisbehaved(PeerMisbehaved::OutOfBounds { what, .. })) => what,
        other => panic!("{other:?}"),
    }
}

/// What happens next.
#[derive(Debug)]
pub(super) enum Event {
    /// The client sends.
    Up(ClientMessage),
    /// The server sends.
    Down(ServerMessage),
    /// The server asks its process.
    Asked(ServerOutput),
    /// The client tells its owner.
    Told(ClientOutput),
    /// The session's plan is done.
    End,
}

impl Event {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Up(message) => message.name(),
            Self::Down(message) => message.name(),
            Self::Asked(ServerOutput::LeaseRequested { .. }) => "a lease is asked for",
            Self::Asked(ServerOutput::Commit { .. }) => "a commit is asked for",
            Self::Told(ClientOutput::LeaseGranted(_)) => "the client may train",
            Self::Told(_) => "the client is told",
            Self::End => "the end",
        }
    }
}

/// A host that notes what it books as (version, samples), and refuses after some bookings.
pub(super) struct Books {
    pub(super) model: RefCell<Arc<ServedModel>>,
    pub(super) booked: RefCell<Vec<(u64, u64)>>,
    pub(super) room: Cell<usize>,
}

impl Host for Books {
    fn model(&self) -> Arc<ServedModel> {
        Arc::clone(&self.model.borrow())
    }

    fn charge(&self, version: u64, _: &Exposure, samples: u64) -> Result<(), Refused> {
        let left = self.room.get().checked_sub(1).ok_or(Refused::ByPeer("no room".into()))?;
        self.room.set(left);
        self.booked.borrow_mut().push((version, samples));
        Ok(())
    }
}

/// Both machines, everything before [`pending`](Self::pending) done.
pub(super) struct Session {
    pub(super) client: Client<Clear>,
    pub(super) server: Server<Clear>,
    pub(super) books: Books,
    pub(super) rng: ChaCha20Rng,
    pub(super) pending: Event,
    rate: LearningRate<Clear>,
    batches: Batches,
    leases: usize,
}

impl Session {
    /// A session of [`model`] that has not begun.
    pub(super) fn new(rate: &LearningRate<Clear>) -> Self {
        Self::of(model(), rate)
    }

    /// The same with another model of the same network.
    pub(super) fn of(model: ServedModel, rate: &LearningRate<Clear>) -> Self {
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let (network, precision) = (Arc::clone(&model.network), model.precision);
        let batches = batches(&network, BATCH as usize, STEPS as usize);
        Self {
            client: Client::new(network, precision, key, DataPolicy::AllowInputReconstruction),
            server: Server::new(),
            books: Books {
                model: RefCell::new(Arc::new(model)),
                booked: RefCell::default(),
                room: Cell::new(usize::MAX),
            },
            rng: ChaCha20Rng::seed_from_u64(17),
            pending: Event::End,
            rate: rate.clone(),
            batches,
            leases: 0,
        }
    }

    /// Stopped before the `nth` event (from 1) of this name.
    pub(super) fn until(rate: &LearningRate<Clear>, name: &str, nth: usize) -> Self {
        Self::new(rate).play(name, nth)
    }

    /// Goes on until the `nth` event (from 1) of this name.
    pub(super) fn play(mut self, name: &str, nth: usize) -> Self {
        let mut seen = 0;
        loop {
            let event = self.next();
            seen += usize::from(event.name() == name);
            if seen == nth {
                self.pending = event;
                return self;
            }
            assert!(!matches!(event, Event::End), "no {name} number {nth}");
            self.deliver(event).unwrap();
        }
    }

    /// Everything that happens in a whole session.
    pub(super) fn events(rate: &LearningRate<Clear>) -> (Vec<ClientMessage>, Vec<ServerMessage>) {
        let (mut session, mut up, mut down) = (Self::new(rate), Vec::new(), Vec::new());
        loop {
            let event = session.next();
            match &event {
                Event::Up(message) => up.push(message.clone()),
                Event::Down(message) => down.push(message.clone()),
                Event::End => return (up, down),
                _ => {}
            }
            session.deliver(event).unwrap();
        }
    }

    /// The server gets `message` instead of the pending one.
    pub(super) fn tell(&mut self, message: ClientMessage) -> Result<()> {
        self.server.handle_message(message, &self.books, &mut self.rng)
    }

    /// The client gets `message` instead of the pending one.
    pub(super) fn hear(&mut self, message: ServerMessage) -> Result<()> {
        self.client.handle_message(message, &mut self.rng)
    }

    /// Whatever happens next.
    pub(super) fn next(&mut self) -> Event {
        let up = |client: &mut Client<Clear>| client.poll_transmit().map(Event::Up);
        up(&mut self.client)
            .or_else(|| self.server.poll_output().map(Event::Asked))
            .or_else(|| self.server.poll_transmit().map(Event::Down))
            .or_else(|| self.client.poll_output().map(Event::Told))
            .unwrap_or(Event::End)
    }

    /// Lets an event happen.
    pub(super) fn deliver(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Up(message) => self.tell(message),
            Event::Down(message) => self.hear(message),
            Event::Asked(ServerOutput::LeaseRequested { steps, .. }) => {
                let model = self.books.model();
                self.server.grant(&model, steps, self.rate.clone(), &mut self.rng)
            }
            Event::Asked(ServerOutput::Commit { base, parameters }) => {
                self.commit(base, parameters)
            }
            Event::Told(output) => self.go_on(output),
            Event::End => Ok(()),
        }
    }

    fn commit(&mut self, base: u64, parameters: Parameters) -> Result<()> {
        let model = self.books.model();
        let version = base + 1;
        let next = ServedModel { parameters, version, ..(*model).clone() };
        *self.books.model.borrow_mut() = Arc::new(next);
        self.server.committed(version)
    }

    /// What the client's owner does next.
    fn go_on(&mut self, output: ClientOutput) -> Result<()> {
        let train = |client: &mut Client<Clear>, step: usize, rng| {
            let (inputs, labels) = &self.batches[step];
            client.train(inputs, labels, rng)
        };
        match output {
            ClientOutput::Opened => self.client.classify(&self.batches[0].0, &mut self.rng),
            ClientOutput::Probabilities(_) | ClientOutput::Committed { .. } => {
                self.client.request_lease(BATCH as usize, STEPS)
            }
            ClientOutput::LeaseGranted(_) if self.leases == 0 => {
                self.leases += 1;
                train(&mut self.client, 0, &mut self.rng)
            }
            ClientOutput::LeaseGranted(_) => self.client.return_lease(),
            ClientOutput::StepDone(report) if !report.last => {
                train(&mut self.client, 1, &mut self.rng)
            }
            _ => Ok(()),
        }
    }
}
