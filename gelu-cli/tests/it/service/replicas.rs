//! Servers that share their books on PostgreSQL, where `GELU_TEST_POSTGRES` has the address of a database.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gelu_core::error::Refused;
use gelu_nn::{Activation, Sequential, zoo};
use gelu_service::Error;
use gelu_store::SILENCE;
use tokio::time::timeout;

use super::{OPEN, PATIENCE, SLACK, Server, Site, batches, halting, input};

/// A schema of a test's own.
pub(super) struct Schema {
    database: String,
    name: String,
    pub(super) url: String,
}

impl Schema {
    /// `None` where no database is given, which is said.
    pub(super) async fn new() -> Option<Self> {
        let Ok(database) = std::env::var("GELU_TEST_POSTGRES") else {
            println!("skipped: GELU_TEST_POSTGRES has no address of a database");
            return None;
        };
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("service_{}_{number}", std::process::id());
        execute(&database, &format!("CREATE SCHEMA {name}")).await;
        let sign = if database.contains('?') { '&' } else { '?' };
        let url = format!("{database}{sign}options=-csearch_path%3D{name}");
        Some(Self { database, name, url })
    }

    pub(super) async fn drop(self) {
        execute(&self.database, &format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }
}

async fn execute(database: &str, sql: &str) {
    let connecting = tokio_postgres::connect(database, tokio_postgres::NoTls);
    let (client, connection) = connecting.await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
}

/// Queries of one account, each at the next one of the servers, until the ledger refuses.
async fn answered(site: &Site, account: &str, servers: &[&Server]) -> usize {
    let mut sessions = Vec::new();
    for server in servers {
        sessions.push(site.client(server, account, "wide").await);
    }
    let mut answered = 0;
    let error = loop {
        let turn = answered % sessions.len();
        match sessions[turn].classify(&input(64)).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, Error::Refused(Refused::ByPeer(_))), "{error}");
    // Not at any other server either, nor in a new session.
    for (server, session) in servers.iter().zip(&mut sessions) {
        session.classify(&input(64)).await.unwrap_err();
        let mut new = site.client(server, account, "wide").await;
        let error = new.classify(&input(64)).await.unwrap_err();
        assert!(error.to_string().contains("can determine weights"), "{error}");
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_goes_from_one_server_to_the_other_has_one_budget() {
    let Some(database) = Schema::new().await else { return };
    let site = Site::new(&["alice", "bob"]);
    let wide = Sequential::dense(64, &[], 3, Activation::Tanh).unwrap();
    site.model("wide", wide, 1);
    site.configure(&database.url, &[("wide", "modes = [\"open\"]\n")], "");
    let (one, other) = (site.start(), site.start());
    let of_one_server = answered(&site, "alice", &[&one]).await;
    assert!(of_one_server > 1, "the bound is above one query");
    assert_eq!(answered(&site, "bob", &[&one, &other]).await, of_one_server);
    drop((one, other));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_committed_at_one_server_is_served_by_the_other() {
    let Some(database) = Schema::new().await else { return };
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.configure(&database.url, &[("iris", OPEN)], "");
    let (one, other) = (site.start(), site.start());
    let mut alice = site.client(&one, "alice", "iris").await;
    let mut bob = site.client(&other, "bob", "iris").await;
    let before = bob.classify(&input(4)).await.unwrap();
    for version in 1..=3 {
        let mut data = batches(4, version, 5).into_iter().peekable();
        let report = alice.train(5, &mut data).await.unwrap();
        assert_eq!(report.version, version);
        let took = other.reaches("gelu_model_version{model=\"iris\"}", version as f64).await;
        println!("a version of the other server took {took:?}");
        assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    }
    // A session that was open all the time is answered from it.
    let now = bob.classify(&input(4)).await.unwrap();
    assert!(now != before && now == alice.classify(&input(4)).await.unwrap());
    drop((one, other));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_server_dies_in_a_lease_the_others_clients_train_on() {
    let Some(database) = Schema::new().await else { return };
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.configure(&database.url, &[("iris", OPEN)], "");
    let (one, other) = (site.start(), site.start());
    let mut alice = site.client(&one, "alice", "iris").await;
    let (mut data, halt) = halting(batches(4, 1, 1));
    let holding = tokio::spawn(async move { alice.train_to(&[50], &mut data).await });
    one.reaches("gelu_leases{model=\"iris\"}", 1.0).await;
    let mut bob = site.client(&other, "bob", "iris").await;
    let training = tokio::spawn(async move {
        let mut data = batches(4, 2, 1).into_iter().peekable();
        (bob.train(1, &mut data).await, bob)
    });
    // It has asked, and waits for as long as the holder lives.
    tokio::time::sleep(Duration::from_millis(SILENCE + 2_000)).await;
    assert!(!training.is_finished(), "the holder is alive and keeps its lease");

    let killed = Instant::now();
    one.kill();
    let (report, mut bob) = timeout(PATIENCE, training).await.unwrap().unwrap();
    let report = report.unwrap();
    let took = killed.elapsed();
    println!("after its death the lease went on in {took:?}");
    assert_eq!((report.base, report.version), (0, 1));
    assert!(took < Duration::from_millis(SILENCE + 2_000) + SLACK, "{took:?}");
    halt.end();
    assert!(holding.await.unwrap().is_err(), "its server is dead");
    bob.classify(&input(4)).await.unwrap();
    // The one that comes in its place serves what the other has made.
    let third = site.start();
    assert_eq!(third.metric("gelu_model_version{model=\"iris\"}"), Some(1.0));
    drop((other, third));
    database.drop().await;
}
