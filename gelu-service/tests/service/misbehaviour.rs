//! Known clients that break the rules in the middle of a session: it ends, and only it.

use std::time::Duration;

use crate::common::{BATCH, Raw, Running, Site, batches, endless, frame, key, long_leases, model};
use gelu_core::message::{ClientMessage, ServerMessage, Wire};
use gelu_core::{AdditiveHE, Clear, Parameters, Precision};
use gelu_nn::{Activation, Model, Sequential};
use gelu_service::error::Goodbye;
use gelu_service::handshake::{Down, Hello, Up};
use gelu_service::{Error, Session};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use tokio::io::AsyncWriteExt;

async fn serves(bystander: &mut Session<Clear>) {
    bystander.classify(&batches(1, 1)[0].0).await.unwrap();
}

/// Sends `bytes` after the key and returns how the server accounts for the end of the session.
async fn after(site: &Site, running: &Running, account: &str, bytes: &[u8]) -> String {
    let mut raw = Raw::opened(running.address, &site.tls(account)).await;
    raw.write(bytes).await;
    // Whatever it was, the client learns the same.
    assert_eq!(raw.answer().await.unwrap(), Down::Goodbye(Goodbye::Ended));
    drop(raw);
    running.log.left(account).await.expect("an error")
}

fn activations(length: usize) -> ClientMessage {
    let ciphertexts = vec![0; length];
    ClientMessage::EncryptedActivations {
        stage: 0,
        batch: 1,
        ciphertexts,
        layout: "samples/1".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_dropped_repeated_moved_or_too_large() {
    let site = Site::new();
    let running = site.start().await;
    let mut bystander = site.client(&running, "bystander").await;
    let query = |sequence| frame(sequence, &Up::Message(activations(4 * 512)));
    let cases = [
        ("dropped", query(4), "expected frame 3, got frame 4"),
        ("repeated", query(2), "expected frame 3, got frame 2"),
        ("moved", [query(4), query(3)].concat(), "expected frame 3, got frame 4"),
        ("large", u32::MAX.to_be_bytes().to_vec(), "a frame of more than 67108864 bytes"),
        ("garbage", [&[0, 0, 0, 5, 3][..], &[0xff; 4]].concat(), "no message of this protocol"),
        ("empty", vec![0; 4], "no message of this protocol"),
        ("again", frame(3, &Up::Hello(Hello::ours())), "expected Message, got Hello"),
    ];
    for (account, bytes, reason) in cases {
        let error = after(&site, &running, account, &bytes).await;
        assert!(error.contains(reason), "{account}: {error}");
        serves(&mut bystander).await;
    }
    // A replay of an answered query.
    let mut raw = Raw::opened(running.address, &site.tls("replayer")).await;
    let recorded = frame(3, &Up::Message(activations(4 * 512)));
    raw.write(&recorded).await;
    assert!(matches!(raw.answer().await.unwrap(), Down::Message(_)));
    raw.write(&recorded).await;
    assert_eq!(raw.answer().await.unwrap(), Down::Goodbye(Goodbye::Ended));
    drop(raw);
    let error = running.log.left("replayer").await.unwrap();
    assert!(error.contains("expected frame 4, got frame 3"), "{error}");
    bystander.close().await;
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_cut_off() {
    let site = Site::new();
    let running = site.start().await;
    let mut bystander = site.client(&running, "bystander").await;
    let whole = frame(3, &Up::Message(activations(4 * 512)));
    for (n, cut) in [2, 4, 100, whole.len() - 1].into_iter().enumerate() {
        let account = format!("cut{n}");
        let mut raw = Raw::opened(running.address, &site.tls(&account)).await;
        raw.write(&whole[..cut]).await;
        drop(raw);
        let error = running.log.left(&account).await.unwrap();
        assert!(error.starts_with("the connection was lost while waiting"), "{error}");
        serves(&mut bystander).await;
    }
    bystander.close().await;
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_belong() {
    let site = Site::new();
    let running = site.start().await;
    let mut bystander = site.client(&running, "bystander").await;
    let message = |message| frame(3, &Up::Message(message));
    let none = || Parameters { layers: vec![] };
    // The variant, and no layers.
    let masked = ClientMessage::from_bytes(&[4, 0]).unwrap();
    assert_eq!(masked.name(), "MaskedUpdate");
    let query = |stage, batch, length, layout: &str| {
        let (ciphertexts, layout) = (vec![0; length], layout.into());
        ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout }
    };
    let bad_batch = query(0, 0, 0, "samples/1");
    let bad_stage = query(1, 1, 4 * 512, "samples/1");
    let bad_layout = query(0, 1, 4 * 512, "tiles/1");
    let cases = [
        ("short", message(activations(7)), "expected 2048 ciphertext bytes, got 7"),
        ("batch", message(bad_batch), "batch is 0"),
        ("stage", message(bad_stage), "stage is 1"),
        ("layout", message(bad_layout), "no such layout for this exchange: tiles/1"),
        ("update", message(masked), "got MaskedUpdate"),
        ("final", message(ClientMessage::FinalUpdate(none().into())), "got FinalUpdate"),
        ("open", message(crate::common::open_message(2048)), "got Open"),
        (
            "steps",
            message(ClientMessage::RequestLease { batch: 1, steps: 0, least: 1 }),
            "steps is 0",
        ),
    ];
    for (account, bytes, reason) in cases {
        let error = after(&site, &running, account, &bytes).await;
        assert!(error.contains(reason), "{account}: {error}");
        serves(&mut bystander).await;
    }
    assert_eq!(site.stored().version(), 0);
    bystander.close().await;
    running.shut_down().await;
}

/// Whoever speaks while it waits for its turn loses it.
#[tokio::test(flavor = "multi_thread")]
async fn impatience() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let mut holder = site.client(&running, "holder").await;
    let holding = tokio::spawn(async move { holder.train(10_000, &mut endless()).await });
    let (tls, address) = (site.tls("impatient"), running.address);
    running.log.wait(granted).await;
    let mut raw = Raw::opened(address, &tls).await;
    let request = ClientMessage::RequestLease { batch: 1, steps: 1, least: 1 };
    raw.write(&frame(3, &Up::Message(request))).await;
    assert_eq!(raw.read().await.unwrap(), Down::Waiting { position: 1 });
    raw.write(&frame(4, &Up::Message(activations(4 * 512)))).await;
    assert_eq!(raw.answer().await.unwrap(), Down::Goodbye(Goodbye::Ended));
    drop(raw);
    let error = running.log.left("impatient").await.unwrap();
    assert!(error.contains("expected nothing, got EncryptedActivations"), "{error}");
    holding.abort();
    running.log.rolled_back("holder").await;
    running.shut_down().await;
}

/// Whoever waits for its turn may leave, and may not greet again.
#[tokio::test(flavor = "multi_thread")]
async fn words_of_those_who_wait() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let mut holder = site.client(&running, "holder").await;
    let holding = tokio::spawn(async move { holder.train(10_000, &mut endless()).await });
    running.log.wait(granted).await;
    let told = |account: &'static str, word: Up| {
        let (tls, address) = (site.tls(account), running.address);
        async move {
            let mut raw = Raw::opened(address, &tls).await;
            let request = ClientMessage::RequestLease { batch: 1, steps: 1, least: 1 };
            raw.write(&frame(3, &Up::Message(request))).await;
            assert_eq!(raw.read().await.unwrap(), Down::Waiting { position: 1 });
            raw.write(&frame(4, &word)).await;
            raw.answer().await
        }
    };
    let again = told("again", Up::Hello(Hello::ours())).await.unwrap();
    assert_eq!(again, Down::Goodbye(Goodbye::Ended));
    let error = running.log.left("again").await.unwrap();
    assert!(error.contains("expected nothing, got Hello"), "{error}");
    assert!(told("leaving", Up::Bye).await.is_err(), "nothing more is said");
    assert_eq!(running.log.left("leaving").await, None);
    holding.abort();
    running.log.rolled_back("holder").await;
    assert_eq!(running.shut_down().await.leases, 1);
}

