//! Several models behind one address: who reaches which, and what those are told that do not.

use gelu_core::error::{PeerIncompatible, Refused};
use gelu_nn::zoo;
use gelu_service::Error;
use gelu_service::error::Goodbye;

use super::{OPEN, Site, input, opened};

/// Questions of the program as a client.
fn asks<'a>(server: &'a str, account: &'a str, data: &'a str) -> Vec<&'a str> {
    let asks = ["infer", "--json", "--server", server, "--account", account, "--dataset", data];
    [&asks[..], &["--count", "2", "--backend", "insecure-clear"]].concat()
}

#[test]
fn clients_name_the_model_that_they_want_and_others_are_refused_with_the_list() {
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.model("digits", zoo::digits(), 1);
    let digits = format!("accounts = [\"alice\"]\n{OPEN}");
    site.configure("store", &[("iris", OPEN), ("digits", &digits)], "");
    let server = site.start();
    let names: Vec<_> = (0..2).map(|n| server.ready["models"][n]["name"].as_str()).collect();
    assert_eq!(names, [Some("iris"), Some("digits")], "{}", server.ready);
    let at = |name: &str| format!("{}/{name}", server.address);
    let (iris, digits, none) = (at("iris"), at("digits"), at("none"));
    let nameless = server.address.to_string();

    site.runs(&asks(&iris, "alice", "iris"));
    site.runs(&asks(&digits, "alice", "digits"));
    for wrong in [&none, &nameless] {
        let said = site.refuses(&asks(wrong, "alice", "iris"));
        assert!(said.contains("iris, digits"), "{said}");
    }
    // What an account may not use is not even told to it, and it need not name the only one that it may.
    for wrong in [&digits, &none] {
        let said = site.refuses(&asks(wrong, "bob", "digits"));
        assert!(said.contains("iris") && !said.contains("iris, digits"), "{said}");
    }
    site.runs(&asks(&nameless, "bob", "iris"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_listed_is_refused_before_it_has_sent_a_key() {
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.configure("store", &[("iris", &format!("accounts = [\"alice\"]\n{OPEN}"))], "");
    let server = site.start();
    site.client(&server, "alice", "iris").await.close().await;
    let refused = site.connect(&server, "bob", "iris").await.err().expect("not listed");
    let expected = PeerIncompatible::Model { wanted: "iris".into(), served: String::new() };
    assert!(matches!(&refused, Error::PeerIncompatible(e) if *e == expected), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_say_when_to_come_back_and_count_each_account_alone() {
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    let quota = "[quota]\nsessions = 2\ncomputations = 9\n";
    site.configure("store", &[("iris", OPEN)], quota);
    let server = site.start();
    let mut session = site.client(&server, "alice", "iris").await;
    let mut answered = 0;
    let refused = loop {
        match session.classify(&input(4)).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(answered == 4, "a key and two messages a query are nine computations: {answered}");
    let Error::Refused(Refused::ByPeer(said)) = &refused else { panic!("{refused}") };
    let parts = ["used up its quota", "computations", "a new day begins in"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    session.close().await;

    site.connect(&server, "alice", "iris").await.unwrap().close().await;
    let ended = site.connect(&server, "alice", "iris").await.err().expect("the third one");
    let Error::Ended(Goodbye::SessionsSpent { most: 2, seconds }) = ended else {
        panic!("{ended}")
    };
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let bob = opened(site.connect(&server, "bob", "iris").await.unwrap()).await;
    bob.close().await;
    // What is used up outlives the server.
    server.stop();
    let server = site.start();
    let ended = site.connect(&server, "alice", "iris").await.err().expect("of the same day");
    assert!(matches!(ended, Error::Ended(Goodbye::SessionsSpent { .. })), "{ended}");
}

/// What stands in `packaging/server.toml`, with its second model, and nothing changed but where things are.
#[cfg(all(feature = "paillier", feature = "lattice"))]
#[test]
fn the_example_configuration_can_be_served() {
    use super::Server;
    use gelu_core::Precision;
    use gelu_nn::Model;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    let site = Site::new(&[]);
    let models = site.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let (blind, trained) = (Precision::INFERENCE, Precision::TRAINING);
    for (name, network, precision) in
        [("digits", zoo::conv1(), blind), ("risk", zoo::digits(), trained)]
    {
        let model = Model::initialise(name, network, precision, rng).unwrap();
        model.save(&models.join(name).with_extension("safetensors")).unwrap();
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/server.toml");
    let text = std::fs::read_to_string(example).unwrap();
    let (one, other) = text.split_once("# [[model]]").expect("a second model as a comment");
    let other: Vec<_> = other.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let text = format!("{one}[[model]]{}", other.join("\n"))
        .replace("/etc/gelu", &site.path().display().to_string())
        .replace("/var/lib/gelu", &site.path().display().to_string())
        .replace("0.0.0.0:7878", "127.0.0.1:0")
        .replace("127.0.0.1:9878", "127.0.0.1:0");
    std::fs::write(site.path().join("server.toml"), text).unwrap();
    let server = Server::start(site.path());
    let served = &server.ready["models"];
    let of = |n: usize| (served[n]["name"].as_str(), served[n]["modes"][0].as_str());
    assert_eq!((of(0).0, of(1).0), (Some("digits"), Some("risk")), "{}", server.ready);
    assert!(of(0).1.is_some_and(|mode| mode.eq_ignore_ascii_case("blind")), "{}", server.ready);
    server.stop();
}
