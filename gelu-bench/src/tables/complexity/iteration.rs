//! One training iteration of GELU-Net, counted while it runs.
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

/// Who knows the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Both: updates travel masked, but not encrypted.
    Public,
    /// The server alone: updates travel under its key, as in the paper.
    Secret,
}

/// The cost of one iteration, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iteration {
    /// Operations of the client under its own key.
    pub client: Reading,
    /// Operations of the server under the client's key.
    pub server: Reading,
    /// Ciphertexts under the server's key that it decrypted: the masked update, if the rate is secret.
    pub updates: u64,
    /// Messages, both ways.
    pub messages: usize,
    /// Bytes, both ways.
    pub bytes: usize,
}

impl Iteration {
    /// Ciphertexts that were sent, both ways.
    pub fn ciphertexts(&self) -> u64 {
        self.client.encryptions + self.server.rerandomizations + self.updates
    }
}

/// Counts one iteration (the first of two in a lease) of a dense network with `layers` linear
/// layers of `width` inputs and outputs each, one sample, 2048-bit ciphertexts.
///
/// # Errors
/// When the network has no layer, or is too wide for the protocol's integers.
pub fn iteration(layers: usize, width: usize, rate: Rate) -> Result<Iteration, gelu_nn::Error> {
    let hidden = vec![width; layers.saturating_sub(1)];
    let architecture = Sequential::dense(width, &hidden, width, Activation::Sigmoid)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let model = Model::initialise("square", architecture, Precision::TRAINING, &mut rng)?;
    let served = ServedModel::from(&model);
    let host = Arc::new(PairHost::new(served, "bench", Policy::AllowModelExtraction));
    let [key, server_key] = [ClearKey::new(2048)?, ClearKey::new(2048)?];
    let rate = match rate {
        Rate::Public => LearningRate::Public(0.125),
        Rate::Secret => LearningRate::Secret { key: Arc::new(server_key.clone()), g: 3, g_max: 5 },
    };
    let mut pair = Pair::<Clear>::open(host, Arc::new(key.clone()), rate, &mut rng)?;
    pair.client.request_lease(1, 2)?;
    pair.run(&mut rng)?;
    let meters = |pair: &Pair<Clear>| {
        let server = pair.server.client_key().expect("an open session").meter().take();
        [key.meter().take(), server, server_key.meter().take()]
    };
    meters(&pair);
    let before = pair.transcript.len();
    pair.client.train(&Array2::from_elem((width, 1), 0.5), &[0], &mut rng)?;
    pair.run(&mut rng)?;
    let frames = &pair.transcript[before..];
    let [client, server, own] = meters(&pair);
    Ok(Iteration {
        client,
        server,
        updates: own.decryptions,
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
            let counted = iteration(n, m, Rate::Public).unwrap();
            let exchanges = 2 * n - 1;
            assert_eq!(counted.messages, 2 * exchanges + 2, "n = {n}, m = {m}");
            let products = (exchanges * m * m) as u64;
            assert_eq!(counted.server.plain_multiplications, products, "n = {n}, m = {m}");
            assert_eq!(counted.client.encryptions, (exchanges * m) as u64);
            assert_eq!(counted.updates, 0);
        }
    }

    /// A secret rate changes nothing but the update.
    #[test]
    fn a_secret_rate_encrypts_the_update() {
        for (n, m) in [(1, 4), (2, 8), (3, 6)] {
            let [public, secret] =
                [Rate::Public, Rate::Secret].map(|r| iteration(n, m, r).unwrap());
            let products = |counted: Iteration| counted.server.plain_multiplications;
            assert_eq!(products(public), products(secret));
            assert_eq!(public.client.encryptions, secret.client.encryptions);
            assert!(secret.updates > 0, "{secret:?}");
            // Each of the n·(m² + m) parameters, some to a ciphertext.
            assert!(secret.updates <= (n * (m * m + m)) as u64, "{secret:?}");
        }
    }
}
