//! The encrypted run equals the plaintext fixed-point run, bit for bit.

use core::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::wrapping::Wrapping;
use super::{G, G_MAX, batches, model, networks, pair, pair_of, secret_rate};
use crate::backend::{Backend, MAX_WRAPPING_BITS};
use crate::clear::{Clear, ClearKey};
use crate::client::{Client, ClientOutput, DataPolicy};
use crate::error::{Error, Refused};
use crate::fixed::{Format, Precision, Saturations};
use crate::ledger::{DataLedger, Policy};
use crate::mask;
use crate::message::{ClientMessage, ServerMessage};
use crate::network::Parameters;
use crate::pair::{Pair, PairHost};
use crate::pass::{Pass, Rounding, bias_constant, update};
use crate::plan::{Plan, Purpose};
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
        let u = match rounding {
            Rounding::Rate(_) => u,
            Rounding::PowerOfTwo { .. } => u.map(|v| v >> G),
        };
        w.subtract(&u.reveal());
    }
    w
}

/// Trains by leases of (batch, steps), one after the other: the server holds what the oracle expects.
pub(super) fn check<B: Backend>(
    model: &ServedModel,
    leases: &[(usize, usize)],
    rate: &LearningRate<B>,
    rounding: Rounding,
) {
    let policy = Policy::AllowModelExtraction;
    let (mut pair, host, mut rng) = pair_of(model.clone(), policy, rate.clone());
    let mut expected = model.clone();
    for &(batch, steps) in leases {
        let batches = batches(&model.network, batch, steps);
        pair.train(&batches, &mut rng).unwrap();
        let before = expected.parameters.clone();
        expected.parameters = oracle(&expected, &batches, rounding);
        expected.version += 1;
        assert_eq!(host.model().version, expected.version);
        assert_ne!(expected.parameters, before);
        assert!(host.model().parameters == expected.parameters, "batch {batch}, {steps} steps");
    }
}

/// The same under statistical and under modular masks.
pub(super) fn check_both(model: &ServedModel, leases: &[(usize, usize)]) {
    check::<Clear>(model, leases, &LearningRate::Public(0.1), Rounding::Rate(0.1));
    check::<Wrapping>(model, leases, &LearningRate::Public(0.1), Rounding::Rate(0.1));
}

#[test]
fn public_leases() {
    for lease in [(1, 4), (7, 3), (17, 2), (40, 2), (5, 1)] {
        check_both(&model(), &[lease]);
    }
    check_both(&model(), &[(7, 3), (2, 12), (7, 3), (1, 1)]);
}

#[test]
fn secret_leases() {
    for lease in [(1, 4), (7, 3), (1, 1)] {
        let rounding = Rounding::PowerOfTwo { g_max: G_MAX };
        check(&model(), &[lease], &secret_rate(), rounding);
    }
}

/// Its update follows its forward exchange: nobody asks for errors of the inputs.
#[test]
fn a_lease_of_a_single_layer() {
    let links = vec![("only", networks::dense(4, 3), vec![])];
    let network = networks::chain(4, links, Box::new(networks::Squared));
    let parameters = network.zeros();
    check_both(&ServedModel { network: Arc::new(network), parameters, ..model() }, &[(5, 3)]);
}

