//! Weights as real numbers, and the way between them and the protocol's integers.

use gelu_core::error::RangeError;
use gelu_core::fixed::Saturations;
use gelu_core::network::Layer;
use gelu_core::{Format, Parameters};
use rand::RngExt;
use rand_core::CryptoRng;

use crate::error::{Error, Result};
use crate::sequential::{Block, Sequential};

/// The weights and biases of one linear layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatLayer {
    /// In the order of [`Affine::weight_shape`](crate::layers::Affine::weight_shape).
    pub weights: Vec<f64>,
    /// One for each output or filter.
    pub biases: Vec<f64>,
}

impl FloatLayer {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.weights.iter().chain(&self.biases).copied()
    }
}

/// The weights and biases of a network, block by block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatParameters {
    /// One for each of [`Sequential::blocks`].
    pub layers: Vec<FloatLayer>,
}

impl FloatParameters {
    /// Random weights, biases 0.
    ///
    /// Uniform in ±√(6 / fan-in) before a ReLU (He et al. 2015), which halves what passes, and in
    /// ±√(6 / (fan-in + fan-out)) elsewhere (Glorot, Bengio 2010).
    pub fn initialise(architecture: &Sequential, rng: &mut dyn CryptoRng) -> Self {
        let mut layer = |block: &Block| {
            let affine = block.affine();
            let fans = match block.is_rectified() {
                true => affine.fan_in(),
                false => affine.fan_in() + affine.fan_out(),
            };
            let bound = (6.0 / fans as f64).sqrt();
            let weights = (0..affine.weights()).map(|_| rng.random_range(-bound..bound)).collect();
            FloatLayer { weights, biases: vec![0.0; affine.biases()] }
        };
        Self { layers: architecture.blocks().iter().map(&mut layer).collect() }
    }

    /// Checks the shapes.
    ///
    /// # Errors
    /// [`Error::Core`] with both shapes.
    pub fn check_shapes(&self, architecture: &Sequential) -> Result<()> {
        let blocks = architecture.blocks().iter();
        let expected: Vec<_> =
            blocks.flat_map(|b| [b.affine().weights(), b.affine().biases()]).collect();
        let got: Vec<_> =
            self.layers.iter().flat_map(|l| [l.weights.len(), l.biases.len()]).collect();
        match expected == got {
            true => Ok(()),
            false => {
                let shape = gelu_core::error::ApiMisuse::Shape { expected, got };
                Err(gelu_core::Error::from(shape).into())
            }
        }
    }

    /// The largest magnitude of a weight or bias, for [`Precision::fitted`](gelu_core::Precision::fitted).
    pub fn largest(&self) -> f64 {
        let values = self.layers.iter().flat_map(FloatLayer::values);
        values.fold(0.0, |largest, v| largest.max(v.abs()))
    }

    /// The nearest integers of `format`.
    ///
    /// # Errors
    /// [`RangeError::Weight`] naming the layer, when a value is beyond the bound (or not a number);
    /// as [`check_shapes`](Self::check_shapes).
    pub fn quantise(&self, architecture: &Sequential, format: Format) -> Result<Parameters> {
        self.check_shapes(architecture)?;
        for (block, layer) in architecture.blocks().iter().zip(&self.layers) {
            let saturations = Saturations::default();
            let is_beyond = |&v: &f64| {
                format.encode(v, &saturations);
                saturations.total() > 0
            };
            if let Some(got) = layer.values().find(is_beyond) {
                let bound = format.decode(format.max());
                let error = RangeError::Weight { layer: block.name().into(), got, bound };
                return Err(Error::Core(error.into()));
            }
        }
        Ok(self.saturate(format).0)
    }

    /// The nearest integers of `format`, cut off at its bound, and how many were cut off.
    pub fn saturate(&self, format: Format) -> (Parameters, u64) {
        let saturations = Saturations::default();
        let encode = |values: &[f64]| {
            values.iter().map(|&v| format.encode(v, &saturations)).collect::<Vec<_>>()
        };
        let layer = |layer: &FloatLayer| Layer {
            weights: encode(&layer.weights),
            biases: encode(&layer.biases),
        };
        let parameters = Parameters { layers: self.layers.iter().map(layer).collect() };
        (parameters, saturations.total())
    }

    /// The real numbers that integers of `format` stand for.
    pub fn dequantise(parameters: &Parameters, format: Format) -> Self {
        let decode = |values: &[i128]| values.iter().map(|&v| format.decode(v)).collect::<Vec<_>>();
        let layer = |layer: &Layer| FloatLayer {
            weights: decode(&layer.weights),
            biases: decode(&layer.biases),
        };
        Self { layers: parameters.layers.iter().map(layer).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    const FORMAT: Format = Format::new(2, 10);

    fn iris() -> FloatParameters {
        FloatParameters::initialise(&zoo::iris(), &mut ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn initialisation_is_bounded_seeded_and_fits_the_network() {
        let parameters = iris();
        parameters.check_shapes(&zoo::iris()).unwrap();
        assert_eq!(parameters, iris());
        let bound = (6.0f64 / 9.0).sqrt();
        let weights = &parameters.layers[0].weights;
        assert!(weights.iter().all(|w| w.abs() < bound));
        assert!(weights.iter().any(|w| w.abs() > bound / 2.0));
        assert!(parameters.layers[0].biases.iter().all(|&b| b == 0.0));
        assert!(parameters.check_shapes(&zoo::diabetes()).is_err());
    }

    #[test]
    fn quantisation_is_within_half_a_unit_and_exact_the_second_time() {
        let parameters = iris();
        let integers = parameters.quantise(&zoo::iris(), FORMAT).unwrap();
        let back = FloatParameters::dequantise(&integers, FORMAT);
        for (a, b) in parameters.layers.iter().zip(&back.layers) {
            assert!(a.values().zip(b.values()).all(|(a, b)| (a - b).abs() <= 0.5 / 1024.0));
        }
        assert_eq!(back.quantise(&zoo::iris(), FORMAT).unwrap(), integers);
    }

    #[test]
    fn the_largest_value_may_be_a_bias_and_decides_the_format() {
        let mut parameters = iris();
        let (fan_in, fan_out) = (4.0, 5.0);
        assert!(parameters.largest() < 2.0 * f64::sqrt(6.0 / (fan_in + fan_out)));
        parameters.layers[1].biases[2] = -5.25;
        assert_eq!(parameters.largest(), 5.25);
        let fitted = gelu_core::Precision::INFERENCE.fitted(parameters.largest()).weights;
        assert!(parameters.quantise(&zoo::iris(), fitted).is_ok());
        let narrower = Format::new(fitted.integer - 1, fitted.fraction);
        assert!(parameters.quantise(&zoo::iris(), narrower).is_err());
    }

    #[test]
    fn values_beyond_the_bound_are_refused_or_counted() {
        for wrong in [4.0, -5.0, f64::NAN, f64::INFINITY] {
            let mut parameters = iris();
            parameters.layers[1].biases[0] = wrong;
            let error = parameters.quantise(&zoo::iris(), FORMAT).unwrap_err().to_string();
            assert!(error.contains("dense2"), "{error}");
            assert_eq!(parameters.saturate(FORMAT).1, 1);
        }
    }
}
