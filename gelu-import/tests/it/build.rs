//! ONNX files, built from the messages that the importer reads.

use gelu_import::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};
use prost::Message;

/// A file in the making.
pub(crate) struct File(pub(crate) ModelProto);

/// An attribute.
#[derive(Clone)]
pub(crate) enum Setting<'a> {
    Integer(&'a str, i64),
    Integers(&'a str, &'a [i64]),
    Real(&'a str, f32),
    Reals(&'a str, &'a [f32]),
    Word(&'a str, &'a str),
}

impl File {
    /// A file with one input `x` and one output `y`.
    pub(crate) fn new(input: &[Option<i64>]) -> Self {
        let dimension = |size: &Option<i64>| DimensionProto { dim_value: *size, dim_param: None };
        let shape = TensorShapeProto { dim: input.iter().map(dimension).collect() };
        let tensor_type = TensorTypeProto { elem_type: data_type::FLOAT, shape: Some(shape) };
        let info = |name: &str, tensor| ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto { tensor_type: tensor }),
        };
        let graph = GraphProto {
            input: vec![info("x", Some(tensor_type))],
            output: vec![info("y", None)],
            ..Default::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        Self(ModelProto { graph: Some(graph), opset_import, ..Default::default() })
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    /// A constant of real numbers.
    pub(crate) fn reals(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        assert_eq!(dims.iter().product::<i64>(), values.len() as i64, "{name}");
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (name, dims, raw_data) = (name.into(), dims.to_vec(), Some(raw));
        let tensor =
            TensorProto { name, dims, raw_data, data_type: data_type::FLOAT, ..Default::default() };
        self.graph().initializer.push(tensor);
        self
    }

    /// A list of integers.
    pub(crate) fn integers(mut self, name: &str, values: &[i64]) -> Self {
        let (name, dims) = (name.into(), vec![values.len() as i64]);
        let int64_data = values.to_vec();
        let tensor = TensorProto {
            name,
            dims,
            int64_data,
            data_type: data_type::INT64,
            ..Default::default()
        };
        self.graph().initializer.push(tensor);
        self
    }

    /// An operation, `domain.Operator` where it is not a standard one.
    pub(crate) fn node(
        mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        settings: &[Setting<'_>],
    ) -> Self {
        let (domain, op_type) = operator.rsplit_once('.').unwrap_or(("", operator));
        let node = NodeProto {
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: vec![output.into()],
            name: format!("node_{output}"),
            op_type: op_type.into(),
            attribute: settings.iter().map(Setting::proto).collect(),
            domain: domain.into(),
        };
        self.graph().node.push(node);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

impl Setting<'_> {
    fn proto(&self) -> AttributeProto {
        let mut proto = AttributeProto::default();
        let name = match *self {
            Self::Integer(name, i) => {
                (proto.i, proto.r#type) = (Some(i), 2);
                name
            }
            Self::Integers(name, ints) => {
                (proto.ints, proto.r#type) = (ints.to_vec(), 7);
                name
            }
            Self::Real(name, f) => {
                (proto.f, proto.r#type) = (Some(f), 1);
                name
            }
            Self::Reals(name, floats) => {
                (proto.floats, proto.r#type) = (floats.to_vec(), 6);
                name
            }
            Self::Word(name, word) => {
                (proto.s, proto.r#type) = (Some(word.as_bytes().to_vec()), 3);
                name
            }
        };
        proto.name = name.into();
        proto
    }
}

/// −1 to 1 in steps, always the same.
pub(crate) fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 41) as f32 / 20.0 - 1.0).collect()
}

/// A dense layer of `x`, then `then` on its output `z`.
pub(crate) fn dense_then(then: impl FnOnce(File) -> File) -> File {
    let file = File::new(&[None, Some(5)])
        .reals("w", &[5, 3], &numbers(15))
        .reals("b", &[3], &numbers(3))
        .node("Gemm", &["x", "w", "b"], "z", &[]);
    then(file)
}

/// A small network with all that exporters write for images: a padded convolution, batch normalisation, ReLU, both
/// poolings, a reshape by a computed shape, a product with a sum, a softmax.
pub(crate) fn image_network() -> File {
    let spread = |count: usize| (1..=count).map(|i| i as f32 / 4.0).collect::<Vec<_>>();
    File::new(&[None, Some(1), Some(8), Some(8)])
        .reals("w", &[4, 1, 3, 3], &numbers(36))
        .reals("b", &[4], &numbers(4))
        .reals("scale", &[4], &spread(4))
        .reals("shift", &[4], &numbers(4))
        .reals("mean", &[4], &numbers(4))
        .reals("variance", &[4], &spread(4))
        .integers("first", &[0])
        .integers("open", &[-1])
        .reals("m", &[16, 3], &numbers(48))
        .reals("c", &[3], &numbers(3))
        .node("Conv", &["x", "w", "b"], "z", &[Setting::Integers("pads", &[1; 4])])
        .node("BatchNormalization", &["z", "scale", "shift", "mean", "variance"], "n", &[])
        .node("Relu", &["n"], "r", &[])
        .node(
            "MaxPool",
            &["r"],
            "p",
            &[Setting::Integers("kernel_shape", &[2, 2]), Setting::Integers("strides", &[2, 2])],
        )
        .node(
            "AveragePool",
            &["p"],
            "q",
            &[Setting::Integers("kernel_shape", &[2, 2]), Setting::Integers("strides", &[2, 2])],
        )
        .node("Shape", &["q"], "s", &[])
        .node("Gather", &["s", "first"], "batch", &[])
        .node("Concat", &["batch", "open"], "t", &[Setting::Integer("axis", 0)])
        .node("Reshape", &["q", "t"], "f", &[])
        .node("MatMul", &["f", "m"], "d", &[])
        .node("Add", &["d", "c"], "e", &[])
        .node("Softmax", &["e"], "y", &[])
}
