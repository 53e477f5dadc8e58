//! Laws: a written schema reads as itself; a table is read by names and words alone, or refused with its place.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::data::csv::{self, Format, Header, Table};
use crate::data::{Dataset, Split};
use crate::error::DataError;

const PATIENTS: &str = r#"{ "version": 1,
    "columns": [ {"type": "number", "name": "age", "range": [0, 120], "missing": "mean",
                  "scale": {"mean": 52.1, "deviation": 14.0}},
                 {"type": "category", "name": "drug", "words": ["none", "statin"], "unknown": "other"},
                 {"type": "date", "name": "admitted", "as": ["month_sin", "month_cos"]} ],
    "label": {"name": "outcome", "classes": ["ill", "well"]}, "ignore": ["patient_id"] }"#;

fn patients() -> Schema {
    Schema::from_json(PATIENTS).unwrap()
}

fn read(schema: &Schema, text: &'static str, options: &ReadOptions) -> Result<Vec<Row>> {
    RowReader::new(text.as_bytes(), "t.csv", schema, options)?.collect()
}

fn rows(schema: &Schema, text: &'static str) -> Vec<Row> {
    read(schema, text, &ReadOptions::default()).unwrap()
}

fn refusal(schema: &Schema, text: &'static str, parts: &[&str]) {
    let error = read(schema, text, &ReadOptions::default()).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}, expected {parts:?}");
}

