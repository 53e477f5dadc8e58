//! Stages that no lease changes: asked forward with their true weights, counted over all versions.

use std::sync::Arc;

use super::oracle::{check, check_both};
use super::wrapping::Wrapping;
use super::{G_MAX, batches, model, networks, pair_of, secret_rate};
use crate::backend::{Backend, Layout};
use crate::clear::{Clear, ClearKey};
use crate::error::{Error, PeerMisbehaved, Refused};
use crate::fixed::Precision;
use crate::ledger::{Exposure, Ledger, Policy};
use crate::mask::Kind;
use crate::message::{ClientMessage, Wire};
use crate::network::Network;
use crate::pair::Frame;
use crate::pass::Rounding;
use crate::plan::{Direction, Plan, Purpose};
use crate::server::{Host, LearningRate, ServedModel};

const PUBLIC: Purpose = Purpose::Training { steps: 40 };

fn network(frozen: usize) -> Network {
    networks::network().freeze(frozen).unwrap()
}

fn served(frozen: usize) -> ServedModel {
    ServedModel { network: Arc::new(network(frozen)), ..model() }
}

fn plan<B: Backend<PublicKey = ClearKey>>(frozen: usize, purpose: Purpose) -> Plan<B::Layout>
where
    B::Layout: Layout<B>,
{
    let key = ClearKey::new(2048).unwrap();
    Plan::new::<B>(&network(frozen), &Precision::TRAINING, 3, purpose, &key).unwrap()
}

#[test]
fn frozen_stages_equal_the_oracle_under_both_kinds_of_masks() {
    for frozen in [1, 2] {
        for lease in [(1, 4), (7, 3), (40, 2)] {
            check_both(&served(frozen), &[lease]);
        }
        check_both(&served(frozen), &[(7, 3), (2, 12)]);
        let rounding = Rounding::PowerOfTwo { g_max: G_MAX };
        check(&served(frozen), &[(7, 3)], &secret_rate(), rounding);
    }
}

#[test]
fn the_base_stays_and_no_error_reaches_it() {
    for frozen in 0..3 {
        let rate = LearningRate::<Clear>::Public(0.1);
        let (mut pair, host, mut rng) = pair_of(served(frozen), Policy::AllowModelExtraction, rate);
        let (steps, before) = (2, host.model().parameters.clone());
        pair.train(&batches(&network(frozen), 3, steps), &mut rng).unwrap();
        let after = host.model().parameters.clone();
        for (stage, (a, b)) in before.layers.iter().zip(&after.layers).enumerate() {
            assert_eq!(a == b, stage < frozen, "stage {stage}, {frozen} frozen");
        }
        let sent = |wanted: &str| {
            let ups = pair.transcript.iter().filter_map(|frame| match frame {
                Frame::Up(bytes) => Some(ClientMessage::from_bytes(bytes).unwrap()),
                Frame::Down(_) => None,
            });
            ups.filter(|message| message.name() == wanted).count()
        };
        assert_eq!(sent("EncryptedActivations"), 3 * steps);
        assert_eq!(sent("EncryptedErrors"), (2 - frozen) * steps, "{frozen} frozen");
    }
}

/// Its exchanges are those of an inference; and it does not widen the masks of the others.
#[test]
fn the_base_is_planned_as_in_an_inference() {
    for frozen in [1, 2] {
        let (training, inference) =
            (plan::<Clear>(frozen, PUBLIC), plan::<Clear>(frozen, Purpose::Inference));
        let (all, asked) = (plan::<Clear>(0, PUBLIC), |p: &Plan<_>| p.exchanges().count());
        assert_eq!((asked(&all), asked(&training)), (5, 5 - frozen));
        for stage in 0..3 {
            let (is_frozen, planned) = (stage < frozen, &training.stages[stage]);
            assert_eq!(planned.forward == inference.stages[stage].forward, is_frozen);
            assert_eq!(planned.forward == all.stages[stage].forward, !is_frozen);
            assert_eq!(planned.backward.is_some(), stage > frozen);
        }
    }
    // The last stage alone has the fewest inputs and no errors: shorter weights, shorter masks.
    let bits = |frozen| match plan::<Wrapping>(frozen, PUBLIC).masks {
        Some(Kind::Modular { bits }) => bits,
        other => panic!("{other:?}"),
    };
    let widest = |frozen: usize| {
        let plan = plan::<Wrapping>(frozen, PUBLIC);
        let trained = plan.exchanges().filter(|(stage, ..)| *stage >= frozen);
        trained.map(|(.., exchange)| exchange.value_bits()).max().unwrap()
    };
    for frozen in 0..3 {
        assert_eq!(bits(frozen), widest(frozen));
        let plan = plan::<Wrapping>(frozen, PUBLIC);
        let masked = plan.stages.iter().map(|s| s.forward.layout().weight_bits() == bits(frozen));
        assert_eq!(masked.collect::<Vec<_>>(), [0, 1, 2].map(|stage| stage >= frozen));
    }
}

