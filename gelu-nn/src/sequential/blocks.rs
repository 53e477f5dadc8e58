//! The layers as they run: each is checked against the one before it, or the one that it names.
//!
//! A [`Block`] is one linear layer, a stage of the protocol. A convolution whose next layer is a mean pooling becomes one
//! fused linear layer, `conv1+pool1`, unless its stride is longer than its kernel or another layer names what comes before
//! the pooling. What is computed of what is the list of steps of [`gelu_core::Network`], of layers in place of maps.

use std::collections::BTreeSet;

use gelu_core::LocalFunction;
use gelu_core::linear::{SizeError, check_multiply_accumulates, check_parameters};

use super::spec::LayerSpec;
use crate::error::{Error, Result};
use crate::layers::{
    Activation, Affine, Conv2d, Conv2dConfig, Dense, LayerError, MaxPool2d, MeanPool2d, Shape,
    Sides, ZeroPad2d,
};

/// All of a network.
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    pub(super) steps: Vec<Step>,
    /// Shape of the scores.
    pub(super) output: Shape,
}

impl Blocks {
    /// Checks each layer against those before it, and the whole against the limits.
    ///
    /// # Errors
    /// [`Error::Layer`] naming the first layer that does not fit, with both shapes;
    /// [`Error::Architecture`] when there is no linear layer, or what a layer gives is used by none.
    pub(super) fn new(input: Shape, layers: &[LayerSpec]) -> Result<Self> {
        let mut builder = Builder::new(input)?;
        let named = |layer: &LayerSpec| match *layer {
            LayerSpec::Add { from } | LayerSpec::Branch { from } => Some(from),
            _ => None,
        };
        let named: BTreeSet<_> = layers.iter().filter_map(named).collect();
        let mut layers = (1..).zip(layers.iter().copied()).peekable();
        while let Some((number, layer)) = layers.next() {
            match layer {
                LayerSpec::Dense { outputs } => builder.dense(outputs)?,
                LayerSpec::Conv2d { kernel, stride, .. } => {
                    let pool = match layers.peek() {
                        Some(&(_, LayerSpec::MeanPool2d { window }))
                            if stride.height <= kernel.height
                                && stride.width <= kernel.width
                                && !named.contains(&number) =>
                        {
                            layers.next().map(|_| window)
                        }
                        _ => None,
                    };
                    builder.conv2d(layer, pool)?;
                    if pool.is_some() {
                        builder.after.push(builder.current);
                    }
                }
                LayerSpec::MeanPool2d { window } => {
                    builder.mean_pool2d(|shape| MeanPool2d::new(shape, window))?;
                }
                LayerSpec::MaxPool2d { window, stride, padding } => {
                    builder.max_pool2d(window, stride.unwrap_or(window), padding)?;
                }
                LayerSpec::ZeroPad2d { top, bottom, left, right } => {
                    builder.zero_pad2d([top, bottom], [left, right])?;
                }
                LayerSpec::GlobalAveragePool => builder.mean_pool2d(MeanPool2d::global)?,
                LayerSpec::Activation { function } => builder.activation(function)?,
                LayerSpec::Add { from } => builder.add(from)?,
                LayerSpec::Branch { from } => builder.branch(from)?,
            }
            builder.after.push(builder.current);
        }
        builder.finish()
    }
}

/// One linear layer, which the server computes, and what comes after it in the list.
#[derive(Debug, Clone, PartialEq)]
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

    /// Names of the local functions that follow in the list, up to the next linear layer.
    pub fn local_names(&self) -> impl Iterator<Item = &str> {
        self.locals.iter().map(Local::name)
    }

    /// Whether one of them is a rectifier; the initialisation depends on it.
    pub(crate) fn is_rectified(&self) -> bool {
        self.locals.iter().any(|local| matches!(local, Local::Activation(f) if f.is_rectifier()))
    }
}

/// A step of [`gelu_core::network`], of layers: how a value is made of earlier ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Block { block: usize, source: usize },
    Local { local: Local, source: usize },
    Add { sources: [usize; 2] },
}

