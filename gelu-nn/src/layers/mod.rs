//! The layers: which of them are linear (and run under encryption), which the client computes.
//!
//! | layer | where it runs | as |
//! | --- | --- | --- |
//! | [`Dense`] | server, encrypted | [`LinearMap`] |
//! | [`Conv2d`] | server, encrypted | [`LinearMap`] |
//! | [`Conv2d`] followed by [`MeanPool2d`] | server, encrypted | one [`LinearMap`]: [`PooledConv2d`] |
//! | [`MeanPool2d`] elsewhere, also over whole images | client, in the clear | [`LocalFunction`] |
//! | [`MaxPool2d`], [`ZeroPad2d`] | client, in the clear | [`LocalFunction`] |
//! | [`Activation`] | client, in the clear | [`LocalFunction`] |
//!
//! A layer's constructor is its check: a value of these types is within the limits of
//! [`gelu_core::linear`]. That matters because an architecture may come from a peer; a layer is its
//! geometry, and nothing is allocated for it.

pub mod activation;
pub mod conv2d;
pub mod dense;
pub mod max_pool;
pub mod mean_pool;
pub mod pooled_conv2d;
pub mod shape;
pub mod sides;
pub mod zero_pad;

use gelu_core::error::ApiMisuse;
use gelu_core::linear::SizeError;
use gelu_core::{LinearMap, LocalFunction};

pub use activation::Activation;
pub use conv2d::{Conv2d, Conv2dConfig};
pub use dense::Dense;
pub use max_pool::MaxPool2d;
pub use mean_pool::MeanPool2d;
pub use pooled_conv2d::PooledConv2d;
pub use shape::Shape;
pub use sides::Sides;
pub use zero_pad::ZeroPad2d;

/// What one encrypted pass through a linear layer costs, before any packing.
///
/// A ciphertext here holds one feature (of one sample, or of a whole batch in its slots).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Homomorphic multiply-accumulates at the server: one for each tap.
    pub operations: u64,
    /// Ciphertexts from the client to the server.
    pub upload: u64,
    /// Ciphertexts from the server to the client.
    pub download: u64,
}

impl Cost {
    pub(crate) fn of(map: &LinearMap) -> Self {
        let (upload, download) = (map.inputs() as u64, map.outputs() as u64);
        Self { operations: map.multiply_accumulates(), upload, download }
    }

    /// The same layer backwards: as many taps, errors up, errors of the layer before down.
    pub fn backward(self) -> Self {
        Self { operations: self.operations, upload: self.download, download: self.upload }
    }
}

/// What [`LocalFunction::outputs`] says of a layer that takes images of one shape and gives images of another.
fn outputs_of(
    layer: &impl LocalFunction,
    input: Shape,
    output: Shape,
    inputs: usize,
) -> gelu_core::Result<usize> {
    let expected = input.features();
    if inputs != expected {
        let why = format!("takes {expected} features, but gets {inputs}");
        return Err(ApiMisuse::configuration(layer.name(), why).into());
    }
    Ok(output.features())
}

/// A linear layer of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affine {
    /// Fully connected.
    Dense(Dense),
    /// Convolution.
    Conv2d(Conv2d),
    /// Convolution fused with the mean pooling that follows it.
    PooledConv2d(PooledConv2d),
}

