//! What the server computes: dense layers and convolutions, and the scalings that are folded into them.

use std::rc::Rc;

use gelu_core::linear::MAX_FEATURES;
use gelu_nn::{FloatLayer, LayerSpec, Shape};
use ndarray::{Array2, Array4, Ix2, Ix4};

use super::pooling::Windows;
use super::{Act, Ending, Lowering, Op, Scaling, Stop, Value, refuse};
use crate::graph::Node;

impl<'a> Lowering<'a> {
    /// alpha · A·B + beta · C, with A computed and B of `[inputs, outputs]`, or of `[outputs, inputs]` with `transB`.
    pub(super) fn gemm(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let (alpha, beta) = (node.real("alpha", 1.0), node.real("beta", 1.0));
        if node.integer("transA", 0) != 0 {
            return refuse("transposes the samples (transA)");
        }
        let matrix = self.matrix(node, 1)?;
        let matrix = if node.integer("transB", 0) == 0 { matrix } else { matrix.reversed_axes() };
        let outputs = matrix.ncols();
        let biases = match self.optional(node, 2)? {
            None => vec![0.0; outputs],
            Some(_) => match self.reals(node, 2)? {
                one if one.len() == 1 => vec![beta * one[0]; outputs],
                each if each.len() == outputs => each.iter().map(|b| beta * b).collect(),
                other => return refuse(format!("{} biases for {outputs} outputs", other.len())),
            },
        };
        self.dense(node, &(matrix * alpha), biases)
    }

    /// A·B with B of `[inputs, outputs]`.
    pub(super) fn mat_mul(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if let Value::Constant(_) = self.value(node, 0)? {
            return refuse("multiplies from the left; the constant matrix must be on the right");
        }
        let matrix = self.matrix(node, 1)?;
        let biases = vec![0.0; matrix.ncols()];
        self.dense(node, &matrix, biases)
    }

    fn matrix(&self, node: &'a Node, index: usize) -> Result<Array2<f64>, Stop> {
        let matrix = self.constant(node, index)?.to_reals();
        let matrix = matrix.and_then(|matrix| matrix.into_dimensionality::<Ix2>().ok());
        matrix.ok_or_else(|| {
            Stop::Refused(format!("input {} must be a matrix of constants", index + 1))
        })
    }

    /// A dense layer with a matrix of `[inputs, outputs]`, the inputs in the order of the view.
    fn dense(
        &mut self,
        node: &'a Node,
        matrix: &Array2<f64>,
        biases: Vec<f64>,
    ) -> Result<Value, Stop> {
        let act = self.settled(node, 0)?;
        let (inputs, outputs) = matrix.dim();
        if act.shape() != [inputs] {
            return refuse(format!(
                "takes {inputs} inputs, but gets a tensor of shape {:?}; only lists of numbers can be multiplied",
                act.shape()
            ));
        }
        if !(1..=MAX_FEATURES).contains(&outputs) {
            return refuse(format!("{outputs} outputs, must be 1 to {MAX_FEATURES}"));
        }
        self.count(inputs * outputs + outputs)?;
        let mut weights = vec![0.0; inputs * outputs];
        for (row, &place) in act.view.iter().enumerate() {
            for (output, &weight) in matrix.row(row).iter().enumerate() {
                weights[output * inputs + place as usize] = weight;
            }
        }
        let op = Op::Linear(LayerSpec::Dense { outputs }, Rc::new(FloatLayer { weights, biases }));
        let step = self.push(node.label(), op, vec![act.step], Shape::Vector(outputs));
        Ok(Value::Act(Act::of(step, &[outputs])))
    }

