//! A parsed ONNX graph: names resolved, constants read, only what its outputs need.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::error::{Error, Result, Unsupported};
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, data_type};
use crate::tensor::{Tensor, text};
use crate::wire;

/// The versions of the standard operators whose meaning this crate knows.
pub const OPSETS: core::ops::RangeInclusive<i64> = 7..=26;

/// The most operations of a file; an architecture has at most [`MAX_LAYERS`](gelu_nn::MAX_LAYERS) layers.
pub const MAX_NODES: usize = 1 << 12;

/// A graph of operations.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) constants: HashMap<String, Tensor>,
    /// The element types of constants, by [`data_type`], of those that quantisers use.
    pub(crate) types: HashMap<String, i32>,
    /// One tensor, or the columns of a table.
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<String>,
    pub(crate) opset: i64,
    /// Who wrote the file: name and version.
    pub(crate) producer: String,
}

/// What the graph takes.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// Shape of one sample.
    pub(crate) shape: Vec<usize>,
    /// Number of samples, where the file fixes it.
    pub(crate) batch: Option<usize>,
    pub(crate) elements: Elements,
}

/// What the elements of an input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    Reals,
    Integers,
    Words,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    /// With its domain, unless it is a standard one: `Conv`, `ai.onnx.ml.Scaler`.
    pub(crate) operator: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    attributes: HashMap<String, AttributeProto>,
}

