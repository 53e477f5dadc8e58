//! Files that other programs wrote, with the outputs that those programs computed.

use std::fs;
use std::path::{Path, PathBuf};

use gelu_import::{Outputs, npy};
use ndarray::{Array2, ArrayD, Axis};

/// The folder with the files, if it is there.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("GELU_DATA").map(PathBuf::from);
    let data =
        named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let found = Some(data.join("import")).filter(|folder| folder.is_dir());
    if found.is_none() {
        println!("SKIP: no models of other programs; set GELU_DATA to the folder of the data sets");
    }
    found
}

/// `[features, batch]` of an array whose first axis is the batch.
fn columns(array: ArrayD<f64>) -> Array2<f64> {
    let batch = array.len_of(Axis(0));
    let features = array.len() / batch;
    let rows = array.into_shape_with_order((batch, features)).unwrap();
    rows.reversed_axes().as_standard_layout().into_owned()
}

fn array(folder: &Path, name: &str, kind: &str) -> Array2<f64> {
    columns(npy::read(&fs::read(folder.join(format!("{name}.{kind}.npy"))).unwrap()).unwrap())
}

/// The same as probabilities: of scores by a softmax, `[classes, batch]`.
fn probabilities(outputs: &Array2<f64>, kind: Outputs) -> Array2<f64> {
    match kind {
        Outputs::Probabilities => outputs.clone(),
        Outputs::LogProbabilities => outputs.mapv(f64::exp),
        Outputs::Scores => {
            let exponentials = outputs.mapv(f64::exp);
            let sums = exponentials.sum_axis(Axis(0));
            exponentials / &sums
        }
    }
}

fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    (a - b).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()))
}

#[test]
fn every_onnx_file_computes_what_it_computed_elsewhere() {
    let Some(folder) = folder() else { return };
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "onnx") {
            continue;
        }
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = file.split('.').next().unwrap();
        let imported = match gelu_import::onnx(&fs::read(&path).unwrap()) {
            Ok(imported) => imported,
            Err(error) => panic!("{file}: {error}"),
        };
        let expected = probabilities(&array(&folder, name, "outputs"), imported.outputs);
        let got = imported.probabilities(&array(&folder, name, "inputs")).unwrap();
        let worst = worst(&got, &expected);
        println!("{file}: {} worst {worst:.1e}", imported.architecture);
        assert!(worst < 1e-5, "{file}: {worst}");
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
}
