//! What is asked for means what it says, or is refused before anything begins; and so do results.

use std::path::Path;

use serde_json::Value;

use super::{CLEAR, Served, json, run, said, table, untrained_model};

/// Fails with this code, in words and not in a panic; what it said.
fn fails(folder: &Path, arguments: &[&str], code: i32) -> String {
    let run = run(folder, arguments);
    let said = said(&run);
    assert_eq!(run.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    said
}

/// What can be refused is refused before a key is made or a server is asked.
#[test]
fn what_can_be_refused_is_refused_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    table(path, "wide.csv", 5, 2, 20);
    table(path, "classes.csv", 4, 3, 20);
    std::fs::create_dir(path.join("folder")).unwrap();
    untrained_model(path, "t.csv");
    let train = ["train", "--csv", "t.csv"];
    let infer = ["infer", "--model", "model.safetensors", "--csv"];
    let at = ["--server", "localhost:1", "--csv", "t.csv"];
    let refused: [(&[&str], &[&str], &str); 11] = [
        (&train, &["--out", "nodir/m.safetensors"], "nodir"),
        (&train, &["--out", "folder"], "folder"),
        (&train, &["--report", "nodir/r.html"], "nodir"),
        (&train, &["--report", "folder"], "folder"),
        (&train, &["--plaintext", "--out", "nodir/m.safetensors"], "nodir"),
        (&train, &["--key", "k.key"], "--key"),
        (&["demo"], &["--report", "nodir/r.html"], "nodir"),
        (&["train"], &[&at[..], &["--report", "nodir/r.html"]].concat(), "nodir"),
        (&["infer"], &at, "certs"),
        (&infer, &["wide.csv"], "does not know: x4"),
        (&infer, &["classes.csv"], "\"c2\" is none of the model's classes: c0, c1"),
    ];
    for (what, more, expected) in refused {
        let words = [what, more, &CLEAR].concat();
        let said = fails(path, &words, 1);
        assert!(said.contains(expected), "{words:?}: {said}");
        for begun in ["the key is ready", "fresh key of", "listens on", "trained for"] {
            assert!(!said.contains(begun), "{words:?}: {said}");
        }
    }
    let served = Served::start(path, &["--allow-model-extraction"]);
    let (wide, classes) = ("does not know: x4", "none of the model's classes");
    for (what, csv, expected) in [
        ("infer", "wide.csv", wide),
        ("infer", "classes.csv", classes),
        ("train", "wide.csv", wide),
        ("train", "classes.csv", classes),
    ] {
        let words = [what, "--server", &served.address, "--account", "alice", "--csv", csv];
        let said = fails(path, &[&words[..], &CLEAR].concat(), 1);
        assert!(said.contains(expected), "{words:?}: {said}");
        assert!(!said.contains("the key is ready"), "{words:?}: {said}");
    }
}

/// The report that nobody asked for is no reason to stop.
#[test]
fn a_report_by_default_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    for (report, words) in [
        ("gelu-train-report.html", &["train", "--csv", "t.csv", "--steps", "2"][..]),
        ("gelu-demo-report.html", &["demo", "--epochs", "1"]),
    ] {
        // In its place stands a folder.
        std::fs::create_dir(path.join(report)).unwrap();
        let words = [words, &CLEAR].concat();
        let words = match words[0] {
            "train" => [&words[..], &["--allow-input-reconstruction"]].concat(),
            _ => words,
        };
        let run = run(path, &words);
        assert!(run.status.success(), "{}", said(&run));
        assert!(said(&run).contains("no report") && said(&run).contains(report), "{}", said(&run));
        assert!(!String::from_utf8(run.stdout).unwrap().contains("Report:"));
        assert_eq!(json(path, &words)["report"], Value::Null);
    }
}

