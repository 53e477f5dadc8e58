//! What the store promises of accounts, versions and copies.

use std::collections::BTreeMap;
use std::thread;

use gelu_core::error::Refused;
use gelu_core::ledger::{Account, Exposure, LayerExposure, Policy};
use gelu_core::plan::Direction;
use gelu_store::{Charge, Error, Location, Published, Store, Usage, Version};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::places::Place;

crate::on_every_engine!(
    charges_at_once_never_exceed_a_budget,
    a_refused_charge_books_nothing_and_what_was_booked_outlives_a_restart,
    any_use_leaves_what_accounts_in_memory_would_hold,
    a_file_is_news_once,
    what_is_served_again_keeps_its_counts,
    names_may_be_anything,
    what_was_used_adds_up,
    an_older_servers_file_is_taken_over_once,
    a_copy_of_a_store_in_use_has_one_moment,
);

pub(crate) fn exposure(secret_bits: u64) -> Exposure {
    let layer = LayerExposure {
        layer: "dense1".into(),
        direction: Direction::Forward,
        unknowns: 10,
        equations_per_sample: 1,
        secret_bits,
        revealed_bits_per_sample: 40,
        frozen: false,
    };
    Exposure { model: vec![layer], data: Vec::new() }
}

pub(crate) fn charge(store: &Store, model: &str, account: &str, version: u64) -> Result<(), Error> {
    let exposure = &exposure(100);
    let (samples, policy) = (1, Policy::Enforce);
    store.charge(&Charge { model, version, account, exposure, samples, policy })
}

pub(crate) fn revealed(store: &Store, model: &str, account: &str, version: u64) -> u64 {
    store.account(model, account).unwrap().revealed(version, &exposure(1).model[0])
}

/// Publishes a file that holds `content`.
pub(crate) fn publish(store: &Store, model: &str, content: &str, again: bool) -> Published {
    let bytes = |number: u64| Ok(format!("{content} {number}").into_bytes());
    store.publish(model, content, 0, again, &bytes).unwrap()
}