fn inferred(text: &'static str, options: &Options) -> Result<Inferred, DataError> {
    Schema::infer(&Table::read(text.as_bytes(), &Format::default()).unwrap(), options)
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_documented_schema_is_read_and_names_its_features() {
    let schema = patients();
    let names = [
        "age",
        "drug=none",
        "drug=statin",
        "drug=(other)",
        "admitted month_sin",
        "admitted month_cos",
    ];
    assert_eq!((schema.features(), schema.inputs()), (names.map(String::from).to_vec(), 6));
    assert_eq!(schema.classes(), ["ill", "well"]);
    let again = Schema::from_json(&schema.to_json()).unwrap();
    assert_eq!((again.to_json(), again.hash()), (schema.to_json(), schema.hash()));
    // Recorded: models, cards and partners compare it.
    assert_eq!(
        schema.hash().to_string(),
        "3113080b722e2357e7473c97c30aeee266370e8465f855608414e4d361bb20e9"
    );
}

/// Names decide, in whatever order columns come; ignored columns may be there or not.
#[test]
fn columns_are_matched_by_name_and_classes_by_word() {
    let schema = patients();
    let as_trained = rows(&schema, "age,drug,admitted,outcome\n80.1,statin,2024-01-09,well\n");
    let features = [(80.1 - 52.1) / 14.0, 0.0, 1.0, 0.0, 0.0, 1.0].to_vec();
    assert_eq!(as_trained[0].features, Some(features.clone()));
    assert_eq!((as_trained[0].number, as_trained[0].label), (1, Some(1)));
    let reordered = "outcome;patient_id;admitted;age;drug\nwell;7;2024-01-09;80,1;statin\n";
    assert_eq!(rows(&schema, reordered), as_trained);
    let record = |name: &str| match name {
        "age" => Some("80.1"),
        "drug" => Some("statin"),
        _ => Some("2024-01-09"),
    };
    assert_eq!(schema.read_features(record).unwrap(), Some(features));
}

#[test]
fn rules_decide_on_missing_and_unknown_values() {
    let schema = patients();
    let text = "age,drug,admitted,outcome\n,aspirin,2024-01-01,ill\n";
    let filled = rows(&schema, text)[0].features.clone().unwrap();
    assert_eq!(filled[..4], [0.0, 0.0, 0.0, 1.0], "the mean, another word");
    let refused = "age,drug,admitted,outcome\n50,none,2024-01-01,ill\n50,,2024-01-01,ill\n";
    refusal(&schema, refused, &["t.csv", "row 2", "drug", "missing"]);
    let with = |rule: &str| {
        Schema::from_json(
            &PATIENTS.replace("\"unknown\": \"other\"", &format!("\"missing\": \"{rule}\"")),
        )
    };
    let dropped = rows(&with("drop").unwrap(), refused);
    assert_eq!((dropped[1].features.clone(), dropped[1].label), (None, Some(0)));
    let word = rows(&with("word").unwrap(), refused)[1].features.clone().unwrap();
    assert_eq!(word[1..4], [0.0, 0.0, 1.0]);
    assert!(with("mean").is_err());
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let schema = patients();
    let header = "age,drug,admitted,outcome\n";
    assert!(header.starts_with("age"));
    refusal(&schema, "age,drug,outcome\n1,none,ill\n", &["missing: admitted"]);
    refusal(
        &schema,
        "age,drug,admitted,outcome,smoker\n1,none,2024-01-01,ill,x\n",
        &["does not know: smoker", "--ignore"],
    );
    for (text, parts) in [
        ("age,drug,admitted,outcome\nold,none,2024-01-01,ill\n", ["row 1", "age", "\"old\""]),
        ("age,drug,admitted,outcome\n121,none,2024-01-01,ill\n", ["row 1", "age", "range"]),
        ("age,drug,admitted,outcome\n1,none,01/02/2024,ill\n", ["row 1", "admitted", "01/02/2024"]),
        ("age,drug,admitted,outcome\n1,none,2024-01-01,sick\n", ["row 1", "outcome", "ill, well"]),
        (
            "age,drug,admitted,outcome\n\"1,5\",none,2024-01-01,ill\n\"1.5\",none,2024-01-01,ill\n",
            ["row 1", "age", "--decimal comma"],
        ),
    ] {
        refusal(&schema, text, &parts);
    }
    let strict = Schema::from_json(&PATIENTS.replace(", \"unknown\": \"other\"", "")).unwrap();
    refusal(
        &strict,
        "age,drug,admitted,outcome\n1,Statin,2024-01-01,ill\n",
        &["row 1", "drug", "\"Statin\"", "none, statin"],
    );
    let images = Dataset::load_with_schema("digits", Path::new("")).unwrap().1;
    assert!(read(&images, "a,b\n1,2\n", &ReadOptions::default()).is_err());
}

/// A bad row is told, and the rows after it are still there for who wants them.
#[test]
fn a_reader_goes_on_after_a_row_that_does_not_fit() {
    let text = "age,drug,admitted,outcome\n1,none,2024-01-01,ill\nx,none,2024-01-01,ill\n2,none,2024-01-01,ill\n";
    let reader =
        RowReader::new(text.as_bytes(), "t.csv", &patients(), &ReadOptions::default()).unwrap();
    let numbers: Vec<_> = reader.map(|row| row.ok().map(|row| row.number)).collect();
    assert_eq!(numbers, [Some(1), None, Some(3)]);
}

#[test]
fn a_table_without_header_is_read_by_position_only_if_the_schema_has_an_order() {
    let (_, iris) = Dataset::load_with_schema("iris", Path::new("")).unwrap();
    let by_position = rows(&iris, "5.1,3.5,1.4,0.2,setosa\n6.0,3.0,4.8,1.8,virginica\n");
    assert_eq!(by_position[1].features, Some(vec![6.0, 3.0, 4.8, 1.8]));
    assert_eq!(by_position[1].label, Some(2));
    let named = "species,petal width (cm),petal length (cm),sepal width (cm),sepal length (cm)\n\
                 Virginica,1.8,4.8,3.0,6.0\n";
    assert_eq!(rows(&iris, named)[0].features, by_position[1].features);
    let unlabelled = ReadOptions { labels: Labels::Optional, ..ReadOptions::default() };
    let new = read(&iris, "6.0,3.0,4.8,1.8\n", &unlabelled).unwrap();
    assert_eq!((new[0].features.clone(), new[0].label), (by_position[1].features.clone(), None));
    refusal(&iris, "6.0,3.0,4.8\n", &["3 cells", "petal width"]);
    // A header of other names is no row, and says so.
    refusal(&iris, "a,b,c,d,e\n6.0,3.0,4.8,1.8,setosa\n", &["row 1", "\"a\" is not a number"]);
    let absent = Format { header: Header::Absent, ..Format::default() };
    let options = ReadOptions { format: absent, ..ReadOptions::default() };
    let error = read(&patients(), "1,none,2024-01-01,ill\n", &options).unwrap_err().to_string();
    assert!(error.contains("by name"), "{error}");
}

#[test]
fn columns_that_were_asked_for_are_given_as_text() {
    let extra = vec!["id".to_owned()];
    let options = ReadOptions { extra, labels: Labels::Ignored, ..ReadOptions::default() };
    let text = "id,age,drug,admitted,outcome\n 007 ,1,none,2024-01-01,unheard of\n";
    let row = &read(&patients(), text, &options).unwrap()[0];
    assert_eq!((row.extra.clone(), row.label), (vec!["007".into()], None));
    assert!(row.features.is_some());
}

#[test]
fn schemas_that_mean_nothing_are_refused() {
    let refused = [
        ("\"version\": 1", "\"version\": 2"),
        ("\"deviation\": 14.0", "\"deviation\": 0"),
        ("[0, 120]", "[120, 0]"),
        ("[\"none\", \"statin\"]", "[]"),
        ("[\"none\", \"statin\"]", "[\"none\", \"none\"]"),
        ("[\"none\", \"statin\"]", "[\"none\", \"\"]"),
        ("[\"none\", \"statin\"]", "[\"none\", \"(other)\"]"),
        ("\"name\": \"drug\"", "\"name\": \"age\""),
        ("\"name\": \"drug\"", "\"name\": \"\""),
        ("\"patient_id\"", "\"age\""),
        ("[\"month_sin\", \"month_cos\"]", "[]"),
        ("[\"ill\", \"well\"]", "[]"),
        ("\"missing\": \"mean\"", "\"missing\": \"word\""),
        ("\"missing\": \"mean\"", "\"colour\": 1"),
        ("\"ignore\"", "\"order\": [\"age\"], \"ignore\""),
    ];
    for (from, to) in refused {
        assert!(PATIENTS.contains(from), "{from}");
        assert!(Schema::from_json(&PATIENTS.replace(from, to)).is_err(), "{to}");
    }
    let name = format!("\"name\": \"{}\"", "x".repeat(257));
    assert!(Schema::from_json(&PATIENTS.replace("\"name\": \"drug\"", &name)).is_err());
    let long = format!("\"{}\"", "x".repeat(MAX_BYTES));
    assert!(Schema::from_json(&PATIENTS.replace("\"patient_id\"", &long)).is_err());
}

#[test]
fn numbers_words_dates_and_labels_are_inferred() {
    let text = "size,colour,shape,day,kind\n1,red,b,2024-01-01,yes\n2.5,blue,a,2024-01-02,no\n\
                -3e1,red,c,2024-01-03,yes\n";
    let schema = inferred(text, &Options::default()).unwrap().schema;
    let features = ["size", "colour=red", "shape=a", "shape=b", "shape=c", "day days"];
    assert_eq!(
        (schema.features(), schema.classes()),
        (features.map(String::from).to_vec(), &["no", "yes"].map(String::from)[..])
    );
    let read = rows(&schema, text);
    assert_eq!(read[2].features, Some(vec![-30.0, 1.0, 0.0, 0.0, 1.0, 19_725.0]));
    assert_eq!(read.iter().map(|row| row.label).collect::<Vec<_>>(), [Some(1), Some(0), Some(1)]);
    let none = Options { label: None, ignore: vec!["kind".into()], ..Options::default() };
    let unlabelled = inferred(text, &none).unwrap().schema;
    assert_eq!((unlabelled.label(), unlabelled.description().ignore.len()), (None, 1));
}

#[test]
fn labels_that_are_the_same_number_or_word_are_one_class() {
    let classes = |text| {
        let found = inferred(text, &Options::default()).unwrap();
        (found.schema.classes().to_vec(), found.notes.len(), rows(&found.schema, text))
    };
    let (numbers, notes, read) = classes("x,y\n1,00\n2,1.0\n3,0\n4,01\n5,10\n");
    assert_eq!((numbers.join(" "), notes), ("0 1 10".into(), 1));
    assert_eq!(read.iter().map(|r| r.label).collect::<Vec<_>>(), [0, 1, 0, 1, 2].map(Some));
    let (words, notes, read) = classes("x,y\n1,No\n2,yes\n3,no\n4,Yes\n5,no\n6,Yes\n");
    assert_eq!((words.join(" "), notes), ("Yes no".into(), 1));
    assert_eq!(read.iter().map(|r| r.label).collect::<Vec<_>>(), [1, 0, 1, 0, 1, 0].map(Some));
}

#[test]
fn what_is_likely_a_mistake_is_not_made_into_a_schema() {
    let refused = |text: &str, parts: &[&str]| {
        let table = Table::read(std::io::Cursor::new(text.to_owned()), &Format::default()).unwrap();
        let error = Schema::infer(&table, &Options::default()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}, expected {parts:?}");
    };
    let stray = "x,y,k\n1,1,a\n2,2,b\n3,CELL,a\n4,4,b\n";
    for cell in ["-", "$5", "50%", "1.2.3", "None", "\"1,234.5\"", "inf"] {
        let shown = cell.trim_matches('"');
        refused(&stray.replace("CELL", cell), &["row 3", "column y", shown]);
    }
    for cell in ["", "NA", "N/A", "#N/A", "null", "NaN"] {
        refused(&stray.replace("CELL", cell), &["row 3", "column y", "--missing"]);
    }
    let many = |cell: &dyn Fn(usize) -> String| -> String {
        "x,k\n".to_owned() + &(0..60).map(|i| format!("{}\n", cell(i))).collect::<String>()
    };
    refused(&many(&|i| format!("id{i},{}", i % 2)), &["column x", "identifier", "--ignore x"]);
    refused(&many(&|i| format!("{i},{}", i as f64 / 7.0)), &["label k", "predict numbers"]);
    refused(&many(&|i| format!("{i},name{i}")), &["label k", "60 different words"]);
    refused(&many(&|i| format!("{i},a")), &["label k", "a in every row"]);
    refused(&many(&|i| format!(",{}", i % 2)), &["missing"]);
    let ids: String = (0..2000).map(|i| format!("id{i},x{}\n", i % 2)).collect();
    refused(&ids, &["more than 1000 categories"]);
}

#[test]
fn scales_are_those_of_the_training_rows_and_missing_values_take_their_mean() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..50)
        .map(|i| {
            let y = if i % 7 == 3 { String::new() } else { (10 * i).to_string() };
            format!("{i},{y},{}\n", if i % 2 == 0 { "a" } else { "b" })
        })
        .collect();
    let path = file(folder.path(), "t.csv", &format!("x,y,k\n{text}"));
    let table = Table::open(&path, &Format::default(), &[]).unwrap();
    let fill = Options { missing: Fill::Fill, ..Options::default() };
    let schema = Schema::infer(&table, &fill).unwrap().schema;
    assert!(
        !schema.is_fitted() && RowReader::open(&path, &schema, &ReadOptions::default()).is_err()
    );
    let options = ReadOptions::default();
    let (fitted, split) = schema.split(&path, &options, Scaling::Standard, 5).unwrap();
    assert_eq!((split.train.len(), split.test.len()), (40, 10));
    for feature in split.train.features().outer_iter() {
        let squares = feature.mapv(|x| x * x).mean().unwrap();
        assert!(feature.mean().unwrap().abs() < 1e-9 && (squares - 1.0).abs() < 1e-9);
    }
    // Read again by the schema alone, every row is among those of the split.
    let whole = fitted.dataset(&path, &options).unwrap();
    let key = |part: &Dataset| -> Vec<Vec<String>> {
        let text = |x: &f64| format!("{:.0}", (x * 1e9).round() + 0.0);
        part.features().columns().into_iter().map(|c| c.iter().map(text).collect()).collect()
    };
    let mut parts = [key(&split.train), key(&split.test)].concat();
    let mut all = key(&whole);
    parts.sort();
    all.sort();
    assert_eq!(parts, all);
    // Other rows, in other proportions, are scaled the same.
    let skewed = file(folder.path(), "s.csv", "y,x,k\n490,49,b\n470,47,b\n");
    let skewed = fitted.dataset(&skewed, &options).unwrap();
    let x = fitted.scales()[0].apply(49.0);
    assert_eq!(skewed.features()[[0, 0]], x);
    // A head takes them as they are, and missing ones as the same mean.
    let (raw, unscaled) = schema.split(&path, &options, Scaling::None, 5).unwrap();
    assert!(raw.scales().iter().all(|scale| *scale == Scale::IDENTITY));
    assert!(unscaled.train.features().iter().any(|x| *x > 100.0));
}

