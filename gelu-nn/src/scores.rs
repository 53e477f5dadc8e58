//! How well a head tells classes apart: more than the share of right answers, which says little where one class is
//! rare.

use ndarray::{Array2, ArrayView1};
use serde::Serialize;

use crate::model::{accuracy, predictions};

/// The judgement of two classes, of which the second is the one looked for, or the mean over each class against the
/// rest where there are more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Share of right answers.
    pub accuracy: f64,
    /// Of those found, the share that is right.
    pub precision: f64,
    /// Of those looked for, the share that is found.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The chance that one looked for scores above one that is not, ties counted half; none where one kind is missing.
    pub auc: Option<f64>,
}

/// ln p₁ − ln p₀ of each sample, from probabilities `[2, samples]`: what a threshold is compared with.
pub fn log_odds(probabilities: &Array2<f64>) -> Vec<f64> {
    let least = f64::MIN_POSITIVE;
    let of = |p: ArrayView1<'_, f64>| libm::log(p[1].max(least)) - libm::log(p[0].max(least));
    probabilities.columns().into_iter().map(of).collect()
}

impl Scores {
    /// Of two classes: found is what has log-odds above `threshold`.
    pub fn of_two(labels: &[usize], log_odds: &[f64], threshold: f64) -> Self {
        let found: Vec<_> = log_odds.iter().map(|&odds| odds > threshold).collect();
        Self::of(labels.iter().map(|&label| label == 1), &found, log_odds)
    }

    /// Of any number of classes: each against the rest, found is what is likeliest; and the mean.
    pub fn of_many(labels: &[usize], probabilities: &Array2<f64>) -> Self {
        let likeliest = predictions(probabilities);
        let each: Vec<_> = (0..probabilities.nrows())
            .map(|class| {
                let found: Vec<_> = likeliest.iter().map(|&answer| answer == class).collect();
                let score = probabilities.row(class).to_vec();
                Self::of(labels.iter().map(|&label| label == class), &found, &score)
            })
            .collect();
        let mean =
            |of: fn(&Self) -> f64| each.iter().map(of).sum::<f64>() / each.len().max(1) as f64;
        let aucs: Option<Vec<_>> = each.iter().map(|scores| scores.auc).collect();
        Self {
            accuracy: accuracy(&likeliest, labels),
            precision: mean(|s| s.precision),
            recall: mean(|s| s.recall),
            f1: mean(|s| s.f1),
            auc: aucs.map(|aucs| aucs.iter().sum::<f64>() / aucs.len().max(1) as f64),
        }
    }

    fn of(wanted: impl Iterator<Item = bool>, found: &[bool], scores: &[f64]) -> Self {
        let wanted: Vec<_> = wanted.collect();
        let both = wanted.iter().zip(found).filter(|(w, f)| **w && **f).count();
        let right = wanted.iter().zip(found).filter(|(w, f)| w == f).count();
        let count = |of: &[bool]| of.iter().filter(|x| **x).count();
        let share = |part: usize, all: usize| part as f64 / all.max(1) as f64;
        Self {
            accuracy: share(right, wanted.len()),
            precision: share(both, count(found)),
            recall: share(both, count(&wanted)),
            f1: share(2 * both, count(&wanted) + count(found)),
            auc: auc(&wanted, scores),
        }
    }
}

/// The area under the receiver's curve, by ranks (Mann, Whitney 1947).
fn auc(wanted: &[bool], scores: &[f64]) -> Option<f64> {
    let mut order: Vec<_> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positive = wanted.iter().filter(|w| **w).count() as f64;
    let negative = wanted.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    let (mut ranks, mut below) = (0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let rank = below + (tied.len() as f64 + 1.0) / 2.0;
        ranks += rank * tied.iter().filter(|&&s| wanted[s]).count() as f64;
        below += tied.len() as f64;
    }
    Some((ranks - positive * (positive + 1.0) / 2.0) / (positive * negative))
}

