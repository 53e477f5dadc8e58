//! An architecture: a list of layers, checked as a whole.
//!
//! ```json
//! { "input": [1, 28, 28],
//!   "layers": [ { "layer": "conv2d", "filters": 6, "kernel": 5 },
//!               { "layer": "mean_pool2d", "window": 2 },
//!               { "layer": "activation", "function": "relu" },
//!               { "layer": "dense", "outputs": 10 } ],
//!   "loss": "softmax_cross_entropy" }
//! ```
//!
//! The list is cut into [`Block`]s: one linear layer and the local functions that follow it. A
//! convolution whose next layer is a mean pooling becomes one fused linear layer, `conv1+pool1`.
//!
//! An architecture may come from a peer. Parsing it, and building its network, allocates no more than
//! its text is long; [`MAX_LAYERS`] and the limits of features, parameters and multiply-accumulates
//! ([`gelu_core::linear`]) bound what a pass through it then takes.

use gelu_core::linear::{check_multiply_accumulates, check_parameters};
use gelu_core::{LocalFunction, Loss, Network, Stage};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{
    Activation, Affine, Conv2d, Conv2dConfig, Dense, LayerError, MeanPool2d, Shape,
};
use crate::loss::SoftmaxCrossEntropy;

/// The most layers of an architecture.
pub const MAX_LAYERS: usize = 256;

/// One layer as it is written down; what it takes follows from the layer before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "layer", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// A fully connected layer; an image is read as a list of features.
    Dense {
        /// Number of neurons.
        outputs: usize,
    },
    /// A convolution of an image.
    Conv2d {
        /// Number of filters.
        filters: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Step of the kernel.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around the image.
        #[serde(default)]
        padding: usize,
    },
    /// The mean of windows side by side.
    MeanPool2d {
        /// Side of the square window.
        window: usize,
    },
    /// An activation, element by element.
    Activation {
        /// Which one.
        function: Activation,
    },
}

fn one() -> usize {
    1
}

/// How the scores at the end are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossSpec {
    /// [`SoftmaxCrossEntropy`].
    #[default]
    SoftmaxCrossEntropy,
}

impl LossSpec {
    fn build(self) -> Box<dyn Loss> {
        match self {
            Self::SoftmaxCrossEntropy => Box::new(SoftmaxCrossEntropy),
        }
    }
}

/// An architecture as it is written down, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    input: Shape,
    layers: Vec<LayerSpec>,
    #[serde(default)]
    loss: LossSpec,
}

/// A checked architecture: see the [module](self).
///
/// It serialises as what it was made of and is checked again when it is read. Layers are tagged by
/// name, so use a self-describing format such as JSON ([`to_json`](Self::to_json)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Architecture", into = "Architecture")]
pub struct Sequential {
    architecture: Architecture,
    prelude: Vec<Local>,
    blocks: Vec<Block>,
    output: Shape,
}

/// One linear layer, which the server computes, and what the client computes after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    name: String,
    affine: Affine,
    locals: Vec<Local>,
}

impl Block {
    /// Name of the stage: `dense1`, `conv1+pool1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The linear layer.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// What the client computes next.
    pub(crate) fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Names of the local functions that follow.
    pub fn local_names(&self) -> impl Iterator<Item = &str> {
        self.locals.iter().map(Local::name)
    }

    /// Whether a ReLU comes next; the initialisation depends on it.
    pub(crate) fn is_rectified(&self) -> bool {
        self.locals.contains(&Local::Activation(Activation::Relu))
    }
}

/// A layer that the client computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Local {
    Activation(Activation),
    MeanPool2d(MeanPool2d),
}

impl Local {
    fn name(&self) -> &str {
        match self {
            Self::Activation(f) => f.name(),
            Self::MeanPool2d(pool) => pool.name(),
        }
    }

    fn boxed(&self) -> Box<dyn LocalFunction> {
        match self {
            Self::Activation(f) => Box::new(*f),
            Self::MeanPool2d(pool) => Box::new(pool.clone()),
        }
    }
}

impl Sequential {
    /// Checks each layer against the one before it, and the whole against the limits.
    ///
    /// # Errors
    /// [`Error::Layer`] naming the first layer that does not fit, with both shapes;
    /// [`Error::Architecture`] when there is no linear layer, or too many layers.
    pub fn new(input: Shape, layers: Vec<LayerSpec>) -> Result<Self> {
        Self::check(Architecture { input, layers, loss: LossSpec::default() })
    }

