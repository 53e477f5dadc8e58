//! Files that are built here, each with what makes it special, compute what ONNX says.

use gelu_import::{Imported, Outputs, onnx};
use gelu_nn::{Activation, LayerSpec};
use ndarray::Array2;

use super::build::{File, Setting, dense_then, image_network, numbers};

/// A batch of 4 samples of values between −1 and 1.
fn samples(features: usize) -> Array2<f64> {
    let values = numbers(features * 4).into_iter().map(f64::from).collect();
    Array2::from_shape_vec((features, 4), values).unwrap()
}

fn probabilities(imported: &Imported) -> Array2<f64> {
    imported.probabilities(&samples(imported.architecture.input().features())).unwrap()
}

fn assert_close(a: &Array2<f64>, b: &Array2<f64>) {
    let worst = (a - b).iter().fold(0.0, |worst: f64, d| worst.max(d.abs()));
    assert!(worst < 1e-6, "{worst}");
}

/// The whole of a network by hand: convolution, normalisation and poolings as ONNX defines them.
#[test]
fn an_image_network_computes_what_onnx_says() {
    let imported = onnx(&image_network().bytes()).unwrap();
    assert_eq!(imported.outputs, Outputs::Probabilities);
    assert_eq!(
        imported.architecture.to_string(),
        "1x8x8 ▸ conv1 4x8x8 ▸ relu ▸ max 2x2 ▸ mean 2x2 ▸ dense1 3"
    );
    let at = |values: &[f32], i: usize| f64::from(values[i]);
    let (w, b, x, m) = (numbers(36), numbers(4), samples(64), numbers(48));
    let quarter = |c: usize| (c + 1) as f64 / 4.0;
    let expected = Array2::from_shape_fn((3, 4), |(class, sample)| {
        let pixel = |c: usize, y: usize, x_: usize| {
            let mut z = at(&b, c);
            for (u, v) in (0..3).flat_map(|u| (0..3).map(move |v| (u, v))) {
                if (1..9).contains(&(y + u)) && (1..9).contains(&(x_ + v)) {
                    z += at(&w, c * 9 + u * 3 + v) * x[[(y + u - 1) * 8 + x_ + v - 1, sample]];
                }
            }
            ((z - at(&b, c)) / (quarter(c) + 1e-5).sqrt() * quarter(c) + at(&b, c)).max(0.0)
        };
        let largest = |c: usize, y: usize, x_: usize| {
            let pixels = (0..4).map(|i| pixel(c, 2 * y + i / 2, 2 * x_ + i % 2));
            pixels.fold(f64::MIN, f64::max)
        };
        let mean = |c: usize, y: usize, x_: usize| {
            (0..4).map(|i| largest(c, 2 * y + i / 2, 2 * x_ + i % 2)).sum::<f64>() / 4.0
        };
        let score = (0..16).map(|f| mean(f / 4, f / 2 % 2, f % 2) * at(&m, f * 3 + class));
        (score.sum::<f64>() + at(&b, class)).exp()
    });
    let expected = &expected / &expected.sum_axis(ndarray::Axis(0));
    assert_close(&probabilities(&imported), &expected);
}

