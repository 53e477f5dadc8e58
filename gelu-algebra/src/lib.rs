//! The linear algebra that the attacks share: systems solved exactly in integers, least-norm
//! guesses, spans, and how alike two pictures are; least squares over many equations
//! ([`LeastSquares`]), and short vectors of lattices ([`reduction`]).
//!
//! A crate of its own because it computes: it is optimised in tests, and the rest of gelu-bench,
//! which compiles five times as fast without, is not.
#![forbid(unsafe_code)]

mod least_squares;
pub mod reduction;

pub use least_squares::LeastSquares;

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use ndarray::{Array2, Axis, Slice};

/// X with X·A = B over the integers, if A determines it.
///
/// A is `[unknowns, samples]`, B `[rows, samples]`. The system is solved in floating point; the
/// residual, computed in exact integers, is then solved for again until it is zero. So the answer
/// does not depend on how well conditioned A is, as long as floating point gets nearer at all.
///
/// `None` when there are fewer samples than unknowns, when they do not determine X, or when no
/// integer X fits.
pub fn solve_exactly(a: &Array2<i128>, b: &Array2<i128>) -> Option<Array2<i128>> {
    let (unknowns, samples) = a.dim();
    if samples < unknowns {
        return None;
    }
    let qr = real(a).transpose().qr();
    let r = qr.r();
    let diagonal = r.diagonal();
    if diagonal.amin() <= diagonal.amax() * 1e-14 {
        return None;
    }
    let mut x = Array2::<i128>::zeros((b.nrows(), unknowns));
    for _ in 0..30 {
        let residual = b - &x.dot(a);
        if residual.iter().all(|&v| v == 0) {
            return Some(x);
        }
        let mut rhs = real(&residual).transpose();
        qr.q_tr_mul(&mut rhs);
        let step = r.solve_upper_triangular(&rhs.rows(0, unknowns))?;
        if step.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let step = Array2::from_shape_fn(x.dim(), |(i, j)| nearest(step[(j, i)]));
        if step.iter().all(|&v| v == 0) {
            return None;
        }
        x += &step;
    }
    None
}

/// The X of least norm among those nearest to X·A = B: what an attacker guesses when A does not
/// determine X.
pub fn least_norm(a: &Array2<i128>, b: &Array2<i128>) -> DMatrix<f64> {
    let (a, b) = (real(a), real(b));
    let scale = a.amax().max(1.0);
    let svd = (a / scale).svd(true, true);
    let cut = svd.singular_values.amax() * 1e-10;
    let inverse = svd.pseudo_inverse(cut).expect("a cut is not negative");
    b * inverse / scale
}

/// The Moore-Penrose inverse of `w` applied to `v`, by the paper's formula (section 4.3):
/// W'·(W·W')⁻¹·v for a wide W, (W'·W)⁻¹·W'·v for a tall one.
///
/// `None` when W has not full rank.
pub fn pseudo_inverse(w: &DMatrix<f64>, v: &DVector<f64>) -> Option<DVector<f64>> {
    if w.nrows() <= w.ncols() {
        let gram = (w * w.transpose()).cholesky()?;
        Some(w.tr_mul(&gram.solve(v)))
    } else {
        let gram = w.tr_mul(w).cholesky()?;
        Some(gram.solve(&w.tr_mul(v)))
    }
}

/// An orthonormal basis, row by row, of the `rank` strongest directions that the rows of `sum`
/// span, and all singular values, largest first.
pub fn span(sum: &DMatrix<f64>, rank: usize) -> (DMatrix<f64>, Vec<f64>) {
    let eigen = SymmetricEigen::new(sum * sum.transpose());
    let mut order: Vec<usize> = (0..sum.nrows()).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    let singular: Vec<f64> = order.iter().map(|&i| eigen.eigenvalues[i].max(0.0).sqrt()).collect();
    let left = DMatrix::from_fn(sum.nrows(), rank.min(sum.nrows()), |i, j| {
        eigen.eigenvectors[(i, order[j])]
    });
    let rows = left.tr_mul(sum).transpose();
    (rows.qr().q().transpose(), singular)
}

/// How much of `v` lies in the span of orthonormal rows: 1 for all of it, 0 for nothing.
pub fn share_in(basis: &DMatrix<f64>, v: &DVector<f64>) -> f64 {
    ((basis * v).norm() / v.norm()).min(1.0)
}

/// The correlation of two lists (Pearson); 0 where one of them does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum()
    };
    let (ab, aa, bb) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    let product = (aa * bb).sqrt();
    if product.is_normal() { ab / product } else { 0.0 }
}

/// The peak signal-to-noise ratio in dB of a picture whose values, cut off at 0 and 1, should be
/// those of `original`; infinite for an exact one.
pub fn psnr(original: &[f64], picture: &[f64]) -> f64 {
    let square = |(x, y): (&f64, &f64)| (x - cut(*y)).powi(2);
    let error = original.iter().zip(picture).map(square).sum::<f64>() / original.len() as f64;
    -10.0 * libm::log10(error)
}

