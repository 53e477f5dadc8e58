//! `gelu import`: models of other programs, from a file to an answer under encryption.

use std::fs;
use std::path::Path;

use gelu_import::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use gelu_nn::{Model, Schema};
use prost::Message;

use super::{CLEAR, ended, gelu, json, listening, run, said};

/// −1 to 1 in steps, always the same.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 41) as f32 / 20.0 - 1.0).collect()
}

/// An ONNX file with the input `x` of these sizes and the output `y`.
fn onnx(sizes: &[i64], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> Vec<u8> {
    let size = |size: Option<i64>| DimensionProto { dim_value: size, dim_param: None };
    let dim = [None].into_iter().chain(sizes.iter().copied().map(Some)).map(size).collect();
    let tensor_type = TensorTypeProto { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
    let info = |name: &str, tensor_type| ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type }),
    };
    let (input, output) = (vec![info("x", Some(tensor_type))], vec![info("y", None)]);
    let graph = GraphProto { node, initializer, input, output, ..Default::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { graph: Some(graph), opset_import, ..Default::default() }.encode_to_vec()
}

fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let count = usize::try_from(dims.iter().product::<i64>()).unwrap();
    let (name, dims, float_data) = (name.into(), dims.to_vec(), numbers(count));
    TensorProto { name, dims, float_data, data_type: 1, ..Default::default() }
}

fn node(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let (domain, op_type) = operator.rsplit_once('.').unwrap_or(("", operator));
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        input: own(inputs),
        output: own(outputs),
        name: format!("node_{}", outputs[0]),
        op_type: op_type.into(),
        attribute,
        domain: domain.into(),
    }
}

/// Images of 1x4x4, three classes.
fn network(activation: &str) -> Vec<u8> {
    let nodes = vec![
        node("Conv", &["x", "w"], &["c"], Vec::new()),
        node(activation, &["c"], &["r"], Vec::new()),
        node("Flatten", &["r"], &["f"], Vec::new()),
        node("MatMul", &["f", "m"], &["y"], Vec::new()),
    ];
    onnx(&[1, 4, 4], vec![tensor("w", &[2, 1, 3, 3]), tensor("m", &[8, 3])], nodes)
}

/// Five columns, scaled in the file, two classes by name.
fn pipeline() -> Vec<u8> {
    let floats = |name: &str, floats: &[f32]| AttributeProto {
        name: name.into(),
        floats: floats.to_vec(),
        r#type: 6,
        ..Default::default()
    };
    let word = |word: &str| word.as_bytes().to_vec();
    let classes = AttributeProto {
        name: "classlabels_strings".into(),
        strings: vec![word("ill"), word("well")],
        r#type: 8,
        ..Default::default()
    };
    let transform = AttributeProto {
        name: "post_transform".into(),
        s: Some(word("LOGISTIC")),
        r#type: 3,
        ..Default::default()
    };
    let scaler =
        vec![floats("offset", &[10.0, 20.0, 30.0, 40.0, 50.0]), floats("scale", &[0.1; 5])];
    let regression = vec![
        floats("coefficients", &numbers(5)),
        floats("intercepts", &[0.25]),
        classes,
        transform,
    ];
    let nodes = vec![
        node("ai.onnx.ml.Scaler", &["x"], &["s"], scaler),
        node("ai.onnx.ml.LinearClassifier", &["s"], &["label", "y"], regression),
    ];
    onnx(&[5], Vec::new(), nodes)
}

/// Tensors of PyTorch's type and names as a safetensors file.
fn state_dict(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let begin = data.len();
        data.extend(numbers(shape.iter().product()).iter().flat_map(|v| v.to_le_bytes()));
        let offsets = [begin, data.len()];
        header.insert(
            (*name).into(),
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets }),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// 40 images as an array of NumPy.
fn array() -> Vec<u8> {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 1, 4, 4), }\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let data: Vec<_> = numbers(640).iter().flat_map(|v| v.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &data].concat()
}

