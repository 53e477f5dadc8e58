//! A network in integers.

use gelu_core::Result;
use gelu_core::error::ApiMisuse;

use super::messages::EncryptedModel;
use super::plan::{Plan, Settings, Shape, round};
use crate::backend::with_generators;
use crate::group::G2;
use crate::keys::PublicKey;
use crate::scheme::Ciphertext;
use rand_core::CryptoRng;

/// A dense layer in real numbers, trained with the Taylor polynomial as activation.
#[derive(Debug, Clone, PartialEq)]
pub struct RealLayer {
    /// Its name, for messages.
    pub name: String,
    /// `[outputs, inputs]`, row by row.
    pub weights: Vec<f64>,
    /// `[outputs]`.
    pub biases: Vec<f64>,
    /// A bound of |W·x + b|, from training data and a margin; none means that of the weights.
    pub sum_bound: Option<f64>,
}

/// A network in integers, with its plan: dense layers, the Taylor polynomial between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub(super) plan: Plan,
    /// For each layer and output its weights, then its bias.
    pub(super) rows: Vec<Vec<Vec<i64>>>,
}

impl Model {
    /// Rounds the weights, and plans the ranges for inputs within ±`input_bound`.
    ///
    /// # Errors
    /// [`RangeError::Slot`](gelu_core::error::RangeError::Slot) naming the layer and the step that do
    /// not fit; [`ApiMisuse::Configuration`] when shapes do not fit each other, or a number is not
    /// finite or absurd.
    pub fn new(layers: &[RealLayer], input_bound: f64, settings: Settings) -> Result<Self> {
        settings.validate()?;
        let refuse = |what: &str, why: &str| ApiMisuse::configuration(what, why);
        if layers.is_empty() {
            return Err(ApiMisuse::Empty("a network").into());
        }
        let integer = |name: &str, x: f64| {
            round(x, settings.weight_fraction, MAX_WEIGHT)
                .ok_or_else(|| refuse(name, "a huge number"))
        };
        let (mut rows, mut width) = (Vec::new(), None);
        for layer in layers {
            let outputs = layer.biases.len();
            let inputs = layer.weights.len().checked_div(outputs).unwrap_or(0);
            let fits = inputs > 0
                && inputs * outputs == layer.weights.len()
                && width.is_none_or(|width| width == inputs);
            if !fits {
                return Err(refuse(&layer.name, "the shapes do not fit").into());
            }
            width = Some(outputs);
            let row = |(weights, bias): (&[f64], &f64)| {
                weights.iter().chain([bias]).map(|&x| integer(&layer.name, x)).collect()
            };
            let layer = layer.weights.chunks_exact(inputs).zip(&layer.biases).map(row);
            rows.push(layer.collect::<Result<Vec<Vec<i64>>, _>>()?);
        }
        let sums = settings.input_fraction + settings.weight_fraction;
        let shapes: Vec<_> = layers
            .iter()
            .zip(&rows)
            .map(|(layer, rows)| {
                let gain =
                    |row: &Vec<i64>| row[..row.len() - 1].iter().map(|w| w.abs()).sum::<i64>();
                let bias = |row: &Vec<i64>| row[row.len() - 1].abs();
                let declared = match layer.sum_bound {
                    None => None,
                    Some(bound) if bound > 0.0 => round(bound, sums, MAX_SUM),
                    Some(_) => return Err(refuse(&layer.name, "a bound must be positive")),
                };
                Ok(Shape {
                    name: &layer.name,
                    inputs: rows[0].len() - 1,
                    outputs: rows.len(),
                    gain: rows.iter().map(gain).max().unwrap_or(0).into(),
                    bias: rows.iter().map(bias).max().unwrap_or(0).into(),
                    declared: declared.map(i128::from),
                })
            })
            .collect::<Result<_, _>>()?;
        let input_bound = round(input_bound, settings.input_fraction, MAX_WEIGHT)
            .filter(|&bound| bound > 0)
            .ok_or_else(|| refuse("the bound of inputs", "must be positive and not huge"))?;
        Ok(Self { plan: Plan::new(settings, input_bound, &shapes)?, rows })
    }

    /// Shapes, scales and bounds.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The weights for the cloud, which cannot read them.
    pub fn encrypt(&self, public: &PublicKey, rng: &mut dyn CryptoRng) -> EncryptedModel {
        let all: Vec<i64> = self.rows.iter().flatten().flatten().copied().collect();
        let encrypted: Vec<Ciphertext<G2>> =
            with_generators(&all, rng, |&w, rng| public.encrypt(w, rng));
        EncryptedModel::new(&encrypted)
    }
}

/// No weight, bias or input is larger, in its integer form.
const MAX_WEIGHT: i128 = 1 << 40;

/// Declared bounds above this are none.
const MAX_SUM: i128 = 1 << 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(inputs: usize, outputs: usize) -> RealLayer {
        let weights = vec![0.5; inputs * outputs];
        RealLayer { name: "dense1".into(), weights, biases: vec![-0.25; outputs], sum_bound: None }
    }

    #[test]
    fn weights_are_rounded_in_their_order() {
        let mut real = layer(2, 2);
        real.weights = vec![1.0, -1.0, 0.26, 0.008];
        let model = Model::new(&[real], 1.0, Settings::default()).unwrap();
        assert_eq!(model.rows, [vec![vec![64, -64, -16], vec![17, 1, -16]]]);
        assert_eq!((model.plan().inputs(), model.plan().outputs()), (2, 2));
        // |z| ≤ 2·64·64 + 16·64
        assert_eq!(model.plan().score_bits, 15);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let new = |layers: &[RealLayer], bound| Model::new(layers, bound, Settings::default());
        assert!(new(&[layer(3, 2), layer(2, 1)], 1.0).is_ok());
        assert!(new(&[], 1.0).is_err());
        assert!(new(&[layer(3, 2), layer(3, 1)], 1.0).is_err(), "3 after 2");
        assert!(new(&[layer(3, 2)], 0.0).is_err());
        assert!(new(&[layer(3, 2)], f64::NAN).is_err());
        let broken = |change: fn(&mut RealLayer)| {
            let mut broken = layer(3, 2);
            change(&mut broken);
            new(&[broken, layer(2, 1)], 1.0).unwrap_err()
        };
        broken(|l| l.weights.truncate(5));
        broken(|l| l.biases.clear());
        broken(|l| l.weights[1] = f64::NAN);
        broken(|l| l.weights[1] = 1e30);
        broken(|l| l.sum_bound = Some(0.0));
        broken(|l| l.sum_bound = Some(f64::NAN));
    }
}
