//! A blind session in one process.

use std::sync::Arc;

use ndarray::Array2;
use rand_core::CryptoRng;

use super::{Frame, PairHost, unanswered};
use crate::backend::Backend;
use crate::blind::Answer;
use crate::circuit::two_party::TwoParty;
use crate::client::{BlindClient, ClientOutput};
use crate::error::Result;
use crate::message::{ClientMessage, ServerMessage, Wire};
use crate::server::{BlindServer, BlindTerms, Host};

/// A client and a server of blind queries: what a [`Pair`](super::Pair) is for open ones.
pub struct BlindPair<B: Backend, P: TwoParty> {
    /// The client.
    pub client: BlindClient<B, P>,
    /// The server.
    pub server: BlindServer<B, P>,
    /// What crossed between them so far.
    pub transcript: Vec<Frame>,
    host: Arc<PairHost>,
}

impl<B: Backend, P: TwoParty> BlindPair<B, P> {
    /// Joins a client with `secret` to a server of the host's model that tells scores as well, and opens the session.
    ///
    /// # Errors
    /// Whatever either machine says.
    pub fn open(
        host: Arc<PairHost>,
        secret: Arc<B::SecretKey>,
        answer: Answer,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let model = host.model();
        let (network, precision) = (Arc::clone(&model.network), model.precision);
        let client = BlindClient::new(network, precision, secret, answer, rng)?;
        let terms = BlindTerms { scores: true, ..BlindTerms::default() };
        let server = BlindServer::sharing(Arc::default(), terms);
        let mut pair = Self { client, server, transcript: Vec::new(), host };
        pair.run(rng)?;
        Ok(pair)
    }

    /// Carries messages until both sides wait; returns what the client had to say.
    ///
    /// # Errors
    /// Whatever either machine says.
    pub fn run(&mut self, rng: &mut dyn CryptoRng) -> Result<Vec<ClientOutput>> {
        loop {
            let mut idle = true;
            while let Some(message) = self.client.poll_transmit() {
                idle = false;
                let bytes = message.to_bytes();
                self.transcript.push(Frame::Up(bytes.clone()));
                let message = ClientMessage::from_bytes(&bytes)?;
                self.server.handle_message(message, &*self.host, rng)?;
            }
            while let Some(message) = self.server.poll_transmit() {
                idle = false;
                let bytes = message.to_bytes();
                self.transcript.push(Frame::Down(bytes.clone()));
                self.client.handle_message(ServerMessage::from_bytes(&bytes)?, rng)?;
            }
            if idle {
                return Ok(core::iter::from_fn(|| self.client.poll_output()).collect());
            }
        }
    }

    /// Makes `count` tickets at once.
    ///
    /// # Errors
    /// Whatever either machine says, refusals included.
    pub fn make_tickets(&mut self, count: usize, rng: &mut dyn CryptoRng) -> Result<()> {
        self.client.request_tickets(count, rng)?;
        match self.run(rng)?.pop() {
            Some(ClientOutput::TicketsMade { .. }) => Ok(()),
            Some(ClientOutput::Refused(refused)) => Err(refused.into()),
            _ => Err(unanswered()),
        }
    }

    /// The answer to a query, by a ticket for each sample: `Classes` or `Probabilities`.
    ///
    /// # Errors
    /// Whatever either machine says, refusals included.
    pub fn ask(&mut self, inputs: &Array2<f64>, rng: &mut dyn CryptoRng) -> Result<ClientOutput> {
        self.client.classify(inputs)?;
        match self.run(rng)?.pop() {
            Some(ClientOutput::Refused(refused)) => Err(refused.into()),
            Some(answer) => Ok(answer),
            None => Err(unanswered()),
        }
    }
}