fn charges_at_once_never_exceed_a_budget(place: &Place) {
    let (stores, budget) = (place.two().map(Store::on), exposure(40 * 30 + 1));
    let granted: usize = thread::scope(|scope| {
        let ask = |n: usize| {
            let (store, exposure) = (&stores[n % 2], &budget);
            let charge = Charge {
                model: "iris",
                version: 0,
                account: "alice",
                exposure,
                samples: 1,
                policy: Policy::Enforce,
            };
            move || (0..10).filter(|_| store.charge(&charge).is_ok()).count()
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(ask(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 30, "as many as the budget has room for, and not one more");
    assert_eq!(revealed(&stores[1], "iris", "alice", 0), 1200);
}

fn a_refused_charge_books_nothing_and_what_was_booked_outlives_a_restart(place: &Place) {
    for before in [0, 40, 80, 80] {
        let store = place.store();
        assert_eq!(revealed(&store, "iris", "alice", 3), before);
        match charge(&store, "iris", "alice", 3) {
            Ok(()) => assert!(before < 80),
            Err(Error::Refused(Refused::Budget { revealed, bound, .. })) => {
                assert_eq!((before, revealed, bound), (80, 120, 100));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let store = place.store();
    charge(&store, "iris", "alice", 4).unwrap();
    charge(&store, "iris", "bob", 3).unwrap();
    charge(&store, "mnist", "alice", 3).unwrap();
}

fn any_use_leaves_what_accounts_in_memory_would_hold(place: &Place) {
    let store = place.store();
    let step = (0..2usize, 0..3u64, any::<bool>());
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() };
    let mut round = 0;
    let used = |steps: Vec<(usize, u64, bool)>| {
        round += 1;
        let model = &format!("model {round}");
        let mut expected = BTreeMap::<&str, Account>::new();
        let mut version = 0;
        publish(&store, model, "0", false);
        for (who, back, trains) in steps {
            let account = ["alice", "bob"][who];
            let seen = expected.entry(account).or_default();
            if trains {
                let lease = crate::training::lease(&store, model, "one");
                let content = (version + 1).to_string();
                store.commit(&lease, account, version, &content, b"").unwrap();
                seen.carry(version, version + 1);
                version += 1;
                continue;
            }
            let of = version.saturating_sub(back);
            let booked = charge(&store, model, account, of);
            let same = seen.charge(of, &exposure(100), 1, Policy::Enforce);
            prop_assert_eq!(booked.is_ok(), same.is_ok());
        }
        for (account, seen) in expected {
            prop_assert_eq!(store.account(model, account).unwrap(), seen);
        }
        Ok(())
    };
    let used = std::cell::RefCell::new(used);
    let steps = prop::collection::vec(step, 0..12);
    TestRunner::new(config).run(&steps, |steps| (used.borrow_mut())(steps)).unwrap();
}

fn a_file_is_news_once(place: &Place) {
    let version = |version, content: &str| Version { version, content: content.into() };
    let store = place.store();
    assert_eq!(store.current("iris").unwrap(), None);
    assert_eq!(store.weights("iris").unwrap(), None);
    let bytes = |number: u64| Ok(format!("aa {number}").into_bytes());
    let first = store.publish("iris", "aa", 7, false, &bytes).unwrap();
    assert_eq!(first, Published::New(version(7, "aa")));
    for _ in 0..2 {
        assert_eq!(publish(&store, "iris", "aa", false), Published::Current(version(7, "aa")));
    }
    assert_eq!(publish(&store, "iris", "bb", false), Published::New(version(8, "bb")));
    assert_eq!(publish(&store, "iris", "aa", false), Published::Known(version(8, "bb")));
    assert_eq!(publish(&store, "iris", "aa", true), Published::New(version(9, "aa")));
    assert_eq!(store.weights("iris").unwrap(), Some((version(9, "aa"), b"aa 9".to_vec())));
    let failing = |_| Err(Error::LeaseLost("no file".into()));
    store.publish("iris", "cc", 0, false, &failing).unwrap_err();
    assert_eq!(store.current("iris").unwrap(), Some(version(9, "aa")));
    assert_eq!(publish(&store, "iris", "cc", false), Published::New(version(10, "cc")));
}

fn what_is_served_again_keeps_its_counts(place: &Place) {
    let store = place.store();
    for (version, content) in ["aa", "bb"].into_iter().enumerate() {
        publish(&store, "iris", content, false);
        let account = ["alice", "bob"][version];
        charge(&store, "iris", account, version as u64).unwrap();
    }
    publish(&store, "iris", "aa", true);
    assert_eq!(revealed(&store, "iris", "alice", 2), 40, "the same weights under a new number");
    assert_eq!(revealed(&store, "iris", "bob", 2), 0);
}

fn names_may_be_anything(place: &Place) {
    let store = place.store();
    let names = ["a", "a/b", "a%2Fb", "a%", "%", "/", "", "日本", "a b", "\u{10FFFF}", "a'\"\\"];
    for (n, model) in names.into_iter().enumerate() {
        publish(&store, model, model, false);
        for account in &names[..=n] {
            charge(&store, model, account, 0).unwrap();
        }
    }
    let mut expected: Vec<_> = names.map(String::from).to_vec();
    let mut models = store.models().unwrap();
    expected.sort();
    models.sort();
    assert_eq!(models, expected);
    let books = store.overview().unwrap();
    for (n, model) in names.into_iter().enumerate() {
        let accounts: Vec<_> = books.models[model].accounts.keys().cloned().collect();
        let mut expected: Vec<_> = names[..=n].iter().map(|name| name.to_string()).collect();
        expected.sort();
        assert_eq!(accounts, expected, "{model:?}");
    }
    assert_eq!(store.verify().unwrap().damages, []);
}

fn what_was_used_adds_up(place: &Place) {
    let stores = place.two().map(Store::on);
    let used = Usage { sessions: 1, computations: 2, bytes: 3 };
    thread::scope(|scope| {
        for n in 0..4 {
            let store = &stores[n % 2];
            scope.spawn(move || {
                for _ in 0..5 {
                    store.spend("alice", used).unwrap();
                }
            });
        }
    });
    let (total, left) = stores[0].spend("alice", Usage::default()).unwrap();
    assert_eq!(total, Usage { sessions: 20, computations: 40, bytes: 60 });
    assert!((1..=86_400).contains(&left), "{left}");
    assert_eq!(stores[1].spend("bob", Usage::default()).unwrap().0, Usage::default());
}

fn an_older_servers_file_is_taken_over_once(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.json");
    let mut journal = "{\"format\":2,\"model\":\"iris\"}\n".to_owned();
    for n in 0..1500 {
        journal += &format!(
            "{{\"booked\":{{\"account\":\"a{n}\",\"version\":3,\"bits\":{{\"dense1 forward\":40}}}}}}\n"
        );
    }
    std::fs::write(&path, &journal).unwrap();
    let store = place.store();
    assert_eq!(store.import("iris", &path).unwrap().accounts, 1500);
    assert_eq!(revealed(&store, "iris", "a1499", 3), 40);
    let last = journal.lines().last().unwrap();
    std::fs::write(&path, format!("{journal}{last}\n")).unwrap();
    std::fs::remove_file(folder.path().join("ledger.json.migrated")).unwrap();
    let error = store.import("iris", &path).unwrap_err().to_string();
    assert!(error.contains("has accounts in the store"), "{error}");
}

fn a_copy_of_a_store_in_use_has_one_moment(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let store = place.store();
    publish(&store, "iris", "aa", false);
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut version = 0;
            for _ in 0..20 {
                let lease = crate::training::lease(&store, "iris", "one");
                let content = (version + 1).to_string();
                version = store.commit(&lease, "alice", version, &content, b"w").unwrap();
                charge(&store, "iris", &format!("a{version}"), version).unwrap();
            }
        });
        let mut copies = 0;
        while !work.is_finished() || copies == 0 {
            let path = folder.path().join(copies.to_string());
            store.backup(&path).unwrap();
            let copy = Store::open(&Location::File(path)).unwrap();
            assert_eq!(copy.verify().unwrap().damages, []);
            copies += 1;
        }
    });
    let path = folder.path().join("last");
    store.backup(&path).unwrap();
    let copy = Store::open(&Location::File(path)).unwrap();
    assert_eq!(copy.overview().unwrap(), store.overview().unwrap());
}