/// The threshold of the log-odds with the best F1 on these samples: to be chosen on training rows. It lies halfway
/// between two samples; 0 where the second class is not there.
pub fn best_threshold(labels: &[usize], log_odds: &[f64]) -> f64 {
    let mut order: Vec<_> = (0..log_odds.len()).collect();
    order.sort_by(|&a, &b| log_odds[b].total_cmp(&log_odds[a]));
    let wanted = labels.iter().filter(|&&label| label == 1).count();
    let (mut found, mut right, mut best) = (0usize, 0usize, (0.0, 0.0));
    for (n, &sample) in order.iter().enumerate() {
        found += 1;
        right += usize::from(labels[sample] == 1);
        let here = log_odds[sample];
        let next = order.get(n + 1).map_or(here - 1.0, |&next| log_odds[next]);
        let f1 = 2.0 * right as f64 / (found + wanted).max(1) as f64;
        if next < here && f1 > best.0 {
            best = (f1, here.midpoint(next));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn scores_by_hand() {
        let (labels, odds) = ([1, 0, 1, 0, 0, 1], [2.0, 1.0, 0.5, -1.0, -2.0, -3.0]);
        let scores = Scores::of_two(&labels, &odds, 0.0);
        assert_eq!(scores.accuracy, 4.0 / 6.0);
        assert_eq!((scores.precision, scores.recall), (2.0 / 3.0, 2.0 / 3.0));
        assert!((scores.f1 - 2.0 / 3.0).abs() < 1e-12);
        // Pairs in order: 2.0 beats all three, 0.5 beats two, -3.0 none.
        assert!((scores.auc.unwrap() - 5.0 / 9.0).abs() < 1e-12);
        assert_eq!(Scores::of_two(&labels, &[1.0; 6], 0.0).auc, Some(0.5), "all tied");
        assert_eq!(Scores::of_two(&[1, 1], &[0.0, 1.0], 0.0).auc, None);
        let nothing = Scores::of_two(&labels, &odds, 9.0);
        assert_eq!((nothing.precision, nothing.recall, nothing.f1), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_best_threshold_is_where_f1_is_best() {
        let (labels, odds) = ([1, 0, 1, 0, 0, 1], [2.0, 1.0, 0.5, -1.0, -2.0, -3.0]);
        let threshold = best_threshold(&labels, &odds);
        let f1 = |threshold| Scores::of_two(&labels, &odds, threshold).f1;
        let all = [3.0, 1.5, 0.75, -0.25, -1.5, -2.5, -4.0];
        let best = all.into_iter().map(f1).fold(0.0, f64::max);
        assert_eq!(f1(threshold), best);
        assert_eq!(best_threshold(&[0, 0], &[1.0, 2.0]), 0.0);
        // Equal scores cannot be told apart.
        assert!(best_threshold(&[1, 0], &[1.0, 1.0]) < 1.0);
    }

    #[test]
    fn odds_and_many_classes() {
        let two = array![[0.5, 0.0, 0.2], [0.5, 1.0, 0.8]];
        let odds = log_odds(&two);
        assert_eq!(odds[0], 0.0);
        assert!(odds[1].is_finite() && odds[1] > 100.0 && (odds[2] - 4f64.ln()).abs() < 1e-12);
        let p = array![[0.8, 0.1, 0.3], [0.1, 0.8, 0.4], [0.1, 0.1, 0.3]];
        let scores = Scores::of_many(&[0, 1, 2], &p);
        assert!((scores.accuracy - 2.0 / 3.0).abs() < 1e-12);
        // Class 0 is found alone; class 1 is found twice, once rightly; class 2 is never found.
        assert!((scores.f1 - (1.0 + 2.0 / 3.0 + 0.0) / 3.0).abs() < 1e-12, "{scores:?}");
        assert_eq!(scores.auc, Some(1.0));
    }
}
