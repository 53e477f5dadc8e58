//! Least squares over more equations than memory should hold.

use nalgebra::{DMatrix, DVector};

/// The x for which Σ (equations·x − values)² is the least, of what was added.
pub struct LeastSquares {
    /// A'·A of all equations A.
    squares: DMatrix<f64>,
    /// A'·b.
    products: DVector<f64>,
}

impl LeastSquares {
    /// Of no equations yet.
    pub fn new(unknowns: usize) -> Self {
        Self { squares: DMatrix::zeros(unknowns, unknowns), products: DVector::zeros(unknowns) }
    }

    /// Adds equations, one for each row, and their values.
    pub fn add(&mut self, equations: &DMatrix<f64>, values: Vec<f64>) {
        self.squares += equations.tr_mul(equations);
        self.products += equations.tr_mul(&DVector::from_vec(values));
    }

    /// The solution; `None` when the equations do not determine it.
    pub fn solve(self) -> Option<Vec<f64>> {
        let solution = self.squares.cholesky()?.solve(&self.products);
        Some(solution.as_slice().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line through (0, 1), (1, 3) and (2, 6), and the same points once more.
    #[test]
    fn the_nearest_line_through_points() {
        let mut line = LeastSquares::new(2);
        for _ in 0..2 {
            let equations = DMatrix::from_row_slice(3, 2, &[1.0, 0.0, 1.0, 1.0, 1.0, 2.0]);
            line.add(&equations, vec![1.0, 3.0, 6.0]);
        }
        let solution = line.solve().unwrap();
        assert!((solution[0] - 5.0 / 6.0).abs() < 1e-12 && (solution[1] - 2.5).abs() < 1e-12);
        assert!(LeastSquares::new(2).solve().is_none());
    }
}
