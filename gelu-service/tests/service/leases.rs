//! Leases are transactions, whoever dies.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    BATCH, Frail, Log, PATIENCE, Site, batches, batches_for, endless, halting, long_leases, model,
    replay, wide_model,
};
use gelu_core::Clear;
use gelu_core::client::DataPolicy;
use gelu_core::error::Refused;
use gelu_core::ledger::Policy;
use gelu_core::message::ClientMessage;
use gelu_service::error::Goodbye;
use gelu_service::server::{Observer, ServerEvent};
use gelu_service::{Error, Session};
use gelu_store::{Redb, Store};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_leaves_no_trace_and_the_next_one_trains() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let (mut first, mut second) =
        (site.client(&running, "first").await, site.client(&running, "second").await);
    let mut asking = site.client(&running, "asking").await;
    let inputs = batches(9, 1).remove(0).0;
    let before = asking.classify(&inputs).await.unwrap();

    let holding = tokio::spawn(async move { first.train(10_000, &mut endless()).await });
    running.log.granted("first").await;
    let data = batches(2, 1);
    let mut of_second = data.clone().into_iter().peekable();
    let waiting = tokio::spawn(async move {
        let report = second.train(1, &mut of_second).await;
        second.close().await;
        report
    });
    assert_eq!(running.log.queued("second").await, 1);
    // Inference beside a lease sees the last committed version.
    assert_eq!(asking.classify(&inputs).await.unwrap(), before);
    holding.abort();

    running.log.rolled_back("first").await;
    let report = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!((report.base, report.version), (0, 1));
    assert_eq!(*site.stored().parameters(), replay(&model(), &data));
    assert_eq!(running.log.commits(), [("second".to_owned(), 1)]);
    asking.close().await;
    running.log.left("asking").await;
    let summary = running.shut_down().await;
    assert_eq!((summary.leases, summary.committed, summary.rolled_back), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_come_in_the_order_of_asking() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let (data, halt) = halting(batches(1, 1));
    let mut holder = site.client(&running, "holder").await;
    let holding =
        tokio::spawn(async move { holder.train(10_000, &mut data.peekable()).await.unwrap() });
    running.log.granted("holder").await;
    let mut waiting = Vec::new();
    for (n, account) in (1..).zip(["a", "b", "c"]) {
        let mut session = site.client(&running, account).await;
        waiting.push(tokio::spawn(async move {
            session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap()
        }));
        assert_eq!(running.log.queued(account).await, n);
    }
    // The one in the middle gives up; those behind it move on.
    waiting.remove(1).abort();
    running.log.left("b").await;
    halt.end();
    assert_eq!(holding.await.unwrap().version, 1);
    for task in waiting {
        task.await.unwrap();
    }
    let order: Vec<_> = running.log.commits().into_iter().map(|(account, _)| account).collect();
    assert_eq!(order, ["holder", "a", "c"]);
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_refuses_and_remembers() {
    let site = Site::with(&wide_model());
    let query = batches_for(64, 1, 1).remove(0).0;
    let one = query.slice_move(ndarray::s![.., ..1]);
    let enforce = |c: &mut crate::common::Setup| c.offer.policy = Policy::Enforce;
    let mut answered = 0;
    loop {
        // A new server for every query: only the file remembers.
        let running = site.start_with(enforce).await;
        let mut session = site.client(&running, "alice").await;
        let answer = session.classify(&one).await;
        if answer.is_ok() {
            answered += 1;
            session.close().await;
            running.shut_down().await;
            continue;
        }
        let error = answer.unwrap_err();
        assert!(matches!(&error, Error::Refused(Refused::ByPeer(_))), "{error}");
        assert!(error.to_string().contains("can determine weights"), "{error}");
        // The session goes on, and the answer stays the same; training is refused as well.
        assert!(matches!(session.classify(&one).await, Err(Error::Refused(_))));
        let mut data = batches_for(64, 1, 1).into_iter().peekable();
        let error = session.train(1, &mut data).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(_)), "{error}");
        assert!(data.peek().is_some(), "a refusal takes no data");
        // Another account has a budget of its own.
        let mut other = site.client(&running, "bob").await;
        other.classify(&one).await.unwrap();
        session.close().await;
        other.close().await;
        running.log.left("alice").await;
        assert_eq!(running.shut_down().await.refused, 3);
        break;
    }
    assert!(answered > 0, "the bound is above one query");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_keeps_the_server_from_starting() {
    let site = Site::new();
    site.start().await.shut_down().await;
    let store = site.folder.path().join("store");
    let whole = std::fs::read(&store).unwrap();
    std::fs::write(&store, "{").unwrap();
    let error = Redb::open(&store).expect_err("damaged").to_string();
    assert!(error.contains("this is no store of gelu"), "{error}");
    std::fs::write(&store, whole).unwrap();
    let running = site.start().await;
    let error = Redb::open(&store).expect_err("in use").to_string();
    assert!(error.contains("another process"), "{error}");
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back_with_a_whole_model() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let data = batches(1, 1);
    let mut session = site.client(&running, "alice").await;
    session.train(1, &mut data.clone().into_iter().peekable()).await.unwrap();
    let holding = tokio::spawn(async move { session.train(10_000, &mut endless()).await });
    running
        .log
        .wait(|e| matches!(e, ServerEvent::LeaseGranted { base: 1, .. }).then_some(()))
        .await;
    running.kill().await;
    let error = timeout(PATIENCE, holding).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    assert!(error.to_string().ends_with("connect again"), "{error}");

    let expected = replay(&model(), &data);
    assert_eq!((site.stored().version(), site.stored().parameters()), (1, &expected));
    let running = site.start().await;
    let mut session = site.client(&running, "alice").await;
    assert_eq!(session.card().version, 1);
    let report = session.train(1, &mut data.into_iter().peekable()).await.unwrap();
    assert_eq!((report.base, report.version), (1, 2));
    session.close().await;
    running.shut_down().await;
}

