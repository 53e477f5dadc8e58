//! What a charge costs, and that it costs the same however much is in the books.
//!
//! `cargo test -p gelu-store --release --features postgres --test laws -- --ignored --nocapture cost` prints it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gelu_core::ledger::{Exposure, Policy};
use gelu_store::{Charge, Engine, Memory, Result, Store, Transaction};

use crate::books::{exposure, publish};
use crate::places::Place;
use crate::training::lease;

#[test]
#[ignore = "takes an idle machine: its bound is on time; run by hand"]
fn on_redb() {
    measure("redb", &[0; 5].map(|_| Place::redb()));
}

#[test]
#[ignore = "takes an idle machine: its bound is on time; run by hand"]
fn on_postgres() {
    let places: Option<Vec<_>> = (0..5).map(|_| Place::postgres()).collect();
    places.iter().for_each(|places| measure("PostgreSQL", places));
}

/// LeNet-5 has five layers with weights, and each has bits in both directions.
fn lenet5() -> Exposure {
    let one = exposure(100).model.remove(0);
    let layer =
        |n: usize| gelu_core::ledger::LayerExposure { layer: format!("layer{n}"), ..one.clone() };
    Exposure { model: (0..5).map(layer).collect(), data: Vec::new() }
}

fn charge(store: &Store, account: &str, version: u64) -> Duration {
    let (exposure, policy) = (&lenet5(), Policy::AllowModelExtraction);
    let began = Instant::now();
    let charge = Charge { model: "iris", version, account, exposure, samples: 1, policy };
    store.charge(&charge).unwrap();
    began.elapsed()
}

/// The charges of all books in turn, so that what else the machine does slows all of them.
fn measure(engine: &str, places: &[Place]) {
    let folder = tempfile::tempdir().unwrap();
    let stores: Vec<_> = places.iter().map(Place::store).collect();
    let [few, some, many, own, others] = &stores[..] else { panic!("five books") };
    for (store, accounts) in [(few, 10), (some, 1_000), (many, 100_000)] {
        fill(store, accounts, &folder.path().join(accounts.to_string()));
    }
    // One account has made 1,000 versions, each of its own last one, or each of somebody else's.
    train(own, &["a00000"], 1000);
    train(others, &["a00000", "a00001"], 2000);
    let last = |store: &Store| store.current("iris").unwrap().map_or(0, |current| current.version);
    let books = [
        ("10 accounts", few),
        ("1,000 accounts", some),
        ("100,000 accounts", many),
        ("1,000 versions of its own", own),
        ("1,000 versions in turn with another", others),
    ];
    let mut times = vec![Vec::new(); books.len()];
    for round in 0..200 {
        for (times, (_, store)) in times.iter_mut().zip(books) {
            // Of the last versions the accounts are in a row: this one has made those.
            let account = if last(store) > 0 { "a00000" } else { ACCOUNTS[round % ACCOUNTS.len()] };
            times.push(charge(store, account, last(store)));
        }
    }
    let medians: Vec<_> = times.into_iter().map(median).collect();
    for ((name, _), median) in books.iter().zip(&medians) {
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        println!("{engine}, {name}: {median:?} a charge, {ratio:.2} of the first");
        // Each version of the last one is a line of its own, with a count of its own: that has a price.
        let most = if name.ends_with("another") { 4.0 } else { 2.0 };
        assert!(ratio < most, "{name}: {median:?}, and {:?} with 10 accounts", medians[0]);
    }
}

const ACCOUNTS: [&str; 4] = ["a00000", "a00003", "a00006", "a00009"];

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// As an older server's file, in one transaction.
fn fill(store: &Store, accounts: usize, path: &Path) {
    let mut journal = "{\"format\":2,\"model\":\"iris\"}\n".to_owned();
    for n in 0..accounts {
        let bits: Vec<_> = (0..5).map(|n| format!("\"layer{n} forward\":40")).collect();
        let bits = bits.join(",");
        journal += &format!(
            "{{\"booked\":{{\"account\":\"a{n:05}\",\"version\":0,\"bits\":{{{bits}}}}}}}\n"
        );
    }
    std::fs::write(path, journal).unwrap();
    assert_eq!(store.import("iris", path).unwrap().accounts, accounts);
}

/// Versions that accounts have made in turn, each charged for the one that it began from.
fn train(store: &Store, accounts: &[&str], versions: u64) {
    publish(store, "iris", "0", false);
    for (version, account) in (0..versions).zip(accounts.iter().cycle()) {
        charge(store, account, version);
        let lease = lease(store, "iris", account);
        store.commit(&lease, account, version, &(version + 1).to_string(), b"weights").unwrap();
    }
}

/// An engine that counts what passes.
struct Counted {
    engine: Memory,
    /// Calls, and bytes of values.
    passed: Arc<Mutex<(u64, usize)>>,
}

struct Counting<'a>(&'a mut dyn Transaction, &'a Mutex<(u64, usize)>);

impl Counting<'_> {
    fn count(&self, bytes: usize) {
        let mut passed = self.1.lock().unwrap();
        *passed = (passed.0 + 1, passed.1 + bytes);
    }
}

impl Engine for Counted {
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.engine.write(&mut |tx| work(&mut Counting(tx, &self.passed)))
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.engine.read(work)
    }
}

impl Transaction for Counting<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        let value = self.0.get(key)?;
        self.count(value.as_ref().map_or(0, Vec::len));
        Ok(value)
    }

    fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.count(value.len());
        self.0.put(key, value)
    }

    fn remove(&mut self, key: &str) -> Result<()> {
        self.count(0);
        self.0.remove(key)
    }

    fn scan(
        &mut self,
        prefix: &str,
        each: &mut dyn FnMut(&str, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let passed = self.1;
        self.0.scan(prefix, &mut |key, value| {
            let mut passed = passed.lock().unwrap();
            *passed = (passed.0 + 1, passed.1 + value.len());
            drop(passed);
            each(key, value)
        })
    }

    fn now(&mut self) -> Result<u64> {
        self.count(0);
        self.0.now()
    }
}

/// What time says above, in calls and bytes, which no other work on the machine changes.
#[test]
fn a_charge_reads_and_writes_one_short_value() {
    let folder = tempfile::tempdir().unwrap();
    let cost = |prepare: &dyn Fn(&Store), version| {
        let passed = Arc::default();
        let store = Store::on(Counted { engine: Memory::default(), passed: Arc::clone(&passed) });
        prepare(&store);
        *passed.lock().unwrap() = (0, 0);
        charge(&store, "a00000", version);
        *passed.lock().unwrap()
    };
    let of = |accounts: usize| {
        cost(&|store| fill(store, accounts, &folder.path().join(accounts.to_string())), 0)
    };
    let (calls, bytes) = of(10);
    assert_eq!(of(5_000), (calls, bytes));
    assert!(calls == 2 && bytes < 600, "{calls} calls, {bytes} bytes");
    // Versions of its own in a row are one line; those that it made of somebody else's are one each.
    let (calls, bytes) = cost(&|store| train(store, &["a00000"], 1000), 1000);
    assert!(calls == 2 && bytes < 600, "{calls} calls, {bytes} bytes");
    let (calls, bytes) = cost(&|store| train(store, &["a00000", "a00001"], 2000), 2000);
    assert!(calls == 2 && bytes < 2 * 50_000, "{calls} calls, {bytes} bytes");
}
