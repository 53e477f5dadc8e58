//! Scales, integers and tables of a network: what both sides fix before anything is encrypted.
//!
//! ```text
//! ⟦α·a⟧  ──▶  Σ Kᵢ·⟦α·aᵢ⟧ + β·b  =  ⟦β·z⟧         K = round(s·W)     α = β/s
//! β = 1 / (4 · bound of |z|) before a table, twice as much for the scores at the end
//! ```
//!
//! A large s rounds the weights less and multiplies the noise of the aᵢ more. The plan tries all small s
//! (a pooling's 1/4 is exact at s = 4) and powers of √2 beyond, and takes the one with
//! the least
//!
//! ```text
//! max over outputs of   ‖K‖² · V(a)  +  α² · ‖K/s − W‖² · mean(a²)
//! ```

use core::fmt;
use std::sync::Arc;

use gelu_core::Error;
use gelu_core::error::{ApiMisuse, RangeError, Result};
use gelu_core::linear::Taps;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::{Parameters, noise};

/// A function of one real number.
#[derive(Clone)]
pub struct Function(Arc<dyn Fn(f64) -> f64 + Send + Sync>);

impl Function {
    /// The function f: the same that the network has in the clear.
    pub fn new(f: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// f(z).
    pub fn value(&self, z: f64) -> f64 {
        (self.0)(z)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// a ↦ f(E·a + b): one linear map and the function that follows it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name, for errors and tables.
    pub name: String,
    /// Number of inputs.
    pub inputs: usize,
    /// For each output its inputs and their entries.
    pub taps: Taps,
    /// The distinct entries of the matrix.
    pub entries: Vec<f64>,
    /// What is added to each output.
    pub offsets: Vec<f64>,
    /// The function of each output; the last layer has none, every other has one.
    pub function: Option<Function>,
}

impl Layer {
    /// E·a + b with other entries of the same shape.
    fn sums(&self, entries: &[f64], a: ArrayView1<'_, f64>) -> Array1<f64> {
        let sum = |o: usize| {
            let taps = self.taps.of(o).iter();
            let products = taps.map(|t| entries[t.weight as usize] * a[t.source as usize]);
            self.offsets[o] + products.sum::<f64>()
        };
        (0..self.taps.outputs()).map(sum).collect()
    }
}

/// How the range of a layer's sums is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// The largest sum among the calibration samples, and this share more. What exceeds it comes
    /// back with the wrong sign.
    Calibrated {
        /// 0.25 is a quarter more.
        margin: f64,
    },
    /// The largest sum that inputs within the calibration's bounds can reach. Nothing can exceed
    /// it, and few networks leave enough precision.
    Proven,
}

/// One layer, planned.
#[derive(Debug, Clone)]
pub struct StagePlan {
    pub(super) layer: Layer,
    pub(super) integers: Vec<i64>,
    pub(super) torus_offsets: Vec<u64>,
    pub(super) table: Option<Vec<u64>>,
    input_scale: f64,
    scale: f64,
    bound: f64,
    noise: f64,
}

impl StagePlan {
    /// Name of the layer.
    pub fn name(&self) -> &str {
        &self.layer.name
    }

    /// Number of sums, and of bootstraps if the layer [has a table](Self::has_table).
    pub fn outputs(&self) -> usize {
        self.layer.taps.outputs()
    }

    /// Multiply-accumulates.
    pub fn operations(&self) -> usize {
        self.layer.taps.len()
    }

    /// Whether each sum goes through a bootstrap.
    pub fn has_table(&self) -> bool {
        self.table.is_some()
    }

    /// Bits of the widest integer weight, sign included.
    pub fn weight_bits(&self) -> u32 {
        let widest = self.integers.iter().map(|k| k.unsigned_abs()).max().unwrap_or(0);
        u64::BITS - widest.leading_zeros() + 1
    }

    /// |z| may be as large.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// β: torus elements that stand for a sum of 1.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The predicted standard deviation of the noise of z as the table (or the client) sees it, in
    /// units of z; rounding of weights included.
    pub fn noise(&self) -> f64 {
        self.noise / self.scale
    }

