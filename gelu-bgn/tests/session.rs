//! The split protocol, whole sessions of it, over the additive half of the scheme.

use std::sync::Arc;

use gelu_bgn::{Bgn, KEY_BITS};
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_core::{Cryptosystem, Precision};
use gelu_nn::{Dataset, Model, Sequential, zoo};
use rand::{SeedableRng, rngs::ChaCha20Rng};

fn session(model: &Model) -> gelu_core::Result<(Pair<Bgn>, ChaCha20Rng)> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let served = ServedModel::from(model);
    let host = Arc::new(PairHost::new(served, "test", Policy::AllowModelExtraction));
    let secret = Arc::new(Bgn::keygen(KEY_BITS, &mut rng)?);
    let pair = Pair::open(host, secret, LearningRate::Public(0.1), &mut rng)?;
    Ok((pair, rng))
}

fn model(architecture: Sequential, precision: Precision) -> Model {
    let rng = &mut ChaCha20Rng::seed_from_u64(2);
    Model::initialise("test", architecture, precision, rng).unwrap()
}

/// As every exact scheme does: the same as the network in the clear, number by number.
#[test]
fn inference_over_bgn_is_inference_in_the_clear() {
    let model = model(zoo::iris(), Precision::INFERENCE);
    let (mut pair, mut rng) = session(&model).unwrap();
    let (flowers, _) = Dataset::iris().batch(&[0, 60, 149]);
    let encrypted = pair.classify(&flowers, &mut rng).unwrap();
    assert_eq!(encrypted, model.probabilities(&flowers).unwrap().0);
}

/// Slots of 40 bits hold what the paper's dense network needs at inference.
#[test]
fn the_widest_dense_network_fits() {
    session(&model(zoo::mnist_dense(), Precision::INFERENCE)).unwrap();
}
