//! Computations on all slots at once, once in the clear and once under CKKS.
//!
//! | step | y\[j\], indices modulo the slots | levels | keys |
//! |---|---|---|---|
//! | [`Step::Map`] | Σ_d D_d\[j\]·x\[j + d\] | 1 | its plan's babies and giants |
//! | [`Step::Add`] | x\[j\] + c\[j\] | 0 | |
//! | [`Step::Fold`] | x\[j\] + Σ_s x\[j + s\] | 0 | one for each s |
//! | [`Step::Pair`] | x\[j\] + i·x\[j + s\] | 0 | one |
//! | [`Step::Real`] | 2·Re x\[j\] | 0 | conjugation |
//! | [`Step::Square`] | x\[j\]² | 1 | relinearisation |
//!
//! Slots are complex, so one product with a + i·b takes two real numbers to two weighted ones: Re (u − i·v)·(a + i·b)
//! = u·a + v·b. It halves the diagonals of a map, for one conjugation.

use std::collections::BTreeMap;
use std::fmt;

use gelu_ckks::{
    Ciphertext, Complex64, EvaluationKeys, KeyKind, LinearMap, Parameters, Plaintext, Scale,
};

use super::error::Result;

/// One operation on all slots: see the [module](self).
#[derive(Clone)]
pub enum Step {
    /// A linear map by its diagonals.
    Map(Diagonals),
    /// Constants.
    Add(Vec<Complex64>),
    /// The sum with rotations by these numbers of slots.
    Fold(Vec<usize>),
    /// A rotation as the imaginary part.
    Pair(usize),
    /// Twice the real part.
    Real,
    /// The square.
    Square,
}

/// A linear map between two packings, weight by weight.
#[derive(Clone)]
pub struct Diagonals {
    slots: usize,
    rows: BTreeMap<usize, Vec<Complex64>>,
}

impl Diagonals {
    /// The map to 0.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, rows: BTreeMap::new() }
    }

    /// y\[to\] += weight·x\[from\], both modulo the slots.
    pub fn add(&mut self, to: isize, from: isize, weight: Complex64) {
        let to = wrap(to, self.slots);
        let diagonal = (wrap(from, self.slots) + self.slots - to) % self.slots;
        let row = self.rows.entry(diagonal).or_insert_with(|| vec![Complex64::ZERO; self.slots]);
        row[to] += weight;
    }

    /// All weights, times this.
    pub(super) fn scale(&mut self, factor: f64) {
        self.rows.values_mut().flatten().for_each(|weight| *weight *= factor);
    }

    fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        let mut y = vec![Complex64::ZERO; self.slots];
        for (&d, row) in &self.rows {
            let moved = x[d..].iter().chain(&x[..d]);
            for ((y, w), x) in y.iter_mut().zip(row).zip(moved) {
                *y += w * x;
            }
        }
        y
    }
}

/// An index modulo the slots.
pub(super) fn wrap(index: isize, slots: usize) -> usize {
    let slots = isize::try_from(slots).expect("at most 2^15");
    index.rem_euclid(slots).unsigned_abs()
}

impl Step {
    /// In the clear.
    #[must_use]
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        let at = |j: usize, s: usize| x[(j + s) % x.len()];
        let all = |f: &dyn Fn(usize) -> Complex64| (0..x.len()).map(f).collect();
        match self {
            Self::Map(diagonals) => diagonals.apply(x),
            Self::Add(c) => all(&|j| x[j] + c[j]),
            Self::Fold(steps) => {
                all(&|j| x[j] + steps.iter().map(|&s| at(j, s)).sum::<Complex64>())
            }
            Self::Pair(s) => all(&|j| x[j] + Complex64::I * at(j, *s)),
            Self::Real => all(&|j| (2.0 * x[j].re).into()),
            Self::Square => all(&|j| x[j] * x[j]),
        }
    }

    /// Levels that it takes.
    fn depth(&self) -> usize {
        usize::from(matches!(self, Self::Map(_) | Self::Square))
    }

    /// The scale after it, at a level of this last prime.
    fn scale_after(&self, scale: Scale, last: &Scale) -> Scale {
        match self {
            Self::Square => scale.times(&scale).over(last),
            _ => scale,
        }
    }
}

