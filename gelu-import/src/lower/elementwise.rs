//! Operations on single numbers.

use std::rc::Rc;

use gelu_nn::Activation;

use super::{Act, Lowering, Op, Scaling, Stop, Value, constant, refuse};
use crate::curve::Curve;
use crate::graph::Node;
use crate::tensor::{BATCH, Tensor};

/// Operators that are not supported and keep the shape of their input, so that what follows can be looked at.
const KEEP_SHAPE: [&str; 21] = [
    "Celu",
    "Cos",
    "Elu",
    "Floor",
    "Ceil",
    "GroupNormalization",
    "Hardmax",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "Log",
    "LpNormalization",
    "Mish",
    "Not",
    "Round",
    "Selu",
    "Shrink",
    "Sign",
    "Sin",
    "Softsign",
    "ThresholdedRelu",
];

/// Types of numbers by ONNX: of real ones, a cast among which changes no more than rounding.
pub(super) const REAL_TYPES: [i64; 4] = [1, 10, 11, 16];

impl<'a> Lowering<'a> {
    /// Functions of one tensor, and arithmetic of two.
    pub(super) fn elementwise(&mut self, node: &'a Node) -> Result<Value, Stop> {
        match node.operator.as_str() {
            "Add" => self.sum(node, 1.0),
            "Sub" => self.sum(node, -1.0),
            "Mul" => self.product(node, |y| y),
            "Div" => self.product(node, |y| 1.0 / y),
            "Pow" => {
                let power = self.number(node, 1)?;
                self.apply(node, |x| libm::pow(x, power))
            }
            "Clip" => {
                let (lo, hi) =
                    (self.bound(node, 1, "min", f64::MIN)?, self.bound(node, 2, "max", f64::MAX)?);
                match lo <= hi {
                    true => self.apply(node, |x| x.max(lo).min(hi)),
                    false => refuse(format!("its bounds are {lo} and {hi}")),
                }
            }
            "Max" | "Min" if node.inputs.len() == 2 => {
                let bound = self.number(node, 1)?;
                match node.operator.as_str() {
                    "Max" => self.apply(node, |x| x.max(bound)),
                    _ => self.apply(node, |x| x.min(bound)),
                }
            }
            "LeakyRelu" => {
                let slope = node.real("alpha", 0.01);
                self.apply(node, |x| if x > 0.0 { x } else { slope * x })
            }
            "PRelu" => {
                let slope = self.number(node, 1)?;
                self.apply(node, |x| if x > 0.0 { x } else { slope * x })
            }
            "HardSigmoid" => {
                let (a, b) = (node.real("alpha", 0.2), node.real("beta", 0.5));
                self.apply(node, |x| (a * x + b).clamp(0.0, 1.0))
            }
            "HardSwish" => self.apply(node, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            "Gelu" => match node.word("approximate", "none").as_str() {
                "none" => self.apply(node, |x| {
                    0.5 * x * (1.0 + libm::erf(x * core::f64::consts::FRAC_1_SQRT_2))
                }),
                "tanh" => self.apply(node, |x| {
                    let inner = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                    0.5 * x * (1.0 + libm::tanh(inner))
                }),
                other => refuse(format!("the approximation {other:?} is not known")),
            },
            "Relu" => self.apply(node, |x| x.max(0.0)),
            "Sigmoid" | "Tanh" => {
                // What stands before them is a layer's bias, or an activation; no other one is made of both.
                let is_known =
                    |curve: &Curve| curve.affine().is_some() || curve.activation().is_some();
                if matches!(self.value(node, 0)?, Value::Act(act) if is_known(&act.curve)) {
                    self.settled(node, 0)?;
                }
                match node.operator.as_str() {
                    "Sigmoid" => self.apply(node, |x| Activation::Sigmoid.value(x)),
                    _ => self.apply(node, libm::tanh),
                }
            }
            "Erf" => self.apply(node, libm::erf),
            "Neg" => self.apply(node, |x| -x),
            "Abs" => self.apply(node, f64::abs),
            "Exp" => self.apply(node, libm::exp),
            "Softplus" => self.apply(node, |x| libm::log1p(libm::exp(x))),
            "Sqrt" => self.apply(node, f64::sqrt),
            "Reciprocal" => self.apply(node, |x| 1.0 / x),
            other => {
                self.report(node, format!("{other} is not supported"));
                match self.act(node, 0) {
                    Ok(act) if KEEP_SHAPE.contains(&other) => self.refused_like(node, &act),
                    _ => Err(Stop::Unknown),
                }
            }
        }
    }

    /// A step in the place of one that was refused.
    pub(super) fn refused_like(&mut self, node: &'a Node, act: &Act) -> Result<Value, Stop> {
        let shape = act.shape().to_vec();
        let step = self.push(node.label(), Op::Refused, vec![act.step], super::natural(&shape));
        Ok(Value::Act(Act::of(step, &shape)))
    }

    /// What changes no number: `Identity`, `Dropout` once training is over, `Cast` between real types.
    pub(super) fn unchanged(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if let Some(training) = self.optional(node, 2)?
            && node.operator == "Dropout"
            && training.scalar() != Some(0.0)
        {
            return refuse("it is in training mode; export with `model.eval()`");
        }
        let value = self.value(node, 0)?.clone();
        if node.operator != "Cast" {
            return Ok(value);
        }
        let to_real = REAL_TYPES.contains(&node.integer("to", 0));
        match value {
            Value::Constant(tensor) => match &*tensor {
                Tensor::Integers(values) if to_real => match values.iter().any(|&v| v == BATCH) {
                    true => refuse("makes a real number of the batch size"),
                    false => Ok(constant(Tensor::Reals(values.mapv(|v| v as f64)))),
                },
                Tensor::Reals(_) if !to_real => refuse("rounds a constant to integers"),
                _ => Ok(Value::Constant(tensor)),
            },
            Value::Act(_) if !to_real => refuse("rounds computed numbers to integers"),
            other => Ok(other),
        }
    }

    pub(super) fn apply(&mut self, node: &'a Node, f: impl Fn(f64) -> f64) -> Result<Value, Stop> {
        if let Value::Constant(tensor) = self.value(node, 0)? {
            let Some(values) = tensor.to_reals() else { return refuse("takes no numbers") };
            let (shape, values) = (values.shape().to_vec(), values.iter().map(|&x| f(x)).collect());
            return self.folded(Tensor::reals(&shape, values)?);
        }
        let act = self.act(node, 0)?;
        act.check_unpadded()?;
        let curve = act.curve.then(f);
        Ok(Value::Act(act.with_curve(curve)))
    }

    /// x + sign · y.
    fn sum(&mut self, node: &'a Node, sign: f64) -> Result<Value, Stop> {
        if let Some(folded) = self.arithmetic(node, |x, y| x + sign * y)? {
            return Ok(folded);
        }
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Act(_), Value::Constant(_)) => {
                let terms: Vec<_> = self.reals(node, 1)?.iter().map(|y| sign * y).collect();
                let shape = self.constant(node, 1)?.to_reals().map(|y| y.shape().to_vec());
                self.affine(node, 0, &shape.unwrap_or_default(), |i| (1.0, terms[i]))
            }
            (Value::Constant(_), Value::Act(_)) => {
                let terms = self.reals(node, 0)?;
                let shape = self.constant(node, 0)?.to_reals().map(|x| x.shape().to_vec());
                self.affine(node, 1, &shape.unwrap_or_default(), |i| (sign, terms[i]))
            }
            _ if sign < 0.0 => refuse("a difference of two computed tensors"),
            _ => self.residual(node),
        }
    }

    /// The sum of two branches.
    fn residual(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let (a, b) = (self.settled(node, 0)?, self.settled(node, 1)?);
        if a.view != b.view {
            return refuse(format!(
                "adds tensors of shapes {:?} and {:?} in different orders",
                a.shape(),
                b.shape()
            ));
        }
        let shape = self.steps[a.step].shape;
        let step = self.push(node.label(), Op::Add, vec![a.step, b.step], shape);
        Ok(Value::Act(Act { step, ..a }))
    }

    /// x · g(y).
    fn product(&mut self, node: &'a Node, g: impl Fn(f64) -> f64) -> Result<Value, Stop> {
        if let Some(folded) = self.arithmetic(node, |x, y| x * g(y))? {
            return Ok(folded);
        }
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Act(_), Value::Constant(_)) => {
                let factors: Vec<_> = self.reals(node, 1)?.into_iter().map(g).collect();
                let shape = self.constant(node, 1)?.to_reals().map(|y| y.shape().to_vec());
                self.affine(node, 0, &shape.unwrap_or_default(), |i| (factors[i], 0.0))
            }
            (Value::Constant(_), Value::Act(_)) if node.operator == "Mul" => {
                let factors = self.reals(node, 0)?;
                let shape = self.constant(node, 0)?.to_reals().map(|x| x.shape().to_vec());
                self.affine(node, 1, &shape.unwrap_or_default(), |i| (factors[i], 0.0))
            }
            _ => refuse("a product or quotient of two computed tensors"),
        }
    }

    /// Arithmetic of two constants, or of two functions of the same numbers, or of one with a single number.
    fn arithmetic(
        &mut self,
        node: &'a Node,
        h: impl Fn(f64, f64) -> f64,
    ) -> Result<Option<Value>, Stop> {
        let value = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Constant(x), Value::Constant(y)) => {
                let (Some(x), Some(y)) = (x.to_reals(), y.to_reals()) else {
                    return refuse("takes no numbers, or sizes that depend on the batch");
                };
                let shape = if x.len() >= y.len() { x.shape() } else { y.shape() }.to_vec();
                let (Some(x), Some(y)) = (x.broadcast(shape.clone()), y.broadcast(shape.clone()))
                else {
                    return refuse("its constants have shapes that do not fit");
                };
                let values = x.iter().zip(&y).map(|(&x, &y)| h(x, y)).collect();
                self.folded(Tensor::reals(&shape, values)?)?
            }
            (Value::Act(x), Value::Act(y)) if x.step == y.step && x.view == y.view => {
                let curve = x.curve.with(&y.curve, h);
                Value::Act(x.clone().with_curve(curve))
            }
            (Value::Act(x), Value::Constant(y)) if y.scalar().is_some() => {
                let y = y.scalar().unwrap_or_default();
                Value::Act(x.clone().with_curve(x.curve.then(|x| h(x, y))))
            }
            (Value::Constant(x), Value::Act(y)) if x.scalar().is_some() => {
                let x = x.scalar().unwrap_or_default();
                Value::Act(y.clone().with_curve(y.curve.then(|y| h(x, y))))
            }
            _ => return Ok(None),
        };
        if let Value::Act(act) = &value {
            act.check_unpadded()?;
        }
        Ok(Some(value))
    }

    /// scale · x + shift, with a constant of the shape `of`, broadcast as ONNX does; `at` gives both by its index.
    pub(super) fn affine(
        &mut self,
        node: &'a Node,
        index: usize,
        of: &[usize],
        at: impl Fn(usize) -> (f64, f64),
    ) -> Result<Value, Stop> {
        let act = self.settled(node, index)?;
        // One more axis, of the batch, may stand in front.
        let of = match of.split_first() {
            Some((&1, rest)) if of.len() > act.shape().len() => rest,
            _ => of,
        };
        let places = super::in_order(of);
        let Some(places) = places.broadcast(act.view.raw_dim()) else {
            return refuse(format!(
                "a constant of shape {of:?} does not fit one of {:?}",
                act.shape()
            ));
        };
        let features = act.view.len();
        let mut scaling = Scaling { scale: vec![1.0; features], shift: vec![0.0; features] };
        for (&to, &from) in act.view.iter().zip(&places) {
            let (scale, shift) = at(from as usize);
            scaling.scale[to as usize] = scale;
            scaling.shift[to as usize] = shift;
        }
        if scaling.scale.iter().chain(&scaling.shift).any(|value| !value.is_finite()) {
            return refuse("divides by zero");
        }
        let shape = self.steps[act.step].shape;
        let step = self.push(node.label(), Op::Affine(Rc::new(scaling)), vec![act.step], shape);
        Ok(Value::Act(Act { step, curve: Curve::identity(), ..act }))
    }

    /// A constant that was computed here, within the limits.
    pub(super) fn folded(&mut self, tensor: Tensor) -> Result<Value, Stop> {
        self.folded += tensor.len() as u64;
        match self.folded <= 2 * gelu_core::linear::MAX_PARAMETERS {
            true => Ok(constant(tensor)),
            false => refuse("computes more constants than a network has parameters"),
        }
    }

    fn number(&self, node: &'a Node, index: usize) -> Result<f64, Stop> {
        let number = self.constant(node, index)?.scalar();
        number.ok_or_else(|| Stop::Refused(format!("input {} must be one number", index + 1)))
    }

    /// A bound, which is an input since version 11 and an attribute before.
    fn bound(&self, node: &'a Node, index: usize, name: &str, default: f64) -> Result<f64, Stop> {
        match node.input(index) {
            Some(_) => self.number(node, index),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a default beyond f32 stays infinite"
            )]
            None => Ok(node.real(name, default as f32)),
        }
    }
}
