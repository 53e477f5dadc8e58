//! Accounts come, are renewed, and go.

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use super::{CLEAR, Served, gelu, json, run, said, with_certificates_and_model};

/// Whose each certificate is, and its state.
fn states(list: &Value) -> Vec<(&str, &str)> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| (row["account"].as_str().unwrap_or("server"), row["state"].as_str().unwrap()))
        .collect()
}

#[test]
fn certificates_are_listed_renewed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let read = |name: &str| std::fs::read_to_string(at.join("certs").join(name)).unwrap();
    json(at, &["certs", "init", "--account", "alice", "--host", "gelu.example.org"]);
    json(at, &["certs", "add", "bob"]);
    let before = ["server.pem", "clients/alice.pem", "clients/bob.pem"].map(read);
    let renewed = json(at, &["certs", "renew", "alice", "--revoke-old"]);
    assert_eq!(renewed["old"]["revoked"].as_array().unwrap().len(), 1);
    json(at, &["certs", "renew", "--server"]);
    let revoked = json(at, &["certs", "revoke", "bob"]);
    assert!(revoked["list"].as_str().unwrap().ends_with("crl.pem"), "{revoked}");
    let after = ["server.pem", "clients/alice.pem", "clients/bob.pem"].map(read);
    assert_eq!([0, 1, 2].map(|i| before[i] == after[i]), [false, false, true]);
    let expected = [
        ("server", "valid"),
        ("alice", "revoked"),
        ("bob", "revoked"),
        ("alice", "valid"),
        ("server", "valid"),
    ];
    assert_eq!(states(&json(at, &["certs", "list"])), expected);
    let shown = run(at, &["certs", "list"]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("(the server)") && shown.contains("revoked"), "{shown}");

    for (arguments, next) in [
        (&["certs", "revoke", "carol"][..], "certs list"),
        (&["certs", "renew", "carol"], "certs add carol"),
        (&["certs", "list", "--dir", "nowhere"], "certs init --dir nowhere"),
        (&["token", "carol"], "certs add carol"),
        (&["token", "bob"], "certs renew bob"),
        (&["token", "alice", "--for", "25h"], "1 s to 24 h"),
    ] {
        let refused = run(at, arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(said(&refused).contains(next), "{arguments:?}: {}", said(&refused));
    }
    for usage in [&["certs", "renew"][..], &["certs", "revoke"], &["token", "alice", "--for", "1"]]
    {
        assert_eq!(run(at, usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_token_is_one_line_and_says_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    json(folder.path(), &["certs", "init", "--account", "alice"]);
    let made = json(folder.path(), &["token", "alice", "--for", "10min"]);
    assert_eq!(made["account"], "alice");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = made["expires"].as_u64().unwrap() - now.as_secs();
    assert!((590..=600).contains(&left), "{left}");
    let printed = gelu(folder.path(), &["token", "alice"]).assert().success();
    let printed = String::from_utf8(printed.get_output().stdout.clone()).unwrap();
    assert!(printed.starts_with("gelu1.") && printed.lines().count() == 1, "{printed}");
    assert_ne!(printed.trim(), made["token"].as_str().unwrap());
}

#[test]
fn a_server_turns_away_who_was_revoked_and_says_so() {
    let folder = with_certificates_and_model();
    let at = folder.path();
    for account in ["alice", "bob"] {
        json(at, &["certs", "add", account]);
    }
    json(at, &["certs", "revoke", "bob"]);
    let server = Served::start(at, &[]);
    let ask = |account: &str| {
        let infer = ["infer", "--server", &server.address, "--account", account];
        said(&run(at, &[&infer[..], &["--dataset", "iris"], &CLEAR].concat()))
    };
    let bob = ask("bob");
    assert!(bob.contains("has revoked our certificate; ask it for a new one"), "{bob}");
    let alice = ask("alice");
    assert!(!alice.contains("revoked") && !alice.contains("secure channel"), "{alice}");
    server.stop();
}
