//! A blind session in one process.

use std::sync::Arc;

use ndarray::Array2;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use super::{Frame, PairHost, crossed, unanswered};
use crate::backend::Backend;
use crate::blind::{Answer, BlindCosts};
use crate::circuit::two_party::TwoParty;
use crate::client::{BlindClient, ClientOutput};
use crate::error::Result;
use crate::message::{ClientMessage, EncryptedStage, ServerMessage, Wire};
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
        let mut pair = Self::join(host, secret, answer, rng)?;
        pair.run(rng)?;
        Ok(pair)
    }

    /// The same before the first message.
    pub(crate) fn join(
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
        Ok(Self { client, server, transcript: Vec::new(), host })
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
                let message = crossed(&message, Frame::Up, &mut self.transcript)?;
                self.server.handle_message(message, &*self.host, rng)?;
            }
            while let Some(message) = self.server.poll_transmit() {
                idle = false;
                let message = crossed(&message, Frame::Down, &mut self.transcript)?;
                self.client.handle_message(message, rng)?;
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

    /// What crossed so far, in the words of a plan: bytes of contents, and questions of queries for `round_trips`.
    pub fn counted(&self) -> BlindCosts {
        let all = |blocks: &[ByteBuf]| blocks.iter().map(|block| block.len()).sum::<usize>();
        let mut sum = BlindCosts::default();
        let message = "what was written by a machine is a message";
        for frame in &self.transcript {
            match frame {
                Frame::Up(bytes) => match ClientMessage::from_bytes(bytes).expect(message) {
                    ClientMessage::TransferAnswer { answer } => sum.setup += answer.len(),
                    ClientMessage::EncryptedMasks { stages, .. } => {
                        let of = |stage: &EncryptedStage| stage.ciphertexts.len();
                        sum.ciphertexts += stages.iter().map(of).sum::<usize>();
                    }
                    ClientMessage::TransferRequest { stages } => sum.requests += all(&stages),
                    ClientMessage::HiddenInputs { numbers, .. }
                    | ClientMessage::HiddenActivations { numbers, .. } => {
                        sum.query_up += numbers.len();
                        sum.round_trips += 1;
                    }
                    _ => {}
                },
                Frame::Down(bytes) => match ServerMessage::from_bytes(bytes).expect(message) {
                    ServerMessage::TransferOffer { offer, .. } => sum.setup += offer.len(),
                    ServerMessage::EncryptedShares { stages, .. } => {
                        sum.ciphertexts += all(&stages);
                    }
                    ServerMessage::GarbledTicket { stages } => sum.garbled += all(&stages),
                    ServerMessage::ShareLabels { samples, .. } => sum.query_down += all(&samples),
                    ServerMessage::ScoreShares { numbers } => sum.query_down += numbers.len(),
                    ServerMessage::ClassLabels { samples, rho } => {
                        sum.query_down += all(&samples) + rho.len();
                    }
                    _ => {}
                },
            }
        }
        sum
    }
}
