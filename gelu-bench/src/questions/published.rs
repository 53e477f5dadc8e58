//! Figures that others published, by their source.
//!
//! HETAL: S. Lee, G. Lee, J. W. Kim, J. Shin, M.-K. Lee, *HETAL: Efficient Privacy-preserving Transfer
//! Learning with Homomorphic Encryption*, ICML 2023 (arXiv 2403.14111). It trains heads of many classes
//! by an encrypted softmax, at N = 2^16 with bootstrapping, on one A40 GPU, and nobody refreshes
//! anything. Its abstract and its section of results give the figures below.

use crate::exhibit::{Cell, Row, Source};

/// HETAL's source, for a cell.
pub const HETAL: &str = "HETAL (ICML 2023, one A40 GPU)";

/// Seconds of an iteration, from five data sets: the least, the most.
pub const ITERATION_SECONDS: [f64; 2] = [4.29, 15.72];

/// Seconds of a whole training: the least, the most.
pub const TRAINING_SECONDS: [f64; 2] = [567.0, 3442.0];

/// Accuracies of heads that were trained under encryption, in percent, by data set.
pub const ACCURACIES: [(&str, f64); 5] = [
    ("MNIST", 96.7),
    ("CIFAR-10", 96.6),
    ("Face Mask", 95.5),
    ("DermaMNIST", 76.1),
    ("SNIPS", 95.0),
];

/// What encryption costs in accuracy at most, in points.
pub const ACCURACY_LOSS: f64 = 0.5;

/// A row of published figures.
pub fn row(cells: Vec<Cell>) -> Row {
    Row { source: Source::Published, cells }
}
