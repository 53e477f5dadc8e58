//! Softmax with cross-entropy: how scores become probabilities, and how wrong those are.
//!
//! ```text
//! p[k] = e^(s[k] − m) / Σⱼ e^(s[j] − m),  m = maxⱼ s[j]
//! L    = −mean over samples of ln p[label]
//! dL/ds[k] of one sample = p[k] − [k = label]
//! ```
//!
//! Subtracting the largest score changes nothing but the range: no exponential exceeds 1, the sum
//! is at least 1, and scores of any finite size give finite probabilities.

use gelu_core::Loss;
use ndarray::{Array2, Axis};

/// Softmax and cross-entropy: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SoftmaxCrossEntropy;

impl Loss for SoftmaxCrossEntropy {
    fn name(&self) -> &str {
        "softmax cross-entropy"
    }

    fn probabilities(&self, scores: &Array2<f64>) -> Array2<f64> {
        let mut p = scores.clone();
        for mut sample in p.axis_iter_mut(Axis(1)) {
            let largest = sample.fold(f64::NEG_INFINITY, |m, &s| m.max(s));
            sample.mapv_inplace(|s| libm::exp(s - largest));
            // In order: `sum` would add a column that is contiguous, as of one sample, in another one.
            let sum = sample.fold(0.0, |sum, e| sum + e);
            sample.mapv_inplace(|e| e / sum);
        }
        p
    }

    /// A probability that underflowed to 0 counts as the smallest positive number, so the loss of
    /// one sample is at most 709.
    ///
    /// # Panics
    /// When a label is no class, or there are fewer labels than samples.
    fn value(&self, probabilities: &Array2<f64>, labels: &[usize]) -> f64 {
        let samples = probabilities.axis_iter(Axis(1)).zip(labels);
        let sum: f64 = samples.map(|(p, &k)| -libm::log(p[k].max(f64::MIN_POSITIVE))).sum();
        sum / labels.len().max(1) as f64
    }

    /// # Panics
    /// As [`value`](Self::value).
    fn gradient(&self, probabilities: &Array2<f64>, labels: &[usize]) -> Array2<f64> {
        let mut gradient = probabilities.clone();
        for (sample, &label) in labels.iter().enumerate() {
            gradient[[label, sample]] -= 1.0;
        }
        gradient
    }

    fn ignores_shift(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn huge_scores_stay_probabilities() {
        let p = SoftmaxCrossEntropy.probabilities(&array![[1e308, -1e308], [1e308, 0.0]]);
        assert_eq!(p, array![[0.5, 0.0], [0.5, 1.0]]);
        let loss = SoftmaxCrossEntropy.value(&p, &[0, 0]);
        assert!(loss.is_finite() && loss > 300.0);
    }

    /// An answer is the same bit for bit whatever else is in its query.
    #[test]
    fn probabilities_do_not_depend_on_the_batch() {
        let scores =
            Array2::from_shape_fn((37, 5), |(k, i)| libm::sin((k * 7 + i * 13) as f64) * 3.0);
        let together = SoftmaxCrossEntropy.probabilities(&scores);
        for (i, column) in scores.columns().into_iter().enumerate() {
            let alone = SoftmaxCrossEntropy.probabilities(&column.insert_axis(Axis(1)).to_owned());
            assert_eq!(alone.column(0), together.column(i));
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_ignore_a_shift(
            s in prop::array::uniform5(-50.0..50.0f64),
            shift in -1e6..1e6f64,
        ) {
            let scores = Array2::from_shape_vec((5, 1), s.to_vec()).unwrap();
            let p = SoftmaxCrossEntropy.probabilities(&scores);
            let shifted = SoftmaxCrossEntropy.probabilities(&(&scores + shift));
            prop_assert!((p.sum() - 1.0).abs() < 1e-12);
            prop_assert!((&p - &shifted).iter().all(|d| d.abs() < 1e-8));
            prop_assert!(SoftmaxCrossEntropy.ignores_shift());
            prop_assert!(SoftmaxCrossEntropy.gradient(&p, &[2]).sum().abs() < 1e-12);
        }

        #[test]
        fn the_gradient_is_the_gradient(
            s in prop::array::uniform4(-5.0..5.0f64),
            e in prop::array::uniform4(-1.0..1.0f64),
            label in 0..4usize,
        ) {
            let column = |v: [f64; 4]| Array2::from_shape_vec((4, 1), v.to_vec()).unwrap();
            let (s, e, h) = (column(s), column(e), 1e-5);
            let loss = |s: Array2<f64>| {
                SoftmaxCrossEntropy.value(&SoftmaxCrossEntropy.probabilities(&s), &[label])
            };
            let numeric = (loss(&s + &(&e * h)) - loss(&s - &(&e * h))) / (2.0 * h);
            let p = SoftmaxCrossEntropy.probabilities(&s);
            let exact = (SoftmaxCrossEntropy.gradient(&p, &[label]) * &e).sum();
            prop_assert!((numeric - exact).abs() < 1e-6);
        }
    }
}