/// A peer that never reads what it asks for holds its session no longer than the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let wide = Sequential::dense(4, &[2000], 3, Activation::Tanh).unwrap();
    let wide = Model::initialise("wide", wide, Precision::TRAINING, rng).unwrap();
    let site = Site::with(&wide);
    let running = site.start_with(|c| c.server.limits.send = Duration::from_millis(300)).await;
    let mut deaf = Raw::opened(running.address, &site.tls("deaf")).await;
    let query = |stage, values| {
        let ciphertexts = vec![0; values * Clear::ciphertext_len(&key())];
        Up::Message(ClientMessage::EncryptedActivations {
            stage,
            batch: 1,
            ciphertexts,
            layout: "samples/1".into(),
        })
    };
    let asking = tokio::spawn(async move {
        for n in (3..).step_by(2) {
            for bytes in [frame(n, &query(0, 4)), frame(n + 1, &query(1, 2000))] {
                if deaf.write.write_all(&bytes).await.is_err() {
                    return deaf;
                }
            }
        }
        deaf
    });
    let error = running.log.left("deaf").await.unwrap();
    assert!(error.starts_with("the client to read took longer than 0.3 seconds"), "{error}");
    drop(asking.await.unwrap());
    running.shut_down().await;
}

fn granted(event: &gelu_service::server::ServerEvent) -> Option<()> {
    matches!(event, gelu_service::server::ServerEvent::LeaseGranted { .. }).then_some(())
}

