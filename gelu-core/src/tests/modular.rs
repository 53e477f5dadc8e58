//! Leases under modular masks: what is planned, what the server sees and what it takes. That they train
//! what the oracle trains is in [`oracle`](super::oracle), for both kinds of masks.

use core::ops::Range;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::session::out_of_bounds;
use super::wrapping::Wrapping;
use super::{G, G_MAX, batches, model, networks, pair_of};
use crate::backend::Backend;
use crate::clear::{Clear, ClearKey};
use crate::client::{Client, DataPolicy};
use crate::conformance;
use crate::error::{Error, RangeError};
use crate::fixed::Precision;
use crate::ledger::{Exposure, Policy};
use crate::mask::{Kind, Masked};
use crate::message::{ClientMessage, Lease, LeaseRate, ServerMessage, Wire};
use crate::network::Network;
use crate::pair::{Frame, Pair, PairHost};
use crate::plan::{Direction, Plan, Purpose};
use crate::server::LearningRate;
use crate::slots::signed_bits;

fn pair(rate: LearningRate<Wrapping>) -> (Pair<Wrapping>, Arc<PairHost>, ChaCha20Rng) {
    pair_of(model(), Policy::AllowModelExtraction, rate)
}

fn plan<B: Backend<SecretKey = ClearKey>>(
    network: &Network,
    precision: &Precision,
    purpose: Purpose,
) -> crate::Result<Plan<B::Layout>> {
    let key = ClearKey::new(2048).unwrap();
    Plan::new::<B>(network, precision, 1, purpose, B::public_key(&key))
}

#[test]
fn conforms() {
    let key = ClearKey::new(2048).unwrap();
    let report = conformance::check_layouts::<Wrapping>(&key, &mut ChaCha20Rng::seed_from_u64(1));
    let report = report.to_string();
    assert!(report.contains("window backward, 40 samples, 55 bits, weights that wrap"), "{report}");
    assert!(report.contains("There is no secret rate."), "{report}");
}

/// 784-300-10.
fn dense300() -> Network {
    let links = vec![
        ("first", networks::dense(784, 300), vec![]),
        ("second", networks::dense(300, 10), vec![]),
    ];
    networks::chain(784, links, Box::new(networks::Squared))
}

/// By hand: |W| ≤ 2^24 + steps · 2^19, |A| ≤ 2^17, |D| ≤ 2^19, and c = 2^14. The widest are the sums of the
/// first layer, 784.125 · (1 + steps/32) · 2^41: 52 bits with the sign up to 9 steps (below 2^51), 53 up to
/// 51, and one more for each doubling.
#[test]
fn true_values_fit_and_weights_are_as_long_as_the_widest() {
    let (network, p) = (dense300(), Precision::TRAINING);
    for (steps, t) in [(1, 52), (9, 52), (10, 53), (51, 53), (52, 54)] {
        let training = Purpose::Training { steps };
        let modular = plan::<Wrapping>(&network, &p, training).unwrap();
        assert_eq!(modular.masks, Some(Kind::Modular { bits: t }), "{steps} steps");
        let weight = (1i128 << 24) + (i128::from(steps) << 19);
        let (input, constant, error) = (1i128 << 17, 1i128 << 14, 1i128 << 19);
        let expected = [
            (784 * input + constant) * weight,
            (300 * input + constant) * weight,
            10 * error * weight,
        ];
        let got = modular.exchanges().map(|(.., exchange)| {
            assert!(exchange.layouts().iter().all(|layout| layout.weight_bits() == t));
            assert_eq!(exchange.revealed_bits_per_output(), exchange.value_bits().into());
            exchange.value_bits()
        });
        assert_eq!(got.collect::<Vec<_>>(), expected.map(signed_bits), "{steps} steps");

        let statistical = plan::<Clear>(&network, &p, training).unwrap();
        assert_eq!(statistical.masks, Some(Kind::Statistical { bits: 84 }));
        let masked = weight + (i128::from(steps) << 84);
        let first = statistical.exchange(0, Direction::Forward).unwrap();
        assert_eq!(first.value_bits(), signed_bits((784 * input + constant) * masked));
    }
    // 784.125 · 32769 · 2^41 is 2^65.6.
    let error = plan::<Wrapping>(&network, &p, Purpose::Training { steps: 1 << 20 }).unwrap_err();
    let layer = "first (forward)".into();
    assert_eq!(error, RangeError::Slot { layer, needed: 67, available: 62 }.into());
}

