//! The head's training in the clear: what the encrypted one must equal.
//!
//! ```text
//! prepare   x ← ((x − mean)/divisor, 1)         so that the mean of |x − mean|²/divisor² is 16
//! gradient  g = Xᵀ(s(X·v) − y)/batch + λ·v      λ = 1e-4, not on the last weight
//! step      w′ = v − rate·g,   v ← w′ + β·(w′ − w),   w ← w′
//! momentum  l′ = (1 + √(1 + 4l²))/2,   β = (l − 1)/l′,   l ← l′,   l = 1 at first
//! ```
//! Batches are consecutive rows that wrap; w = v = 0 at first. The momentum is Nesterov's, with the sequence of Kim, Song, Kim,
//! Lee and Cheon, *Logistic regression model training based on the approximate homomorphic encryption*, BMC Medical Genomics 11,
//! 2018. A head of many classes is one such head for each, against the rest.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, Result};
use crate::sigmoid::Activation;
use crate::state::State;

/// λ.
pub const L2: f64 = 1e-4;

/// The mean squared norm of prepared rows.
pub const SQUARED_NORM: f64 = 16.0;

/// The most iterations that a state or a message may name: the momentum is counted up to it.
pub(crate) const MOST_ITERATIONS: usize = 1 << 20;

/// Rows of numbers. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Rows {
    values: Vec<f64>,
    columns: usize,
}

impl Rows {
    /// Values row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] when they are not whole rows, or none; [`Error::NotFinite`].
    pub fn new(values: Vec<f64>, columns: usize) -> Result<Self> {
        let rest = values.len().checked_rem(columns);
        if rest != Some(0) || values.is_empty() {
            let expected = values.len().checked_div(columns).unwrap_or(1).max(1) * columns;
            return Err(Error::Shape { what: "values of whole rows", got: values.len(), expected });
        }
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite("a feature"));
        }
        Ok(Self { values, columns })
    }

    /// How many.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is a row at least")]
    pub fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    /// Numbers in a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }

    /// X·w.
    ///
    /// # Panics
    /// When there are not as many weights as columns.
    #[must_use]
    pub fn weighted_sums(&self, weights: &[f64]) -> Vec<f64> {
        assert_eq!(weights.len(), self.columns, "a weight for each column");
        self.values.chunks_exact(self.columns).map(|row| dot(row, weights)).collect()
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} of {})", self.len(), self.columns)
    }
}

/// Σ a·b.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What features go through before training and before prediction.
#[derive(Clone, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Preparation {
    mean: Vec<f64>,
    divisor: f64,
}

impl Preparation {
    /// That of some training rows.
    ///
    /// # Errors
    /// [`Error::Setting`] when all rows are the same.
    pub fn fit(rows: &Rows) -> Result<Self> {
        let count = rows.len() as f64;
        let mut mean = vec![0.0; rows.columns];
        for row in rows.values.chunks_exact(rows.columns) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        let squares = rows.values.chunks_exact(rows.columns);
        let squares =
            squares.map(|row| row.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).sum::<f64>());
        let divisor = (squares.sum::<f64>() / count / SQUARED_NORM).sqrt();
        if !(divisor > 0.0 && divisor.is_finite()) {
            return Err(Error::Setting(
                "all training rows are the same, or too large: there is nothing to learn",
            ));
        }
        Ok(Self { mean, divisor })
    }

    /// The rows, prepared, with a constant 1 at the end of each.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of features.
    pub fn apply(&self, rows: &Rows) -> Result<Rows> {
        let expected = self.mean.len();
        if rows.columns != expected {
            return Err(Error::Shape { what: "features of a row", got: rows.columns, expected });
        }
        let prepared = rows.values.chunks_exact(rows.columns).flat_map(|row| {
            let centred = row.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.divisor);
            centred.chain([1.0])
        });
        Rows::new(prepared.collect(), expected + 1)
    }
}

/// A head between two iterations. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Head {
    /// Where the next gradient is taken.
    pub(crate) v: Vec<f64>,
    /// The weights.
    pub(crate) w: Vec<f64>,
}

impl Head {
    /// All weights 0.
    #[must_use]
    pub fn zero(inputs: usize) -> Self {
        Self { v: vec![0.0; inputs], w: vec![0.0; inputs] }
    }

