//! The bounds that a machine holds its peer to, and its own process: the last value inside passes, the
//! first outside ends the session, and nothing happens to the model.

use std::sync::Arc;

use super::session::{BATCH, Event, PUBLIC, STEPS, Session, out_of_bounds};
use super::{G_MAX, model, secret_rate};
use crate::clear::ClearKey;
use crate::error::{Error, PeerMisbehaved, Result};
use crate::fixed::{Format, Precision};
use crate::message::{ClientMessage, Lease, LeaseRate, ServerMessage};
use crate::plan::{MAX_BATCH, MAX_STEPS};
use crate::server::{Host, LearningRate, ServedModel, ServerOutput};

/// The places in a session where the server waits for a stage, and the stage.
const STAGES: [(&str, usize, u32); 8] = [
    ("EncryptedActivations", 1, 0),
    ("EncryptedActivations", 2, 1),
    ("EncryptedActivations", 3, 2),
    ("EncryptedActivations", 4, 0),
    ("EncryptedActivations", 5, 1),
    ("EncryptedActivations", 6, 2),
    ("EncryptedErrors", 1, 2),
    ("EncryptedErrors", 2, 1),
];

#[test]
fn a_stage_is_the_one_that_is_due() {
    for (name, nth, due) in STAGES {
        for other in [0, 1, 2, 3, u32::MAX] {
            let mut session = Session::until(&PUBLIC, name, nth);
            let Event::Up(mut message) = session.pending else { panic!("{name} {nth}") };
            let (ClientMessage::EncryptedActivations { stage, .. }
            | ClientMessage::EncryptedErrors { stage, .. }) = &mut message
            else {
                panic!("{name} {nth}")
            };
            assert_eq!(*stage, due);
            *stage = other;
            session.pending = Event::End;
            let result = session.tell(message);
            match other == due {
                true => result.unwrap(),
                false => assert_eq!(out_of_bounds(result), "stage", "{name} {nth}: {other}"),
            }
        }
    }
}

#[test]
fn an_answer_is_that_to_the_stage_that_was_asked() {
    for (name, nth) in [("WeightedSums", 1), ("WeightedSums", 5), ("PropagatedErrors", 1)] {
        for other in [0, 1, 2, 3, u32::MAX] {
            let mut session = Session::until(&PUBLIC, name, nth);
            let Event::Down(mut message) = session.pending else { panic!("{name} {nth}") };
            let (ServerMessage::WeightedSums { stage, .. }
            | ServerMessage::PropagatedErrors { stage, .. }) = &mut message
            else {
                panic!("{name} {nth}")
            };
            let due = core::mem::replace(stage, other);
            session.pending = Event::End;
            let result = session.hear(message);
            match other == due {
                true => result.unwrap(),
                false => assert_eq!(out_of_bounds(result), "stage", "{name} {nth}: {other}"),
            }
        }
    }
}

/// A query has the batch that it began with, a lease the one that was granted. (All of these fill
/// the same number of ciphertexts.)
#[test]
fn a_batch_stays_the_same() {
    for nth in 2..=8 {
        for other in [BATCH - 1, BATCH, BATCH + 1] {
            let mut session = Session::until(&PUBLIC, "EncryptedActivations", nth);
            let Event::Up(ClientMessage::EncryptedActivations {
                stage, ciphertexts, layout, ..
            }) = session.pending
            else {
                panic!("{nth}")
            };
            session.pending = Event::End;
            let batch = other;
            let message = ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout };
            let result = session.tell(message);
            match other == BATCH {
                true => result.unwrap(),
                false => assert_eq!(out_of_bounds(result), "batch", "{nth}: {other}"),
            }
        }
    }
}

#[test]
fn a_query_and_a_lease_have_one_to_the_most_samples_and_steps() {
    let most = u32::try_from(MAX_BATCH).unwrap();
    let ask_of = |batch, steps, least| {
        let mut session = Session::until(&PUBLIC, "RequestLease", 1);
        session.tell(ClientMessage::RequestLease { batch, steps, least })?;
        let Event::Asked(ServerOutput::LeaseRequested { batch, steps, least }) = session.next()
        else {
            panic!("not asked for")
        };
        Ok((batch, steps, least))
    };
    let ask = |batch, steps| ask_of(batch, steps, 1);
    for (batch, steps) in [(1, 1), (most, 1), (1, MAX_STEPS), (most, MAX_STEPS)] {
        assert_eq!(ask(batch, steps).unwrap(), (batch as usize, steps, 1));
    }
    assert_eq!(ask_of(1, 5, 5).unwrap(), (1, 5, 5));
    for least in [0, 6, u32::MAX] {
        assert_eq!(out_of_bounds(ask_of(1, 5, least)), "least", "{least}");
    }
    for (batch, steps, what) in [
        (0, 1, "batch"),
        (most + 1, 1, "batch"),
        (u32::MAX, 1, "batch"),
        (1, 0, "steps"),
        (1, MAX_STEPS + 1, "steps"),
        (1, u32::MAX, "steps"),
    ] {
        assert_eq!(out_of_bounds(ask(batch, steps)), what, "{batch}, {steps}");
    }
    let query = |batch| {
        let mut session = Session::until(&PUBLIC, "EncryptedActivations", 1);
        let (ciphertexts, layout) = (Vec::new(), "samples/1".into());
        session.tell(ClientMessage::EncryptedActivations { stage: 0, batch, ciphertexts, layout })
    };
    for batch in [1, most] {
        let error = query(batch).unwrap_err();
        let length =
            matches!(error, Error::PeerMisbehaved(PeerMisbehaved::CiphertextLength { got: 0, .. }));
        assert!(length, "{error}");
    }
    for batch in [0, most + 1, u32::MAX] {
        assert_eq!(out_of_bounds(query(batch)), "batch", "{batch}");
    }
}