/// Channels last, three of them: the sample, the convolution's bias and the dense layer are all in another order than
/// in the twin with channels first, and give the same.
#[test]
fn channels_last_equals_channels_first() {
    let last_to_first = [Setting::Integers("perm", &[0, 3, 1, 2])];
    let first_to_last = [Setting::Integers("perm", &[0, 2, 3, 1])];
    let (kernel, bias) = (numbers(2 * 3 * 9), numbers(2));
    let matrix = numbers(16 * 3);
    let last = File::new(&[None, Some(4), Some(4), Some(3)])
        .reals("w", &[2, 3, 3, 3], &kernel)
        .reals("b", &[1, 1, 1, 2], &bias)
        .reals("m", &[8, 3], &matrix[..24])
        .integers("flat", &[-1, 8])
        .node("Transpose", &["x"], "a", &last_to_first)
        .node("Conv", &["a", "w"], "c", &[])
        .node("Transpose", &["c"], "d", &first_to_last)
        .node("Add", &["d", "b"], "e", &[])
        .node("Relu", &["e"], "f", &[])
        .node("Reshape", &["f", "flat"], "g", &[])
        .node("MatMul", &["g", "m"], "y", &[]);
    // Feature (c, i) of four pixels i has row 2·i + c of the matrix there, and c·4 + i here.
    let row = |feature: usize| 2 * (feature % 4) + feature / 4;
    let moved: Vec<_> = (0..8).flat_map(|f| matrix[3 * row(f)..][..3].to_vec()).collect();
    let first = File::new(&[None, Some(3), Some(4), Some(4)])
        .reals("w", &[2, 3, 3, 3], &kernel)
        .reals("b", &[2], &bias)
        .reals("m", &[8, 3], &moved)
        .node("Conv", &["x", "w", "b"], "c", &[])
        .node("Relu", &["c"], "f", &[])
        .node("Flatten", &["f"], "g", &[])
        .node("MatMul", &["g", "m"], "y", &[]);
    let (last, first) = (onnx(&last.bytes()).unwrap(), onnx(&first.bytes()).unwrap());
    assert_eq!(last.architecture, first.architecture);
    assert!(last.notes[0].contains("channels last"), "{:?}", last.notes);
    let images = samples(48);
    let pixel = |feature: usize| (feature % 16) * 3 + feature / 16;
    let reordered = Array2::from_shape_fn((48, 4), |(f, s)| images[[pixel(f), s]]);
    assert_close(&last.probabilities(&images).unwrap(), &first.probabilities(&reordered).unwrap());
}

/// Unequal pads and dilated kernels become plain ones with zeros in them.
#[test]
fn unequal_pads_and_dilation() {
    let conv = |settings: &[Setting<'_>]| {
        File::new(&[None, Some(1), Some(6), Some(6)])
            .reals("w", &[2, 1, 2, 2], &numbers(8))
            .node("Conv", &["x", "w"], "c", settings)
            .node("Flatten", &["c"], "y", &[])
    };
    let value = |imported: &Imported, pads: [usize; 2], step: usize, dilation: usize| {
        let (x, w) = (samples(36), numbers(8));
        let side = (6 + pads[0] + pads[1] - dilation - 1) / step + 1;
        let expected = Array2::from_shape_fn((2 * side * side, 4), |(o, s)| {
            let (f, y, x_) = (o / (side * side), o / side % side, o % side);
            let tap = |u: usize, v: usize| {
                let (i, j) = (step * y + dilation * u, step * x_ + dilation * v);
                let inside = |at: usize| (pads[0]..pads[0] + 6).contains(&at);
                match inside(i) && inside(j) {
                    true => {
                        f64::from(w[f * 4 + u * 2 + v]) * x[[(i - pads[0]) * 6 + j - pads[0], s]]
                    }
                    false => 0.0,
                }
            };
            (tap(0, 0) + tap(0, 1) + tap(1, 0) + tap(1, 1)).exp()
        });
        assert_close(&probabilities(imported), &(&expected / &expected.sum_axis(ndarray::Axis(0))));
    };
    let same = conv(&[Setting::Word("auto_pad", "SAME_UPPER")]);
    value(&onnx(&same.bytes()).unwrap(), [0, 1], 1, 1);
    let lower = conv(&[Setting::Integers("pads", &[1, 1, 0, 0])]);
    value(&onnx(&lower.bytes()).unwrap(), [1, 0], 1, 1);
    let dilated =
        conv(&[Setting::Integers("dilations", &[2, 2]), Setting::Integers("strides", &[2, 2])]);
    value(&onnx(&dilated.bytes()).unwrap(), [0, 0], 2, 2);
    let padded = conv(&[]);
    let mut padded = padded.integers("around", &[0, 0, 1, 1, 0, 0, 1, 1]).node(
        "Pad",
        &["x", "around"],
        "p",
        &[],
    );
    padded.graph().node.rotate_right(1);
    padded.graph().node[1].input[0] = "p".into();
    value(&onnx(&padded.bytes()).unwrap(), [1, 1], 1, 1);
}

