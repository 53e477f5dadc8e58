//! The shape of one sample between two layers.

use core::fmt;

use gelu_core::linear::{SizeError, check_size};
use serde::{Deserialize, Serialize};

use super::LayerError;

/// The shape of one sample.
///
/// Whatever the shape, a sample is one column of features. An image is laid out channel by channel
/// and row by row: feature (c, y, x) is number `(c · height + y) · width + x`. So a dense layer
/// reads an image as it is, and no flattening is needed.
///
/// In JSON a shape is a list: `[784]` or `[1, 28, 28]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub enum Shape {
    /// A list of features.
    Vector(usize),
    /// An image of several channels.
    Image {
        /// Colours, or filters of the convolution before.
        channels: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

impl Shape {
    /// An image.
    pub const fn image(channels: usize, height: usize, width: usize) -> Self {
        Self::Image { channels, height, width }
    }

    /// Features of one sample (saturating: a hostile shape counts as a huge one).
    pub fn features(self) -> usize {
        match self {
            Self::Vector(features) => features,
            Self::Image { channels, height, width } => {
                channels.saturating_mul(height).saturating_mul(width)
            }
        }
    }

    /// Channels, height and width of an image.
    ///
    /// # Errors
    /// [`LayerError::Shape`] for a list of features.
    pub fn sides(self) -> Result<(usize, usize, usize), LayerError> {
        match self {
            Self::Image { channels, height, width } => Ok((channels, height, width)),
            Self::Vector(_) => {
                let expected = "an image (channels, height, width)".into();
                Err(LayerError::Shape { expected, got: self })
            }
        }
    }

    /// Refuses an empty shape and one beyond [`MAX_FEATURES`](gelu_core::linear::MAX_FEATURES).
    ///
    /// # Errors
    /// [`LayerError::Size`].
    pub fn check(self) -> Result<Self, LayerError> {
        check_size("the number of features", self.features())?;
        Ok(self)
    }
}

impl TryFrom<Vec<usize>> for Shape {
    type Error = LayerError;

    fn try_from(sizes: Vec<usize>) -> Result<Self, LayerError> {
        match *sizes {
            [features] => Self::Vector(features).check(),
            [channels, height, width] => Self::image(channels, height, width).check(),
            _ => Err(SizeError::domain(
                "the number of dimensions",
                sizes.len(),
                "1 (features) or 3 (channels, height, width)",
            )
            .into()),
        }
    }
}

impl From<Shape> for Vec<usize> {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Vector(features) => vec![features],
            Shape::Image { channels, height, width } => vec![channels, height, width],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector(features) => write!(f, "{features}"),
            Self::Image { channels, height, width } => write!(f, "{channels}x{height}x{width}"),
        }
    }
}
