//! What an exchange costs, from its plan: nothing is encrypted to find out.

use anyhow::Result;
use gelu_core::clear::ClearKey;
use gelu_core::plan::{Direction, Purpose};
use gelu_core::slots::{Prices, SlotLayout};
use gelu_core::{Clear, Network, Plan, Precision};
use serde::Serialize;

/// The cost of one mini-batch (or query), counted from the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// Samples of the mini-batch.
    pub(crate) batch: usize,
    /// Request and answer pairs.
    pub(crate) rounds: usize,
    /// Ciphertexts both ways.
    pub(crate) ciphertexts: u64,
    /// Homomorphic multiply-accumulates.
    pub(crate) operations: u64,
    /// Bytes of ciphertexts both ways.
    pub(crate) bytes: u64,
    /// Expected time of both parties on the reference machine, and of the wire.
    pub(crate) nanoseconds: u64,
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
    /// `samples` or `positions`: what the slots of a ciphertext are.
    pub(crate) layout: String,
    /// Slots of a ciphertext.
    pub(crate) slots: usize,
    /// Bits of a slot.
    pub(crate) slot_bits: u32,
    /// Bits by which a slot could still grow.
    pub(crate) headroom_bits: u32,
    /// Ciphertexts of one input.
    pub(crate) rows: usize,
    /// Outputs in one ciphertext.
    pub(crate) group: usize,
    /// Ciphertexts to the server.
    pub(crate) ciphertexts_up: usize,
    /// Ciphertexts to the client.
    pub(crate) ciphertexts_down: usize,
    /// Homomorphic multiply-accumulates.
    pub(crate) operations: u64,
    /// Expected time of both parties on the reference machine, and of the wire.
    pub(crate) nanoseconds: u64,
    /// Bytes of ciphertexts both ways.
    pub(crate) bytes: u64,
}

/// Plans as a Paillier session with keys of `key_bits` would.
///
/// [`Clear`] has the same slots and ciphertext sizes by construction, and needs no key.
pub(crate) fn plan(
    network: &Network,
    precision: &Precision,
    batch: usize,
    purpose: Purpose,
    key_bits: u32,
) -> Result<Plan<SlotLayout>> {
    let (key, prices) = (ClearKey::new(key_bits)?, prices(key_bits)?);
    Ok(Plan::priced::<Clear>(network, precision, batch, purpose, &key, &prices)?)
}

#[cfg(feature = "paillier")]
fn prices(key_bits: u32) -> Result<Prices> {
    Ok(gelu_paillier::prices(key_bits))
}

#[cfg(not(feature = "paillier"))]
fn prices(key_bits: u32) -> Result<Prices> {
    Ok(<Clear as gelu_core::Backend>::prices(&ClearKey::new(key_bits)?))
}

impl Costs {
    /// Adds up the exchanges of `plan`.
    pub(crate) fn of(plan: &Plan<SlotLayout>, key_bits: u32) -> Result<Self> {
        let prices = prices(key_bits)?;
        let exchanges: Vec<ExchangeCost> = plan
            .exchanges()
            .map(|(stage, direction, exchange)| {
                let name = &plan.stages[stage].name;
                ExchangeCost::of(name, direction, exchange.layout(), &prices)
            })
            .collect();
        // The masked update and its acknowledgement are a round of their own.
        let update = usize::from(plan.purpose != Purpose::Inference);
        let total = |of: fn(&ExchangeCost) -> u64| exchanges.iter().map(of).sum::<u64>();
        let (bytes, operations) = (total(|e| e.bytes), total(|e| e.operations));
        let batch = plan.batch as u64;
        Ok(Self {
            batch: plan.batch,
            rounds: exchanges.len() + update,
            ciphertexts: total(|e| (e.ciphertexts_up + e.ciphertexts_down) as u64),
            operations,
            bytes,
            nanoseconds: total(|e| e.nanoseconds),
            bytes_per_sample: bytes.div_ceil(batch),
            operations_per_sample: operations.div_ceil(batch),
            exchanges,
        })
    }
}

impl ExchangeCost {
    fn of(layer: &str, direction: Direction, exchange: &SlotLayout, prices: &Prices) -> Self {
        let cost = exchange.cost();
        Self {
            layer: layer.to_owned(),
            direction: direction.to_string(),
            layout: exchange.arrangement.to_string(),
            slots: exchange.slots,
            slot_bits: exchange.slot_bits,
            headroom_bits: cost.headroom_bits,
            rows: exchange.rows(),
            group: exchange.group,
            ciphertexts_up: cost.ciphertexts_up,
            ciphertexts_down: cost.ciphertexts_down,
            operations: cost.multiply_accumulates as u64,
            nanoseconds: exchange.nanoseconds(prices),
            bytes: cost.bytes as u64,
        }
    }

    /// [`nanoseconds`](Self::nanoseconds) as seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }
}