    /// The weights; that of the constant comes last.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.w
    }

    /// Where the next gradient is taken.
    #[must_use]
    pub fn lookahead(&self) -> &[f64] {
        &self.v
    }

    /// A step along a gradient, which is without λ.
    pub(crate) fn step(&mut self, gradient: &[f64], rate: f64, beta: f64) {
        let last = self.v.len() - 1;
        for (i, ((v, w), g)) in self.v.iter_mut().zip(&mut self.w).zip(gradient).enumerate() {
            let decay = if i == last { 0.0 } else { L2 * *v };
            let next = *v - rate * (g + decay);
            *v = next + beta * (next - *w);
            *w = next;
        }
    }
}

/// β of each iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Momentum {
    pub(crate) l: f64,
}

impl Default for Momentum {
    fn default() -> Self {
        Self { l: 1.0 }
    }
}

impl Momentum {
    /// β of one iteration.
    pub(crate) fn beta(iteration: usize) -> f64 {
        Self::default().nth(iteration).expect("endless")
    }

    /// β of the iteration before one; 0 before the first.
    pub(crate) fn beta_before(iteration: usize) -> f64 {
        iteration.checked_sub(1).map_or(0.0, Self::beta)
    }
}

/// Endless.
impl Iterator for Momentum {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let next = (1.0 + (1.0 + 4.0 * self.l * self.l).sqrt()) / 2.0;
        let beta = (self.l - 1.0) / next;
        self.l = next;
        Some(beta)
    }
}

/// The rows of batch t of a size.
pub fn batch(t: usize, size: usize, rows: usize) -> impl Iterator<Item = usize> + Clone {
    // t·size modulo rows: a long training does not overflow.
    let start = (t as u128 * size as u128 % rows as u128) as usize;
    (0..size).map(move |i| (start + i) % rows)
}

/// One head in training.
#[derive(Clone)]
pub struct Training<'a> {
    x: &'a Rows,
    y: &'a [bool],
    batch: usize,
    rate: f64,
    activation: Activation,
    head: Head,
    momentum: Momentum,
    iteration: usize,
    largest: f64,
}

impl<'a> Training<'a> {
    /// From weights 0, on prepared rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not a label for each row; [`Error::Setting`] for a batch of none, or of more than all
    /// rows, or a rate that is not positive.
    pub fn new(
        x: &'a Rows,
        y: &'a [bool],
        batch: usize,
        rate: f64,
        activation: Activation,
    ) -> Result<Self> {
        if x.len() != y.len() {
            return Err(Error::Shape { what: "labels", got: y.len(), expected: x.len() });
        }
        check(batch, x.len(), rate)?;
        let (head, momentum) = (Head::zero(x.columns()), Momentum::default());
        Ok(Self { x, y, batch, rate, activation, head, momentum, iteration: 0, largest: 0.0 })
    }

    /// Goes on with head `number` of a state, which decides what the next iteration is.
    ///
    /// # Errors
    /// [`Error::State`] when it has no such head, or one of another number of inputs.
    pub fn resume(self, state: &State, number: usize) -> Result<Self> {
        let head = state.heads().get(number).filter(|head| head.v.len() == self.x.columns());
        let head = head.ok_or(Error::State("it is of another number of heads or features"))?;
        let (iteration, momentum) = (state.iteration(), state.momentum);
        Ok(Self { head: head.clone(), momentum, iteration, ..self })
    }

    /// One iteration.
    pub fn step(&mut self) {
        let mut gradient = vec![0.0; self.x.columns()];
        for i in batch(self.iteration, self.batch, self.x.len()) {
            let row = self.x.row(i);
            let z = dot(row, &self.head.v);
            self.largest = self.largest.max(z.abs());
            let off = self.activation.at(z) - f64::from(u8::from(self.y[i]));
            gradient.iter_mut().zip(row).for_each(|(g, x)| *g += off * x);
        }
        gradient.iter_mut().for_each(|g| *g /= self.batch as f64);
        let beta = self.momentum.next().expect("endless");
        self.head.step(&gradient, self.rate, beta);
        self.iteration += 1;
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The largest |z| of all iterations.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.largest
    }
}

