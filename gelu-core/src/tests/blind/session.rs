//! A session that can be stopped before any message of it: where a liar begins.

use super::*;
use crate::message::{ClientMessage, ServerMessage};

/// What happens next in a session of two tickets and a query of two samples.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Up(ClientMessage),
    Down(ServerMessage),
    End,
}

impl Event {
    pub(super) fn up(&self) -> Option<&ClientMessage> {
        match self {
            Self::Up(message) => Some(message),
            _ => None,
        }
    }

    pub(super) fn down(&self) -> Option<&ServerMessage> {
        match self {
            Self::Down(message) => Some(message),
            _ => None,
        }
    }
}

/// Both machines, everything before `pending` done.
pub(super) struct Session {
    pub(super) pair: Pair,
    host: Arc<PairHost>,
    rng: ChaCha20Rng,
    pending: Event,
}

impl Session {
    pub(super) fn new(answer: Answer) -> Self {
        // Without a table of steps, whose making would be most of what these tests do.
        let [_, (_, poolings), ..] = networks();
        let model = model(poolings);
        let host = Arc::new(PairHost::new(model, "test", Policy::AllowModelExtraction));
        let mut rng = ChaCha20Rng::seed_from_u64(31);
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let pair = Pair::join(Arc::clone(&host), key, answer, &mut rng);
        let mut session = Self { pair: pair.unwrap(), host, rng, pending: Event::End };
        session.pending = session.next();
        session
    }

    /// Before event number `n`.
    pub(super) fn until(answer: Answer, n: usize) -> Self {
        let mut session = Self::new(answer);
        for _ in 0..n {
            session.step();
        }
        session
    }

    fn step(&mut self) {
        match self.pending.clone() {
            Event::Up(message) => self.tell(message).unwrap(),
            Event::Down(message) => self.hear(message).unwrap(),
            Event::End => panic!("the session is over"),
        }
        self.pending = self.next();
    }

    fn next(&mut self) -> Event {
        loop {
            if let Some(message) = self.pair.client.poll_transmit() {
                return Event::Up(message);
            }
            if let Some(message) = self.pair.server.poll_transmit() {
                return Event::Down(message);
            }
            match self.pair.client.poll_output() {
                Some(ClientOutput::Opened) => {
                    self.pair.client.request_tickets(2, &mut self.rng).unwrap();
                }
                Some(ClientOutput::TicketsMade { .. }) => {
                    let inputs = inputs(&self.host.model(), 2);
                    self.pair.client.classify(&inputs).unwrap();
                }
                _ => return Event::End,
            }
        }
    }

    pub(super) fn tell(&mut self, message: ClientMessage) -> Result<()> {
        self.pair.server.handle_message(message, &*self.host, &mut self.rng)
    }

    pub(super) fn hear(&mut self, message: ServerMessage) -> Result<()> {
        self.pair.client.handle_message(message, &mut self.rng)
    }

    pub(super) fn events(answer: Answer) -> Vec<Event> {
        let (mut session, mut events) = (Self::new(answer), Vec::new());
        while !matches!(session.pending, Event::End) {
            events.push(session.pending.clone());
            session.step();
        }
        events
    }
}
