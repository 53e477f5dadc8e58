//! The same network in the clear: what the encrypted protocol must give, bit for bit.

use gelu_core::Result;
use rand::{SeedableRng, rngs::ChaCha20Rng};
use rand_core::CryptoRng;

use super::model::Model;
use super::plan::{Mask, Step};

/// The masks of one query, in the order in which the protocol uses them.
///
/// It takes its seed from a generator with the first 32 bytes; [`Cloud::evaluate`](super::Cloud) does
/// the same before anything else, so equal generators give equal masks.
pub struct Masks(ChaCha20Rng);

impl Masks {
    /// Seeded from `rng`.
    pub fn new(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// The next value's mask.
    pub fn draw(&mut self, step: &Step) -> Mask {
        step.draw(&mut self.0)
    }
}

/// Masks are the cloud's secret.
impl core::fmt::Debug for Masks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Masks(..)")
    }
}

/// The scores of a query in integers, and whether every value stayed within its declared bound.
///
/// # Errors
/// As [`Plan::encode`](super::Plan::encode).
pub fn evaluate(model: &Model, query: &[f64], masks: &mut Masks) -> Result<(Vec<i64>, bool)> {
    let plan = &model.plan;
    let mut values: Vec<i64> = query.iter().map(|&x| plan.encode(x)).collect::<Result<_>>()?;
    let mut bounded = true;
    for (layer, rows) in plan.layers.iter().zip(&model.rows) {
        values.push(plan.one());
        let sum = |row: &Vec<i64>| row.iter().zip(&values).map(|(w, x)| w * x).sum();
        let sums: Vec<i64> = rows.iter().map(sum).collect();
        let Some(hidden) = &layer.hidden else { return Ok((sums, bounded)) };
        let mut divide = |step: &Step, values: Vec<i64>| -> Vec<i64> {
            bounded &= values.iter().all(|v| v.abs() <= step.bound);
            values.into_iter().map(|v| step.divide(v, masks.draw(step).dither)).collect()
        };
        let z = divide(&hidden.sums, sums);
        let s = divide(&hidden.square, z.iter().map(|z| z * z).collect());
        let p = divide(&hidden.quartic, s.iter().map(|s| s * (s - hidden.ten)).collect());
        let polynomial =
            |(z, p): (&i64, &i64)| hidden.two_hundred_forty + z * (hidden.one_hundred_twenty + p);
        values = divide(&hidden.activation, z.iter().zip(&p).map(polynomial).collect());
    }
    Ok((values, bounded))
}

/// The place of the largest score; the first of several.
pub fn class(scores: &[i64]) -> usize {
    let best = scores.iter().max();
    scores.iter().position(|score| Some(score) == best).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{RealLayer, Settings};
    use proptest::prelude::*;

    proptest! {
        /// One neuron after another: the integers are the polynomial, up to their rounding.
        #[test]
        fn integers_follow_the_polynomial(x in -4.0..4.0f64, seed in any::<u64>()) {
            let layer = |name: &str| RealLayer {
                name: name.into(), weights: vec![1.0], biases: vec![0.0], sum_bound: None,
            };
            let settings = Settings { value_bits: 12, ..Settings::default() };
            let model = Model::new(&[layer("dense1"), layer("dense2")], 4.0, settings).unwrap();
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            let (scores, bounded) = evaluate(&model, &[x], &mut Masks::new(rng)).unwrap();
            prop_assert!(bounded);
            let z = (x * 64.0).round() / 64.0;
            let exact = 0.5 + z / 4.0 - z.powi(3) / 48.0 + z.powi(5) / 480.0;
            let got = scores[0] as f64 / 4096.0;
            prop_assert!((got - exact).abs() < 0.03 + 0.02 * exact.abs(), "{got} for {exact}");
        }
    }

    #[test]
    fn the_largest_score_wins() {
        assert_eq!(class(&[1, 5, 5, -3]), 1);
        assert_eq!(class(&[]), 0);
    }
}