    /// How many steps of one standard deviation the whole range has, as bits.
    pub fn precision_bits(&self) -> f64 {
        libm::log2(2.0 * self.bound / self.noise())
    }
}

/// A planned network: see the [module](super).
#[derive(Debug, Clone)]
pub struct Plan {
    parameters: Parameters,
    stages: Vec<StagePlan>,
}

impl Plan {
    /// Plans `layers` by the `samples` `[features, count]`.
    ///
    /// # Errors
    /// [`RangeError::Slot`] naming the first layer whose noise would exceed a `2^signal_bits`-th of the
    /// root mean square of its sums: its range is too wide for the torus. [`ApiMisuse`] for layers
    /// that do not fit each other, an inner layer without a function, or no samples.
    pub fn new(
        parameters: Parameters,
        layers: Vec<Layer>,
        samples: ArrayView2<'_, f64>,
        range: Range,
        signal_bits: u32,
    ) -> Result<Self> {
        if samples.is_empty() || layers.is_empty() {
            return Err(ApiMisuse::Empty("planning").into());
        }
        let mut activations = samples.to_owned();
        let mut reach = samples.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let mut variance = noise::fresh(&parameters);
        let mut stages: Vec<StagePlan> = Vec::new();
        let count = layers.len();
        for (index, layer) in layers.into_iter().enumerate() {
            if layer.inputs != activations.nrows() {
                let why = format!("takes {} inputs, gets {}", layer.inputs, activations.nrows());
                return Err(ApiMisuse::configuration(&layer.name, why).into());
            }
            if layer.function.is_none() != (index + 1 == count) {
                let why = "every layer but the last needs a function";
                return Err(ApiMisuse::configuration(&layer.name, why).into());
            }
            let sums = columns(&activations, |a| layer.sums(&layer.entries, a));
            let stage =
                StagePlan::new(parameters, layer, &activations, &sums, reach, variance, range)?;
            let signal = mean_square(&sums).sqrt();
            let needed = libm::log2(2.0 * stage.bound / signal) + f64::from(signal_bits);
            if stage.precision_bits() < needed {
                let (needed, available) = (whole(needed.ceil()), whole(stage.precision_bits()));
                let layer = stage.layer.name;
                return Err(Error::Range(RangeError::Slot { layer, needed, available }));
            }
            if let Some(f) = &stage.layer.function {
                activations = sums.mapv(|z| f.value(z));
                reach = stage.reach(parameters.polynomial_size());
                variance = noise::bootstrap(&parameters);
            }
            stages.push(stage);
        }
        // A layer's table writes what the next layer reads.
        for index in 1..stages.len() {
            let next = stages[index].input_scale;
            let size = parameters.polynomial_size();
            stages[index - 1].table = stages[index - 1].tabulate(next, size);
        }
        Ok(Self { parameters, stages })
    }

    /// The lattices.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The layers, first to last.
    pub fn stages(&self) -> &[StagePlan] {
        &self.stages
    }

    /// Number of bootstraps of one inference.
    pub fn bootstraps(&self) -> usize {
        self.stages.iter().filter(|s| s.has_table()).map(StagePlan::outputs).sum()
    }

    /// α₀: what the client multiplies inputs by.
    pub fn input_scale(&self) -> f64 {
        self.stages[0].input_scale
    }

    /// What the client divides decrypted scores by.
    pub fn output_scale(&self) -> f64 {
        self.stages[self.stages.len() - 1].scale
    }

    /// Features of a sample.
    pub fn inputs(&self) -> usize {
        self.stages[0].layer.inputs
    }

    /// Scores of a sample.
    pub fn outputs(&self) -> usize {
        self.stages[self.stages.len() - 1].outputs()
    }

