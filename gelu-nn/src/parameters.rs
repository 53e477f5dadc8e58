//! Weights as real numbers, and the way between them and the protocol's integers.

use gelu_core::error::{ApiMisuse, RangeError};
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
    /// What the linear layer of block `block` becomes when each of its channels, or each neuron of a dense layer, is
    /// then scaled and shifted:
    ///
    /// ```text
    /// scale[c]·(w[c]·x + b[c]) + shift[c]  =  (scale[c]·w[c])·x + (scale[c]·b[c] + shift[c])
    /// ```
    /// A batch normalisation that has been trained is scale = γ / √(variance + ε), shift = β − mean·scale: folded into
    /// the layer before it, it costs nothing, and the protocol need not know it.
    ///
    /// # Errors
    /// [`Error::Core`] when there is no such block, another number of channels, or a number that is not finite; the
    /// parameters stay as they were.
    pub fn fold(&mut self, block: usize, scale: &[f64], shift: &[f64]) -> Result<()> {
        let blocks = self.layers.len();
        let wrong = |why| Err(gelu_core::Error::from(ApiMisuse::configuration("fold", why)).into());
        let Some(layer) = self.layers.get_mut(block) else {
            return wrong(format!("block {block} of {blocks} is asked for"));
        };
        let channels = layer.biases.len();
        if [scale.len(), shift.len()] != [channels; 2] {
            let (expected, got) = (vec![channels; 2], vec![scale.len(), shift.len()]);
            return Err(gelu_core::Error::from(ApiMisuse::Shape { expected, got }).into());
        }
        if scale.iter().chain(shift).any(|v| !v.is_finite()) {
            return wrong("scales and shifts must be finite".into());
        }
        let width = (layer.weights.len() / channels.max(1)).max(1);
        let rows = layer.weights.chunks_mut(width);
        for (((row, bias), scale), shift) in rows.zip(&mut layer.biases).zip(scale).zip(shift) {
            row.iter_mut().for_each(|w| *w *= scale);
            *bias = *bias * scale + shift;
        }
        Ok(())
    }

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
                let shape = ApiMisuse::Shape { expected, got };
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
    use crate::layers::Shape;
    use crate::sequential::LayerSpec;
    use crate::zoo;
    use ndarray::Array2;
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

    /// Of a grouped convolution, of one that is fused with a pooling, and of a dense layer.
    #[test]
    fn folded_numbers_scale_and_shift_what_the_layer_gives() {
        let conv = |filters, groups| LayerSpec::Conv2d {
            filters,
            kernel: 3.into(),
            stride: 1.into(),
            padding: 1.into(),
            groups,
        };
        let (pool, dense) =
            (LayerSpec::MeanPool2d { window: 2.into() }, LayerSpec::Dense { outputs: 3 });
        let layers = vec![conv(4, 2), conv(2, 1), pool, dense];
        let network = Sequential::new(Shape::image(2, 4, 4), layers).unwrap();
        let start = FloatParameters::initialise(&network, &mut ChaCha20Rng::seed_from_u64(1));
        for (block, channels) in [(0, 4usize), (1, 2), (2, 3)] {
            let scale: Vec<_> = (0..channels).map(|c| 0.5 - c as f64).collect();
            let shift: Vec<_> = (0..channels).map(|c| c as f64 / 8.0 - 1.0).collect();
            let mut folded = start.clone();
            folded.fold(block, &scale, &shift).unwrap();
            let map = network.blocks()[block].affine().linear_map();
            let x = Array2::from_shape_fn((map.inputs(), 2), |(i, s)| ((i + s) % 7) as f64 - 3.0);
            let z = |p: &FloatParameters| {
                let (layer, divisor) = (&p.layers[block], f64::from(map.divisor()));
                map.forward(&layer.weights, &layer.biases, x.view(), divisor) / divisor
            };
            let (plain, scaled) = (z(&start), z(&folded));
            for ((o, s), z) in plain.indexed_iter() {
                let channel = map.bias_of(o);
                let expected = scale[channel] * z + shift[channel];
                assert!((scaled[[o, s]] - expected).abs() < 1e-12, "{block} {o}");
            }
            assert!(folded.fold(block, &scale, &[0.0]).is_err());
            let mut broken = scale.clone();
            broken[0] = f64::NAN;
            assert!(folded.fold(block, &broken, &shift).is_err());
        }
        assert!(start.clone().fold(3, &[], &[]).is_err());
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
