//! The exact activations: what no cryptosystem computes, and the client therefore does.
//!
//! | name | f(z) | f'(z), by z and a = f(z) |
//! | --- | --- | --- |
//! | sigmoid | 1 / (1 + e^−z) | a · (1 − a) |
//! | tanh | tanh z | 1 − a² |
//! | relu | max(z, 0) | 1 where z > 0, else 0 |
//!
//! And the polynomials that other systems put in their place, because they must stay under
//! encryption. Here they serve to compare (the paper's section 5): a network has to be trained with
//! the activation that it will be evaluated with.
//!
//! | name | f(z) | used by |
//! | --- | --- | --- |
//! | square | z² | CryptoNets (ICML 2016) |
//! | taylor3 | 1/2 + z/4 − z³/48, the sigmoid to third order | |
//! | taylor5 | 1/2 + z/4 − z³/48 + z⁵/480, to fifth order | BGN-Net (Yuan and Yu, 2014) |
//!
//! Shapes: `[features, batch]` in and out. Cost: nothing under encryption.
//!
//! `exp` and `tanh` come from `libm`, so that two machines agree on every bit of a training run. A
//! new function is one more variant here and one more row in the table.

use gelu_core::LocalFunction;
use gelu_core::circuit::Local;
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
    /// z²: what CryptoNets computes instead.
    Square,
    /// The sigmoid's Taylor polynomial of third order.
    Taylor3,
    /// The sigmoid's Taylor polynomial of fifth order: what BGN-Net computes instead.
    Taylor5,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Sigmoid, Self::Tanh, Self::Relu, Self::Square, Self::Taylor3, Self::Taylor5];

    /// f(z).
    pub fn value(self, z: f64) -> f64 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-z)),
            Self::Tanh => libm::tanh(z),
            Self::Relu => z.max(0.0),
            Self::Square | Self::Taylor3 | Self::Taylor5 => horner(self.polynomial(), z),
        }
    }

    /// The coefficients of a polynomial activation, the constant first; none of the others.
    pub fn polynomial(self) -> &'static [f64] {
        match self {
            Self::Sigmoid | Self::Tanh | Self::Relu => &[],
            Self::Square => &[0.0, 0.0, 1.0],
            Self::Taylor3 => &TAYLOR[..4],
            Self::Taylor5 => &TAYLOR,
        }
    }

    /// f'(z), given z and a = f(z).
    pub fn derivative(self, z: f64, a: f64) -> f64 {
        match self {
            Self::Sigmoid => a * (1.0 - a),
            Self::Tanh => 1.0 - a * a,
            Self::Relu => f64::from(u8::from(z > 0.0)),
            Self::Square => 2.0 * z,
            Self::Taylor3 => 0.25 - z * z / 16.0,
            Self::Taylor5 => 0.25 - z * z * (1.0 / 16.0 - z * z / 96.0),
        }
    }
}

/// The sigmoid around 0.
const TAYLOR: [f64; 6] = [0.5, 0.25, 0.0, -1.0 / 48.0, 0.0, 1.0 / 480.0];

fn horner(coefficients: &[f64], z: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * z + c)
}

impl LocalFunction for Activation {
    fn name(&self) -> &str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::Square => "square",
            Self::Taylor3 => "taylor3",
            Self::Taylor5 => "taylor5",
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

    fn circuit(&self) -> Option<Local> {
        match self {
            Self::Sigmoid => Some(Local::Steps(|z| Self::Sigmoid.value(z))),
            Self::Tanh => Some(Local::Steps(|z| Self::Tanh.value(z))),
            Self::Relu => Some(Local::Relu),
            Self::Square => Some(Local::Square),
            Self::Taylor3 | Self::Taylor5 => None,
        }
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
        assert_eq!(Activation::Square.value(-3.0), 9.0);
        assert_eq!(Activation::Taylor3.value(2.0), 0.5 + 0.5 - 8.0 / 48.0);
    }

    #[test]
    fn the_far_ends_are_finite() {
        for z in [f64::MAX, f64::MIN, 1e6, -1e6] {
            assert!(Activation::Sigmoid.value(z).is_finite());
            assert!(Activation::Tanh.value(z).is_finite());
        }
    }

    proptest! {
        /// |sigmoid − taylor5| is less than the next term of the alternating series, 17·|z|⁷/80640.
        #[test]
        fn taylor_polynomials_are_the_sigmoid_near_zero(z in -1.0..1.0f64) {
            let sigmoid = Activation::Sigmoid.value(z);
            let (z5, z7) = (libm::pow(z.abs(), 5.0), libm::pow(z.abs(), 7.0));
            let error = |f: Activation| (f.value(z) - sigmoid).abs();
            prop_assert!(error(Activation::Taylor3) <= z5 / 480.0 + 1e-15);
            prop_assert!(error(Activation::Taylor5) <= 17.0 * z7 / 80_640.0 + 1e-15);
        }

        #[test]
        fn the_gradient_is_the_gradient(
            z in prop::array::uniform6(-4.0..4.0f64),
            e in prop::array::uniform6(-1.0..1.0f64),
            grad in prop::array::uniform6(-1.0..1.0f64),
        ) {
            // relu has no derivative at 0, and a difference across it would see none.
            prop_assume!(z.iter().all(|z| z.abs() > 1e-4));
            let column = |v: [f64; 6]| Array2::from_shape_vec((3, 2), v.to_vec()).unwrap();
            for f in Activation::ALL {
                laws::gradient_law(&f, &column(z), &column(e), &column(grad), 1e-6);
            }
        }
    }
}
