//! `gelu predict`: one answer a row, in order, kept whatever happens.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::Ordering;

use gelu_nn::{Dataset, Model};
use serde_json::Value;

use super::partial::Relay;
use super::{CLEAR, Served, gelu, json, run, said};

/// Trains a model of three kinds of flowers on a table of ours.
fn model(folder: &Path) {
    let iris = Dataset::iris();
    let mut table = String::from("sepal length,sepal width,petal length,petal width,kind\n");
    for (features, &label) in iris.features().columns().into_iter().zip(iris.labels()) {
        features.iter().for_each(|x| write!(table, "{x},").unwrap());
        table += &(iris.class_names()[label].clone() + "\n");
    }
    fs::write(folder.join("train.csv"), table).unwrap();
    let train = ["train", "--plaintext", "--csv", "train.csv", "--epochs", "20"];
    json(folder, &[&train[..], &["--out", "model.safetensors"]].concat());
}

/// New flowers: no label, other columns first, and an id.
fn new_rows(folder: &Path, name: &str, rows: usize) {
    let iris = Dataset::iris();
    let mut table = String::from("petal width,id,petal length,sepal width,sepal length\n");
    for row in 0..rows {
        let x = iris.features().column(row * 7 % 150);
        writeln!(table, "{},f{row},{},{},{}", x[3], x[2], x[1], x[0]).unwrap();
    }
    fs::write(folder.join(name), table).unwrap();
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn stdout(run: &Output) -> String {
    assert!(run.status.success(), "{}", said(run));
    String::from_utf8(run.stdout.clone()).unwrap()
}

const NEW: [&str; 4] = ["--csv", "new.csv", "--id", "id"];

/// The model here in the clear, the model here under the mock, and a server elsewhere give the same lines; they are the
/// model's own probabilities of the right rows.
#[test]
fn new_rows_are_answered_in_order_and_without_a_label() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    model(path);
    new_rows(path, "new.csv", 40);
    let here = ["predict", "--model", "model.safetensors"];
    let in_the_clear = stdout(&run(path, &[&here[..], &NEW, &["--clear"]].concat()));
    let lines: Vec<_> = in_the_clear.lines().collect();
    assert_eq!(lines[0], "id,class,p(setosa),p(versicolor),p(virginica)");
    assert_eq!(lines.len(), 41);
    let model = Model::load(&path.join("model.safetensors")).unwrap();
    let (iris, scales) = (Dataset::iris(), model.schema().unwrap().scales());
    for (row, line) in lines[1..].iter().enumerate() {
        let cells: Vec<_> = line.split(',').collect();
        assert_eq!(cells[0], format!("f{row}"));
        let mut x = iris.batch(&[row * 7 % 150]).0;
        x.iter_mut().zip(&scales).for_each(|(x, scale)| *x = scale.apply(*x));
        let expected = model.probabilities(&x).unwrap().0;
        let got: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert_eq!(got, expected.column(0).to_vec(), "{line}");
        let best = (0..3).max_by(|&a, &b| got[a].total_cmp(&got[b])).unwrap();
        assert_eq!(cells[1], ["setosa", "versicolor", "virginica"][best]);
    }
    let out = ["--out", "here.csv", "--batch", "7"];
    let summary = json(path, &[&here[..], &NEW, &CLEAR, &out].concat());
    assert_eq!((&summary["answered"], &summary["rows"]), (&40.into(), &40.into()), "{summary}");
    assert_eq!(text(path, "here.csv"), in_the_clear);
    assert!(!path.join("here.csv.unfinished").exists());

    let served = Served::start(path, &["--allow-model-extraction"]);
    let there = ["predict", "--server", &served.address, "--account", "alice"];
    let answers = run(path, &[&there[..], &NEW, &CLEAR].concat());
    assert_eq!(stdout(&answers), in_the_clear);
    assert!(said(&answers).contains("40 of 40 rows are answered"), "{}", said(&answers));
    // From the standard input, as objects, by number.
    let words = ["--csv", "-", "--ignore", "id", "--format", "jsonl"];
    let mut piped = gelu(path, &[&there[..], &words, &CLEAR].concat());
    piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    piped.stdin.take().unwrap().write_all(text(path, "new.csv").as_bytes()).unwrap();
    let objects = stdout(&piped.wait_with_output().unwrap());
    for ((text, line), row) in objects.lines().zip(&lines[1..]).zip(1..) {
        let object: Value = serde_json::from_str(text).unwrap();
        let cells: Vec<_> = line.split(',').collect();
        assert_eq!((&object["row"], &object["class"]), (&row.into(), &cells[1].into()));
        for (kind, cell) in ["setosa", "versicolor", "virginica"].iter().zip(&cells[2..]) {
            assert!(text.contains(&format!("\"{kind}\":{cell}")), "{text} {line}");
        }
    }
    assert_eq!(objects.lines().count(), 40);
}