impl Step {
    /// The values that it takes.
    pub(crate) fn sources(&self) -> &[usize] {
        match self {
            Self::Block { source, .. } | Self::Local { source, .. } => {
                core::slice::from_ref(source)
            }
            Self::Add { sources } => sources,
        }
    }

    /// As the protocol runs it.
    pub(super) fn boxed(&self) -> gelu_core::Step {
        match *self {
            Self::Block { block: stage, source } => gelu_core::Step::Linear { stage, source },
            Self::Local { ref local, source } => {
                gelu_core::Step::Local { function: local.boxed(), source }
            }
            Self::Add { sources } => gelu_core::Step::Add { sources },
        }
    }
}

/// A layer that the client computes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Local {
    Activation(Activation),
    MeanPool2d(MeanPool2d),
    MaxPool2d(MaxPool2d),
    ZeroPad2d(ZeroPad2d),
}

impl Local {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Activation(f) => f.name(),
            Self::MeanPool2d(pool) => pool.name(),
            Self::MaxPool2d(pool) => pool.name(),
            Self::ZeroPad2d(pad) => pad.name(),
        }
    }

    fn boxed(&self) -> Box<dyn LocalFunction> {
        match self {
            Self::Activation(f) => Box::new(*f),
            Self::MeanPool2d(pool) => Box::new(pool.clone()),
            Self::MaxPool2d(pool) => Box::new(pool.clone()),
            Self::ZeroPad2d(pad) => Box::new(pad.clone()),
        }
    }
}

/// The layers so far, and the value from which the next one goes on.
struct Builder {
    blocks: Vec<Block>,
    steps: Vec<Step>,
    /// Of each value.
    shapes: Vec<Shape>,
    current: usize,
    /// The value after so many layers of the list.
    after: Vec<usize>,
    operations: u64,
    parameters: u64,
    dense: usize,
    convolutions: usize,
    pools: usize,
    adds: usize,
}

impl Builder {
    fn new(input: Shape) -> Result<Self> {
        let shape = input.check().map_err(named("input"))?;
        Ok(Self {
            blocks: Vec::new(),
            steps: Vec::new(),
            shapes: vec![shape],
            current: 0,
            after: vec![0],
            operations: 0,
            parameters: 0,
            dense: 0,
            convolutions: 0,
            pools: 0,
            adds: 0,
        })
    }

    fn finish(self) -> Result<Blocks> {
        let Self { blocks, steps, shapes, current, after, .. } = self;
        if blocks.is_empty() {
            return Err(Error::Architecture("there is no dense layer and no convolution".into()));
        }
        let taken: BTreeSet<_> = steps.iter().flat_map(Step::sources).collect();
        let is_lost = |value: &usize| !taken.contains(value) && *value != current;
        if let Some(lost) = (0..shapes.len()).find(is_lost) {
            let layer = after.iter().position(|&value| value == lost).unwrap_or_default();
            return Err(Error::Architecture(format!(
                "what layer {layer} of the list gives is used by no other layer"
            )));
        }
        Ok(Blocks { blocks, steps, output: shapes[current] })
    }

    fn shape(&self) -> Shape {
        self.shapes[self.current]
    }

    fn push(&mut self, step: Step, shape: Shape) {
        self.steps.push(step);
        self.shapes.push(shape);
        self.current = self.steps.len();
    }

    /// The value after `from` layers.
    fn earlier(&self, from: usize) -> Result<usize, LayerError> {
        let before = self.after.len() - 1;
        let why = || format!("at most {before}, the layers before it");
        let value = self.after.get(from).copied();
        value.ok_or_else(|| SizeError::domain("\"from\"", from, why()).into())
    }

    fn add(&mut self, from: usize) -> Result<()> {
        self.adds += 1;
        let name = format!("add{}", self.adds);
        let other = self.earlier(from).map_err(named(&name))?;
        let (shape, got) = (self.shape(), self.shapes[other]);
        if shape != got {
            let expected = format!("two of {shape}");
            return Err(named(&name)(LayerError::Shape { expected, got }));
        }
        self.push(Step::Add { sources: [self.current, other] }, shape);
        Ok(())
    }

    fn branch(&mut self, from: usize) -> Result<()> {
        self.current = self.earlier(from).map_err(named("branch"))?;
        Ok(())
    }

