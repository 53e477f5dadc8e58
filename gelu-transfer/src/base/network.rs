//! The base in the clear, and how large its values and their noise can become.

use gelu_ckks::Complex64;

use super::plan::{BasePlan, HIDING_BITS, WEIGHT_BITS, pairs};
use crate::error::{Error, Result};

/// One layer: a = (W·x + b)².
#[derive(Clone)]
pub struct Layer {
    /// For each output its inputs and their weights; those of the same input add up.
    pub rows: Vec<Vec<(usize, f64)>>,
    /// b.
    pub offsets: Vec<f64>,
}

/// The layers of a base.
///
/// # Security
/// It is its owner's secret: `Debug` shows sizes alone.
#[derive(Clone)]
pub struct Base {
    inputs: usize,
    layers: Vec<Layer>,
}

/// What rows within certain bounds can lead to.
pub(super) struct Worst {
    /// The largest size of a slot with features.
    pub(super) largest: f64,
    /// The deviation of the noise of the noisiest slot.
    pub(super) noise: f64,
}

impl Base {
    /// Layers one after the other. Weights and offsets are rounded to multiples of 2^-20: what runs under encryption is what
    /// [`apply`](Self::apply) runs.
    ///
    /// # Errors
    /// [`Error::Base`] without layers or outputs, for an input that is not there, or an offset missing; [`Error::NotFinite`].
    pub fn new(inputs: usize, mut layers: Vec<Layer>) -> Result<Self> {
        if inputs == 0 || layers.is_empty() {
            return Err(Error::Base("needs an input and a layer"));
        }
        let step = f64::from(WEIGHT_BITS).exp2();
        let mut before = inputs;
        for Layer { rows, offsets } in &mut layers {
            if rows.is_empty() || rows.len() != offsets.len() {
                return Err(Error::Base(
                    "needs an offset for each output, and an output in each layer",
                ));
            }
            for row in &mut *rows {
                row.sort_by_key(|&(input, _)| input);
                row.dedup_by(|next, sum| {
                    let same = next.0 == sum.0;
                    sum.1 += if same { next.1 } else { 0.0 };
                    same
                });
                row.retain(|&(_, weight)| weight != 0.0);
                if row.last().is_some_and(|&(input, _)| input >= before) {
                    return Err(Error::Base("names an input that is not there"));
                }
            }
            before = rows.len();
            let numbers = rows.iter_mut().flatten().map(|(_, weight)| weight).chain(offsets);
            for number in numbers {
                *number = (*number * step).round() / step;
                if !number.is_finite() {
                    return Err(Error::NotFinite("a weight of the base"));
                }
            }
        }
        Ok(Self { inputs, layers })
    }

