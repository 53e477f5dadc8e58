//! Operations that move numbers and compute none: on views, on constants, and on the shapes that exporters compute.

use std::rc::Rc;

use ndarray::{Axis, IxDyn};

use super::{Act, Lowering, Stop, Value, constant, refuse};
use crate::graph::Node;
use crate::tensor::{BATCH, Tensor};

/// The most integers of a shape.
const MOST_INTEGERS: usize = 64;

impl<'a> Lowering<'a> {
    pub(super) fn shape_operation(&mut self, node: &'a Node) -> Result<Value, Stop> {
        match self.value(node, 0)?.clone() {
            Value::Act(act) => self.of_act(node, act),
            Value::Constant(tensor) => self.of_constant(node, &tensor),
            // The class, or probabilities, in another shape.
            label @ Value::Label(_) => Ok(label),
            _ => refuse("takes probabilities; the network must end with them"),
        }
    }

    fn of_act(&mut self, node: &'a Node, act: Act) -> Result<Value, Stop> {
        let sizes = act.shape().to_vec();
        if node.operator == "Transpose" {
            let axes = sizes.len() + 1;
            let reversed: Vec<_> = (0..axes as i64).rev().collect();
            let order = node.integers("perm").unwrap_or(&reversed);
            let mut sorted: Vec<_> = order.to_vec();
            sorted.sort_unstable();
            if order.first() != Some(&0) || sorted != (0..axes as i64).collect::<Vec<_>>() {
                return refuse(format!("moves the batch, or axes that are not there: {order:?}"));
            }
            let order: Vec<_> = order[1..]
                .iter()
                .map(|axis| usize::try_from(axis - 1).unwrap_or_default())
                .collect();
            let pads = match act.pads.is_empty() {
                true => Vec::new(),
                false => order.iter().map(|axis| act.pads[*axis]).collect(),
            };
            let view = act.view.permuted_axes(IxDyn(&order));
            return Ok(Value::Act(Act { view, pads, ..act }));
        }
        act.check_unpadded()?;
        let axes = sizes.len() as i64 + 1;
        let shape = match node.operator.as_str() {
            "Shape" => {
                let sizes = sizes.iter().map(|&size| size as i64);
                let all: Vec<_> = [BATCH].into_iter().chain(sizes).collect();
                if node.integer("start", 0) != 0 || node.integer("end", axes) != axes {
                    return refuse("takes a part of a shape");
                }
                return Ok(constant(Tensor::integers(&[all.len()], all)?));
            }
            "Flatten" => match node.integer("axis", 1) {
                axis if axis == 1 || axis == 1 - axes => vec![sizes.iter().product()],
                axis => return refuse(format!("flattens from axis {axis} on, must be 1")),
            },
            "Reshape" => {
                let wanted = self.constant(node, 1)?.to_integers();
                let Some(wanted) = wanted else { return refuse("its shape holds no integers") };
                self.reshaped(&sizes, &wanted, node.integer("allowzero", 0) != 0)?
            }
            "Squeeze" | "Unsqueeze" => self.with_axes_of_one(node, &sizes)?,
            other => return refuse(format!("{other} of a computed tensor is not supported")),
        };
        let view = match act.view.is_standard_layout() {
            true => act.view,
            false => act.view.as_standard_layout().into_owned().into_shared(),
        };
        let view = view
            .into_shape_with_order(IxDyn(&shape))
            .map_err(|_| format!("makes shape {shape:?} of {sizes:?}"))?;
        Ok(Value::Act(Act { view, ..act }))
    }

    /// The shape of one sample after a `Reshape` to `wanted`, whose first size must be that of the batch.
    pub(super) fn reshaped(
        &self,
        sizes: &[usize],
        wanted: &[i64],
        allow_zero: bool,
    ) -> Result<Vec<usize>, Stop> {
        let features: usize = sizes.iter().product();
        let broken = || format!("makes shape {wanted:?} of [batch] and {sizes:?}");
        let Some((&batch, rest)) = wanted.split_first() else { return refuse(broken()) };
        let known = |(index, &size): (usize, &i64)| match size {
            0 if !allow_zero => sizes.get(index).copied().ok_or_else(broken),
            size => usize::try_from(size).map_err(|_| broken()),
        };
        let open = rest.iter().filter(|&&size| size == -1).count();
        let fixed = rest.iter().enumerate().filter(|(_, size)| **size != -1).map(known);
        let product = fixed
            .into_iter()
            .try_fold(1usize, |product, size| product.checked_mul(size?).ok_or_else(broken))?;
        let keeps_batch = match batch {
            BATCH => true,
            0 => !allow_zero,
            -1 => open == 0 && product == features,
            size => {
                let batch = self.graph.inputs.first().and_then(|input| input.batch);
                usize::try_from(size).ok() == batch && batch.is_some()
            }
        };
        let filled = match open {
            0 => product == features,
            1 => product > 0 && features.is_multiple_of(product),
            _ => false,
        };
        if !keeps_batch || !filled {
            return refuse(format!("{}: samples would be mixed", broken()));
        }
        let size = |entry: (usize, &i64)| match entry.1 {
            -1 => Ok(features / product),
            _ => known(entry),
        };
        Ok(rest.iter().enumerate().map(size).collect::<Result<_, _>>()?)
    }

