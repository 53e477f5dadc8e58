//! Words as numbers: `OrdinalEncoder` of scikit-learn, `LabelEncoder` of ONNX.

use gelu_import::onnx;
use gelu_nn::schema::{Column, Labels, ReadOptions, Unknown};
use gelu_nn::{FloatTrainer, Recipe};
use ndarray::{Array2, array};

use super::build::{File, Setting};
use super::files::worst;
use super::pipelines::{array, import, path, schema};
use super::refused::refusals;

/// Words that are numbers become flags, whose dense layer holds the numbers: with one for other words, scaled
/// afterwards, and of words that are integers.
#[test]
fn ordinal_numbers_of_words_are_folded_into_the_first_layer() {
    let imported = import("ordinal_mlp");
    let schema = schema(&imported);
    let features = schema.features();
    assert_eq!(features[..4], ["age", "size=small", "size=medium", "size=large"]);
    assert_eq!(features.len(), 1 + 3 + 4 + 2 + 3);
    assert_eq!(imported.architecture.to_string(), "13 ▸ dense1 4 ▸ relu ▸ dense2 3");
    let unknown = schema.columns().iter().filter_map(|column| match column {
        Column::Category(category) => Some(category.unknown),
        _ => None,
    });
    use Unknown::{Refuse, Zeros};
    assert_eq!(unknown.collect::<Vec<_>>(), [Zeros, Refuse, Refuse, Refuse]);
    let options = ReadOptions { labels: Labels::Ignored, ..ReadOptions::default() };
    let rows = schema.dataset(&path("ordinal_rows.csv"), &options).unwrap().features().to_owned();
    let (recipe, weights) = (Recipe::default(), &imported.weights);
    let network = FloatTrainer::<f64>::starting_from(&imported.architecture, recipe, weights);
    let got = network.unwrap().probabilities(&rows).unwrap();
    let difference = worst(&got, &array("ordinal_mlp.outputs"));
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn ordinal_numbers_of_numbers_are_of_exactly_these() {
    let imported = import("ordinal_tensor");
    let inputs = array("ordinal_tensor.inputs");
    let got = imported.probabilities(&inputs).unwrap();
    assert!(worst(&got, &array("ordinal_tensor.outputs")) < 1e-5);
    for other in [4.0, 3.5] {
        let mut unknown = inputs.clone();
        unknown[[0, 0]] = other;
        let refused = imported.prepare(&unknown).unwrap_err().to_string();
        assert!(refused.contains(&format!("{other} in column x1 is none of 3, 5, 9")), "{refused}");
    }
}

/// Words as numbers, which the first dense layer must take.
#[test]
fn numbers_of_words_are_refused_where_no_dense_layer_takes_them() {
    let encoded = |settings: &[Setting<'_>]| {
        let file = File::new(&[None, Some(2)]);
        file.node("ai.onnx.ml.LabelEncoder", &["x"], "c", settings)
    };
    let (keys, values) = (Setting::Reals("keys_floats", &[1.0, 2.0]), [0, 7]);
    let values = Setting::Integers("values_int64s", &values);
    let dense = |file: File| {
        let file = file.reals("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]).reals("b", &[2], &[0.5, -0.5]);
        file.node("Gemm", &["c", "w", "b"], "y", &[])
    };
    let settings = [keys.clone(), values.clone(), Setting::Integer("default_int64", -1)];
    let imported = onnx(&dense(encoded(&settings)).bytes()).unwrap();
    let got = imported.prepare(&array![[1.0, 2.0, 1.5], [2.0, 2.0, 1.0]]).unwrap();
    assert_eq!(got, array![[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]);
    // With c = (0, 7), (7, 7) and (-1, 0).
    let scores = array![[21.5, 28.5, -0.5], [27.5, 41.5, -2.5]];
    let weights = &imported.weights.layers[0];
    let w = Array2::from_shape_vec((2, 4), weights.weights.clone()).unwrap();
    let b = Array2::from_shape_vec((2, 1), weights.biases.clone()).unwrap();
    assert_eq!(w.dot(&got) + b, scores);

    let why = |file: File| refusals(&file).join("; ");
    let relu = encoded(&settings).node("Relu", &["c"], "r", &[]);
    let relu = relu.reals("w", &[2, 2], &[1.0; 4]).node("MatMul", &["r", "w"], "y", &[]);
    assert!(why(relu).contains("takes words as numbers"));
    let thirds = Setting::Reals("keys_floats", &[1.0, 2.5]);
    assert!(why(dense(encoded(&[thirds, values.clone()]))).contains("no integers"));
    let one = Setting::Integers("values_int64s", &[1]);
    assert!(why(dense(encoded(&[keys.clone(), one]))).contains("2 words and 1 numbers"));
    let nothing = Setting::Real("default_float", f32::NAN);
    let values = Setting::Reals("values_floats", &[1.0, 2.0]);
    assert!(why(dense(encoded(&[keys, values, nothing]))).contains("no finite number"));
    let words = Setting::Integers("keys_int64s", &[1, 2]);
    let of_integers = [words, Setting::Integers("values_int64s", &[0, 1])];
    assert!(why(dense(encoded(&of_integers))).contains("another type"));
}