/// Whatever ends a run, the same command goes on where it ended, and the answers are those of a run that nothing ended.
#[test]
fn an_unfinished_run_is_gone_on_with_and_nothing_is_asked_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    model(path);
    new_rows(path, "new.csv", 60);
    let served = Served::start(path, &["--allow-model-extraction"]);
    let ask = |address: &str, out: &str| {
        let at = ["predict", "--server", address, "--account", "alice", "--batch", "4"];
        run(path, &[&at[..], &NEW, &CLEAR, &["--json", "--out", out]].concat())
    };
    let whole = Relay::start(&served.address, u64::MAX, true);
    let all: Value = serde_json::from_str(&stdout(&ask(&whole.address, "all.csv"))).unwrap();
    let (down, expected) = (whole.down.load(Ordering::Relaxed), text(path, "all.csv"));

    let lost = ask(&Relay::start(&served.address, down / 2, true).address, "out.csv");
    assert_eq!(lost.status.code(), Some(3), "{}", said(&lost));
    assert!(said(&lost).contains("the same command goes on"), "{}", said(&lost));
    let first: Value = serde_json::from_slice(&lost.stdout).unwrap();
    let answered = first["answered"].as_u64().unwrap();
    assert!((4..60).contains(&answered) && first["ended"].is_string(), "{first}");
    let some = text(path, "out.csv");
    assert_eq!(some.lines().count() as u64, answered + 1);
    assert!(expected.starts_with(&some), "what is there is right and whole");
    // Killed in the middle of a line, a run leaves less than a line.
    let torn = |more: &str| fs::write(path.join("out.csv"), some.clone() + more).unwrap();
    torn(&expected[some.len()..some.len() + 9]);
    let second: Value = serde_json::from_str(&stdout(&ask(&served.address, "out.csv"))).unwrap();
    assert_eq!(text(path, "out.csv"), expected);
    assert_eq!((&second["answered"], &second["answered_before"]), (&60.into(), &answered.into()));
    let of_both = first["rounds"].as_u64().unwrap() + second["rounds"].as_u64().unwrap();
    assert!(of_both <= all["rounds"].as_u64().unwrap() + 2, "{all} {first} {second}");
    // Finished: asking again is not gone on with, and the answers stay.
    let again = ask(&served.address, "out.csv");
    assert!(
        said(&again).contains("--force") && text(path, "out.csv") == expected,
        "{}",
        said(&again)
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    model(path);
    new_rows(path, "new.csv", 60);
    let served = Served::start(path, &["--allow-model-extraction"]);
    let words = |address| {
        let at = ["predict", "--server", address, "--account", "alice", "--batch", "4"];
        [&at[..], &NEW, &CLEAR, &["--out", "out.jsonl"]].concat()
    };
    let stops = Relay::start(&served.address, 20_000, false);
    let mut started = gelu(path, &words(&stops.address));
    let started = started.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    stops.over.recv().unwrap();
    super::partial::send("-INT", started.id());
    let ended = started.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(3), "{}", said(&ended));
    let some = text(path, "out.jsonl");
    assert!((4..60).contains(&some.lines().count()) && some.ends_with('\n'), "{some}");
    stdout(&run(path, &words(&served.address)));
    let lines = text(path, "out.jsonl");
    assert!(lines.starts_with(&some));
    let ids = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone());
    assert!(ids.eq((0..60).map(|row| Value::from(format!("f{row}")))));
}

