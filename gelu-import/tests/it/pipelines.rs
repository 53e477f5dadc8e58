//! Files of `tests/data`, which `make.py` there makes with scikit-learn and onnxruntime.

use std::path::{Path, PathBuf};

use gelu_import::{Imported, Sample, Samples, calibrate, npy, onnx};
use gelu_nn::schema::{Column, Description, Labels, Missing, ReadOptions, Unknown, VERSION};
use gelu_nn::{FloatTrainer, Recipe, Schema};
use ndarray::Array2;

use super::files::{columns, probabilities, worst};

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn import(name: &str) -> Imported {
    let bytes = std::fs::read(path(&format!("{name}.onnx"))).unwrap();
    onnx(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `[numbers, batch]`.
pub(crate) fn array(name: &str) -> Array2<f64> {
    columns(npy::read(&std::fs::read(path(&format!("{name}.npy"))).unwrap()).unwrap())
}

/// A schema of the file's columns, as `gelu import` makes it.
pub(crate) fn schema(imported: &Imported) -> Schema {
    let columns = imported.sample.table().unwrap().columns.clone();
    Schema::new(Description { version: VERSION, columns, ..Description::default() }).unwrap()
}

/// Numbers that are filled in and scaled, words, and integers in the place of words: read from a table by the schema, they
/// give what scikit-learn gives.
#[test]
fn joined_columns_become_a_schema() {
    for name in ["columns_logistic", "columns_mlp"] {
        let imported = import(name);
        let schema = schema(&imported);
        assert_eq!(
            schema.features(),
            [
                "age",
                "dose",
                "drug=aspirin",
                "drug=none",
                "drug=statin",
                "sex=f",
                "sex=m",
                "ward=5",
                "ward=9"
            ]
        );
        let [Column::Number(age), _, Column::Category(drug), _, Column::Category(ward)] =
            schema.columns()
        else {
            panic!("{schema:?}")
        };
        assert!(matches!(age.missing, Missing::Value(mean) if mean > 40.0), "{age:?}");
        assert_eq!((drug.unknown, &drug.reference), (Unknown::Zeros, &None));
        assert_eq!((ward.unknown, ward.reference.as_deref()), (Unknown::Refuse, Some("3")));
        let options = ReadOptions { labels: Labels::Ignored, ..ReadOptions::default() };
        let rows = schema.dataset(&path("rows.csv"), &options).unwrap().features().to_owned();
        let network = FloatTrainer::<f64>::starting_from(
            &imported.architecture,
            Recipe::default(),
            &imported.weights,
        );
        let got = network.unwrap().probabilities(&rows).unwrap();
        let difference = worst(&got, &array(&format!("{name}.outputs")));
        assert!(difference < 1e-5, "{name}: {difference}");
        let refused = imported.prepare(&Array2::zeros((5, 1))).unwrap_err().to_string();
        assert!(refused.contains("column drug holds words"), "{refused}");
    }
    assert_eq!(import("columns_logistic").classes.unwrap(), ["ill", "well"]);
    assert_eq!(import("columns_mlp").classes.unwrap(), ["frail", "ill", "well"]);
}

/// One tensor of which columns are chosen, one is encoded, and all are scaled again; an array has all that it needs.
#[test]
fn columns_of_one_tensor_are_chosen_by_place() {
    let imported = import("tensor_logistic");
    let table = imported.sample.table().unwrap();
    assert_eq!((&table.places[..], table.width, table.is_named), (&[1, 0][..], 3, false));
    assert_eq!(table.columns[1].scales().len(), 3);
    let names = ["ward", "age", "dose"].map(String::from);
    let named: Vec<_> = table.named(&names).iter().map(|column| column.name().clone()).collect();
    assert_eq!(named, ["age", "ward"]);
    let inputs = array("tensor_logistic.inputs");
    let got = imported.probabilities(&inputs).unwrap();
    assert!(worst(&got, &array("tensor_logistic.outputs")) < 1e-5);
    let mut unknown = inputs;
    unknown[[0, 0]] = 4.0;
    let refused = imported.prepare(&unknown).unwrap_err().to_string();
    assert!(refused.contains("4 in column x1 is none of 3, 5, 9"), "{refused}");
}

/// The quantiser has left out the ReLUs: integers that cannot be below their zero take their place. What differs is the
/// rounding of 8 bits, less than it moves any class.
#[test]
fn quantised_networks_cut_off_what_their_integers_cannot_hold() {
    for name in ["quantised_tensor", "quantised_channel"] {
        let imported = import(name);
        assert!(matches!(&imported.sample, Sample::Array(array) if array.shape == [1, 4, 12]));
        assert!(
            imported.notes.iter().any(|note| note.contains("not rounded")),
            "{:?}",
            imported.notes
        );
        let layers = imported.architecture.to_string();
        assert_eq!(
            layers,
            "1x4x12 ▸ clip ▸ conv1 3x4x6 ▸ clip ▸ max 2x1 ▸ dense1 8 ▸ clip ▸ dense2 3 ▸ clip"
        );
        let inputs = array("quantised.inputs");
        let expected = probabilities(&array(&format!("{name}.outputs")), imported.outputs);
        let got = imported.probabilities(&inputs).unwrap();
        let difference = worst(&got, &expected);
        assert!(difference < 0.02, "{name}: {difference}");
        let samples = Samples { inputs: imported.prepare(&inputs).unwrap(), labels: None };
        let report = calibrate(&imported, name, &samples, 0.0).unwrap().report;
        assert_eq!((report.agreement, report.cut_off.iter().sum::<u64>()), (1.0, 0), "{name}");
    }
}
