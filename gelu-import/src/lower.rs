//! From ONNX's operations to steps that the protocol has.
//!
//! Each tensor that depends on the sample is kept as a *view* of the numbers that one step computes:
//!
//! ```text
//! tensor[i₁, i₂, …] = f( step.output[ view[i₁, i₂, …] ] )        f a function of one number
//! ```
//! Transposing, reshaping and flattening change the view only, so an order of axes is never guessed: a dense layer's
//! columns follow the view, and a convolution accepts the one view that is its image. `f` collects single operations
//! until something else needs the numbers (see [`curve`](crate::curve)). A sample that is a row of a table is kept as
//! [`cells`] until something is computed of it.
//!
//! | file | operators |
//! | --- | --- |
//! | `cells` | `Imputer`, `Scaler`, `OneHotEncoder`, `Concat` and choices of columns, of the table itself |
//! | `codes` | `LabelEncoder`, of the table itself |
//! | `elementwise` | activations, arithmetic, `Erf`, `Clip`, `Identity`, `Cast`, `Dropout` |
//! | `linear` | `Gemm`, `MatMul`, `Conv`, `BatchNormalization`, `Scaler`, `LinearClassifier` |
//! | `pooling` | `AveragePool`, `MaxPool`, `GlobalAveragePool`, `ReduceMean`, `Pad` |
//! | `quantised` | `QuantizeLinear`, `DequantizeLinear` |
//! | `shapes` | `Reshape`, `Flatten`, `Transpose`, and what exporters compute shapes with |
//! | `ending` | `Softmax`, `ArgMax`, `ZipMap`: what a classifier ends in |

mod cells;
mod codes;
mod elementwise;
mod ending;
mod linear;
mod pooling;
mod quantised;
mod shapes;

use std::collections::HashMap;
use std::rc::Rc;

use self::cells::Cells;
use gelu_core::linear::{MAX_FEATURES, MAX_PARAMETERS};
use gelu_nn::{FloatLayer, LayerSpec, Shape};
use ndarray::{ArcArray, IxDyn};

use crate::curve::Curve;
use crate::error::{Error, Result, Unsupported};
use crate::graph::{Graph, Node};
use crate::tensor::Tensor;
pub(crate) use cells::{Cell, Kind, MOST_COLUMNS};
pub(crate) use codes::Mixture;
pub(crate) use ending::Ending;
pub use ending::Outputs;

/// For each element of a tensor of one sample, its place in what a step computes.
pub(super) type View = ArcArray<u32, IxDyn>;

/// What one step computes of what others have computed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// The sample itself.
    Input,
    /// A dense layer or a convolution.
    Linear(LayerSpec, Rc<FloatLayer>),
    /// scale · x + shift, number by number.
    Affine(Rc<Scaling>),
    /// Sums of the sample's cells: words as numbers.
    Mix(Rc<Mixture>),
    /// Pooling, or an activation.
    Local(LayerSpec),
    /// The sum of two steps.
    Add,
    /// Something that was refused, so that what follows can be looked at.
    Refused,
}

/// x ↦ scale · x + shift, feature by feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// What each feature is multiplied by.
    pub scale: Vec<f64>,
    /// What is added to it then.
    pub shift: Vec<f64>,
}

/// A step: what the network computes, and from which steps.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Name of the node.
    pub(crate) name: String,
    pub(crate) op: Op,
    pub(crate) from: Vec<usize>,
    /// Of one sample's output.
    pub(crate) shape: Shape,
}

/// A tensor that depends on the sample: see the [module](self).
#[derive(Debug, Clone)]
struct Act {
    step: usize,
    view: View,
    curve: Curve,
    /// Zeros before and after, along each axis, or none at all; only a convolution takes them.
    pads: Vec<[usize; 2]>,
}

impl Act {
    /// The output of a step in its own order.
    fn of(step: usize, shape: &[usize]) -> Self {
        Self { step, view: in_order(shape), curve: Curve::identity(), pads: Vec::new() }
    }

    fn with_curve(self, curve: Curve) -> Self {
        Self { curve, ..self }
    }

