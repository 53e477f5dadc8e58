//! The sigmoid, and odd polynomials near it.
//!
//! ```text
//! σ(z)  =  1/(1 + e^-z)  ≈  1/2 + c₁·z + c₃·z³ + …            |z| ≤ range
//! ```
//! The coefficients are the least-squares fit on 2,001 even points of [−range, range]. σ − 1/2 is odd and so is the grid, so
//! even coefficients are 0. The fit is made in Chebyshev polynomials of z/range, in which it is well conditioned.
//!
//! | degree, range | largest error in the range | beyond it |
//! |---|---|---|
//! | 1, ±8 | 0.21 | goes on as a line: harmless up to four times the range ([`Sigmoid::holds_to`]) |
//! | 3, ±12 | 0.17 | turns round and runs away: a head that leaves the range is lost |
//! | 5, ±12 | 0.10 | the same, faster |
//! | 7, ±16 | 0.11 | |
//! | 15, ±24 | 0.07 | |

use crate::error::{Error, Result};

/// Points of the fit.
const POINTS: usize = 2001;

/// The degrees that there are.
pub const DEGREES: [usize; 5] = [1, 3, 5, 7, 15];

/// What turns weighted sums into probabilities.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// σ itself: in the clear only.
    Exact,
    /// A polynomial near it.
    Polynomial(Sigmoid),
}

impl Activation {
    /// Its value.
    #[must_use]
    pub fn at(&self, z: f64) -> f64 {
        match self {
            Self::Exact => 1.0 / (1.0 + (-z).exp()),
            Self::Polynomial(sigmoid) => sigmoid.at(z),
        }
    }
}

/// An odd polynomial near σ − 1/2.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmoid {
    range: f64,
    /// Of z/range, by power; even ones are 0.
    coefficients: Vec<f64>,
}

impl Sigmoid {
    /// The fit of a degree on ±range.
    ///
    /// # Errors
    /// [`Error::Sigmoid`] for a degree that is none of [`DEGREES`], or a range that is not from 1 to 64.
    pub fn fit(degree: usize, range: f64) -> Result<Self> {
        if !DEGREES.contains(&degree) || !(1.0..=64.0).contains(&range) {
            return Err(Error::Sigmoid { degree, range });
        }
        let count = degree.div_ceil(2);
        // Normal equations in T₁, T₃, …: the matrix, and its right side as the last column.
        let mut equations = vec![vec![0.0; count + 1]; count];
        for i in 0..POINTS {
            let x = 2.0 * i as f64 / (POINTS - 1) as f64 - 1.0;
            let target = Activation::Exact.at(range * x) - 0.5;
            let mut odd = chebyshev(x, degree);
            odd.push(target);
            for (row, factor) in equations.iter_mut().zip(&odd) {
                row.iter_mut().zip(&odd).for_each(|(sum, x)| *sum += factor * x);
            }
        }
        let weights = solve(equations);
        let mut coefficients = vec![0.0; degree + 1];
        for (weight, power_form) in weights.iter().zip(chebyshev_powers(degree)) {
            coefficients.iter_mut().zip(power_form).for_each(|(sum, c)| *sum += weight * c);
        }
        Ok(Self { range, coefficients })
    }

    /// Where it is near the sigmoid: |z| up to this.
    #[must_use]
    pub fn range(&self) -> f64 {
        self.range
    }

    /// Up to which |z| training goes on: the range; for a line, which does not turn round, four times that.
    #[must_use]
    pub fn holds_to(&self) -> f64 {
        if self.degree() == 1 { 4.0 * self.range } else { self.range }
    }

    /// The degree.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// By power of z/range, without the constant 1/2.
    #[must_use]
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Its value, the constant 1/2 included.
    #[must_use]
    pub fn at(&self, z: f64) -> f64 {
        let x = z / self.range;
        0.5 + self.coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
    }
}

/// T₁(x), T₃(x), … up to a degree.
fn chebyshev(x: f64, degree: usize) -> Vec<f64> {
    let (mut before, mut last, mut odd) = (1.0, x, vec![x]);
    for n in 2..=degree {
        (before, last) = (last, 2.0 * x * last - before);
        if n % 2 == 1 {
            odd.push(last);
        }
    }
    odd
}

