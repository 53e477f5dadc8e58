//! What the store promises of leases.

use std::thread;

use gelu_store::{Ended, Engine, Error, Lease, LeaseRecord, Store, Turn};

use crate::books::{charge, publish, revealed};
use crate::places::Place;

crate::on_every_engine!(
    turns_come_in_the_order_of_asking,
    whoever_is_silent_is_passed_over,
    a_clock_that_was_put_back_keeps_no_dead_replica_alive,
    a_lease_commits_once_and_on_the_last_version,
    a_commit_is_all_or_nothing_and_carries_the_count,
    the_journal_says_how_each_lease_ended,
    a_server_that_starts_ends_its_old_lease,
    of_many_replicas_one_trains_at_a_time,
);

/// The lease, for somebody whose turn it is.
pub(crate) fn lease(store: &Store, model: &str, replica: &str) -> Lease {
    match store.ask_turn(model, replica, "alice").unwrap() {
        Turn::Granted(lease) => lease,
        waits => panic!("{replica}: {waits:?}"),
    }
}

fn waits(store: &Store, replica: &str) -> u32 {
    match store.ask_turn("iris", replica, "alice").unwrap() {
        Turn::Waits(before) => before,
        turn => panic!("{replica}: {turn:?}"),
    }
}

fn journal(store: &Store) -> Vec<LeaseRecord> {
    let mut records = Vec::new();
    store.leases("iris", |number, record| Ok(records.push((number, record)))).unwrap();
    let numbers: Vec<_> = records.iter().map(|(number, _)| *number).collect();
    assert!(numbers.into_iter().eq(1..=records.len() as u64), "without a gap");
    records.into_iter().map(|(_, record)| record).collect()
}

/// Makes it as if a replica had last been heard of long ago.
fn silence(engine: &dyn Engine, replica: &str) {
    seen(engine, replica, 1);
}

/// Makes it as if a replica had last been heard of at this time.
fn seen(engine: &dyn Engine, replica: &str, at: u64) {
    engine
        .write(&mut |tx| {
            let mut line: serde_json::Value =
                serde_json::from_slice(&tx.get("turn/iris")?.unwrap()).unwrap();
            let mut places = vec![line["holder"].take()];
            places.extend(line["waiting"].as_array().unwrap().clone());
            for place in places.iter_mut().filter(|place| place["replica"] == replica) {
                place["seen"] = at.into();
            }
            line["holder"] = places.remove(0);
            line["waiting"] = places.into();
            tx.put("turn/iris", line.to_string().as_bytes())
        })
        .unwrap();
}

fn turns_come_in_the_order_of_asking(place: &Place) {
    let stores = place.two().map(Store::on);
    let first = lease(&stores[0], "iris", "one");
    assert_eq!((waits(&stores[1], "two"), waits(&stores[0], "three")), (1, 2));
    assert_eq!((waits(&stores[1], "two"), waits(&stores[0], "three")), (1, 2), "asking again");
    stores[0].end_lease(&first, "done").unwrap();
    // Not whoever asks first from now on.
    assert_eq!((waits(&stores[0], "three"), waits(&stores[0], "one")), (1, 2));
    let second = lease(&stores[1], "iris", "two");
    assert_eq!(second.number, 2);
    stores[0].leave_line("iris", "three").unwrap();
    stores[1].end_lease(&second, "done").unwrap();
    assert_eq!(lease(&stores[0], "iris", "one").number, 3);
    lease(&stores[0], "mnist", "three");
}

fn a_clock_that_was_put_back_keeps_no_dead_replica_alive(place: &Place) {
    let [engine, _] = place.two();
    let store = Store::on(engine.clone());
    lease(&store, "iris", "one");
    assert_eq!(waits(&store, "two"), 1);
    let mut put_back = 0;
    engine.read(&mut |tx| Ok(put_back = tx.now()? + 86_400_000)).unwrap();
    ["one", "two"].iter().for_each(|replica| seen(&engine, replica, put_back));
    assert_eq!(waits(&store, "three"), 2, "silence is counted from now on");
    engine
        .read(&mut |tx| {
            let line: serde_json::Value =
                serde_json::from_slice(&tx.get("turn/iris")?.unwrap()).unwrap();
            let places = line["waiting"].as_array().unwrap().iter().chain([&line["holder"]]);
            let latest = places.map(|place| place["seen"].as_u64().unwrap()).max().unwrap();
            assert!(latest < put_back - 80_000_000, "{latest}, {put_back}");
            Ok(())
        })
        .unwrap();
}

fn whoever_is_silent_is_passed_over(place: &Place) {
    let [engine, other] = place.two();
    let (store, other) = (Store::on(engine.clone()), Store::on(other));
    publish(&store, "iris", "aa", false);
    let first = lease(&store, "iris", "one");
    assert_eq!((waits(&other, "two"), waits(&other, "three")), (1, 2));
    silence(&*engine, "one");
    store.keep_lease(&first).unwrap();
    assert_eq!(waits(&other, "two"), 1, "it was heard of again");
    silence(&*engine, "one");
    silence(&*engine, "two");
    let third = lease(&other, "iris", "three");
    assert!(matches!(store.keep_lease(&first), Err(Error::LeaseLost(_))));
    assert!(matches!(store.commit(&first, "alice", 0, "bb", b""), Err(Error::LeaseLost(_))));
    store.end_lease(&first, "late").unwrap();
    assert_eq!(other.commit(&third, "alice", 0, "cc", b"").unwrap(), 1);
    let ended: Vec<_> = journal(&store).into_iter().map(|record| record.ended.unwrap()).collect();
    let silent = Ended::RolledBack("its server fell silent".into());
    assert_eq!(ended, [silent, Ended::Committed(1)]);
}

