//! Whole sessions of both machines over [`Clear`], joined by a [`Pair`].

mod blind;
mod books;
mod faults;
mod frozen;
mod golden;
mod guards;
mod layouts;
mod limits;
mod low_bits;
mod modular;
pub(crate) mod networks;
mod oracle;
mod session;
mod states;
mod updates;
mod wrapping;

use std::sync::Arc;

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;

use crate::backend::Backend;
use crate::clear::{Clear, ClearKey};
use crate::fixed::Precision;
use crate::ledger::Policy;
use crate::network::Network;
use crate::pair::{Pair, PairHost};
use crate::server::{LearningRate, ServedModel};

/// The server's secret learning rate is 2^-G, and could be as little as 2^-G_MAX.
const G: u32 = 3;
const G_MAX: u32 = 5;

type Batches = Vec<(Array2<f64>, Vec<usize>)>;

pub(crate) fn model() -> ServedModel {
    let (network, precision) = (Arc::new(networks::network()), Precision::TRAINING);
    let rng = &mut ChaCha20Rng::seed_from_u64(11);
    let half = precision.weights.one() / 2;
    let parameters =
        network.zeros().map(|_| i128::from(rng.next_u64()).rem_euclid(2 * half) - half);
    ServedModel { network, precision, parameters, version: 1 }
}

fn batches(network: &Network, batch: usize, steps: usize) -> Batches {
    let rng = &mut ChaCha20Rng::seed_from_u64(12);
    let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 4.0 - 2.0;
    (0..steps)
        .map(|_| {
            let inputs = Array2::from_shape_fn((network.inputs(), batch), |_| uniform());
            let labels = (0..batch).map(|_| usize::from(uniform() > 0.0) + 1).collect();
            (inputs, labels)
        })
        .collect()
}

/// A pair of parties around [`model`], and the generator that both draw from.
fn pair(policy: Policy, rate: LearningRate<Clear>) -> (Pair<Clear>, Arc<PairHost>, ChaCha20Rng) {
    pair_of(model(), policy, rate)
}

/// The same around any model, under any backend.
fn pair_of<B: Backend>(
    model: ServedModel,
    policy: Policy,
    rate: LearningRate<B>,
) -> (Pair<B>, Arc<PairHost>, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    let host = Arc::new(PairHost::new(model, "test", policy));
    let key = Arc::new(B::keygen(2048, &mut rng).unwrap());
    let pair = Pair::open(Arc::clone(&host), key, rate, &mut rng).unwrap();
    (pair, host, rng)
}

fn secret_rate() -> LearningRate<Clear> {
    LearningRate::Secret { key: Arc::new(ClearKey::new(2048).unwrap()), g: G, g_max: G_MAX }
}