    fn dense(&mut self, outputs: usize) -> Result<()> {
        self.dense += 1;
        let name = format!("dense{}", self.dense);
        let layer = Dense::new(self.shape(), outputs).map_err(named(&name))?;
        self.block(name, Affine::Dense(layer))
    }

    fn conv2d(&mut self, layer: LayerSpec, pool: Option<Sides>) -> Result<()> {
        let LayerSpec::Conv2d { filters, kernel, stride, padding, groups } = layer else {
            unreachable!("called with a convolution")
        };
        self.convolutions += 1;
        let name = format!("conv{}", self.convolutions);
        let (channels, height, width) = self.shape().sides().map_err(named(&name))?;
        let config =
            Conv2dConfig { channels, height, width, filters, kernel, stride, padding, groups };
        let layer = Conv2d::new(config).map_err(named(&name))?;
        let Some(window) = pool else { return self.block(name, Affine::Conv2d(layer)) };
        let pool = self.next_pool();
        let layer = layer.pooled(window).map_err(named(&pool))?;
        self.block(format!("{name}+{pool}"), Affine::PooledConv2d(layer))
    }

    fn mean_pool2d(
        &mut self,
        of: impl FnOnce(Shape) -> Result<MeanPool2d, LayerError>,
    ) -> Result<()> {
        let name = self.next_pool();
        let pool = of(self.shape()).map_err(named(&name))?;
        let shape = pool.output();
        self.local(Local::MeanPool2d(pool), shape);
        Ok(())
    }

    fn max_pool2d(&mut self, window: Sides, stride: Sides, padding: Sides) -> Result<()> {
        let name = self.next_pool();
        let pool = MaxPool2d::new(self.shape(), window, stride, padding).map_err(named(&name))?;
        let shape = pool.output();
        self.local(Local::MaxPool2d(pool), shape);
        Ok(())
    }

    fn zero_pad2d(&mut self, rows: [usize; 2], columns: [usize; 2]) -> Result<()> {
        let pad = ZeroPad2d::new(self.shape(), rows, columns).map_err(named("zero_pad2d"))?;
        let shape = pad.output();
        self.local(Local::ZeroPad2d(pad), shape);
        Ok(())
    }

    fn activation(&mut self, function: Activation) -> Result<()> {
        let function = function.check().map_err(named(function.name()))?;
        // No step: two layers of which one takes an identity of what the other takes still share their input.
        if function == Activation::Identity {
            return Ok(());
        }
        self.local(Local::Activation(function), self.shape());
        Ok(())
    }

    fn next_pool(&mut self) -> String {
        self.pools += 1;
        format!("pool{}", self.pools)
    }

    fn block(&mut self, name: String, affine: Affine) -> Result<()> {
        self.operations += affine.cost().operations;
        self.parameters += (affine.weights() + affine.biases()) as u64;
        check_multiply_accumulates(self.operations)
            .and_then(|()| check_parameters(self.parameters))
            .map_err(|e| named(&name)(e.into()))?;
        let (block, source, shape) = (self.blocks.len(), self.current, affine.output());
        self.push(Step::Block { block, source }, shape);
        self.blocks.push(Block { name, affine, locals: Vec::new() });
        Ok(())
    }

    fn local(&mut self, local: Local, shape: Shape) {
        if let Some(block) = self.blocks.last_mut() {
            block.locals.push(local.clone());
        }
        self.push(Step::Local { local, source: self.current }, shape);
    }
}