#[test]
fn an_inference_is_planned_as_if_nothing_wrapped() {
    for precision in [Precision::TRAINING, Precision::INFERENCE] {
        let wraps = plan::<Wrapping>(&dense300(), &precision, Purpose::Inference).unwrap();
        let clear = plan::<Clear>(&dense300(), &precision, Purpose::Inference).unwrap();
        assert_eq!((wraps.masks, clear.masks), (None, None));
        for ((.., a), (.., b)) in wraps.exchanges().zip(clear.exchanges()) {
            assert_eq!(a.value_bits(), b.value_bits());
            assert_eq!(a.layout().weight_bits(), b.layout().weight_bits);
        }
    }
}

/// A model's exposure counts the bits of true values, and those only.
#[test]
fn fewer_bits_are_revealed_than_under_statistical_masks() {
    let (network, precision) = (networks::network(), Precision::TRAINING);
    let purpose = Purpose::Training { steps: 3 };
    let modular = plan::<Wrapping>(&network, &precision, purpose).unwrap();
    let statistical = plan::<Clear>(&network, &precision, purpose).unwrap();
    let exposures = [
        Exposure::new(&network, &precision, &modular),
        Exposure::new(&network, &precision, &statistical),
    ];
    let [modular, statistical] = exposures.map(|exposure| {
        exposure.model.iter().map(|layer| layer.revealed_bits_per_sample).collect::<Vec<_>>()
    });
    assert!(modular.iter().zip(&statistical).all(|(a, b)| a < b), "{modular:?} {statistical:?}");
}

/// The masked updates of a lease, as the server reads them, and T.
fn what_the_server_sees() -> (Vec<i128>, u32) {
    let (mut pair, _, mut rng) = pair(LearningRate::Public(0.1));
    let model = model();
    pair.train(&batches(&model.network, 5, 30), &mut rng).unwrap();
    let purpose = Purpose::Training { steps: 30 };
    let plan = plan::<Wrapping>(&model.network, &model.precision, purpose).unwrap();
    let Some(Kind::Modular { bits }) = plan.masks else { panic!("{:?}", plan.masks) };
    let updates = pair.transcript.iter().filter_map(|frame| match frame {
        Frame::Up(bytes) => match ClientMessage::from_bytes(bytes).unwrap() {
            ClientMessage::MaskedUpdate(update) => Some(update),
            _ => None,
        },
        Frame::Down(_) => None,
    });
    (updates.flat_map(|update| update.values().copied().collect::<Vec<_>>()).collect(), bits)
}

/// Each bit, the sign included, is 1 half of the time, within five standard deviations.
#[test]
fn the_server_sees_uniform_bits() {
    let (seen, bits) = what_the_server_sees();
    assert_eq!(seen.len(), 29 * model().parameters.len());
    let half = 1i128 << (bits - 1);
    assert!(seen.iter().all(|v| (-half..half).contains(v)));
    for bit in 0..bits {
        let ones = seen.iter().filter(|&v| v >> bit & 1 == 1).count() as f64;
        let deviation = (ones - seen.len() as f64 / 2.0).abs();
        assert!(deviation < 5.0 * (seen.len() as f64 / 4.0).sqrt(), "bit {bit}: {ones} ones");
    }
}