#[test]
fn a_range_gives_the_scale_whatever_the_rows_are() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..20).map(|i| format!("{i},{}\n", i % 2)).collect();
    let path = file(folder.path(), "t.csv", &format!("x,k\n{text}"));
    let public = r#"{"version":1,"columns":[{"type":"number","name":"x","range":[0,100]}],
                     "label":{"name":"k","classes":["0","1"]}}"#;
    let schema = Schema::from_json(public).unwrap();
    let (fitted, split) =
        schema.split(&path, &ReadOptions::default(), Scaling::Standard, 1).unwrap();
    assert_eq!(fitted.scales(), [Scale { mean: 50.0, deviation: 50.0 }]);
    assert!(split.train.features().iter().all(|x| (-1.0..=1.0).contains(x)));
}

/// Owners with some of the classes number them as the schema does; named data is matched by names, too.
#[test]
fn data_is_adopted_by_names_and_words() {
    let (iris, schema) = Dataset::load_with_schema("iris", Path::new("")).unwrap();
    let two = iris.only(&["virginica".into(), "versicolor".into()]).unwrap();
    let adopted = schema.adopt(&two).unwrap();
    assert_eq!((adopted.classes(), adopted.histogram()), (3, vec![0, 50, 50]));
    let digits = Dataset::digits();
    let error = schema.adopt(&digits).unwrap_err().to_string();
    assert!(error.contains("petal length") && error.contains("pixel 0,0"), "{error}");
    let other = schema.with_classes(&["rose".into()]).unwrap();
    let error = other.adopt(&two).unwrap_err().to_string();
    assert!(error.contains("virginica") && error.contains("rose"), "{error}");
}