/// A table of columns of numbers and a word that depends on them.
fn table(columns: usize, rows: usize) -> String {
    let names = (0..columns).map(|i| format!("m{i},")).collect::<String>();
    let row = |row: usize| {
        let value = |column: usize| (row * 7 + column * column * 3 + 5) % 19 + 10 * column;
        let cells = (0..columns).map(|column| format!("{},", value(column)));
        let word = if value(0) > 9 { "ill" } else { "well" };
        cells.collect::<String>() + word + "\n"
    };
    names + "outcome\n" + &(0..rows).map(row).collect::<String>()
}

/// The files that the help page names.
pub(crate) fn make_examples(folder: &Path) {
    let architecture = r#"{"input": [1, 4, 4], "layers": [{"layer": "dense", "outputs": 3}]}"#;
    let table = table(5, 60);
    let files: [(&str, &[u8]); 6] = [
        ("net.onnx", &network("Relu")),
        ("pipeline.onnx", &pipeline()),
        ("state.safetensors", &state_dict(&[("fc.weight", &[3, 16]), ("fc.bias", &[3])])),
        ("net.json", architecture.as_bytes()),
        ("sample.npy", &array()),
        ("sample.csv", table.as_bytes()),
    ];
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn a_pipeline_keeps_its_scaling_its_classes_and_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    make_examples(path);
    let import = ["import", "pipeline.onnx", "--out", "m.safetensors"];
    let shown =
        json(path, &[&import[..], &["--calibrate", "sample.csv", "--label", "outcome"]].concat());
    let calibration = &shown["calibration"];
    assert_eq!(calibration["rows"], 60);
    let accuracies =
        ["accuracy_float", "accuracy_fixed"].map(|key| calibration[key].as_f64().unwrap());
    assert!(accuracies[0] - accuracies[1] <= 0.01, "{shown}");
    assert!(shown["verdict"].as_str().unwrap().contains("queries"), "{shown}");

    let model = Model::load(&path.join("m.safetensors")).unwrap();
    let schema: &Schema = model.schema().unwrap();
    assert_eq!(schema.classes(), ["ill", "well"]);
    assert_eq!(schema.features(), ["m0", "m1", "m2", "m3", "m4"]);
    let scale = schema.scales()[1];
    assert!((scale.mean - 20.0).abs() < 1e-5 && (scale.deviation - 10.0).abs() < 1e-5, "{scale:?}");
    let provenance = model.provenance().unwrap();
    assert_eq!((provenance.source.as_str(), provenance.opset), ("pipeline.onnx", Some(17)));
    assert_eq!(model.calibration().unwrap().rows, 60);
}

/// A pipeline that takes each column by name, its numbers and its words, with a sample that has one column more.
#[test]
fn a_pipeline_of_named_columns_is_imported_with_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gelu-import/tests/data");
    fs::copy(data.join("columns_mlp.onnx"), path.join("net.onnx")).unwrap();
    let rows = fs::read_to_string(data.join("rows.csv")).unwrap();
    let labelled = |(index, line): (usize, &str)| match index {
        0 => format!("{line},outcome\n"),
        _ => format!("{line},well\n"),
    };
    fs::write(path.join("sample.csv"), rows.lines().enumerate().map(labelled).collect::<String>())
        .unwrap();
    let import = ["import", "net.onnx", "--calibrate", "sample.csv", "--tolerance", "0.05"];
    let shown = json(path, &import);
    assert_eq!((&shown["model"], &shown["calibration"]["rows"]), (&"net.gelu".into(), &20.into()));
    let model = Model::load(&path.join("net.gelu")).unwrap();
    let schema = model.schema().unwrap();
    assert_eq!(schema.classes(), ["frail", "ill", "well"]);
    assert_eq!(schema.label().unwrap().name, "outcome");
    assert_eq!(
        schema.columns().iter().map(|c| c.name().as_str()).collect::<Vec<_>>(),
        ["age", "dose", "drug", "sex", "ward"]
    );
    // A second time it is there already.
    let again = run(path, &import);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("net.gelu is there already") && said(&again).contains("--force"));
    assert!(run(path, &[&import[..], &["--force"]].concat()).status.success());
    // The names and words stand in the file, so it needs no sample for them.
    let plain = run(path, &["import", "net.onnx", "--out", "plain.gelu"]);
    assert!(plain.status.success(), "{}", said(&plain));
    let plain = Model::load(&path.join("plain.gelu")).unwrap();
    assert_eq!(plain.schema().unwrap().features(), schema.features());
}