    /// A network of dense layers with one activation between them: `hidden` lists the widths.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn dense(
        inputs: usize,
        hidden: &[usize],
        classes: usize,
        activation: Activation,
    ) -> Result<Self> {
        let of_width = |&outputs: &usize| {
            [LayerSpec::Dense { outputs }, LayerSpec::Activation { function: activation }]
        };
        let mut layers: Vec<_> = hidden.iter().flat_map(of_width).collect();
        layers.push(LayerSpec::Dense { outputs: classes });
        Self::new(Shape::Vector(inputs), layers)
    }

    /// The same network with `function` in the place of every activation.
    pub fn with_activation(&self, function: Activation) -> Self {
        let mut architecture = self.architecture.clone();
        for layer in &mut architecture.layers {
            if let LayerSpec::Activation { function: old } = layer {
                *old = function;
            }
        }
        Self::check(architecture).expect("the same shapes as before")
    }

    /// Reads and checks an architecture.
    ///
    /// # Errors
    /// [`Error::Architecture`] for text that is none, otherwise as [`new`](Self::new).
    pub fn from_json(json: &str) -> Result<Self> {
        let written = serde_json::from_str(json).map_err(|e| Error::Architecture(e.to_string()))?;
        Self::check(written)
    }

    /// The architecture as text that [`from_json`](Self::from_json) reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.architecture).expect("names and numbers only")
    }

    fn check(architecture: Architecture) -> Result<Self> {
        if architecture.layers.len() > MAX_LAYERS {
            let count = architecture.layers.len();
            return Err(Error::Architecture(format!("{count} layers, the limit is {MAX_LAYERS}")));
        }
        let mut builder = Builder::new(architecture.input)?;
        let mut layers = architecture.layers.iter().copied().peekable();
        while let Some(layer) = layers.next() {
            match layer {
                LayerSpec::Dense { outputs } => builder.dense(outputs)?,
                LayerSpec::Conv2d { filters, kernel, stride, padding } => {
                    let pool = match layers.peek() {
                        Some(&LayerSpec::MeanPool2d { window }) => layers.next().map(|_| window),
                        _ => None,
                    };
                    builder.conv2d(filters, kernel, stride, padding, pool)?;
                }
                LayerSpec::MeanPool2d { window } => builder.mean_pool2d(window)?,
                LayerSpec::Activation { function } => builder.local(Local::Activation(function)),
            }
        }
        if builder.blocks.is_empty() {
            return Err(Error::Architecture("there is no dense layer and no convolution".into()));
        }
        let Builder { prelude, blocks, shape: output, .. } = builder;
        Ok(Self { architecture, prelude, blocks, output })
    }

    /// Shape of one sample.
    pub fn input(&self) -> Shape {
        self.architecture.input
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.output.features()
    }

    /// The layers as they were written down.
    pub fn layers(&self) -> &[LayerSpec] {
        &self.architecture.layers
    }

    /// The layers as they run: linear, then local.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// What the client computes before the first linear layer.
    pub(crate) fn prelude(&self) -> &[Local] {
        &self.prelude
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.blocks.iter().map(|b| b.affine.weights() + b.affine.biases()).sum()
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> Network {
        let boxed = |locals: &[Local]| locals.iter().map(Local::boxed).collect();
        let stages = self.blocks.iter().map(|block| Stage {
            name: block.name.clone(),
            linear: block.affine.linear_map(),
            locals: boxed(&block.locals),
        });
        Network::new(
            self.input().features(),
            boxed(&self.prelude),
            stages.collect(),
            self.architecture.loss.build(),
        )
        .expect("checked at construction")
    }
}

impl TryFrom<Architecture> for Sequential {
    type Error = Error;

    fn try_from(architecture: Architecture) -> Result<Self> {
        Self::check(architecture)
    }
}

impl From<Sequential> for Architecture {
    fn from(sequential: Sequential) -> Self {
        sequential.architecture
    }
}

/// `784 ▸ dense1 300 ▸ sigmoid ▸ dense2 10`: what `gelu models` prints.
impl core::fmt::Display for Sequential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.input())?;
        for local in &self.prelude {
            write!(f, " ▸ {}", local.name())?;
        }
        for block in &self.blocks {
            write!(f, " ▸ {} {}", block.name, block.affine.output())?;
            for local in &block.locals {
                write!(f, " ▸ {}", local.name())?;
            }
        }
        Ok(())
    }
}

/// The layers so far, and the shape that they end in.
struct Builder {
    prelude: Vec<Local>,
    blocks: Vec<Block>,
    shape: Shape,
    operations: u64,
    parameters: u64,
    dense: usize,
    convolutions: usize,
    pools: usize,
}

impl Builder {
    fn new(input: Shape) -> Result<Self> {
        let shape = input.check().map_err(named("input"))?;
        Ok(Self {
            prelude: Vec::new(),
            blocks: Vec::new(),
            shape,
            operations: 0,
            parameters: 0,
            dense: 0,
            convolutions: 0,
            pools: 0,
        })
    }

