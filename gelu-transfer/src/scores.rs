//! How good predictions are.

/// Of one head on some rows, at a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Right answers of all.
    pub accuracy: f64,
    /// Of those said to be positive, how many are.
    pub precision: f64,
    /// Of the positive ones, how many are said to be.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// How likely a positive row is above a negative one, whatever the threshold; ties count half.
    pub auc: f64,
}

impl Scores {
    /// Rows with z above the threshold are said to be positive. Quotients without a denominator are 0; without rows of both
    /// kinds the AUC is not a number.
    ///
    /// # Panics
    /// When there is not a label for each z.
    #[must_use]
    pub fn of(labels: &[bool], z: &[f64], threshold: f64) -> Self {
        assert_eq!(labels.len(), z.len(), "a label for each row");
        let count = |said: bool, is: bool| {
            labels.iter().zip(z).filter(|(y, z)| (**z > threshold, **y) == (said, is)).count()
                as f64
        };
        let [hit, alarm, miss] = [count(true, true), count(true, false), count(false, true)];
        let ratio = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        Self {
            accuracy: ratio(z.len() as f64 - alarm - miss, z.len() as f64),
            precision: ratio(hit, hit + alarm),
            recall: ratio(hit, hit + miss),
            f1: ratio(2.0 * hit, 2.0 * hit + alarm + miss),
            auc: auc(labels, z),
        }
    }
}

/// By ranks (Mann and Whitney, 1947).
fn auc(labels: &[bool], z: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|&a, &b| z[a].total_cmp(&z[b]));
    // Rows of equal z share the mean of their ranks.
    let (mut ranks, mut below) = (0.0, 0);
    for tied in order.chunk_by(|&a, &b| z[a] == z[b]) {
        let rank = below as f64 + (tied.len() as f64 + 1.0) / 2.0;
        ranks += rank * tied.iter().filter(|&&i| labels[i]).count() as f64;
        below += tied.len();
    }
    let positive = labels.iter().filter(|y| **y).count() as f64;
    let negative = z.len() as f64 - positive;
    (ranks - positive * (positive + 1.0) / 2.0) / (positive * negative)
}

/// The threshold of the best F1: for training rows. 0 where no row is positive.
///
/// # Panics
/// When there is not a label for each z.
#[must_use]
pub fn best_threshold(labels: &[bool], z: &[f64]) -> f64 {
    assert_eq!(labels.len(), z.len(), "a label for each row");
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
    let positive = labels.iter().filter(|y| **y).count() as f64;
    let (mut best, mut hits, mut said) = ((0.0, 0.0), 0.0, 0.0);
    for (place, &i) in order.iter().enumerate() {
        said += 1.0;
        hits += f64::from(u8::from(labels[i]));
        let f1 = 2.0 * hits / (said + positive);
        let next = order.get(place + 1).map_or(z[i] - 1.0, |&j| z[j]);
        if f1 > best.0 && next < z[i] {
            best = (f1, (z[i] + next) / 2.0);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [bool; 6] = [true, false, true, false, false, true];
    const Z: [f64; 6] = [2.0, 1.0, 0.5, -1.0, 0.5, -2.0];

    #[test]
    fn scores_are_those_counted_by_hand() {
        let scores = Scores::of(&LABELS, &Z, 0.0);
        // Above 0: two hits, two alarms; one miss, one rightly below.
        assert_eq!((scores.accuracy, scores.precision, scores.recall), (0.5, 0.5, 2.0 / 3.0));
        assert_eq!(scores.f1, 4.0 / 7.0);
        // Pairs won: 3 by 2.0; ½ + 1 by 0.5; none by −2.
        assert_eq!(scores.auc, 4.5 / 9.0);
        assert_eq!(Scores::of(&LABELS, &Z.map(|z| -z), 0.0).auc, 0.5);
    }

    #[test]
    fn perfect_order_scores_one_and_no_positive_answer_scores_zero() {
        let z = [3.0, -1.0, 2.0, -2.0, -3.0, 1.0];
        assert_eq!(Scores::of(&LABELS, &z, 0.0).auc, 1.0);
        let none = Scores::of(&LABELS, &z, 9.0);
        assert_eq!((none.precision, none.recall, none.f1, none.accuracy), (0.0, 0.0, 0.0, 0.5));
    }

    #[test]
    fn the_best_threshold_has_the_best_f1() {
        let best = Scores::of(&LABELS, &Z, best_threshold(&LABELS, &Z)).f1;
        let others = [-3.0, -1.5, 0.0, 0.75, 1.5, 3.0].map(|t| Scores::of(&LABELS, &Z, t).f1);
        assert_eq!(others.into_iter().fold(0.0, f64::max), best);
        assert_eq!(best_threshold(&[false; 2], &[1.0, 2.0]), 0.0);
    }
}
