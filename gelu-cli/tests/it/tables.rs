//! Tables as people have them: read by names and words, in whatever order and spelling, or refused with
//! their place; never answered wrong in silence.

use std::path::Path;

use gelu_nn::Model;

use super::transfer::refused;
use super::{CLEAR, Served, json, run, said};

/// Animals that weight and height tell apart; `of` says which, row by row.
fn animals(rows: usize, of: impl Fn(usize) -> usize) -> Vec<[String; 4]> {
    let row = |i: usize| {
        let kind = of(i);
        let noise = |salt: usize| ((i * 7919 + salt * 104_729) % 100) as f64 / 25.0 - 2.0;
        let weight = 10.0 * kind as f64 + noise(1);
        let height = 100.0 - 33.0 * kind as f64 + 2.0 * noise(2);
        let age = 5.0 + noise(3) / 2.0;
        [weight, height, age].map(|x| format!("{x:.2}")).into_iter().chain([KINDS[kind].to_owned()])
    };
    (0..rows).map(|i| row(i).collect::<Vec<_>>().try_into().unwrap()).collect()
}

const KINDS: [&str; 3] = ["cat", "dog", "emu"];
const NAMES: [&str; 4] = ["weight", "height", "age", "kind"];

/// Writes columns `order` of the rows, with these names above them.
fn write(folder: &Path, name: &str, names: [&str; 4], order: [usize; 4], rows: &[[String; 4]]) {
    let line = |cells: [&str; 4]| order.map(|column| cells[column]).join(",") + "\n";
    let rows = rows.iter().map(|row| line([&row[0], &row[1], &row[2], &row[3]]));
    std::fs::write(folder.join(name), line(names) + &rows.collect::<String>()).unwrap();
}

/// A folder with `animals.csv` and a model of it, `model.safetensors`.
fn zoo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "animals.csv", NAMES, [0, 1, 2, 3], &animals(150, |i| i % 3));
    let train = ["train", "--plaintext", "--csv", "animals.csv", "--epochs", "60"];
    let trained = json(folder.path(), &[&train[..], &["--out", "model.safetensors"]].concat());
    assert!(trained["accuracy_fixed"].as_f64().unwrap() > 0.95, "{trained}");
    folder
}

fn ask(csv: &str) -> Vec<&str> {
    [&["infer", "--model", "model.safetensors", "--batch", "20", "--csv", csv][..], &CLEAR].concat()
}

#[test]
fn new_rows_in_other_proportions_and_orders_are_right() {
    let folder = zoo();
    let at = folder.path();
    let accuracy = |csv: &str| json(at, &ask(csv))["accuracy"].as_f64().unwrap();
    let emus = animals(60, |i| if i % 20 == 0 { i % 3 } else { 2 });
    write(at, "emus.csv", NAMES, [0, 1, 2, 3], &emus);
    write(at, "reordered.csv", NAMES, [3, 1, 2, 0], &emus);
    write(at, "two.csv", NAMES, [0, 1, 2, 3], &animals(40, |i| 1 + i % 2));
    write(at, "one.csv", NAMES, [0, 1, 2, 3], &animals(40, |_| 2));
    for csv in ["emus.csv", "reordered.csv", "two.csv", "one.csv"] {
        assert!(accuracy(csv) > 0.95, "{csv}: {}", accuracy(csv));
    }
    let again = ["train", "--csv", "two.csv", "--start", "model.safetensors", "--steps", "2"];
    let out = ["--out", "further.safetensors", "--allow-input-reconstruction"];
    json(at, &[&again[..], &out, &CLEAR].concat());
    let [model, further] = ["model", "further"].map(|name| {
        Model::load(&at.join(name).with_extension("safetensors")).unwrap().schema().cloned()
    });
    assert_eq!(model, further, "trained further, it reads the same");
}