fn a_lease_commits_once_and_on_the_last_version(place: &Place) {
    let store = place.store();
    publish(&store, "iris", "aa", false);
    let first = lease(&store, "iris", "one");
    assert_eq!(store.commit(&first, "alice", 0, "bb", b"1").unwrap(), 1);
    for base in [0, 1] {
        let error = store.commit(&first, "alice", base, "cc", b"2").unwrap_err();
        assert!(matches!(error, Error::LeaseLost(_)), "{error}");
    }
    let second = lease(&store, "iris", "one");
    publish(&store, "iris", "dd", false);
    let error = store.commit(&second, "alice", 1, "cc", b"2").unwrap_err().to_string();
    assert!(error.contains("it began from 1, the last is 2"), "{error}");
    let (version, bytes) = store.weights("iris").unwrap().unwrap();
    assert_eq!((version.version, version.content.as_str()), (2, "dd"));
    assert_eq!(bytes, b"dd 2");
    let other = lease(&store, "never published", "one");
    assert!(store.commit(&other, "alice", 0, "x", b"").is_err());
}

fn a_commit_is_all_or_nothing_and_carries_the_count(place: &Place) {
    let store = place.store();
    publish(&store, "iris", "aa", false);
    ["alice", "bob"].iter().for_each(|account| charge(&store, "iris", account, 0).unwrap());
    let first = lease(&store, "iris", "one");
    store.commit(&first, "alice", 0, "bb", b"1").unwrap();
    drop(store);
    let store = place.store();
    let counts = [("alice", 0), ("alice", 1), ("bob", 0), ("bob", 1)];
    let counts = counts.map(|(who, version)| revealed(&store, "iris", who, version));
    assert_eq!(counts, [40, 40, 40, 0]);
    let before = store.overview().unwrap();
    assert!(store.commit(&first, "bob", 1, "cc", b"2").is_err());
    assert_eq!(store.overview().unwrap(), before);
    assert_eq!(store.weights("iris").unwrap().unwrap().1, b"1");
}

fn the_journal_says_how_each_lease_ended(place: &Place) {
    let store = place.store();
    publish(&store, "iris", "aa", false);
    store.commit(&lease(&store, "iris", "one"), "alice", 0, "bb", b"1").unwrap();
    store.end_lease(&lease(&store, "iris", "two"), "the client left").unwrap();
    lease(&store, "iris", "three");
    drop(store);
    let records = journal(&place.store());
    let replicas: Vec<_> = records.iter().map(|record| record.replica.as_str()).collect();
    assert_eq!(replicas, ["one", "two", "three"]);
    let ended: Vec<_> = records.into_iter().map(|record| record.ended).collect();
    let left = Ended::RolledBack("the client left".into());
    assert_eq!(ended, [Some(Ended::Committed(1)), Some(left), None]);
}

fn a_server_that_starts_ends_its_old_lease(place: &Place) {
    let store = place.store();
    publish(&store, "iris", "aa", false);
    let old = lease(&store, "iris", "one");
    drop(store);
    let store = place.store();
    assert_eq!(waits(&store, "two"), 1, "it is not the other's to end");
    // By asking it says that it holds none; the other one was there first.
    assert_eq!(waits(&store, "one"), 1);
    let new = lease(&store, "iris", "two");
    assert_eq!(new.number, old.number + 1);
    assert!(store.commit(&old, "alice", 0, "bb", b"").is_err());
    assert_eq!(journal(&store)[0].ended, Some(Ended::RolledBack("its server ended".into())));
}

fn of_many_replicas_one_trains_at_a_time(place: &Place) {
    let stores = place.two().map(Store::on);
    publish(&stores[0], "iris", "0", false);
    thread::scope(|scope| {
        for n in 0..4 {
            let store = &stores[n % 2];
            scope.spawn(move || {
                let replica = format!("replica {n}");
                for _ in 0..3 {
                    let lease = loop {
                        match store.ask_turn("iris", &replica, &replica).unwrap() {
                            Turn::Granted(lease) => break lease,
                            Turn::Waits(_) => thread::sleep(std::time::Duration::from_millis(2)),
                        }
                    };
                    let base = store.current("iris").unwrap().unwrap().version;
                    store.keep_lease(&lease).unwrap();
                    let content = (base + 1).to_string();
                    store.commit(&lease, &replica, base, &content, content.as_bytes()).unwrap();
                }
            });
        }
    });
    let (version, bytes) = stores[1].weights("iris").unwrap().unwrap();
    assert_eq!((version.version, bytes.as_slice()), (12, b"12".as_slice()));
    let committed = |n: u64| Some(Ended::Committed(n + 1));
    let records = journal(&stores[0]);
    assert!(records.iter().zip(0..).all(|(record, n)| record.ended == committed(n)), "{records:?}");
    assert_eq!(stores[0].verify().unwrap().damages, []);
}
