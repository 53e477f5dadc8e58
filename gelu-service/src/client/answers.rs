//! What queries are answered with, open or blind.

use gelu_core::pass::argmax;
use ndarray::{Array2, Axis};

/// What a query is answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// The class of each sample.
    Classes(Vec<usize>),
    /// The class probabilities, `[classes, samples]`.
    Probabilities(Array2<f64>),
}

impl Answers {
    /// The most probable class of each sample, of equal ones the first.
    pub fn classes(&self) -> Vec<usize> {
        match self {
            Self::Classes(classes) => classes.clone(),
            Self::Probabilities(all) => {
                all.axis_iter(Axis(1)).map(|p| argmax(p.iter().copied())).collect()
            }
        }
    }
}
