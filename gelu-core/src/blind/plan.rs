//! What tickets and queries take, before any key is used.

use std::sync::Arc;

use serde::Serialize;

use super::circuits::{Answer, BlindStage, Circuits};
use super::numbers::width;
use crate::backend::{Backend, Direction, Shares, Task};
use crate::circuit::two_party::TwoParty;
use crate::error::{ApiMisuse, RangeError, Result};
use crate::network::Network;
use crate::plan::{Exchange, MAX_BATCH};

/// The encrypted part of making tickets, `tickets` at once.
#[derive(Debug)]
pub struct BlindPlan<B: Backend> {
    /// Rings and circuits.
    pub circuits: Arc<Circuits>,
    /// One for each stage.
    pub exchanges: Vec<SharedExchange<B>>,
    /// Tickets, which are the samples of the exchanges.
    pub tickets: usize,
}

/// ⟦r⟧ in, ⟦W·r − s⟧ out, of one stage.
#[derive(Debug)]
pub struct SharedExchange<B: Backend> {
    /// Its layouts.
    pub exchange: Exchange<B::Layout>,
    /// How its answer is handed out.
    pub shares: B::Shares,
}

impl<B: Backend> BlindPlan<B> {
    /// Plans for a client with the key `public`, by prices of the backend or from elsewhere.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the layer, the bits that it needs and those that there are;
    /// [`RangeError::NoShares`] for a backend that cannot hand out shares; [`ApiMisuse::Configuration`] for 0 or more
    /// than 2^16 tickets.
    pub fn priced(
        network: &Network,
        circuits: &Arc<Circuits>,
        tickets: usize,
        public: &B::PublicKey,
        prices: &B::Prices,
    ) -> Result<Self> {
        if !(1..=MAX_BATCH).contains(&tickets) {
            return Err(ApiMisuse::configuration("tickets", "need to be 1 to 65536").into());
        }
        let exchange = |(stage, linear)| {
            let &BlindStage { name: ref layer, ring_bits, product_bits, weight_bits, .. } = stage;
            let shares = B::Shares::plan(ring_bits, product_bits);
            let refusal =
                || RangeError::NoShares { backend: B::ID, layer: layer.clone(), ring_bits };
            let shares = shares.ok_or_else(refusal)?;
            let (direction, batch) = (Direction::Forward, tickets);
            let value_bits = shares.value_bits();
            let task = Task { layer, linear, direction, batch, value_bits, weight_bits };
            let layouts = shares.layouts(public, &task)?;
            Ok(SharedExchange { exchange: Exchange::new::<B>(layouts, value_bits, prices), shares })
        };
        let linears = network.stages().iter().map(|stage| &stage.linear);
        let exchanges = circuits.stages().iter().zip(linears).map(exchange);
        let exchanges = exchanges.collect::<Result<_, RangeError>>()?;
        Ok(Self { circuits: Arc::clone(circuits), exchanges, tickets })
    }

    /// The layouts of all stages.
    pub(crate) fn layouts(&self) -> Vec<&B::Layout> {
        self.exchanges.iter().map(|exchange| exchange.exchange.layout()).collect()
    }

    /// What it costs: bytes are those of the messages' contents, without the few that frame them.
    ///
    /// # Errors
    /// As [`TwoParty::sizes`].
    pub fn costs<P: TwoParty>(&self, network: &Network) -> Result<BlindCosts> {
        let linears = network.stages().iter().map(|stage| &stage.linear);
        let mut costs = BlindCosts {
            setup: P::SETUP.iter().sum(),
            ciphertexts: self.exchanges.iter().map(|e| e.shares.bytes(e.exchange.layout())).sum(),
            round_trips: self.exchanges.len(),
            ..BlindCosts::default()
        };
        for (stage, linear) in self.circuits.stages().iter().zip(linears) {
            costs.query_up += width(stage.ring_bits) * linear.inputs();
            costs.kept += width(stage.ring_bits) * linear.outputs();
            let Some(batch) = stage.batch() else {
                costs.query_down += width(stage.ring_bits) * linear.outputs();
                continue;
            };
            let (sizes, neurons) = (P::sizes(&batch)?, batch.stage.neurons.len());
            costs.ands += batch.stage.circuit.and_count() * neurons;
            costs.transfers += batch.stage.bits as usize * batch.shares();
            costs.requests += sizes.request;
            costs.garbled += sizes.garbled;
            costs.query_down += sizes.encoded;
            costs.kept += width(batch.ring_bits) * neurons;
        }
        if self.circuits.answer() == Answer::Class {
            let last = self.circuits.stages().last().and_then(BlindStage::batch);
            costs.query_down += last.map_or(0, |last| width(last.ring_bits));
        }
        Ok(costs)
    }
}

/// What tickets and their queries cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BlindCosts {
    /// Bytes of the base transfers, once a session.
    pub setup: usize,
    /// Bytes of ciphertexts for all tickets of the plan, both ways.
    pub ciphertexts: usize,
    /// Correlated transfers of one ticket: bits of the client's shares.
    pub transfers: usize,
    /// AND gates of one ticket.
    pub ands: usize,
    /// Bytes of one ticket, up: requests for transfers.
    pub requests: usize,
    /// Bytes of one ticket, down: tables and output rows. The client keeps as many until the query.
    pub garbled: usize,
    /// Bytes of masks s and ρ that the server keeps of a ticket until its query; what a protocol keeps besides is a
    /// seed a stage.
    pub kept: usize,
    /// Bytes of one sample's query, up.
    pub query_up: usize,
    /// Bytes of one sample's query, down.
    pub query_down: usize,
    /// Round trips of a query, of any number of samples.
    pub round_trips: usize,
}

impl BlindCosts {
    /// What crosses in a session in which the plan's tickets are made, `tickets` of them, and spent in one query.
    #[must_use]
    pub fn of_session(&self, tickets: usize) -> Self {
        Self {
            transfers: self.transfers * tickets,
            ands: self.ands * tickets,
            requests: self.requests * tickets,
            garbled: self.garbled * tickets,
            kept: self.kept * tickets,
            query_up: self.query_up * tickets,
            query_down: self.query_down * tickets,
            ..*self
        }
    }
}
