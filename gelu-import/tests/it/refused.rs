//! Files that are built here, each with what cannot be read, are refused with the reason.

use gelu_import::{Error, onnx};

use super::build::{File, Setting, dense_then, image_network, numbers};

/// All that is not supported in a file.
pub(crate) fn refusals(file: &File) -> Vec<String> {
    match onnx(&file.bytes()) {
        Err(Error::Unsupported(all)) => all.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// One by one would mean as many exports as there are problems.
#[test]
fn all_that_is_not_supported_is_listed_at_once() {
    let file = dense_then(|file| {
        file.reals("v", &[3, 3], &numbers(9))
            .node("Elu", &["z"], "e", &[])
            .node("Gemm", &["e", "v"], "f", &[])
            .node("Mish", &["f"], "g", &[])
            .node("com.example.Attention", &["g"], "h", &[])
            .node("Gemm", &["h", "v"], "y", &[])
    });
    let all = refusals(&file);
    assert_eq!(
        all,
        [
            "node_e (Elu): Elu is not supported",
            "node_g (Mish): Mish is not supported",
            "node_h (com.example.Attention): com.example.Attention is not supported",
        ]
    );
}

#[test]
fn what_cannot_be_right_is_refused_with_its_reason() {
    let unit = [Setting::Integers("kernel_shape", &[2, 2])];
    let image =
        || File::new(&[None, Some(1), Some(5), Some(5)]).reals("w", &[2, 1, 2, 3], &numbers(12));
    let refused: Vec<(File, &str)> = vec![
        (
            dense_then(|f| f.node("Softmax", &["z"], "s", &[]).node("Gemm", &["s", "w"], "y", &[])),
            "must end with",
        ),
        (dense_then(|f| f.node("Sigmoid", &["z"], "y", &[])), "one class a sample"),
        (dense_then(|f| f.node("Exp", &["z"], "y", &[])), "none of the protocol's activations"),
        (
            dense_then(|f| f.integers("t", &[1, -1]).node("Reshape", &["z", "t"], "y", &[])),
            "samples would be mixed",
        ),
        (dense_then(|f| f.node("Transpose", &["z"], "y", &[])), "moves the batch"),
        (
            dense_then(|f| f.reals("v", &[4, 3], &numbers(12)).node("Gemm", &["z", "v"], "y", &[])),
            "takes 4 inputs",
        ),
        (
            File::new(&[None, Some(5)]).reals("w", &[5, 1], &numbers(5)).node(
                "Gemm",
                &["x", "w"],
                "y",
                &[],
            ),
            "regression",
        ),
        (
            File::new(&[None, None]).reals("w", &[5, 1], &numbers(5)).node(
                "Gemm",
                &["x", "w"],
                "y",
                &[],
            ),
            "[?, ?]",
        ),
        (
            image()
                .node("Conv", &["x", "w"], "c", &[Setting::Integers("strides", &[1, 9])])
                .node("Flatten", &["c"], "z", &[])
                .node("Elu", &["z"], "y", &[]),
            "Elu is not supported",
        ),
        (
            image()
                .node(
                    "MaxPool",
                    &["x"],
                    "p",
                    &[unit[0].clone(), Setting::Integers("pads", &[0, 0, 1, 0])],
                )
                .node("Flatten", &["p"], "y", &[]),
            "pads of [0, 1] before and after",
        ),
        (
            image().node("AveragePool", &["x"], "p", &unit).node("Flatten", &["p"], "y", &[]),
            "side by side",
        ),
        (dense_then(|f| f.node("Relu", &["missing"], "y", &[])), "inputs, must be one"),
    ];
    for (file, why) in refused {
        let all = match onnx(&file.bytes()) {
            Err(error) => error.to_string(),
            Ok(imported) => panic!("{why}: {}", imported.architecture),
        };
        assert!(all.contains(why), "{why}: {all}");
    }
}

#[test]
fn versions_and_external_data_are_refused_by_name() {
    let mut old = image_network();
    old.0.opset_import[0].version = 6;
    assert!(refusals(&old)[0].contains("operators of version 6"));
    let mut external = image_network();
    external.graph().initializer[0].data_location = 1;
    let all = refusals(&external);
    assert!(all[0].starts_with("w (Constant)") && all[0].contains("another file"), "{all:?}");
    assert!(matches!(onnx(b"hello"), Err(Error::NotA { .. })));
    assert!(matches!(onnx(&[]), Err(Error::NotA { .. })));
}