#[test]
fn other_words_columns_and_classes_are_refused_by_name() {
    let folder = zoo();
    let at = folder.path();
    let mut rows = animals(30, |i| i % 3);
    write(at, "renamed.csv", ["mass", "height", "age", "kind"], [0, 1, 2, 3], &rows);
    rows[4][3] = "fox".into();
    write(at, "fox.csv", NAMES, [0, 1, 2, 3], &rows);
    rows[4][0] = "heavy".into();
    write(at, "heavy.csv", NAMES, [0, 1, 2, 3], &rows);
    refused(at, &ask("renamed.csv"), &["renamed.csv", "missing: weight", "does not know: mass"]);
    refused(at, &ask("fox.csv"), &["fox.csv", "row 5", "\"fox\"", "cat, dog, emu"]);
    refused(at, &ask("heavy.csv"), &["row 5", "column weight", "\"heavy\" is not a number"]);
    // All of it at once.
    let check = ["schema", "check", "heavy.csv", "--model", "model.safetensors", "--json"];
    let checked = run(at, &check);
    assert_eq!(checked.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    let columns: Vec<_> = found["troubles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["column"].as_str().unwrap())
        .collect();
    assert_eq!(
        (columns, found["fits"].as_bool()),
        (vec!["kind", "weight"], Some(false)),
        "{found}"
    );
    let fits = json(at, &["schema", "check", "animals.csv", "--model", "model.safetensors"]);
    assert_eq!((&fits["fits"], &fits["rows"]), (&true.into(), &150.into()));
    // Words of a category.
    let colours = |name: &str, words: [&str; 2]| {
        let rows = (0..40).map(|i| format!("{},{},{}\n", words[i % 2], i, ["a", "b"][i % 2]));
        std::fs::write(at.join(name), "colour,x,y\n".to_owned() + &rows.collect::<String>())
            .unwrap();
    };
    colours("colours.csv", ["red", "blue"]);
    colours("capital.csv", ["Red", "blue"]);
    super::untrained_model(at, "colours.csv");
    refused(at, &ask("capital.csv"), &["row 1", "column colour", "\"Red\"", "blue, red"]);
}

#[test]
fn partners_share_the_schema_of_the_card() {
    let folder = zoo();
    let at = folder.path();
    super::untrained_model(at, "animals.csv");
    let mut rows = animals(60, |i| 1 + i % 2);
    write(at, "two.csv", NAMES, [2, 3, 0, 1], &rows);
    rows.iter_mut().for_each(|row| row[3] = row[3].replace("dog", "ant"));
    write(at, "ants.csv", NAMES, [0, 1, 2, 3], &rows);
    json(at, &["schema", "infer", "ants.csv", "--out", "ants.json"]);
    let served = Served::start(at, &["--allow-model-extraction"]);
    let there = [
        "train",
        "--server",
        &served.address,
        "--account",
        "alice",
        "--batch",
        "4",
        "--steps",
        "2",
    ];
    let there = [&there[..], &["--allow-input-reconstruction"], &CLEAR, &["--csv"]].concat();
    let trained = json(at, &[&there[..], &["two.csv"]].concat());
    assert_eq!(trained["steps_done"], 2, "an owner with two of three classes takes part");
    let others = [&there[..], &["ants.csv"]].concat();
    for (more, expected) in [
        (&[][..], &["row 1", "column kind", "\"ant\"", "cat, dog, emu"][..]),
        (&["--schema", "ants.json"], &["--schema has the hash", "leave out --schema"]),
    ] {
        let words = [&others[..], more].concat();
        refused(at, &words, expected);
        assert!(!said(&run(at, &words)).contains("the key is ready"));
    }
    served.stop();
}

/// One stray cell is named; it does not turn a column of numbers into one of words.
#[test]
fn a_stray_cell_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let rows = animals(30, |i| i % 3);
    let train = ["train", "--plaintext", "--epochs", "1", "--csv", "stray.csv"];
    for cell in ["-", "None", "$5", "50%", "1.2.3", "\"1,234.5\""] {
        let mut rows = rows.clone();
        rows[7][1] = cell.into();
        write(at, "stray.csv", NAMES, [0, 1, 2, 3], &rows);
        refused(at, &train, &["stray.csv", "row 8", "column height", cell.trim_matches('"')]);
    }
    let mut rows = rows.clone();
    rows[7][1] = "N/A".into();
    write(at, "stray.csv", NAMES, [0, 1, 2, 3], &rows);
    refused(at, &train, &["1 missing values", "row 8", "column height", "--missing"]);
    let trained = |rule: &str| json(at, &[&train[..], &["--missing", rule]].concat());
    let count = |rule: &str| {
        let trained = trained(rule);
        ["train_samples", "test_samples"]
            .map(|part| trained[part].as_u64().unwrap())
            .iter()
            .sum::<u64>()
    };
    assert_eq!((count("drop"), count("fill")), (29, 30));
    rows[7] = NAMES.map(String::from);
    write(at, "stray.csv", NAMES, [0, 1, 2, 3], &rows);
    refused(at, &train, &["row 8", "\"weight\" is not a number"]);
}

#[test]
fn labels_are_classes_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let labelled = |label: &dyn Fn(usize) -> String| {
        let mut rows = animals(60, |i| i % 3);
        rows.iter_mut().enumerate().for_each(|(i, row)| row[3] = label(i));
        write(at, "l.csv", NAMES, [0, 1, 2, 3], &rows);
    };
    let infer = ["schema", "infer", "l.csv"];
    for words in [["0", "1", "0.0", "1.0"], ["00", "1", "0", "01"], ["No", "yes", "no", "Yes"]] {
        labelled(&|i| words[i % 4].into());
        let schema = json(at, &infer);
        assert_eq!(schema["label"]["classes"].as_array().unwrap().len(), 2, "{schema}");
        assert!(said(&run(at, &infer)).contains("spells 2 classes in 4 ways"));
    }
    labelled(&|i| format!("{:.1}", i as f64 * 0.7));
    refused(at, &infer, &["60 different numbers", "does not predict numbers", "--label"]);
    labelled(&|_| "0".into());
    refused(at, &infer, &["is 0 in every row", "--schema"]);
}

