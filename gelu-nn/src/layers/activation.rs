//! The exact activations: what no cryptosystem computes, and the client therefore does.
//!
//! | name | f(z) | f'(z), by z and a = f(z) |
//! | --- | --- | --- |
//! | sigmoid | 1 / (1 + e^−z) | a · (1 − a) |
//! | tanh | tanh z | 1 − a² |
//! | relu | max(z, 0) | 1 where z > 0, else 0 |
//! | leaky_relu (slope s) | z where z > 0, else s·z | 1 where z > 0, else s |
//! | clip (lo, hi); ReLU6 is clip (0, 6) | min(max(z, lo), hi) | 1 where lo < z < hi, else 0 |
//! | hard_swish | z · min(max(z/6 + 1/2, 0), 1) | z/3 + 1/2 where −3 < z < 3, else 0 or 1 |
//! | gelu | z · Φ(z), Φ the normal distribution, by erf | Φ(z) + z·φ(z) |
//! | gelu_tanh | z/2 · (1 + tanh u), u = √(2/π)·(z + 0.044715·z³) | (1 + tanh u)/2 + z/2 · (1 − tanh² u) · u' |
//! | identity | z | 1 |
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
//! In JSON a function is its name, `"relu"`, or its name with its numbers, `{"leaky_relu": {"slope": 0.01}}` and
//! `{"clip": {"lo": 0, "hi": 6}}`. Numbers have 32 bits, as in ONNX: their text is read as the same number by every party.
//!
//! `exp`, `tanh` and `erfc` come from `libm`, so that two machines agree on every bit of a training run. A
//! new function is one more variant here and one more row in the table.
//!
//! Sources: Hendrycks, Gimpel, *Gaussian Error Linear Units*, 2016; Howard et al., *Searching for MobileNetV3*, 2019
//! (hard_swish); the operators of ONNX.

use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use gelu_core::LocalFunction;
use gelu_core::circuit::Local;
use ndarray::{Array2, Zip};
use serde::{Deserialize, Serialize};

use super::LayerError;

/// An activation, element by element: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// 1 / (1 + e^−z): the paper's choice for its dense networks.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(z, 0): the paper's choice for its convolutional networks.
    Relu,
    /// z where z > 0, otherwise a share of it.
    LeakyRelu {
        /// The share, a finite number.
        slope: f32,
    },
    /// z, cut off at both ends: ReLU6 is that of 0 and 6.
    Clip {
        /// The least value.
        lo: f32,
        /// The largest value, above the least.
        hi: f32,
    },
    /// The swish z · sigmoid(z) in straight pieces.
    HardSwish,
    /// z · Φ(z), exact.
    Gelu,
    /// The approximation of [`Gelu`](Self::Gelu) by a hyperbolic tangent, with which some networks were trained.
    GeluTanh,
    /// z as it is: no step of a network.
    Identity,
    /// z²: what CryptoNets computes instead.
    Square,
    /// The sigmoid's Taylor polynomial of third order.
    Taylor3,
    /// The sigmoid's Taylor polynomial of fifth order: what BGN-Net computes instead.
    Taylor5,
}

impl Activation {
    /// Each kind once.
    pub const ALL: [Self; 12] = [
        Self::Sigmoid,
        Self::Tanh,
        Self::Relu,
        Self::LeakyRelu { slope: 0.125 },
        Self::Clip { lo: -0.5, hi: 1.0 },
        Self::HardSwish,
        Self::Gelu,
        Self::GeluTanh,
        Self::Identity,
        Self::Square,
        Self::Taylor3,
        Self::Taylor5,
    ];

    /// Refuses numbers that make no function.
    ///
    /// # Errors
    /// [`LayerError::Number`] for a slope or a bound that is not finite, and bounds out of order.
    pub fn check(self) -> Result<Self, LayerError> {
        let wrong = |what, got: String, expected| Err(LayerError::Number { what, got, expected });
        match self {
            Self::LeakyRelu { slope } if !slope.is_finite() => {
                wrong("the slope", slope.to_string(), "a finite number")
            }
            Self::Clip { lo, hi } if !(lo.is_finite() && hi.is_finite() && lo < hi) => {
                let expected = "finite numbers, the lower one first";
                wrong("the bounds lo and hi", format!("{lo} and {hi}"), expected)
            }
            _ => Ok(self),
        }
    }

    /// f(z).
    pub fn value(self, z: f64) -> f64 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + libm::exp(-z)),
            Self::Tanh => libm::tanh(z),
            Self::Relu => z.max(0.0),
            Self::LeakyRelu { slope } => {
                if z > 0.0 {
                    z
                } else {
                    f64::from(slope) * z
                }
            }
            Self::Clip { lo, hi } => z.max(lo.into()).min(hi.into()),
            Self::HardSwish => z * (z / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Gelu => z * normal(z),
            Self::GeluTanh => z * (0.5 + 0.5 * bent(z).0),
            Self::Identity => z,
            Self::Square | Self::Taylor3 | Self::Taylor5 => horner(self.polynomial(), z),
        }
    }

    /// The coefficients of a polynomial activation, the constant first; none of the others.
    pub fn polynomial(self) -> &'static [f64] {
        match self {
            Self::Sigmoid
            | Self::Tanh
            | Self::Relu
            | Self::LeakyRelu { .. }
            | Self::Clip { .. }
            | Self::HardSwish
            | Self::Gelu
            | Self::GeluTanh => &[],
            Self::Identity => &[0.0, 1.0],
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
            Self::LeakyRelu { slope } => {
                if z > 0.0 {
                    1.0
                } else {
                    slope.into()
                }
            }
            Self::Clip { lo, hi } => f64::from(u8::from(f64::from(lo) < z && z < f64::from(hi))),
            Self::HardSwish if z <= -3.0 => 0.0,
            Self::HardSwish if z >= 3.0 => 1.0,
            Self::HardSwish => z / 3.0 + 0.5,
            Self::Gelu => {
                let density = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * libm::exp(-0.5 * z * z);
                normal(z) + z.clamp(-FAR, FAR) * density
            }
            Self::GeluTanh => {
                let ((t, slope), z) = (bent(z), z.clamp(-FAR, FAR));
                0.5 + 0.5 * t + 0.5 * z * (1.0 - t * t) * slope
            }
            Self::Identity => 1.0,
            Self::Square => 2.0 * z,
            Self::Taylor3 => 0.25 - z * z / 16.0,
            Self::Taylor5 => 0.25 - z * z * (1.0 / 16.0 - z * z / 96.0),
        }
    }
}

