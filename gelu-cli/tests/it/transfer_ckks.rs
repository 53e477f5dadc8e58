//! Heads that are trained under CKKS: near those in the clear, by two processes, also when one of them is lost.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use gelu_nn::data::tensors::Part;
use gelu_nn::schema::{Labels, ReadOptions};
use gelu_nn::{Dataset, Model};
use serde_json::Value;

use super::transfer::refused;
use super::{CLEAR, gelu, json, listening, run, said, table};

const FIT: [&str; 6] = ["transfer", "fit", "--engine", "ckks", "--csv", "rows.csv"];

/// 128 rows to train on, 32 held out, of 8 features and two classes.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), "rows.csv", 8, 2, 80);
    folder
}

/// What every fit promises.
fn check(fit: &Value) {
    assert_eq!(fit["weights_equal_clear"], true, "{fit}");
    let off = fit["weights_off"].as_f64().unwrap();
    assert!(off > 1e-9 && off < 1e-3, "{off}: noise there is, and no more than is allowed");
    let auc = |which: &str| fit["scores"][which]["auc"].as_f64().unwrap();
    assert!((auc("encrypted") - auc("in_the_clear")).abs() < 0.005, "{fit}");
    assert!(auc("encrypted") > 0.8, "{fit}");
}

#[test]
fn a_head_that_the_other_party_never_saw() {
    let folder = folder();
    let at = folder.path();
    let out = ["--out", "head.safetensors", "--report", "r.html", "--iterations", "5"];
    let fit = json(at, &[&FIT[..], &out].concat());
    check(&fit);
    assert_eq!((&fit["ring"]["degree"], &fit["ring"]["levels"]), (&8192.into(), &2.into()));
    assert_eq!((&fit["iterations"]["last"], &fit["bytes"]["refreshes"]), (&5.into(), &5.into()));
    for part in ["keys", "data", "up", "down"] {
        assert!(fit["bytes"][part].as_u64().unwrap() > 10_000, "{}", fit["bytes"]);
    }
    let page = std::fs::read_to_string(at.join("r.html")).unwrap();
    for part in ["What leaks", "The head", "same training in the clear", "evaluation keys"] {
        assert!(page.contains(part), "{part}");
    }
    // An ordinary model of raw features.
    let model = Model::load(&at.join("head.safetensors")).unwrap();
    assert_eq!((model.architecture().input().features(), model.architecture().classes()), (8, 2));
    let ask = ["transfer", "predict", "--model", "head.safetensors", "--csv", "rows.csv"];
    let asked = json(at, &[&ask[..], &["--ignore", "class"], &CLEAR].concat());
    let answers = asked["predictions"].as_array().unwrap();
    // Rows of the table alternate between its classes.
    let right =
        answers.iter().enumerate().filter(|(i, class)| class.as_u64() == Some(*i as u64 % 2));
    let (right, judged) = (right.count() as f64, fit["scores"]["encrypted"]["accuracy"].as_f64());
    assert!(right / answers.len() as f64 > judged.unwrap() - 0.1, "{right} of {}", answers.len());

    // In two parts, the weights are the same but for the noise.
    let state = ["--state", "head.state", "--out", "parts.safetensors", "--iterations"];
    json(at, &[&FIT[..], &state, &["2"]].concat());
    let rest = json(at, &[&FIT[..], &state, &["5"]].concat());
    check(&rest);
    assert_eq!((&rest["iterations"]["first"], &rest["bytes"]["refreshes"]), (&2.into(), &3.into()));
    let [whole, parts] = ["head", "parts"].map(|name| {
        let model = Model::load(&at.join(name).with_extension("safetensors")).unwrap();
        model.weights().layers[0].weights.clone()
    });
    let largest = whole.iter().fold(0.0f64, |most, w| most.max(w.abs()));
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 2e-3 * largest, "{a} {b}");
    }
    let again = [&FIT[..], &state, &["5"]].concat();
    refused(at, &again, &["the state has 5 iterations already", "more --iterations"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = at.join("head.state").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "the state is as secret as the head");
    }
}

/// A compute party that is killed when it is dropped.
struct Party {
    child: Child,
    address: String,
}

