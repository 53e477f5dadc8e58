//! Heads that are trained under encryption: as good as in the clear, usable as any model, refused by name.

use std::path::Path;

use gelu_nn::scores::Scores;
use gelu_nn::{Model, Split};
use serde_json::Value;

use super::{CLEAR, Served, json, run, said};

/// What every fit promises; the area under the curve.
fn check(fit: &Value) -> f64 {
    assert_eq!(fit["weights_equal_oracle"], true);
    assert_eq!(fit["predictions_equal_plaintext"], true);
    assert_eq!(fit["saturations"], 0);
    let leases = fit["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 1, "one lease, so one sum is revealed: {leases:?}");
    let auc = |which: &str| fit["scores"][which]["auc"].as_f64().unwrap();
    let (encrypted, clear) = (auc("encrypted"), auc("in_the_clear"));
    assert!((encrypted - clear).abs() <= 0.005, "{encrypted}, in the clear {clear}");
    encrypted
}

/// The second class's precision and recall of `predictions`, and the share that is right.
fn scores(predictions: &Value, labels: &[usize]) -> Scores {
    let answers = predictions.as_array().unwrap().iter();
    let odds: Vec<_> = answers.map(|class| class.as_f64().unwrap() - 0.5).collect();
    Scores::of_two(labels, &odds, 0.0)
}

/// The healthcare case with its defaults, without encryption: the head is as good as the published numbers
/// say, and what is written answers as it was judged, through `predict` and `infer` alike.
#[test]
fn the_medical_abstracts() {
    let folder = tempfile::tempdir().unwrap();
    let head = ["--out", "head.safetensors", "--report", "r.html"];
    let fit = json(folder.path(), &[&["transfer", "fit"], &CLEAR[..], &head].concat());
    assert!(check(&fit) > 0.931, "{}", fit["scores"]);
    let judged = &fit["scores"]["encrypted"];
    assert!(judged["f1"].as_f64().unwrap() > 0.75, "{judged}");
    assert_eq!((fit["samples"]["train"].as_u64(), fit["asked"].as_u64()), (Some(2048), Some(722)));
    let page = std::fs::read_to_string(folder.path().join("r.html")).unwrap();
    for part in ["<svg", "What leaks", "The head", "area under the curve"] {
        assert!(page.contains(part), "{part}");
    }

    let model = Model::load(&folder.path().join("head.safetensors")).unwrap();
    assert_eq!((model.architecture().input().features(), model.architecture().classes()), (384, 2));
    let (test, ask) = (Split::abstracts().test, ["--model", "head.safetensors"]);
    let out = ["--out", "answers.csv"];
    let words = [&["transfer", "predict"], &ask[..], &CLEAR, &out].concat();
    let predicted = json(folder.path(), &words);
    assert_eq!(predicted["predictions_equal_plaintext"], true);
    let again = scores(&predicted["predictions"], test.labels());
    for (name, value) in [
        ("accuracy", again.accuracy),
        ("f1", again.f1),
        ("precision", again.precision),
        ("recall", again.recall),
    ] {
        // Features of 8 bits meet weights of 14: a row at the threshold may change sides.
        assert!((judged[name].as_f64().unwrap() - value).abs() < 0.01, "{name}: {value}, {judged}");
    }
    let table = std::fs::read_to_string(folder.path().join("answers.csv")).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (723, "row,answer"));
    let named =
        |class: &Value| ["other", "cancer"][usize::try_from(class.as_u64().unwrap()).unwrap()];
    assert_eq!(lines[1], format!("1,{}", named(&predicted["predictions"][0])));
    let words = [&["infer", "--dataset", "abstracts", "--batch", "100"], &ask[..], &CLEAR].concat();
    assert_eq!(json(folder.path(), &words)["predictions"], predicted["predictions"]);
}

#[test]
fn components_are_folded_into_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["transfer", "fit", "--components", "32", "--out", "head.safetensors"];
    let fit = json(folder.path(), &[&words[..], &CLEAR].concat());
    assert!(check(&fit) > 0.92);
    assert!(fit["layers"].as_str().unwrap().starts_with("32 "), "{}", fit["layers"]);
    let ask = ["transfer", "predict", "--model", "head.safetensors"];
    let predicted = json(folder.path(), &[&ask[..], &CLEAR].concat());
    let again = scores(&predicted["predictions"], Split::abstracts().test.labels());
    let f1 = fit["scores"]["encrypted"]["f1"].as_f64().unwrap();
    assert!((again.f1 - f1).abs() < 0.01, "{} {f1}", again.f1);
}

