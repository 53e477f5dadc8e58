//! What an engine promises.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gelu_store::{Engine, Error, Result, Transaction};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::places::Place;

crate::on_every_engine!(
    keys_are_in_the_order_of_their_bytes,
    a_refusal_changes_nothing,
    what_was_written_is_there_after_a_restart,
    a_transaction_sees_what_it_has_changed,
    any_transactions_leave_what_a_map_would_hold,
    no_change_of_many_threads_is_lost,
    whoever_looks_sees_whole_transactions,
    what_was_read_still_holds_at_the_commit,
    a_transaction_that_only_looks_cannot_write,
);

type Values = BTreeMap<String, Vec<u8>>;

/// What is put under which key, or removed from there.
type Changes = Vec<(&'static str, Option<Vec<u8>>)>;

fn all(engine: &dyn Engine, prefix: &str) -> Values {
    let mut found = Vec::new();
    engine
        .read(&mut |tx| {
            found.clear();
            tx.scan(prefix, &mut |key, value| {
                found.push((key.to_owned(), value.to_vec()));
                Ok(())
            })
        })
        .unwrap();
    let values: Values = found.iter().cloned().collect();
    assert!(values.clone().into_iter().eq(found), "in order, and each key once");
    values
}

fn put_all(engine: &dyn Engine, keys: &[String]) {
    engine.write(&mut |tx| keys.iter().try_for_each(|key| tx.put(key, key.as_bytes()))).unwrap();
}

fn number(tx: &mut dyn Transaction, key: &str) -> Result<i64> {
    let value = tx.get(key)?;
    Ok(value.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap())))
}

fn add(tx: &mut dyn Transaction, key: &str, more: i64) -> Result<()> {
    let sum = number(tx, key)? + more;
    tx.put(key, &sum.to_le_bytes())
}

fn keys_are_in_the_order_of_their_bytes(place: &Place) {
    let engine = place.engine();
    let mut keys: Vec<String> = (0..2500).map(|n| format!("many/{n}")).collect();
    let others =
        ["", "a", "a/", "a/b", "a/\u{10FFFF}", "a/\u{10FFFF}x", "a0", "A/b", "a%2Fb", "é", "日/本"];
    keys.extend(others.map(String::from));
    put_all(&*engine, &keys);
    for prefix in ["", "many/", "a", "a/", "a/\u{10FFFF}", "é", "日/", "none", "\u{10FFFF}"] {
        let expected = keys.iter().filter(|key| key.starts_with(prefix));
        let expected: Values = expected.map(|key| (key.clone(), key.clone().into())).collect();
        assert_eq!(all(&*engine, prefix), expected, "{prefix:?}");
    }
}

fn a_refusal_changes_nothing(place: &Place) {
    let engine = place.engine();
    put_all(&*engine, &["kept".into(), "changed".into()]);
    let before = all(&*engine, "");
    for refused in [Error::LeaseLost("no".into()), Error::Engine("no".into())] {
        let mut refused = Some(refused);
        let error = engine.write(&mut |tx| {
            tx.put("new", b"1")?;
            tx.put("changed", b"1")?;
            tx.remove("kept")?;
            Err(refused.take().expect("work that fails is not repeated"))
        });
        error.unwrap_err();
        assert_eq!(all(&*engine, ""), before);
    }
}

fn what_was_written_is_there_after_a_restart(place: &Place) {
    let keys: Vec<String> = (0..100).map(|n| format!("key {n}")).collect();
    for n in 0..3 {
        let engine = place.engine();
        assert_eq!(all(&*engine, "").len(), n * 20);
        put_all(&*engine, &keys[n * 20..(n + 1) * 20]);
    }
    let big = vec![7; 3 << 20];
    place.engine().write(&mut |tx| tx.put("big", &big)).unwrap();
    let mut found = None;
    place.engine().read(&mut |tx| Ok(found = tx.get("big")?)).unwrap();
    assert!(found == Some(big));
}

fn a_transaction_sees_what_it_has_changed(place: &Place) {
    let engine = place.engine();
    put_all(&*engine, &["a".into(), "b".into()]);
    engine
        .write(&mut |tx| {
            tx.put("c", b"3")?;
            tx.put("a", b"1")?;
            tx.remove("b")?;
            tx.remove("not there")?;
            assert_eq!(tx.get("a")?, Some(b"1".to_vec()));
            assert_eq!((tx.get("b")?, tx.get("c")?), (None, Some(b"3".to_vec())));
            let mut seen = String::new();
            tx.scan("", &mut |key, _| Ok(seen.push_str(key)))?;
            assert_eq!(seen, "ac");
            tx.put("b", b"2")
        })
        .unwrap();
    assert_eq!(all(&*engine, "").into_values().collect::<Vec<_>>(), [b"1", b"2", b"3"]);
}

