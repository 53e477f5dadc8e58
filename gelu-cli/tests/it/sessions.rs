//! Whole runs of the program: the demonstration, training and queries, here and with a server.

use std::path::Path;

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use super::{Served, data, gelu, json, with_certificates_and_model};

/// What holds for every demonstration.
fn check_demo(folder: &Path, demo: &Value, backend: &str) {
    assert_eq!(demo["weights_equal_oracle"], true);
    assert_eq!(demo["predictions_equal_plaintext"], true);
    assert_eq!(demo["accuracy_encrypted"], demo["accuracy_plaintext"]);
    assert_eq!((&demo["backend"], &demo["key_bits"]), (&backend.into(), &2048.into()));
    for number in ["seconds", "bytes", "rounds"] {
        assert!(demo[number].as_f64().unwrap() > 0.0, "{number}");
    }
    let verdict = demo["ledger"]["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("no lease protects both"), "{verdict}");
    let leases = demo["leases"].as_array().unwrap();
    assert!(leases.iter().any(|l| l["client"] == 1) && leases.iter().any(|l| l["client"] == 2));
    let versions: Vec<_> = leases.iter().map(|l| l["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
    let page = std::fs::read_to_string(folder.join(demo["report"].as_str().unwrap())).unwrap();
    for part in ["<svg", "What leaks", "Parameters", "bit for bit", "gelu demo"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.contains("encrypts nothing"), backend == "insecure-clear");
}

#[test]
fn the_demonstration_in_the_clear_repeats_itself() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--backend", "insecure-clear", "--epochs", "8"];
    let first = json(folder.path(), &arguments);
    check_demo(folder.path(), &first, "insecure-clear");
    let second = json(folder.path(), &arguments);
    for same in ["leases", "accuracy_encrypted", "accuracy_plaintext", "rounds"] {
        assert_eq!(first[same], second[same], "{same}");
    }
}

#[cfg(feature = "paillier")]
#[test]
fn the_demonstration_under_paillier() {
    let folder = tempfile::tempdir().unwrap();
    let demo = json(folder.path(), &["demo", "--epochs", "2", "--report", "r.html"]);
    check_demo(folder.path(), &demo, "paillier");
    assert!(folder.path().join("r.html").is_file());
}

/// A network that one open query would give away, asked blindly.
#[test]
fn the_blind_demonstration() {
    let folder = tempfile::tempdir().unwrap();
    let demo = json(folder.path(), &["demo", "--blind", "--backend", "insecure-clear"]);
    let said = |of: &str| demo[of].as_str().unwrap();
    assert!(said("open").starts_with("a single query can determine weights of conv1"), "{demo}");
    assert!(said("blind").starts_with("a blind query tells 4 bits"), "{demo}");
    assert_eq!((&demo["answered"], &demo["equal"]), (&32.into(), &32.into()));
    assert!(demo["right"].as_u64().unwrap() > 24, "{demo}");
}

/// Queries over TLS with fresh keys and with keys from a file, and a training whose weights are the oracle's, also
/// with keys that are too small for it.
#[cfg(feature = "lattice")]
#[test]
fn queries_and_a_training_under_a_lattice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    json(path, &["train", "--plaintext", "--network", "iris", "--out", "iris.safetensors"]);
    json(path, &["keygen", "--backend", "lattice", "l.key"]);
    let ask = ["infer", "--model", "iris.safetensors", "--dataset", "iris", "--backend", "lattice"];
    for (more, bits) in [(["--count", "6"], 4096), (["--key", "l.key"], 8192)] {
        let asked = json(path, &[&ask[..], &more].concat());
        assert_eq!(asked["predictions_equal_plaintext"], true, "{asked}");
        assert_eq!((&asked["backend"], &asked["key_bits"]), (&"lattice".into(), &bits.into()));
    }
    let train =
        ["train", "--dataset", "digits", "--backend", "lattice", "--steps", "30", "--batch", "20"];
    let trained = json(path, &[&train[..], &["--held-out", "40"]].concat());
    assert_eq!((&trained["weights_equal_oracle"], &trained["ended"]), (&true.into(), &Value::Null));
    assert_eq!(trained["key_bits"], 8192);
    let small = gelu(path, &[&train[..], &["--key-bits", "4096"]].concat()).assert().code(1);
    let said = String::from_utf8(small.get_output().stderr.clone()).unwrap();
    assert!(said.contains("(forward) needs"), "{said}");
    let secret = gelu(path, &[&train[..], &["--secret-rate", "1"]].concat()).assert().failure();
    let said = String::from_utf8(secret.get_output().stderr.clone()).unwrap();
    assert!(said.contains("lattice") && said.contains("rate"), "{said}");
}

/// What every backend with one small slot must do: answer queries over TLS with fresh keys and with
/// keys from a file, and refuse to train, by the name of the layer.
#[cfg(any(feature = "elgamal", feature = "bgn"))]
fn check_small_backend(backend: &str, key_bits: u32, plaintext_bits: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    json(path, &["train", "--plaintext", "--network", "iris", "--out", "iris.safetensors"]);
    json(path, &["keygen", "--backend", backend, "b.key"]);
    let of = |more: &[&str]| {
        let ask = ["infer", "--model", "iris.safetensors", "--dataset", "iris", "--backend"];
        json(path, &[&ask[..], &[backend], more].concat())
    };
    for more in [&["--count", "6", "--batch", "3"][..], &["--count", "2", "--key", "b.key"]] {
        let asked = of(more);
        assert_eq!(asked["predictions_equal_plaintext"], true, "{asked}");
        assert_eq!((&asked["backend"], &asked["key_bits"]), (&backend.into(), &key_bits.into()));
        assert!(asked["bytes"].as_u64() > Some(0) && asked["rounds"].as_u64() > Some(0));
    }
    let refused = gelu(path, &["demo", "--backend", backend]).assert().failure().code(1);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    let slot = format!("dense1 (forward) needs 105 bits, the plaintext slot has {plaintext_bits}");
    assert!(said.contains(&slot) && said.contains("gelu backends"), "{said}");

    // A server announces the verdicts of this backend's own slots.
    gelu(path, &["certs", "init"]).assert().success();
    let verdicts = |backend: &str| -> Vec<String> {
        let model = ["--model", "iris.safetensors", "--backend", backend];
        let serve = ["serve", "--json", "--listen", "127.0.0.1:0", "--stop-with-stdin"];
        let words = [&serve[..], &model, &["--allow-model-extraction"]].concat();
        let run = gelu(path, &words).stdin(std::process::Stdio::null()).output().unwrap();
        let ready = run.stdout.split(|&byte| byte == b'\n').next().unwrap();
        let ready: Value = serde_json::from_slice(ready).unwrap();
        let model = &ready["models"][0];
        assert_eq!(model["backend"], backend);
        serde_json::from_value(model["verdicts"].clone()).unwrap()
    };
    let [small, clear] = [verdicts(backend), verdicts("insecure-clear")];
    assert_eq!(small[0], clear[0], "bits of a slot, not their number, decide on queries");
    assert!(small[1].starts_with("the numbers do not fit"), "{small:?}");
}

#[cfg(feature = "elgamal")]
#[test]
fn queries_under_elgamal() {
    check_small_backend("elgamal", 256, 40);
}

#[cfg(feature = "bgn")]
#[test]
fn queries_under_bgn() {
    check_small_backend("bgn", 381, 40);
}

#[test]
fn the_demonstration_speaks_to_people_too() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--backend", "insecure-clear", "--epochs", "3"];
    let run = gelu(folder.path(), &arguments).assert().success();
    let said = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    for part in ["accuracy", "bit for bit", "verdict", "--allow-model-extraction", "Report:"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_table_is_trained_by_three_clients_at_a_secret_rate() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..90).map(|i| {
        let x = f64::from(i % 30) / 10.0;
        let word = if i % 3 == 0 { "red" } else { "blue" };
        let class = if x + f64::from(i % 3 == 0) > 1.7 { "yes" } else { "no" };
        format!("{x},{word},{class}\n")
    });
    let table = ["x,colour,<class>\n".to_owned()].into_iter().chain(rows).collect::<String>();
    std::fs::write(folder.path().join("table.csv"), table).unwrap();
    let run = json(
        folder.path(),
        &[
            "train",
            "--backend",
            "insecure-clear",
            "--csv",
            "table.csv",
            "--label",
            "<class>",
            "--clients",
            "3",
            "--secret-rate",
            "0",
            "--batch",
            "8",
            "--epochs",
            "6",
            "--out",
            "model.safetensors",
        ],
    );
    assert_eq!(run["weights_equal_oracle"], true);
    assert_eq!(run["predictions_equal_plaintext"], true);
    assert_eq!((&run["rate"], &run["rate_is_secret"]), (&1.0.into(), &true.into()));
    assert_eq!(run["clients"], 3);
    let audit = json(folder.path(), &["audit", "model.safetensors"]);
    assert_eq!(audit["layers"], run["layers"]);
    let asked = json(
        folder.path(),
        &[
            "infer",
            "--backend",
            "insecure-clear",
            "--model",
            "model.safetensors",
            "--csv",
            "table.csv",
            "--label",
            "<class>",
            "--batch",
            "5",
        ],
    );
    assert_eq!(asked["predictions_equal_plaintext"], true);
    assert_eq!(asked["accuracy"], run["accuracy_encrypted"]);
}