/// Of a shortcut with weights and one without: under both kinds of masks, with a secret rate, and with as many stages
/// frozen as can be; then a query.
#[test]
fn residual_networks_train_and_answer_like_their_oracle() {
    let rng = &mut ChaCha20Rng::seed_from_u64(5);
    for frozen in 0..6 {
        let network = networks::residual(Box::new(networks::Squared)).freeze(frozen).unwrap();
        let mut parameters = network.zeros();
        parameters.values_mut().for_each(|v| *v = rng.random_range(-(1 << 20)..1 << 20));
        let model = ServedModel { network: Arc::new(network), parameters, ..model() };
        check_both(&model, &[(5, 3), (1, 2)]);
        let rounding = Rounding::PowerOfTwo { g_max: G_MAX };
        check(&model, &[(3, 2)], &secret_rate(), rounding);

        let network = &model.network;
        // The shortcut takes what the second stage gives, not what comes before it in the list.
        let live = [0, 1, 2, 3, 4, 5].map(|stage| network.propagates(stage));
        assert_eq!(live, [false, frozen < 1, frozen < 2, frozen < 3, frozen < 2, frozen < 5]);
        let policy = Policy::AllowModelExtraction;
        let (mut pair, _, mut rng) =
            pair_of::<Clear>(model.clone(), policy, LearningRate::Public(0.1));
        let (inputs, _) = batches(network, 4, 1).remove(0);
        let mut pass = Pass::new(Arc::clone(network), model.precision, &inputs).unwrap();
        while let Some(i) = pass.stage() {
            let (linear, layer) = (&network.stages()[i].linear, &model.parameters.layers[i]);
            let (x, constant) =
                (pass.activations(i).view(), bias_constant(linear, model.precision.activations));
            pass.advance(&linear.forward(&layer.weights, &layer.biases, x, constant)).unwrap();
        }
        assert_eq!(pair.classify(&inputs, &mut rng).unwrap(), pass.probabilities().unwrap());
    }
}

/// Masks, inputs and biases as wide as modular ones may be: nothing overflows.
#[test]
fn the_widest_values_train_like_any_others() {
    let model = model();
    let precision = Precision { activations: Format::new(3, 31), ..model.precision };
    let (key, training) = (ClearKey::new(2048).unwrap(), Purpose::Training { steps: 2 });
    let plan = Plan::new::<Wrapping>(&model.network, &precision, 3, training, &key).unwrap();
    assert_eq!(plan.masks, Some(mask::Kind::Modular { bits: MAX_WRAPPING_BITS }));
    let (rate, rounding) = (LearningRate::<Wrapping>::Public(0.1), Rounding::Rate(0.1));
    check(&ServedModel { precision, ..model }, &[(3, 2)], &rate, rounding);
}