#[test]
fn without_a_sample_there_is_a_warning_and_with_a_bad_one_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    make_examples(path);
    let import = ["import", "net.onnx", "--out", "m.safetensors"];
    let plain = run(path, &import);
    assert!(plain.status.success() && said(&plain).contains("--calibrate"), "{}", said(&plain));
    fs::remove_file(path.join("m.safetensors")).unwrap();
    fs::write(path.join("network.onnx"), network("Elu")).unwrap();
    let refusals: [(&[&str], &str); 5] = [
        (&["import", "network.onnx"], "node_r (Elu): Elu is not supported"),
        (
            &["import", "net.onnx", "--calibrate", "sample.csv"],
            "6 columns of features, the model takes 16",
        ),
        (&["import", "pipeline.onnx", "--calibrate", "sample.npy"], "[40, 1, 4, 4]"),
        (&["import", "sample.npy"], "an array of NumPy"),
        (&["import", "net.onnx", "--classes", "a,b"], "names 2 classes, the model has 3"),
    ];
    for (words, what) in refusals {
        let refused = run(path, &[words, &["--out", "m.safetensors"]].concat());
        assert_eq!(refused.status.code(), Some(1), "{words:?}");
        let said = said(&refused);
        assert!(said.contains(what) && said.contains("next: "), "{words:?}: {said}");
        assert!(!path.join("m.safetensors").exists(), "{words:?}");
    }
    let audited = said(&run(path, &["audit", "state.safetensors"]));
    assert!(audited.contains("gelu import"), "{audited}");
}

/// The page's commands as they stand, on tensors with PyTorch's names: four, to an answer over TLS.
#[test]
fn the_quick_start_for_pytorch_works() {
    let page = include_str!("../../../docs/src/quickstart-pytorch.md");
    let block = |language: &str| {
        let from = page.split_once(&format!("```{language}\n")).unwrap().1;
        from.split_once("```").unwrap().0
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let tensors: [(&str, &[usize]); 4] =
        [("0.weight", &[16, 30]), ("0.bias", &[16]), ("2.weight", &[2, 16]), ("2.bias", &[2])];
    let (sample, new) = (table(30, 100), table(30, 20));
    let files: [(&str, &[u8]); 4] = [
        ("state.safetensors", &state_dict(&tensors)),
        ("net.json", block("json").as_bytes()),
        ("sample.csv", sample.as_bytes()),
        ("new.csv", new.as_bytes()),
    ];
    for (name, content) in files {
        fs::write(path.join(name), content).unwrap();
    }
    let commands: Vec<Vec<&str>> =
        block("sh").lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    assert_eq!(commands.len(), 4);
    for words in &commands[..2] {
        let done = run(path, words);
        assert!(done.status.success(), "{words:?}: {}", said(&done));
    }
    let here = ["--json", "--listen", "127.0.0.1:0", "--stop-with-stdin"];
    let (mut child, address) =
        listening(&mut gelu(path, &[&commands[2][..], &here, &CLEAR].concat()));
    let here = |word: &&'static str| if *word == "localhost:7878" { &address } else { *word };
    let ask: Vec<_> = commands[3].iter().map(here).collect();
    let asked = run(path, &[&ask[..], &CLEAR].concat());
    assert!(asked.status.success(), "{}", said(&asked));
    assert!(!asked.stdout.is_empty());
    drop(child.stdin.take());
    assert!(ended(&mut child).success());
}
