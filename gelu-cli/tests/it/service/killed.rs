//! A server that is killed again and again under load: every answer that a client has is booked, every version is whole.
//!
//! `GELU_TEST_KILLS` says how often; ten times if it says nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gelu_core::clear::{Clear, ClearKey};
use gelu_core::ledger::{Exposure, LayerExposure};
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::ServedModel;
use gelu_nn::{Model, zoo};
use gelu_service::Error;
use gelu_store::{Ended, Location, Store};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{OPEN, PATIENCE, Site, batches, input, opened};

const ASKING: [&str; 3] = ["ann", "ben", "cleo"];
const TRAINING: &str = "tom";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_what_a_killed_server_has_answered() {
    killed_again_and_again("store", |site| site.path().join("store").display().to_string()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_keeps_what_a_killed_server_has_answered() {
    let Some(database) = super::replicas::Schema::new().await else { return };
    killed_again_and_again(&database.url, |_| database.url.clone()).await;
    database.drop().await;
}

/// What clients have been told.
#[derive(Default)]
struct Told {
    answers: Mutex<BTreeMap<&'static str, u64>>,
    version: AtomicU64,
}

async fn killed_again_and_again(store: &str, seen_from_here: impl Fn(&Site) -> String) {
    let kills: u64 = std::env::var("GELU_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let site = Arc::new(Site::new(&[&ASKING[..], &[TRAINING]].concat()));
    let asked = site.model("asked", zoo::digits(), 1);
    site.model("trained", zoo::iris(), 1);
    site.configure(store, &[("asked", OPEN), ("trained", OPEN)], "");
    let books = || Store::open(&seen_from_here(&site).parse::<Location>().unwrap()).unwrap();
    let told = Arc::new(Told::default());
    for kill in 0..kills {
        let server = Arc::new(site.start());
        let mut clients = JoinSet::new();
        for account in ASKING {
            let (site, server, told) = (site.clone(), server.clone(), told.clone());
            clients.spawn(async move { asks(&site, &server, account, &told).await });
        }
        let (of, at, what) = (site.clone(), server.clone(), told.clone());
        clients.spawn(async move { trains(&of, &at, kill, &what).await });
        // Not always at the same moment, and in the middle of it.
        let before = told.total();
        let patience = tokio::time::Instant::now() + PATIENCE;
        while told.total() < before + 5 + kill * 7 % 30 {
            assert!(tokio::time::Instant::now() < patience, "{}", server.log());
            sleep(Duration::from_millis(1)).await;
        }
        server.signal("KILL");
        while let Some(error) = clients.join_next().await {
            let error = error.unwrap();
            let lost = matches!(
                error,
                Error::ConnectionLost { .. } | Error::Tls(_) | Error::Network { .. }
            );
            assert!(lost, "only the kill ends sessions: {error}\n{}", server.log());
        }
        Arc::into_inner(server).expect("its clients are gone").kill();
        told.check(&books(), &asked, kill + 1);
    }
    println!("{kills} kills, {} answers and versions, none lost", told.total());
}

async fn asks(site: &Site, server: &super::Server, account: &'static str, told: &Told) -> Error {
    let mut session = match site.connect(server, account, "asked").await {
        Ok(connection) => opened(connection).await,
        Err(error) => return error,
    };
    loop {
        match session.classify(&input(64)).await {
            Ok(_) => *told.answers.lock().unwrap().entry(account).or_default() += 1,
            Err(error) => return error,
        }
    }
}

async fn trains(site: &Site, server: &super::Server, seed: u64, told: &Told) -> Error {
    let mut session = match site.connect(server, TRAINING, "trained").await {
        Ok(connection) => opened(connection).await,
        Err(error) => return error,
    };
    loop {
        let mut data = batches(4, seed, 1).into_iter().peekable();
        match session.train(1, &mut data).await {
            Ok(report) => {
                let before = told.version.swap(report.version, Ordering::SeqCst);
                assert!(report.base >= before && report.version == report.base + 1, "{report:?}");
            }
            Err(error) => return error,
        }
    }
}

impl Told {
    fn total(&self) -> u64 {
        self.answers.lock().unwrap().values().sum::<u64>() + self.version.load(Ordering::SeqCst)
    }

    /// The books know all that clients were told, and at most one thing more of each client and kill.
    fn check(&self, books: &Store, asked: &Model, kills: u64) {
        assert_eq!(books.verify().unwrap().damages, []);
        let layer = &first_layer(asked);
        for (account, &answers) in &*self.answers.lock().unwrap() {
            let bits = books.account("asked", account).unwrap().revealed(0, layer);
            let booked = bits / layer.revealed_bits_per_sample;
            let right = answers..=answers + kills;
            assert!(right.contains(&booked), "{account}: {answers} answers, {booked} booked");
        }
        let version = self.version.load(Ordering::SeqCst);
        let (current, bytes) = books.weights("trained").unwrap().expect("it was served");
        assert!((version..=version + kills).contains(&current.version), "{version}: {current:?}");
        let stored = Model::from_bytes(&bytes).unwrap();
        assert_eq!(stored.version(), current.version);
        assert_eq!(gelu_service::server::content(&stored).unwrap(), current.content);
        let mut committed = Vec::new();
        let each = books.leases("trained", |_, lease| {
            if let Some(Ended::Committed(version)) = lease.ended {
                committed.push(version);
            }
            Ok(())
        });
        each.unwrap();
        let all: Vec<_> = (1..=current.version).collect();
        assert_eq!(committed, all, "each version is the end of one lease");
    }
}

/// What one sample of a query gives away of the first layer.
fn first_layer(model: &Model) -> LayerExposure {
    let (served, key) = (ServedModel::from(model), ClearKey::new(2048).unwrap());
    let (network, precision) = (&served.network, &served.precision);
    let plan = Plan::new::<Clear>(network, precision, 1, Purpose::Inference, &key).unwrap();
    Exposure::new(network, precision, &plan).model.remove(0)
}
