//! A function of one number, known by its values at many points.
//!
//! Exporters write one activation as several operations: GELU is a division, an error function, a sum and two
//! products, in more than one order. Instead of listing the orders, the importer applies whatever operations there
//! are to the points of a grid, and compares the result with the functions that the protocol has:
//!
//! ```text
//! f is g   when   |f(x) − g(x)| ≤ 1e-6 · max(1, |g(x)|)   at all points x
//! ```
//! The grid runs from −2^20 to 2^20: every 1/16 up to ±16, powers of two beyond, and down to 2^−16. It tells all
//! functions apart that the protocol has, GELU from its approximation by tanh included (they differ by 5e-4).
//! Single numbers are kept as `f64`; constants of a file have the 24 bits of an `f32`, hence the tolerance.

use std::rc::Rc;
use std::sync::LazyLock;

use gelu_nn::Activation;

/// Where functions are compared; the first three are 0, 1 and −1.
static GRID: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let dense = (1..=256).map(|i| f64::from(i) / 16.0);
    let wide = (5..=20).map(|e| libm::ldexp(1.0, e));
    let small = (5..=16).map(|e| libm::ldexp(1.0, -e));
    let positive = dense.chain(wide).chain(small);
    [0.0, 1.0, -1.0].into_iter().chain(positive.flat_map(|x| [x, -x])).collect()
});

/// The last point of the grid.
const END: f64 = (1 << 20) as f64;

const TOLERANCE: f64 = 1e-6;

/// A function by its values on the grid.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve(Rc<[f64]>);

impl Curve {
    /// f(x) = x.
    pub(crate) fn identity() -> Self {
        Self(GRID.as_slice().into())
    }

    /// g(f(x)).
    pub(crate) fn then(&self, g: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|&y| g(y)).collect())
    }

    /// h(f(x), g(x)).
    pub(crate) fn with(&self, other: &Self, h: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(other.0.iter()).map(|(&a, &b)| h(a, b)).collect())
    }

    pub(crate) fn is(&self, g: impl Fn(f64) -> f64) -> bool {
        let close = |(&x, &y): (&f64, &f64)| {
            let expected = g(x);
            (y - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
        };
        GRID.iter().zip(self.0.iter()).all(close)
    }

    /// The least and the largest value on the grid.
    pub(crate) fn range(&self) -> (f64, f64) {
        let values = || self.0.iter().copied();
        (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max))
    }

    /// (a, b) where f(x) = a·x + b.
    pub(crate) fn affine(&self) -> Option<(f64, f64)> {
        let (b, a) = (self.0[0], self.0[1] - self.0[0]);
        self.is(|x| a * x + b).then_some((a, b))
    }

    /// The activation that it is.
    pub(crate) fn activation(&self) -> Option<Activation> {
        candidates(self).into_iter().find(|g| self.is(|x| g.value(x)))
    }
}

/// What the function may be; the numbers of some are read off it.
fn candidates(curve: &Curve) -> Vec<Activation> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounds to the nearest; the comparison decides"
    )]
    let at = |wanted: f64| {
        let place = GRID.iter().position(|&x| x == wanted);
        place.map_or(f32::NAN, |place| curve.0[place] as f32)
    };
    let parametric = [
        Activation::LeakyRelu { slope: -at(-1.0) },
        Activation::Clip { lo: at(-END), hi: at(END) },
    ];
    let plain = [
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Square,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::HardSwish,
    ];
    plain.into_iter().chain(parametric.into_iter().filter(|f| f.check().is_ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_activation_is_recognised_as_itself() {
        for activation in Activation::ALL {
            let curve = Curve::identity().then(|x| activation.value(x));
            match activation {
                Activation::Identity => assert_eq!(curve.affine(), Some((1.0, 0.0))),
                // Polynomials of other systems, which no exporter writes.
                Activation::Taylor3 | Activation::Taylor5 => assert_eq!(curve.activation(), None),
                _ => assert_eq!((curve.activation(), curve.affine()), (Some(activation), None)),
            }
        }
    }

    #[test]
    fn lines_are_recognised_and_near_misses_are_not() {
        let x = Curve::identity();
        assert_eq!(x.then(|x| 0.5 * x - 3.0).affine(), Some((0.5, -3.0)));
        assert_eq!(x.with(&x, |a, b| a * b).activation(), Some(Activation::Square));
        let relu6 = x.then(|x| x.clamp(0.0, 6.0)).activation();
        assert_eq!(relu6, Some(Activation::Clip { lo: 0.0, hi: 6.0 }));
        for f in [|x: f64| x.max(0.001) + 1.0, |x| libm::tanh(1.0001 * x), |x| x * x * x] {
            let curve = x.then(f);
            assert_eq!((curve.activation(), curve.affine()), (None, None));
        }
    }
}
