//! Trainings end, or are refused before anything is encrypted; sums over the same rows are counted.

use std::path::Path;

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use super::{CLEAR, Served, gelu, json};

/// What a refused run says; it must not have come to a server, let alone to ciphertexts.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let run = gelu(folder, arguments).assert().failure().code(1);
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    for late in ["a server process listens", "made a fresh key", "the key is ready"] {
        assert!(!said.contains(late), "{said}");
    }
    said
}

#[test]
fn what_cannot_end_is_refused_before_there_is_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| refused(folder.path(), &[&["train"], more, &CLEAR[..]].concat());
    let four = ["--dataset", "iris", "--rows", "4", "--batch", "4"];
    for epochs in ["1", "40"] {
        let said = train(&[&four[..], &["--epochs", epochs]].concat());
        assert!(said.contains("over 4 different samples") && said.contains("needs 6"), "{said}");
        assert!(said.contains("train on 6 different rows or more"), "{said}");
        assert!(!said.contains("--epochs"), "{said}");
    }
    // Each of three clients has four of the rows.
    let twelve = ["--dataset", "iris", "--rows", "12", "--batch", "4", "--clients", "3"];
    assert!(train(&twelve).contains("over 4 different samples"));
    let short = train(&["--dataset", "digits", "--lease-samples", "10"]);
    assert!(short.contains("at most 10 samples a lease (--lease-samples)"), "{short}");
    // Even where nothing else is refused.
    let anyway = ["--lease-samples", "1", "--allow-input-reconstruction"];
    let short = train(&[&["--dataset", "iris"], &anyway[..]].concat());
    assert!(short.contains("at most 1 samples a lease") && short.contains("needs 16"), "{short}");
}

#[test]
fn trainings_with_default_options_end() {
    let folder = tempfile::tempdir().unwrap();
    for (dataset, more, seeds) in [("digits", &["--epochs", "1"][..], 1..=1), ("iris", &[], 1..=2)]
    {
        for seed in seeds {
            let seed = seed.to_string();
            let train = ["train", "--dataset", dataset, "--seed", &seed];
            let run = json(folder.path(), &[&train[..], more, &CLEAR[..]].concat());
            assert_eq!(run["weights_equal_oracle"], true);
            let lease = |lease: &Value| lease["samples"].as_u64().unwrap();
            let samples: Vec<_> = run["leases"].as_array().unwrap().iter().map(lease).collect();
            let least = run["ledger"]["least_samples"].as_u64().unwrap();
            assert!(samples.iter().all(|&samples| samples >= least), "{samples:?}");
        }
    }
}

/// 30 rows of 30 numbers, 24 of which are trained on: enough for one sum, too few for a second.
#[test]
fn a_server_gets_one_sum_over_the_same_rows_under_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let cell = |row: usize, column: usize| ((row * 37 + column * 101) % 89).to_string();
    let row = |row: usize| {
        let cells: Vec<_> = (0..30).map(|column| cell(row, column)).collect();
        format!("{},{}\n", cells.join(","), if row.is_multiple_of(2) { "even" } else { "odd" })
    };
    std::fs::write(path.join("t.csv"), (0..30).map(row).collect::<String>()).unwrap();
    gelu(path, &["certs", "init"]).assert().success();
    gelu(path, &["certs", "add", "alice"]).assert().success();
    let fresh = ["train", "--plaintext", "--csv", "t.csv", "--epochs", "0"];
    let fresh = [&fresh[..], &["--precision", "training", "--out", "model.safetensors"]].concat();
    json(path, &fresh);

    let served = Served::start(path, &["--allow-model-extraction"]);
    let train = |served: &Served, more: &[&str]| -> Vec<String> {
        let at = ["train", "--server", &served.address, "--account", "alice", "--csv", "t.csv"];
        let all = [&at[..], &["--batch", "8", "--epochs", "2"], &CLEAR[..], more].concat();
        all.into_iter().map(ToOwned::to_owned).collect()
    };
    fn words(of: &[String]) -> Vec<&str> {
        of.iter().map(String::as_str).collect()
    }
    let run = json(path, &words(&train(&served, &[])));
    assert_eq!(run["versions"].as_array().unwrap().len(), 1, "both epochs are one lease");
    let said = refused(path, &words(&train(&served, &[])));
    assert!(said.contains("needs 32 or more, after the sum of another lease"), "{said}");
    served.stop();

    // The same rows at another server of the same authority, with a model of another name.
    std::fs::rename(path.join("t.csv"), path.join("other.csv")).unwrap();
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    std::fs::remove_file(path.join("model.safetensors.store")).unwrap();
    let other: Vec<_> = fresh.iter().map(|&a| if a == "t.csv" { "other.csv" } else { a }).collect();
    json(path, &other);
    std::fs::rename(path.join("other.csv"), path.join("t.csv")).unwrap();
    let served = Served::start(path, &["--allow-model-extraction", "--secret-rate", "2"]);
    assert!(refused(path, &words(&train(&served, &[]))).contains("after the sum of another lease"));
    // Another file is another account of sums; a secret rate is said to be a matter of trust.
    let run = gelu(path, &words(&train(&served, &["--sums", "mine.sums"]))).assert().success();
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(said.contains("a dishonest server that sends 0 reads every update"), "{said}");
    // What cannot be read is no reason to begin anew.
    let sums = path.join("certs/clients/alice.sums");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&sums).unwrap().permissions().mode() & 0o777, 0o600);
    }
    std::fs::write(&sums, "{").unwrap();
    let said = refused(path, &words(&train(&served, &[])));
    assert!(said.contains("alice.sums: not a ledger of revealed sums"), "{said}");
    served.stop();
}