#[test]
fn a_client_trains_and_asks_with_a_server_elsewhere() {
    let folder = with_certificates_and_model();
    let path = folder.path();
    gelu(path, &["certs", "add", "alice"]).assert().success();
    // The ledger refuses to train so narrow a network, and says so.
    let served = Served::start(path, &["--rate", "0.5"]);
    let train = [
        "train",
        "--server",
        &served.address,
        "--account",
        "alice",
        "--dataset",
        "iris",
        "--epochs",
        "6",
        "--backend",
        "insecure-clear",
    ];
    let refused = gelu(path, &train).assert().failure().code(1);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("refused") && said.contains("--allow-model-extraction"), "{said}");
    served.stop();

    let served = Served::start(path, &["--rate", "0.5", "--allow-model-extraction"]);
    let at = |command: &[&'static str]| -> Vec<String> {
        let rest = ["--server", &served.address, "--account", "alice", "--dataset", "iris"];
        let backend = ["--backend", "insecure-clear"];
        command.iter().chain(&rest).chain(&backend).map(ToString::to_string).collect()
    };
    let train = at(&["train", "--epochs", "6"]);
    let run = json(path, &train.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(run["accuracy_encrypted"].as_f64().unwrap() > 0.7, "{run}");
    assert!(path.join("gelu-train-report.html").is_file());
    let infer = at(&["infer", "--batch", "30"]);
    let asked = json(path, &infer.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(asked["accuracy"], run["accuracy_encrypted"]);
    assert_eq!(asked["predictions_equal_plaintext"], Value::Null);
    served.stop();
    assert!(path.join("model.safetensors.store").is_file());
}

#[test]
fn a_server_refuses_to_serve_what_nobody_could_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Two samples determine this model's only row: neither query nor step is safe.
    std::fs::write(path.join("t.csv"), "x,c\n1,a\n2,b\n3,a\n4,b\n1,b\n2,a\n3,b\n4,a\n1,a\n2,b\n")
        .unwrap();
    json(
        path,
        &["train", "--plaintext", "--csv", "t.csv", "--epochs", "1", "--out", "model.safetensors"],
    );
    gelu(path, &["certs", "init"]).assert().success();
    let serve = ["serve", "--model", "model.safetensors", "--modes", "open"];
    let refused = gelu(path, &serve).assert().failure().code(1);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("the ledger would refuse every request"), "{said}");
    assert!(said.contains("--modes blind tells"), "{said}");
    assert!(said.contains("--allow-model-extraction serves it all the same"), "{said}");
}