    /// A convolution: a dense kernel with equal pads is made of what the file has, with zeros where it has none.
    pub(super) fn conv(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.act(node, 0)?;
        let act = self.settle(&act, node.label())?;
        let kernels = self.constant(node, 1)?.to_reals();
        let Some(kernels) = kernels.and_then(|k| k.into_dimensionality::<Ix4>().ok()) else {
            return refuse("only two-dimensional convolutions with constant weights are supported");
        };
        let (filters, of_group, height, width) = kernels.dim();
        let biases = match node.input(2) {
            None => vec![0.0; filters],
            Some(_) => self.reals(node, 2)?,
        };
        let group = node.integer("group", 1);
        let channels = act.shape().first().copied().unwrap_or_default();
        let sizes = act.shape().get(1..).unwrap_or_default();
        let windows = Windows::new(node, [height, width], sizes, &act.pads)?;
        let mut problems = Vec::new();
        let groups = usize::try_from(group).unwrap_or_default();
        if groups == 0 || filters % groups != 0 {
            problems.push(format!("{group} groups of {filters} filters"));
        } else if act.shape().len() != 3 || channels != of_group.saturating_mul(groups) {
            let got = act.shape();
            problems.push(format!(
                "takes an image of {of_group} channels in each of {groups} groups, but gets a tensor of \
                 shape {got:?}"
            ));
        }
        if biases.len() != filters {
            problems.push(format!("{} biases for {filters} filters", biases.len()));
        }
        let output = windows.outputs().filter(|_| filters > 0);
        let Some([rows, columns]) = output else {
            return refuse("its kernel does not fit on the image");
        };
        if filters.saturating_mul(rows).saturating_mul(columns) > MAX_FEATURES {
            return refuse(format!(
                "{filters} filters of {rows} by {columns} are more than {MAX_FEATURES} features"
            ));
        }
        let shape = [filters, rows, columns];
        if !problems.is_empty() {
            self.report(node, problems.join("; "));
            let step = self.push(node.label(), Op::Refused, vec![act.step], super::natural(&shape));
            return Ok(Value::Act(Act::of(step, &shape)));
        }
        let act = self.as_image(&act)?;
        let (kernel, padding) = windows.dense();
        let area = kernel.height.saturating_mul(kernel.width);
        let size = filters.saturating_mul(of_group).saturating_mul(area);
        self.count(size.saturating_add(filters))?;
        let mut dense = Array4::<f64>::zeros((filters, of_group, kernel.height, kernel.width));
        let [(top, down), (left, right)] = windows.places();
        for ((f, c, u, v), &weight) in kernels.indexed_iter() {
            dense[[f, c, top + down * u, left + right * v]] = weight;
        }
        let weights = dense.into_raw_vec_and_offset().0;
        let spec = LayerSpec::Conv2d { filters, kernel, stride: windows.stride(), padding, groups };
        let op = Op::Linear(spec, Rc::new(FloatLayer { weights, biases }));
        let step = self.push(node.label(), op, vec![act.step], super::natural(&shape));
        Ok(Value::Act(Act::of(step, &shape)))
    }

    /// (x − mean) / √(variance + epsilon) · scale + bias, channel by channel.
    pub(super) fn batch_normalization(&mut self, node: &'a Node) -> Result<Value, Stop> {
        if node.integer("training_mode", 0) != 0 {
            return refuse("it is in training mode; export with `model.eval()`");
        }
        let [scale, bias, mean, variance] = [
            self.reals(node, 1)?,
            self.reals(node, 2)?,
            self.reals(node, 3)?,
            self.reals(node, 4)?,
        ];
        let channels = scale.len();
        if [bias.len(), mean.len(), variance.len()] != [channels; 3] {
            return refuse("its four constants have different lengths");
        }
        let epsilon = node.real("epsilon", 1e-5);
        if variance.iter().any(|v| v + epsilon <= 0.0) {
            return refuse("a variance is negative");
        }
        let axes = self.act(node, 0)?.shape().len();
        let shape = if axes == 3 { vec![channels, 1, 1] } else { vec![channels] };
        self.affine(node, 0, &shape, |c| {
            let factor = scale[c] / (variance[c] + epsilon).sqrt();
            (factor, bias[c] - mean[c] * factor)
        })
    }

    /// (x − offset) · scale of scikit-learn.
    pub(super) fn scaler(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let features = self.act(node, 0)?.shape().iter().product::<usize>();
        let Scaling { scale, shift } = scaler(node, features)?;
        self.affine(node, 0, &[features], |i| (scale[i], shift[i]))
    }