/// Steps, one after the other.
#[derive(Clone)]
pub struct Program {
    /// In order.
    pub steps: Vec<Step>,
}

impl Program {
    /// In the clear: what an encrypted evaluation must come close to.
    #[must_use]
    pub fn apply(&self, x: &[Complex64]) -> Vec<Complex64> {
        self.steps.iter().fold(x.to_vec(), |x, step| step.apply(&x))
    }

    /// The largest magnitudes over some inputs, before each step and at the end, slot by slot.
    pub fn ranges(&self, inputs: impl IntoIterator<Item = Vec<Complex64>>) -> Vec<Vec<f64>> {
        let mut ranges = vec![Vec::new(); self.steps.len() + 1];
        let widen = |range: &mut Vec<f64>, x: &[Complex64]| {
            range.resize(x.len(), 0.0);
            range.iter_mut().zip(x).for_each(|(range, x)| *range = range.max(x.norm()));
        };
        for mut x in inputs {
            for (step, range) in self.steps.iter().zip(&mut ranges) {
                widen(range, &x);
                x = step.apply(&x);
            }
            widen(ranges.last_mut().expect("one at least"), &x);
        }
        ranges
    }

    /// Levels that it takes.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.steps.iter().map(Step::depth).sum()
    }

    /// The scale and the level of what comes out.
    ///
    /// # Errors
    /// When there are too few levels.
    pub fn end(&self, parameters: &Parameters) -> Result<(Scale, usize)> {
        let (mut level, mut scale) = (parameters.top_level(), parameters.scale());
        for step in &self.steps {
            scale = step.scale_after(scale, &parameters.prime_scale(level));
            level = level.checked_sub(step.depth()).ok_or(gelu_ckks::Error::NoLevelLeft)?;
        }
        Ok((scale, level))
    }

    /// How far the worst slot is off in the end: the deviation of its noise, as independent noises add up, where values are as
    /// large as these [`ranges`](Self::ranges).
    ///
    /// With v before a step and r = the noise of a rounding, k that of switching a key: a map Σ|D|²·(v + k) + r and what
    /// the rounding of its weights adds, a fold by n rotations the sum of n + 1 slots' v and n·k, a square 4B²·v + v² + r.
    #[must_use]
    pub fn noise(&self, parameters: &Parameters, ranges: &[Vec<f64>]) -> f64 {
        let degree = parameters.degree() as f64;
        let (mut level, mut scale) = (parameters.top_level(), parameters.scale());
        let variance =
            |deviation: f64, scale: &Scale| degree * (deviation / scale.to_f64()).powi(2);
        let rounded = (1.0 / 12.0f64).sqrt();
        let fresh = variance(parameters.fresh_noise(), &scale) + variance(rounded, &scale);
        let mut all = vec![fresh; parameters.slots()];
        for (step, range) in self.steps.iter().zip(ranges) {
            let switching = variance(parameters.switching_noise(), &scale);
            let last = parameters.prime_scale(level);
            level -= step.depth();
            scale = step.scale_after(scale, &last);
            let rounding = variance(parameters.rounding_noise(), &scale);
            let at = |v: &[f64], j: usize, s: usize| v[(j + s) % v.len()];
            let next = |j: usize| match step {
                Step::Map(map) => {
                    let weight = variance(rounded, &last);
                    let term = |(&d, row): (&usize, &Vec<Complex64>)| {
                        row[j].norm_sqr() * (at(&all, j, d) + switching)
                            + weight * at(range, j, d).powi(2)
                    };
                    map.rows.iter().map(term).sum::<f64>() + rounding
                }
                Step::Add(_) => all[j] + variance(rounded, &scale),
                Step::Fold(steps) => {
                    all[j] + steps.iter().map(|&s| at(&all, j, s) + switching).sum::<f64>()
                }
                Step::Pair(s) => all[j] + at(&all, j, *s) + switching,
                Step::Real => 2.0 * all[j] + switching,
                Step::Square => 4.0 * range[j].powi(2) * all[j] + all[j].powi(2) + rounding,
            };
            all = (0..all.len()).map(next).collect();
        }
        all.into_iter().fold(0.0, f64::max).sqrt()
    }

    /// Makes it ready for ciphertexts of the top level.
    ///
    /// # Errors
    /// When there are too few levels, or a constant does not fit.
    pub fn encode(&self, parameters: &Parameters) -> Result<Encoded> {
        let (mut level, mut scale) = (parameters.top_level(), parameters.scale());
        let mut steps = Vec::new();
        let mut keys = BTreeMap::new();
        for step in &self.steps {
            let mut need = |kind| _ = keys.entry(kind).or_insert(level);
            let encoded = match step {
                Step::Map(map) => {
                    let map = LinearMap::encode(parameters, &map.rows, level)?;
                    map.plan().keys().for_each(need);
                    Operation::Map(map)
                }
                Step::Add(c) => {
                    Operation::Add(Plaintext::encode_complex(parameters, c, &scale, level)?)
                }
                Step::Fold(steps) => {
                    steps.iter().for_each(|&s| need(KeyKind::Rotation(s)));
                    Operation::Fold(steps.clone())
                }
                Step::Pair(steps) => {
                    need(KeyKind::Rotation(*steps));
                    // i in all slots is X^(N/2): exact at the scale 1.
                    let i = vec![Complex64::I; parameters.slots()];
                    let one = Scale::power_of_two(0);
                    let i = Plaintext::encode_complex(parameters, &i, &one, level)?;
                    Operation::Pair { steps: *steps, i }
                }
                Step::Real => {
                    need(KeyKind::Conjugation);
                    Operation::Real
                }
                Step::Square => {
                    need(KeyKind::Relinearization);
                    Operation::Square
                }
            };
            scale = step.scale_after(scale, &parameters.prime_scale(level));
            level = level.checked_sub(step.depth()).ok_or(gelu_ckks::Error::NoLevelLeft)?;
            steps.push(encoded);
        }
        Ok(Encoded { steps, keys })
    }
}

