//! Laws that measured or counted values follow, by least squares.

use nalgebra::{DMatrix, DVector};

/// value ≈ `factor` · Π xᵢ^`exponents[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerLaw {
    /// The value at all xᵢ = 1.
    pub factor: f64,
    /// One for each x.
    pub exponents: Vec<f64>,
    /// The largest factor, up or down, between a value and the law.
    pub worst: f64,
}

/// The power law nearest to `points` (x₁, x₂, …; value): least squares on logarithms.
///
/// `None` when the points do not determine it, or are not all positive.
pub fn power_law<const N: usize>(points: &[([f64; N], f64)]) -> Option<PowerLaw> {
    let positive = |&(x, value): &([f64; N], f64)| value > 0.0 && x.iter().all(|&x| x > 0.0);
    if points.len() <= N || !points.iter().all(positive) {
        return None;
    }
    let term = |row: usize, column: usize| {
        if column == 0 { 1.0 } else { libm::log(points[row].0[column - 1]) }
    };
    let matrix = DMatrix::from_fn(points.len(), N + 1, term);
    let values = DVector::from_iterator(points.len(), points.iter().map(|(_, v)| libm::log(*v)));
    let svd = matrix.clone().svd(true, true);
    if svd.rank(1e-9 * svd.singular_values.max()) <= N {
        return None;
    }
    let solution = svd.solve(&values, 0.0).ok()?;
    let worst = libm::exp((matrix * &solution - values).amax());
    let exponents = solution.iter().skip(1).copied().collect();
    Some(PowerLaw { factor: libm::exp(solution[0]), exponents, worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_found_again() {
        let grid = (1..5).flat_map(|n| (1..5).map(move |m| [f64::from(n), f64::from(m)]));
        let points: Vec<_> = grid.map(|x| (x, 3.0 * x[0] * x[1] * x[1])).collect();
        let law = power_law(&points).unwrap();
        assert!((law.factor - 3.0).abs() < 1e-9 && (law.worst - 1.0).abs() < 1e-9, "{law:?}");
        assert!((law.exponents[0] - 1.0).abs() < 1e-9, "{law:?}");
        assert!((law.exponents[1] - 2.0).abs() < 1e-9, "{law:?}");
    }

    #[test]
    fn what_is_no_power_law_shows() {
        let points = [1.0, 2.0, 4.0, 8.0].map(|x: f64| ([x], x * x + 10.0));
        let law = power_law(&points).unwrap();
        assert!(law.exponents[0] < 2.0 && law.worst > 1.1, "{law:?}");
    }

    #[test]
    fn too_little_is_refused() {
        assert_eq!(power_law(&[([1.0], 1.0)]), None);
        assert_eq!(power_law(&[([2.0], 1.0), ([2.0], 3.0)]), None, "one x only");
        assert_eq!(power_law(&[([1.0], 0.0), ([2.0], 3.0)]), None, "no logarithm");
    }
}