#[test]
fn every_well_known_data_set_of_the_program_has_a_schema_of_its_features() {
    for name in ["iris", "digits", "abstracts", "abstracts-test"] {
        let (data, schema) = Dataset::load_with_schema(name, Path::new("")).unwrap();
        assert_eq!(
            (schema.features(), schema.classes()),
            (data.feature_names().to_vec(), data.class_names())
        );
        assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
        assert_eq!(schema.adopt(&data).unwrap(), data);
    }
    let (Split { train, .. }, schema) =
        Split::unscaled_with_schema("iris", Path::new(""), 1).unwrap();
    let (expected, _) = Split::load("iris", Path::new(""), 1).unwrap();
    let mut scaled = train.clone();
    schema.fit(&train).unwrap().apply(&mut scaled).unwrap();
    let pairs = scaled.features().iter().zip(expected.train.features());
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-10));
}

#[test]
fn all_that_does_not_fit_is_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let path = file(folder.path(), "t.csv", text);
        patients().check(&path, &ReadOptions::default()).unwrap()
    };
    let good = "age,drug,admitted,outcome\n1,none,2024-01-01,ill\n";
    let report = check(good);
    assert_eq!((report.rows, report.dropped, report.troubles.len()), (1, 0, 0));
    let bad =
        "age,drug,admitted,outcome\n1,none,2024-01-01,ill\nx,none,soon,ill\ny,,2024-01-01,bad\n";
    let found: Vec<_> = check(bad)
        .troubles
        .into_iter()
        .map(|t| (t.column.unwrap(), t.cell.unwrap(), t.count))
        .collect();
    let cell = |row: usize, value: &str| (row, value.to_owned());
    for expected in [
        ("age".to_owned(), cell(2, "x"), 2),
        ("admitted".to_owned(), cell(2, "soon"), 1),
        ("drug".to_owned(), cell(3, ""), 1),
        ("outcome".to_owned(), cell(3, "bad"), 1),
    ] {
        assert!(found.contains(&expected), "{found:?}");
    }
    assert_eq!(found.len(), 4);
    let columns = check("years,medicine,outcome\n1,none,ill\n").troubles;
    let names: Vec<_> = columns.iter().filter_map(|t| t.column.as_deref()).collect();
    assert_eq!(names, ["age", "drug", "admitted", "years", "medicine"]);
    assert_eq!(check("age\n").troubles.len(), 3);
}

