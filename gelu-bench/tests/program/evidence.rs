//! The report of the evidence, as its users make it.

use std::fs;
use std::path::Path;

use super::{gelu_bench, json};
use serde_json::Value;

/// What the program offers, as it says itself when asked for something else.
fn ids(folder: &Path) -> Vec<String> {
    let run = gelu_bench(folder, &["report", "--only", "nothing"]).assert().failure().code(2);
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    let offered = said.split_once("[possible values: ").and_then(|(_, rest)| rest.split_once(']'));
    let offered = offered.map_or("", |(list, _)| list);
    offered.split(", ").filter(|id| !id.is_empty()).map(String::from).collect()
}

/// The report of one exhibit that only counts: the page with all that it refers to, and a second run
/// that is compared with the first and finds the same counts.
#[test]
fn a_report_writes_its_files_and_is_compared_with_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    const CHEAP: &str = "table-2";
    assert!(ids(here).iter().any(|id| id == CHEAP), "{:?}", ids(here));
    let arguments = ["report", "--set", "quick", "--only", CHEAP, "--out", "evidence"];
    let first = json(here, &arguments);
    assert_eq!(first["outcomes"][0]["id"], CHEAP);
    assert_eq!(first["circumstances"]["seed"], 1);
    assert_eq!(first["changes"]["counted_equal"], 0);
    let out = here.join("evidence");
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let (page, report) = (read("index.html"), read("report.md"));
    for part in ["<section id=\"table-2\">", "the paper", "gelu-bench table 2", "counted"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(report.contains("**the paper**") && report.contains("gelu-bench table 2"), "{report}");
    let exhibit: Value = serde_json::from_str(&read("table-2.json")).unwrap();
    assert_eq!(exhibit["title"], first["outcomes"][0]["title"]);
    assert!(read("table-2.md").starts_with("# "));
    let files = || fs::read_dir(&out).unwrap().map(|file| file.unwrap().path());
    let csv = files().find(|file| file.extension().is_some_and(|extension| extension == "csv"));
    assert!(fs::read_to_string(csv.unwrap()).unwrap().starts_with("source,"));
    let record = first["record"].as_str().unwrap();
    assert!(record.starts_with("evidence/records/20"), "{record}");

    // Records are told apart by the second in which they began.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = json(here, &arguments);
    assert!(second["changes"]["counted_equal"].as_u64().unwrap() > 0, "{}", second["changes"]);
    assert_eq!(second["changes"]["counted"], Value::Array(vec![]));
    assert!(read("index.html").contains("What has changed"));
    assert_ne!(second["record"], first["record"]);
    assert!(here.join(record).is_file(), "records stay");
}

#[test]
fn what_cannot_be_written_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("taken"), "").unwrap();
    let run = gelu_bench(folder.path(), &["report", "--out", "taken"]).assert().failure().code(1);
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(said.contains("error: taken") && said.contains("next: "), "{said}");
}