    fn shape(&self) -> &[usize] {
        self.view.shape()
    }

    fn check_unpadded(&self) -> Result<(), Stop> {
        match self.pads.is_empty() {
            true => Ok(()),
            false => refuse("takes a padded image; only a convolution can"),
        }
    }

    fn is_in_order(&self) -> bool {
        self.view.iter().zip(0..).all(|(&place, index)| place == index)
    }
}

/// 0, 1, 2, … in a shape.
fn in_order(shape: &[usize]) -> View {
    let count = u32::try_from(shape.iter().product::<usize>()).expect("features are bounded");
    View::from_shape_vec(IxDyn(shape), (0..count).collect()).expect("as many")
}

/// What is known about a tensor of the file.
#[derive(Debug, Clone)]
enum Value {
    Constant(Rc<Tensor>),
    /// Columns of the sample, of which nothing is computed yet.
    Cells(Cells),
    Act(Act),
    /// Probabilities of classes: nothing is computed with them any more.
    Probabilities(Ending),
    /// The most probable class.
    Label(Ending),
    /// Made of something that was refused.
    Unknown,
}

/// Why an operation gives no value.
#[derive(Debug)]
enum Stop {
    /// It is not supported, for this reason.
    Refused(String),
    /// Something that it needs was refused before.
    Unknown,
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(why.into()))
}

/// A network as steps, and what it ends in.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
    /// Names of the classes, where the file has them.
    pub(crate) classes: Option<Vec<String>>,
    /// What each feature of the network is, where the sample is a row of a table; of an array nothing.
    pub(crate) cells: Vec<Cell>,
    /// How often numbers are rounded to integers of the file, which is not done here.
    pub(crate) rounded: usize,
    /// Where the file's input is an image in another order of axes: for each of our features its place in it.
    pub(crate) input_order: Option<Vec<u32>>,
}

/// Lowers a graph.
///
/// # Errors
/// [`Error::Unsupported`] with all nodes that cannot be lowered.
pub(crate) fn lower(graph: &Graph) -> Result<Lowered> {
    let sizes = |shape: &[usize]| shape.iter().fold(1usize, |n, &size| n.saturating_mul(size));
    let features = graph.inputs.iter().map(|input| sizes(&input.shape));
    let features = features.fold(0, usize::saturating_add);
    if features > MAX_FEATURES {
        let (got, limit) = (features as u64, MAX_FEATURES as u64);
        return Err(Error::TooLarge { what: "input features", got, limit });
    }
    let constants = graph.constants.iter();
    let mut lowering = Lowering {
        graph,
        values: constants
            .map(|(name, tensor)| (name.as_str(), Value::Constant(Rc::new(tensor.clone()))))
            .collect(),
        uses: HashMap::new(),
        steps: Vec::new(),
        refused: Vec::new(),
        classes: None,
        cells: Vec::new(),
        made: 0,
        rounded: 0,
        input_order: None,
        reordered: Vec::new(),
        parameters: 0,
        folded: 0,
    };
    for name in graph.nodes.iter().flat_map(|node| &node.inputs).chain(&graph.outputs) {
        *lowering.uses.entry(name).or_default() += 1;
    }
    lowering.inputs();
    for node in &graph.nodes {
        lowering.node(node);
    }
    lowering.finish()
}

/// The shape of a tensor as ours: an image, or a list.
fn natural(shape: &[usize]) -> Shape {
    match *shape {
        [channels, height, width] => Shape::image(channels, height, width),
        _ => Shape::Vector(shape.iter().product()),
    }
}

struct Lowering<'a> {
    graph: &'a Graph,
    values: HashMap<&'a str, Value>,
    /// How often each value is still needed.
    uses: HashMap<&'a str, usize>,
    steps: Vec<Step>,
    refused: Vec<Unsupported>,
    classes: Option<Vec<String>>,
    /// Of the network's input.
    cells: Vec<Cell>,
    /// Cells of all values so far.
    made: usize,
    rounded: usize,
    input_order: Option<Vec<u32>>,
    /// The sample, and functions of it, whose order of axes was changed.
    reordered: Vec<usize>,
    /// Weights and biases so far.
    parameters: u64,
    /// Numbers of constants that were computed here.
    folded: u64,
}