/// What the ledger is told: a query or a step is booked once, with its samples, on the version that
/// answers, before the first of its answers.
#[test]
fn every_query_and_every_step_is_booked_once_before_it_is_answered() {
    let v1 = (1, u64::from(BATCH));
    for (name, nth, expected) in [
        ("EncryptedActivations", 1, &[][..]),
        ("WeightedSums", 1, &[v1]),
        ("EncryptedActivations", 4, &[v1]),
        ("WeightedSums", 4, &[v1, v1]),
        ("EncryptedActivations", 7, &[v1, v1]),
        ("WeightedSums", 7, &[v1, v1, v1]),
        ("the end", 1, &[v1, v1, v1]),
    ] {
        let session = Session::until(&PUBLIC, name, nth);
        assert_eq!(*session.books.booked.borrow(), expected, "{name} {nth}");
    }
}

/// What is not booked is not answered. A query is refused alone; a step takes its lease with it.
#[test]
fn a_refused_booking_rolls_the_lease_back() {
    for (nth, in_lease) in [(1, false), (4, true), (7, true)] {
        let mut session = Session::until(&PUBLIC, "EncryptedActivations", nth);
        assert_eq!(session.server.holds_lease(), in_lease);
        let Event::Up(message) = core::mem::replace(&mut session.pending, Event::End) else {
            panic!("{nth}")
        };
        session.books.room.set(0);
        session.tell(message).unwrap();
        let Event::Down(ServerMessage::Refused { reason }) = session.next() else {
            panic!("answered")
        };
        assert_eq!(reason, "no room");
        assert!(matches!(session.next(), Event::End), "and nothing else is sent or asked");
        assert!(session.server.client_key().is_some() && !session.server.holds_lease());
        assert_eq!(session.books.model().version, 1);
        // The session goes on, and the next lease begins anew.
        session.tell(ClientMessage::RequestLease { batch: BATCH, steps: STEPS, least: 1 }).unwrap();
        assert_eq!(session.next().name(), "a lease is asked for");
    }
}

/// A client that asked for two steps of three samples hears these terms.
fn terms(steps: u32, batch: u32, rate: LeaseRate) -> Result<()> {
    let mut session = Session::until(&PUBLIC, "LeaseGranted", 1);
    session.hear(ServerMessage::LeaseGranted(Lease { version: 1, steps, batch, rate }))
}

#[test]
fn a_lease_is_no_longer_and_no_wider_than_asked_for() {
    let eta = || LeaseRate::Public(0.1);
    for steps in 1..=STEPS {
        terms(steps, BATCH, eta()).unwrap();
    }
    for steps in [0, STEPS + 1, u32::MAX] {
        assert_eq!(out_of_bounds(terms(steps, BATCH, eta())), "steps", "{steps}");
    }
    for batch in [0, BATCH - 1, BATCH + 1] {
        assert_eq!(out_of_bounds(terms(STEPS, batch, eta())), "batch", "{batch}");
    }
}

#[test]
fn a_public_rate_is_a_positive_number() {
    for eta in [f64::MIN_POSITIVE, 1e-9, 2.0] {
        terms(STEPS, BATCH, LeaseRate::Public(eta)).unwrap();
    }
    for eta in [0.0, -0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let result = terms(STEPS, BATCH, LeaseRate::Public(eta));
        assert_eq!(out_of_bounds(result), "rate", "{eta}");
    }
}

/// The terms of an honest lease under a secret rate.
fn secret_terms() -> (Vec<u8>, Vec<u8>) {
    let session = Session::until(&secret_rate(), "LeaseGranted", 1);
    let Event::Down(ServerMessage::LeaseGranted(lease)) = session.pending else { panic!() };
    let LeaseRate::Secret { public_key, inverse_rate, g_max } = lease.rate else { panic!() };
    assert_eq!(g_max, G_MAX);
    (public_key, inverse_rate)
}

