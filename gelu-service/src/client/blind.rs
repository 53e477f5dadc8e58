//! An open session of blind queries.

use std::sync::Arc;

use gelu_core::blind::{Answer, BlindCosts};
use gelu_core::client::{BlindClient, ClientOutput};
use gelu_core::error::{ApiMisuse, Refused};
use gelu_core::{Backend, Network};
use gelu_garble::HalfGates;
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;

use super::ClientEvent;
use super::answers::Answers;
use super::driver::{Driver, no_such};
use super::line::Line;
use super::statistics::{Phase, Statistics};
use crate::error::{Error, Result};
use crate::handshake::ModelCard;

/// An open session of [blind](gelu_core::blind) queries: neither side sees the weighted sums.
///
/// A query spends a ticket for each sample. Tickets are made in idle time by
/// [`prepare_tickets`](Self::prepare_tickets); a query that finds too few makes those that it lacks.
pub struct BlindSession<B: Backend> {
    driver: Driver<BlindClient<B, HalfGates>>,
    card: ModelCard,
    network: Arc<Network>,
    frame_bytes: usize,
    /// Samples of the largest query.
    largest_query: usize,
    saturations: Vec<u64>,
}

impl<B: Backend> BlindSession<B> {
    /// Sends the key and makes the base transfers.
    pub(super) async fn begin(
        line: Line,
        card: ModelCard,
        network: Arc<Network>,
        secret: Arc<B::SecretKey>,
        answer: Answer,
    ) -> Result<Self> {
        let (own, precision) = (Arc::clone(&network), card.precision);
        let frame_bytes = line.frame_bytes();
        let make =
            move |rng: &mut ChaCha20Rng| BlindClient::new(own, precision, secret, answer, rng);
        let driver = Driver::begin(line, network.stages().len(), make).await?;
        let saturations = Vec::new();
        let mut session =
            Self { driver, card, network, frame_bytes, largest_query: 1, saturations };
        // Labels of a stage travel in one frame, and every sample needs a ticket.
        let of_one = session.costs(1)?.query_down.max(1);
        session.largest_query = (frame_bytes / of_one).clamp(1, session.most_tickets());
        Ok(session)
    }

    /// What the server said at the greeting. Its version may be out of date.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// What this session has cost so far: tickets and queries apart.
    pub fn statistics(&self) -> &Statistics {
        &self.driver.statistics
    }

    /// Inputs of all queries so far that were cut off at the bound of their format.
    pub fn saturations(&self) -> &[u64] {
        &self.saturations
    }

    /// Tickets left: samples that can be asked about without making new ones.
    pub fn tickets(&self) -> usize {
        self.driver.machine().map_or(0, BlindClient::tickets)
    }

    /// Takes randomness from `seed` instead of the operating system: see
    /// [`Session::danger_seed`](super::Session::danger_seed).
    pub fn danger_seed(&mut self, seed: [u8; 32]) {
        self.driver.seed(seed);
    }

    /// What making `tickets` tickets at once takes, and a query with one of them.
    ///
    /// # Errors
    /// What the range analysis says; [`Error::SessionOver`].
    pub fn costs(&self, tickets: usize) -> Result<BlindCosts> {
        let plan = self.driver.machine()?.plan(tickets)?;
        Ok(plan.costs::<HalfGates>(&self.network)?)
    }

    /// Uses idle time: makes what the encryptions of the next request for `count` tickets need and what does not
    /// depend on them.
    ///
    /// # Errors
    /// What the range analysis says.
    pub async fn precompute(&mut self, count: usize) -> Result<()> {
        self.driver.ask(Phase::Tickets, move |m| m.machine.precompute(count, &mut m.rng)).await
    }

    /// Uses idle time: makes tickets until there are `count`, many at once, as far as a frame and the server's terms
    /// let them.
    ///
    /// # Errors
    /// [`Error::Refused`] leaves the session open, with the tickets that were made.
    pub async fn prepare_tickets(&mut self, count: usize) -> Result<()> {
        while self.tickets() < count {
            let missing = count - self.tickets();
            let made = self.largest_request(missing)?;
            let request = self
                .driver
                .ask(Phase::Tickets, move |m| m.machine.request_tickets(made, &mut m.rng));
            request.await?;
            match self.driver.rounds().await?.pop() {
                Some(ClientOutput::TicketsMade { tickets, .. }) => {
                    (self.driver.observer())(&ClientEvent::TicketsMade { tickets, wanted: count });
                }
                other => return Err(no_such(other)),
            }
        }
        Ok(())
    }

    /// Samples of a query at most: by the server's terms and the largest frame.
    pub fn largest_query(&self) -> usize {
        self.largest_query
    }

    /// Blind inference of `inputs`, `[features, samples]`. Makes the tickets that are missing first.
    ///
    /// A new version of the model voids all tickets; they are made again, once.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Protocol`] (inputs of another shape, or more samples than
    /// [`largest_query`](Self::largest_query)) leave the session open. Tickets of a query that was refused are spent.
    pub async fn classify(&mut self, inputs: &Array2<f64>) -> Result<Answers> {
        let (samples, most) = (inputs.ncols(), self.largest_query);
        if !(1..=most).contains(&samples) {
            let why = format!("of {samples} samples: needs 1 to {most}");
            return Err(
                gelu_core::Error::from(ApiMisuse::configuration("a blind query", why)).into()
            );
        }
        let mut expired = false;
        loop {
            self.prepare_tickets(samples).await?;
            let asked = inputs.clone();
            self.driver.ask(Phase::Inference, move |m| m.machine.classify(&asked)).await?;
            let mut outputs = self.driver.rounds().await?;
            self.driver.machine()?.saturations().clone_into(&mut self.saturations);
            match outputs.pop() {
                Some(ClientOutput::Classes(classes)) => return Ok(Answers::Classes(classes)),
                Some(ClientOutput::Probabilities(values)) => {
                    return Ok(Answers::Probabilities(values));
                }
                Some(ClientOutput::Refused(Refused::TicketsExpired { .. })) if !expired => {
                    expired = true;
                }
                other => return Err(no_such(other)),
            }
        }
    }

    /// Says goodbye; returns what the session has cost.
    pub async fn close(self) -> Statistics {
        self.driver.close().await
    }

    /// As many tickets as one request can make: their ciphertexts travel in one frame each way.
    fn largest_request(&self, wanted: usize) -> Result<usize> {
        let fits = |tickets| Ok::<_, Error>(self.costs(tickets)?.ciphertexts <= self.frame_bytes);
        let mut tickets = wanted.min(self.most_tickets());
        while tickets > 1 && !fits(tickets)? {
            tickets = tickets.div_ceil(2);
        }
        Ok(tickets)
    }

    /// Tickets that the server lets a session hold.
    fn most_tickets(&self) -> usize {
        (self.card.tickets as usize).max(1)
    }
}
