//! What an exchange costs, from its plan: nothing is encrypted to find out.

pub(crate) mod blind;

use anyhow::Result;
use gelu_core::backend::Layout;
use gelu_core::plan::{Direction, Exchange, Purpose};
use gelu_core::{Network, Plan, Precision};
use serde::Serialize;

use crate::args::Cryptosystem;
use crate::backend::{Scheme, Task};

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
    /// How values sit in ciphertexts, in the backend's words.
    pub(crate) layout: String,
    /// Bits of the widest value, sign included.
    pub(crate) value_bits: u32,
    /// Bits by which a value could still grow.
    pub(crate) headroom_bits: u32,
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
    /// Bits of plaintext that an output of a sample reveals at most.
    pub(crate) revealed_bits: u64,
    /// Minus the logarithm of the distance at which the weights hide, where that depends on the layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hiding_bits: Option<u32>,
}

/// What is to be counted: a mini-batch of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count<'a> {
    pub(crate) network: &'a Network,
    pub(crate) precision: &'a Precision,
    pub(crate) batch: usize,
    pub(crate) purpose: Purpose,
    /// With prices measured on this machine, where the backend can measure them.
    pub(crate) measured: bool,
}

impl Count<'_> {
    /// Counts it under a cryptosystem.
    ///
    /// # Errors
    /// When the numbers do not fit its plaintexts: which layer needs how many bits.
    pub(crate) fn under(self, cryptosystem: Cryptosystem) -> Result<Costs> {
        struct Under<'a>(Count<'a>, u32);
        impl Task for Under<'_> {
            type Output = Result<Costs>;
            fn run<S: Scheme>(self) -> Result<Costs> {
                let Self(Count { network, precision, batch, purpose, measured }, bits) = self;
                let prices = S::prices_here(bits, measured)?;
                let plan = S::plan(network, precision, batch, purpose, bits)?;
                Ok(Costs::of::<S>(&plan, &prices))
            }
        }
        let cryptosystem = cryptosystem.for_purpose(self.purpose);
        cryptosystem.backend.run(Under(self, cryptosystem.key_bits))
    }
}

impl Costs {
    /// Adds up the exchanges of `plan`.
    pub(crate) fn of<S: Scheme>(plan: &Plan<S::Layout>, prices: &S::Prices) -> Self {
        let exchanges: Vec<ExchangeCost> = plan
            .exchanges()
            .map(|(stage, direction, exchange)| {
                ExchangeCost::of::<S>(&plan.stages[stage].name, direction, exchange, prices)
            })
            .collect();
        // The masked update and its acknowledgement are a round of their own.
        let update = usize::from(plan.purpose != Purpose::Inference);
        let total = |of: fn(&ExchangeCost) -> u64| exchanges.iter().map(of).sum::<u64>();
        let (bytes, operations) = (total(|e| e.bytes), total(|e| e.operations));
        let batch = plan.batch as u64;
        Self {
            batch: plan.batch,
            rounds: exchanges.len() + update,
            ciphertexts: total(|e| (e.ciphertexts_up + e.ciphertexts_down) as u64),
            operations,
            bytes,
            nanoseconds: total(|e| e.nanoseconds),
            bytes_per_sample: bytes.div_ceil(batch),
            operations_per_sample: operations.div_ceil(batch),
            exchanges,
        }
    }
}

impl ExchangeCost {
    fn of<S: Scheme>(
        layer: &str,
        direction: Direction,
        exchange: &Exchange<S::Layout>,
        prices: &S::Prices,
    ) -> Self {
        let layout = exchange.layout();
        let cost = layout.cost();
        Self {
            layer: layer.to_owned(),
            direction: direction.to_string(),
            layout: layout.to_string(),
            value_bits: exchange.value_bits(),
            headroom_bits: cost.headroom_bits,
            ciphertexts_up: cost.ciphertexts_up,
            ciphertexts_down: cost.ciphertexts_down,
            operations: cost.multiply_accumulates as u64,
            nanoseconds: S::nanoseconds(layout, prices),
            bytes: cost.bytes as u64,
            revealed_bits: cost.revealed_bits,
            hiding_bits: cost.hiding_bits,
        }
    }

    /// [`nanoseconds`](Self::nanoseconds) as seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }
}
