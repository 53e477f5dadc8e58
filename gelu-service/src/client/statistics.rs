//! What a session has cost its client: bytes, rounds, time, by what they were for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::server::{Traffic, Way};

/// What a round between client and server was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The public key is sent.
    Opening,
    /// Tickets of blind queries are made, in idle time.
    Tickets,
    /// A stage of an inference.
    Inference,
    /// The wait for a lease.
    Queue,
    /// A stage of a training step, from inputs to scores.
    Forward,
    /// A stage of a training step, from errors back.
    Backward,
    /// A masked update.
    Update,
    /// The end of a lease.
    Commit,
}

impl Phase {
    /// All phases, in the order of a session.
    pub const ALL: [Self; 8] = [
        Self::Opening,
        Self::Tickets,
        Self::Inference,
        Self::Queue,
        Self::Forward,
        Self::Backward,
        Self::Update,
        Self::Commit,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Tickets => "tickets",
            Self::Inference => "inference",
            Self::Queue => "queue",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Update => "update",
            Self::Commit => "commit",
        }
    }
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the rounds of a phase have cost.
///
/// A round is a question and its answer. Its client time is what came before the question and
/// what came after the answer: encoding and encrypting, decrypting, activations, gradients. (The
/// first part of the next question is made together with the work on an answer, and is counted
/// with the answer.) Its server time is from the last byte written to the last byte read: the
/// network, the server, and in [`Phase::Queue`] the other clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Questions that were answered.
    pub rounds: u64,
    /// Bytes of the questions, before TLS.
    pub up: u64,
    /// Bytes of the answers, before TLS.
    pub down: u64,
    /// Time of this side's own work.
    pub client: Duration,
    /// Time of waiting.
    pub server: Duration,
}

/// What a session, or a part of it, has cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// By phase.
    pub phases: BTreeMap<Phase, Cost>,
    /// By direction and name of the message.
    pub traffic: BTreeMap<(Way, &'static str), Traffic>,
}

impl Statistics {
    /// The sum over all phases.
    pub fn total(&self) -> Cost {
        self.phases.values().fold(Cost::default(), |sum, cost| sum.plus(cost))
    }

    /// The costs of one phase.
    pub fn phase(&self, phase: Phase) -> Cost {
        self.phases.get(&phase).copied().unwrap_or_default()
    }

    /// Adds the costs of another part.
    pub fn absorb(&mut self, other: &Self) {
        for (phase, cost) in &other.phases {
            let entry = self.phases.entry(*phase).or_default();
            *entry = entry.plus(cost);
        }
        for (kind, traffic) in &other.traffic {
            let entry = self.traffic.entry(*kind).or_default();
            entry.messages += traffic.messages;
            entry.bytes += traffic.bytes;
        }
    }

    pub(super) fn of(&mut self, phase: Phase) -> &mut Cost {
        self.phases.entry(phase).or_default()
    }

    pub(super) fn count(&mut self, way: Way, name: &'static str, bytes: u64) {
        self.traffic.entry((way, name)).or_default().count(bytes);
    }
}

impl Cost {
    fn plus(mut self, other: &Self) -> Self {
        self.rounds += other.rounds;
        self.up += other.up;
        self.down += other.down;
        self.client += other.client;
        self.server += other.server;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut part = Statistics::default();
        *part.of(Phase::Forward) = Cost { rounds: 2, up: 10, down: 20, ..Cost::default() };
        part.count(Way::Up, "EncryptedActivations", 10);
        let mut sum = Statistics::default();
        sum.absorb(&part);
        sum.absorb(&part);
        assert_eq!(sum.total(), Cost { rounds: 4, up: 20, down: 40, ..Cost::default() });
        assert_eq!(sum.phase(Phase::Commit), Cost::default());
        let traffic = sum.traffic[&(Way::Up, "EncryptedActivations")];
        assert_eq!(traffic, Traffic { messages: 2, bytes: 20 });
    }
}