/// The same table in many forms becomes the same schema; what is no table is refused for the right reason.
#[test]
fn forms_of_tables() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.csv", NAMES, [0, 1, 2, 3], &animals(60, |i| i % 3));
    let plain = std::fs::read_to_string(at.join("t.csv")).unwrap();
    let infer = |text: &str, more: &[&str]| {
        std::fs::write(at.join("form.csv"), text).unwrap();
        json(at, &[&["schema", "infer", "form.csv"], more].concat())
    };
    let expected = infer(&plain, &[]);
    let quoted = |line: &str| {
        line.split(',').map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(",")
    };
    for (form, more) in [
        (plain.replace(',', ";"), &[][..]),
        (plain.replace(',', "\t"), &[]),
        (plain.replace(',', "|"), &[]),
        (plain.replace(',', ";").replace('.', ","), &[]),
        (plain.lines().map(|line| quoted(line) + "\r\n").collect(), &[]),
        (format!("sep=,\n{plain}"), &[]),
        (format!("\u{feff}{plain}"), &[]),
        (plain.replace(',', " "), &["--delimiter", "space"]),
        (plain.replace(',', "~"), &["--delimiter", "~"]),
    ] {
        assert_eq!(infer(&form, more), expected, "{form:.60}");
    }
    let headless: String = plain.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    assert_eq!(infer(&headless, &[])["order"], serde_json::json!(["c1", "c2", "c3", "c4"]));
    let years = format!("2019,2020,2021,2022\n{headless}");
    let columns = infer(&years, &["--header", "yes"])["columns"].clone();
    assert_eq!(columns[0]["name"], "2019");
    for (form, parts) in [
        (
            headless.replace('\n', ",\n").replacen("", "weight,height,age,kind\n", 1),
            "delimiter at the end",
        ),
        (plain.replace('\n', ",\n"), "column 5 has no name"),
        (format!("# exported\n{plain}"), "a title or a comment"),
        (plain.replacen("height", "weight", 1), "two columns are called \"weight\""),
    ] {
        std::fs::write(at.join("form.csv"), &form).unwrap();
        refused(at, &["train", "--csv", "form.csv"], &["form.csv", parts]);
    }
    std::fs::write(at.join("form.csv"), plain.replacen("cat", "c\u{fffd}t", 1)).unwrap();
    let latin = std::fs::read(at.join("form.csv")).unwrap();
    let latin: Vec<u8> = latin.iter().copied().filter(|b| !matches!(b, 0xbf | 0xbd)).collect();
    std::fs::write(at.join("form.csv"), latin).unwrap();
    refused(at, &["train", "--csv", "form.csv"], &["line 2 is not UTF-8", "iconv"]);
}

/// A schema that its user edited is what the model gets: a range scales instead of the rows.
#[test]
fn an_edited_schema_is_trained_by() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "t.csv", NAMES, [0, 1, 2, 3], &animals(60, |i| i % 3));
    let infer = ["schema", "infer", "t.csv", "--ignore", "age", "--out", "s.json"];
    json(at, &infer);
    let written = std::fs::read_to_string(at.join("s.json")).unwrap();
    let edited =
        written.replacen("\"name\": \"weight\"", "\"name\": \"weight\", \"range\": [-10, 40]", 1);
    assert_ne!(written, edited);
    std::fs::write(at.join("s.json"), edited).unwrap();
    let train = ["train", "--plaintext", "--csv", "t.csv", "--schema", "s.json", "--epochs", "1"];
    json(at, &[&train[..], &["--out", "model.safetensors"]].concat());
    let shown = json(at, &["schema", "show", "model.safetensors"]);
    let scale = serde_json::json!({ "mean": 15.0, "deviation": 25.0 });
    assert_eq!((&shown["columns"][0]["scale"], &shown["ignore"][0]), (&scale, &"age".into()));
    let out = ["--out", "t.csv"];
    refused(at, &[&infer[..3], &out].concat(), &["t.csv is an input of this very run"]);
}

/// What was trained on flowers by their data set's name reads a table of flowers, named or in their order.
#[test]
fn a_model_of_a_well_known_data_set_reads_tables_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let iris = include_str!("../../../gelu-nn/src/data/iris.csv");
    std::fs::write(at.join("named.csv"), iris).unwrap();
    let rows: String = iris.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    std::fs::write(at.join("by-position.csv"), rows).unwrap();
    let train = ["train", "--plaintext", "--dataset", "iris", "--out", "model.safetensors"];
    json(at, &train);
    let named = json(at, &ask("named.csv"));
    assert_eq!(named["predictions"], json(at, &ask("by-position.csv"))["predictions"]);
    assert!(named["accuracy"].as_f64().unwrap() > 0.9, "{named}");
}

/// What the feature reads is tested in `gelu-nn`.
#[test]
#[cfg(not(feature = "parquet"))]
fn parquet_is_refused_with_the_command_that_builds_what_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = include_bytes!("../../../gelu-nn/src/data/kinds.parquet");
    for name in ["kinds.parquet", "kinds"] {
        std::fs::write(folder.path().join(name), kinds).unwrap();
        let infer = ["schema", "infer", name, "--label", "ok"];
        refused(folder.path(), &infer, &[name, "cargo build", "--features parquet"]);
    }
}