/// Kernels, strides and pads that differ between the axes, poolings along one of them.
#[test]
fn windows_that_are_not_square() {
    let pool =
        |kernel| [Setting::Integers("kernel_shape", kernel), Setting::Integers("strides", kernel)];
    let conv = [Setting::Integers("strides", &[1, 2]), Setting::Integers("pads", &[0, 2, 1, 1])];
    let file = File::new(&[None, Some(1), Some(4), Some(7)])
        .reals("w", &[2, 1, 2, 3], &numbers(12))
        .node("Conv", &["x", "w"], "c", &conv)
        .node("MaxPool", &["c"], "p", &pool(&[2, 1]))
        .node("AveragePool", &["p"], "q", &pool(&[1, 2]))
        .node("Flatten", &["q"], "y", &[]);
    let imported = onnx(&file.bytes()).unwrap();
    assert_eq!(imported.architecture.to_string(), "1x4x7 ▸ conv1 2x4x4 ▸ max 2x1 ▸ mean 1x2");
    let (x, w) = (samples(28), numbers(12));
    let conv = |f: usize, y: usize, x_: usize, s: usize| -> f64 {
        let tap = |t: usize| {
            let (i, j) = (y + t / 3, (2 * x_ + t % 3).checked_sub(2)?);
            (i < 4 && j < 7).then(|| f64::from(w[6 * f + t]) * x[[7 * i + j, s]])
        };
        (0..6).filter_map(tap).sum()
    };
    let largest = |f: usize, y: usize, x_: usize, s: usize| {
        conv(f, 2 * y, x_, s).max(conv(f, 2 * y + 1, x_, s))
    };
    let e = Array2::from_shape_fn((8, 4), |(o, s)| {
        let (f, y, x_) = (o / 4, o / 2 % 2, o % 2);
        f64::midpoint(largest(f, y, 2 * x_, s), largest(f, y, 2 * x_ + 1, s)).exp()
    });
    assert_close(&probabilities(&imported), &(&e / &e.sum_axis(ndarray::Axis(0))));
}

#[test]
fn activations_however_they_are_written() {
    let activation = |file: File| match onnx(&file.bytes()).unwrap().architecture.layers() {
        [LayerSpec::Dense { .. }, LayerSpec::Activation { function }] => *function,
        other => panic!("{other:?}"),
    };
    let scalar = |file: File, name: &str, value: f32| file.reals(name, &[], &[value]);
    // x · clip(x + 3, 0, 6) / 6 is hard_swish.
    let swish = dense_then(|file| {
        let file = scalar(scalar(scalar(file, "three", 3.0), "zero", 0.0), "six", 6.0);
        file.node("Add", &["z", "three"], "p", &[])
            .node("Clip", &["p", "zero", "six"], "q", &[])
            .node("Mul", &["z", "q"], "r", &[])
            .node("Div", &["r", "six"], "y", &[])
    });
    assert_eq!(activation(swish), Activation::HardSwish);
    let square = dense_then(|file| scalar(file, "two", 2.0).node("Pow", &["z", "two"], "y", &[]));
    assert_eq!(activation(square), Activation::Square);
    let leaky =
        dense_then(|file| file.node("LeakyRelu", &["z"], "y", &[Setting::Real("alpha", 0.25)]));
    assert_eq!(activation(leaky), Activation::LeakyRelu { slope: 0.25 });
    let relu6 = dense_then(|file| {
        let file = scalar(scalar(file, "zero", 0.0), "six", 6.0);
        file.node("Relu", &["z"], "r", &[]).node("Min", &["r", "six"], "y", &[])
    });
    assert_eq!(activation(relu6), Activation::Clip { lo: 0.0, hi: 6.0 });
}