/// Real keys, few rows.
#[test]
fn under_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let few = ["transfer", "fit", "--rows", "256", "--epochs", "2", "--held-out", "100"];
    if cfg!(feature = "lattice") {
        let fit = json(folder.path(), &[&few[..], &["--out", "head.safetensors"]].concat());
        assert_eq!(fit["backend"], "lattice", "the default");
        assert!(check(&fit) > 0.85);
        let ask = ["transfer", "predict", "--model", "head.safetensors", "--count", "9"];
        assert_eq!(json(folder.path(), &ask)["predictions_equal_plaintext"], true);
    }
    if cfg!(feature = "paillier") {
        let backend = ["--backend", "paillier", "--components", "8"];
        assert!(check(&json(folder.path(), &[&few[..], &backend].concat())) > 0.7);
    }
}

/// A base for the digits 0 to 4, frozen under a head for 5 to 9: with real keys where there are any.
#[test]
fn a_head_on_a_frozen_base() {
    let folder = tempfile::tempdir().unwrap();
    let classes = ["--classes", "0,1,2,3,4", "--out", "base.safetensors"];
    let train = ["train", "--plaintext", "--dataset", "digits", "--network", "digits"];
    json(folder.path(), &[&train[..], &classes].concat());
    let base = Model::load(&folder.path().join("base.safetensors")).unwrap();
    assert_eq!(base.architecture().classes(), 5);

    let on = ["--base", "base.safetensors", "--freeze", "1", "--dataset", "digits"];
    let others = ["--classes", "5,6,7,8,9", "--epochs", "12", "--batch", "64"];
    let words = [&["transfer", "fit"], &on[..], &others, &["--out", "both.safetensors"]].concat();
    let fit = json(folder.path(), &words);
    check(&fit);
    assert_eq!((&fit["frozen"], &fit["scores"]["threshold"]), (&1.into(), &Value::Null));
    let accuracy = fit["scores"]["encrypted"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.7, "{accuracy}: a fifth would be guessing");
    let both = Model::load(&folder.path().join("both.safetensors")).unwrap();
    assert_eq!(both.architecture().frozen(), 1);
    assert_eq!(both.weights().layers[0], base.weights().layers[0], "the base is the base");
    // An update is one of the head: no error reaches the base, and nothing is masked there.
    let protocol = fit["protocol"].as_array().unwrap();
    assert!(protocol.iter().all(|phase| phase["phase"] != "backward"), "{protocol:?}");

    let ask = ["transfer", "predict", "--model", "both.safetensors", "--dataset", "digits"];
    let predicted = json(folder.path(), &[&ask[..], &others[..2]].concat());
    assert_eq!(predicted["predictions_equal_plaintext"], true);
    assert!("56789".contains(predicted["answers"][0].as_str().unwrap()));
}

/// The operator freezes; the card tells the client, who may insist on what it was promised.
#[test]
fn a_server_freezes_a_base_for_its_clients() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "--plaintext", "--dataset", "digits", "--epochs", "0"];
    let out = ["--precision", "training", "--out", "model.safetensors"];
    json(folder.path(), &[&train[..], &out].concat());
    let before = Model::load(&folder.path().join("model.safetensors")).unwrap();
    let more = ["--freeze", "1", "--allow-model-extraction", "--lease-samples", "4096"];
    let server = Served::start(folder.path(), &more);
    let there = ["--server", &server.address, "--account", "alice", "--dataset", "digits"];
    let train = [&["train"], &there[..], &CLEAR, &["--steps", "6"]].concat();
    let trained = json(folder.path(), &[&train[..], &["--freeze", "1"]].concat());
    assert_eq!(trained["steps_done"], 6);
    let refused = run(folder.path(), &[&train[..], &["--freeze", "0"]].concat());
    assert!(said(&refused).contains("the server freezes the first 1 stages"), "{}", said(&refused));
    server.stop();
    let after = Model::load(&folder.path().join("model.safetensors")).unwrap();
    assert_eq!(after.architecture().frozen(), 1, "every version says it");
    assert!(after.parameters().layers[0] == before.parameters().layers[0]);
    assert!(after.parameters().layers[1] != before.parameters().layers[1]);
}

