//! Files that other programs wrote, with the outputs that those programs computed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gelu_core::Backend;
use gelu_core::clear::Clear;
use gelu_core::ledger::Policy;
use gelu_core::pair::{Pair, PairHost};
use gelu_core::server::{LearningRate, ServedModel};
use gelu_import::calibrate::LARGEST_DIFFERENCE;
use gelu_import::{Calibrated, Imported, Outputs, Samples, calibrate, npy};
use gelu_lattice::Lattice;
use gelu_nn::{Model, Sequential};
use ndarray::{Array2, ArrayD, Axis, s};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// The folder with the files, if it is there.
pub(crate) fn folder() -> Option<PathBuf> {
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
pub(crate) fn columns(array: ArrayD<f64>) -> Array2<f64> {
    let batch = array.len_of(Axis(0));
    let features = array.len() / batch;
    let rows = array.into_shape_with_order((batch, features)).unwrap();
    rows.reversed_axes().as_standard_layout().into_owned()
}

fn array(folder: &Path, name: &str, kind: &str) -> Array2<f64> {
    columns(npy::read(&fs::read(folder.join(format!("{name}.{kind}.npy"))).unwrap()).unwrap())
}

/// The same as probabilities: of scores by a softmax, `[classes, batch]`.
pub(crate) fn probabilities(outputs: &Array2<f64>, kind: Outputs) -> Array2<f64> {
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

pub(crate) fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    (a - b).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()))
}

/// A model of another program, its inputs, and the probabilities that it gave them elsewhere.
struct Known {
    file: String,
    imported: Imported,
    inputs: Array2<f64>,
    expected: Array2<f64>,
}

/// All files of the folder, which are all supported.
fn known() -> Vec<Known> {
    let Some(folder) = folder() else { return Vec::new() };
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "onnx" || e == "safetensors"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let name = file.split('.').next().unwrap();
        let bytes = fs::read(&path).unwrap();
        let imported = match path.extension().unwrap().to_str() {
            Some("onnx") => gelu_import::onnx(&bytes),
            _ => gelu_import::state_dict(&bytes, Some(&architecture(name))),
        };
        let imported = imported.unwrap_or_else(|error| panic!("{file}: {error}"));
        let expected = probabilities(&array(&folder, name, "outputs"), imported.outputs);
        // A state dict ends where its architecture does.
        let expected = match (name, path.extension().unwrap().to_str()) {
            ("mlp_sequential", Some("safetensors")) => array(&folder, name, "outputs"),
            _ => expected,
        };
        Known { inputs: array(&folder, name, "inputs"), file, imported, expected }
    };
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(all.len() >= 25, "{}", all.len());
    all
}

/// What the state dicts do not say.
fn architecture(name: &str) -> Sequential {
    let f = |function: &str| format!(r#"{{"layer":"activation","function":"{function}"}}"#);
    let dense = |outputs: usize| format!(r#"{{"layer":"dense","outputs":{outputs}}}"#);
    let conv = |filters: usize, kernel: usize, stride: usize, padding: usize| {
        format!(
            r#"{{"layer":"conv2d","filters":{filters},"kernel":{kernel},"stride":{stride},"padding":{padding}}}"#
        )
    };
    let pool = |kind: &str| format!(r#"{{"layer":"{kind}","window":2}}"#);
    let layers = match name {
        "lenet_relu" => vec![
            conv(6, 5, 1, 0),
            f("relu"),
            pool("mean_pool2d"),
            conv(16, 5, 1, 0),
            f("relu"),
            pool("mean_pool2d"),
            dense(120),
            f("relu"),
            dense(84),
            f("relu"),
            dense(10),
        ],
        "cnn_bn" => vec![
            conv(8, 3, 1, 1),
            f("relu"),
            pool("max_pool2d"),
            conv(16, 3, 2, 1),
            f("relu"),
            conv(32, 3, 1, 0),
            f("relu"),
            r#"{"layer":"global_average_pool"}"#.into(),
            dense(10),
        ],
        "mlp_sequential" => vec![dense(32), f("sigmoid"), dense(16), f("tanh"), dense(10)],
        "mlp_gelu" => vec![dense(64), f("gelu"), dense(32), f("gelu"), dense(10)],
        "small_square" => vec![conv(5, 5, 2, 0), f("square"), dense(64), f("square"), dense(10)],
        other => panic!("{other}"),
    };
    let json = format!(r#"{{"input":[1,28,28],"layers":[{}]}}"#, layers.join(","));
    Sequential::from_json(&json).unwrap()
}

fn calibrated(known: &Known) -> Calibrated {
    let inputs = known.imported.prepare(&known.inputs).unwrap();
    calibrate(&known.imported, "n", &Samples { inputs, labels: None }, 0.0).unwrap()
}

/// To 1e-5 in floating point (the files hold 32 bits); in fixed point, calibrated by the same inputs, with the same
/// class for every sample and probabilities to 0.05.
#[test]
fn every_file_computes_what_it_computed_elsewhere() {
    for known in known() {
        let float = worst(&known.imported.probabilities(&known.inputs).unwrap(), &known.expected);
        let Calibrated { model, report } = calibrated(&known);
        let prepared = known.imported.prepare(&known.inputs).unwrap();
        let (fixed, _) = model.probabilities(&prepared).unwrap();
        let fixed = worst(&fixed, &known.expected);
        println!(
            "{}: {}, worst {float:.1e} in floating, {fixed:.1e} in fixed point; activations {:?}, weights {:?}, cut off {:?}",
            known.file,
            known.imported.architecture,
            model.precision().activations,
            model.precision().weights,
            report.cut_off
        );
        assert!(float < 1e-5, "{}: {float}", known.file);
        assert!(
            report.agreement == 1.0 && fixed <= LARGEST_DIFFERENCE + 1e-5,
            "{}: {fixed}",
            known.file
        );
    }
}

pub(crate) fn under_encryption<B: Backend>(
    model: &Model,
    inputs: &Array2<f64>,
    bits: u32,
) -> Array2<f64> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let host =
        Arc::new(PairHost::new(ServedModel::from(model), "test", Policy::AllowModelExtraction));
    let secret = Arc::new(B::keygen(bits, &mut rng).unwrap());
    let mut pair = Pair::<B>::open(host, secret, LearningRate::Public(0.5), &mut rng).unwrap();
    pair.classify(inputs, &mut rng).unwrap()
}

/// The same integers, so the same probabilities to the last bit: of every file in the protocol without encryption, of
/// some on a lattice.
#[test]
fn answers_under_encryption_are_those_in_the_clear() {
    for known in known() {
        let Calibrated { model, .. } = calibrated(&known);
        let prepared = known.imported.prepare(&known.inputs).unwrap();
        let few = prepared.slice(s![.., ..2]).to_owned();
        let (clear, _) = model.probabilities(&few).unwrap();
        assert_eq!(under_encryption::<Clear>(&model, &few, 64), clear, "{}", known.file);
        if ["cnn_bn.ts17.onnx", "skl_mlp_relu_wdbc.zipmap.onnx", "mlp_gelu.safetensors"]
            .contains(&known.file.as_str())
        {
            assert_eq!(under_encryption::<Lattice>(&model, &few, 4096), clear, "{}", known.file);
        }
    }
}