    /// Numbers of a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers that it makes of a row.
    #[must_use]
    pub fn features(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.rows.len())
    }

    /// Layers, each with its square.
    #[must_use]
    pub fn squares(&self) -> usize {
        self.layers.len()
    }

    /// The layers.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The features of a row, in the clear.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of inputs.
    pub fn apply(&self, row: &[f64]) -> Result<Vec<f64>> {
        let (what, got, expected) = ("inputs of the base", row.len(), self.inputs);
        if got != expected {
            return Err(Error::Shape { what, got, expected });
        }
        Ok(self.layers.iter().fold(row.to_vec(), |x, layer| {
            let sum = |row: &Vec<(usize, f64)>| row.iter().map(|&(i, w)| w * x[i]).sum::<f64>();
            let z = layer.rows.iter().zip(&layer.offsets).map(|(row, b)| sum(row) + b);
            z.map(|z| z * z).collect()
        }))
    }

    /// The worst of all rows within the settings' bounds.
    ///
    /// With intervals [l, h] of values and variances v of their noises: of W·x + b the interval by the signs of the weights, and
    /// Σ W²·v; in the first layer half of that, as the real part of a slot's noise, and k for switching keys. Of a square B²'s and
    /// 4B²·v + v² + r, for B the largest size and r the variance of the division's rounding. Two features share a ciphertext.
    pub(super) fn worst(&self, plan: &BasePlan) -> Worst {
        let parameters = plan.parameters();
        let variance = |deviation: f64, scale: &gelu_ckks::Scale| {
            parameters.degree() as f64 * (deviation / scale.to_f64()).powi(2)
        };
        let (least, most) = (plan.settings().least, plan.settings().most);
        let mut scale = BasePlan::input_scale();
        let fresh = variance(parameters.fresh_noise(), &scale) + variance(0.3, &scale);
        let mut values = vec![(least, most, fresh); self.inputs];
        for (level, layer) in plan.levels().zip(&self.layers) {
            let switching =
                variance(parameters.switching_noise(), &plan.layer_scale(&scale, level));
            scale = plan.scale_after(&scale, level);
            let rounding = variance(parameters.rounding_noise(), &scale);
            let unit = |(row, &b): (&Vec<(usize, f64)>, &f64)| {
                let start = (b, b, 0.0);
                let (low, high, v) = row.iter().fold(start, |(low, high, v), &(i, w)| {
                    let (l, h, noise) = values[i];
                    (low + (w * l).min(w * h), high + (w * l).max(w * h), v + w * w * noise)
                });
                let v = if plan.is_first(level) { v / 2.0 + switching } else { v };
                let (size, zero) = (low.abs().max(high.abs()), low <= 0.0 && high >= 0.0);
                let least = if zero { 0.0 } else { low.abs().min(high.abs()) };
                (least * least, size * size, 4.0 * size * size * v + v * v + rounding)
            };
            values = layer.rows.iter().zip(&layer.offsets).map(unit).collect();
        }
        let shared = if self.features() > 1 { 2f64.sqrt() } else { 1.0 };
        let largest = shared * values.iter().map(|x| x.1).fold(0.0, f64::max);
        let noise = shared * values.iter().map(|x| x.2).fold(0.0, f64::max).sqrt();
        Worst { largest, noise }
    }

    /// How far a slot with features is off, as a complex number: the deviation of what hides the computation.
    #[must_use]
    pub fn deviation(&self, plan: &BasePlan) -> f64 {
        f64::from(HIDING_BITS).exp2() * self.worst(plan).noise
    }

    /// Bytes of memory that the compute party needs: the widest layer's inputs and outputs, keys, and a message.
    #[must_use]
    pub fn memory(&self, plan: &BasePlan) -> u64 {
        let row = plan.parameters().degree() as u64 * 8;
        let mut inputs = pairs(self.inputs);
        let layers = plan.levels().zip(&self.layers).map(|(level, layer)| {
            let outputs = layer.rows.len();
            let rows = 2 * (inputs * (level + 1) + outputs * (level - 1));
            inputs = outputs;
            rows as u64 * row
        });
        let most = layers.max().unwrap_or(0);
        // Of groups of outputs that are computed at the same time.
        let working = 96 * 2 * (plan.parameters().top_level() as u64 + 1) * row;
        most + working + plan.key_memory() + plan.feature_bytes()
    }

    /// What a group of rows costs the compute party, in transforms of one row of N residues; a row that is read from memory
    /// and multiplied counts as one, and is read once for six outputs.
    #[must_use]
    pub fn transforms(&self, plan: &BasePlan) -> usize {
        let layers = plan.levels().zip(&self.layers).map(|(level, layer)| {
            let first = plan.is_first(level);
            let taps: usize = layer.rows.iter().map(|row| terms(row, first).len()).sum();
            let sums = 2 * (level + 1) * taps.div_ceil(6);
            let real_part = if first { plan.real_part_transforms() } else { 0 };
            sums + layer.rows.len() * (real_part + plan.square_transforms(level))
        });
        layers.sum::<usize>() + pairs(self.features()) * plan.hiding_transforms()
    }
}

/// The ciphertexts that an output takes, and their weights. Of pairs a + i·b, with u·a + v·b wanted, that is u − i·v: the real
/// part of the product.
pub(super) fn terms(row: &[(usize, f64)], in_pairs: bool) -> Vec<(usize, Complex64)> {
    if !in_pairs {
        return row.iter().map(|&(input, weight)| (input, weight.into())).collect();
    }
    let mut terms: Vec<(usize, Complex64)> = Vec::new();
    for &(input, weight) in row {
        let weight = match input % 2 {
            0 => Complex64::new(weight, 0.0),
            _ => Complex64::new(0.0, -weight),
        };
        match terms.last_mut().filter(|(pair, _)| *pair == input / 2) {
            Some((_, sum)) => *sum += weight,
            None => terms.push((input / 2, weight)),
        }
    }
    terms
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (inputs, squares, features) = (self.inputs, self.squares(), self.features());
        write!(f, "Base({inputs} inputs, {squares} squares, {features} features)")
    }
}