/// The coefficients of T₁, T₃, … by power.
fn chebyshev_powers(degree: usize) -> Vec<Vec<f64>> {
    let mut all = vec![vec![1.0], vec![0.0, 1.0]];
    for n in 2..=degree {
        let mut next = vec![0.0; n + 1];
        all[n - 1].iter().enumerate().for_each(|(i, c)| next[i + 1] += 2.0 * c);
        all[n - 2].iter().enumerate().for_each(|(i, c)| next[i] -= c);
        all.push(next);
    }
    all.into_iter().skip(1).step_by(2).collect()
}

/// Solves a small positive definite system whose right side is the last column.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let count = rows.len();
    for i in 0..count {
        let pivot = rows[i].clone();
        for (j, row) in rows.iter_mut().enumerate() {
            if j != i {
                let factor = row[i] / pivot[i];
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            }
        }
    }
    rows.iter().enumerate().map(|(i, row)| row[count] / row[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Degree, range, odd coefficients of powers of z.
    const NUMPY: [(usize, f64, &[f64]); 5] = [
        (1, 8.0, &[0.088_908_839_942_120_65]),
        (3, 12.0, &[0.108_815_397_105_109_2, -0.000_552_367_240_484_881]),
        (
            5,
            12.0,
            &[0.147_700_184_033_970_53, -0.001_811_265_781_877_198_7, 7.860_267_406_696_393e-6],
        ),
        (
            7,
            16.0,
            &[
                0.146_218_346_706_797_15,
                -0.001_859_109_472_851_867_8,
                1.075_319_659_671_94e-5,
                -2.081_426_318_531_346e-8,
            ],
        ),
        (
            15,
            24.0,
            &[
                0.175_504_031_281_964_73,
                -0.003_719_424_687_477_789,
                4.489_922_031_704_743e-5,
                -2.911_137_142_346_129e-7,
                1.060_350_381_583_456_1e-9,
                -2.173_554_739_766_172e-12,
                2.338_943_891_729_067e-15,
                -1.027_049_223_619_073_7e-18,
            ],
        ),
    ];

    /// numpy 2.4: `Chebyshev.fit(x, σ(x), degree, domain=[-r, r]).convert(kind=Polynomial).coef`.
    #[test]
    fn the_coefficients_are_those_of_numpy() {
        for (degree, range, expected) in NUMPY {
            let fit = Sigmoid::fit(degree, range).unwrap();
            let odd: Vec<_> = fit.coefficients().iter().skip(1).step_by(2).collect();
            assert_eq!(odd.len(), expected.len());
            for (i, (&&c, expected)) in odd.iter().zip(expected).enumerate() {
                let c = c / range.powi(2 * i32::try_from(i).unwrap() + 1);
                assert!((c / expected - 1.0).abs() < 1e-9, "{degree} {range}: {c} {expected}");
            }
            assert!(fit.coefficients().iter().step_by(2).all(|&c| c == 0.0));
        }
    }

    #[test]
    fn higher_degrees_are_nearer_and_odd() {
        let mut last = 1.0;
        for degree in DEGREES {
            let fit = Sigmoid::fit(degree, 12.0).unwrap();
            let points = (-120..=120).map(|i| f64::from(i) / 10.0);
            let off = points.clone().map(|z| (fit.at(z) - Activation::Exact.at(z)).abs());
            let off = off.fold(0.0, f64::max);
            assert!(off < last, "degree {degree}: {off}");
            last = off;
            points.for_each(|z| assert!((fit.at(z) + fit.at(-z) - 1.0).abs() < 1e-12));
        }
        assert!(last < 0.02);
    }

    #[test]
    fn other_degrees_and_ranges_are_refused() {
        for (degree, range) in [(2, 8.0), (0, 8.0), (3, 0.5), (3, 65.0), (3, f64::NAN)] {
            assert!(matches!(Sigmoid::fit(degree, range), Err(Error::Sigmoid { .. })));
        }
    }
}
