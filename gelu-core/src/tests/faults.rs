//! What honest peers never send: an error on the living side, no panic, no partial model.

use std::sync::Arc;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{G, G_MAX, batches, model, pair, secret_rate};
use crate::backend::Cryptosystem;
use crate::clear::{Clear, ClearKey};
use crate::client::{Client, DataPolicy};
use crate::error::{ApiMisuse, Error, PeerIncompatible, PeerMisbehaved};
use crate::ledger::Policy;
use crate::mask::Masked;
use crate::message::{ClientMessage, Lease, LeaseRate, ServerMessage, Wire};
use crate::network::Parameters;
use crate::pair::{Frame, PairHost};
use crate::server::{Host, LearningRate, Server, ServerOutput};
use crate::slots::{AdditiveHE, Plaintext, UpdateLayout};

/// The messages of one honest inference and one honest lease.
fn honest(rate: LearningRate<Clear>) -> (Vec<ClientMessage>, Vec<ServerMessage>) {
    let (mut pair, _, mut rng) = pair(Policy::AllowModelExtraction, rate);
    let batches = batches(&model().network, 3, 2);
    pair.classify(&batches[0].0, &mut rng).unwrap();
    pair.train(&batches, &mut rng).unwrap();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for frame in &pair.transcript {
        match frame {
            Frame::Up(bytes) => up.push(ClientMessage::from_bytes(bytes).unwrap()),
            Frame::Down(bytes) => down.push(ServerMessage::from_bytes(bytes).unwrap()),
        }
    }
    (up, down)
}

/// A client is asked for no more bits of a rate than its precision has to spare.
#[test]
fn a_secret_rate_beyond_the_spare_bits_is_refused() {
    let most = model().precision.most_g_max();
    for (g_max, accepted) in [(0, true), (most, true), (most + 1, false), (u32::MAX, false)] {
        let key = Arc::new(ClearKey::new(2048).unwrap());
        let (network, policy) = (model().network, DataPolicy::Enforce);
        let mut client = Client::<Clear>::new(network, model().precision, Arc::clone(&key), policy);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        client.handle_message(ServerMessage::Opened, rng).unwrap();
        client.request_lease(6, 1).unwrap();
        let mut inverse_rate = Vec::new();
        let one = Clear::encrypt(&key, &Plaintext::new(64, vec![1]).unwrap(), rng).unwrap();
        Clear::ciphertext_to_bytes(&key, &one, &mut inverse_rate);
        let public_key = Clear::public_key_to_bytes(&key);
        let rate = LeaseRate::Secret { public_key, inverse_rate, g_max };
        let lease = Lease { version: 1, steps: 1, batch: 6, rate };
        let granted = client.handle_message(ServerMessage::LeaseGranted(lease), rng);
        assert_eq!(granted.is_ok(), accepted, "g_max {g_max}: {granted:?}");
        if let Err(error) = granted {
            assert!(error.to_string().contains("g_max is"), "{error}");
        }
    }
}

/// No step beyond those of the lease, and none that hides behind a masked update in place of the sum.
#[test]
fn a_lease_ends_with_its_last_step() {
    let rate = LearningRate::Public(0.1);
    let (mut up, _) = honest(rate.clone());
    let masked = up.iter().find(|m| m.name() == "MaskedUpdate").unwrap().clone();
    let last = up.iter().position(|m| m.name() == "FinalUpdate").unwrap();
    up[last] = masked;
    let (result, host) = feed(&up, &rate);
    let (expected, got) = ("FinalUpdate", "MaskedUpdate");
    assert_eq!(result.unwrap_err(), PeerMisbehaved::UnexpectedMessage { expected, got }.into());
    assert_eq!(host.model().version, 1);
}

#[test]
fn requests_for_impossible_leases_are_refused() {
    let (up, _) = honest(LearningRate::Public(0.1));
    for (batch, steps, least, what) in [
        (0, 1, 1, "batch"),
        (1, 0, 1, "steps"),
        (1, u32::MAX, 1, "steps"),
        (1, 5, 0, "least"),
        (1, 5, 6, "least"),
    ] {
        let request = ClientMessage::RequestLease { batch, steps, least };
        let error = feed(&[up[0].clone(), request], &LearningRate::Public(0.1)).0.unwrap_err();
        assert!(error.to_string().contains(&format!("{what} is")), "{error}");
    }
}

/// Feeds a fresh server, granting every lease and storing every commit.
fn feed(messages: &[ClientMessage], rate: &LearningRate<Clear>) -> (Result<(), Error>, PairHost) {
    let host = PairHost::new(model(), "test", Policy::AllowModelExtraction);
    let (mut server, mut rng) = (Server::<Clear>::new(), ChaCha20Rng::seed_from_u64(1));
    let mut feed = || {
        for message in messages {
            server.handle_message(message.clone(), &host, &mut rng)?;
            while let Some(output) = server.poll_output() {
                match output {
                    ServerOutput::LeaseRequested { steps, .. } => {
                        server.grant(&host.model(), steps, rate.clone(), &mut rng)?;
                    }
                    ServerOutput::Commit { .. } => server.refuse("store", "not stored".into())?,
                }
            }
        }
        Ok(())
    };
    (feed(), host)
}