    fn dense(&mut self, outputs: usize) -> Result<()> {
        self.dense += 1;
        let name = format!("dense{}", self.dense);
        let layer = Dense::new(self.shape, outputs).map_err(named(&name))?;
        self.block(name, Affine::Dense(layer))
    }

    fn conv2d(
        &mut self,
        filters: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        pool: Option<usize>,
    ) -> Result<()> {
        self.convolutions += 1;
        let name = format!("conv{}", self.convolutions);
        let (channels, height, width) = self.image().map_err(named(&name))?;
        let config = Conv2dConfig { channels, height, width, filters, kernel, stride, padding };
        let layer = Conv2d::new(config).map_err(named(&name))?;
        let Some(window) = pool else { return self.block(name, Affine::Conv2d(layer)) };
        self.pools += 1;
        let pool = format!("pool{}", self.pools);
        let layer = layer.pooled(window).map_err(named(&pool))?;
        self.block(format!("{name}+{pool}"), Affine::PooledConv2d(layer))
    }

    fn mean_pool2d(&mut self, window: usize) -> Result<()> {
        self.pools += 1;
        let name = format!("pool{}", self.pools);
        let pool = MeanPool2d::new(self.shape, window).map_err(named(&name))?;
        self.shape = pool.output();
        self.local(Local::MeanPool2d(pool));
        Ok(())
    }

    fn image(&self) -> Result<(usize, usize, usize), LayerError> {
        match self.shape {
            Shape::Image { channels, height, width } => Ok((channels, height, width)),
            Shape::Vector(_) => Err(LayerError::Shape {
                expected: "an image (channels, height, width)".into(),
                got: self.shape,
            }),
        }
    }

    fn block(&mut self, name: String, affine: Affine) -> Result<()> {
        self.operations += affine.cost().operations;
        self.parameters += (affine.weights() + affine.biases()) as u64;
        check_multiply_accumulates(self.operations)
            .and_then(|()| check_parameters(self.parameters))
            .map_err(|e| named(&name)(e.into()))?;
        self.shape = affine.output();
        self.blocks.push(Block { name, affine, locals: Vec::new() });
        Ok(())
    }

    fn local(&mut self, local: Local) {
        match self.blocks.last_mut() {
            Some(block) => block.locals.push(local),
            None => self.prelude.push(local),
        }
    }
}

