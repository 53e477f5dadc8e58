//! Integers of 8 or 16 bits in the place of real numbers, as quantisers write them.
//!
//! ```text
//! QuantizeLinear      q = clip(round(x / s) + z, least, most)
//! DequantizeLinear    x = s · (q − z)
//! ```
//! Weights become the real numbers that their integers stand for. Computed numbers are cut off as in the file,
//! x ↦ clip(x, s·(least − z), s·(most − z)), which may be the only ReLU that it has; they are not rounded: fixed point has its
//! own grid. Where what comes before cannot leave the range by more than a step s, nothing is cut off.

use gelu_nn::{Activation, LayerSpec};
use ndarray::Axis;

use super::{Act, Lowering, Op, Stop, Value, refuse};
use crate::graph::Node;
use crate::tensor::{Tensor, integer_range};

impl<'a> Lowering<'a> {
    /// From real numbers to integers.
    pub(super) fn quantize(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let (scale, zero) = (self.single(node, 1)?, self.zero_point(node)?);
        let (least, most) = self.stored_range(node)?;
        let cut = |q: f64| q.max(least).min(most);
        match self.value(node, 0)?.clone() {
            Value::Constant(_) => self.apply(node, |x| cut((x / scale).round_ties_even() + zero)),
            Value::Act(act) => {
                self.rounded += 1;
                let ends = [least, most].map(|q| scale * (q - zero));
                match self.stays_between(&act, ends, scale) {
                    true => self.apply(node, |x| x / scale + zero),
                    false => {
                        let together = act.curve.then(|x| x.clamp(ends[0], ends[1]));
                        if together.activation().is_none() {
                            self.settled(node, 0)?;
                        }
                        self.apply(node, |x| cut(x / scale + zero))
                    }
                }
            }
            // Rounded, they are still the same probabilities.
            Value::Probabilities(ending) => {
                self.rounded += 1;
                Ok(Value::Probabilities(ending))
            }
            _ => refuse("rounds classes"),
        }
    }

    /// From integers to the real numbers that they stand for.
    pub(super) fn dequantize(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if node.integer("block_size", 0) != 0 {
            return refuse("scales blocks of an axis apart");
        }
        match self.value(node, 0)?.clone() {
            Value::Constant(tensor) if self.constant(node, 1)?.len() > 1 => {
                self.of_channels(node, &tensor)
            }
            Value::Constant(_) | Value::Act(_) => {
                let (scale, zero) = (self.single(node, 1)?, self.zero_point(node)?);
                self.apply(node, |q| scale * (q - zero))
            }
            Value::Probabilities(ending) => Ok(Value::Probabilities(ending)),
            _ => refuse("takes classes"),
        }
    }

    /// A constant with a scale, and perhaps a zero point, for each place along one axis.
    fn of_channels(&mut self, node: &'a Node, tensor: &Tensor) -> Result<Value, Stop> {
        let Some(mut values) = tensor.to_reals() else { return refuse("takes no numbers") };
        let scales = self.reals(node, 1)?;
        let zeros = match node.input(2) {
            None => vec![0.0; scales.len()],
            Some(_) => self.reals(node, 2)?,
        };
        let axes = values.ndim() as i64;
        let axis = node.integer("axis", 1);
        let axis = usize::try_from(if axis < 0 { axis + axes } else { axis }).unwrap_or(usize::MAX);
        let length = values.shape().get(axis).copied().unwrap_or_default();
        if scales.len() != length || zeros.len() != length {
            return refuse(format!(
                "{} scales and {} zero points for {length} places along its axis",
                scales.len(),
                zeros.len()
            ));
        }
        for (mut part, (scale, zero)) in
            values.axis_iter_mut(Axis(axis)).zip(scales.iter().zip(&zeros))
        {
            part.mapv_inplace(|q| scale * (q - zero));
        }
        let shape = values.shape().to_vec();
        self.folded(Tensor::reals(&shape, values.into_iter().collect())?)
    }

    /// A constant that must be one positive number for all.
    fn single(&self, node: &'a Node, index: usize) -> Result<f64, Stop> {
        match self.constant(node, index)?.scalar() {
            Some(scale) if scale > 0.0 => Ok(scale),
            Some(scale) => refuse(format!("its scale is {scale}")),
            None => {
                refuse("scales the channels of computed numbers apart; quantise them per tensor")
            }
        }
    }

    fn zero_point(&self, node: &'a Node) -> Result<f64, Stop> {
        match self.optional(node, 2)?.map(|zero| zero.scalar()) {
            None => Ok(0.0),
            Some(Some(zero)) => Ok(zero),
            Some(None) => refuse("its zero point is not one number"),
        }
    }

    /// The least and the largest integer of the type of a zero point.
    fn stored_range(&self, node: &'a Node) -> Result<(f64, f64), Stop> {
        let Some(name) = node.input(2) else { return Ok((0.0, 255.0)) };
        let data_type = self.graph.types.get(name).copied().unwrap_or_default();
        let range = integer_range(data_type);
        range.ok_or_else(|| Stop::Refused(format!("its integers are of type number {data_type}")))
    }

    /// Whether no value can be outside of two ends by more than `step`.
    fn stays_between(&self, act: &Act, [low, high]: [f64; 2], step: f64) -> bool {
        let (least, most) = match act.curve.is(|x| x) {
            true => self.range_of(act.step),
            false => act.curve.range(),
        };
        least >= low - step && most <= high + step
    }

    /// Between which numbers a step's output is, by its function alone.
    fn range_of(&self, step: usize) -> (f64, f64) {
        let step = &self.steps[step];
        match step.op {
            Op::Local(LayerSpec::Activation { function: Activation::Clip { lo, hi } }) => {
                (lo.into(), hi.into())
            }
            Op::Local(LayerSpec::Activation { function: Activation::Sigmoid }) => (0.0, 1.0),
            Op::Local(LayerSpec::Activation { function: Activation::Tanh }) => (-1.0, 1.0),
            Op::Local(LayerSpec::Activation { .. }) => (f64::MIN, f64::MAX),
            // Means, and the largest of some, are not outside of what they are taken of.
            Op::Local(_) => self.range_of(step.from[0]),
            _ => (f64::MIN, f64::MAX),
        }
    }
}