#[test]
fn named_data_sets_are_trained_and_queried() {
    let Some(data) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let data = data.to_str().unwrap();
    let run = json(
        path,
        &["train", "--backend", "insecure-clear", "--data", data, "--dataset", "diabetes"],
    );
    assert_eq!(run["weights_equal_oracle"], true);
    // 0.768 ± 0.028 is the plaintext reference over 20 splits.
    assert!(run["accuracy_encrypted"].as_f64().unwrap() > 0.740, "{run}");
    json(
        path,
        &[
            "train",
            "--plaintext",
            "--network",
            "conv1",
            "--epochs",
            "0",
            "--data",
            data,
            "--out",
            "conv1.safetensors",
        ],
    );
    let asked = json(
        path,
        &[
            "infer",
            "--backend",
            "insecure-clear",
            "--model",
            "conv1.safetensors",
            "--data",
            data,
            "--dataset",
            "mnist",
            "--count",
            "2",
        ],
    );
    assert_eq!((&asked["count"], &asked["rounds"]), (&2.into(), &(1 + 2 * 2).into()));
    assert_eq!(asked["predictions_equal_plaintext"], true);
}

/// The fields that the benchmarks promise, on the smallest network.
#[test]
fn benchmarks_check_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = |report: &Value, names: &[&str]| {
        for name in names {
            assert!(report[name].as_f64().is_some_and(|x| x > 0.0), "{name}: {report}");
        }
    };
    let latency = json(
        folder.path(),
        &["bench", "latency", "--network", "iris", "--runs", "3", "--batch", "2"],
    );
    numbers(&latency, &["median_s", "min_s", "bytes_up", "bytes_down"]);
    assert_eq!((&latency["runs"], &latency["batch"]), (&3.into(), &2.into()));
    assert_eq!((&latency["rounds"], &latency["key_bits"]), (&2.into(), &2048.into()));
    assert_eq!(latency["predictions_equal_plaintext"], true);
    assert_eq!((&latency["network"], &latency["backend"]), (&"iris".into(), &"paillier".into()));
    let date = latency["date"].as_str().unwrap();
    assert!(date.starts_with("20") && date.ends_with('Z'), "{date}");
    for known in ["kernel", "threads", "command", "weights", "samples"] {
        assert!(!latency[known].is_null(), "{known}: {latency}");
    }
    if cfg!(target_os = "linux") {
        assert!(latency["client_cpu_s"].is_number() && latency["server_cpu_s"].is_number());
    }

    let step = ["bench", "train-step", "--network", "iris", "--batch", "4", "--sigma", "40"];
    let step = json(folder.path(), &[&step[..], &["--runs", "2"]].concat());
    numbers(&step, &["median_s", "min_s", "bytes_up", "bytes_down"]);
    // Both layers forwards, the second one backwards, the update.
    assert_eq!((&step["rounds"], &step["sigma"]), (&4.into(), &40.into()));
    assert_eq!(step["timed_steps"], serde_json::json!([2, 3]));
    assert_eq!(step["weights_equal_oracle"], true);

    assert_eq!((&step["masked_updates"], &step["steps"]), (&3.into(), &4.into()));

    let step = ["bench", "train-step", "--network", "iris", "--batch", "2", "--secret-rate", "2"];
    let clear = ["--backend", "insecure-clear", "--runs", "3", "--steps", "4", "--threads", "1"];
    let step = json(folder.path(), &[&step[..], &clear].concat());
    assert_eq!((&step["leases"], &step["runs"]), (&2.into(), &4.into()));
    assert_eq!((&step["masked_updates"], &step["threads"]), (&6.into(), &1.into()));
    assert_eq!((&step["weights_equal_oracle"], &step["kernel"]), (&true.into(), &Value::Null));

    let model = folder.path().join("iris.safetensors");
    let model = model.to_str().unwrap();
    gelu(folder.path(), &["train", "--plaintext", "--network", "iris", "--out", model])
        .assert()
        .success();
    let latency = ["bench", "latency", "--backend", "insecure-clear", "--runs", "1"];
    let trained = [&latency[..], &["--model", model, "--dataset", "iris"]].concat();
    let trained = json(folder.path(), &trained);
    assert_eq!((&trained["network"], &trained["samples"]), (&"iris".into(), &"iris".into()));
    assert_eq!(trained["predictions_equal_plaintext"], true);
    for wrong in [&["--network", "nonsense"][..], &["--model", model, "--network", "lenet5"]] {
        gelu(folder.path(), &[&latency[..], wrong].concat()).assert().failure().code(1);
    }
}