/// 1/(1 + e^−z) of one score is the softmax of 0 and z, whoever writes it how.
#[test]
fn two_classes_of_one_probability() {
    let one = |then: fn(File) -> File| {
        then(
            File::new(&[None, Some(5)])
                .reals("w", &[5, 1], &numbers(5))
                .reals("b", &[1, 1], &[0.5])
                .node("MatMul", &["x", "w"], "d", &[])
                .node("Add", &["d", "b"], "z", &[]),
        )
    };
    let sigmoid = one(|file| file.node("Sigmoid", &["z"], "y", &[]));
    let pair = one(|file| {
        file.reals("one", &[], &[1.0])
            .node("Sigmoid", &["z"], "p", &[])
            .node("Sub", &["one", "p"], "n", &[])
            .node("Concat", &["n", "p"], "y", &[Setting::Integer("axis", 1)])
    });
    let negated: Vec<_> = numbers(5).iter().map(|w| -w).collect();
    let coefficients = [&negated[..], &numbers(5)].concat();
    let mut classifier = File::new(&[None, Some(5)]).node(
        "ai.onnx.ml.LinearClassifier",
        &["x"],
        "label",
        &[
            Setting::Integers("classlabels_ints", &[7, 9]),
            Setting::Reals("coefficients", &coefficients),
            Setting::Reals("intercepts", &[-0.5, 0.5]),
            Setting::Word("post_transform", "LOGISTIC"),
        ],
    );
    classifier.graph().node[0].output.push("y".into());
    let (x, w) = (samples(5), numbers(5));
    let expected = Array2::from_shape_fn((2, 4), |(class, s)| {
        let z = 0.5 + (0..5).map(|i| f64::from(w[i]) * x[[i, s]]).sum::<f64>();
        1.0 / (1.0 + if class == 1 { (-z).exp() } else { z.exp() })
    });
    for file in [sigmoid, pair, classifier] {
        let imported = onnx(&file.bytes()).unwrap();
        assert_close(&probabilities(&imported), &expected);
        if let Some(classes) = &imported.classes {
            assert_eq!(classes, &["7", "9"]);
        }
    }
}

/// (x − mean)/deviation at the start is what the client does; anywhere else it is folded into the layer beside it.
#[test]
fn scalings_are_kept_at_the_start_and_folded_elsewhere() {
    let scaled = |start: bool| {
        let file = File::new(&[None, Some(5)])
            .reals("w", &[5, 5], &numbers(25))
            .reals("v", &[5, 3], &numbers(15))
            .reals("s", &[5], &[0.5, 1.0, 2.0, 3.0, 4.0])
            .reals("t", &[5], &numbers(5));
        let (before, after) = if start { ("x", "a") } else { ("h", "b") };
        let gemm = |file: File, from: &str| file.node("Gemm", &[from, "w"], "h", &[]);
        let file = if start { file } else { gemm(file, "x").node("Relu", &["h"], "r", &[]) };
        let from = if start { before } else { "r" };
        let file = file.node("Mul", &[from, "s"], "m", &[]).node("Add", &["m", "t"], after, &[]);
        let file = if start { gemm(file, after) } else { file };
        file.node("Gemm", &[if start { "h" } else { after }, "v"], "y", &[])
    };
    let start = onnx(&scaled(true).bytes()).unwrap();
    let deviations = |imported: &Imported| -> Vec<f64> {
        let columns = &imported.sample.table().unwrap().columns;
        columns.iter().flat_map(|column| column.scales()).map(|scale| scale.deviation).collect()
    };
    assert_eq!(deviations(&start), [2.0, 1.0, 0.5, 1.0 / 3.0, 0.25]);
    let folded = onnx(&scaled(false).bytes()).unwrap();
    assert!(deviations(&folded).is_empty());
    let (x, w, v) = (samples(5), numbers(25), numbers(15));
    let (s, t) = ([0.5, 1.0, 2.0, 3.0, 4.0], numbers(5));
    let product = |a: &Array2<f64>, m: &[f32], outputs: usize| {
        Array2::from_shape_fn((outputs, 4), |(o, n)| {
            (0..5).map(|i| a[[i, n]] * f64::from(m[i * outputs + o])).sum::<f64>()
        })
    };
    let scale = |a: &Array2<f64>| {
        Array2::from_shape_fn((5, 4), |(i, n)| s[i] * a[[i, n]] + f64::from(t[i]))
    };
    let softmax = |scores: Array2<f64>| {
        let e = scores.mapv(f64::exp);
        &e / &e.sum_axis(ndarray::Axis(0))
    };
    assert_close(&probabilities(&start), &softmax(product(&product(&scale(&x), &w, 5), &v, 3)));
    let relu = product(&x, &w, 5).mapv(|z| z.max(0.0));
    assert_close(&probabilities(&folded), &softmax(product(&scale(&relu), &v, 3)));
}