    /// scikit-learn's linear classifiers: scores, and the probabilities that they stand for.
    pub(super) fn linear_classifier(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let Some(classes) = node.classes("classlabels_strings", "classlabels_ints")? else {
            return refuse("it names no classes");
        };
        let (mut weights, mut biases) = (node.reals("coefficients"), node.reals("intercepts"));
        let inputs = self.act(node, 0)?.shape().iter().product::<usize>();
        let rows = weights.len().checked_div(inputs).unwrap_or_default();
        if rows == 0 || weights.len() != rows * inputs {
            return refuse(format!("{} coefficients for {inputs} inputs", weights.len()));
        }
        if biases.is_empty() {
            biases = vec![0.0; rows];
        }
        let count = classes.len();
        if biases.len() != rows || ![1, count].contains(&rows) || (rows == 1 && count != 2) {
            return refuse(format!(
                "{rows} rows of coefficients and {} intercepts for {count} classes",
                biases.len()
            ));
        }
        match node.word("post_transform", "NONE").as_str() {
            "SOFTMAX" if rows > 1 => {}
            // 1/(1 + e^−z) is the softmax of 0 and z, and of −z/2 and z/2.
            "LOGISTIC" if rows == 1 => {
                weights.splice(0..0, vec![0.0; inputs]);
                biases.insert(0, 0.0);
            }
            "LOGISTIC" if count == 2 => {
                let opposite = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| *a == -b);
                let (first, second) = weights.split_at(inputs);
                if !opposite(first, second) || !opposite(&biases[..1], &biases[1..]) {
                    return refuse(
                        "its two classes are scored independently; train it with two classes as one problem",
                    );
                }
                weights.iter_mut().chain(&mut biases).for_each(|w| *w *= 0.5);
            }
            "LOGISTIC" => {
                return refuse(
                    "scores each class against all others; train it with multi_class='multinomial'",
                );
            }
            other => {
                return refuse(format!(
                    "the transform {other} of {rows} scores for {count} classes"
                ));
            }
        }
        let matrix = Array2::from_shape_vec((count, inputs), weights).expect("counted");
        let Value::Act(scores) = self.dense(node, &matrix.reversed_axes(), biases)? else {
            return Err(Stop::Unknown);
        };
        self.name_classes(classes, count)?;
        Ok(Value::Probabilities(Ending::softmax(scores.step)))
    }

    /// The same tensor in the order of an image: channels, rows, columns.
    ///
    /// Where nothing but the sample itself comes before, our sample takes that order.
    pub(super) fn as_image(&mut self, act: &Act) -> Result<Act, Stop> {
        let shape = act.shape().to_vec();
        let is_settled = |step: usize| self.steps[step].shape == super::natural(&shape);
        if act.is_in_order() && is_settled(act.step) {
            return Ok(Act { pads: Vec::new(), ..act.clone() });
        }
        let mut chain = vec![act.step];
        while let Some(&last) = chain.last().filter(|&&step| self.steps[step].op != Op::Input) {
            let is_uniform = match &self.steps[last].op {
                Op::Local(LayerSpec::Activation { .. }) => true,
                Op::Affine(scaling) => {
                    let all_equal = |list: &[f64]| list.windows(2).all(|pair| pair[0] == pair[1]);
                    all_equal(&scaling.scale) && all_equal(&scaling.shift)
                }
                _ => false,
            };
            if !is_uniform {
                return refuse(format!(
                    "takes its image in another order of axes than {} gives it",
                    self.steps[last].name
                ));
            }
            chain.push(self.steps[last].from[0]);
        }
        let order: Vec<_> = act.view.iter().copied().collect();
        if self.input_order.as_ref() != Some(&order) {
            let others = self.steps.iter().enumerate().filter(|(index, _)| !chain.contains(index));
            let is_shared =
                others.flat_map(|(_, step)| &step.from).any(|from| chain.contains(from));
            if is_shared || self.input_order.is_some() {
                return refuse("takes the sample in another order of axes than another node");
            }
            if !act.is_in_order() {
                self.input_order = Some(order);
                self.reordered.clone_from(&chain);
            }
        }
        for step in chain {
            self.steps[step].shape = super::natural(&shape);
        }
        Ok(Act { view: super::in_order(&shape), pads: Vec::new(), ..act.clone() })
    }
}

/// What scikit-learn's scalers do to so many features.
pub(super) fn scaler(node: &Node, features: usize) -> Result<Scaling, Stop> {
    let list = |name, default| match node.reals(name) {
        list if list.is_empty() => Ok(vec![default; features]),
        list if list.len() == 1 => Ok(vec![list[0]; features]),
        list if list.len() == features => Ok(list),
        list => refuse(format!("{} values of {name} for {features} features", list.len())),
    };
    let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
    let shift = offset.iter().zip(&scale).map(|(offset, scale)| -offset * scale).collect();
    Ok(Scaling { scale, shift })
}
