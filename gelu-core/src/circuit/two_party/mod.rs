//! A stage of a network by two parties on shares: what blind inference asks of garbling, and its order.
//!
//! For one stage with the linear map W, masks r and r' of its and of the next stage's inputs, and a mask s of its
//! outputs, everything modulo the rings of the stage and (from A on) of the next one:
//!
//! ```text
//! ticket   client  c = W·r − s               got under encryption; its bits are asked for      request →
//!          server                            garbles                                         ← garbled
//! query    client                                                                        x − r →
//!          server  z_s = W·(x − r) + s + b + offset                                  labels of z_s ←
//!          client  circuit(z_s + c) = A, hidden: A + ρ                             (A + ρ) − r' →
//!          server                            subtracts ρ: A − r', the next stage's x − r
//! ```
//!
//! z_s + c = W·x + b + offset: so A is what the clear network encodes, and neither party sees z or A.
//!
//! # Security
//! A ticket is used once: [`ServerTicket::answer`] and [`ClientTicket::finish`] consume theirs. Whoever
//! stores tickets must book one as spent before the bytes of `answer` leave, and never send them again: two sets of
//! labels for one circuit open it, and two queries under one r give the difference of their inputs.

mod open;
pub(crate) mod packed;
mod ticket;

use core::fmt::Debug;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::StageCircuit;
use crate::error::{ApiMisuse, Result};
pub use open::{InsecureOpen, OpenShares};
pub use packed::Packed;
pub use ticket::{ClientTicket, ServerMask, ServerTicket, Weighted, run, without_rho};

/// One circuit for every output of a stage, and the ring of what comes out.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The stage's circuit: one number comes out of it.
    pub stage: &'a StageCircuit,
    /// Outputs are numbers modulo 2^this: the ring of the next stage; 1 to 64.
    pub ring_bits: u32,
}

impl Batch<'_> {
    /// Values that go in, over all neurons: each is a share modulo 2^`stage.bits`.
    pub fn shares(&self) -> usize {
        self.stage.neurons.iter().map(Vec::len).sum()
    }

    /// Shares of a linear map's outputs, in the order in which circuits take them.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] when a neuron asks for an output that is not there.
    fn gathered(&self, outputs: &[u64]) -> Result<Zeroizing<Vec<u64>>> {
        let mut shares = Zeroizing::new(Vec::with_capacity(self.shares()));
        for i in self.stage.neurons.iter().flatten() {
            shares.push(*outputs.get(*i).ok_or_else(|| wrong_count(i + 1, outputs.len()))?);
        }
        Ok(shares)
    }

    /// x mod 2^l.
    fn share(&self, x: u64) -> u64 {
        reduced(x, self.stage.bits)
    }

    /// x mod 2^m.
    fn output(&self, x: u64) -> u64 {
        reduced(x, self.ring_bits)
    }
}

/// x modulo 2^bits, for 1 to 64 bits.
pub(crate) fn reduced(x: u64, bits: u32) -> u64 {
    x & (u64::MAX >> (64 - bits))
}

/// Bytes of the messages of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// What the client asks with.
    pub request: usize,
    /// The garbled batch.
    pub garbled: usize,
    /// The server's encoded shares, at the query.
    pub encoded: usize,
}

/// A way to compute circuits on shares.
///
/// # Law
/// With the same batches in the same order at both sides, for shares z_s of the server and c of the client:
///
/// ```text
/// evaluate(receive(request(c), garble(request)), encode(z_s)) − ρ = circuit(z_s ‖ c)    mod 2^ring_bits
/// ```
///
/// and ρ, as `encode` gives it, is uniform for the client. [`run`] holds a protocol to it.
///
/// # Security
/// `request` tells the server nothing of c, the other messages tell the client nothing of z_s.
/// [`InsecureOpen`] shows the order without that.
pub trait TwoParty: Send + Sync + 'static {
    /// The server's session before the client's answer.
    type Offer: Debug + Send;
    /// The server's session.
    type Garbler: Debug + Send;
    /// The client's session.
    type Evaluator: Debug + Send;
    /// What the server keeps of a batch until the query.
    type Garbling: Debug + Send;
    /// What the client keeps of a batch until it is garbled.
    type Request: Debug + Send;
    /// What the client keeps of a batch until the query.
    type Evaluation: Debug + Send;

    /// Bytes of the offer and of its answer.
    const SETUP: [usize; 2];

    /// Bytes of a batch's messages.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a batch without neurons, or a ring of no or more than 64 bits.
    fn sizes(batch: &Batch<'_>) -> Result<Sizes>;

    /// Server: begins the session of this name, which no other session may have.
    fn offer(session: [u8; 32], rng: &mut dyn CryptoRng) -> (Self::Offer, Vec<u8>);

    /// Client: answers an offer.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for an offer that no honest server makes.
    fn answer(
        session: [u8; 32],
        offer: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self::Evaluator, Vec<u8>)>;

    /// Server: takes the answer.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for an answer that no honest client gives. That ends the
    /// session.
    fn accept(offer: Self::Offer, answer: &[u8]) -> Result<Self::Garbler>;

    /// Client: asks for a batch, with its shares.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a wrong number of shares.
    fn request(
        evaluator: &mut Self::Evaluator,
        batch: &Batch<'_>,
        shares: &[u64],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self::Request, Vec<u8>)>;

    /// Server: garbles a batch that was asked for. A request that fails ends the session.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for a request that no honest client sends.
    fn garble(
        garbler: Self::Garbler,
        batch: &Batch<'_>,
        request: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self::Garbler, Self::Garbling, Vec<u8>)>;

    /// Client: takes the garbled batch.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for bytes of another length.
    fn receive(
        evaluator: &mut Self::Evaluator,
        batch: &Batch<'_>,
        request: Self::Request,
        garbled: Vec<u8>,
    ) -> Result<Self::Evaluation>;

    /// Server: its shares for the client, and ρ of each output.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a wrong number of shares.
    fn encode(
        garbling: Self::Garbling,
        batch: &Batch<'_>,
        shares: &[u64],
    ) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)>;

    /// Client: the outputs + ρ.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](crate::error::PeerMisbehaved) for bytes of another length.
    fn evaluate(
        evaluation: Self::Evaluation,
        batch: &Batch<'_>,
        encoded: &[u8],
    ) -> Result<Vec<u64>>;
}

/// A number of either sign modulo 2^64.
#[expect(clippy::cast_possible_truncation, reason = "numbers are taken modulo 2^64")]
pub(crate) fn ring(x: i128) -> u64 {
    x as u64
}

fn wrong_count(expected: usize, got: usize) -> crate::Error {
    ApiMisuse::Shape { expected: vec![expected], got: vec![got] }.into()
}