#[test]
fn a_lease_that_ends_early() {
    let (mut pair, host, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    let batches = batches(&model().network, 4, 2);
    pair.client.request_lease(4, 9).unwrap();
    pair.run(&mut rng).unwrap();
    for (inputs, labels) in &batches {
        assert!(pair.client.holds_lease());
        pair.client.train(inputs, labels, &mut rng).unwrap();
        assert!(!pair.client.holds_lease(), "in the middle of a step it cannot be given back");
        pair.run(&mut rng).unwrap();
    }
    assert_eq!(host.model().version, 1, "nothing is committed before the end");
    pair.client.finish().unwrap();
    pair.run(&mut rng).unwrap();
    assert_eq!(host.model().version, 2);
    assert!(host.model().parameters == oracle(&model(), &batches, Rounding::Rate(0.1)));
}

fn guarded() -> (Pair<Clear>, Arc<PairHost>, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    let host = Arc::new(PairHost::new(model(), "test", Policy::AllowModelExtraction));
    let key = Arc::new(ClearKey::new(2048).unwrap());
    let (rate, policy) = (LearningRate::Public(0.1), DataPolicy::Enforce);
    let pair = Pair::open_with(Arc::clone(&host), key, rate, policy, &mut rng).unwrap();
    (pair, host, rng)
}

/// A lease of 2 samples, where 6 are needed to hide the data, is not even asked for; one that is to
/// end too early is not committed; one of 8 samples passes.
#[test]
fn a_lease_that_would_expose_the_data_is_not_committed() {
    let (mut pair, host, mut rng) = guarded();
    let batches = batches(&model().network, 1, 8);
    let before = pair.transcript.len();
    let refused = pair.train(&batches[..2], &mut rng).unwrap_err();
    assert_eq!(refused, Refused::ExposesData { samples: 2, least: 6, sums: 1 }.into());
    assert_eq!(pair.transcript.len(), before, "nothing was sent");

    pair.client.request_lease(1, 8).unwrap();
    pair.run(&mut rng).unwrap();
    pair.client.train(&batches[0].0, &batches[0].1, &mut rng).unwrap();
    pair.run(&mut rng).unwrap();
    let refused = pair.client.finish().unwrap_err();
    assert_eq!(refused, Refused::ExposesData { samples: 1, least: 6, sums: 1 }.into());
    pair.client.return_lease().unwrap();
    assert_eq!(pair.run(&mut rng).unwrap(), [ClientOutput::LeaseReturned]);
    assert_eq!(host.model().version, 1);

    pair.train(&batches, &mut rng).unwrap();
    assert!(host.model().parameters == oracle(&model(), &batches, Rounding::Rate(0.1)));
}

/// Presentations are not samples: a lease of 8 steps over 2 samples stops before its last step, and
/// can be given back.
#[test]
fn a_lease_over_the_same_samples_again_and_again_is_not_committed() {
    let (mut pair, host, mut rng) = guarded();
    let batches = batches(&model().network, 1, 2);
    pair.client.request_lease(1, 8).unwrap();
    pair.run(&mut rng).unwrap();
    for (inputs, labels) in batches.iter().cycle().take(7) {
        pair.client.train(inputs, labels, &mut rng).unwrap();
        pair.run(&mut rng).unwrap();
    }
    let (inputs, labels) = &batches[1];
    let refused = pair.client.train(inputs, labels, &mut rng).unwrap_err();
    assert_eq!(refused, Refused::ExposesData { samples: 2, least: 6, sums: 1 }.into());
    pair.client.return_lease().unwrap();
    assert_eq!(pair.run(&mut rng).unwrap(), [ClientOutput::LeaseReturned]);
    assert_eq!(host.model().version, 1);
}

/// What one session has revealed the next one knows, if it is given the same ledger; with one of its
/// own it starts anew.
#[test]
fn a_second_sum_over_the_same_samples_needs_more_of_them() {
    let sums = Arc::new(Mutex::new(DataLedger::new([9; 32])));
    let batches = batches(&model().network, 1, 6);
    for (again, counted) in [(false, true), (true, true), (true, false)] {
        let (mut pair, host, mut rng) = guarded();
        if counted {
            pair.client = pair.client.with_sums(Arc::<Mutex<_>>::clone(&sums));
        }
        let result = pair.train(&batches, &mut rng);
        let refused = again && counted;
        assert_eq!(host.model().version, if refused { 1 } else { 2 });
        if refused {
            let expected = Refused::ExposesData { samples: 6, least: 7, sums: 2 };
            assert_eq!(result.unwrap_err(), expected.into());
        }
    }
    assert_eq!(sums.lock().unwrap().groups()[0].sums, 1, "nothing is booked by a refusal");
}

/// A sum is booked before it leaves, so a commit that the server refuses has counted.
#[test]
fn a_sum_counts_as_revealed_although_its_commit_is_refused() {
    let sums = Arc::new(Mutex::new(DataLedger::new([9; 32])));
    let (mut pair, _, mut rng) = guarded();
    pair.client = pair.client.with_sums(Arc::<Mutex<_>>::clone(&sums));
    let (inputs, labels) = batches(&model().network, 8, 1).remove(0);
    pair.client.request_lease(8, 1).unwrap();
    pair.run(&mut rng).unwrap();
    pair.client.train(&inputs, &labels, &mut rng).unwrap();
    while sums.lock().unwrap().groups().is_empty() {
        let message = pair.client.poll_transmit().expect("a step has a next message");
        assert_ne!(message.name(), "FinalUpdate", "booked before it is sent");
        pair.server.handle_message(message, &*pair_host(), &mut rng).unwrap();
        let answer = pair.server.poll_transmit().unwrap();
        pair.client.handle_message(answer, &mut rng).unwrap();
    }
    assert_eq!(pair.client.poll_transmit().map(|m| m.name()), Some("FinalUpdate"));
    let reason = ServerMessage::Refused { reason: "no room".into() };
    pair.client.handle_message(reason, &mut rng).unwrap();
    let outputs: Vec<_> = core::iter::from_fn(|| pair.client.poll_output()).collect();
    let refused = ClientOutput::Refused(Refused::ByPeer("no room".into()));
    assert_eq!(outputs.last(), Some(&refused));
    assert_eq!(sums.lock().unwrap().groups()[0].sums, 1);
}

fn pair_host() -> Arc<PairHost> {
    Arc::new(PairHost::new(model(), "test", Policy::AllowModelExtraction))
}

/// The server says no in the middle of a step: the lease is over at both sides, the session is not.
#[test]
fn a_refusal_inside_a_lease_ends_the_lease_and_not_the_session() {
    let batches = batches(&model().network, 3, 2);
    let refusal = || ServerMessage::Refused { reason: "no".into() };
    // Instead of the answers to a forward, a backward exchange and an update.
    for answered in [0, 1, 3, 5] {
        let (mut pair, host, mut rng) =
            pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
        pair.client.request_lease(3, 2).unwrap();
        pair.run(&mut rng).unwrap();
        pair.client.train(&batches[0].0, &batches[0].1, &mut rng).unwrap();
        for _ in 0..answered {
            let question = pair.client.poll_transmit().unwrap();
            pair.server.handle_message(question, &*host, &mut rng).unwrap();
            let answer = pair.server.poll_transmit().unwrap();
            pair.client.handle_message(answer, &mut rng).unwrap();
        }
        pair.client.poll_transmit().expect("a question");
        pair.client.handle_message(refusal(), &mut rng).unwrap();
        let refused = ClientOutput::Refused(Refused::ByPeer("no".into()));
        assert_eq!(pair.client.poll_output(), Some(refused), "after {answered} answers");
        assert!(pair.client.finish().is_err(), "the lease is over");
        pair.client.request_lease(3, 2).unwrap();
    }
}

/// Masks hide every value within 2^-65; all values of a lease together within 2^-40.
#[test]
fn leases_are_no_longer_than_their_masks_bear() {
    let asked = |mask_bits, policy, lengths| -> Result<_, Error> {
        let precision = Precision { mask_bits, ..model().precision };
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let mut client = Client::<Clear>::new(model().network, precision, key, policy);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        client.handle_message(ServerMessage::Opened, rng).unwrap();
        client.poll_transmit();
        assert_eq!((client.policy(), client.holds_lease()), (policy, false));
        client.request_lease_of(2, lengths)?;
        match client.poll_transmit() {
            Some(ClientMessage::RequestLease { steps, least, .. }) => Ok((least, steps)),
            other => panic!("{other:?}"),
        }
    };
    let (values, enforce) = (model().parameters.len() as u64, DataPolicy::Enforce);
    let short = |sigma, steps, most| Refused::ShortMasks { sigma, values, steps, most }.into();
    // Six samples are needed, so three steps of two.
    assert_eq!(asked(64, enforce, 2..=1000), Ok((3, 1000)));
    assert_eq!(asked(64, enforce, 1..=3), Ok((3, 3)));
    let refused = Refused::ExposesData { samples: 4, least: 6, sums: 1 };
    assert_eq!(asked(64, enforce, 1..=2), Err(refused.into()));
    let most = u32::try_from(512 / values).unwrap();
    assert_eq!(asked(48, enforce, 2..=1000), Ok((3, most)));
    assert_eq!(asked(48, enforce, most..=1000), Ok((most, most)));
    assert_eq!(asked(48, enforce, most + 1..=1000), Err(short(48, most + 1, most)));
    assert_eq!(asked(40, enforce, 2..=1000), Err(short(40, 3, 0)));
    assert_eq!(asked(40, DataPolicy::AllowInputReconstruction, 2..=1000), Ok((2, 1000)));
    for lengths in [0..=3, RangeInclusive::new(4, 3)] {
        let error = asked(64, enforce, lengths).unwrap_err().to_string();
        assert!(error.contains("lease: needs lengths of 1 step or more"), "{error}");
    }
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
    assert_eq!(pair.client.saturations(), pass.saturations().by_layer());

    // Eight is the first value outside of the format of activations: each query adds its own.
    let beyond = Array2::from_elem((model.network.inputs(), 2), 8.0);
    for queries in 1..3 {
        pair.classify(&beyond, &mut rng).unwrap();
        assert_eq!(pair.client.saturations()[0], queries * 2 * model.network.inputs() as u64);
    }
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