fn named(layer: &str) -> impl FnOnce(LayerError) -> Error {
    let layer = layer.to_owned();
    move |problem| Error::Layer { layer, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::Sequential;
    use crate::sequential::tests::{IMAGE, parse};
    use crate::zoo;

    #[test]
    fn convolution_and_pooling_become_one_stage() {
        let lenet5 = zoo::lenet5();
        let names: Vec<_> = lenet5.blocks().iter().map(Block::name).collect();
        assert_eq!(names, ["conv1+pool1", "conv2+pool2", "dense1", "dense2", "dense3"]);
        assert_eq!(lenet5.blocks()[2].local_names().collect::<Vec<_>>(), ["relu"]);
        let network = lenet5.network();
        let sums: Vec<_> = network.stages().iter().map(|s| s.linear.outputs()).collect();
        assert_eq!(sums, [864, 256, 120, 84, 10]);
    }

    #[test]
    fn pooling_elsewhere_is_local() {
        assert_eq!(
            zoo::conv1().to_string(),
            "1x28x28 ▸ conv1 5x12x12 ▸ relu ▸ mean 2x2 ▸ relu ▸ dense1 10"
        );
        let first = parse(r#"{"layer":"mean_pool2d","window":2},{"layer":"dense","outputs":3}"#);
        let network = first.unwrap().network();
        assert_eq!((network.steps().len(), network.stages()[0].linear.inputs()), (2, 16));
    }

    /// A block around which its input leads, then one of which the shortcut is a convolution with a stride.
    const SHORTCUTS: &str = r#"{"layer":"conv2d","filters":2,"kernel":3,"padding":1},
        {"layer":"activation","function":"relu"},
        {"layer":"conv2d","filters":2,"kernel":3,"padding":1},
        {"layer":"add","from":2},
        {"layer":"conv2d","filters":4,"kernel":3,"stride":2,"padding":1},
        {"layer":"branch","from":4},
        {"layer":"conv2d","filters":4,"kernel":1,"stride":2},
        {"layer":"add","from":5},
        {"layer":"dense","outputs":3}"#;

    #[test]
    fn layers_take_what_earlier_ones_give() {
        let network = parse(SHORTCUTS).unwrap();
        assert_eq!(
            network.to_string(),
            "1x8x8 ▸ conv1 2x8x8 ▸ relu ▸ conv2 2x8x8 ▸ + relu of conv1 ▸ conv3 4x4x4; \
             conv2 ▸ conv4 4x4x4 ▸ + conv3 ▸ dense1 3"
        );
        let core = network.network();
        assert_eq!([0, 1, 2, 3, 4].map(|stage| core.source(stage)), [0, 2, 4, 4, 7]);
        assert_eq!((core.meeting(2), core.meeting(3)), (7, 7));
    }

    #[test]
    fn layers_that_take_what_there_is_not_are_refused() {
        let refused = |old: &str, new: &str| {
            assert!(SHORTCUTS.contains(old));
            parse(&SHORTCUTS.replacen(old, new, 1)).unwrap_err().to_string()
        };
        assert_eq!(
            refused(r#""from":2"#, r#""from":4"#),
            "layer add1: \"from\" is 4, must be at most 3, the layers before it"
        );
        assert_eq!(
            refused(r#""from":5"#, r#""from":4"#),
            "layer add2: takes two of 4x4x4, but gets 2x8x8"
        );
        assert_eq!(
            refused(r#"{"layer":"add","from":5},"#, ""),
            "architecture: what layer 5 of the list gives is used by no other layer"
        );
        let last = refused(r#"{"layer":"dense","outputs":3}"#, r#"{"layer":"branch","from":5}"#);
        assert!(last.contains("layer 8 of the list"), "{last}");
    }

    /// It is no step, so what takes it shares its input with what takes the value itself.
    #[test]
    fn an_identity_is_the_value_itself() {
        let layers = r#"{"layer":"dense","outputs":3},{"layer":"branch","from":0},
            {"layer":"activation","function":"identity"},{"layer":"dense","outputs":3},
            {"layer":"add","from":1}"#;
        let network = parse(layers).unwrap().network();
        assert_eq!((network.source(0), network.source(1), network.steps().len()), (0, 0, 3));
    }

    /// The values between the two are named by another layer.
    #[test]
    fn a_named_value_is_not_fused_away() {
        let layers = r#"{"layer":"conv2d","filters":1,"kernel":1},{"layer":"mean_pool2d","window":1},
            {"layer":"add","from":FROM},{"layer":"dense","outputs":3}"#;
        let names = |from: &str| {
            let network = parse(&layers.replace("FROM", from)).unwrap();
            network.blocks().iter().map(|b| b.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("0"), ["conv1+pool1", "dense1"]);
        assert_eq!(names("1"), ["conv1", "dense1"]);
        assert_eq!(names("2"), ["conv1+pool1", "dense1"]);
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
}