#[test]
fn every_swap_of_two_messages_ends_the_session() {
    for rate in [LearningRate::Public(0.1), secret_rate()] {
        let (up, _) = honest(rate.clone());
        feed(&up, &rate).0.unwrap();
        for i in 0..up.len() - 1 {
            let mut swapped = up.clone();
            swapped.swap(i, i + 1);
            let error = feed(&swapped, &rate).0.unwrap_err();
            assert!(matches!(error, Error::PeerMisbehaved(_)), "swap {i}: {error}");
        }
    }
}

#[test]
fn every_replay_and_every_gap_is_noticed() {
    let rate = LearningRate::Public(0.1);
    let (up, _) = honest(rate.clone());
    for i in 0..up.len() {
        let mut replayed = up.clone();
        replayed.insert(i + 1, up[i].clone());
        // A query or a request for a lease may come twice, but not in the middle of another.
        assert!(feed(&replayed, &rate).0.is_err(), "replay of {i}, {}", up[i].name());
        let mut gap = up.clone();
        gap.remove(i);
        if i + 1 < up.len() {
            assert!(feed(&gap, &rate).0.is_err(), "gap at {i}, {}", up[i].name());
        }
    }
}

#[test]
fn blocks_of_the_wrong_length_are_refused() {
    let rate = LearningRate::Public(0.1);
    let (up, _) = honest(rate.clone());
    for i in 0..up.len() {
        for longer in [false, true] {
            let mut changed = up.clone();
            let (ClientMessage::EncryptedActivations { ciphertexts, .. }
            | ClientMessage::EncryptedErrors { ciphertexts, .. }) = &mut changed[i]
            else {
                continue;
            };
            let length = ciphertexts.len();
            ciphertexts.resize(if longer { length + 1 } else { length - 1 }, 0);
            let error = feed(&changed, &rate).0.unwrap_err();
            let expected = PeerMisbehaved::CiphertextLength {
                expected: length,
                got: if longer { length + 1 } else { length - 1 },
            };
            assert_eq!(error, expected.into());
        }
    }
}

#[test]
fn updates_out_of_shape_or_bounds_are_refused() {
    let rate = LearningRate::Public(0.1);
    let (up, _) = honest(rate.clone());
    let huge = |p: &Parameters| p.map(|_| i128::MAX);
    let tampered = up.iter().enumerate().filter_map(|(i, message)| {
        let changed = |f: &dyn Fn(&Parameters) -> Parameters| match message {
            ClientMessage::MaskedUpdate(p) => {
                Some(ClientMessage::MaskedUpdate(Masked::decrypted(f(p))))
            }
            ClientMessage::FinalUpdate(p) => Some(ClientMessage::FinalUpdate(f(p).into())),
            _ => None,
        };
        Some((i, [changed(&huge)?, changed(&|_| Parameters::default())?]))
    });
    let mut tried = 0;
    for (i, messages) in tampered {
        for message in messages {
            let mut changed = up.clone();
            changed[i] = message;
            let (result, host) = feed(&changed, &rate);
            let error = result.unwrap_err();
            let bounds = PeerMisbehaved::OutOfBounds {
                what: "",
                got: String::new(),
                expected: String::new(),
            };
            let Error::PeerMisbehaved(misbehaved) = error else { panic!("{error}") };
            assert_eq!(
                core::mem::discriminant(&misbehaved),
                core::mem::discriminant(&bounds),
                "{misbehaved}"
            );
            assert_eq!(host.model().parameters, model().parameters, "the model never moved");
            tried += 1;
        }
    }
    assert_eq!(tried, 4);
}

/// A client that fills the slots of its encrypted update to their edge, where only g of the g_max
/// spare bits are its own to use.
#[test]
fn encrypted_updates_out_of_bounds_are_refused() {
    let rate = secret_rate();
    let (mut up, _) = honest(rate.clone());
    let (model, key) = (model(), ClearKey::new(2048).unwrap());
    let (values, precision) = (model.parameters.len(), &model.precision);
    let layout = UpdateLayout::new::<Clear>(values, precision, G_MAX, &key).unwrap();
    let edge = (1i128 << (layout.slot_bits - 1)) - (1 << G);
    for value in [edge, -edge] {
        let mut block = Vec::new();
        for n in 0..layout.ciphertexts() {
            let values = vec![value; layout.shape(n).count];
            let plain = Plaintext::new(layout.slot_bits, values).unwrap();
            let rng = &mut ChaCha20Rng::seed_from_u64(1);
            let ciphertext = Clear::encrypt(&key, &plain, rng).unwrap();
            Clear::ciphertext_to_bytes(&key, &ciphertext, &mut block);
        }
        let update = up.iter_mut().find_map(|message| match message {
            ClientMessage::EncryptedMaskedUpdate { ciphertexts } => Some(ciphertexts),
            _ => None,
        });
        *update.unwrap() = block;
        let error = feed(&up, &rate).0.unwrap_err();
        let Error::PeerMisbehaved(PeerMisbehaved::OutOfBounds { .. }) = error else {
            panic!("{error}")
        };
    }
}

