//! Scales of several owners' rows: three processes, one folder, no owner's sums in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use super::transfer::refused;
use super::{gelu, json, said};

const OWNERS: [&str; 3] = ["alice", "bob", "carol"];

/// A folder with a schema and each owner's table.
fn owners() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let columns = r#"{"type": "number", "name": "age"}, {"type": "number", "name": "score", "range": [0, 10]}"#;
    let label = r#""label": {"name": "ill", "classes": ["no", "yes"]}"#;
    let schema = format!(r#"{{"version": 1, "columns": [{columns}], {label}}}"#);
    fs::write(folder.path().join("common.json"), schema).unwrap();
    for (owner, ages) in OWNERS.iter().zip([&[20, 30][..], &[40, 50, 60], &[70]]) {
        let rows = ages.iter().map(|age| format!("{age},5,{}\n", ["no", "yes"][age / 10 % 2]));
        let text = "age,score,ill\n".to_owned() + &rows.collect::<String>();
        fs::write(folder.path().join(format!("{owner}.csv")), text).unwrap();
    }
    folder
}

fn words(me: &str, sums: &str, schema: &str) -> Vec<String> {
    let others: Vec<_> = OWNERS.into_iter().filter(|owner| *owner != me).collect();
    let (table, others) = (format!("{me}.csv"), others.join(","));
    let words = ["schema", "sum", &table, "--as", me, "--with", &others, "--schema", schema];
    let words = [&words[..], &["--folder", sums, "--json"]].concat();
    words.into_iter().map(str::to_owned).collect()
}

/// Starts an owner's process, which says `answer` when it is asked, or trusts the folder.
fn start(at: &Path, me: &str, sums: &str, schema: &str, answer: Option<&str>) -> Child {
    let mut words = words(me, sums, schema);
    words.extend(answer.is_none().then(|| "--trust-folder".to_owned()));
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut command = gelu(at, &words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, answer.unwrap_or_default().as_bytes()).unwrap();
    child
}

fn code(run: &Output) -> String {
    let said = said(run);
    said.lines().find_map(|line| line.strip_prefix("code: ")).expect(&said).to_owned()
}

#[test]
fn three_owners_get_the_scales_of_all_rows_and_show_nobody_theirs() {
    let folder = owners();
    let at = folder.path();
    let children: Vec<_> =
        OWNERS.iter().map(|me| start(at, me, "sums", "common.json", Some("yes\n"))).collect();
    let runs: Vec<_> =
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    for run in &runs {
        assert!(run.status.success(), "{}", said(run));
        assert_eq!(run.stdout, runs[0].stdout);
        assert_eq!(code(run), code(&runs[0]));
    }
    let shown: serde_json::Value = serde_json::from_slice(&runs[0].stdout).unwrap();
    assert_eq!(shown["rows"], 6.0);
    let read = |path: &str| fs::read_to_string(at.join(path)).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&read("sums/schema.json")).unwrap();
    let scale = |column: usize, what: &str| schema["columns"][column]["scale"][what].as_f64();
    // 20 to 70: the mean is 45, the variance 1750 / 6.
    assert_eq!(scale(0, "mean"), Some(45.0));
    assert!((scale(0, "deviation").unwrap() - (1750.0f64 / 6.0).sqrt()).abs() < 1e-9);
    assert_eq!((scale(1, "mean"), scale(1, "deviation")), (Some(5.0), Some(5.0)), "its range");
    // A message alone is uniform: no byte of a sum, of which most are 0, is as it was.
    for owner in OWNERS {
        let message: serde_json::Value =
            serde_json::from_str(&read(&format!("sums/{owner}.sums.json"))).unwrap();
        let sums = message["sums"].as_str().unwrap();
        assert_eq!(sums.len(), 64 * 4);
        assert!(sums.as_bytes().chunks(64).all(|sum| !sum.ends_with(b"0000000000000000")));
    }
    let train = ["train", "--plaintext", "--csv", "bob.csv", "--schema", "sums/schema.json"];
    let trained = json(at, &[&train[..], &["--epochs", "1", "--out", "m.safetensors"]].concat());
    assert!(trained["accuracy_fixed"].is_number(), "{trained}");
    let of_model = json(at, &["schema", "show", "m.safetensors"]);
    assert_eq!(of_model["columns"][0]["scale"]["mean"], 45.0);

    // Keys are used once.
    let again: Vec<_> = words("alice", "sums", "common.json");
    let again: Vec<_> = again.iter().map(String::as_str).collect();
    refused(at, &again, &["alice.keys.json is there already", "an empty folder"]);
}

#[test]
fn sums_that_would_show_an_owner_are_not_sent() {
    let folder = owners();
    let at = folder.path();
    let sum = |me: &str, others: &str, schema: &str| {
        let words = ["schema", "sum", "alice.csv", "--as", me, "--with", others];
        let words = [&words[..], &["--folder", "sums", "--schema", schema]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let refuse = |words: Vec<String>, expected: &[&str]| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        refused(at, &words, expected);
    };
    refuse(sum("alice", "bob", "common.json"), &["two owners", "a third owner"]);
    refuse(sum("alice", "bob,alice", "common.json"), &["alice is named twice"]);
    refuse(sum("../alice", "bob,carol", "common.json"), &["no name of an owner"]);
    let ranges = fs::read_to_string(at.join("common.json")).unwrap();
    let ranges = ranges.replace(r#""age""#, r#""age", "range": [0, 120]"#);
    fs::write(at.join("ranges.json"), ranges).unwrap();
    refuse(sum("alice", "bob,carol", "ranges.json"), &["nothing to sum"]);
    assert!(!at.join("sums").exists(), "nothing was sent");

    // Who does not confirm the code sends nothing.
    let ended = |children: Vec<Child>| -> Vec<Output> {
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
    };
    let unsure: Vec<_> =
        OWNERS.iter().map(|me| start(at, me, "unsure", "common.json", Some("no\n"))).collect();
    for run in ended(unsure) {
        assert_eq!(run.status.code(), Some(1));
        assert!(said(&run).contains("the code was not confirmed"), "{}", said(&run));
    }
    assert!(OWNERS.iter().all(|me| !at.join(format!("unsure/{me}.sums.json")).exists()));

    // Nor does who has another schema.
    fs::write(
        at.join("other.json"),
        fs::read_to_string(at.join("common.json")).unwrap().replace("10]", "9]"),
    )
    .unwrap();
    let others = OWNERS.map(|me| {
        start(at, me, "other", if me == "bob" { "other.json" } else { "common.json" }, None)
    });
    for run in ended(others.into()) {
        assert_eq!(run.status.code(), Some(1));
        assert!(said(&run).contains("has the schema"), "{}", said(&run));
    }
    // Somebody has replaced a key of hers: the code tells.
    let mut alice = start(at, "alice", "replaced", "common.json", Some("no\n"));
    let keys = at.join("replaced/alice.keys.json");
    while !keys.exists() {
        assert!(alice.try_wait().unwrap().is_none(), "alice has ended");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs::copy(at.join("unsure/alice.keys.json"), &keys).unwrap();
    let rest = ["bob", "carol"].map(|me| start(at, me, "replaced", "common.json", Some("no\n")));
    let codes =
        ended([alice].into_iter().chain(rest).collect()).iter().map(code).collect::<Vec<_>>();
    assert_ne!(codes[0], codes[1]);
    assert_eq!(codes[1], codes[2]);
}
