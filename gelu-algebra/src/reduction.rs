//! Short vectors of a lattice: the algorithm of Lenstra, Lenstra and Lovász (*Factoring polynomials with rational
//! coefficients*, Mathematische Annalen 261, 1982), with its orthogonal vectors in floating point.

/// How much of Lovász's condition is asked for.
const DELTA: f64 = 0.99;

/// Makes the rows short and nearly orthogonal, the shortest first or nearly so. For up to some hundred independent
/// rows of numbers below 2^40, as floating point goes.
pub fn reduce(basis: &mut [Vec<i64>]) {
    let mut orthogonal = Orthogonal::default();
    basis.iter().for_each(|row| orthogonal.push(row));
    let mut k = 1;
    while k < basis.len() {
        orthogonal.shorten(basis, k);
        let share = orthogonal.shares[k][k - 1];
        if orthogonal.norms[k] >= (DELTA - share * share) * orthogonal.norms[k - 1] {
            k += 1;
        } else {
            basis.swap(k, k - 1);
            orthogonal.set(k - 1, &basis[k - 1]);
            k = (k - 1).max(1);
        }
    }
}

/// b*ₖ = bₖ − Σ_{j<k} shareₖⱼ·b*ⱼ.
#[derive(Default)]
struct Orthogonal {
    vectors: Vec<Vec<f64>>,
    /// ‖b*ₖ‖².
    norms: Vec<f64>,
    shares: Vec<Vec<f64>>,
}

impl Orthogonal {
    fn push(&mut self, row: &[i64]) {
        let k = self.vectors.len();
        self.vectors.push(vec![]);
        self.norms.push(0.0);
        self.shares.push(vec![]);
        self.set(k, row);
    }

    /// Row `k` anew, those before it being right.
    fn set(&mut self, k: usize, row: &[i64]) {
        let mut vector: Vec<f64> = row.iter().map(|&x| x as f64).collect();
        let shares = (0..k).map(|j| {
            let share = dot(&vector, &self.vectors[j]) / self.norms[j];
            vector.iter_mut().zip(&self.vectors[j]).for_each(|(x, y)| *x -= share * y);
            share
        });
        self.shares[k] = shares.collect();
        self.norms[k] = dot(&vector, &vector);
        self.vectors[k] = vector;
    }

    /// Takes multiples of the rows before it away from row `k` until all shares are about 1/2 or less.
    fn shorten(&mut self, basis: &mut [Vec<i64>], k: usize) {
        loop {
            self.set(k, &basis[k]);
            let (before, rest) = basis.split_at_mut(k);
            let mut done = true;
            for j in (0..k).rev() {
                if self.shares[k][j].abs() < 0.51 {
                    continue;
                }
                done = false;
                let times = self.shares[k][j].round();
                let (low, high) = self.shares.split_at_mut(k);
                high[0].iter_mut().zip(&low[j]).for_each(|(x, y)| *x -= times * y);
                high[0][j] -= times;
                #[expect(clippy::cast_possible_truncation, reason = "below the entries")]
                let times = times as i64;
                rest[0].iter_mut().zip(&before[j]).for_each(|(x, y)| *x -= times * y);
            }
            if done {
                return;
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::ChaCha20Rng;
    use rand::{RngExt, SeedableRng};

    /// 1, −5 and 3 times three random numbers add up to the fourth.
    #[test]
    fn a_relation_of_numbers_is_the_shortest_vector() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let x: [i64; 3] = std::array::from_fn(|_| rng.random_range(1 << 35..1 << 36));
        let sum = x[0] - 5 * x[1] + 3 * x[2];
        let numbers = [x[0], x[1], x[2], sum];
        let row =
            |i: usize| [vec![numbers[i]], (0..4).map(|j| i64::from(i == j)).collect()].concat();
        let mut basis: Vec<_> = (0..4).map(row).collect();
        reduce(&mut basis);
        let sign = basis[0][1];
        assert_eq!(basis[0].iter().map(|x| x * sign).collect::<Vec<_>>(), [0, 1, -5, 3, -1]);
    }
}