/// The base's equations as in an inference; the sum of a lease is one over the head.
#[test]
fn the_account_of_a_frozen_base() {
    let exposure =
        |purpose| Exposure::new(&network(1), &Precision::TRAINING, &plan::<Clear>(1, purpose));
    let (training, inference) = (exposure(PUBLIC), exposure(Purpose::Inference));
    use Direction::{Backward, Forward};
    let rows = training.model.iter().map(|l| (l.layer.as_str(), l.direction, l.frozen));
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            ("first", Forward, true),
            ("second", Forward, false),
            ("third", Forward, false),
            ("third", Backward, false),
        ]
    );
    assert_eq!(training.model[0], inference.model[0]);
    let summed: Vec<_> = training.data.iter().map(|d| d.layer.as_str()).collect();
    assert_eq!(summed, ["second", "third"]);
}

/// A version that somebody else made has a new head, whose equations begin at zero, and the same base.
#[test]
fn what_was_seen_of_a_frozen_layer_was_seen_of_every_version() {
    let of = |frozen| {
        Exposure::new(&network(frozen), &Precision::TRAINING, &plan::<Clear>(frozen, PUBLIC))
    };
    let exposure = of(1);
    let (base, head) = (&exposure.model[0], &exposure.model[1]);
    let per_sample = [base, head].map(|layer| layer.revealed_bits_per_sample);
    let mut ledger = Ledger::default();
    let all = Policy::AllowModelExtraction;
    for version in [1, 2] {
        ledger.charge("alice", version, &exposure, 2, all).unwrap();
    }
    let restarted = |ledger: &Ledger| -> Ledger {
        postcard::from_bytes(&postcard::to_stdvec(ledger).unwrap()).unwrap()
    };
    for ledger in [&ledger, &restarted(&ledger)] {
        for (version, seen) in [(1, 2), (2, 2), (3, 0)] {
            assert_eq!(ledger.revealed("alice", version, base), 4 * per_sample[0], "{version}");
            assert_eq!(ledger.revealed("alice", version, head), seen * per_sample[1]);
        }
        assert_eq!(ledger.revealed("bob", 1, base), 0);
    }
    let refused = ledger.charge("alice", 9, &exposure, 1, Policy::Enforce).unwrap_err();
    assert!(matches!(refused, Refused::Budget { layer, .. } if layer == "first"));
    // Joined by a lease of its own, nothing of the base is forgotten.
    ledger.account("alice").carry(1, 2);
    assert_eq!(ledger.revealed("alice", 2, base), 4 * per_sample[0]);
    // Booked while it was trained, asked when it is frozen; and the other way round.
    let mut ledger = Ledger::default();
    ledger.charge("alice", 1, &of(0), 3, all).unwrap();
    let trained = &of(0).model[0];
    let before = 3 * trained.revealed_bits_per_sample;
    assert_eq!(ledger.revealed("alice", 5, base), before);
    ledger.charge("alice", 5, &exposure, 1, all).unwrap();
    assert_eq!(ledger.revealed("alice", 7, trained), per_sample[0]);
    assert_eq!(ledger.revealed("alice", 1, trained), before + per_sample[0]);
}

/// A peer that trains what is frozen here is found out at its first update.
#[test]
fn an_update_of_a_frozen_stage_is_refused() {
    let (mut pair, host, mut rng) =
        pair_of::<Clear>(served(1), Policy::AllowModelExtraction, LearningRate::Public(0.1));
    let (inputs, labels) = batches(&network(1), 3, 1).remove(0);
    pair.client.request_lease(3, 1).unwrap();
    pair.run(&mut rng).unwrap();
    pair.client.train(&inputs, &labels, &mut rng).unwrap();
    loop {
        let message = match pair.client.poll_transmit().unwrap() {
            ClientMessage::FinalUpdate(_) => break,
            message => message,
        };
        pair.server.handle_message(message, &*host, &mut rng).unwrap();
        let answer = pair.server.poll_transmit().unwrap();
        pair.client.handle_message(answer, &mut rng).unwrap();
    }
    let whole = ClientMessage::FinalUpdate(network(1).zeros().into());
    let error = pair.server.handle_message(whole, &*host, &mut rng).unwrap_err();
    assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::OutOfBounds { .. })), "{error}");
}

#[test]
fn a_network_keeps_a_stage_to_train() {
    for frozen in [3, 4, usize::MAX] {
        let said = networks::network().freeze(frozen).unwrap_err().to_string();
        assert!(said.contains(&format!("frozen stages: are {frozen} of 3")), "{said}");
    }
    assert_eq!(network(1).trained_parameters(), 4 * 5 + 5 + 5 * 3 + 3);
    assert_eq!(network(0).trained_parameters(), network(0).parameters());
}