/// What all trainings ask of their settings.
pub(crate) fn check(batch: usize, rows: usize, rate: f64) -> Result<()> {
    if batch == 0 || batch > rows {
        return Err(Error::Setting("a batch has 1 row at least, and no more than there are"));
    }
    if !(rate > 0.0 && rate <= 1e3) {
        return Err(Error::Setting("the rate is above 0 and at most 1000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigmoid::Sigmoid;

    /// `reference.py` on the rows below, batch 2 of 3 rows, rate 2, cubic on ±12: after iterations 1, 2 and 3.
    const REFERENCE: [[f64; 3]; 3] = [
        [1.7765597044742525, 1.3324197783556895, 0.0],
        [1.9418486807221917, -4.251384471654633, 0.9543765732785545],
        [5.951784884418922, -75.10171850384138, 15.060679456562136],
    ];

    const LARGEST: f64 = 31.130863589205063;

    #[test]
    fn three_iterations_are_those_of_the_reference() {
        let raw = Rows::new(vec![1.0, 2.0, -1.0, 0.5, 0.25, -3.0], 2).unwrap();
        let x = Preparation::fit(&raw).unwrap().apply(&raw).unwrap();
        let y = [true, false, true];
        let cubic = Activation::Polynomial(Sigmoid::fit(3, 12.0).unwrap());
        let mut training = Training::new(&x, &y, 2, 2.0, cubic).unwrap();
        for expected in REFERENCE {
            training.step();
            for (w, expected) in training.head().weights().iter().zip(expected) {
                assert!((w - expected).abs() < 1e-12, "{w} {expected}");
            }
        }
        assert!((training.largest() - LARGEST).abs() < 1e-12);
    }

    #[test]
    fn a_training_goes_on_from_a_state_as_if_it_had_not_stopped() {
        let x = Rows::new(vec![1.0, 2.0, 1.0, -1.0, 0.5, 1.0, 0.25, -3.0, 1.0], 3).unwrap();
        let y = [true, false, true];
        let new = || Training::new(&x, &y, 2, 0.5, Activation::Exact).unwrap();
        let mut whole = new();
        (0..3).for_each(|_| whole.step());
        let (heads, momentum) = (vec![whole.head.clone()], whole.momentum);
        let state = State { iteration: 3, momentum, heads };
        let mut resumed = new().resume(&state, 0).unwrap();
        for training in [&mut whole, &mut resumed] {
            (0..4).for_each(|_| training.step());
        }
        assert!(whole.head == resumed.head);
        assert!(matches!(new().resume(&state, 1), Err(Error::State(_))));
        assert!(matches!(new().resume(&State::new(1, 2), 0), Err(Error::State(_))));
    }

    #[test]
    fn prepared_rows_are_centred_and_of_norm_four() {
        let raw = Rows::new((0..60).map(|i| f64::from(i * i % 17)).collect(), 6).unwrap();
        let x = Preparation::fit(&raw).unwrap().apply(&raw).unwrap();
        for column in 0..6 {
            assert!((0..10).map(|i| x.row(i)[column]).sum::<f64>().abs() < 1e-12);
        }
        let squares: f64 = (0..10).map(|i| dot(&x.row(i)[..6], &x.row(i)[..6])).sum();
        assert!((squares / 10.0 - SQUARED_NORM).abs() < 1e-12);
        assert!((0..10).all(|i| x.row(i)[6] == 1.0));
    }

    #[test]
    fn the_momentum_starts_at_none_and_nears_one() {
        let beta: Vec<_> = Momentum::default().take(50).collect();
        assert_eq!(beta[0], 0.0);
        assert!(beta.windows(2).all(|pair| pair[0] < pair[1]) && beta[49] > 0.9 && beta[49] < 1.0);
    }

    #[test]
    fn batches_wrap() {
        assert_eq!(batch(0, 2, 3).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(batch(1, 2, 3).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(batch(usize::MAX, 1, 2).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_and_nothing_is_printed() {
        assert!(matches!(
            Rows::new(vec![1.0; 5], 2),
            Err(Error::Shape { got: 5, expected: 4, .. })
        ));
        assert!(Rows::new(vec![], 2).is_err() && Rows::new(vec![1.0], 0).is_err());
        assert_eq!(Rows::new(vec![f64::NAN], 1), Err(Error::NotFinite("a feature")));
        let same = Rows::new(vec![7.25; 4], 2).unwrap();
        assert!(matches!(Preparation::fit(&same), Err(Error::Setting(_))));
        assert!(!format!("{same:?}").contains("7.25"));
        let new = |labels: &[bool], batch, rate| {
            Training::new(&same, labels, batch, rate, Activation::Exact).err()
        };
        assert!(matches!(new(&[true], 1, 1.0), Some(Error::Shape { .. })));
        assert!(matches!(new(&[true; 2], 3, 1.0), Some(Error::Setting(_))));
        assert!(matches!(new(&[true; 2], 2, f64::NAN), Some(Error::Setting(_))));
    }
}
