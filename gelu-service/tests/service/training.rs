//! Whole sessions over TLS: what comes out equals a replay without sockets, bit for bit.

use crate::common::{BATCH, Site, batches, key, model, replay};
use gelu_core::client::DataPolicy;
use gelu_service::client::{ClientEvent, Phase};
use gelu_service::server::Way;
use gelu_service::{Limits, Session};
use std::sync::{Arc, Mutex};

use gelu_core::Clear;
use gelu_core::server::LearningRate;

#[tokio::test(flavor = "multi_thread")]
async fn three_clients_train_in_turn_while_one_asks() {
    let site = Site::new();
    let running = site.start().await;
    let mut asking = site.client(&running, "dave").await;
    let inputs = batches(50, 1).remove(0).0;
    let mut clients = Vec::new();
    for account in ["alice", "bob", "carol"] {
        clients.push(site.client(&running, account).await);
    }
    let train = |mut session: Session<Clear>, seed| async move {
        let mut reports = Vec::new();
        let mut data = batches(seed, 6).into_iter().peekable();
        while data.peek().is_some() {
            reports.push(session.train(3, &mut data).await.unwrap());
        }
        session.close().await;
        reports
    };
    let trained: Vec<_> =
        clients.into_iter().zip(1..).map(|(c, seed)| tokio::spawn(train(c, seed))).collect();
    let mut answers = 0;
    while !trained.iter().all(|t| t.is_finished()) {
        let probabilities = asking.classify(&inputs).await.unwrap();
        assert_eq!(probabilities.dim(), (3, BATCH));
        answers += 1;
    }
    assert!(answers > 0);

    // The leases, in the order of their versions, replayed in one process.
    let mut leases = Vec::new();
    for (seed, task) in (1..).zip(trained) {
        let mut data = batches(seed, 6).into_iter();
        for report in task.await.unwrap() {
            assert_eq!(report.version, report.base + 1);
            assert_eq!(report.granted as usize, report.steps.len());
            leases.push((report.base, data.by_ref().take(report.steps.len()).collect::<Vec<_>>()));
        }
        assert_eq!(data.len(), 0);
    }
    leases.sort_by_key(|(base, _)| *base);
    let mut expected = model();
    for (base, batches) in &leases {
        assert_eq!(expected.version(), *base);
        expected = expected.successor(replay(&expected, batches)).unwrap();
    }
    assert_eq!(site.stored().parameters(), expected.parameters());
    assert_eq!(site.stored().version(), leases.len() as u64);

    // The one who asks sees the last version at once.
    let (clear, _) = expected.probabilities(&inputs).unwrap();
    assert_eq!(asking.classify(&inputs).await.unwrap(), clear);
    asking.close().await;
    for account in ["alice", "bob", "carol", "dave"] {
        assert_eq!(running.log.left(account).await, None, "{account} said goodbye");
    }
    let versions: Vec<_> = running.log.commits().iter().map(|c| c.1).collect();
    assert_eq!(versions, (1..=leases.len() as u64).collect::<Vec<_>>());
    let summary = running.shut_down().await;
    let expected = leases.len() as u64;
    assert_eq!((summary.leases, summary.committed, summary.rolled_back), (expected, expected, 0));
    assert_eq!((summary.sessions, summary.failed), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_and_progress_add_up_on_both_sides() {
    let site = Site::new();
    let running = site.start().await;
    let seen: Arc<Mutex<Vec<ClientEvent>>> = Arc::default();
    let events = Arc::clone(&seen);
    let observer = move |event: &ClientEvent| events.lock().unwrap().push(event.clone());
    let tls = site.tls("alice");
    let connection =
        crate::common::connect_with(running.address, &tls, Limits::default(), observer)
            .await
            .unwrap();
    assert_eq!(connection.card().account, "alice");
    assert_eq!(connection.card().name, "small");
    assert!(connection.card().training.starts_with("no lease protects both"));
    let policy = DataPolicy::AllowInputReconstruction;
    let mut session = connection.open(crate::common::key(), policy).await.unwrap();
    let report = session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap();
    assert_eq!((report.steps.len(), report.granted), (1, 1));
    assert!(report.steps[0].last);
    let rounds: Vec<_> = Phase::ALL.map(|phase| report.statistics.phase(phase).rounds).into();
    // Two stages: two forward exchanges, one backward; the update of the only step is the commit.
    assert_eq!(rounds, [0, 0, 0, 1, 2, 1, 0, 1]);
    session.classify(&batches(1, 1)[0].0).await.unwrap();
    let statistics = session.close().await;
    assert_eq!(statistics.phase(Phase::Inference).rounds, 2);
    assert_eq!(statistics.total().rounds, 1 + 5 + 2);
    running.log.left("alice").await;
    let summary = running.shut_down().await;
    assert_eq!(summary.traffic, statistics.traffic);
    assert!(statistics.traffic.contains_key(&(Way::Up, "FinalUpdate")));
    let seen = seen.lock().unwrap();
    let rounds = seen.iter().filter(|e| matches!(e, ClientEvent::Round { .. })).count();
    assert_eq!(rounds as u64, statistics.total().rounds);
    assert!(seen.contains(&ClientEvent::Committed { version: 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_early_when_the_data_does() {
    let site = Site::new();
    let running = site.start_with(|c| c.offer.lease_samples = 10_000 * BATCH as u64).await;
    let mut session = site.client(&running, "alice").await;
    let data = batches(1, 2);
    let report = session.train(10_000, &mut data.clone().into_iter().peekable()).await.unwrap();
    assert!(report.granted > 2, "the seed grants {}", report.granted);
    assert_eq!(report.steps.len(), 2);
    assert_eq!(*site.stored().parameters(), replay(&model(), &data));
    session.close().await;
    running.shut_down().await;
}

/// The tap shows every message of the protocol once, in order, and nothing that is not one.
#[tokio::test(flavor = "multi_thread")]
async fn the_tap_sees_what_the_machine_sees() {
    let site = Site::new();
    let running = site.start().await;
    let mut session = site.client(&running, "alice").await;
    session.train(1, &mut batches(1, 1).into_iter().peekable()).await.unwrap();
    session.close().await;
    let received = running.log.received.lock().unwrap();
    let names: Vec<_> = received.iter().map(|(_, message)| message.name()).collect();
    let expected = [
        "Open",
        "RequestLease",
        "EncryptedActivations",
        "EncryptedActivations",
        "EncryptedErrors",
        "FinalUpdate",
    ];
    assert_eq!(names, expected);
}

/// The paper's mode: the rate is the server's secret, and masked updates travel under its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_with_a_secret_learning_rate() {
    let site = Site::new();
    let secret = |c: &mut crate::common::Setup| {
        c.offer.rate = LearningRate::Secret { key: key(), g: 3, g_max: 5 }
    };
    let running = site
        .start_with(|c| {
            secret(c);
            crate::common::long_leases(c);
        })
        .await;
    let mut session = site.client(&running, "alice").await;
    let report = session.train(1000, &mut batches(1, 3).into_iter().peekable()).await.unwrap();
    assert_eq!((report.rate, report.version, report.steps.len()), (None, 1, 3));
    let received = running.log.received.lock().unwrap().clone();
    let updates = received.iter().filter(|(_, m)| m.name() == "EncryptedMaskedUpdate").count();
    assert_eq!(updates, 3);
    assert_ne!(site.stored().parameters(), model().parameters());
    session.close().await;
    running.shut_down().await;

    let mut impossible = site.config();
    impossible.offer.rate = LearningRate::Secret { key: key(), g: 3, g_max: 30 };
    let error = impossible.bind().await.err().expect("g_max is too large").to_string();
    assert!(error.starts_with("secret learning rate: "), "{error}");
    let mut impossible = site.config();
    impossible.offer.rate = LearningRate::Public(f64::NAN);
    assert!(impossible.bind().await.is_err());
}

/// Lease lengths come from the seed alone, so a demonstration can be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn the_seed_decides_on_the_lengths_of_leases() {
    let mut runs = Vec::new();
    for seed in [[1; 32], [1; 32], [2; 32]] {
        let site = Site::new();
        let running = site
            .start_with(|c| {
                c.offer.lease_samples = 8 * BATCH as u64;
                c.offer.danger_lease_seed = Some(seed);
            })
            .await;
        let mut session = site.client(&running, "alice").await;
        let mut data = batches(1, 20).into_iter().peekable();
        let mut lengths = Vec::new();
        while data.peek().is_some() {
            lengths.push(session.train(8, &mut data).await.unwrap().steps.len());
        }
        session.close().await;
        running.shut_down().await;
        runs.push((lengths, site.stored().parameters().clone()));
    }
    assert_eq!(runs[0].0, runs[1].0);
    assert_ne!(runs[0].0, runs[2].0);
    // However it is cut into leases, the training is the same.
    assert!(runs[0].1 == runs[2].1);
}