    /// The server's computation in the clear and without noise, sums wrapping as they do on the
    /// torus: the scores of one sample.
    ///
    /// # Panics
    /// When the sample has another length.
    pub fn evaluate(&self, sample: &[f64]) -> Vec<f64> {
        let scores = self.sums(sample).pop().expect("at least one stage");
        scores.into_iter().map(|t| from_torus(t) / self.output_scale()).collect()
    }

    /// The sums β·z of every layer, as torus elements.
    ///
    /// # Panics
    /// As [`evaluate`](Self::evaluate).
    pub fn sums(&self, sample: &[f64]) -> Vec<Vec<u64>> {
        assert_eq!(sample.len(), self.inputs(), "features of the sample");
        let mut activations: Vec<_> =
            sample.iter().map(|x| to_torus(x * self.input_scale())).collect();
        let of = |stage: &StagePlan| {
            let sums: Vec<_> =
                (0..stage.outputs()).map(|o| stage.sum(o, |i| activations[i])).collect();
            activations = sums.iter().map(|&sum| stage.look_up(sum)).collect();
            sums
        };
        self.stages.iter().map(of).collect()
    }

    /// Whether all sums of a sample stay in their ranges.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] naming the first layer whose range is left, and the sum.
    ///
    /// # Panics
    /// As [`evaluate`](Self::evaluate).
    pub fn check(&self, sample: &[f64]) -> Result<()> {
        let mut a = Array1::from(sample.to_vec());
        for stage in &self.stages {
            let z = stage.layer.sums(&stage.layer.entries, a.view());
            if let Some(far) = z.iter().find(|z| z.abs() > stage.bound) {
                let why = format!("a sum of {far:.3} leaves the range of ±{:.3}", stage.bound);
                return Err(ApiMisuse::configuration(stage.name(), why).into());
            }
            a = stage.layer.function.as_ref().map_or(z.clone(), |f| z.mapv(|z| f.value(z)));
        }
        Ok(())
    }
}

impl StagePlan {
    fn new(
        parameters: Parameters,
        layer: Layer,
        inputs: &Array2<f64>,
        sums: &Array2<f64>,
        reach: f64,
        variance: f64,
        range: Range,
    ) -> Result<Self> {
        let bound = match range {
            Range::Calibrated { margin } => {
                let most = sums.iter().fold(0.0, |most: f64, z| most.max(z.abs()));
                most * (1.0 + margin)
            }
            Range::Proven => layer.reach(reach),
        };
        if !(bound.is_finite() && bound > 0.0) {
            let why = format!("its sums are within ±{bound}");
            return Err(ApiMisuse::configuration(&layer.name, why).into());
        }
        let has_function = layer.function.is_some();
        let scale = if has_function { 0.25 } else { 0.5 } / bound;
        let choice = Choice { layer: &layer, scale, variance, mean_square: mean_square(inputs) };
        let (factor, sum_variance) = choice.best(reach);
        let mut total = sum_variance;
        if has_function {
            total += noise::key_switch(&parameters) + noise::modulus_switch(&parameters);
        }
        let integers = layer.entries.iter().map(|&w| round(factor * w)).collect();
        let quarter = if has_function { 0.25 } else { 0.0 };
        let torus_offsets = layer.offsets.iter().map(|b| to_torus(scale * b + quarter)).collect();
        let input_scale = scale / factor;
        let (noise, table) = (total.sqrt(), None);
        Ok(Self { layer, integers, torus_offsets, table, input_scale, scale, bound, noise })
    }

    /// The largest |f(z)| within the range: what the table can return.
    fn reach(&self, size: usize) -> f64 {
        let f = self.layer.function.as_ref().expect("a layer with a table");
        (0..size).map(|j| f.value(self.point(j, size)).abs()).fold(0.0, f64::max)
    }

    /// The z in the middle of the table's entry j.
    fn point(&self, j: usize, size: usize) -> f64 {
        ((j as f64 + 0.5) / (2.0 * size as f64) - 0.25) / self.scale
    }

    fn tabulate(&self, next_scale: f64, size: usize) -> Option<Vec<u64>> {
        let f = self.layer.function.as_ref()?;
        Some((0..size).map(|j| to_torus(next_scale * f.value(self.point(j, size)))).collect())
    }