impl<'a> Lowering<'a> {
    /// What the file takes: a table, column by column, or one tensor.
    fn inputs(&mut self) {
        let graph = self.graph;
        let columns: usize = graph.inputs.iter().map(|input| input.shape[0]).sum();
        let is_table = graph.inputs.iter().all(|input| input.shape.len() == 1);
        if is_table && columns <= MOST_COLUMNS {
            let mut first = 0;
            for input in &graph.inputs {
                self.values.insert(&input.name, Value::Cells(Cells::of_input(input, first)));
                first += input.shape[0];
            }
            return;
        }
        // Several that are too wide stay without a value, and whatever takes them is refused.
        if let [input] = &graph.inputs[..] {
            let step = self.push(&input.name, Op::Input, Vec::new(), natural(&input.shape));
            self.values.insert(&input.name, Value::Act(Act::of(step, &input.shape)));
        }
    }

    fn node(&mut self, node: &'a Node) {
        let value = match self.lower(node) {
            Ok(value) => value,
            Err(stop) => {
                if let Stop::Refused(why) = stop {
                    self.report(node, why);
                }
                Value::Unknown
            }
        };
        for name in &node.inputs {
            let left = self.uses.get_mut(name.as_str()).map_or(0, |uses| {
                *uses -= 1;
                *uses
            });
            if left == 0 {
                self.values.remove(name.as_str());
            }
        }
        for (index, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let value = match (&value, index) {
                // A classifier's first output is the label, the second its probabilities.
                (Value::Probabilities(ending), 0) if node.operator.ends_with("Classifier") => {
                    Value::Label(*ending)
                }
                (Value::Probabilities(_), 1) if node.operator.ends_with("Classifier") => {
                    value.clone()
                }
                (_, 0) => value.clone(),
                _ => Value::Unknown,
            };
            if self.values.insert(name, value).is_some() {
                self.report(node, format!("its output {name:?} is computed twice"));
            }
        }
    }