/// Every number that can be given, at 0 and beyond all bounds: it means what it says, or is refused in
/// words before memory is asked for.
#[test]
fn numbers_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    untrained_model(path, "t.csv");
    let train: &[&str] = &["train", "--csv", "t.csv"];
    let in_clear: &[&str] = &["train", "--plaintext", "--csv", "t.csv"];
    let infer: &[&str] = &["infer", "--model", "model.safetensors", "--csv", "t.csv"];
    let latency: &[&str] = &["bench", "latency", "--network", "lenet5"];
    let step: &[&str] = &["bench", "train-step", "--network", "lenet5"];
    const MOST: &str = "18446744073709551615";
    const U32: &str = "4294967295";
    let refused: &[(&[&str], &str, &[&str], i32)] = &[
        (train, "--rows", &["0"], 2),
        (train, "--held-out", &["0"], 2),
        (train, "--batch", &["0", "65537", MOST], 2),
        (train, "--batch", &["65536"], 1),
        (train, "--clients", &["0", "65", MOST], 2),
        (train, "--epochs", &["100000000", MOST], 1),
        (train, "--steps", &["1048577", MOST], 1),
        (train, "--steps", &["-1", "1e3", "99999999999999999999"], 2),
        (train, "--threads", &["0", "1025"], 2),
        (train, "--key-bits", &["0", "1000", U32], 2),
        (train, "--rate", &["0", "-1", "inf", "NaN"], 2),
        (train, "--secret-rate", &["17", MOST], 2),
        (in_clear, "--batch", &["0", MOST], 2),
        (infer, "--count", &["0"], 2),
        (infer, "--batch", &["0", "65537", MOST], 2),
        (infer, "--key-bits", &["1"], 2),
        (latency, "--runs", &["0", U32], 2),
        (latency, "--runs", &["1000000"], 1),
        (latency, "--batch", &["0", "65536"], 2),
        (step, "--batch", &["0"], 2),
        (step, "--runs", &["0", "1001"], 2),
        (step, "--steps", &["2"], 2),
        (&["demo"], "--epochs", &["0", "1001"], 2),
        (&["plan", "iris"], "--batch", &["0", MOST], 2),
        (&["plan", "iris", "--train"], "--steps", &["0", U32], 2),
        (&["plan", "iris", "--train"], "--sigma", &["0", U32], 2),
        (&["audit", "iris"], "--batch", &["0", MOST], 2),
        (&["audit", "iris"], "--steps", &["0", U32], 2),
        (&["keygen", "k.key"], "--bits", &["0", U32], 2),
        (&["bench", "kernels"], "--budget", &["0", MOST], 2),
    ];
    for (what, option, values, code) in refused {
        for value in *values {
            let said = fails(path, &[*what, &[option, value]].concat(), *code);
            assert!(!said.contains("misuse of the interface"), "{option} {value}: {said}");
        }
    }
    // What is beyond what is there is all that is there.
    let asked = json(path, &[infer, &["--count", MOST], &CLEAR].concat());
    assert_eq!((&asked["answered"], &asked["asked"]), (&8.into(), &8.into()));
    // Nothing is trained, for any number of clients, and the weights are judged as they are.
    for zero in [
        &["--epochs", "0"][..],
        &["--steps", "0"],
        &["--steps", "0", "--batch", "8", "--clients", "3"],
    ] {
        let none = json(path, &[train, zero, &CLEAR].concat());
        assert_eq!((&none["steps_done"], &none["steps_asked"]), (&0.into(), &0.into()));
        assert_eq!(none["leases"], serde_json::json!([]));
        assert_eq!((&none["weights_equal_oracle"], &none["answered"]), (&true.into(), &8.into()));
        assert_eq!(none["ended"], Value::Null);
    }
    // The largest seed is a seed.
    let seed = ["--seed", MOST, "--clients", "2", "--steps", "1", "--allow-input-reconstruction"];
    assert_eq!(json(path, &[train, &seed, &CLEAR].concat())["weights_equal_oracle"], true);
}

