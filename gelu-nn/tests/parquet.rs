//! Tables in Parquet files, through what programs call. Not beside the code: CI builds this file with the features that
//! the whole workspace has, and shares what the other tests have built.

use std::fs;
use std::path::{Path, PathBuf};

use gelu_nn::data::csv::{Column, Format, Table};
use gelu_nn::error::DataError;
use gelu_nn::schema::{Labels, Options, ReadOptions, RowReader, Schema};

/// Written by pyarrow 26: five rows in groups of two, a codec for each column in turn, dictionaries.
const KINDS: &[u8] = include_bytes!("../src/data/kinds.parquet");

const UNREAD: [&str; 3] = ["list", "blob", "time"];

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kinds.parquet");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn table(path: &Path, unread: &[&str]) -> gelu_nn::Result<Table> {
    let unread: Vec<_> = unread.iter().map(|&name| Column::from(name)).collect();
    Table::open(path, &Format::default(), &unread)
}

fn schema_of(columns: &str) -> Schema {
    Schema::from_json(&format!(r#"{{"version": 1, "columns": [{columns}]}}"#)).unwrap()
}

#[test]
fn values_of_every_kind_are_the_text_that_a_table_would_have() {
    let (_folder, path) = file(KINDS);
    let names = ["id", "small", "x", "y", "price", "ok", "drug", "day", "ns", "us", "ms"];
    let schema = r#"{"type": "number", "name": "small", "missing": "drop"}"#;
    let options = ReadOptions {
        ignore: UNREAD.map(Column::from).to_vec(),
        labels: Labels::Ignored,
        extra: names.map(String::from).to_vec(),
        ..ReadOptions::default()
    };
    let rows: Vec<_> =
        RowReader::open(&path, &schema_of(schema), &options).unwrap().map(Result::unwrap).collect();
    let column = |name: &str| -> Vec<&str> {
        let at = names.iter().position(|n| *n == name).unwrap();
        rows.iter().map(|row| row.extra[at].as_str()).collect()
    };
    for (name, expected) in [
        ("id", ["1152921504606846977", "", "-3", "4", "5"]),
        ("small", ["1", "2", "", "255", "0"]),
        ("y", ["0.1", "0.0000001", "", "16777216", "3"]),
        ("price", ["12.50", "-0.05", "", "0.00", "99999.99"]),
        ("ok", ["true", "false", "", "true", "true"]),
        ("drug", ["none", "st\u{e4}tin, \"b\"", "", "none", ""]),
        ("day", ["2024-02-29", "1969-12-31", "", "1900-01-01", "9999-12-31"]),
    ] {
        assert_eq!(column(name), expected, "{name}");
    }
    let number = |cell: &str| cell.parse::<f64>().ok();
    let x: Vec<_> = column("x").into_iter().map(number).collect();
    assert!(x[1].unwrap().is_nan());
    assert_eq!([x[0], x[2], x[3], x[4]], [Some(0.1), Some(1e300), Some(-2.5), None]);
    let times = |name| column(name).into_iter().map(|t| t.get(..19).unwrap_or(t)).collect();
    let ns: Vec<_> = times("ns");
    let first = ["2024-02-29 00:00:00", "1969-12-31 23:59:59", "", "1970-01-01 00:00:00"];
    assert_eq!(ns, [&first[..], &["1970-01-01 23:59:59"]].concat());
    let us: Vec<_> = times("us");
    assert_eq!(us, [&first[..], &["4611686018427387904"]].concat(), "in no calendar");
    let ms: Vec<_> = times("ms");
    assert_eq!(ms, [&first[..], &["1970-01-01 00:00:00"]].concat());
}

/// All five cells of a column that is not read, and one of those that are.
#[test]
fn what_is_not_read_is_missing() {
    let (_folder, path) = file(KINDS);
    let table = table(&path, &UNREAD).unwrap();
    let others = table.names().iter().filter(|name| !["id", "list"].contains(&name.as_str()));
    let ignore = others.map(|name| Column::from(name.as_str())).collect();
    let options = Options { label: None, ignore, ..Options::default() };
    let missing = DataError::Missing { count: 5 + 1, row: 1, column: "list".into() };
    assert_eq!(Schema::infer(&table, &options).unwrap_err(), missing);
}

#[test]
fn rows_are_read_by_name_and_refused_with_their_place() {
    let (_folder, path) = file(KINDS);
    let all = ["id", "small", "x", "y", "price", "ok", "drug", "day", "ns", "us", "ms"];
    let ignore = |but: &[&str]| -> Vec<Column> {
        let rest = all.iter().chain(&UNREAD).filter(|name| !but.contains(name));
        rest.map(|&name| Column::from(name)).collect()
    };
    let options = |but: &[&str], extra: &[&str]| ReadOptions {
        ignore: ignore(but),
        labels: Labels::Ignored,
        extra: extra.iter().map(|&name| name.to_owned()).collect(),
        ..ReadOptions::default()
    };
    let by_name = schema_of(
        r#"{"type": "date", "name": "day", "as": ["days"], "missing": "drop"},
           {"type": "number", "name": "small", "missing": {"value": 7}}"#,
    );
    let read = RowReader::open(&path, &by_name, &options(&["day", "small", "id"], &["id"]));
    let rows: Vec<_> = read.unwrap().map(|row| row.unwrap()).collect();
    let numbers: Vec<_> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "over all row groups");
    assert_eq!(rows[0].features, Some(vec![19_782.0, 1.0]));
    assert_eq!((&rows[2].features, &rows[2].extra[0]), (&None, &"-3".to_owned()));
    assert_eq!(rows[4].features, Some(vec![2_932_896.0, 0.0]));

    let reason = |schema: &Schema, options: &ReadOptions| {
        let read = RowReader::open(&path, schema, options);
        let read = read.and_then(|rows| rows.collect::<Result<Vec<_>, _>>());
        read.unwrap_err().to_string()
    };
    let range =
        schema_of(r#"{"type": "number", "name": "id", "range": [-5, 1e19], "missing": "drop"}"#);
    assert!(RowReader::open(&path, &range, &options(&["id"], &[])).is_ok());
    let range =
        schema_of(r#"{"type": "number", "name": "id", "range": [0, 1e19], "missing": "drop"}"#);
    let said = reason(&range, &options(&["id"], &[]));
    assert!(said.contains("kinds.parquet") && said.contains("row 3, column id: \"-3\""), "{said}");
    let said =
        reason(&schema_of(r#"{"type": "number", "name": "small"}"#), &options(&["small"], &[]));
    assert!(said.contains("row 3, column small"), "a null is a missing value: {said}");
    let said = reason(&schema_of(r#"{"type": "number", "name": "age"}"#), &options(&["x"], &[]));
    assert!(said.contains("age") && said.contains('x'), "{said}");
    for (name, holds) in UNREAD.into_iter().zip(["lists", "bytes", "times of day"]) {
        let column = format!(r#"{{"type": "number", "name": "{name}"}}"#);
        let said = reason(&schema_of(&column), &options(&[name], &[]));
        assert!(said.contains(name) && said.contains(holds), "{said}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let (_folder, path) = file(&KINDS[..KINDS.len() - 9]);
    let said = table(&path, &UNREAD).unwrap_err().to_string();
    assert!(said.contains("its footer"), "{said}");
    // Every 16th byte. What is read of it may be wrong, for want of checksums, but nothing panics.
    for at in (0..KINDS.len()).step_by(16) {
        let mut bytes = KINDS.to_vec();
        bytes[at] ^= 0x55;
        let (_folder, path) = file(&bytes);
        drop(table(&path, &UNREAD));
    }
}
