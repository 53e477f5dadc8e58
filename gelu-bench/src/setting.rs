//! What an experiment is told, and how it tells how far it is.

use std::path::PathBuf;

/// How much is to be run, on what.
#[derive(Debug, Clone)]
pub struct Setting {
    /// A look, or all of it.
    pub extent: Extent,
    /// The folder of the data sets (`mnist/`, `iris/`, …); without it, what the program carries with
    /// it: Iris and the 8x8 digits.
    pub data: Option<PathBuf>,
    /// A folder of trained models (`conv1.safetensors`, …); what is missing is trained and kept there.
    pub models: Option<PathBuf>,
    /// Where all randomness of the experiment comes from, keys included.
    pub seed: u64,
    /// Bits of Paillier keys.
    pub key_bits: u32,
}

/// How much is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Seconds: fewer folds, images and repetitions, and the exhibit says so.
    Quick,
    /// What the paper ran, or more.
    Paper,
}

/// Who is told how far an experiment is.
pub trait Progress: Sync {
    /// `steps` steps of `what` follow.
    fn begin(&self, what: &str, steps: usize);

    /// One of them is done.
    fn step(&self);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: usize) {}

    fn step(&self) {}
}