/// Within 0 and 1; what is no number becomes 0.
pub fn cut(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

/// ‖guess − truth‖ / ‖truth‖.
pub fn relative_error(truth: &Array2<i128>, guess: &DMatrix<f64>) -> f64 {
    let truth = real(truth);
    (guess - &truth).norm() / truth.norm()
}

/// The first `count` columns.
pub fn first_columns(values: &Array2<i128>, count: usize) -> Array2<i128> {
    values.slice_axis(Axis(1), Slice::from(..count)).to_owned()
}

/// The Euclidean length.
pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The same numbers as reals.
pub fn real(values: &Array2<i128>) -> DMatrix<f64> {
    DMatrix::from_fn(values.nrows(), values.ncols(), |i, j| values[[i, j]] as f64)
}

/// The nearest integer.
#[expect(clippy::cast_possible_truncation, reason = "what is beyond an i128 is no weight")]
pub fn nearest(x: f64) -> i128 {
    x.round() as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::ChaCha20Rng;
    use rand::{RngExt, SeedableRng};

    fn random(rows: usize, columns: usize, bound: i128, seed: u64) -> Array2<i128> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        Array2::from_shape_fn((rows, columns), |_| rng.random_range(-bound..=bound))
    }

    #[test]
    fn integers_are_solved_for_exactly_or_not_at_all() {
        let x = random(4, 9, 1 << 24, 1);
        for samples in [9, 14] {
            let a = random(9, samples, 1 << 17, 2);
            assert_eq!(solve_exactly(&a, &x.dot(&a)), Some(x.clone()));
        }
        let few = random(9, 8, 1 << 17, 3);
        assert_eq!(solve_exactly(&few, &x.dot(&few)), None);
        let mut dependent = random(9, 9, 1 << 17, 4);
        let copy = dependent.row(0).to_owned();
        dependent.row_mut(5).assign(&copy);
        assert_eq!(solve_exactly(&dependent, &x.dot(&dependent)), None);
        let mut noisy = x.dot(&random(9, 14, 1 << 17, 2));
        noisy[[0, 0]] += 1;
        assert_eq!(solve_exactly(&random(9, 14, 1 << 17, 2), &noisy), None);
    }

    /// Columns that differ in their last bits only.
    #[test]
    fn a_system_that_is_hard_for_floating_point_is_solved_exactly() {
        let mut a = random(6, 6, 3, 5);
        let first = random(6, 1, 1 << 17, 6);
        a += &first;
        let x = random(3, 6, 1 << 24, 7);
        assert_eq!(solve_exactly(&a, &x.dot(&a)), Some(x));
    }

    #[test]
    fn a_guess_from_k_of_n_equations_leaves_the_rest() {
        let (x, a) = (random(20, 100, 1 << 20, 8), random(100, 36, 1 << 17, 9));
        let error = relative_error(&x, &least_norm(&a, &x.dot(&a)));
        assert!((error - 0.8).abs() < 0.04, "sqrt(1 - 36/100) = 0.8, got {error}");
    }

    #[test]
    fn pseudo_inverses_invert_what_can_be_inverted() {
        let (tall, wide) = (real(&random(9, 5, 99, 10)), real(&random(5, 9, 99, 11)));
        let x = DVector::from_fn(5, |i, _| i as f64 - 1.5);
        let back = pseudo_inverse(&tall, &(&tall * &x)).unwrap();
        assert!((back - &x).norm() < 1e-9);
        let y = DVector::from_fn(9, |i, _| (i * i) as f64);
        let projected = pseudo_inverse(&wide, &(&wide * &y)).unwrap();
        assert!((&wide * &projected - &wide * &y).norm() < 1e-7);
        assert!(projected.norm() < y.norm());
    }

    #[test]
    fn spans_hold_what_they_were_made_of() {
        let (left, right) = (real(&random(7, 3, 99, 12)), real(&random(3, 11, 99, 13)));
        let (basis, singular) = span(&(&left * &right), 3);
        assert!(singular[3] < 1e-5 * singular[2]);
        for row in right.row_iter() {
            assert!(share_in(&basis, &row.transpose()) > 1.0 - 1e-9);
        }
        let stranger = DVector::from_fn(11, |i, _| if i == 4 { 1.0 } else { 0.0 });
        assert!(share_in(&basis, &stranger) < 0.99);
    }

    #[test]
    fn likeness_by_hand() {
        let (a, b) = ([0.0, 0.5, 1.0], [1.0, 2.0, 3.0]);
        assert!((correlation(&a, &b) - 1.0).abs() < 1e-12);
        assert_eq!(correlation(&a, &[1.0; 3]), 0.0);
        assert_eq!(psnr(&a, &a), f64::INFINITY);
        assert!((psnr(&[0.5; 4], &[0.6; 4]) - 20.0).abs() < 1e-9);
    }
}
