//! What an operator sees of a server, and the books that it leaves.

use gelu_nn::zoo;
use serde_json::Value;

use super::{OPEN, Site, input};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_tells_of_itself_and_copies_its_books() {
    let site = Site::new(&["alice"]);
    let model = site.model("iris", zoo::iris(), 1);
    site.configure("books.store", &[("iris", OPEN)], "");
    let server = site.start();
    assert_eq!((server.http("GET /healthz").0, server.http("GET /readyz").0), (200, 200));
    let mut session = site.client(&server, "alice", "iris").await;
    session.classify(&input(4)).await.unwrap();
    assert_eq!(server.metric("gelu_sessions{model=\"iris\"}"), Some(1.0));
    assert_eq!(server.metric("gelu_model_version{model=\"iris\"}"), Some(0.0));
    assert_eq!(server.metric("gelu_ready"), Some(1.0));

    // Its books are its own while it runs: others are told what to do instead.
    let store = ["--store", "books.store"];
    let said = site.refuses(&["ledger", "show", store[0], store[1]]);
    assert!(said.contains("/backup"), "{said}");
    let said = site.refuses(&["publish", "iris.safetensors", store[0], store[1]]);
    assert!(said.contains("SIGHUP"), "{said}");
    let (status, said) = server.http("POST /backup");
    let copies = std::fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let is_copy = |name: &String| name.starts_with("books.store.backup-");
    let copies = copies.map(|name| name.into_string().unwrap()).filter(is_copy);
    let copies: Vec<_> = copies.collect();
    assert!(status == 200 && copies.len() == 1 && said.contains(&copies[0]), "{said}: {copies:?}");

    let show = |store: &str| -> Value {
        let shown = site.runs(&["ledger", "show", "--json", "--store", store]);
        serde_json::from_str(&shown).unwrap()
    };
    let seen = |books: &Value| books["models"]["iris"]["accounts"]["alice"]["current"].clone();
    let copied = show(&copies[0]);
    assert!(seen(&copied)["dense1 forward"].as_u64() > Some(0), "{copied}");
    session.classify(&input(4)).await.unwrap();
    session.close().await;
    server.stop();

    // What was answered after the copy is in the books alone.
    let now = show("books.store");
    let bits = |books: &Value| seen(books)["dense1 forward"].as_u64().unwrap();
    assert_eq!(bits(&now), 2 * bits(&copied));
    site.runs(&["ledger", "backup", "later.store", store[0], store[1]]);
    assert_eq!(seen(&show("later.store")), seen(&now));
    for books in ["books.store", "later.store", &copies[0]] {
        let checked = site.runs(&["ledger", "verify", "--json", "--store", books]);
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert_eq!(checked["damages"], Value::Array(Vec::new()), "{checked}");
    }

    // Other weights, published while no server runs, are what the next one serves.
    site.model("iris", zoo::iris(), 2);
    let published = site.runs(&["publish", "--json", "iris.safetensors", store[0], store[1]]);
    let published: Value = serde_json::from_str(&published).unwrap();
    assert_eq!((&published["version"], &published["published"]), (&1.into(), &true.into()));
    assert_eq!(model.version(), 0);
    let server = site.start();
    assert_eq!(server.metric("gelu_model_version{model=\"iris\"}"), Some(1.0));
    server.stop();
}
