//! The layers as they run: the list is cut into blocks, each layer checked against the one before it.
//!
//! A [`Block`] is one linear layer and the local functions that follow it. A convolution whose next layer
//! is a mean pooling becomes one fused linear layer, `conv1+pool1`, unless its stride is longer than its kernel.

use gelu_core::LocalFunction;
use gelu_core::linear::{check_multiply_accumulates, check_parameters};

use super::spec::LayerSpec;
use crate::error::{Error, Result};
use crate::layers::{
    Activation, Affine, Conv2d, Conv2dConfig, Dense, LayerError, MaxPool2d, MeanPool2d, Shape,
};

/// All of a network.
pub(super) struct Blocks {
    /// What the client computes before the first linear layer.
    pub(super) prelude: Vec<Local>,
    pub(super) blocks: Vec<Block>,
    /// Shape of the scores.
    pub(super) output: Shape,
}

impl Blocks {
    /// Checks each layer against the one before it, and the whole against the limits.
    ///
    /// # Errors
    /// [`Error::Layer`] naming the first layer that does not fit, with both shapes;
    /// [`Error::Architecture`] when there is no linear layer.
    pub(super) fn new(input: Shape, layers: &[LayerSpec]) -> Result<Self> {
        let mut builder = Builder::new(input)?;
        let mut layers = layers.iter().copied().peekable();
        while let Some(layer) = layers.next() {
            match layer {
                LayerSpec::Dense { outputs } => builder.dense(outputs)?,
                LayerSpec::Conv2d { kernel, stride, .. } => {
                    let pool = match layers.peek() {
                        Some(&LayerSpec::MeanPool2d { window }) if stride <= kernel => {
                            layers.next().map(|_| window)
                        }
                        _ => None,
                    };
                    builder.conv2d(layer, pool)?;
                }
                LayerSpec::MeanPool2d { window } => {
                    builder.mean_pool2d(|shape| MeanPool2d::new(shape, window))?;
                }
                LayerSpec::MaxPool2d { window, stride, padding } => {
                    builder.max_pool2d(window, stride.unwrap_or(window), padding)?;
                }
                LayerSpec::GlobalAveragePool => builder.mean_pool2d(MeanPool2d::global)?,
                LayerSpec::Activation { function } => builder.activation(function)?,
            }
        }
        if builder.blocks.is_empty() {
            return Err(Error::Architecture("there is no dense layer and no convolution".into()));
        }
        let Builder { prelude, blocks, shape: output, .. } = builder;
        Ok(Self { prelude, blocks, output })
    }
}

/// One linear layer, which the server computes, and what the client computes after it.
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

    /// What the client computes next.
    pub(crate) fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Names of the local functions that follow.
    pub fn local_names(&self) -> impl Iterator<Item = &str> {
        self.locals.iter().map(Local::name)
    }

    /// Whether a rectifier comes next; the initialisation depends on it.
    pub(crate) fn is_rectified(&self) -> bool {
        self.locals.iter().any(|local| matches!(local, Local::Activation(f) if f.is_rectifier()))
    }
}

/// A layer that the client computes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Local {
    Activation(Activation),
    MeanPool2d(MeanPool2d),
    MaxPool2d(MaxPool2d),
}

impl Local {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Activation(f) => f.name(),
            Self::MeanPool2d(pool) => pool.name(),
            Self::MaxPool2d(pool) => pool.name(),
        }
    }

    pub(super) fn boxed(&self) -> Box<dyn LocalFunction> {
        match self {
            Self::Activation(f) => Box::new(*f),
            Self::MeanPool2d(pool) => Box::new(pool.clone()),
            Self::MaxPool2d(pool) => Box::new(pool.clone()),
        }
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

    fn conv2d(&mut self, layer: LayerSpec, pool: Option<usize>) -> Result<()> {
        let LayerSpec::Conv2d { filters, kernel, stride, padding, groups } = layer else {
            unreachable!("called with a convolution")
        };
        self.convolutions += 1;
        let name = format!("conv{}", self.convolutions);
        let (channels, height, width) = self.shape.sides().map_err(named(&name))?;
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
        let pool = of(self.shape).map_err(named(&name))?;
        self.shape = pool.output();
        self.local(Local::MeanPool2d(pool));
        Ok(())
    }

    fn max_pool2d(&mut self, window: usize, stride: usize, padding: usize) -> Result<()> {
        let name = self.next_pool();
        let pool = MaxPool2d::new(self.shape, window, stride, padding).map_err(named(&name))?;
        self.shape = pool.output();
        self.local(Local::MaxPool2d(pool));
        Ok(())
    }

    fn activation(&mut self, function: Activation) -> Result<()> {
        let function = function.check().map_err(named(function.name()))?;
        self.local(Local::Activation(function));
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
    use crate::sequential::Sequential;
    use crate::sequential::tests::{IMAGE, parse};
    use crate::zoo;

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