    /// One sum on the torus, the quarter that centres the table included.
    pub(super) fn sum(&self, output: usize, input: impl Fn(usize) -> u64) -> u64 {
        self.layer.taps.of(output).iter().fold(self.torus_offsets[output], |sum, tap| {
            let k = self.integers[tap.weight as usize].cast_unsigned();
            sum.wrapping_add(k.wrapping_mul(input(tap.source as usize)))
        })
    }

    /// What a bootstrap without noise returns: the table, negated on the other half of the circle.
    fn look_up(&self, sum: u64) -> u64 {
        let Some(table) = &self.table else { return sum };
        let bits = table.len().ilog2() + 1;
        let index = usize::try_from(sum >> (u64::BITS - bits)).expect("a few bits");
        match table.get(index) {
            Some(&value) => value,
            None => table[index - table.len()].wrapping_neg(),
        }
    }
}

impl Layer {
    /// The largest |z| that inputs of magnitude `reach` can give.
    fn reach(&self, reach: f64) -> f64 {
        let of = |o: usize| {
            let taps = self.taps.of(o).iter();
            let most: f64 = taps.map(|t| self.entries[t.weight as usize].abs() * reach).sum();
            most + self.offsets[o].abs()
        };
        (0..self.taps.outputs()).map(of).fold(0.0, f64::max)
    }
}

/// The choice of s for one layer.
struct Choice<'a> {
    layer: &'a Layer,
    scale: f64,
    variance: f64,
    mean_square: f64,
}

impl Choice<'_> {
    /// The best s for inputs of magnitude `reach`, and the variance of the noise of a sum.
    fn best(&self, reach: f64) -> (f64, f64) {
        let small = (1..=64).map(f64::from);
        let large = (13..=32).map(|half| libm::exp2(f64::from(half) / 2.0));
        // An input may take a bit less than half of the circle.
        let room = self.scale * reach / 0.49;
        let weighed = |s: f64| (s, self.variance_of(s));
        let fits = small.chain(large).filter(|&s| s >= room).map(weighed);
        fits.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_else(|| weighed(room))
    }

    fn variance_of(&self, s: f64) -> f64 {
        let entries = &self.layer.entries;
        let parts: Vec<_> = entries
            .iter()
            .map(|&w| {
                let k = round(s * w) as f64;
                (k * k, (k / s - w).powi(2))
            })
            .collect();
        let rounding = (self.scale / s).powi(2) * self.mean_square;
        let of = |o: usize| {
            let taps = self.layer.taps.of(o).iter();
            taps.map(|t| parts[t.weight as usize])
                .map(|(square, error)| square * self.variance + error * rounding)
                .sum()
        };
        (0..self.layer.taps.outputs()).map(of).fold(0.0, f64::max)
    }
}

fn columns(a: &Array2<f64>, f: impl Fn(ArrayView1<'_, f64>) -> Array1<f64>) -> Array2<f64> {
    let columns: Vec<_> = a.columns().into_iter().map(f).collect();
    let views: Vec<_> = columns.iter().map(|c| c.view()).collect();
    ndarray::stack(Axis(1), &views).expect("columns of one length")
}

fn mean_square(values: &Array2<f64>) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a few bits")]
fn whole(bits: f64) -> u32 {
    bits.max(0.0) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "weights times at most 2^16")]
fn round(x: f64) -> i64 {
    libm::round(x) as i64
}

/// The torus element nearest to x, modulo 1.
#[expect(clippy::cast_possible_truncation, reason = "a fraction in [-1/2, 1/2] times 2^64")]
pub(super) fn to_torus(x: f64) -> u64 {
    let fraction = x - libm::round(x);
    (fraction * libm::exp2(64.0)) as i128 as u64
}

/// The representative in [-1/2, 1/2).
pub(super) fn from_torus(t: u64) -> f64 {
    t.cast_signed() as f64 / libm::exp2(64.0)
}