/// A lying update in the middle of a lease: the lease leaves no trace.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_other_shapes() {
    let site = Site::new();
    let running = site.start().await;
    let mut raw = Raw::opened(running.address, &site.tls("liar")).await;
    let request = ClientMessage::RequestLease { batch: 1, steps: 1, least: 1 };
    let encrypted = |stage, values: usize| {
        let ciphertexts = vec![0; values * Clear::ciphertext_len(&key())];
        ClientMessage::EncryptedActivations {
            stage,
            batch: 1,
            ciphertexts,
            layout: "samples/1".into(),
        }
    };
    let errors = ClientMessage::EncryptedErrors {
        stage: 1,
        ciphertexts: vec![0; 3 * Clear::ciphertext_len(&key())],
        layout: "samples/1".into(),
    };
    // All zeros is no ciphertext of `Clear` (it marks an overflow), but it is one of its length.
    let lie = ClientMessage::FinalUpdate(Parameters { layers: vec![] }.into());
    let dialogue = [request, encrypted(0, 4), encrypted(1, 5), errors, lie];
    for (n, message) in (3..).zip(dialogue) {
        let last = matches!(message, ClientMessage::FinalUpdate(_));
        raw.write(&frame(n, &Up::Message(message))).await;
        let answer = raw.answer().await.unwrap();
        let ended = answer == Down::Goodbye(Goodbye::Ended);
        assert_eq!(ended, last, "{answer:?}");
        assert!(!matches!(answer, Down::Message(ServerMessage::Committed { .. })));
    }
    drop(raw);
    running.log.rolled_back("liar").await;
    assert_eq!(site.stored().parameters(), model().parameters());
    running.shut_down().await;
}

/// Mistakes of our own caller: told before anything is sent, and the session goes on, except in
/// the middle of a lease.
#[tokio::test(flavor = "multi_thread")]
async fn shapes_that_do_not_fit() {
    let site = Site::new();
    let running = site.start().await;
    let mut session = site.client(&running, "alice").await;
    let error = session.classify(&Array2::zeros((5, 1))).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let error = session.classify(&Array2::zeros((4, 0))).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let error = session.train(3, &mut [].into_iter().peekable()).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    serves(&mut session).await;

    let wrong = [
        vec![(Array2::zeros((5, 1)), vec![0])],
        vec![(Array2::zeros((4, 2)), vec![0, 3])],
        vec![(Array2::zeros((4, 2)), vec![0])],
        vec![(Array2::zeros((4, 2)), vec![0, 1]), (Array2::zeros((4, 1)), vec![0])],
    ];
    session.close().await;
    running.shut_down().await;
    for (n, data) in wrong.into_iter().enumerate() {
        let running = site.start_with(|c| c.offer.lease_samples = 1000 * BATCH as u64).await;
        let account = format!("client{n}");
        let mut session = site.client(&running, &account).await;
        let error = session.train(1000, &mut data.into_iter().peekable()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error}");
        let error = session.classify(&Array2::zeros((4, 1))).await.unwrap_err();
        assert!(matches!(error, Error::SessionOver), "{error}");
        assert_eq!(running.log.rolled_back(&account).await, "the client left");
        assert_eq!(site.stored().parameters(), model().parameters());
        running.shut_down().await;
    }
}