/// The store fails at the commit: the client is told no, the old version stays in service.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_stored_is_no_version() {
    struct FailsAtCommit(Arc<Log>, Frail);
    impl Observer for FailsAtCommit {
        fn event(&self, event: &ServerEvent) {
            self.0.event(event);
        }

        fn received(&self, _: &str, message: &ClientMessage) {
            if matches!(message, ClientMessage::FinalUpdate(_)) {
                self.1.fail(true);
            }
        }
    }
    let (site, frail, log) = (Site::new(), Frail::default(), Arc::new(Log::default()));
    let observer = || Arc::new(FailsAtCommit(Arc::clone(&log), frail.clone()));
    let failing = |c: &mut crate::common::Setup| c.server.observer = observer();
    let running = site.start_on(Store::on(frail.clone()), failing).await;
    let mut session = site.client(&running, "alice").await;
    let inputs = batches(9, 1).remove(0).0;
    let before = session.classify(&inputs).await.unwrap();
    let error = session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap_err();
    assert!(error.to_string().contains("cannot keep the new version"), "{error}");
    assert!(!log.rolled_back("alice").await.is_empty());
    // Neither another lease nor a query, until the store can be written to.
    let error = session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap_err();
    assert!(error.to_string().contains("cannot keep its ledger"), "{error}");
    assert!(matches!(session.classify(&inputs).await.unwrap_err(), Error::Refused(_)));
    frail.fail(false);
    assert_eq!(session.classify(&inputs).await.unwrap(), before);
    assert_eq!((session.card().version, site.stored().version()), (0, 0));
    session.close().await;
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_lease_end_and_sends_everybody_else_home() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let (data, halt) = halting(batches(1, 2));
    let mut holder = site.client(&running, "holder").await;
    let holding = tokio::spawn(async move { holder.train(10_000, &mut data.peekable()).await });
    running.log.granted("holder").await;
    let mut idle = site.client(&running, "idle").await;
    let mut waiter = site.client(&running, "waiter").await;
    let waiting =
        tokio::spawn(
            async move { waiter.train(1, &mut batches(2, 1).into_iter().peekable()).await },
        );
    running.log.queued("waiter").await;
    let log = running.log.clone();
    let stopping = tokio::spawn(running.shut_down());
    let error = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Ended(Goodbye::ShuttingDown)), "{error}");
    log.left("idle").await;
    let error = idle.classify(&batches(1, 1)[0].0).await.unwrap_err();
    assert!(matches!(error, Error::Ended(Goodbye::ShuttingDown)), "{error}");
    halt.end();
    let report = timeout(PATIENCE, holding).await.unwrap().unwrap().unwrap();
    assert_eq!((report.version, report.steps.len()), (1, 2));
    let summary = timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert_eq!((summary.committed, summary.rolled_back), (1, 0));
    assert_eq!(site.stored().version(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_ever() {
    let site = Site::new();
    let change = |c: &mut crate::common::Setup| {
        long_leases(c);
        c.server.limits.grace = Duration::from_millis(300);
    };
    let running = site.start_with(change).await;
    let mut holder = site.client(&running, "holder").await;
    let holding = tokio::spawn(async move { holder.train(10_000, &mut endless()).await });
    running.log.granted("holder").await;
    let summary = running.shut_down().await;
    assert_eq!((summary.committed, summary.rolled_back), (0, 1));
    let error = timeout(PATIENCE, holding).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Ended(Goodbye::ShuttingDown)), "{error}");
    assert_eq!(site.stored().version(), 0);
}