/// Values that were cut off are counted, with their layer: here, with a server, in the clear, as text.
#[test]
fn what_is_cut_off_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 60);
    // One value far beyond the others: more than the activations hold, once it is scaled.
    let rows = std::fs::read_to_string(path.join("t.csv")).unwrap();
    std::fs::write(path.join("far.csv"), rows + "9000,1,1,1,c0\n").unwrap();
    let check = |result: &Value| {
        let total = result["saturations"].as_u64().unwrap();
        let layers = result["saturations_by_layer"].as_object().unwrap();
        assert!(total > 0 && layers.keys().all(|layer| layer.starts_with("dense")), "{result}");
        assert_eq!(layers.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), total);
    };
    let steep = ["train", "--csv", "t.csv", "--rate", "100", "--allow-input-reconstruction"];
    let here = [&steep[..], &CLEAR, &["--report", "r.html"]].concat();
    check(&json(path, &here));
    let text = String::from_utf8(run(path, &here).stdout).unwrap();
    assert!(text.contains(" values cut off (dense1: "), "{text}");
    let page = std::fs::read_to_string(path.join("r.html")).unwrap();
    assert!(page.contains(" values cut off (dense1: "), "in the report");

    untrained_model(path, "t.csv");
    let served = Served::start(path, &["--allow-model-extraction", "--rate", "100"]);
    let at = ["--server", &served.address, "--account", "alice"];
    let train = ["train", "--csv", "t.csv", "--steps", "20", "--allow-input-reconstruction"];
    check(&json(path, &[&train[..], &at, &CLEAR].concat()));
    let infer = ["infer", "--csv", "far.csv", "--seed"];
    let seed = (1..20).map(|seed: u32| seed.to_string()).find(|seed| {
        // The far row must be among those that are held out.
        let asked = json(path, &[&infer[..], &[seed], &at, &CLEAR].concat());
        asked["saturations"].as_u64() > Some(0)
    });
    let seed = seed.expect("one of twenty");
    check(&json(path, &[&infer[..], &[&seed], &["--model", "model.safetensors"], &CLEAR].concat()));
}

/// New data need not show every class; a class that the model does not know is refused.
#[test]
fn new_data_may_lack_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, classes) in [("three.csv", 3), ("two.csv", 2), ("one.csv", 1)] {
        table(path, name, 4, classes, 20);
    }
    untrained_model(path, "three.csv");
    for (csv, asked) in [("three.csv", 12), ("two.csv", 8), ("one.csv", 4)] {
        let infer = ["infer", "--model", "model.safetensors", "--csv", csv];
        let result = json(path, &[&infer[..], &CLEAR].concat());
        assert_eq!(
            (&result["answered"], result["predictions"].as_array().unwrap().len()),
            (&asked.into(), asked)
        );
        assert_eq!(result["predictions_equal_plaintext"], true);
        // The schema says which class is which, whatever the rows show.
        assert!(result["accuracy"].is_number(), "{result}");
    }
}

/// The size of a key is that of the key in use.
#[cfg(feature = "paillier")]
#[test]
fn key_bits_are_those_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    table(path, "t.csv", 4, 2, 20);
    untrained_model(path, "t.csv");
    json(path, &["keygen", "k.key"]);
    let infer = ["infer", "--model", "model.safetensors", "--csv", "t.csv", "--count", "1"];
    let asked = json(path, &[&infer[..], &["--key", "k.key"]].concat());
    assert_eq!(asked["key_bits"], 3072);
    let said = fails(path, &[&infer[..], &["--key", "k.key", "--key-bits", "4096"]].concat(), 1);
    assert!(said.contains("k.key has 3072 bits, not 4096"), "{said}");
    std::fs::write(path.join("broken.key"), "no key").unwrap();
    let said = fails(path, &[&infer[..], &["--key", "broken.key"]].concat(), 1);
    assert!(said.contains("broken.key") && !said.contains("the key is ready"), "{said}");
}
