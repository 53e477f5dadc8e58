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

use gelu_core::LinearMap;
use gelu_core::linear::Tap;

use super::{Cost, LayerError, Shape, check_size, check_taps, index};

/// A fully connected layer: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    input: Shape,
    outputs: usize,
}

impl Dense {
    /// A layer from every feature of `input` to `outputs` neurons.
    ///
    /// # Errors
    /// [`LayerError`] when a size is zero or beyond the limits of this crate.
    pub fn new(input: Shape, outputs: usize) -> Result<Self, LayerError> {
        let layer = Self { input: input.check()?, outputs };
        check_size("the number of outputs", outputs)?;
        check_taps(layer.cost().operations)?;
        Ok(layer)
    }

    /// Shape of one sample's input.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shape of one sample's output.
    pub fn output(&self) -> Shape {
        Shape::Vector(self.outputs)
    }

    /// `[outputs, inputs]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        vec![self.outputs, self.input.features()]
    }

    /// `inputs · outputs` operations, `inputs` up, `outputs` down.
    pub fn cost(&self) -> Cost {
        let (upload, download) = (self.input.features() as u64, self.outputs as u64);
        Cost { operations: upload * download, upload, download }
    }

    /// The layer as the protocol runs it.
    pub fn linear_map(&self) -> LinearMap {
        let inputs = self.input.features();
        let row = |o: usize| {
            let taps = (0..inputs).map(|i| Tap { source: index(i), weight: index(o * inputs + i) });
            taps.collect::<Vec<_>>()
        };
        let rows: Vec<_> = (0..self.outputs).map(row).collect();
        let bias_of = (0..self.outputs).map(index).collect();
        LinearMap::new(inputs, inputs * self.outputs, &rows, bias_of)
            .expect("a dense layer uses every weight and bias once")
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
        let too_many = Dense::new(Shape::Vector(1 << 20), 1 << 20).unwrap_err();
        assert!(matches!(too_many, LayerError::TooLarge { what: "taps", .. }));
    }
}