    /// The sizes without, or with, some that are 1.
    fn with_axes_of_one(&self, node: &'a Node, sizes: &[usize]) -> Result<Vec<usize>, Stop> {
        let listed = self.optional(node, 1)?.and_then(|axes| axes.to_integers());
        let axes =
            listed.or_else(|| node.integers("axes").map(<[i64]>::to_vec)).unwrap_or_default();
        let adds = node.operator == "Unsqueeze";
        let count = sizes.len() + 1 + if adds { axes.len() } else { 0 };
        let place =
            |axis: i64| usize::try_from(if axis < 0 { axis + count as i64 } else { axis }).ok();
        let places: Option<Vec<_>> = axes.iter().map(|&axis| place(axis)).collect();
        let Some(mut places) = places.filter(|places| !places.is_empty() && !places.contains(&0))
        else {
            return refuse(format!("the axes {axes:?} of a tensor of {} axes", sizes.len() + 1));
        };
        places.sort_unstable();
        let mut shape = sizes.to_vec();
        for &place in if adds { places.clone() } else { places.into_iter().rev().collect() }.iter()
        {
            match (adds, shape.get(place - 1)) {
                (true, _) if place - 1 <= shape.len() => shape.insert(place - 1, 1),
                (false, Some(1)) => drop(shape.remove(place - 1)),
                _ => return refuse(format!("the axes {axes:?} of a tensor of shape {sizes:?}")),
            }
        }
        Ok(shape)
    }

    fn of_constant(&mut self, node: &'a Node, tensor: &Rc<Tensor>) -> Result<Value, Stop> {
        match (node.operator.as_str(), &**tensor) {
            ("Transpose", Tensor::Reals(values)) => {
                let axes = values.ndim();
                let reversed: Vec<_> = (0..axes as i64).rev().collect();
                let order = node.integers("perm").unwrap_or(&reversed);
                let order: Vec<_> =
                    order.iter().map(|&axis| usize::try_from(axis).unwrap_or(axes)).collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if sorted != (0..axes).collect::<Vec<_>>() {
                    return refuse(format!("the order {order:?} of {axes} axes"));
                }
                let moved = values.view().permuted_axes(IxDyn(&order));
                self.folded(Tensor::Reals(moved.as_standard_layout().into_owned()))
            }
            ("Reshape", Tensor::Reals(values)) => {
                let wanted = self.constant(node, 1)?.to_integers().unwrap_or_default();
                let open = wanted.iter().filter(|&&size| size == -1).count();
                let known = |(index, &size): (usize, &i64)| match size {
                    0 => values.shape().get(index).copied(),
                    -1 => Some(1),
                    size => usize::try_from(size).ok(),
                };
                let sizes: Option<Vec<_>> = wanted.iter().enumerate().map(known).collect();
                let product =
                    sizes.iter().flatten().try_fold(1usize, |n, &size| n.checked_mul(size));
                let (Some(mut sizes), Some(product), true) =
                    (sizes, product.filter(|n| *n > 0), open <= 1)
                else {
                    return refuse(format!("makes shape {wanted:?} of {:?}", values.shape()));
                };
                if let Some(place) = wanted.iter().position(|&size| size == -1) {
                    sizes[place] = values.len() / product;
                }
                self.folded(Tensor::reals(&sizes, values.iter().copied().collect())?)
            }
            ("Shape", tensor) => match tensor.to_reals() {
                Some(values) => {
                    let sizes = values.shape().iter().map(|&size| size as i64).collect();
                    Ok(constant(Tensor::integers(&[values.ndim()], sizes)?))
                }
                None => refuse("the shape of words"),
            },
            ("Gather", Tensor::Integers(values))
                if values.ndim() == 1 && node.integer("axis", 0) == 0 =>
            {
                let places = self.constant(node, 1)?;
                let Tensor::Integers(places) = &*places else {
                    return refuse("its places are no integers");
                };
                let count = values.len() as i64;
                let pick = |&place: &i64| {
                    let place = if place < 0 { place + count } else { place };
                    usize::try_from(place).ok().and_then(|place| values.get([place]).copied())
                };
                let picked: Option<Vec<_>> = places.iter().take(MOST_INTEGERS).map(pick).collect();
                match picked {
                    Some(picked) => Ok(constant(Tensor::integers(places.shape(), picked)?)),
                    None => refuse("a place that is not there"),
                }
            }
            ("Unsqueeze" | "Squeeze", Tensor::Integers(values)) if values.len() <= 1 => {
                let (values, shape): (Vec<_>, &[usize]) = (
                    values.iter().copied().collect(),
                    if node.operator == "Squeeze" { &[] } else { &[1] },
                );
                Ok(constant(Tensor::integers(shape, values)?))
            }
            (other, _) => refuse(format!("{other} of such a constant is not supported")),
        }
    }

    /// Sizes one after the other; or the two probabilities of one score.
    pub(super) fn concat(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let values = (0..node.inputs.len()).map(|index| self.value(node, index).cloned());
        let values = values.collect::<Result<Vec<_>, _>>()?;
        if let [Value::Act(first), Value::Act(second)] = &values[..] {
            return self.two_classes(node, first, second);
        }
        let mut all = Vec::new();
        for value in &values {
            match value {
                Value::Constant(tensor) if node.integer("axis", 0) == 0 => match &**tensor {
                    Tensor::Integers(list) if list.ndim() == 1 => {
                        all.extend(
                            list.axis_iter(Axis(0)).filter_map(|size| size.first().copied()),
                        );
                    }
                    _ => return refuse("joins constants other than lists of sizes"),
                },
                _ => return refuse("joins computed tensors"),
            }
        }
        match all.len() <= MOST_INTEGERS {
            true => Ok(constant(Tensor::integers(&[all.len()], all)?)),
            false => refuse(format!("a list of more than {MOST_INTEGERS} sizes")),
        }
    }
}