#[test]
fn images_are_scaled_by_channel() {
    let json = r#"{"version":1,"image":{"shape":[2,1,2],"max":255,
        "scale":[{"mean":0.5,"deviation":0.5},{"mean":0,"deviation":2}]}}"#;
    let schema = Schema::from_json(json).unwrap();
    let image = schema.image().unwrap();
    assert_eq!(image.features(&[0, 255, 0, 255], 255).unwrap(), [-1.0, 1.0, 0.0, 0.5]);
    assert!(image.features(&[0, 255, 0], 255).is_err());
    assert_eq!(schema.features()[3], "pixel 1,0,1");
    for wrong in ["[2,0,2]", "[2,1]", "[3,1,2]"] {
        assert!(Schema::from_json(&json.replace("[2,1,2]", wrong)).is_err(), "{wrong}");
    }
}

/// Memory does not grow with the table: rows are made while they are read.
#[test]
fn rows_come_while_the_text_is_made() {
    struct Endless(u64);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let line = b"50,none,2024-01-01,ill\n";
            let many = line.repeat(buffer.len() / line.len());
            buffer[..many.len()].copy_from_slice(&many);
            self.0 += many.len() as u64;
            Ok(many.len())
        }
    }
    use std::io::Read;
    let text = std::io::Cursor::new("age,drug,admitted,outcome\n").chain(Endless(0));
    let reader = RowReader::new(text, "endless", &patients(), &ReadOptions::default()).unwrap();
    assert!(reader.take(1_000).all(|row| row.is_ok()));
}

