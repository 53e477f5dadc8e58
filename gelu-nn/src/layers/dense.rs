//! A fully connected layer.
//!
//! ```text
//! z[o] = Σᵢ w[o, i] · x[i]  +  b[o]
//! ```
//!
//! | tensor | shape |
//! | --- | --- |
//! | x | `[inputs, batch]` |
//! | w | `[outputs, inputs]`, row-major |
//! | b | `[outputs]` |
//! | z | `[outputs, batch]` |
//!
//! Cost: `inputs · outputs` operations, `inputs` ciphertexts up, `outputs` down.

use gelu_core::linear::{self, LinearMap};

use super::{Cost, LayerError, Shape};

/// A fully connected layer: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    input: Shape,
    matrix: linear::Dense,
}

impl Dense {
    /// A layer from every feature of `input` to `outputs` neurons.
    ///
    /// # Errors
    /// [`LayerError`] when a size is zero or beyond the limits.
    pub fn new(input: Shape, outputs: usize) -> Result<Self, LayerError> {
        let matrix = linear::Dense::new(input.check()?.features(), outputs)?;
        Ok(Self { input, matrix })
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        Shape::Vector(self.matrix.outputs())
    }

    /// `[outputs, inputs]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        vec![self.matrix.outputs(), self.matrix.inputs()]
    }

    /// `inputs · outputs` operations, `inputs` up, `outputs` down.
    pub fn cost(&self) -> Cost {
        Cost::of(&self.linear_map())
    }

    /// The layer as the protocol runs it.
    pub fn linear_map(&self) -> LinearMap {
        self.matrix.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Affine, laws};
    use ndarray::array;

    #[test]
    fn counts() {
        laws::counts_agree(&Affine::Dense(Dense::new(Shape::Vector(4), 5).unwrap()));
        laws::counts_agree(&Affine::Dense(Dense::new(Shape::image(2, 3, 3), 1).unwrap()));
    }

    #[test]
    fn weights_are_row_major() {
        let map = Dense::new(Shape::Vector(3), 2).unwrap().linear_map();
        let z = map.forward(&[1, 2, 3, 4, 5, 6], &[7, 8], array![[1], [10], [100]].view(), 1);
        assert_eq!(z, array![[321 + 7], [654 + 8]]);
    }

    #[test]
    fn sizes_are_limited() {
        assert!(Dense::new(Shape::Vector(0), 1).is_err());
        assert!(Dense::new(Shape::Vector(1), 0).is_err());
        assert!(Dense::new(Shape::Vector(usize::MAX), 1).is_err());
        assert!(Dense::new(Shape::image(1 << 40, 1 << 40, 1 << 40), 1).is_err());
        let refused =
            |inputs, outputs| Dense::new(Shape::Vector(inputs), outputs).unwrap_err().to_string();
        assert_eq!(
            refused(1 << 20, 1 << 20),
            "multiply-accumulates: 1099511627776, the limit is 4294967296"
        );
        assert_eq!(refused(1 << 12, 1 << 12), "parameters: 16781312, the limit is 16777216");
    }
}
