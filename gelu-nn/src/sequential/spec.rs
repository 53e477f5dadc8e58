//! An architecture as it is written down: see [`Sequential`](super::Sequential), which checks it.

use gelu_core::Loss;
use serde::{Deserialize, Serialize};

use crate::layers::{Activation, Shape, Sides};
use crate::loss::SoftmaxCrossEntropy;

/// One layer as it is written down; what it takes follows from the layer before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
        /// Rows and columns of the kernel: `3`, or `[1, 5]`.
        kernel: Sides,
        /// Steps of the kernel.
        #[serde(default = "step")]
        stride: Sides,
        /// Zeros around the image: above and below, to the left and to the right.
        #[serde(default = "nothing")]
        padding: Sides,
        /// Groups of channels that do not meet: as many as channels for a depthwise convolution.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
    },
    /// The mean of windows side by side.
    MeanPool2d {
        /// Rows and columns of the window.
        window: Sides,
    },
    /// The largest pixel of windows.
    MaxPool2d {
        /// Rows and columns of the window.
        window: Sides,
        /// Steps of the window; as long as the window if they are left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<Sides>,
        /// What the window may reach beyond the image on each side, at most half of it.
        #[serde(default = "nothing")]
        padding: Sides,
    },
    /// Zeros around the image, where they differ from side to side.
    ZeroPad2d {
        /// Rows above.
        #[serde(default)]
        top: usize,
        /// Rows below.
        #[serde(default)]
        bottom: usize,
        /// Columns to the left.
        #[serde(default)]
        left: usize,
        /// Columns to the right.
        #[serde(default)]
        right: usize,
    },
    /// The mean of each channel.
    GlobalAveragePool,
    /// The sum of what the layer before gives and an earlier one of the same shape: a shortcut of a residual network.
    Add {
        /// The other term: the value after so many layers of the list, 0 for the input.
        from: usize,
    },
    /// The next layer does not take what the layer before gives, which a later [`Add`](Self::Add) then names, but an
    /// earlier value: where a shortcut has layers of its own.
    Branch {
        /// The value after so many layers of the list, 0 for the input.
        from: usize,
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

fn step() -> Sides {
    Sides::ONE
}

fn nothing() -> Sides {
    Sides::ZERO
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(groups: &usize) -> bool {
    *groups == 1
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
    pub(super) fn build(self) -> Box<dyn Loss> {
        match self {
            Self::SoftmaxCrossEntropy => Box::new(SoftmaxCrossEntropy),
        }
    }
}

/// An architecture as it is written down, not yet checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Architecture {
    pub(super) input: Shape,
    pub(super) layers: Vec<LayerSpec>,
    #[serde(default)]
    pub(super) loss: LossSpec,
    /// So many linear layers, from the first on, are not trained.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(super) frozen: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(frozen: &usize) -> bool {
    *frozen == 0
}
