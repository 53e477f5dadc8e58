//! Tickets: what the server keeps of them until their query.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use super::cache::{BlindCache, Weights};
use crate::blind::Circuits;
use crate::circuit::two_party::{ServerMask, ServerTicket, TwoParty};
use crate::error::{PeerMisbehaved, Result};
use crate::server::ServedModel;

/// The server's half of one stage of a ticket.
pub(super) enum Half<P: TwoParty> {
    Circuit(ServerTicket<P>),
    Scores(ServerMask),
}

/// The server's half of a ticket: one for each stage.
pub(super) type Ticket<P> = Vec<Half<P>>;

/// The tickets of a session that are made and not spent, all for one version.
pub(super) struct Tickets<P: TwoParty> {
    version: u64,
    weights: Weights,
    unused: BTreeMap<u64, Ticket<P>>,
    next: u64,
}

impl<P: TwoParty> Tickets<P> {
    pub(super) fn new(model: &Arc<ServedModel>, cache: &BlindCache) -> Result<Self> {
        let (version, weights) = (model.version, cache.weights(model)?);
        Ok(Self { version, weights, unused: BTreeMap::new(), next: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.unused.len()
    }

    /// The version of the model that they are for.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The weights of that version.
    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Tickets that a model of this version leaves.
    pub(super) fn held(&self, version: u64) -> usize {
        if version == self.version { self.len() } else { 0 }
    }

    /// Drops all tickets if they are for another version than that of `model`.
    pub(super) fn renew(&mut self, model: &Arc<ServedModel>, cache: &BlindCache) -> Result<()> {
        if model.version != self.version {
            self.unused.clear();
            (self.version, self.weights) = (model.version, cache.weights(model)?);
        }
        Ok(())
    }

    /// The number that the next ticket gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn add(&mut self, ticket: Ticket<P>) {
        self.unused.insert(self.next, ticket);
        self.next += 1;
    }

    /// Takes a ticket out: it cannot be taken again.
    pub(super) fn spend(&mut self, ticket: u64) -> Result<Ticket<P>, PeerMisbehaved> {
        self.unused.remove(&ticket).ok_or(PeerMisbehaved::NoTicket { ticket })
    }
}

/// The circuits of one ticket: what the server keeps of its stages, and what the client gets.
pub(super) fn garble<P: TwoParty>(
    circuits: &Circuits,
    mut garbler: P::Garbler,
    masks: Vec<ServerMask>,
    requests: &[ByteBuf],
    rng: &mut dyn CryptoRng,
) -> Result<(P::Garbler, Ticket<P>, Vec<ByteBuf>)> {
    let due = circuits.garbled_stages();
    PeerMisbehaved::check_equal("stages of a request for transfers", requests.len(), due)?;
    let (mut requests, mut halves, mut garbled) = (requests.iter(), Vec::new(), Vec::new());
    for (stage, mask) in circuits.stages().iter().zip(masks) {
        halves.push(match stage.batch() {
            Some(batch) => {
                let request = requests.next().expect("counted above");
                let (ticket, bytes);
                (garbler, ticket, bytes) = ServerTicket::new(garbler, &batch, mask, request, rng)?;
                garbled.push(ByteBuf::from(bytes));
                Half::Circuit(ticket)
            }
            None => Half::Scores(mask),
        });
    }
    Ok((garbler, halves, garbled))
}
