//! What blind queries cost and tell, from their plan.

use std::sync::Arc;

use anyhow::Result;
use gelu_core::blind::{Answer, BlindCosts, BlindPlan, Circuits};
use gelu_core::ledger::Exposure;
use gelu_core::{Backend, Network};
use gelu_garble::HalfGates;
use serde::Serialize;

use super::Count;
use crate::args::Cryptosystem;
use crate::backend::{Scheme, Task};

/// Tickets for the samples of a query, and the query: on the reference machine, with 1 Gbit/s.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Blind {
    /// Samples, and so tickets.
    pub(crate) batch: usize,
    /// What a sample tells, by what was asked for.
    pub(crate) answers: Vec<Told>,
    /// What making the tickets takes.
    pub(crate) tickets: Part,
    /// What the query takes when they are ready, for a class.
    pub(crate) query: Part,
    /// What a client and a server keep of a ticket until its query, in bytes.
    pub(crate) kept: [usize; 2],
    /// One sentence about what is told.
    pub(crate) verdict: String,
}

/// An answer, against all weights together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    pub(crate) answer: Answer,
    /// Bits that one sample tells, and those of all weights.
    pub(crate) bits: u64,
    pub(crate) secret_bits: u64,
    /// Samples after which the weights are not determined.
    pub(crate) safe_samples: u64,
}

/// One part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    pub(crate) nanoseconds: u64,
    /// Both ways.
    pub(crate) bytes: u64,
    pub(crate) round_trips: usize,
}

/// Blind queries, or why there are none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Offered {
    Blind(Blind),
    Refused { refused: String },
}

/// Nanoseconds of one core of the reference machine: an AND garbled and evaluated, a transfer at both sides; and of a
/// byte at 1 Gbit/s.
const GARBLE: f64 = 12.4;
const EVALUATE: f64 = 8.3;
const TRANSFER: f64 = 18.0;
const BYTE: f64 = 8.0;
/// Round trips in which tickets are made: for the shares, and for the circuits.
const TICKET_ROUND_TRIPS: usize = 2;

impl Count<'_> {
    /// Counts blind queries of as many samples under a cryptosystem.
    pub(crate) fn blind(self, cryptosystem: Cryptosystem) -> Offered {
        struct Under<'a>(Count<'a>, u32);
        impl Task for Under<'_> {
            type Output = Result<Blind>;
            fn run<S: Scheme>(self) -> Result<Blind> {
                Blind::of::<S>(self.0, self.1)
            }
        }
        match cryptosystem.backend.run(Under(self, cryptosystem.key_bits)) {
            Ok(blind) => Offered::Blind(blind),
            Err(error) => {
                let refused = error.downcast_ref().map(gelu_core::Error::why_not);
                Offered::Refused { refused: refused.unwrap_or_else(|| error.to_string()) }
            }
        }
    }
}

impl Blind {
    fn of<S: Scheme>(count: Count<'_>, bits: u32) -> Result<Self> {
        let Count { network, precision, batch, measured, .. } = count;
        let circuits = |answer| Circuits::new(network, precision, answer).map(Arc::new);
        let class = circuits(Answer::Class);
        let scores = circuits(Answer::Scores);
        let told = |circuits: &Arc<Circuits>| {
            let exposure = Exposure::blind(network, precision, circuits);
            let (safe_samples, layer) = exposure.safe_samples();
            let told = Told {
                answer: circuits.answer(),
                bits: layer.revealed_bits_per_sample,
                secret_bits: layer.secret_bits,
                safe_samples,
            };
            (told, exposure.verdict())
        };
        let (answers, verdicts): (Vec<_>, Vec<_>) =
            [&class, &scores].into_iter().flatten().map(told).unzip();
        // What refuses scores refuses a class as well.
        let asked = class.or(scores)?;
        let prices = S::prices_here(bits, measured)?;
        let (costs, encrypted) = S::blind_costs(network, &asked, batch, bits, &prices)?;
        let BlindCosts { transfers, ands, requests, garbled, query_up, query_down, .. } =
            costs.of_session(batch);
        let wire = (requests + garbled) as f64 * BYTE;
        let made = transfers as f64 * TRANSFER + ands as f64 * GARBLE + wire;
        let sent = query_up + query_down;
        let asked = ands as f64 * EVALUATE + sent as f64 * BYTE;
        Ok(Self {
            batch,
            answers,
            tickets: Part {
                nanoseconds: encrypted + whole(made),
                bytes: (costs.ciphertexts + requests + garbled) as u64,
                round_trips: TICKET_ROUND_TRIPS,
            },
            query: Part {
                nanoseconds: whole(asked),
                bytes: sent as u64,
                round_trips: costs.round_trips,
            },
            kept: [costs.garbled, costs.kept],
            verdict: verdicts.into_iter().next().unwrap_or_default(),
        })
    }

    /// What a sample tells, in words: `a class (4 bits) or scores (270 bits)`.
    pub(crate) fn told(&self) -> String {
        let told = |told: &Told| format!("{} ({} bits)", told.name(), told.bits);
        self.answers.iter().map(told).collect::<Vec<_>>().join(" or ")
    }
}

impl Told {
    /// What is told, in a word or two.
    pub(crate) fn name(&self) -> &'static str {
        match self.answer {
            Answer::Class => "a class",
            Answer::Scores => "scores",
        }
    }
}

/// Costs of `tickets` tickets, and the expected time of their ciphertexts, under a key that is at hand.
pub(crate) fn counted<B: Backend>(
    network: &Network,
    circuits: &Arc<Circuits>,
    tickets: usize,
    public: &B::PublicKey,
    prices: &B::Prices,
) -> Result<(BlindCosts, u64)> {
    let plan = BlindPlan::<B>::priced(network, circuits, tickets, public, prices)?;
    let nanoseconds = plan.exchanges.iter().map(|e| B::nanoseconds(e.exchange.layout(), prices));
    let nanoseconds = nanoseconds.sum();
    Ok((plan.costs::<HalfGates>(network)?, nanoseconds))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds")]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds.round() as u64
}
