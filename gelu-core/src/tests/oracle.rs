//! The encrypted run equals the plaintext fixed-point run, bit for bit.

use std::sync::Arc;

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{G, G_MAX, batches, model, pair, secret_rate};
use crate::clear::{Clear, ClearKey};
use crate::client::{ClientOutput, DataPolicy};
use crate::error::{Error, Refused};
use crate::fixed::Saturations;
use crate::ledger::Policy;
use crate::network::Parameters;
use crate::pair::{Pair, PairHost};
use crate::pass::{Pass, Rounding, bias_constant, update};
use crate::server::{Host, LearningRate, ServedModel};

/// The oracle: the same pass, the sums multiplied in the clear, no masks, no ciphertexts.
fn oracle(
    model: &ServedModel,
    batches: &[(Array2<f64>, Vec<usize>)],
    rounding: Rounding,
) -> Parameters {
    let (mut w, p) = (model.parameters.clone(), model.precision);
    for (inputs, labels) in batches {
        let mut pass = Pass::new(Arc::clone(&model.network), p, inputs).unwrap();
        while let Some(i) = pass.stage() {
            let linear = &model.network.stages()[i].linear;
            let constant = bias_constant(linear, p.activations);
            let (layer, x) = (&w.layers[i], pass.activations(i).view());
            let sums = linear.forward(&layer.weights, &layer.biases, x, constant);
            pass.advance(&sums).unwrap();
        }
        pass.compare(labels).unwrap();
        while let Some(i) = pass.backward_stage() {
            let linear = &model.network.stages()[i].linear;
            let q = linear.backward(&w.layers[i].weights, pass.errors(i).view());
            pass.retreat(&q).unwrap();
        }
        let gradient = pass.gradient().unwrap();
        let u = update(&gradient, labels.len(), rounding, &p, &Saturations::default());
        w.subtract(&match rounding {
            Rounding::Rate(_) => u,
            Rounding::PowerOfTwo { .. } => u.map(|v| v >> G),
        });
    }
    w
}

/// Trains by one lease; returns what the server then holds and what the oracle expects.
fn lease(
    batch: usize,
    steps: usize,
    rate: LearningRate<Clear>,
    rounding: Rounding,
) -> (Arc<ServedModel>, Parameters) {
    let (mut pair, host, mut rng) = pair(Policy::AllowModelExtraction, rate);
    let batches = batches(&model().network, batch, steps);
    pair.train(&batches, &mut rng).unwrap();
    (host.model(), oracle(&model(), &batches, rounding))
}

#[test]
fn a_public_lease() {
    for (batch, steps) in [(1, 4), (7, 3), (17, 2), (40, 2), (5, 1)] {
        let (after, expected) = lease(batch, steps, LearningRate::Public(0.1), Rounding::Rate(0.1));
        assert_eq!(after.version, 2);
        assert_ne!(after.parameters, model().parameters);
        assert!(after.parameters == expected, "batch {batch}, {steps} steps");
    }
}

#[test]
fn a_secret_lease() {
    for (batch, steps) in [(1, 4), (7, 3), (1, 1)] {
        let rounding = Rounding::PowerOfTwo { g_max: G_MAX };
        let (after, expected) = lease(batch, steps, secret_rate(), rounding);
        assert!(after.parameters == expected, "batch {batch}, {steps} steps");
    }
}

#[test]
fn a_lease_that_ends_early() {
    let (mut pair, host, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    let batches = batches(&model().network, 4, 2);
    pair.client.request_lease(4, 9).unwrap();
    pair.run(&mut rng).unwrap();
    for (inputs, labels) in &batches {
        pair.client.train(inputs, labels, &mut rng).unwrap();
        pair.run(&mut rng).unwrap();
    }
    assert_eq!(host.model().version, 1, "nothing is committed before the end");
    pair.client.finish().unwrap();
    pair.run(&mut rng).unwrap();
    assert_eq!(host.model().version, 2);
    assert!(host.model().parameters == oracle(&model(), &batches, Rounding::Rate(0.1)));
}

/// A lease of 2 samples, where 6 are needed to hide the data, is given back and leaves no trace;
/// one of 8 samples passes.
#[test]
fn a_lease_that_would_expose_the_data_is_given_back() {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    let host = Arc::new(PairHost::new(model(), "test", Policy::AllowModelExtraction));
    let key = Arc::new(ClearKey::new(2048).unwrap());
    let (rate, policy) = (LearningRate::Public(0.1), DataPolicy::Enforce);
    let mut pair =
        Pair::<Clear>::open_with(Arc::clone(&host), key, rate, policy, &mut rng).unwrap();
    let batches = batches(&model().network, 1, 8);
    let refused = pair.train(&batches[..2], &mut rng).unwrap_err();
    assert_eq!(refused, Refused::ExposesData { samples: 2, least: 6 }.into());
    assert_eq!(host.model().version, 1);

    pair.client.request_lease(1, 8).unwrap();
    pair.run(&mut rng).unwrap();
    pair.client.train(&batches[0].0, &batches[0].1, &mut rng).unwrap();
    pair.run(&mut rng).unwrap();
    let refused = pair.client.finish().unwrap_err();
    assert_eq!(refused, Refused::ExposesData { samples: 1, least: 6 }.into());
    pair.client.return_lease().unwrap();
    assert_eq!(pair.run(&mut rng).unwrap(), [ClientOutput::LeaseReturned]);
    assert_eq!(host.model().version, 1);

    pair.train(&batches, &mut rng).unwrap();
    assert!(host.model().parameters == oracle(&model(), &batches, Rounding::Rate(0.1)));
}

#[test]
fn an_inference() {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    let model = model();
    let (inputs, _) = batches(&model.network, 3, 1).remove(0);
    let encrypted = pair.classify(&inputs, &mut rng).unwrap();
    let mut pass = Pass::new(Arc::clone(&model.network), model.precision, &inputs).unwrap();
    for (stage, layer) in model.network.stages().iter().zip(&model.parameters.layers) {
        let constant = bias_constant(&stage.linear, model.precision.activations);
        let x = pass.activations(pass.stage().unwrap()).view();
        let sums = stage.linear.forward(&layer.weights, &layer.biases, x, constant);
        pass.advance(&sums).unwrap();
    }
    assert_eq!(encrypted, pass.probabilities().unwrap());
}

#[test]
fn the_ledger_refuses_and_the_session_goes_on() {
    let (mut pair, _, mut rng) = pair(Policy::Enforce, LearningRate::Public(0.1));
    let (inputs, _) = batches(&model().network, 1, 1).remove(0);
    for _ in 0..2 {
        let refused = pair.classify(&inputs, &mut rng).unwrap_err();
        assert!(matches!(refused, Error::Refused(Refused::ByPeer(_))), "{refused}");
        assert!(refused.to_string().starts_with("refused: layer first: "), "{refused}");
    }
}