impl Affine {
    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        match self {
            Self::Dense(layer) => layer.input(),
            Self::Conv2d(layer) => layer.input(),
            Self::PooledConv2d(layer) => layer.convolution().input(),
        }
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        match self {
            Self::Dense(layer) => layer.output(),
            Self::Conv2d(layer) => layer.output(),
            Self::PooledConv2d(layer) => layer.output(),
        }
    }

    /// Shape of the weights, as PyTorch has it: `[outputs, inputs]` or
    /// `[filters, channels / groups, rows, columns of the kernel]`, row-major.
    pub fn weight_shape(&self) -> Vec<usize> {
        match self {
            Self::Dense(layer) => layer.weight_shape(),
            Self::Conv2d(layer) => layer.weight_shape(),
            Self::PooledConv2d(layer) => layer.convolution().weight_shape(),
        }
    }

    /// Number of biases: one for each output or filter.
    pub fn biases(&self) -> usize {
        self.weight_shape()[0]
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.weight_shape().iter().product()
    }

    /// Weights that meet in one output; what the initialisation divides by.
    pub fn fan_in(&self) -> usize {
        self.weight_shape()[1..].iter().product()
    }

    /// Weights that leave one input.
    pub fn fan_out(&self) -> usize {
        let shape = self.weight_shape();
        let groups = match self {
            Self::Dense(_) => 1,
            Self::Conv2d(layer) => layer.config().groups,
            Self::PooledConv2d(layer) => layer.convolution().config().groups,
        };
        shape[0] / groups * shape[2..].iter().product::<usize>()
    }

    /// Cost of one encrypted forward pass.
    pub fn cost(&self) -> Cost {
        match self {
            Self::Dense(layer) => layer.cost(),
            Self::Conv2d(layer) => layer.cost(),
            Self::PooledConv2d(layer) => layer.cost(),
        }
    }

    /// The layer as the protocol runs it.
    pub fn linear_map(&self) -> LinearMap {
        match self {
            Self::Dense(layer) => layer.linear_map(),
            Self::Conv2d(layer) => layer.linear_map(),
            Self::PooledConv2d(layer) => layer.linear_map(),
        }
    }
}

/// Why a layer does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The layer takes another kind of shape.
    #[error("takes {expected}, but gets {got}")]
    Shape {
        /// What it takes.
        expected: String,
        /// What it gets.
        got: Shape,
    },
    /// A number of a function is outside its domain.
    #[error("{what}: got {got}, must be {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Its value.
        got: String,
        /// Its domain.
        expected: &'static str,
    },
    /// A size is outside its domain or beyond its limit.
    #[error(transparent)]
    Size(#[from] SizeError),
}

#[cfg(test)]
pub(crate) mod laws {
    //! What every linear layer and every local function must obey.

    use gelu_core::LocalFunction;
    use ndarray::Array2;

    use super::Affine;

    /// The documented shapes and cost are those of the map that runs.
    pub(crate) fn counts_agree(layer: &Affine) {
        let map = layer.linear_map();
        let cost = layer.cost();
        assert_eq!(cost.operations, map.forward_taps().len() as u64, "{layer:?}");
        assert_eq!(cost.backward().operations, map.backward_taps().len() as u64, "{layer:?}");
        assert_eq!(cost.upload, map.inputs() as u64, "{layer:?}");
        assert_eq!(cost.download, map.outputs() as u64, "{layer:?}");
        assert_eq!(layer.input().features(), map.inputs(), "{layer:?}");
        assert_eq!(layer.output().features(), map.outputs(), "{layer:?}");
        assert_eq!(layer.weights(), map.weights(), "{layer:?}");
        assert_eq!(layer.biases(), map.biases(), "{layer:?}");
    }

    /// ⟨grad, f(z + h·e) − f(z − h·e)⟩ / 2h = ⟨backward(grad), e⟩, to within `tolerance`.
    pub(crate) fn gradient_law(
        f: &dyn LocalFunction,
        z: &Array2<f64>,
        direction: &Array2<f64>,
        grad: &Array2<f64>,
        tolerance: f64,
    ) {
        let h = 1e-5;
        let ahead = f.forward(&(z + &(direction * h)));
        let behind = f.forward(&(z - &(direction * h)));
        let numeric = (grad * &(ahead - behind)).sum() / (2.0 * h);
        let exact = (f.backward(z, &f.forward(z), grad) * direction).sum();
        assert!((numeric - exact).abs() < tolerance, "{}: {numeric} or {exact}?", f.name());
    }
}