/// scikit-learn's SimpleImputer and StandardScaler, as skl2onnx writes them.
#[test]
fn missing_values_are_filled_in_before_they_are_scaled() {
    let fill = [Setting::Reals("imputed_value_floats", &[1.0, 2.0, 3.0, 4.0, 5.0])];
    let file = File::new(&[None, Some(5)])
        .reals("w", &[5, 3], &numbers(15))
        .node("ai.onnx.ml.Imputer", &["x"], "i", &fill)
        .node(
            "ai.onnx.ml.Scaler",
            &["i"],
            "s",
            &[Setting::Reals("offset", &[1.0; 5]), Setting::Reals("scale", &[2.0])],
        )
        .node("Gemm", &["s", "w"], "y", &[]);
    let imported = onnx(&file.bytes()).unwrap();
    let mut x = samples(5);
    x[[3, 1]] = f64::NAN;
    let prepared = imported.prepare(&x).unwrap();
    assert_eq!((prepared[[3, 1]], prepared[[0, 0]]), (2.0 * (4.0 - 1.0), 2.0 * (x[[0, 0]] - 1.0)));
}

/// A block with an identity shortcut, and one whose shortcut has a convolution of its own.
#[test]
fn shortcuts_are_added_at_the_client() {
    let pads = [Setting::Integers("pads", &[1; 4])];
    let file = File::new(&[None, Some(2), Some(4), Some(4)])
        .reals("w", &[2, 2, 3, 3], &numbers(36))
        .reals("v", &[2, 2, 3, 3], &numbers(37)[1..])
        .reals("u", &[2, 2, 1, 1], &numbers(4))
        .reals("m", &[32, 3], &numbers(96))
        .node("Conv", &["x", "w"], "a", &pads)
        .node("Relu", &["a"], "b", &[])
        .node("Conv", &["b", "v"], "c", &pads)
        .node("Add", &["c", "b"], "d", &[])
        .node("Relu", &["d"], "e", &[])
        .node("Conv", &["e", "w"], "f", &pads)
        .node("Conv", &["e", "u"], "g", &[])
        .node("Add", &["g", "f"], "h", &[])
        .node("Flatten", &["h"], "i", &[])
        .node("Gemm", &["i", "m"], "y", &[]);
    let imported = onnx(&file.bytes()).unwrap();
    let conv = |x: &Array2<f64>, w: &[f32], side: usize| {
        let reach = side / 2;
        Array2::from_shape_fn((32, 4), |(o, s)| {
            let (f, y, x_) = (o / 16, o / 4 % 4, o % 4);
            let taps = (0..2 * side * side).map(|t| (t / (side * side), t / side % side, t % side));
            let tap = |(c, u, v): (usize, usize, usize)| {
                let (i, j) = ((y + u).checked_sub(reach)?, (x_ + v).checked_sub(reach)?);
                let weight = f64::from(w[((f * 2 + c) * side + u) * side + v]);
                (i < 4 && j < 4).then(|| weight * x[[c * 16 + i * 4 + j, s]])
            };
            taps.filter_map(tap).sum()
        })
    };
    let relu = |x: Array2<f64>| x.mapv(|x| x.max(0.0));
    let (x, w, v, m) = (samples(32), numbers(36), numbers(37)[1..].to_vec(), numbers(96));
    let b = relu(conv(&x, &w, 3));
    let e = relu(conv(&b, &v, 3) + &b);
    let h = conv(&e, &numbers(4), 1) + conv(&e, &w, 3);
    let scores = Array2::from_shape_fn((3, 4), |(o, s)| {
        (0..32).map(|i| h[[i, s]] * f64::from(m[i * 3 + o])).sum::<f64>()
    });
    let largest = scores.map_axis(ndarray::Axis(0), |s| s.iter().copied().fold(f64::MIN, f64::max));
    let exponentials = (scores - &largest).mapv(f64::exp);
    assert_close(
        &probabilities(&imported),
        &(&exponentials / &exponentials.sum_axis(ndarray::Axis(0))),
    );
}

/// Each channel by itself.
#[test]
fn depthwise_convolutions() {
    let file = File::new(&[None, Some(2), Some(3), Some(3)])
        .reals("w", &[2, 1, 3, 3], &numbers(18))
        .node("Conv", &["x", "w"], "c", &[Setting::Integer("group", 2)])
        .node("Flatten", &["c"], "y", &[]);
    let (x, w) = (samples(18), numbers(18));
    let e = Array2::from_shape_fn((2, 4), |(f, s)| {
        (0..9).map(|i| f64::from(w[f * 9 + i]) * x[[f * 9 + i, s]]).sum::<f64>().exp()
    });
    assert_close(
        &probabilities(&onnx(&file.bytes()).unwrap()),
        &(&e / &e.sum_axis(ndarray::Axis(0))),
    );
}