impl Activation {
    /// Whether it stops about half of what comes; the initialisation depends on it.
    pub(crate) fn is_rectifier(self) -> bool {
        match self {
            Self::Relu | Self::LeakyRelu { .. } | Self::HardSwish | Self::Gelu | Self::GeluTanh => {
                true
            }
            Self::Clip { lo, .. } => lo == 0.0,
            _ => false,
        }
    }
}

/// Beyond this, either side of 0, the normal distribution and the hyperbolic tangent are flat in 64 bits.
const FAR: f64 = 64.0;

/// Φ(z), precise where it is small.
fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// tanh u and u' of the approximation of GELU.
fn bent(z: f64) -> (f64, f64) {
    let z = z.clamp(-FAR, FAR);
    let (scale, cube) = (FRAC_1_SQRT_2 * FRAC_2_SQRT_PI, 0.044_715);
    (libm::tanh(scale * (z + cube * z * z * z)), scale * (1.0 + 3.0 * cube * z * z))
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
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Clip { .. } => "clip",
            Self::HardSwish => "hard_swish",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Identity => "identity",
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
            // Some fall somewhere, so they have no table of steps; others have no circuit yet.
            Self::LeakyRelu { .. }
            | Self::Clip { .. }
            | Self::HardSwish
            | Self::Gelu
            | Self::GeluTanh
            | Self::Identity
            | Self::Taylor3
            | Self::Taylor5 => None,
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
        assert_eq!(Activation::LeakyRelu { slope: 0.25 }.value(-2.0), -0.5);
        let relu6 = Activation::Clip { lo: 0.0, hi: 6.0 };
        assert_eq!([-1.0, 2.0, 7.0].map(|z| relu6.value(z)), [0.0, 2.0, 6.0]);
        assert_eq!([-4.0, -1.5, 4.0].map(|z| Activation::HardSwish.value(z)), [0.0, -0.375, 4.0]);
        assert_eq!(Activation::Square.value(-3.0), 9.0);
        assert_eq!(Activation::Taylor3.value(2.0), 0.5 + 0.5 - 8.0 / 48.0);
    }

    /// By numbers printed elsewhere (`scipy.special.ndtr`, PyTorch's documentation of GELU).
    #[test]
    fn gelu_is_z_times_the_normal_distribution() {
        let near = |f: Activation, z: f64, expected: f64| {
            assert!((f.value(z) - expected).abs() < 1e-9, "{f:?} {z}: {}", f.value(z));
        };
        near(Activation::Gelu, 1.0, 0.841_344_746_068_543);
        near(Activation::Gelu, -2.0, -2.0 * 0.022_750_131_948_179);
        near(Activation::GeluTanh, 1.0, 0.841_191_990_608_3);
        assert!(
            (Activation::Gelu.value(-20.0) / (-20.0 * 2.753_624_118_606e-89) - 1.0).abs() < 1e-9
        );
    }

    #[test]
    fn the_far_ends_are_finite() {
        for f in Activation::ALL.into_iter().filter(|f| f.polynomial().is_empty()) {
            for z in [f64::MAX, f64::MIN, 1e6, -1e6] {
                let (a, slope) = (f.value(z), f.derivative(z, f.value(z)));
                assert!(a.is_finite() && slope.is_finite(), "{f:?} {z}: {a} {slope}");
            }
        }
    }

    #[test]
    fn names_and_numbers_in_json() {
        let read = |text: &str| serde_json::from_str::<Activation>(text);
        for f in Activation::ALL {
            assert_eq!(read(&serde_json::to_string(&f).unwrap()).unwrap(), f);
        }
        let leaky = read(r#"{"leaky_relu":{"slope":0.01}}"#).unwrap();
        assert_eq!(leaky, Activation::LeakyRelu { slope: 0.01 });
        for wrong in
            [r#""leaky_relu""#, r#"{"clip":{"lo":0}}"#, r#"{"clip":{"lo":0,"hi":1,"x":2}}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let empty = read(r#"{"clip":{"lo":1,"hi":1}}"#).unwrap().check().unwrap_err().to_string();
        assert_eq!(
            empty,
            "the bounds lo and hi: got 1 and 1, must be finite numbers, the lower one first"
        );
        assert!(Activation::LeakyRelu { slope: f32::INFINITY }.check().is_err());
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
            // Where a function has a corner it has no derivative, and a difference across it would see none.
            let corners = [0.0, -0.5, 1.0, -3.0, 3.0];
            prop_assume!(z.iter().all(|z| corners.iter().all(|c| (z - c).abs() > 1e-4)));
            let column = |v: [f64; 6]| Array2::from_shape_vec((3, 2), v.to_vec()).unwrap();
            for f in Activation::ALL {
                laws::gradient_law(&f, &column(z), &column(e), &column(grad), 1e-6);
            }
        }
    }
}
