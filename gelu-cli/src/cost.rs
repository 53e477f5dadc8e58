//! What an exchange costs, from its plan: nothing is encrypted to find out.

use anyhow::Result;
use gelu_core::clear::ClearKey;
use gelu_core::exchange::Cost;
use gelu_core::plan::{Direction, Purpose};
use gelu_core::{AdditiveHE, Clear, Network, Plan, Precision};
use serde::Serialize;

/// The cost of one mini-batch (or query), counted from the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// Samples of the mini-batch.
    pub(crate) batch: usize,
    /// Request and answer pairs.
    pub(crate) rounds: usize,
    /// Ciphertexts both ways.
    pub(crate) ciphertexts: usize,
    /// Bytes of ciphertexts both ways, per sample.
    pub(crate) bytes_per_sample: u64,
    /// Homomorphic multiply-accumulates, per sample.
    pub(crate) operations_per_sample: u64,
    /// Each exchange, in the protocol's order.
    pub(crate) exchanges: Vec<ExchangeCost>,
}

/// One row of a cost table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ExchangeCost {
    /// The layer.
    pub(crate) layer: String,
    /// `forward` or `backward`.
    pub(crate) direction: String,
    /// Bits of a slot.
    pub(crate) slot_bits: u32,
    /// Bits by which a slot could still grow.
    pub(crate) headroom_bits: u32,
    /// Ciphertexts to the server.
    pub(crate) ciphertexts_up: usize,
    /// Ciphertexts to the client.
    pub(crate) ciphertexts_down: usize,
}

/// Plans as a Paillier session with keys of `key_bits` would.
///
/// [`Clear`] has the same slots, ciphertext sizes and prices by construction, and needs no key.
pub(crate) fn plan(
    network: &Network,
    precision: &Precision,
    batch: usize,
    purpose: Purpose,
    key_bits: u32,
) -> Result<Plan> {
    Ok(Plan::new::<Clear>(network, precision, batch, purpose, &ClearKey::new(key_bits)?)?)
}

impl Costs {
    /// Adds up the exchanges of `plan`.
    pub(crate) fn of(plan: &Plan, key_bits: u32) -> Result<Self> {
        let ciphertext = Clear::ciphertext_len(&ClearKey::new(key_bits)?) as u64;
        let all: Vec<(usize, Direction, Cost)> =
            plan.exchanges().map(|(i, direction, e)| (i, direction, e.cost())).collect();
        let ciphertexts = all.iter().map(|(_, _, c)| c.ciphertexts_up + c.ciphertexts_down).sum();
        let operations: usize = all.iter().map(|(_, _, c)| c.multiply_accumulates).sum();
        // The masked update and its acknowledgement are a round of their own.
        let update = usize::from(plan.purpose != Purpose::Inference);
        let batch = plan.batch as u64;
        let exchanges =
            plan.exchanges().zip(&all).map(|((i, direction, exchange), (_, _, c))| ExchangeCost {
                layer: plan.stages[i].name.clone(),
                direction: direction.to_string(),
                slot_bits: exchange.slot_bits,
                headroom_bits: c.headroom_bits,
                ciphertexts_up: c.ciphertexts_up,
                ciphertexts_down: c.ciphertexts_down,
            });
        Ok(Self {
            batch: plan.batch,
            rounds: all.len() + update,
            ciphertexts,
            bytes_per_sample: (ciphertexts as u64 * ciphertext).div_ceil(batch),
            operations_per_sample: (operations as u64).div_ceil(batch),
            exchanges: exchanges.collect(),
        })
    }
}
