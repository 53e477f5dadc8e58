//! Measurements over simulated links, with both parties as processes.

use super::{gelu_bench, json};
use serde_json::Value;

/// Every round costs a round trip, and the report says which link it was.
#[test]
fn latency_over_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["latency", "--network", "iris", "--runs", "3", "--link"];
    let far = json(folder.path(), &[&run[..], &["delay=20ms,rate=50mbit"]].concat());
    let link = &far["link"];
    assert_eq!(link["name"], "delay=20ms,rate=50mbit");
    assert_eq!((&link["simulated"], &link["round_trip_ms"]), (&true.into(), &40.0.into()));
    assert_eq!((&link["bits_per_second"], &link["loss"]), (&50_000_000.into(), &0.0.into()));
    let rounds = far["rounds"].as_f64().unwrap();
    assert!(far["min_s"].as_f64().unwrap() >= rounds * 0.04, "{far}");
    assert_eq!(far["predictions_equal_plaintext"], true);
    let near = json(folder.path(), &run[..5]);
    assert_eq!(
        (&near["link"]["name"], &near["link"]["simulated"]),
        (&"loopback".into(), &false.into())
    );
    assert!(near["min_s"].as_f64() < far["min_s"].as_f64());

    let refused =
        gelu_bench(folder.path(), &[&run[..], &["modem"]].concat()).assert().failure().code(2);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("delay=20ms,rate=100mbit,loss=0.1%"), "{said}");
}

#[test]
fn a_training_step_over_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let step = ["train-step", "--network", "iris", "--batch", "5", "--link", "rtt=20ms"];
    let step = json(folder.path(), &step);
    assert_eq!(
        (&step["link"]["round_trip_ms"], &step["weights_equal_oracle"]),
        (&20.0.into(), &true.into())
    );
    let rounds = step["rounds"].as_f64().unwrap();
    assert!(step["min_s"].as_f64().unwrap() >= rounds * 0.02, "{step}");
}

/// Every claim holds, and rows that are not measured are the paper's.
fn check(exhibit: &Value, id: &str, measured: usize) {
    assert_eq!(exhibit["id"], id);
    let claims = exhibit["claims"].as_array().unwrap();
    assert!(!claims.is_empty());
    let rows = exhibit["parts"][0]["rows"].as_array().unwrap();
    let of = |source: &str| rows.iter().filter(|row| row["source"] == source).count();
    assert!(of("measured") >= measured && of("paper") + of("measured") == rows.len());
}

#[test]
fn a_look_at_table_4_needs_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let table = json(folder.path(), &["table", "4"]);
    check(&table, "table-4", 1);
    assert!(
        table["claims"].as_array().unwrap().iter().all(|claim| claim["holds"] == true),
        "{table}"
    );
    let notes = table["notes"].to_string();
    assert!(notes.contains("--set paper") && notes.contains("Iris"), "{notes}");
    if !cfg!(feature = "tfhe") {
        assert!(notes.contains("build with --features tfhe"), "{notes}");
    }
}