async fn guarded(site: &Site, running: &crate::common::Running) -> Session<Clear> {
    let connection = crate::common::connect(running.address, &site.tls("alice")).await.unwrap();
    connection.open(crate::common::key(), DataPolicy::Enforce).await.unwrap()
}

/// Whoever protects its data does not ask for a lease that is too short for that, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_too_short_for_the_data_is_not_asked_for() {
    let site = Site::new();
    let running = site.start().await;
    let mut session = guarded(&site, &running).await;
    let data = batches_for(4, 1, 1)
        .into_iter()
        .map(|(inputs, labels)| (inputs.slice_move(ndarray::s![.., ..1]), labels[..1].to_vec()));
    let mut data = data.peekable();
    for _ in 0..2 {
        let error = session.train(1, &mut data).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused(Refused::ExposesData { samples: 1, .. })),
            "{error}"
        );
    }
    session.close().await;
    running.log.left("alice").await;
    let received = running.log.received.lock().unwrap().clone();
    assert_eq!(received.iter().map(|(_, m)| m.name()).collect::<Vec<_>>(), ["Open"]);
    running.shut_down().await;
}

/// The same rows step after step: the lease goes back before its last step, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_over_too_few_different_samples_is_given_back() {
    let site = Site::new();
    let running = site.start_with(long_leases).await;
    let mut session = guarded(&site, &running).await;
    // Two rows shown six times each; five are what the layer of 4 inputs needs.
    let two = |(inputs, labels): crate::common::Batch| {
        (inputs.slice_move(ndarray::s![.., ..2]), labels[..2].to_vec())
    };
    let rows: Vec<_> = batches(3, 1).into_iter().map(two).collect();
    let mut again = rows.into_iter().cycle().take(6).peekable();
    let error = session.train(6, &mut again).await.unwrap_err();
    let Error::Refused(Refused::ExposesData { samples: 2, sums: 1, .. }) = error else {
        panic!("{error}")
    };
    running.log.rolled_back("alice").await;
    assert_eq!(site.stored().version(), 0);
    // Whole data is trained in the same session, by a lease of a length that suits it.
    let data = batches(1, 5);
    let report = session.train_to(&[2, 5], &mut data.clone().into_iter().peekable()).await.unwrap();
    assert_eq!(report.version, 1);
    assert!([2, 5].contains(&report.steps.len()), "{report:?}");
    assert!(report.steps.len() <= report.granted as usize);
    assert_eq!(*site.stored().parameters(), replay(&model(), &data[..report.steps.len()]));
    session.close().await;
    running.shut_down().await;
}

