//! Blind queries from outside: real keys, real processes.

use serde_json::Value;

use super::{CLEAR, Served, ended, gelu, json, listening, run, said};

use std::process::Stdio;

/// Under the cryptosystems whose keys are quickly made here, and under the default one.
#[test]
fn blind_answers_equal_the_model_s_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let train = ["train", "--plaintext", "--dataset", "iris", "--epochs", "5"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    let infer = ["infer", "--model", "model.safetensors", "--dataset", "iris", "--count", "3"];
    for backend in gelu_backends() {
        for answer in ["class", "scores"] {
            let blind = ["--mode", "blind", "--answer", answer, "--backend", backend];
            let asked = json(path, &[&infer[..], &blind].concat());
            assert_eq!(asked["mode"], "blind", "{backend}");
            assert_eq!(asked["predictions_equal_plaintext"], true, "{backend}: {asked}");
            assert_eq!(asked["answered"], 3, "{backend}");
        }
    }
}

fn gelu_backends() -> Vec<&'static str> {
    let mut backends = vec!["insecure-clear"];
    if cfg!(feature = "paillier") {
        backends.push("paillier");
    }
    if cfg!(feature = "lattice") {
        backends.push("lattice");
    }
    backends
}

/// By the class alone, with tickets beforehand; as many lines as open queries give, and the same classes.
#[test]
fn new_rows_are_answered_blind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::table(path, "rows.csv", 4, 3, 4);
    let train = ["train", "--plaintext", "--csv", "rows.csv", "--label", "class", "--epochs", "3"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    let served = Served::start(path, &[]);
    let there = ["predict", "--server", &served.address, "--account", "alice"];
    let rows = ["--csv", "rows.csv", "--ignore", "class"];
    let ask = |more: &[&str]| {
        let asked = run(path, &[&there[..], &rows, &CLEAR, more].concat());
        assert!(asked.status.success(), "{}", said(&asked));
        (String::from_utf8(asked.stdout.clone()).unwrap(), said(&asked))
    };
    let clear = ["predict", "--model", "model.safetensors", "--clear"];
    let clear = run(path, &[&clear[..], &rows].concat());
    let clear = String::from_utf8(clear.stdout).unwrap();
    let classes = |lines: &str| -> Vec<String> {
        let cells = |line: &str| line.split(',').take(2).collect::<Vec<_>>().join(",");
        lines.lines().map(cells).collect()
    };
    let (blind, told) = ask(&["--mode", "blind", "--tickets", "12"]);
    assert_eq!(blind.lines().next(), Some("row,class"), "the server tells classes alone");
    assert_eq!(classes(&blind), classes(&clear));
    assert!(told.contains("12 tickets are ready"), "{told}");
    let refused = run(
        path,
        &[&there[..], &rows, &CLEAR, &["--answer", "scores", "--mode", "blind"]].concat(),
    );
    assert!(said(&refused).contains("tells the class alone"), "{}", said(&refused));
    let refused =
        run(path, &[&there[..], &rows, &CLEAR, &["--mode", "open", "--tickets", "3"]].concat());
    assert!(said(&refused).contains("are for blind queries"), "{}", said(&refused));
    served.stop();

    // A server that keeps few tickets is asked in as many queries as that takes.
    let served = Served::start(path, &["--most-tickets", "5"]);
    let there = ["predict", "--server", &served.address, "--account", "alice"];
    let ask = |more: &[&str]| run(path, &[&there[..], &rows, &CLEAR, &["--mode", "blind"], more].concat());
    let many = ask(&["--batch", "12"]);
    assert_eq!(classes(&String::from_utf8(many.stdout.clone()).unwrap()), classes(&clear));
    let refused = ask(&["--tickets", "6"]);
    assert!(said(&refused).contains("--tickets 5 or fewer"), "{}", said(&refused));
    served.stop();
}

/// The first open query would give the first layer away, so there is none, and that is said.
#[test]
fn a_convolution_is_served_blind_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(run(path, &["certs", "init"]).status.success());
    let network = r#"{ "input": [1, 8, 8], "layers": [
        { "layer": "conv2d", "filters": 2, "kernel": 3 }, { "layer": "activation", "function": "relu" },
        { "layer": "dense", "outputs": 10 } ] }"#;
    std::fs::write(path.join("network.json"), network).unwrap();
    let train = ["train", "--plaintext", "--network", "network.json", "--dataset", "digits"];
    json(path, &[&train[..], &["--epochs", "0", "--out", "model.safetensors"]].concat());
    let serve = ["serve", "--json", "--model", "model.safetensors", "--listen", "127.0.0.1:0"];
    let mut serve = gelu(path, &[&serve[..], &CLEAR, &["--stop-with-stdin"]].concat());
    let (mut child, address) = listening(serve.stderr(Stdio::null()));
    let server = ["infer", "--server", &address, "--dataset", "digits"];
    let open = run(path, &[&server[..], &CLEAR, &["--count", "1", "--mode", "open"]].concat());
    let told = said(&open);
    assert!(told.contains("answers no open queries") && told.contains("extract it"), "{told}");
    let blind = json(path, &[&server[..], &CLEAR, &["--count", "1"]].concat());
    assert_eq!((&blind["mode"], &blind["answered"]), (&"blind".into(), &1.into()));
    drop(child.stdin.take());
    assert!(ended(&mut child).success());
}

#[test]
fn a_measurement_has_tickets_and_queries_apart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = ["bench", "latency", "--network", "iris", "--mode", "blind", "--runs", "3"];
    let told = json(folder.path(), &[&bench[..], &CLEAR, &["--tickets", "2"]].concat());
    let number = |value: &Value| value.as_f64().unwrap();
    for name in ["online_s", "offline_s", "cold_s", "opening_s"] {
        assert!(number(&told[name]) > 0.0, "{name}: {told}");
    }
    assert_eq!(told["answers_equal_plaintext"], true);
    let (online, offline, cold) = (&told["online"], &told["offline"], &told["cold"]);
    assert_eq!(number(&online["rounds"]), 2.0, "a round trip a layer");
    assert_eq!(number(&cold["rounds"]), 2.0 + 2.0, "and two for a ticket");
    assert_eq!(number(&offline["rounds"]), 1.5, "one for two tickets, and one each");
    let bytes = |part: &Value| number(&part["bytes_up"]) + number(&part["bytes_down"]);
    assert!(bytes(online) < bytes(offline) && bytes(offline) < bytes(cold), "{told}");
    assert_eq!(told["precompute"], false);
    let idle = json(folder.path(), &[&bench[..], &CLEAR, &["--precompute"]].concat());
    let equal = (&idle["precompute"], &idle["answers_equal_plaintext"]);
    assert_eq!(equal, (&true.into(), &true.into()));
}
