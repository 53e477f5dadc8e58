//! A server that is killed at any moment, a hundred times: what was acknowledged is booked, and no version is partial.
//!
//! The server is this program once more, as a process of its own. It says on its standard output what the store has
//! said `Ok` to, and is killed in the middle of that. `GELU_TEST_KILLS` says how often; ten times if it says nothing.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use gelu_core::ledger::Policy;
use gelu_store::{Charge, Location, Store, Turn};

use crate::books::{exposure, publish, revealed};
use crate::places::Place;

const THREADS: usize = 4;
const PLACE: &str = "GELU_TEST_CRASH_PLACE";

#[test]
fn redb_keeps_what_a_killed_server_has_answered() {
    kill_again_and_again(&Place::redb());
}

#[test]
fn postgres_keeps_what_a_killed_server_has_answered() {
    Place::postgres().iter().for_each(kill_again_and_again);
}

fn kill_again_and_again(place: &Place) {
    let kills = env::var("GELU_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let location = place.location();
    let open = || Store::open(&location.parse::<Location>().unwrap()).unwrap();
    publish(&open(), "iris", &content(0), false);
    let (mut answered, mut version) = (BTreeMap::<String, u64>::new(), 0);
    for kill in 0..kills {
        let mut server = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash::a_server_under_load", "--ignored", "--nocapture"])
            .env(PLACE, &location)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(server.stdout.take().unwrap());
        // Not always at the same moment.
        let (mut lines, mut line) = (0, Vec::new());
        while lines < 20 + kill * 7 % 50 {
            line.clear();
            assert!(output.read_until(b'\n', &mut line).unwrap() > 0, "the server has ended");
            lines += count(&line, &mut answered, &mut version);
        }
        server.kill().unwrap();
        server.wait().unwrap();
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).unwrap();
        rest.split_inclusive(|&byte| byte == b'\n').for_each(|line| {
            count(line, &mut answered, &mut version);
        });
    }
    assert!(answered.len() == THREADS && version > 0, "{answered:?}, version {version}");
    let store = open();
    assert_eq!(store.verify().unwrap().damages, []);
    let of_nobody = THREADS as u64 * kills;
    for (account, answered) in &answered {
        let booked = revealed(&store, "iris", account, 0) / 40;
        let right = *answered..=answered + of_nobody;
        assert!(right.contains(&booked), "{account}: {answered} answered, {booked} booked");
    }
    let (current, bytes) = store.weights("iris").unwrap().unwrap();
    assert!((version..=version + kills).contains(&current.version), "{version}, {current:?}");
    assert_eq!(current.content, content(current.version));
    assert!(current.version == 0 || bytes == weights(current.version), "of another version");
    let total: u64 = answered.values().sum();
    println!("{kills} kills, {total} charges and {version} versions answered, none lost");
}

/// Counts a whole line of the server's; it says how many it was.
fn count(line: &[u8], answered: &mut BTreeMap<String, u64>, version: &mut u64) -> u64 {
    let line = std::str::from_utf8(line).unwrap();
    match line.strip_suffix('\n').and_then(|line| line.split_once(": ")) {
        Some(("charged", account)) => *answered.entry(account.to_owned()).or_default() += 1,
        Some(("committed", number)) => *version = number.parse().unwrap(),
        // Of the test harness, or cut off.
        _ => return 0,
    }
    1
}

#[test]
#[ignore = "the process that other tests start and kill"]
fn a_server_under_load() {
    let place = env::var(PLACE).expect("started by another test, which names the place");
    let store = &Store::open(&place.parse::<Location>().unwrap()).unwrap();
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    thread::scope(|scope| {
        for n in 0..THREADS {
            scope.spawn(move || {
                let account = &format!("account {n}");
                let (exposure, policy) = (&exposure(100), Policy::AllowModelExtraction);
                let charge =
                    Charge { model: "iris", version: 0, account, exposure, samples: 1, policy };
                loop {
                    store.charge(&charge).unwrap();
                    say(format!("charged: {account}\n"));
                }
            });
        }
        loop {
            let Turn::Granted(lease) = store.ask_turn("iris", "one", "trainer").unwrap() else {
                panic!("there is no other replica");
            };
            let base = store.current("iris").unwrap().unwrap().version;
            let bytes = weights(base + 1);
            store.commit(&lease, "trainer", base, &content(base + 1), &bytes).unwrap();
            say(format!("committed: {}\n", base + 1));
        }
    });
}

fn content(version: u64) -> String {
    format!("content {version}")
}

/// Of several pages.
fn weights(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(5_000)
}
