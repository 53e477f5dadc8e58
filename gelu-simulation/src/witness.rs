//! Sees every frame that a client sends and every one that arrives at it: what accounts were answered.

use std::collections::{BTreeMap, BTreeSet};

use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_service::handshake::{Down, Up};
use serde::de::DeserializeOwned;

use crate::subject::Kind;
use crate::world::{Broken, Counts};

/// What was seen of all sessions.
#[derive(Default)]
pub(crate) struct Witness {
    /// Samples whose answers have arrived, by account and by what they were asked for.
    pub(crate) answered: BTreeMap<(String, Kind), u64>,
    /// Versions, and the accounts that were told that they have made them.
    pub(crate) committed: Vec<(String, u64)>,
}

/// One connection.
pub(crate) struct Seen {
    account: String,
    up: Frames,
    down: Frames,
    asked: Option<Asked>,
    /// Mini-batches of the lease, if one is held.
    lease: Option<u32>,
    requested: u32,
    made: BTreeSet<u64>,
    used: BTreeSet<u64>,
}

/// A question whose answer is to be booked.
enum Asked {
    Open { kind: Kind, samples: u64 },
    Blind(Vec<u64>),
}

impl Seen {
    pub(crate) fn new(account: &str) -> Self {
        let (up, down, made, used) = Default::default();
        let account = account.to_owned();
        Self { account, up, down, asked: None, lease: None, requested: 0, made, used }
    }

    /// Bytes that the client has sent.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        for frame in self.up.take(bytes) {
            if let Up::Message(message) = frame {
                self.asks(message);
            }
        }
    }

    fn asks(&mut self, message: ClientMessage) {
        match message {
            ClientMessage::EncryptedActivations { stage: 0, batch, .. } => {
                let kind = match self.lease {
                    Some(steps) => Kind::Training { batch, steps },
                    None => Kind::Query { batch },
                };
                self.asked = Some(Asked::Open { kind, samples: u64::from(batch) });
            }
            ClientMessage::EncryptedMasks { tickets, .. } => self.requested = tickets,
            ClientMessage::HiddenInputs { tickets, .. } => self.asked = Some(Asked::Blind(tickets)),
            _ => {}
        }
    }

    /// Bytes that have arrived at the client.
    pub(crate) fn arrived(
        &mut self,
        bytes: &[u8],
        witness: &mut Witness,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        for frame in self.down.take(bytes) {
            if let Down::Message(message) = frame {
                self.hears(message, witness, counts)?;
            }
        }
        Ok(())
    }

    fn hears(
        &mut self,
        message: ServerMessage,
        witness: &mut Witness,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let mut answered = |account: &str, kind, samples| {
            *witness.answered.entry((account.to_owned(), kind)).or_default() += samples;
            counts.samples += samples;
        };
        match (message, &self.asked) {
            (ServerMessage::WeightedSums { stage: 0, .. }, Some(Asked::Open { kind, samples })) => {
                answered(&self.account, *kind, *samples);
                self.asked = None;
            }
            (
                ServerMessage::ShareLabels { .. }
                | ServerMessage::ScoreShares { .. }
                | ServerMessage::ClassLabels { .. },
                Some(Asked::Blind(tickets)),
            ) => {
                answered(&self.account, Kind::Blind, tickets.len() as u64);
                counts.tickets += tickets.len() as u64;
                for ticket in tickets {
                    let who = &self.account;
                    if !self.made.contains(ticket) {
                        let why =
                            format!("{who} was answered on ticket {ticket} of another session");
                        return Err(Broken::Ticket(why));
                    }
                    if !self.used.insert(*ticket) {
                        let why = format!("{who} was answered on ticket {ticket} once more");
                        return Err(Broken::Ticket(why));
                    }
                }
                self.asked = None;
            }
            (ServerMessage::EncryptedShares { first, .. }, _) => {
                self.made.extend(first..first + u64::from(self.requested));
            }
            (ServerMessage::Committed { version }, _) => {
                witness.committed.push((self.account.clone(), version));
                counts.versions += 1;
                self.lease = None;
            }
            // It may be shorter than the one that was asked for.
            (ServerMessage::LeaseGranted(lease), _) => self.lease = Some(lease.steps),
            (ServerMessage::LeaseReturned, _) => self.lease = None,
            (ServerMessage::Refused { .. } | ServerMessage::TicketsExpired { .. }, _) => {
                (self.lease, self.asked) = (None, None);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Frames of one direction, put together again.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    /// The frames that are whole with these bytes. What is none, as a liar may send it, is passed over.
    fn take<T: DeserializeOwned>(&mut self, bytes: &[u8]) -> Vec<T> {
        self.0.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some((length, rest)) = self.0.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(frame) = rest.get(..length) else { break };
            if let Ok((_, body)) = postcard::from_bytes::<(u64, T)>(frame) {
                whole.push(body);
            }
            self.0.drain(..4 + length);
        }
        whole
    }
}
