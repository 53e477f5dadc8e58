//! An open session of blind queries.

use std::sync::Arc;

use gelu_core::blind::{Answer, BlindCosts};
use gelu_core::client::{BlindClient, ClientOutput};
use gelu_core::error::{ApiMisuse, Refused};
use gelu_core::pass::argmax;
use gelu_core::{Backend, Network};
use gelu_garble::HalfGates;
use ndarray::{Array2, Axis, Slice, concatenate};
use rand::rngs::ChaCha20Rng;

use super::ClientEvent;
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
    saturations: Vec<u64>,
}

/// What a query is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// The class of each sample.
    Classes(Vec<usize>),
    /// The class probabilities, `[classes, samples]`.
    Probabilities(Array2<f64>),
}

impl Answers {
    /// The most probable class of each sample, of equal ones the first.
    pub fn classes(&self) -> Vec<usize> {
        match self {
            Self::Classes(classes) => classes.clone(),
            Self::Probabilities(all) => {
                all.axis_iter(Axis(1)).map(|p| argmax(p.iter().copied())).collect()
            }
        }
    }

    /// The answers of several queries of one session, in order.
    fn joined(answers: Vec<Self>) -> Self {
        let (mut classes, mut probabilities) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Self::Classes(part) => classes.extend(part),
                Self::Probabilities(part) => probabilities.push(part),
            }
        }
        if probabilities.is_empty() {
            return Self::Classes(classes);
        }
        let views: Vec<_> = probabilities.iter().map(|part| part.view()).collect();
        Self::Probabilities(concatenate(Axis(1), &views).expect("of one network's classes"))
    }
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
        Ok(Self { driver, card, network, frame_bytes, saturations: Vec::new() })
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

    /// Blind inference of `inputs`, `[features, samples]`. Makes the tickets that are missing first.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Protocol`] (inputs of another shape) leave the session open. Tickets of a query
    /// that was refused are spent.
    pub async fn classify(&mut self, inputs: &Array2<f64>) -> Result<Answers> {
        let samples = inputs.ncols();
        if samples == 0 {
            return Err(gelu_core::Error::from(ApiMisuse::Empty("a query")).into());
        }
        let most = self.samples_of_a_query()?;
        let mut answers = Vec::new();
        for first in (0..samples).step_by(most) {
            let part = Slice::from(first..samples.min(first + most));
            let part = inputs.slice_axis(Axis(1), part).to_owned();
            answers.push(self.query(part).await?);
        }
        Ok(Answers::joined(answers))
    }

    /// Says goodbye; returns what the session has cost.
    pub async fn close(self) -> Statistics {
        self.driver.close().await
    }

    /// One query. A new version of the model voids all tickets; they are made again, once.
    async fn query(&mut self, inputs: Array2<f64>) -> Result<Answers> {
        let mut expired = false;
        loop {
            self.prepare_tickets(inputs.ncols()).await?;
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

    /// As many tickets as one request can make: their ciphertexts travel in one frame each way.
    fn largest_request(&self, wanted: usize) -> Result<usize> {
        let fits = |tickets| Ok::<_, Error>(self.costs(tickets)?.ciphertexts <= self.frame_bytes);
        let mut tickets = wanted.min((self.card.tickets as usize).max(1));
        while tickets > 1 && !fits(tickets)? {
            tickets = tickets.div_ceil(2);
        }
        Ok(tickets)
    }

    /// As many samples as one query can have: labels of a stage travel in one frame.
    fn samples_of_a_query(&self) -> Result<usize> {
        let of_one = self.costs(1)?.query_down.max(1);
        Ok((self.frame_bytes / of_one).clamp(1, (self.card.tickets as usize).max(1)))
    }
}
