//! What one training iteration costs, counted (the paper's Table 2, the row of GELU-Net).
//!
//! The count is taken from a real iteration of the protocol over [`Clear`], which meters every
//! homomorphic operation; nothing is derived from a formula.

use std::sync::Arc;

use gelu_core::clear::{ClearKey, Reading};
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Clear, Precision};
use gelu_nn::{Activation, Model, Sequential};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// The cost of one iteration, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iteration {
    /// Operations of the client.
    pub client: Reading,
    /// Operations of the server.
    pub server: Reading,
    /// Messages, both ways.
    pub messages: usize,
    /// Bytes, both ways.
    pub bytes: usize,
}

/// Counts one iteration (the first of two in a lease) of a dense network with `layers` linear
/// layers of `width` inputs and outputs each, one sample, 2048-bit ciphertexts.
///
/// # Errors
/// When the network has no layer, or is too wide for the protocol's integers.
pub fn iteration(layers: usize, width: usize) -> Result<Iteration, gelu_nn::Error> {
    let hidden = vec![width; layers.saturating_sub(1)];
    let architecture = Sequential::dense(width, &hidden, width, Activation::Sigmoid)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let model = Model::initialise("square", architecture, Precision::TRAINING, &mut rng)?;
    let served = ServedModel::from(&model);
    let host = Arc::new(PairHost::new(served, "bench", Policy::AllowModelExtraction));
    let key = ClearKey::new(2048)?;
    let secret = Arc::new(key.clone());
    let mut pair = Pair::<Clear>::open(host, secret, LearningRate::Public(0.1), &mut rng)?;
    pair.client.request_lease(1, 2)?;
    pair.run(&mut rng)?;
    let meters = |pair: &Pair<Clear>| {
        [key.meter().take(), pair.server.client_key().expect("an open session").meter().take()]
    };
    meters(&pair);
    let before = pair.transcript.len();
    pair.client.train(&Array2::from_elem((width, 1), 0.5), &[0], &mut rng)?;
    pair.run(&mut rng)?;
    let frames = &pair.transcript[before..];
    let [client, server] = meters(&pair);
    Ok(Iteration {
        client,
        server,
        messages: frames.len(),
        bytes: frames.iter().map(|frame| frame.bytes().len()).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n layers of width m: n·m² multiply-accumulates forward, (n−1)·m² backward; two messages for
    /// each of the 2n−1 exchanges and two for the update; (2n−1)·m encryptions.
    #[test]
    fn operations_are_as_the_paper_says() {
        for (n, m) in [(1, 4), (2, 4), (2, 8), (3, 8), (4, 6)] {
            let counted = iteration(n, m).unwrap();
            let exchanges = 2 * n - 1;
            assert_eq!(counted.messages, 2 * exchanges + 2, "n = {n}, m = {m}");
            let products = (exchanges * m * m) as u64;
            assert_eq!(counted.server.plain_multiplications, products, "n = {n}, m = {m}");
            assert_eq!(counted.client.encryptions, (exchanges * m) as u64);
        }
    }
}
