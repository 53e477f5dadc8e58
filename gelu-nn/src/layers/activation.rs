//! The exact activations: what no cryptosystem computes, and the client therefore does.
//!
//! | name | f(z) | f'(z), by z and a = f(z) |
//! | --- | --- | --- |
//! | sigmoid | 1 / (1 + e^−z) | a · (1 − a) |
//! | tanh | tanh z | 1 − a² |
//! | relu | max(z, 0) | 1 where z > 0, else 0 |
//!
//! Shapes: `[features, batch]` in and out. Cost: nothing under encryption.
//!
//! `exp` and `tanh` come from `libm`, so that two machines agree on every bit of a training run. A
//! new function is one more variant here and one more row in the table.

use gelu_core::LocalFunction;
use ndarray::{Array2, Zip};
use serde::{Deserialize, Serialize};

/// An activation, element by element: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// 1 / (1 + e^−z): the paper's choice for its dense networks.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(z, 0): the paper's choice for its convolutional networks.
    Relu,
}

impl Activation {
    /// f(z).
    pub fn value(self, z: f64) -> f64 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-z)),
            Self::Tanh => libm::tanh(z),
            Self::Relu => z.max(0.0),
        }
    }

    /// f'(z), given z and a = f(z).
    pub fn derivative(self, z: f64, a: f64) -> f64 {
        match self {
            Self::Sigmoid => a * (1.0 - a),
            Self::Tanh => 1.0 - a * a,
            Self::Relu => f64::from(u8::from(z > 0.0)),
        }
    }
}

impl LocalFunction for Activation {
    fn name(&self) -> &str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Relu => "relu",
        }
    }

    fn outputs(&self, inputs: usize) -> gelu_core::Result<usize> {
        Ok(inputs)
    }

    fn forward(&self, z: &Array2<f64>) -> Array2<f64> {
        z.mapv(|z| self.value(z))
    }

    fn backward(&self, z: &Array2<f64>, a: &Array2<f64>, grad: &Array2<f64>) -> Array2<f64> {
        Zip::from(z).and(a).and(grad).map_collect(|&z, &a, &grad| grad * self.derivative(z, a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::laws;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(Activation::Sigmoid.value(0.0), 0.5);
        assert_eq!(Activation::Tanh.value(0.0), 0.0);
        assert_eq!(Activation::Relu.value(-1.0), 0.0);
        assert_eq!(Activation::Relu.value(2.5), 2.5);
    }

    #[test]
    fn the_far_ends_are_finite() {
        for z in [f64::MAX, f64::MIN, 1e6, -1e6] {
            assert!(Activation::Sigmoid.value(z).is_finite());
            assert!(Activation::Tanh.value(z).is_finite());
        }
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_gradient(
            z in prop::array::uniform6(-4.0..4.0f64),
            e in prop::array::uniform6(-1.0..1.0f64),
            grad in prop::array::uniform6(-1.0..1.0f64),
        ) {
            // relu has no derivative at 0, and a difference across it would see none.
            prop_assume!(z.iter().all(|z| z.abs() > 1e-4));
            let column = |v: [f64; 6]| Array2::from_shape_vec((3, 2), v.to_vec()).unwrap();
            for f in [Activation::Sigmoid, Activation::Tanh, Activation::Relu] {
                laws::gradient_law(&f, &column(z), &column(e), &column(grad), 1e-6);
            }
        }
    }
}