    fn lower(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if let Some(value) = self.of_cells(node)? {
            return Ok(value);
        }
        match node.operator.as_str() {
            "Conv" => self.conv(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.mat_mul(node),
            "BatchNormalization" => self.batch_normalization(node),
            "ai.onnx.ml.Scaler" => self.scaler(node),
            "ai.onnx.ml.LinearClassifier" => self.linear_classifier(node),
            "AveragePool" => self.average_pool(node),
            "MaxPool" => self.max_pool(node),
            "GlobalAveragePool" | "ReduceMean" => self.global_average_pool(node),
            "Pad" => self.pad(node),
            "QuantizeLinear" => self.quantize(node),
            "DequantizeLinear" => self.dequantize(node),
            "Constant" => Ok(constant(node.constant()?)),
            "Identity" | "Cast" | "Dropout" => self.unchanged(node),
            "Reshape" | "Flatten" | "Transpose" | "Squeeze" | "Unsqueeze" | "Shape" | "Gather" => {
                self.shape_operation(node)
            }
            "Concat" => self.concat(node),
            "Softmax" | "LogSoftmax" => self.softmax(node),
            "ArgMax" => self.arg_max(node),
            "ai.onnx.ml.ZipMap" => self.zip_map(node),
            "ai.onnx.ml.Normalizer" => self.normalizer(node),
            "ai.onnx.ml.ArrayFeatureExtractor" => self.class_names(node),
            _ => self.elementwise(node),
        }
    }

    fn report(&mut self, node: &Node, why: String) {
        let (node, operator) = (node.label().to_owned(), node.operator.clone());
        self.refused.push(Unsupported { node, operator, why });
    }

    fn finish(mut self) -> Result<Lowered> {
        let ending = self.ending();
        if self.refused.is_empty() {
            let ending = ending.ok_or_else(|| Error::NotA {
                expected: "an ONNX file of a classifier",
                why: "its outputs depend on nothing".into(),
            })?;
            let Self { steps, classes, cells, rounded, input_order, .. } = self;
            return Ok(Lowered { steps, ending, classes, cells, rounded, input_order });
        }
        Err(Error::Unsupported(self.refused))
    }

    fn value(&self, node: &'a Node, index: usize) -> Result<&Value, Stop> {
        let Some(name) = node.input(index) else {
            return refuse(format!("input {} is missing", index + 1));
        };
        match self.values.get(name) {
            Some(Value::Unknown) => Err(Stop::Unknown),
            Some(value) => Ok(value),
            None => refuse(format!("its input {name:?} is computed nowhere before")),
        }
    }

    /// An input that depends on the sample, as it is.
    fn act(&self, node: &'a Node, index: usize) -> Result<Act, Stop> {
        match self.value(node, index)? {
            Value::Act(act) => Ok(act.clone()),
            Value::Constant(_) => refuse("takes a constant where a computed tensor is expected"),
            _ => refuse("takes probabilities or classes; the network must end with them"),
        }
    }

    /// An input that depends on the sample, computed to the end.
    fn settled(&mut self, node: &'a Node, index: usize) -> Result<Act, Stop> {
        let act = self.act(node, index)?;
        act.check_unpadded()?;
        if self.reordered.contains(&act.step) {
            return refuse("takes the sample in another order of axes than another node");
        }
        let act = self.settle(&act, node.label())?;
        if let Some(name) = node.input(index) {
            self.values.insert(name, Value::Act(act.clone()));
        }
        Ok(act)
    }

    /// Computes the function of single numbers, as a step of its own.
    fn settle(&mut self, act: &Act, name: &str) -> Result<Act, Stop> {
        let shape = self.steps[act.step].shape;
        let op = match (act.curve.affine(), act.curve.activation()) {
            _ if act.curve == Curve::identity() => return Ok(act.clone()),
            (Some((a, b)), _) => {
                let features = shape.features();
                Op::Affine(Rc::new(Scaling { scale: vec![a; features], shift: vec![b; features] }))
            }
            (None, Some(function)) => Op::Local(LayerSpec::Activation { function }),
            (None, None) => {
                return refuse(
                    "takes a function of single numbers that is none of the protocol's activations",
                );
            }
        };
        let step = self.push(name, op, vec![act.step], shape);
        Ok(Act { step, curve: Curve::identity(), ..act.clone() })
    }

    /// A constant input.
    fn constant(&self, node: &'a Node, index: usize) -> Result<Rc<Tensor>, Stop> {
        match self.value(node, index)? {
            Value::Constant(tensor) => Ok(Rc::clone(tensor)),
            _ => refuse(format!("input {} is computed, must be a constant", index + 1)),
        }
    }

    /// A constant input that may be left out.
    fn optional(&self, node: &'a Node, index: usize) -> Result<Option<Rc<Tensor>>, Stop> {
        node.input(index).map(|_| self.constant(node, index)).transpose()
    }

    /// A constant input of real numbers, one after the other.
    fn reals(&self, node: &'a Node, index: usize) -> Result<Vec<f64>, Stop> {
        let tensor = self.constant(node, index)?;
        let values = tensor.to_reals().map(|values| values.iter().copied().collect());
        values.ok_or_else(|| Stop::Refused(format!("input {} holds no numbers", index + 1)))
    }

    /// A new step; one that computes the same of the same is taken instead, unless it has weights.
    fn push(&mut self, name: &str, op: Op, from: Vec<usize>, shape: Shape) -> usize {
        let same = |step: &Step| step.from == from && step.op == op;
        if matches!(op, Op::Affine(_) | Op::Local(_))
            && let Some(index) = self.steps.iter().position(same)
        {
            return index;
        }
        self.steps.push(Step { name: name.to_owned(), op, from, shape });
        self.steps.len() - 1
    }

    /// Counts weights and biases.
    fn count(&mut self, parameters: usize) -> Result<(), Stop> {
        self.parameters += parameters as u64;
        match self.parameters <= MAX_PARAMETERS {
            true => Ok(()),
            false => refuse(format!("more than {MAX_PARAMETERS} parameters in all")),
        }
    }
}

fn constant(tensor: Tensor) -> Value {
    Value::Constant(Rc::new(tensor))
}