fn any_transactions_leave_what_a_map_would_hold(place: &Place) {
    let key = || prop::sample::select(vec!["a", "a/b", "a/c", "b%", "ü"]);
    let change = (key(), prop::option::of(prop::collection::vec(any::<u8>(), 0..20)));
    let transaction = (prop::collection::vec(change, 0..6), any::<bool>());
    let engine = place.engine();
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() };
    let run = |transactions: Vec<(Changes, bool)>| {
        let mut expected = all(&*engine, "");
        for (changes, kept) in transactions {
            let mut changed = Values::new();
            let done = engine.write(&mut |tx| {
                changed = expected.clone();
                for (key, value) in &changes {
                    assert_eq!(tx.get(key)?.as_ref(), changed.get(*key));
                    match value {
                        Some(value) => {
                            tx.put(key, value)?;
                            changed.insert(key.to_string(), value.clone());
                        }
                        None => {
                            tx.remove(key)?;
                            changed.remove(*key);
                        }
                    }
                }
                if kept { Ok(()) } else { Err(Error::LeaseLost("no".into())) }
            });
            assert_eq!(done.is_ok(), kept);
            expected = if kept { changed } else { expected };
            prop_assert_eq!(&all(&*engine, ""), &expected);
        }
        Ok(())
    };
    TestRunner::new(config).run(&prop::collection::vec(transaction, 0..6), run).unwrap();
}

fn no_change_of_many_threads_is_lost(place: &Place) {
    let engines = place.two();
    thread::scope(|scope| {
        for n in 0..8 {
            let engine = &engines[n % 2];
            scope.spawn(move || {
                for _ in 0..25 {
                    engine.write(&mut |tx| add(tx, "shared", 1)).unwrap();
                    engine.write(&mut |tx| add(tx, &format!("own/{n}"), 1)).unwrap();
                }
            });
        }
    });
    let mut sums = Vec::new();
    engines[0]
        .read(&mut |tx| {
            sums = vec![number(tx, "shared")?];
            (0..8).try_for_each(|n| Ok(sums.push(number(tx, &format!("own/{n}"))?)))
        })
        .unwrap();
    assert_eq!(sums, [200, 25, 25, 25, 25, 25, 25, 25, 25]);
}

/// Something moves back and forth between two keys; whoever looks never sees it twice, nor gone.
fn whoever_looks_sees_whole_transactions(place: &Place) {
    let [engine, other] = place.two();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60 {
                let more = if n % 2 == 0 { 1 } else { -1 };
                let moved = |tx: &mut dyn Transaction| {
                    add(tx, "a", more)?;
                    add(tx, "b", -more)
                };
                engine.write(&mut { moved }).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut looks = 0;
        while !done.load(Ordering::Relaxed) || looks == 0 {
            let mut sum = None;
            other.read(&mut |tx| Ok(sum = Some(number(tx, "a")? + number(tx, "b")?))).unwrap();
            assert_eq!(sum, Some(0));
            looks += 1;
        }
    });
}

/// Two keys of which at most one may be set, and threads that each look at both before they set theirs.
fn what_was_read_still_holds_at_the_commit(place: &Place) {
    let engines = place.two();
    for round in 0..20 {
        let keys = [format!("{round}/a"), format!("{round}/b")];
        thread::scope(|scope| {
            for (own, engine) in engines.iter().enumerate() {
                let keys = &keys;
                scope.spawn(move || {
                    let set = |tx: &mut dyn Transaction| match number(tx, &keys[1 - own])? {
                        0 => add(tx, &keys[own], 1),
                        _ => Ok(()),
                    };
                    engine.write(&mut { set }).unwrap();
                });
            }
        });
        assert_eq!(all(&*engines[0], &format!("{round}/")).len(), 1);
    }
}

fn a_transaction_that_only_looks_cannot_write(place: &Place) {
    let engine = place.engine();
    for refused in [engine.read(&mut |tx| tx.put("a", b"")), engine.read(&mut |tx| tx.remove("a"))]
    {
        assert!(matches!(refused, Err(Error::Engine(_))));
        assert_eq!(all(&*engine, ""), Values::new());
    }
}