/// `gelu train` freezes, too, on a model that is trained further.
#[test]
fn a_model_is_trained_further_with_its_base_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "--dataset", "digits"];
    let base = ["--plaintext", "--epochs", "1", "--out", "base.safetensors"];
    json(folder.path(), &[&train[..], &base].concat());
    let further = ["--start", "base.safetensors", "--freeze", "1", "--steps", "12"];
    let out = ["--out", "further.safetensors"];
    let trained = json(folder.path(), &[&train[..], &further, &out, &CLEAR].concat());
    assert_eq!(trained["weights_equal_oracle"], true);
    let [a, b] = ["base", "further"].map(|name| {
        Model::load(&folder.path().join(name).with_extension("safetensors")).unwrap().weights()
    });
    assert_eq!(a.layers[0], b.layers[0]);
    assert_ne!(a.layers[1], b.layers[1]);
}

pub(super) fn refused(folder: &Path, words: &[&str], expected: &[&str]) {
    let run = run(folder, words);
    let said = said(&run);
    assert!(!run.status.success(), "{words:?}");
    for part in expected {
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    super::table(at, "wide.csv", 6, 2, 60);
    super::untrained_model(at, "wide.csv");
    let words =
        ["transfer", "fit", "--csv", "wide.csv", "--epochs", "1", "--out", "head.safetensors"];
    json(at, &[&words[..], &CLEAR].concat());
    super::table(at, "narrow.csv", 4, 2, 60);
    std::fs::write(at.join("broken.safetensors"), b"no features").unwrap();

    // Stages.
    for (frozen, all) in [("2", "2 of 2"), ("9", "9 of 2")] {
        let said = [&format!("{all} stages are to be frozen")[..], "choose a --freeze below 2"];
        for command in ["audit", "plan"] {
            refused(at, &[command, "iris", "--freeze", frozen], &said);
        }
        refused(at, &["train", "--dataset", "iris", "--freeze", frozen], &said);
        let serve = ["serve", "--model", "model.safetensors", "--freeze", frozen];
        refused(at, &serve, &said);
    }
    let base = ["transfer", "fit", "--base", "model.safetensors", "--csv", "wide.csv"];
    let said = ["3 stages are asked for, there are 2", "--freeze of 1 to 2"];
    refused(at, &[&base[..], &["--freeze", "3"]].concat(), &said);
    refused(at, &base, &["--freeze"]);
    // Widths.
    let base = ["transfer", "fit", "--base", "model.safetensors", "--freeze", "1"];
    let said = ["narrow.csv", "missing: x4, x5"];
    refused(at, &[&base[..], &["--csv", "narrow.csv"]].concat(), &said);
    let ask = ["transfer", "predict", "--model", "head.safetensors"];
    refused(at, &[&ask[..], &["--csv", "narrow.csv"]].concat(), &said);
    // Labels and columns.
    let fit = ["transfer", "fit"];
    refused(at, &[&fit[..], &["--csv", "wide.csv", "--label", "9"]].concat(), &["no column \"9\""]);
    refused(
        at,
        &[&fit[..], &["--csv", "wide.csv", "--classes", "c7"]].concat(),
        &["no class \"c7\""],
    );
    let broken = [&fit[..], &["--features", "broken.safetensors"]].concat();
    refused(at, &broken, &["broken.safetensors", "needs train.x, train.y"]);
    // The head's own file has tensors, but no features.
    let head = [&fit[..], &["--features", "head.safetensors"]].concat();
    refused(at, &head, &["tensor train.x: is missing; there are dense1.bias"]);
    // Rows.
    let few = [&fit[..], &["--rows", "40", "--batch", "41"]].concat();
    refused(at, &few, &["a mini-batch of 41 samples cannot be made of 40 rows"]);
    let few = [&fit[..], &["--rows", "16", "--components", "16"]].concat();
    refused(at, &few, &["needs more rows than components"]);
    let few = [&fit[..], &CLEAR, &["--rows", "2", "--batch", "2"]].concat();
    refused(at, &few, &["3 different rows or more"]);
    // Engines.
    refused(at, &[&fit[..], &["--engine", "magic"]].concat(), &["possible values: exact"]);
}
