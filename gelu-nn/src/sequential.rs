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
//! Kernels, windows, strides and paddings are one number for both axes of an image, or two, rows first: `"kernel": [1, 5]`.
//! `"frozen": 1` would [freeze](Sequential::freeze) the convolution.
//!
//! A layer takes what the one before it gives. In residual networks two layers name another value by how many layers come
//! before it in the list: here the input of a block is added to what the block gives, and in the next block a convolution of
//! that input, made by a branch:
//! ```json
//! [ { "layer": "conv2d", "filters": 4, "kernel": 3, "padding": 1 },
//!   { "layer": "activation", "function": "relu" },
//!   { "layer": "conv2d", "filters": 4, "kernel": 3, "padding": 1 },
//!   { "layer": "add", "from": 2 },
//!   { "layer": "conv2d", "filters": 8, "kernel": 3, "stride": 2, "padding": 1 },
//!   { "layer": "branch", "from": 4 },
//!   { "layer": "conv2d", "filters": 8, "kernel": 1, "stride": 2 },
//!   { "layer": "add", "from": 5 } ]
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `spec` | [`LayerSpec`]: the list as it is written down |
//! | `blocks` | [`Block`]: the list as it runs, each layer checked against what it takes |
//!
//! An architecture may come from a peer. Parsing it, and building its network, allocates no more than
//! its text is long; [`MAX_LAYERS`] and the limits of features, parameters and multiply-accumulates
//! ([`gelu_core::linear`]) bound what a pass through it then takes.

mod blocks;
mod spec;

use gelu_core::{Network, Stage};
use serde::{Deserialize, Serialize};

pub use blocks::Block;
use blocks::Blocks;
pub(crate) use blocks::{Local, Step};
use spec::Architecture;
pub use spec::{LayerSpec, LossSpec};

use crate::error::{Error, Result};
use crate::layers::{Activation, Shape};

/// The most layers of an architecture.
pub const MAX_LAYERS: usize = 256;

/// A checked architecture: see the [module](self).
///
/// It serialises as what it was made of and is checked again when it is read. Layers are tagged by
/// name, so use a self-describing format such as JSON ([`to_json`](Self::to_json)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Architecture", into = "Architecture")]
pub struct Sequential {
    architecture: Architecture,
    blocks: Vec<Block>,
    steps: Vec<Step>,
    output: Shape,
}

impl Sequential {
    /// Checks each layer against the one before it, and the whole against the limits.
    ///
    /// # Errors
    /// [`Error::Layer`] naming the first layer that does not fit, with both shapes;
    /// [`Error::Architecture`] when there is no linear layer, or too many layers.
    pub fn new(input: Shape, layers: Vec<LayerSpec>) -> Result<Self> {
        Self::check(Architecture { input, layers, loss: LossSpec::default(), frozen: 0 })
    }

    /// The same network with its first `stages` [blocks](Self::blocks) frozen, 0 for none: they are not trained.
    ///
    /// # Errors
    /// [`Error::Architecture`] when there are no more than that.
    pub fn freeze(&self, stages: usize) -> Result<Self> {
        Self::check(Architecture { frozen: stages, ..self.architecture.clone() })
    }

    /// How many blocks, from the first on, are not trained.
    pub fn frozen(&self) -> usize {
        self.architecture.frozen
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
        Self::new(Shape::Vector(inputs), dense_layers(hidden, classes, activation).collect())
    }

    /// The first `stages` [blocks](Self::blocks) with what follows them up to the next, then dense layers of the
    /// widths `hidden` with sigmoids between them, and one of `classes`: a new head on a base, which is frozen.
    ///
    /// # Errors
    /// [`Error::Architecture`] when there are fewer blocks than that; as [`new`](Self::new).
    pub fn with_head(&self, stages: usize, hidden: &[usize], classes: usize) -> Result<Self> {
        if stages > self.blocks.len() {
            let all = self.blocks.len();
            return Err(Error::Architecture(format!(
                "{stages} stages are asked for, there are {all}"
            )));
        }
        let mut left = stages;
        let base = self.architecture.layers.iter().take_while(|layer| {
            let linear = matches!(layer, LayerSpec::Dense { .. } | LayerSpec::Conv2d { .. });
            let taken = !linear || left > 0;
            left = left.saturating_sub(usize::from(linear));
            taken
        });
        let head = dense_layers(hidden, classes, Activation::Sigmoid);
        Self::new(self.input(), base.copied().chain(head).collect())?.freeze(stages)
    }