impl Party {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let words = ["transfer", "compute", "--json", "--listen", "127.0.0.1:0"];
        let mut command = gelu(folder, &[&words[..], &["--stop-with-stdin"], more].concat());
        let (child, address) = listening(command.stderr(Stdio::null()));
        Self { child, address }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_party_elsewhere_computes_for_one_at_a_time_and_may_be_lost() {
    let folder = folder();
    let at = folder.path();
    for words in [&["certs", "init"][..], &["certs", "add", "alice"]] {
        assert!(run(at, words).status.success());
    }
    let there = |party: &Party, more: &[&str]| -> Vec<String> {
        let server = ["--server", &party.address, "--account", "alice"];
        [&FIT[..], &server, more].concat().into_iter().map(String::from).collect()
    };
    let fit = |all: &[String]| run(at, &all.iter().map(String::as_str).collect::<Vec<_>>());

    let small = Party::start(at, &["--memory", "0.001"]);
    let refused = fit(&there(&small, &[]));
    assert!(!refused.status.success());
    assert!(said(&refused).contains("MiB of memory"), "{}", said(&refused));
    drop(small);

    let party = Party::start(at, &[]);
    let long = there(&party, &["--state", "head.state", "--rate", "0.5", "--iterations", "10000"]);
    let mut trains = gelu(at, &long.iter().map(String::as_str).collect::<Vec<_>>());
    let mut trains = trains.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !at.join("head.state").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no refresh came");
        assert!(trains.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = fit(&there(&party, &[]));
    assert!(said(&second).contains("busy with another computation"), "{}", said(&second));
    drop(party);
    let lost = trains.wait_with_output().unwrap();
    assert!(!lost.status.success());
    let told = said(&lost);
    assert!(told.contains("run the command again to go on from the last refresh"), "{told}");

    let state = std::fs::read(at.join("head.state")).unwrap();
    let done = u32::from_le_bytes(state[8..12].try_into().unwrap());
    assert!(done > 0);
    let party = Party::start(at, &[]);
    let more = (done + 2).to_string();
    let rest = ["--state", "head.state", "--rate", "0.5", "--iterations", &more, "--json"];
    let rest = fit(&there(&party, &rest));
    assert!(rest.status.success(), "{}", said(&rest));
    let rest: Value = serde_json::from_slice(&rest.stdout).unwrap();
    check(&rest);
    assert_eq!(rest["iterations"]["first"].as_u64(), Some(done.into()));
}

#[test]
fn more_classes_are_a_head_each() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path(), "rows.csv", 8, 3, 60);
    let out = ["--out", "head.safetensors", "--batch", "128", "--degree", "3", "--rate", "1"];
    let fit = json(folder.path(), &[&FIT[..], &out].concat());
    check(&fit);
    assert_eq!((&fit["settings"]["heads"], &fit["scores"]["threshold"]), (&3.into(), &Value::Null));
    let model = Model::load(&folder.path().join("head.safetensors")).unwrap();
    assert_eq!(model.architecture().classes(), 3);
}

/// Setup 1: the base runs at the compute party, on rows that it never sees.
#[test]
fn a_head_on_a_base_of_the_other_party() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let train = ["train", "--plaintext", "--dataset", "digits", "--classes", "0,1,2,3,4"];
    for (network, out) in [("digits-square", "base.safetensors"), ("digits", "sigmoid.safetensors")]
    {
        let more = ["--network", network, "--out", out, "--epochs", "20"];
        json(at, &[&train[..], &more].concat());
    }
    let new = ["--freeze", "1", "--dataset", "digits", "--classes", "5,6,7,8,9"];
    let on = |command: &'static str, base: &'static str| {
        [&["transfer", command, "--engine", "ckks", "--base", base], &new[..]].concat()
    };
    let plan = json(at, &on("plan", "base.safetensors"));
    let fit = on("fit", "base.safetensors");
    let more = ["--iterations", "24", "--rate", "1", "--out", "both.safetensors"];
    let fit = json(at, &[&fit[..], &more].concat());
    assert_eq!(fit["weights_equal_clear"], true, "{fit}");
    let (base, planned) = (&fit["base"], &plan["ckks"]["base"]);
    let off = base["features_off"].as_f64().unwrap();
    assert!(off > 1e-9 && off < 8.0 * planned["features_off"].as_f64().unwrap(), "{off}");
    assert_eq!((&base["inputs"], &base["features"]), (&64.into(), &32.into()));
    assert_eq!(base["rows"], planned["rows"]);
    for (part, planned) in [("keys", "key_bytes"), ("up", "bytes_up"), ("down", "bytes_down")] {
        let planned = plan["ckks"]["base"][planned].as_f64().unwrap();
        let ratio = base["bytes"][part].as_f64().unwrap() / planned;
        assert!((0.95..1.05).contains(&ratio), "{part}: {ratio} of what was planned");
    }
    let accuracy = |which: &str| fit["scores"][which]["accuracy"].as_f64().unwrap();
    assert!((accuracy("encrypted") - accuracy("in_the_clear")).abs() < 0.02, "{fit}");
    assert!(accuracy("encrypted") > 0.8, "{fit}: a fifth would be guessing");

    // Base and head, as a model that takes pixels.
    let [both, base] = ["both", "base"]
        .map(|name| Model::load(&at.join(name).with_extension("safetensors")).unwrap());
    assert_eq!((both.architecture().frozen(), both.architecture().classes()), (1, 5));
    assert_eq!(both.weights().layers[0], base.weights().layers[0], "the base is the base");
    let ask = ["transfer", "predict", "--model", "both.safetensors"];
    let asked = json(at, &[&ask[..], &new[2..], &CLEAR].concat());
    assert_eq!(asked["predictions_equal_plaintext"], true);

    refused(at, &on("fit", "sigmoid.safetensors"), &["in a square", "--engine exact"]);
    refused(at, &on("plan", "sigmoid.safetensors"), &["in a square"]);
}