/// An unfinished run is not gone on with where that would mix answers that do not belong together.
#[test]
fn other_rows_another_model_and_changed_answers_are_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    model(path);
    new_rows(path, "new.csv", 60);
    let served = Served::start(path, &["--allow-model-extraction"]);
    let words = |address: &str, more: &[&str]| -> Vec<String> {
        let at = ["predict", "--server", address, "--account", "alice", "--batch", "4"];
        let out = if more.contains(&"--out") { &[][..] } else { &["--out", "out.csv"] };
        [&at[..], &NEW, &CLEAR, out, more].concat().iter().map(ToString::to_string).collect()
    };
    let ask = |address: &str, more: &[&str]| {
        let words = words(address, more);
        run(path, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let lost = ask(&Relay::start(&served.address, 20_000, true).address, &[]);
    assert_eq!(lost.status.code(), Some(3), "{}", said(&lost));
    let (some, record, rows) =
        (text(path, "out.csv"), text(path, "out.csv.unfinished"), text(path, "new.csv"));
    let refused = |what: &str, more: &[&str]| {
        let run = ask(&served.address, more);
        assert_eq!(run.status.code(), Some(1), "{what}: {}", said(&run));
        assert!(said(&run).contains(what), "{what}: {}", said(&run));
        assert!(run.stdout.is_empty());
    };
    // Other rows: one number in the first one, rows in another order, fewer rows.
    let (header, body) = rows.split_once('\n').unwrap();
    let mut lines: Vec<_> = body.lines().collect();
    for other in [
        rows.replacen("0.2", "0.3", 1),
        {
            lines.swap(0, 20);
            format!("{header}\n{}\n", lines.join("\n"))
        },
        format!("{header}\n{}\n", lines[..30].join("\n")),
    ] {
        assert_ne!(other, rows);
        fs::write(path.join("new.csv"), other).unwrap();
        refused("rows are not those", &[]);
    }
    fs::write(path.join("new.csv"), &rows).unwrap();
    refused("another --format, --id or --schema", &["--format", "jsonl"]);
    // Changed answers: one of them, more than were asked, fewer than there were.
    let header_and_two = some.lines().take(3).fold(String::new(), |all, line| all + line + "\n");
    for changed in
        [some.replacen("id,class", "ID,class", 1), header_and_two.repeat(30), some[..10].to_owned()]
    {
        fs::write(path.join("out.csv"), changed).unwrap();
        refused("was changed since", &[]);
    }
    fs::write(path.join("out.csv"), &some).unwrap();
    for damaged in
        ["{}", "", &record[..record.len() / 2], &record.replace("\"version\": 1", "\"version\": 9")]
    {
        fs::write(path.join("out.csv.unfinished"), damaged).unwrap();
        refused("no record of an unfinished run", &[]);
    }
    fs::remove_file(path.join("out.csv.unfinished")).unwrap();
    refused("is there already", &[]);
    fs::write(path.join("out.csv.unfinished"), &record).unwrap();
    assert_eq!(text(path, "out.csv"), some, "nothing of all that has touched the answers");
    // Another version of the model.
    served.stop();
    let before = Model::load(&path.join("model.safetensors")).unwrap();
    before.clone().with_version(7).save(&path.join("model.safetensors")).unwrap();
    fs::remove_file(path.join("model.safetensors.store")).unwrap();
    let served = Served::start(path, &["--allow-model-extraction", "--new-ledger"]);
    let run = ask(&served.address, &[]);
    assert!(
        said(&run).contains("are of version 0") && said(&run).contains("version 7"),
        "{}",
        said(&run)
    );
    assert_eq!(text(path, "out.csv"), some);
    // Begun anew on purpose.
    stdout(&ask(&served.address, &["--force"]));
    assert_eq!(text(path, "out.csv").lines().count(), 61);
    assert!(!path.join("out.csv.unfinished").exists());
}

/// A spent budget keeps no answer back, and the rest is answered when there is more of it.
#[test]
fn a_spent_budget_ends_a_run_that_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::table(path, "wide.csv", 30, 2, 40);
    let train = ["train", "--plaintext", "--csv", "wide.csv", "--epochs", "1"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    let served = Served::start(path, &[]);
    let ask = |account: &str| {
        let at = ["predict", "--server", &served.address, "--account", account, "--batch", "16"];
        run(path, &[&at[..], &["--csv", "wide.csv", "--out", "out.csv"], &CLEAR].concat())
    };
    let first = ask("alice");
    assert_eq!(first.status.code(), Some(3), "{}", said(&first));
    let answered = text(path, "out.csv").lines().count();
    assert!((2..81).contains(&answered), "{answered}");
    let none = ask("alice");
    assert_eq!(none.status.code(), Some(3), "{}", said(&none));
    assert_eq!(text(path, "out.csv").lines().count(), answered, "nothing is left, nothing is lost");
    let more = ask("bob");
    assert_eq!(text(path, "out.csv").lines().count(), 2 * answered - 1, "{}", said(&more));
}

/// Before the first key is used, and before anything is written.
#[test]
fn what_cannot_be_done_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    model(path);
    new_rows(path, "new.csv", 30);
    let rows = text(path, "new.csv");
    let refused = |what: &str, more: &[&str]| {
        let here = ["predict", "--model", "model.safetensors"];
        let words = [&here[..], &CLEAR, more].concat();
        let files = || {
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let before = files();
        let run = run(path, &words);
        let said = said(&run);
        assert!(!run.status.success() && said.contains(what), "{more:?}: {said}");
        assert!(!said.contains("the key is ready"), "{more:?}: {said}");
        assert_eq!(files(), before, "{more:?}");
        assert!(run.stdout.is_empty());
    };
    let with = |more: &[&'static str]| [&NEW[..], more].concat();
    refused("is an input", &with(&["--out", "new.csv"]));
    refused("is an input", &with(&["--out", "new.csv", "--force"]));
    refused("is an input", &with(&["--out", "model.safetensors", "--force"]));
    refused("is there already", &with(&["--out", "train.csv"]));
    refused("cannot write", &with(&["--out", "nowhere/out.csv"]));
    refused("summary", &with(&["--json"]));
    refused("kind", &["--csv", "new.csv", "--id", "kind"]);
    refused("columns that the model does not know: id", &["--csv", "new.csv"]);
    refused("takes rows of a table", &["--images", "."]);
    // The last row is found before the first one is asked.
    fs::write(path.join("new.csv"), rows.clone() + "1,last,x,3,4\n").unwrap();
    refused("row 31", &with(&["--out", "out.csv"]));
    fs::write(path.join("new.csv"), rows.clone() + "1,\"a\nb\",2,3,4\n").unwrap();
    refused("line break", &with(&["--out", "out.csv"]));
    fs::write(path.join("new.csv"), rows.lines().next().unwrap()).unwrap();
    refused("no rows", &with(&["--out", "out.csv"]));
    #[cfg(target_os = "linux")]
    {
        fs::write(path.join("new.csv"), &rows).unwrap();
        let full = ["predict", "--model", "model.safetensors", "--clear", "--out", "/dev/full"];
        let full = run(path, &[&full[..], &NEW].concat());
        assert!(said(&full).contains("make room"), "{}", said(&full));
    }
}

/// Of a hundred times the rows, a run holds hardly more memory.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    super::table(path, "train.csv", 2, 2, 30);
    let train = ["train", "--plaintext", "--csv", "train.csv", "--epochs", "0"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    let served = Served::start(path, &["--allow-model-extraction"]);
    let peak = |rows: usize| {
        let mut table = String::from("x0,x1\n");
        (0..rows).for_each(|row| writeln!(table, "{},{}", row % 17, row % 13).unwrap());
        fs::write(path.join("new.csv"), table).unwrap();
        let at = ["predict", "--server", &served.address, "--account", "alice", "--batch", "1024"];
        let more = ["--csv", "new.csv", "--out", "out.csv", "--force"];
        let done = json(path, &[&at[..], &more, &CLEAR].concat());
        assert_eq!(done["answered"], rows);
        assert_eq!(text(path, "out.csv").lines().count(), rows + 1);
        done["peak_memory_bytes"].as_u64().unwrap() as f64 / f64::from(1 << 20)
    };
    let (small, large) = (peak(1_000), peak(100_000));
    println!("{small:.1} MiB for 1,000 rows, {large:.1} MiB for 100,000");
    // A table of 100,000 rows in memory would be 20 MiB and more.
    assert!(large < small + 8.0, "{small:.1} MiB for 1,000 rows, {large:.1} MiB for 100,000");
}

/// The same pixels as PNG files, as one of them, and as an IDX file have the same answers.
#[test]
fn images_are_answered_by_the_names_of_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let train = ["train", "--plaintext", "--dataset", "digits", "--epochs", "1"];
    json(path, &[&train[..], &["--out", "model.safetensors"]].concat());
    fs::create_dir(path.join("scans")).unwrap();
    let mut idx: Vec<u8> = [2051u32, 3, 8, 8].iter().flat_map(|word| word.to_be_bytes()).collect();
    for (image, name) in (1u8..).zip(["a.png", "b.png", "c.png"]) {
        let pixels: Vec<u8> = (0..64u8).map(|pixel| pixel.wrapping_mul(image * 37)).collect();
        let file = fs::File::create(path.join("scans").join(name)).unwrap();
        png::Encoder::new(file, 8, 8).write_header().unwrap().write_image_data(&pixels).unwrap();
        idx.extend(pixels);
    }
    fs::write(path.join("scans.idx"), idx).unwrap();
    let ask = |images: &str| {
        let here = ["predict", "--model", "model.safetensors", "--clear", "--images", images];
        run(path, &here)
    };
    let of_folder = stdout(&ask("scans"));
    let lines: Vec<_> = of_folder.lines().map(|line| line.split_once(',').unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["id", "a.png", "b.png", "c.png"]);
    let of_idx = stdout(&ask("scans.idx"));
    let by_number = of_idx.lines().map(|line| line.split_once(',').unwrap());
    for ((number, answer), (line, &(_, expected))) in
        by_number.zip(lines.iter().enumerate()).skip(1)
    {
        assert_eq!((number, answer), (line.to_string().as_str(), expected));
    }
    let one = stdout(&ask("scans/b.png"));
    assert_eq!(one.lines().nth(1), of_folder.lines().nth(2));
    let here = ["predict", "--model", "model.safetensors", "--clear", "--images", "scans"];
    for out in ["scans/out.csv", "./scans/../scans/out.csv"] {
        let inside = run(path, &[&here[..], &["--out", out]].concat());
        assert!(
            super::said(&inside).contains("in the folder of the images"),
            "{}",
            super::said(&inside)
        );
    }
    stdout(&run(path, &[&here[..], &["--out", "out.csv"]].concat()));
    assert_eq!(text(path, "out.csv"), of_folder);
    let file = fs::File::create(path.join("scans/d.png")).unwrap();
    png::Encoder::new(file, 9, 8).write_header().unwrap().write_image_data(&[0; 72]).unwrap();
    let refused = ask("scans");
    let said = said(&refused);
    assert!(said.contains("d.png") && said.contains("9x8") && said.contains("8x8"), "{said}");
    assert!(!refused.status.success() && refused.stdout.is_empty());
}
