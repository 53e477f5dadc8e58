//! SIGHUP: what is served changes, and nobody is sent away.

use std::time::Duration;

use gelu_nn::zoo;
use gelu_service::Error;

use super::{OPEN, SLACK, Site, batches, halting, input};

const RELOADED: &str = "gelu_reloads_total{result=\"ok\"}";
const REFUSED: &str = "gelu_reloads_total{result=\"failed\"}";

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_changes_what_is_served_while_sessions_and_a_lease_go_on() {
    if gelu_cli::signals::ignores_hangup() {
        return println!("SKIP: SIGHUP is ignored here, as under nohup");
    }
    let site = Site::new(&["alice", "bob"]);
    site.model("trained", zoo::iris(), 1);
    site.model("replaced", zoo::iris(), 2);
    site.model("withdrawn", zoo::iris(), 3);
    site.model("added", zoo::iris(), 4);
    let both = [("trained", OPEN), ("replaced", OPEN)];
    site.configure("store", &[&both[..], &[("withdrawn", OPEN)]].concat(), "");
    let server = site.start();

    let mut trains = site.client(&server, "alice", "trained").await;
    let (mut data, halt) = halting(batches(4, 1, 1));
    let training = tokio::spawn(async move { trains.train_to(&[50], &mut data).await });
    server.reaches("gelu_leases{model=\"trained\"}", 1.0).await;
    let mut asks = site.client(&server, "bob", "withdrawn").await;
    let before = asks.classify(&input(4)).await.unwrap();
    let mut old = site.client(&server, "bob", "replaced").await;

    site.model("replaced", zoo::iris(), 5);
    site.configure("store", &[&both[..], &[("added", OPEN)]].concat(), "");
    server.signal("HUP");
    let took = server.reaches(RELOADED, 1.0).await;
    println!("a reload took {took:?}");
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");

    site.client(&server, "bob", "added").await.classify(&input(4)).await.unwrap();
    let gone = site.connect(&server, "bob", "withdrawn").await.err().expect("taken away");
    assert!(gone.to_string().contains("trained, replaced, added"), "{gone}");
    let new = site.connect(&server, "bob", "replaced").await.unwrap();
    assert_eq!(new.card().version, 1, "what the file holds now is the next version");
    new.close().await;
    old.classify(&input(4)).await.unwrap();
    // Who was asking a model that is gone goes on, and so does the lease, to its commit.
    assert_eq!(asks.classify(&input(4)).await.unwrap(), before);
    assert_eq!(server.metric("gelu_leases{model=\"trained\"}"), Some(1.0));
    halt.end();
    assert_eq!(training.await.unwrap().unwrap().version, 1);
    assert_eq!(server.metric("gelu_leases_committed_total{model=\"trained\"}"), Some(1.0));
    assert_eq!(site.connect(&server, "bob", "trained").await.unwrap().card().version, 1);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_said() {
    if gelu_cli::signals::ignores_hangup() {
        return println!("SKIP: SIGHUP is ignored here, as under nohup");
    }
    let site = Site::new(&["alice"]);
    site.model("iris", zoo::iris(), 1);
    site.model("other", zoo::iris(), 2);
    site.configure("store", &[("iris", OPEN)], "");
    let server = site.start();
    let mut session = site.client(&server, "alice", "iris").await;
    let answer = session.classify(&input(4)).await.unwrap();
    let whole = std::fs::read_to_string(site.path().join("server.toml")).unwrap();
    let other = format!("{whole}[[model]]\nfile = \"other.safetensors\"\n{}", super::CLEAR);
    let twice = format!("{other}{OPEN}name = \"iris\"\n");
    let broken = [
        ("[server".to_owned(), "server.toml"),
        (whole.replace("listen", "listens"), "there is no setting \"listens\""),
        (twice.clone(), "models: two are called \"iris\"; give one of them another name"),
        (
            whole.replace("iris.safetensors\"", "other.safetensors\"\nname = \"iris\""),
            "the file of \"iris\"",
        ),
        (format!("{other}{OPEN}most-tickets = 0\n"), "[[model]] 2"),
        (whole.replace("iris.safetensors", "missing.safetensors"), "missing.safetensors"),
        (whole.split("[[model]]").next().unwrap().to_owned(), "no [[model]]"),
    ];
    // News in a good file, which nobody may see before the other is good, too.
    site.model("iris", zoo::iris(), 9);
    for ((text, why), n) in broken.iter().zip(1u32..) {
        std::fs::write(site.path().join("server.toml"), text).unwrap();
        server.signal("HUP");
        server.reaches(REFUSED, n.into()).await;
        let log = server.log();
        let said = log.lines().filter(|line| line.contains("all stays as it was"));
        let said: Vec<_> = said.collect();
        assert_eq!(said.len(), n as usize, "{log}");
        assert!(log.contains(why), "{why}: {}", said[n as usize - 1]);
        assert_eq!(session.classify(&input(4)).await.unwrap(), answer);
        let refused = site.connect(&server, "alice", "other").await.err();
        let refused = refused.expect("not served, though a good model stood in a bad file");
        assert!(matches!(&refused, Error::PeerIncompatible(_)), "{refused}");
    }
    // A server that starts says the same of two models of one name.
    let start = twice.replace("store = \"store\"", "store = \"another\"");
    std::fs::write(site.path().join("twice.toml"), start).unwrap();
    let said = site.refuses(&["serve", "--config", "twice.toml"]);
    assert!(said.contains(broken[2].1), "{said}");
    std::fs::write(site.path().join("server.toml"), format!("{other}{OPEN}")).unwrap();
    server.signal("HUP");
    server.reaches(RELOADED, 1.0).await;
    site.client(&server, "alice", "other").await.classify(&input(4)).await.unwrap();
    assert_ne!(session.classify(&input(4)).await.unwrap(), answer);
    server.stop();
}