#[test]
fn another_backend_is_incompatible() {
    let open = ClientMessage::Open { backend: "another".into(), public_key: vec![] };
    let error = feed(&[open], &LearningRate::Public(0.1)).0.unwrap_err();
    assert!(matches!(error, Error::PeerIncompatible(PeerIncompatible::Backend { .. })));
}

#[test]
fn a_failed_machine_stays_failed() {
    let host = PairHost::new(model(), "test", Policy::AllowModelExtraction);
    let (mut server, mut rng) = (Server::<Clear>::new(), ChaCha20Rng::seed_from_u64(1));
    let (up, _) = honest(LearningRate::Public(0.1));
    assert!(server.handle_message(up[1].clone(), &host, &mut rng).is_err());
    assert!(server.handle_message(up[0].clone(), &host, &mut rng).is_err());
    assert!(server.poll_transmit().is_none());
}

#[test]
fn leases_on_other_terms_than_asked_for_are_refused() {
    let terms = |steps, batch, rate| {
        let key = ClearKey::new(2048).unwrap().into();
        let model = model();
        let policy = DataPolicy::Enforce;
        let mut client = Client::<Clear>::new(model.network, model.precision, key, policy);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        client.handle_message(ServerMessage::Opened, rng).unwrap();
        client.request_lease(3, 5).unwrap();
        let lease = Lease { version: 1, steps, batch, rate };
        client.handle_message(ServerMessage::LeaseGranted(lease), rng)
    };
    // Two mini-batches of three are what the data needs.
    terms(5, 3, LeaseRate::Public(0.1)).unwrap();
    terms(2, 3, LeaseRate::Public(0.1)).unwrap();
    assert!(terms(1, 3, LeaseRate::Public(0.1)).is_err());
    assert!(terms(6, 3, LeaseRate::Public(0.1)).is_err());
    assert!(terms(0, 3, LeaseRate::Public(0.1)).is_err());
    assert!(terms(5, 4, LeaseRate::Public(0.1)).is_err());
    assert!(terms(5, 3, LeaseRate::Public(f64::NAN)).is_err());
    assert!(terms(5, 3, LeaseRate::Public(-0.1)).is_err());
}

#[test]
fn callers_who_break_the_rules_are_told_and_lose_nothing() {
    let (mut pair, host, mut rng) = pair(Policy::AllowModelExtraction, LearningRate::Public(0.1));
    let (inputs, labels) = batches(&model().network, 3, 1).remove(0);
    let client = &mut pair.client;
    let misuse = |error| matches!(error, Error::ApiMisuse(_));
    assert!(misuse(client.train(&inputs, &labels, &mut rng).unwrap_err()), "no lease");
    assert!(misuse(client.finish().unwrap_err()), "no lease");
    client.request_lease(3, 1).unwrap();
    assert!(misuse(client.classify(&inputs, &mut rng).unwrap_err()), "waits for its turn");
    pair.run(&mut rng).unwrap();
    let client = &mut pair.client;
    assert!(misuse(client.finish().unwrap_err()), "no step yet");
    assert!(misuse(client.train(&inputs, &labels[1..], &mut rng).unwrap_err()), "labels");
    let bad = client.train(&inputs, &[0, 1, 3], &mut rng).unwrap_err();
    assert!(matches!(bad, Error::ApiMisuse(ApiMisuse::Configuration { .. })), "no such class");
    client.train(&inputs, &labels, &mut rng).unwrap();
    pair.run(&mut rng).unwrap();
    assert_eq!(host.model().version, 2, "after all that the lease is committed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One flipped byte anywhere in a session: an error or a session that goes on, never a panic,
    /// and never a model outside its bounds.
    #[test]
    fn flipped_bytes_never_panic(frame in 0usize..12, position: prop::sample::Index, flip in 1u8..) {
        let rate = LearningRate::Public(0.1);
        let (mut up, _) = honest(rate.clone());
        let frame = frame % up.len();
        let mut bytes = up[frame].to_bytes();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        if let Ok(message) = ClientMessage::from_bytes(&bytes) {
            up[frame] = message;
            let (_, host) = feed(&up, &rate);
            prop_assert_eq!(&host.model().parameters, &model().parameters);
        }
    }
}