/// A program ready to run on ciphertexts.
pub struct Encoded {
    steps: Vec<Operation>,
    keys: BTreeMap<KeyKind, usize>,
}

enum Operation {
    Map(LinearMap),
    Add(Plaintext),
    Fold(Vec<usize>),
    Pair { steps: usize, i: Plaintext },
    Real,
    Square,
}

impl Encoded {
    /// The keys that it needs, each for ciphertexts up to a level.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<KeyKind, usize> {
        &self.keys
    }

    /// On a fresh ciphertext.
    ///
    /// # Errors
    /// For a ciphertext or keys that do not fit.
    pub fn run(&self, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext> {
        self.steps.iter().try_fold(x.clone(), |x, step| step.apply(&x, keys))
    }
}

impl Operation {
    fn apply(&self, x: &Ciphertext, keys: &EvaluationKeys) -> Result<Ciphertext> {
        Ok(match self {
            Self::Map(map) => map.apply(x, keys)?,
            Self::Add(c) => x.add_plain(c)?,
            Self::Fold(steps) => {
                let hoisted = x.hoist();
                let mut sum = x.extend();
                for &s in steps {
                    sum = sum.plus(&hoisted.rotate_extended(s, keys)?)?;
                }
                sum.reduce()
            }
            Self::Pair { steps, i } => x.add(&x.rotate(*steps, keys)?.mul_plain(i)?)?,
            Self::Real => x.add(&x.conjugate(keys)?)?,
            Self::Square => x.square(keys)?,
        })
    }
}

impl fmt::Debug for Step {
    /// No weight is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(map) => write!(f, "map of {} diagonals", map.rows.len()),
            Self::Add(_) => f.write_str("biases"),
            Self::Fold(steps) => write!(f, "fold by {steps:?}"),
            Self::Pair(steps) => write!(f, "pair with {steps}"),
            Self::Real => f.write_str("real part"),
            Self::Square => f.write_str("square"),
        }
    }
}