/// What a server says to an update with one value chosen from, or beside, those that a mask allows.
fn update_of(value: impl Fn(Range<i128>) -> i128) -> crate::Result<()> {
    let (mut pair, host, mut rng) = pair(LearningRate::Public(0.1));
    let model = model();
    let (inputs, labels) = batches(&model.network, 3, 1).remove(0);
    pair.client.request_lease(3, 2).unwrap();
    pair.run(&mut rng).unwrap();
    pair.client.train(&inputs, &labels, &mut rng).unwrap();
    loop {
        let message = pair.client.poll_transmit().expect("an update in the end");
        if matches!(message, ClientMessage::MaskedUpdate(_)) {
            let training = Purpose::Training { steps: 2 };
            let plan = plan::<Wrapping>(&model.network, &model.precision, training)?;
            let mut update = model.network.zeros();
            *update.values_mut().last().unwrap() = value(plan.masks.unwrap().range(20));
            let message = ClientMessage::MaskedUpdate(Masked::decrypted(update));
            pair.server.handle_message(message, &*host, &mut rng)?;
            assert_eq!(pair.server.poll_transmit(), Some(ServerMessage::UpdateApplied));
            return Ok(());
        }
        pair.server.handle_message(message, &*host, &mut rng)?;
        let answer = pair.server.poll_transmit().expect("an answer");
        pair.client.handle_message(answer, &mut rng)?;
    }
}

#[test]
fn a_masked_update_is_a_residue_and_nothing_else() {
    update_of(|range| range.start).unwrap();
    update_of(|range| range.end - 1).unwrap();
    assert_eq!(out_of_bounds(update_of(|range| range.start - 1)), "a masked update");
    assert_eq!(out_of_bounds(update_of(|range| range.end)), "a masked update");
    assert_eq!(out_of_bounds(update_of(|_| i128::MIN)), "a masked update");
    assert_eq!(out_of_bounds(update_of(|_| i128::MAX)), "a masked update");
}

/// The server refuses it before it grants a lease, the client before it trains.
#[test]
fn there_is_no_secret_rate() {
    let refused = Error::from(RangeError::NoSecretRate { backend: "insecure-wrapping" });
    let key = Arc::new(ClearKey::new(2048).unwrap());
    let rate = LearningRate::Secret { key: Arc::clone(&key), g: G, g_max: G_MAX };
    let (mut pair, _, mut rng) = pair(rate);
    pair.client.request_lease(3, 2).unwrap();
    let before = pair.transcript.len();
    assert_eq!(pair.run(&mut rng).unwrap_err(), refused);
    assert_eq!(pair.transcript.len(), before + 1, "the request and nothing else");

    let model = model();
    let policy = DataPolicy::AllowInputReconstruction;
    let mut client = Client::<Wrapping>::new(model.network, model.precision, key, policy);
    client.handle_message(ServerMessage::Opened, &mut rng).unwrap();
    client.request_lease(3, 2).unwrap();
    let rate = LeaseRate::Secret { public_key: vec![], inverse_rate: vec![], g_max: G_MAX };
    let lease = Lease { version: 1, steps: 2, batch: 3, rate };
    let offered = client.handle_message(ServerMessage::LeaseGranted(lease), &mut rng);
    assert_eq!(offered.unwrap_err(), refused);
}

/// There is no distance to add up: sigma bounds no lease.
#[test]
fn leases_may_be_of_any_length() {
    let model = model();
    let precision = Precision { mask_bits: 40, ..model.precision };
    let key = Arc::new(ClearKey::new(2048).unwrap());
    let (network, policy) = (model.network, DataPolicy::Enforce);
    let mut client = Client::<Wrapping>::new(network, precision, key, policy);
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    client.handle_message(ServerMessage::Opened, rng).unwrap();
    client.poll_transmit();
    client.request_lease_of(2, 2..=100_000).unwrap();
    let Some(ClientMessage::RequestLease { steps, least, .. }) = client.poll_transmit() else {
        panic!("no request")
    };
    assert_eq!((least, steps), (3, 100_000));
}