    /// The same network with `function` in the place of every activation.
    ///
    /// # Panics
    /// When `function` fails its own [check](Activation::check).
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
        let Blocks { blocks, steps, output } =
            Blocks::new(architecture.input, &architecture.layers)?;
        if architecture.frozen >= blocks.len() {
            let (frozen, all) = (architecture.frozen, blocks.len());
            return Err(Error::Architecture(format!(
                "{frozen} of {all} stages are to be frozen, and at least the last one must be trained"
            )));
        }
        Ok(Self { architecture, blocks, steps, output })
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

    /// The linear layers as they run.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How each value after the input is made.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.blocks.iter().map(|b| b.affine().weights() + b.affine().biases()).sum()
    }

    /// What a value is called: `conv1`, `relu of conv1`, `input`.
    fn label(&self, value: usize) -> String {
        let made = self.steps[..value].iter().rev();
        let mut blocks = made.filter_map(|step| match step {
            Step::Block { block, .. } => Some(self.blocks[*block].name()),
            _ => None,
        });
        let block = blocks.next().unwrap_or("the input");
        match self.steps[..value].last() {
            Some(Step::Local { local, .. }) => format!("{} of {block}", local.name()),
            Some(Step::Add { .. }) | Some(Step::Block { .. }) | None => block.into(),
        }
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> Network {
        let stages = self
            .blocks
            .iter()
            .map(|block| Stage { name: block.name().into(), linear: block.affine().linear_map() });
        Network::new(
            self.input().features(),
            stages.collect(),
            self.steps.iter().map(Step::boxed).collect(),
            self.architecture.loss.build(),
        )
        .and_then(|network| network.freeze(self.frozen()))
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

/// `784 ▸ dense1 300 ▸ sigmoid ▸ dense2 10`: what `gelu models` prints. A shortcut is `+ conv1`, and after a `;` stands the value
/// from which a branch goes on.
impl core::fmt::Display for Sequential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.input())?;
        for (before, step) in self.steps.iter().enumerate() {
            match step.sources()[0] {
                source if source == before => write!(f, " ▸ ")?,
                source => write!(f, "; {} ▸ ", self.label(source))?,
            }
            match step {
                Step::Block { block, .. } => {
                    let block = &self.blocks[*block];
                    write!(f, "{} {}", block.name(), block.affine().output())?;
                }
                Step::Local { local, .. } => write!(f, "{}", local.name())?,
                Step::Add { sources: [_, other] } => write!(f, "+ {}", self.label(*other))?,
            }
        }
        match self.frozen() {
            0 => Ok(()),
            1 => write!(f, ", the first stage frozen"),
            n => write!(f, ", the first {n} stages frozen"),
        }
    }
}

/// Dense layers of the widths `hidden`, each with `function` after it, and one of `classes`.
fn dense_layers(
    hidden: &[usize],
    classes: usize,
    function: Activation,
) -> impl Iterator<Item = LayerSpec> {
    let of_width =
        move |&outputs| [LayerSpec::Dense { outputs }, LayerSpec::Activation { function }];
    hidden.iter().flat_map(of_width).chain([LayerSpec::Dense { outputs: classes }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Sides;
    use crate::zoo;
    use proptest::prelude::*;

    pub(super) const IMAGE: &str = r#"{"input":[1,8,8],"layers":[LAYERS]}"#;

    pub(super) fn parse(layers: &str) -> Result<Sequential> {
        Sequential::from_json(&IMAGE.replace("LAYERS", layers))
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

    fn sides(end: usize) -> impl Strategy<Value = Sides> {
        (0..end, 0..end).prop_map(|(height, width)| Sides { height, width })
    }

    fn any_layer() -> impl Strategy<Value = LayerSpec> {
        prop_oneof![
            (0..20usize).prop_map(|outputs| LayerSpec::Dense { outputs }),
            (0..4usize, sides(5), sides(4), sides(3), 0..3usize).prop_map(
                |(filters, kernel, stride, padding, groups)| LayerSpec::Conv2d {
                    filters,
                    kernel,
                    stride,
                    padding,
                    groups
                }
            ),
            sides(4).prop_map(|window| LayerSpec::MeanPool2d { window }),
            (sides(4), prop::option::of(sides(4)), sides(3)).prop_map(
                |(window, stride, padding)| LayerSpec::MaxPool2d { window, stride, padding }
            ),
            Just(LayerSpec::GlobalAveragePool),
            (0..3usize, 0..3usize).prop_map(|(top, right)| LayerSpec::ZeroPad2d {
                top,
                bottom: 1,
                left: 0,
                right
            }),
            (0..7usize).prop_map(|from| LayerSpec::Add { from }),
            (0..7usize).prop_map(|from| LayerSpec::Branch { from }),
            Just(LayerSpec::Activation { function: Activation::Tanh }),
            Just(LayerSpec::Activation { function: Activation::Clip { lo: 1.0, hi: 0.0 } }),
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
