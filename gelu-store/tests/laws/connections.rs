//! What only a database can do to a server: end its connections, and be found by several at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use gelu_store::{Engine, Error, Location, Store, Transaction};

use crate::places::{Place, Schema, execute};

fn schema() -> Option<Schema> {
    match Place::postgres()? {
        Place::Postgres(schema) => Some(schema),
        _ => None,
    }
}

/// Whatever moment a connection is lost at, a commit included: each change is made once.
#[test]
fn a_lost_connection_loses_no_change_and_repeats_none() {
    let Some(schema) = schema() else { return };
    let (engine, done) = (schema.engine(), AtomicBool::new(false));
    let (threads, changes) = (4, 100);
    thread::scope(|scope| {
        let work = |n: usize| {
            let (engine, key) = (&engine, n.to_string());
            move || {
                for expected in 0..changes {
                    let add = |tx: &mut dyn Transaction| {
                        let before = tx.get(&key)?.map_or(0, |value| value[0]);
                        tx.put(&key, &[before + 1])?;
                        tx.put(&format!("{key}/{}", before + 1), b"")
                    };
                    engine.write(&mut { add }).unwrap();
                    let mut found = None;
                    engine.read(&mut |tx| Ok(found = tx.get(&key)?)).unwrap();
                    assert_eq!(found, Some(vec![expected + 1]), "made once, and not twice");
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|n| scope.spawn(work(n))).collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let ours = format!("application_name = '{}'", schema.name);
                schema.execute(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"
                ));
                thread::sleep(Duration::from_millis(3));
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
}

#[test]
fn servers_that_begin_at_once_make_one_table() {
    let Some(schema) = schema() else { return };
    let location: Location = schema.url.parse().unwrap();
    assert!(matches!(Store::open_existing(&location), Err(Error::NoStore(_))));
    thread::scope(|scope| {
        (0..6).for_each(|_| drop(scope.spawn(|| Store::open(&location).unwrap())));
    });
    let store = Store::open_existing(&location).unwrap();
    assert_eq!(store.verify().unwrap().values, 1, "the format");
    assert!(store.is_shared());
}

#[test]
fn a_database_in_another_encoding_is_refused() {
    let Some(schema) = schema() else { return };
    let name = format!("{}_latin", schema.name);
    execute(
        &schema.database,
        &format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"),
    );
    let url = format!("{}&dbname={name}", schema.url);
    let error = Store::open(&url.parse().unwrap()).unwrap_err().to_string();
    execute(&schema.database, &format!("DROP DATABASE {name}"));
    assert!(error.contains("ENCODING 'UTF8'"), "{error}");
}

#[test]
fn where_nobody_answers_that_is_said_without_the_password() {
    let nobody = "postgres://gelu:secret@127.0.0.1:1/books".parse().unwrap();
    let error = Store::open(&nobody).unwrap_err().to_string();
    assert!(error.starts_with("the store failed: postgres://127.0.0.1:1/books: "), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

/// A transaction begins on any thread that may be blocked, those of a runtime included.
#[test]
fn stores_work_and_end_on_threads_of_a_runtime() {
    let Some(schema) = schema() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let location: Location = schema.url.parse().unwrap();
        let store = tokio::task::spawn_blocking(move || Store::open(&location).unwrap());
        let store = store.await.unwrap();
        let shared = store.clone();
        let found = tokio::task::spawn_blocking(move || shared.current("iris").unwrap());
        assert_eq!(found.await.unwrap(), None);
        drop(store);
    });
}