impl Graph {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::NotA`], [`Error::TooLarge`], [`Error::Unsupported`] for constants, inputs and versions.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        wire::check(bytes)?;
        let model = ModelProto::decode(bytes).map_err(|e| not_onnx(e.to_string()))?;
        let graph = model.graph.ok_or_else(|| not_onnx("there is no graph in it"))?;
        if graph.node.is_empty() {
            return Err(not_onnx("its graph has no nodes"));
        }
        if graph.node.len() > MAX_NODES {
            let (got, limit) = (graph.node.len() as u64, MAX_NODES as u64);
            return Err(Error::TooLarge { what: "nodes", got, limit });
        }
        let is_standard = |domain: &str| ["", "ai.onnx"].contains(&domain);
        let standard = model.opset_import.iter().filter(|set| is_standard(&set.domain));
        let opset = standard.map(|set| set.version).max().unwrap_or(1);
        if !OPSETS.contains(&opset) {
            let why = format!(
                "versions {} to {} are read; export again with one of them",
                OPSETS.start(),
                OPSETS.end()
            );
            let (node, operator) = ("the file".into(), format!("operators of version {opset}"));
            return Err(Error::Unsupported(vec![Unsupported { node, operator, why }]));
        }
        let mut refused = Vec::new();
        let GraphProto { node, initializer, input, output, .. } = graph;
        let nodes = needed(node.into_iter().map(Node::new).collect(), &output);
        let used: HashSet<_> = nodes.iter().flat_map(|node| &node.inputs).cloned().collect();
        let quantisers = nodes.iter().filter(|node| node.operator == "QuantizeLinear");
        let zero_points: HashSet<_> = quantisers.filter_map(|node| node.input(2)).collect();
        let of_nodes = nodes.iter().filter_map(|node| {
            let tensor = node.attribute("value").and_then(|value| value.t.as_deref())?;
            Some((node.outputs.first()?, tensor.data_type))
        });
        let of_file = initializer.iter().map(|tensor| (&tensor.name, tensor.data_type));
        let types = of_file.chain(of_nodes).filter(|(name, _)| zero_points.contains(name.as_str()));
        let types = types.map(|(name, data_type)| (name.clone(), data_type)).collect();
        let mut constants = HashMap::new();
        for proto in initializer.into_iter().filter(|tensor| used.contains(&tensor.name)) {
            match Tensor::new(&proto) {
                Ok(tensor) => drop(constants.insert(proto.name, tensor)),
                Err(why) => {
                    let (node, operator) = (proto.name, "Constant".into());
                    refused.push(Unsupported { node, operator, why });
                }
            }
        }
        if !refused.is_empty() {
            return Err(Error::Unsupported(refused));
        }
        let inputs = input.iter().filter(|info| !constants.contains_key(&info.name));
        let inputs = Input::all(inputs.filter(|info| used.contains(&info.name)))?;
        let outputs = output.into_iter().map(|info| info.name).collect();
        let producer = [model.producer_name, model.producer_version].join(" ").trim().to_owned();
        Ok(Self { nodes, constants, types, inputs, outputs, opset, producer })
    }
}

impl Input {
    /// One tensor; or several, of a list of numbers or words for each sample: the columns of a table.
    fn all<'a>(inputs: impl Iterator<Item = &'a ValueInfoProto>) -> Result<Vec<Self>> {
        let inputs = inputs.map(Self::new).collect::<Result<Vec<_>>>()?;
        match &inputs[..] {
            [_] => Ok(inputs),
            [_, ..] if inputs.iter().all(|input| input.shape.len() == 1) => Ok(inputs),
            _ => {
                let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
                let why = format!(
                    "the network takes {} inputs, must be one tensor, or the columns of one table",
                    names.len()
                );
                Err(refused_input(&names.join(", "), why))
            }
        }
    }

    fn new(input: &ValueInfoProto) -> Result<Self> {
        let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
        let elements = match tensor.map_or(0, |tensor| tensor.elem_type) {
            data_type::STRING => Elements::Words,
            data_type::UINT8 | data_type::INT8 | data_type::INT32 | data_type::INT64 => {
                Elements::Integers
            }
            _ => Elements::Reals,
        };
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let shape = shape.ok_or_else(|| refused_input(&input.name, "it has no shape".into()))?;
        let size = |dimension: &crate::proto::DimensionProto| {
            dimension.dim_value.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0)
        };
        let sizes: Vec<_> = shape.dim.iter().map(size).collect();
        let fixed =
            sizes.get(1..).and_then(|sizes| sizes.iter().copied().collect::<Option<Vec<_>>>());
        match fixed {
            Some(shape) if [1, 3].contains(&shape.len()) => {
                Ok(Self { name: input.name.clone(), shape, batch: sizes[0], elements })
            }
            _ => {
                let size = |size: &Option<usize>| size.map_or("?".into(), |size| size.to_string());
                let why = format!(
                    "its shape is [{}], must be [batch, features] or [batch, and three sizes of an image], of which \
                     the batch alone may vary",
                    sizes.iter().map(size).collect::<Vec<_>>().join(", ")
                );
                Err(refused_input(&input.name, why))
            }
        }
    }
}

/// An input of the file that is refused.
pub(crate) fn refused_input(name: &str, why: String) -> Error {
    let (node, operator) = (name.to_owned(), "Input".into());
    Error::Unsupported(vec![Unsupported { node, operator, why }])
}

impl Node {
    fn new(proto: NodeProto) -> Self {
        let operator = match proto.domain.as_str() {
            "" | "ai.onnx" => proto.op_type,
            domain => format!("{domain}.{}", proto.op_type),
        };
        let attributes = proto.attribute.into_iter().map(|a| (a.name.clone(), a)).collect();
        let (name, inputs, outputs) = (proto.name, proto.input, proto.output);
        Self { name, operator, inputs, outputs, attributes }
    }

    /// Its name, or that of what it computes.
    pub(crate) fn label(&self) -> &str {
        match (self.name.as_str(), self.outputs.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        }
    }

    /// The name of an input, unless it is left out.
    pub(crate) fn input(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attributes.get(name)
    }

    /// Whether there is an attribute of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer, or its default.
    pub(crate) fn integer(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i.unwrap_or_default())
    }

    /// A number, or its default.
    pub(crate) fn real(&self, name: &str, default: f32) -> f64 {
        self.attribute(name).map_or(default, |a| a.f.unwrap_or_default()).into()
    }

    /// A list of integers, or none.
    pub(crate) fn integers(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A list of numbers, or an empty one.
    pub(crate) fn reals(&self, name: &str) -> Vec<f64> {
        self.attribute(name)
            .map(|a| a.floats.iter().map(|&v| v.into()).collect())
            .unwrap_or_default()
    }

    /// A word, or its default.
    pub(crate) fn word(&self, name: &str, default: &str) -> String {
        let word = self.attribute(name).and_then(|a| a.s.as_deref());
        word.map_or_else(|| default.into(), |word| String::from_utf8_lossy(word).into_owned())
    }

    /// Names of classes: words or integers, whichever of the two is there.
    pub(crate) fn classes(
        &self,
        words: &str,
        integers: &str,
    ) -> Result<Option<Vec<String>>, String> {
        if let Some(list) = self.attribute(words).filter(|a| !a.strings.is_empty()) {
            return list.strings.iter().map(|word| text(word)).collect::<Result<_, _>>().map(Some);
        }
        let integers = self.integers(integers).filter(|list| !list.is_empty());
        Ok(integers.map(|list| list.iter().map(i64::to_string).collect()))
    }

    /// The tensor of a `Constant`.
    pub(crate) fn constant(&self) -> Result<Tensor, String> {
        let count = |values: usize| [values];
        if let Some(tensor) = self.attribute("value").and_then(|a| a.t.as_deref()) {
            return Tensor::new(tensor);
        }
        if let Some(value) = self.attribute("value_float").and_then(|a| a.f) {
            return Tensor::reals(&[], vec![value.into()]);
        }
        if let Some(value) = self.attribute("value_int").and_then(|a| a.i) {
            return Tensor::integers(&[], vec![value]);
        }
        if let Some(values) = self.integers("value_ints") {
            return Tensor::integers(&count(values.len()), values.to_vec());
        }
        match self.reals("value_floats") {
            values if !values.is_empty() => Tensor::reals(&count(values.len()), values),
            _ => Err("a constant of a kind that is not read".into()),
        }
    }
}

/// The nodes on which the outputs depend, in the order of the file.
fn needed(nodes: Vec<Node>, outputs: &[ValueInfoProto]) -> Vec<Node> {
    let mut wanted: HashSet<String> = outputs.iter().map(|output| output.name.clone()).collect();
    let mut kept: Vec<_> = nodes
        .into_iter()
        .rev()
        .filter(|node| {
            let is_needed = node.outputs.iter().any(|output| wanted.contains(output));
            if is_needed {
                wanted.extend(node.inputs.iter().cloned());
            }
            is_needed
        })
        .collect();
    kept.reverse();
    kept
}

fn not_onnx(why: impl Into<String>) -> Error {
    Error::NotA { expected: "an ONNX file", why: why.into() }
}