/// The same, without its file at the data party: features first, then a head on them, then new rows.
#[test]
fn features_of_a_base_that_only_the_other_party_has() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), folder());
    let (there, here) = (theirs.path(), ours.path());
    let square = r#"{"layer":"activation","function":"square"}"#;
    let dense = |outputs: usize| format!(r#"{{"layer":"dense","outputs":{outputs}}}"#);
    let layers = [&dense(6), square, &dense(2)].join(",");
    std::fs::write(there.join("net.json"), format!(r#"{{"input":[8],"layers":[{layers}]}}"#))
        .unwrap();
    table(there, "other.csv", 8, 2, 60);
    let train = ["train", "--plaintext", "--csv", "other.csv", "--network", "net.json"];
    json(there, &[&train[..], &["--epochs", "40", "--out", "base.safetensors"]].concat());
    for words in [&["certs", "init"][..], &["certs", "add", "alice"]] {
        assert!(run(there, words).status.success());
    }
    let certs = there.join("certs").display().to_string();
    let compute = ["transfer", "compute", "--base", "base.safetensors", "--freeze", "1"];
    refused(there, &compute, &["9 rows give as many", "--allow-model-extraction"]);
    let party = Party::start(there, &[&compute[2..], &["--allow-model-extraction"]].concat());
    let server = ["--server", &party.address, "--certs", &certs, "--account", "alice"];
    let features = [&["transfer", "features", "--csv", "rows.csv"], &server[..]].concat();

    let made = json(here, &features);
    assert_eq!((&made["base"]["inputs"], &made["base"]["features"]), (&8.into(), &6.into()));
    assert_eq!(made["rows"], serde_json::json!([128, 32]));
    let new = [&features[..], &["--new", "--ignore", "class", "--out", "new.safetensors"]].concat();
    assert_eq!(json(here, &new)["rows"], serde_json::json!([160]));

    // What the base makes of each row in the clear, by its file.
    let base = Model::load(&there.join("base.safetensors")).unwrap();
    let options = ReadOptions {
        labels: Labels::Ignored,
        ignore: vec!["class".into()],
        ..ReadOptions::default()
    };
    let rows = base.schema().unwrap().dataset(&here.join("rows.csv"), &options).unwrap();
    let first = &base.weights().layers[0];
    let came = Dataset::unlabelled_from_safetensors(&here.join("new.safetensors"), Part::Test, 2);
    let came = came.unwrap();
    for (row, came) in rows.features().columns().into_iter().zip(came.features().columns()) {
        for (feature, weights) in first.weights.chunks(8).enumerate() {
            let sum: f64 = weights.iter().zip(row).map(|(w, x)| w * x).sum();
            let expected = (sum + first.biases[feature]).powi(2);
            assert!((came[feature] - expected).abs() < 2e-3, "{} {expected}", came[feature]);
        }
    }

    // By either engine; squares of a base that was trained so little are too wild for a polynomial.
    let fit =
        ["transfer", "fit", "--features", "features.safetensors", "--out", "head.safetensors"];
    let fit = json(here, &[&fit[..], &["--epochs", "20"], &CLEAR].concat());
    assert_eq!(fit["weights_equal_oracle"], true);
    let head = Model::load(&here.join("head.safetensors")).unwrap();
    assert_eq!(head.schema().unwrap().classes(), ["c0", "c1"], "names came along");
    let ask = ["transfer", "predict", "--model", "head.safetensors", "--features"];
    let asked = json(here, &[&ask[..], &["new.safetensors"], &CLEAR].concat());
    let answers = asked["answers"].as_array().unwrap();
    let right = answers.iter().enumerate().filter(|(i, name)| **name == format!("c{}", i % 2));
    let (right, judged) = (right.count() as f64, fit["scores"]["encrypted"]["accuracy"].as_f64());
    assert!(right / 160.0 > judged.unwrap() - 0.1 && right / 160.0 > 0.7, "{right}: {asked}");

    // What does not fit.
    table(here, "wide.csv", 9, 2, 80);
    let wide = features.iter().map(|word| if *word == "rows.csv" { "wide.csv" } else { word });
    refused(here, &wide.collect::<Vec<_>>(), &["x8"]);
    drop(party);
    let none = Party::start(there, &[]);
    let server = ["--server", &none.address, "--certs", &certs, "--account", "alice"];
    let asks = [&["transfer", "features", "--csv", "rows.csv"], &server[..]].concat();
    refused(here, &asks, &["has no base", "gelu transfer compute --base"]);
}

#[test]
fn a_plan_names_rings_and_memory() {
    let folder = folder();
    let plan = ["transfer", "plan", "--csv", "rows.csv", "--degree", "3"];
    let both = json(folder.path(), &plan);
    assert!(both["backends"].as_array().is_some_and(|all| !all.is_empty()));
    let plans = both["ckks"]["plans"].as_array().unwrap();
    let rings: Vec<_> = plans.iter().map(|plan| plan["ring_degree"].as_u64()).collect();
    assert_eq!(rings, [Some(1 << 13), Some(1 << 15), Some(1 << 16)]);
    assert!(plans.windows(2).all(|two| two[0]["memory"].as_u64() < two[1]["memory"].as_u64()));
    let one =
        json(folder.path(), &[&plan[..], &["--engine", "ckks", "--unattended", "2"]].concat());
    assert_eq!(one["ckks"]["plans"].as_array().unwrap().len(), 1);
    assert_eq!(one["backends"], Value::Null);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = folder();
    let at = folder.path();
    let refuse = |more: &[&str], expected: &[&str]| {
        refused(at, &[&FIT[..], more].concat(), expected);
    };
    // Rows and features.
    refuse(&["--rows", "100", "--degree", "3"], &["100 rows in a batch", "128 rows at least"]);
    let mut wild = String::from("x,class\n");
    for row in 0..160 {
        let x = if row % 53 == 7 { 1_000_000 } else { row % 5 };
        wild.push_str(&format!("{x},c{}\n", row % 2));
    }
    std::fs::write(at.join("wild.csv"), wild).unwrap();
    let words = ["transfer", "fit", "--engine", "ckks", "--csv", "wild.csv"];
    refused(at, &words, &["in the mean of some rows", "cap what is far from the mean"]);
    // The range.
    let fast = ["--degree", "7", "--range", "1", "--rate", "50"];
    refuse(&fast, &["the polynomial holds up to 1", "a wider --range"]);
    // Options of the other engine, both ways.
    for words in [
        &["--epochs", "3"][..],
        &["--head", "4"],
        &["--allow-input-reconstruction"],
        &["--secret-rate", "3"],
        &["--key-bits", "8192"],
    ] {
        let said = format!("{} belongs to --engine exact", words[0]);
        refuse(words, &[&said, "leave "]);
    }
    for words in [["--degree", "3"], ["--state", "s"], ["--server", "a:1"], ["--unattended", "2"]] {
        let exact = [&["transfer", "fit", "--csv", "rows.csv"], &words[..]].concat();
        refused(at, &exact, &[&format!("{} belongs to --engine ckks", words[0])]);
    }
    // A file that is no state.
    refuse(&["--state", "rows.csv"], &["rows.csv"]);
    assert!(std::fs::read_to_string(at.join("rows.csv")).unwrap().starts_with("x0,"));
}