/// Fractional bits of the weights are spent on g_max: with all of them gone every gradient would be
/// cut off to nothing, or to one bit.
#[test]
fn a_secret_rate_leaves_bits_of_the_update() {
    let (public_key, inverse_rate) = secret_terms();
    let most = model().precision.most_g_max();
    assert_eq!(most, 18);
    let rate = |g_max| LeaseRate::Secret {
        public_key: public_key.clone(),
        inverse_rate: inverse_rate.clone(),
        g_max,
    };
    for g_max in [0, 1, most] {
        terms(STEPS, BATCH, rate(g_max)).unwrap();
    }
    for g_max in [most + 1, most + 2, 1 << 20, u32::MAX] {
        assert_eq!(out_of_bounds(terms(STEPS, BATCH, rate(g_max))), "g_max", "{g_max}");
    }
}

#[test]
fn a_secret_rate_comes_as_one_ciphertext_under_a_key() {
    let (public_key, inverse_rate) = secret_terms();
    let with = |public_key: &[u8], inverse_rate: &[u8]| {
        let (public_key, inverse_rate) = (public_key.to_vec(), inverse_rate.to_vec());
        terms(STEPS, BATCH, LeaseRate::Secret { public_key, inverse_rate, g_max: G_MAX })
    };
    with(&public_key, &inverse_rate).unwrap();
    for wrong in [&inverse_rate[1..], &inverse_rate.repeat(2), &[]] {
        let error = with(&public_key, wrong).unwrap_err();
        let length =
            matches!(error, Error::PeerMisbehaved(PeerMisbehaved::CiphertextLength { .. }));
        assert!(length, "{error}");
    }
    for wrong in [&public_key[1..], &[0; 4], &[]] {
        let error = with(wrong, &inverse_rate).unwrap_err();
        assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidKey(_))), "{error}");
    }
}

/// The same rule at the server, for its own operator.
#[test]
fn a_server_grants_no_rate_that_spends_more_bits_than_there_are() {
    let key = Arc::new(ClearKey::new(2048).unwrap());
    let grant = |g, g_max, precision: Precision| {
        let rate = LearningRate::Secret { key: Arc::clone(&key), g, g_max };
        let parameters = model().network.zeros();
        let served = ServedModel { precision, parameters, ..model() };
        let mut session = Session::of(served, &rate).play("a lease is asked for", 1);
        let served = session.books.model();
        session.server.grant(&served, STEPS, rate, &mut session.rng)
    };
    let training = Precision::TRAINING;
    let coarse = Precision { weights: Format::new(4, 6), ..training };
    let narrow = Precision { update_bits: 4, ..training };
    for (precision, most) in [(training, 18), (coarse, 6), (narrow, 2)] {
        assert_eq!(precision.most_g_max(), most);
        for g in [0, 1, most] {
            grant(g, most, precision).unwrap();
        }
        for (g, g_max) in [(most + 1, most), (1, 0), (0, most + 1), (most + 1, most + 1)] {
            let error = grant(g, g_max, precision).unwrap_err();
            assert!(matches!(error, Error::ApiMisuse(_)), "{error}");
            assert!(error.to_string().contains("secret learning rate"), "{error}");
        }
    }
}

/// A host may grant fewer steps than were asked for, never more and never none.
#[test]
fn a_lease_has_one_to_as_many_steps_as_were_asked_for() {
    for (granted, expected) in [(0, 1), (1, 1), (STEPS, STEPS), (STEPS + 1, STEPS)] {
        let mut session = Session::until(&PUBLIC, "a lease is asked for", 1);
        let model = session.books.model();
        session.server.grant(&model, granted, PUBLIC, &mut session.rng).unwrap();
        let Event::Down(ServerMessage::LeaseGranted(lease)) = session.next() else { panic!() };
        assert_eq!((lease.version, lease.steps, lease.batch), (1, expected, BATCH));
    }
}

/// What a process may ask of the machine, and when; a wrong moment ends the session, as its
/// documentation says.
#[test]
fn a_server_grants_refuses_and_commits_when_a_client_waits_for_it() {
    let places = [
        ("Open", [false; 4], false),
        ("EncryptedActivations", [false; 4], false),
        ("a lease is asked for", [true, true, false, true], false),
        ("MaskedUpdate", [false; 4], true),
        ("a commit is asked for", [false, true, true, false], true),
        ("Committed", [false; 4], false),
    ];
    for (place, allowed, holds) in places {
        let at = || Session::until(&PUBLIC, place, 1);
        assert_eq!(at().server.holds_lease(), holds, "{place}");
        let model = Arc::new(model());
        let grant = |mut s: Session| s.server.grant(&model, 1, PUBLIC, &mut s.rng);
        let refuse = |mut s: Session| s.server.refuse("test", "no".into());
        let commit = |mut s: Session| s.server.committed(2);
        let weigh = |mut s: Session| s.server.exposure(&model).map(drop);
        let results = [grant(at()), refuse(at()), commit(at()), weigh(at())];
        for (result, allowed) in results.into_iter().zip(allowed) {
            match allowed {
                true => result.unwrap(),
                false => assert!(matches!(result, Err(Error::ApiMisuse(_))), "{place}"),
            }
        }
    }
}