/// The operator's maximum is one for every lease and every policy; whoever needs more is told both
/// numbers, before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn no_lease_is_longer_than_the_operator_grants() {
    let site = Site::new();
    let running = site.start_with(|c| c.offer.lease_samples = 2 * BATCH as u64 + 1).await;
    let mut session = site.client(&running, "alice").await;
    assert_eq!(session.card().lease_samples, 13);
    let mut data = batches(1, 12).into_iter().peekable();
    let error = session.train_to(&[3, 4], &mut data).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refused::ByPeer(_))), "{error}");
    let said = error.to_string();
    assert!(said.contains("at most 13 samples a lease (--lease-samples)"), "{said}");
    assert!(said.contains("needs 18"), "{said}");
    while data.peek().is_some() {
        let report = session.train(12, &mut data).await.unwrap();
        assert!(report.granted <= 2, "{report:?}");
    }
    session.close().await;
    running.shut_down().await;

    let running = site.start_with(|c| c.offer.lease_samples = BATCH as u64 - 1).await;
    let mut session = site.client(&running, "alice").await;
    let mut data = batches(1, 1).into_iter().peekable();
    let said = session.train(1, &mut data).await.unwrap_err().to_string();
    assert!(said.contains("at most 5") && said.contains("needs 6"), "{said}");
    session.close().await;
    running.shut_down().await;
}

/// The ledger says no in the middle of a lease: the lease is over, the client is told why, and the
/// session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_inside_a_lease_leaves_the_session_open() {
    let (site, frail) = (Site::new(), Frail::default());
    let running = site.start_on(Store::on(frail.clone()), long_leases).await;
    let mut session = site.client(&running, "alice").await;
    // Where the store fails, an unbooked step gets no answer.
    let (inputs, labels) = batches(1, 1).remove(0);
    let steps = (0..3).map(|n| {
        if n == 1 {
            frail.fail(true);
        }
        (inputs.clone(), labels.clone())
    });
    let error = session.train(3, &mut steps.peekable()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refused::ByPeer(_))), "{error}");
    assert!(error.to_string().contains("cannot keep its ledger"), "{error}");
    running.log.rolled_back("alice").await;
    frail.fail(false);
    let report = session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap();
    assert_eq!(report.version, 1);
    session.close().await;
    running.shut_down().await;
}

/// A client that dies while its lease is being committed has committed, and the next one goes on
/// from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_outlives_its_client() {
    struct SlowCommit(Arc<Log>, tokio::sync::Semaphore);
    impl Observer for SlowCommit {
        fn event(&self, event: &ServerEvent) {
            self.0.event(event);
        }
        fn received(&self, account: &str, message: &ClientMessage) {
            if account == "mortal" && matches!(message, ClientMessage::FinalUpdate(_)) {
                self.1.add_permits(1);
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
    let site = Site::new();
    let slow = Arc::new(SlowCommit(Arc::default(), tokio::sync::Semaphore::new(0)));
    let running = site
        .start_with(|c| {
            c.server.observer = Arc::clone(&slow) as Arc<dyn Observer>;
            c.server.limits.keep_alive = Duration::from_millis(5);
        })
        .await;
    let mut mortal = site.client(&running, "mortal").await;
    let data = batches(1, 1);
    let mut of_mortal = data.clone().into_iter().peekable();
    let dying = tokio::spawn(async move { mortal.train(1, &mut of_mortal).await });
    slow.1.acquire().await.unwrap().forget();
    dying.abort();
    let mut next = site.client(&running, "next").await;
    let report = next.train(1, &mut batches(2, 1).into_iter().peekable()).await.unwrap();
    assert_eq!((report.base, report.version), (1, 2));
    assert_eq!(slow.0.commits(), [("mortal".to_owned(), 1), ("next".to_owned(), 2)]);
    assert!(slow.0.left("mortal").await.is_some());
    let expected = model().successor(replay(&model(), &data)).unwrap();
    let expected = replay(&expected, &batches(2, 1));
    assert_eq!(*site.stored().parameters(), expected);
    next.close().await;
    slow.0.left("next").await;
    assert_eq!(running.shut_down().await.rolled_back, 0);
}