fn named(layer: &str) -> impl FnOnce(LayerError) -> Error {
    let layer = layer.to_owned();
    move |problem| Error::Layer { layer, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo;
    use proptest::prelude::*;

    const IMAGE: &str = r#"{"input":[1,8,8],"layers":[LAYERS]}"#;

    fn parse(layers: &str) -> Result<Sequential> {
        Sequential::from_json(&IMAGE.replace("LAYERS", layers))
    }

    #[test]
    fn convolution_and_pooling_become_one_stage() {
        let lenet5 = zoo::lenet5();
        let names: Vec<_> = lenet5.blocks().iter().map(Block::name).collect();
        assert_eq!(names, ["conv1+pool1", "conv2+pool2", "dense1", "dense2", "dense3"]);
        let network = lenet5.network();
        let sums: Vec<_> = network.stages().iter().map(|s| s.linear.outputs()).collect();
        assert_eq!(sums, [864, 256, 120, 84, 10]);
    }

    #[test]
    fn pooling_elsewhere_is_local() {
        let conv1 = zoo::conv1();
        assert_eq!(
            conv1.blocks()[0].local_names().collect::<Vec<_>>(),
            ["relu", "mean 2x2", "relu"]
        );
        let first = parse(r#"{"layer":"mean_pool2d","window":2},{"layer":"dense","outputs":3}"#);
        let network = first.unwrap().network();
        assert_eq!((network.prelude().len(), network.stages()[0].linear.inputs()), (1, 16));
    }

    #[test]
    fn activations_can_be_exchanged() {
        let squared = zoo::conv1().with_activation(Activation::Square);
        assert_eq!(squared.to_string(), zoo::conv1().to_string().replace("relu", "square"),);
        assert_eq!(squared.with_activation(Activation::Relu), zoo::conv1());
    }

    #[test]
    fn json_round_trips() {
        for entry in zoo::entries() {
            let sequential = (entry.architecture)();
            assert_eq!(Sequential::from_json(&sequential.to_json()).unwrap(), sequential);
            let by_serde = serde_json::to_string(&sequential).unwrap();
            assert_eq!(serde_json::from_str::<Sequential>(&by_serde).unwrap(), sequential);
        }
    }

    #[test]
    fn errors_name_the_layer_and_the_shapes() {
        let dense_then_conv = r#"{"layer":"dense","outputs":3},
            {"layer":"conv2d","filters":1,"kernel":3}"#;
        let error = parse(dense_then_conv).unwrap_err().to_string();
        assert_eq!(error, "layer conv1: takes an image (channels, height, width), but gets 3");
        let odd_pool = r#"{"layer":"conv2d","filters":1,"kernel":2},
            {"layer":"mean_pool2d","window":2}"#;
        let error = parse(odd_pool).unwrap_err().to_string();
        assert!(error.contains("pool1") && error.contains('7'), "{error}");
    }

    #[test]
    fn malformed_and_hostile_architectures_are_refused() {
        let refused = [
            "",
            r#"{"layer":"activation","function":"relu"}"#,
            r#"{"layer":"activation","function":"step"}"#,
            r#"{"layer":"dense"}"#,
            r#"{"layer":"dense","outputs":-1}"#,
            r#"{"layer":"dense","outputs":2.5}"#,
            r#"{"layer":"dense","outputs":3,"bias":false}"#,
            r#"{"layer":"dense","outputs":18446744073709551615}"#,
            r#"{"layer":"conv2d","filters":1000000,"kernel":8}"#,
            r#"{"layer":"dense","outputs":200000},{"layer":"dense","outputs":200}"#,
            r#"{"layer":"lstm"}"#,
        ];
        for layers in refused {
            assert!(parse(layers).is_err(), "{layers}");
        }
        let too_many = vec![r#"{"layer":"dense","outputs":1}"#; MAX_LAYERS + 1].join(",");
        assert!(parse(&too_many).is_err());
        for input in ["[]", "[0]", "[1,2]", "[1,1000000,1000000]", "null"] {
            let json = IMAGE.replace("[1,8,8]", input);
            assert!(Sequential::from_json(&json).is_err(), "{input}");
        }
    }

    /// Of the whole network, not of a layer alone.
    #[test]
    fn limits_name_the_layer_and_both_numbers() {
        let dense = |outputs: usize| format!(r#"{{"layer":"dense","outputs":{outputs}}}"#);
        let error = parse(&[64_000, 200].map(dense).join(",")).unwrap_err().to_string();
        assert_eq!(error, "layer dense2: parameters: 16960200, the limit is 16777216");
        let wide = r#"{"layer":"conv2d","filters":1024,"kernel":3,"padding":1}"#;
        let json = IMAGE.replace("[1,8,8]", "[64,32,32]");
        let image = |layers: &str| Sequential::from_json(&json.replace("LAYERS", layers));
        let error = image(&[wide, wide].join(",")).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "layer conv2: multiply-accumulates: {}, the limit is 4294967296",
                94 * 94 * 1024 * 1024u64
            )
        );
        let narrow = r#"{"layer":"conv2d","filters":512,"kernel":3,"padding":1}"#;
        let error = image(&[narrow; 3].join(",")).unwrap_err().to_string();
        let each = 94 * 94 * 512 * 512u64;
        let all = 94 * 94 * 512 * 64 + 2 * each;
        assert!(each < 1 << 32 && error.contains(&format!("conv3: multiply-accumulates: {all}")));
        let error = image(r#"{"layer":"conv2d","filters":2000,"kernel":1}"#).unwrap_err();
        assert!(error.to_string().contains("conv1: the number of features is 2048000, must"));
    }

    fn any_layer() -> impl Strategy<Value = LayerSpec> {
        prop_oneof![
            (0..20usize).prop_map(|outputs| LayerSpec::Dense { outputs }),
            (0..4usize, 0..5usize, 0..4usize, 0..3usize).prop_map(
                |(filters, kernel, stride, padding)| LayerSpec::Conv2d {
                    filters,
                    kernel,
                    stride,
                    padding
                }
            ),
            (0..4usize).prop_map(|window| LayerSpec::MeanPool2d { window }),
            Just(LayerSpec::Activation { function: Activation::Tanh }),
        ]
    }

    proptest! {
        /// The promise behind `network`'s `expect`: whatever passes the check can be built.
        #[test]
        fn whatever_is_checked_can_be_built(
            sides in (1..3usize, 1..9usize, 1..9usize),
            layers in prop::collection::vec(any_layer(), 0..7),
        ) {
            if let Ok(sequential) = Sequential::new(Shape::image(sides.0, sides.1, sides.2), layers) {
                let network = sequential.network();
                prop_assert_eq!(network.classes(), sequential.classes());
                prop_assert_eq!(network.zeros().len(), sequential.parameters());
            }
        }
    }
}