proptest! {
    /// Whatever numbers a schema holds, it is the same one after it was written and read.
    #[test]
    fn hashes_survive_writing_and_reading(mean in any::<f64>(), deviation in 1e-300f64..1e300, low in -1e9f64..1e9) {
        prop_assume!(mean.is_finite());
        let schema = Schema::new(Description {
            version: VERSION,
            columns: vec![Column::Number(Number {
                name: "x".into(),
                range: Some([low, low + 1e7]),
                scale: Some(Scale { mean, deviation }),
                ..Number::default()
            })],
            ..Description::default()
        });
        let schema = schema.unwrap();
        let again = Schema::from_json(&schema.to_json()).unwrap();
        prop_assert_eq!(again.hash(), schema.hash());
        prop_assert_eq!(again, schema);
    }

    /// No text makes a reader panic, and what it reads has as many features as the schema says.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n]{0,200}", header in any::<bool>()) {
        let text = if header { format!("age,drug,admitted,outcome\n{text}") } else { text };
        let schema = patients();
        if let Ok(reader) = RowReader::new(std::io::Cursor::new(text.clone()), "t", &schema, &ReadOptions::default()) {
            for row in reader.flatten() {
                prop_assert!(row.features.is_none_or(|features| features.len() == schema.inputs()));
            }
        }
        if let Ok(table) = Table::read(std::io::Cursor::new(text), &Format::default()) {
            for label in [None, Some(csv::Column::Last)] {
                let options = Options { label, missing: Fill::Fill, ..Options::default() };
                if let Ok(found) = Schema::infer(&table, &options) {
                    prop_assert!(Schema::from_json(&found.schema.to_json()).is_ok());
                }
            }
        }
    }
}
