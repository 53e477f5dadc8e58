//! Limits of time: what counts as silence and what does not, and who goes when.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{PATIENCE, Raw, Site, batches, frame, halting, long_leases};
use gelu_core::client::DataPolicy;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_service::client::ClientEvent;
use gelu_service::error::Goodbye;
use gelu_service::handshake::{Down, Up};
use gelu_service::server::Observer;
use gelu_service::{Error, Limits};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_falls_silent_or_takes_too_long_loses_the_lease() {
    let silence = |limits: &mut Limits| limits.lease_silence = Duration::from_millis(300);
    let length = |limits: &mut Limits| limits.lease = Duration::from_millis(300);
    type Change = fn(&mut Limits);
    let silent: (Change, _) = (silence, "the next message of the lease took longer");
    let long: (Change, _) = (length, "the lease took longer");
    for (limit, reason) in [silent, long] {
        let site = Site::new();
        let running = site.start_with(|c| limit(&mut c.server.limits)).await;
        let mut raw = Raw::opened(running.address, &site.tls("sleeper")).await;
        let request = ClientMessage::RequestLease { batch: 1, steps: 1, least: 1 };
        raw.write(&frame(3, &Up::Message(request))).await;
        let granted = raw.answer().await.unwrap();
        assert!(matches!(granted, Down::Message(ServerMessage::LeaseGranted(_))));
        assert_eq!(raw.answer().await.unwrap(), Down::Goodbye(Goodbye::TimeLimit));
        drop(raw);
        let why = running.log.rolled_back("sleeper").await;
        assert!(why.starts_with(reason), "{why}");
        assert_eq!(site.stored().version(), 0);
        running.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_lease_may_be_idle_only_so_long() {
    let site = Site::new();
    let running = site.start_with(|c| c.server.limits.idle = Duration::from_millis(300)).await;
    let mut session = site.client(&running, "idler").await;
    let error = running.log.left("idler").await.unwrap();
    assert!(error.starts_with("the client's next message took longer"), "{error}");
    let error = session.classify(&batches(1, 1)[0].0).await.unwrap_err();
    assert!(matches!(error, Error::Ended(Goodbye::TimeLimit)), "{error}");
    running.shut_down().await;
}

/// A client that waits is told so as often as the limits say, and how many are before it.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_is_not_silence() {
    let site = Site::new();
    let running = site
        .start_with(|c| {
            long_leases(c);
            c.server.limits.keep_alive = Duration::from_millis(50);
        })
        .await;
    let (data, halt) = halting(batches(1, 1));
    let mut holder = site.client(&running, "holder").await;
    let holding = tokio::spawn(async move { holder.train(10_000, &mut data.peekable()).await });
    running.log.granted("holder").await;
    let (notices, mut noticed) = tokio::sync::mpsc::unbounded_channel();
    let observer = move |event: &ClientEvent| {
        if let ClientEvent::Waiting { position } = event {
            let _ = notices.send(*position);
        }
    };
    let tls = site.tls("waiter");
    let connection =
        crate::common::connect_with(running.address, &tls, Limits::default(), observer)
            .await
            .unwrap();
    let policy = DataPolicy::AllowInputReconstruction;
    let mut waiter = connection.open(crate::common::key(), policy).await.unwrap();
    let waiting =
        tokio::spawn(
            async move { waiter.train(1, &mut batches(2, 1).into_iter().peekable()).await },
        );
    for _ in 0..5 {
        let notice = timeout(PATIENCE, noticed.recv()).await.unwrap();
        assert_eq!(notice, Some(1));
    }
    halt.end();
    holding.await.unwrap().unwrap();
    let report = waiting.await.unwrap().unwrap();
    assert_eq!(report.version, 2);
    running.shut_down().await;
}

/// A server that computes for long is not silent, one that has stopped is.
#[tokio::test(flavor = "multi_thread")]
async fn computing_is_not_silence() {
    struct Slow;
    impl Observer for Slow {
        fn received(&self, _: &str, message: &ClientMessage) {
            if matches!(message, ClientMessage::EncryptedActivations { .. }) {
                std::thread::sleep(Duration::from_millis(1500));
            }
        }
    }
    let site = Site::new();
    let query = batches(1, 1).remove(0).0;
    let silence = Duration::from_millis(1000);
    let limits = Limits { silence, keep_alive: Duration::from_millis(50), ..Limits::default() };
    let policy = DataPolicy::AllowInputReconstruction;
    for (keep_alive, heard) in [(Duration::from_millis(50), true), (PATIENCE, false)] {
        let slow = |c: &mut crate::common::Setup| {
            c.server.observer = Arc::new(Slow);
            (c.server.limits.keep_alive, c.server.limits.silence) = (keep_alive, 2 * PATIENCE);
        };
        let running = site.start_with(slow).await;
        let tls = site.tls("alice");
        let connection =
            crate::common::connect_with(running.address, &tls, limits, |_| {}).await.unwrap();
        let mut session = connection.open(crate::common::key(), policy).await.unwrap();
        match session.classify(&query).await {
            Ok(_) => assert!(heard),
            Err(Error::Timeout { waiting_for, limit }) => {
                assert!(!heard);
                assert_eq!((waiting_for, limit), ("the server's answer", silence));
            }
            Err(error) => panic!("{error}"),
        }
        session.close().await;
        running.shut_down().await;
    }
}
