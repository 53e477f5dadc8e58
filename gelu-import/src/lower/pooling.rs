//! Windows on images: their geometry as ONNX writes it, and the poolings.

use gelu_nn::{LayerSpec, Sides};

use super::{Act, Lowering, Op, Stop, Value, refuse};
use crate::graph::Node;

/// The windows of a convolution or pooling along both axes of an image.
pub(super) struct Windows {
    axes: [Axis; 2],
}

struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
}

/// No size, step or padding of a window is larger.
const MOST: i64 = 1 << 12;

impl Windows {
    /// Reads the attributes of a node; `pads` are those of a `Pad` before it, along all axes of the tensor.
    pub(super) fn new(
        node: &Node,
        kernel: [usize; 2],
        sizes: &[usize],
        pads: &[[usize; 2]],
    ) -> Result<Self, Stop> {
        let &[height, width] = sizes else {
            return refuse("takes images of channels, rows and columns only");
        };
        let list = |name: &str, default: [i64; 4], count: usize| match node.integers(name) {
            None => Ok(default),
            Some(list) if list.len() == count => {
                let mut values = default;
                values[..count].copy_from_slice(list);
                let least = if name == "pads" { 0 } else { 1 };
                match values[..count].iter().all(|v| (least..=MOST).contains(v)) {
                    true => Ok(values),
                    false => refuse(format!("{name} of {list:?}, must be {least} to {MOST}")),
                }
            }
            Some(list) => refuse(format!("{name} of {list:?}, must be {count} numbers")),
        };
        let size = |value: i64| usize::try_from(value).unwrap_or_default();
        let (strides, dilations) = (list("strides", [1; 4], 2)?, list("dilations", [1; 4], 2)?);
        let explicit = list("pads", [0; 4], 4)?.map(size);
        let automatic = node.word("auto_pad", "NOTSET");
        let around = match pads {
            [] => [[0; 2]; 2],
            [[0, 0], rows, columns] => [*rows, *columns],
            _ => return refuse("takes an image that is padded along its channels"),
        };
        let axis = |i: usize, size_here: usize| {
            let (kernel, stride, dilation) = (kernel[i], size(strides[i]), size(dilations[i]));
            let here = size_here + around[i][0] + around[i][1];
            let extent = (kernel.saturating_sub(1)) * dilation + 1;
            let missing = ((here.div_ceil(stride) - 1) * stride + extent).saturating_sub(here);
            let (less, more) = (missing / 2, missing - missing / 2);
            let own = match automatic.as_str() {
                "NOTSET" | "" => [explicit[i], explicit[i + 2]],
                "VALID" => [0, 0],
                "SAME_UPPER" => [less, more],
                "SAME_LOWER" => [more, less],
                other => return refuse(format!("auto_pad {other:?} is not known")),
            };
            let pads = [own[0] + around[i][0], own[1] + around[i][1]];
            match kernel > 0 && (kernel as i64) <= MOST {
                true => Ok(Axis { size: size_here, kernel, stride, dilation, pads }),
                false => refuse(format!("a kernel of side {kernel}, must be 1 to {MOST}")),
            }
        };
        Ok(Self { axes: [axis(0, height)?, axis(1, width)?] })
    }

    /// Windows along both axes.
    pub(super) fn outputs(&self) -> Option<[usize; 2]> {
        let [rows, columns] = &self.axes;
        Some([rows.outputs()?, columns.outputs()?])
    }

    /// Steps along both axes.
    pub(super) fn stride(&self) -> Sides {
        self.of_each(|axis| axis.stride)
    }

    /// Size and padding of a kernel with the same windows, which has zeros where this one has nothing: dilated kernels become
    /// dense ones, and pads that differ before and after become equal ones.
    pub(super) fn dense(&self) -> (Sides, Sides) {
        (self.of_each(Axis::side), self.of_each(Axis::padding))
    }

    /// Where weight u of each axis stands in the dense kernel: at first + step · u.
    pub(super) fn places(&self) -> [(usize, usize); 2] {
        self.axes.each_ref().map(|axis| (axis.padding() - axis.pads[0], axis.dilation))
    }

    /// Size, strides and padding of windows that have neither holes nor different pads before and after.
    fn plain(&self) -> Result<(Sides, Sides, Sides), String> {
        if self.axes.iter().any(|axis| axis.dilation != 1) {
            return Err("dilated windows".into());
        }
        if let Some(axis) = self.axes.iter().find(|axis| axis.pads[0] != axis.pads[1]) {
            return Err(format!("pads of {:?} before and after, must be equal", axis.pads));
        }
        Ok((self.of_each(|axis| axis.kernel), self.stride(), self.of_each(Axis::padding)))
    }

    fn of_each(&self, of: impl Fn(&Axis) -> usize) -> Sides {
        self.axes.each_ref().map(of).into()
    }

    /// Whether rounding the number of windows up would make a difference.
    fn leave_a_rest(&self) -> bool {
        let rest =
            |axis: &Axis| !axis.padded().saturating_sub(axis.extent()).is_multiple_of(axis.stride);
        self.axes.iter().any(rest)
    }

    fn cover_the_image(&self) -> bool {
        self.axes.iter().all(|axis| axis.kernel == axis.size && axis.pads == [0, 0])
    }
}

impl Axis {
    fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    fn padded(&self) -> usize {
        self.size + self.pads[0] + self.pads[1]
    }

    fn outputs(&self) -> Option<usize> {
        Some(self.padded().checked_sub(self.extent())? / self.stride + 1)
    }

    /// The larger pad, which a dense kernel has before and after.
    fn padding(&self) -> usize {
        self.pads[0].max(self.pads[1])
    }

    /// Of the dense kernel.
    fn side(&self) -> usize {
        self.extent() + 2 * self.padding() - self.pads[0] - self.pads[1]
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn average_pool(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.image(node)?;
        let windows = pool(node, &act)?;
        if windows.cover_the_image() {
            return Ok(self.pooled(node, &act, LayerSpec::GlobalAveragePool, [1, 1]));
        }
        let (window, stride, padding) = windows.plain()?;
        match windows.outputs() {
            _ if stride != window => refuse(format!(
                "means of windows of {window} that are {stride} apart, must be side by side"
            )),
            _ if padding != Sides::ZERO => refuse("means of a padded image"),
            Some(outputs) if !windows.leave_a_rest() => {
                Ok(self.pooled(node, &act, LayerSpec::MeanPool2d { window }, outputs))
            }
            _ => refuse(format!(
                "means of windows of {window} that do not divide the image of {:?}",
                &act.shape()[1..]
            )),
        }
    }

    pub(super) fn max_pool(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.image(node)?;
        let windows = pool(node, &act)?;
        let (window, stride, padding) = windows.plain()?;
        if node.integer("ceil_mode", 0) != 0 && windows.leave_a_rest() {
            return refuse("windows that reach beyond the image (ceil_mode)");
        }
        let Some(outputs) = windows.outputs() else {
            return refuse("its window does not fit on the image");
        };
        let spec = LayerSpec::MaxPool2d { window, stride: Some(stride), padding };
        Ok(self.pooled(node, &act, spec, outputs))
    }

    /// The mean of each channel: of the last two axes, or of those that `ReduceMean` names.
    pub(super) fn global_average_pool(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.settled_image(node)?;
        let axes = match node.operator.as_str() {
            "GlobalAveragePool" => vec![2, 3],
            _ => {
                let listed = self.optional(node, 1)?.and_then(|axes| axes.to_integers());
                listed.or_else(|| node.integers("axes").map(<[i64]>::to_vec)).unwrap_or_default()
            }
        };
        let mut axes: Vec<_> =
            axes.iter().map(|axis| if *axis < 0 { axis + 4 } else { *axis }).collect();
        axes.sort_unstable();
        let kept = match (act.shape().len(), axes[..] == [2, 3], axes[..] == [1, 2]) {
            (3, true, _) => 0,
            (3, _, true) => 2,
            _ => {
                return refuse(format!(
                    "means along the axes {axes:?} of a tensor of shape {:?}",
                    act.shape()
                ));
            }
        };
        let others: Vec<_> = (0..3).filter(|axis| *axis != kept).collect();
        let view = act.view.clone().permuted_axes(ndarray::IxDyn(&[kept, others[0], others[1]]));
        let image = self.as_image(&Act { view, ..act })?;
        let channels = image.shape()[0];
        let mut shape = vec![1; 3];
        shape[kept] = channels;
        if node.operator == "ReduceMean" && node.integer("keepdims", 1) == 0 {
            shape = vec![channels];
        }
        let Value::Act(pooled) = self.pooled(node, &image, LayerSpec::GlobalAveragePool, [1, 1])
        else {
            return Err(Stop::Unknown);
        };
        Ok(Value::Act(Act::of(pooled.step, &shape)))
    }

    /// Zeros around an image.
    pub(super) fn pad(&mut self, node: &'a Node) -> Result<Value, Stop> {
        let act = self.settled(node, 0)?;
        let value = match self.optional(node, 2)? {
            Some(value) => value.scalar(),
            None => Some(node.real("value", 0.0)),
        };
        if node.word("mode", "constant") != "constant" || value != Some(0.0) {
            return refuse("pads with other numbers than zeros");
        }
        let axes = act.shape().len() + 1;
        let listed = self.optional(node, 1)?.and_then(|pads| pads.to_integers());
        let pads =
            listed.or_else(|| node.integers("pads").map(<[i64]>::to_vec)).unwrap_or_default();
        let all: Vec<_> = (0..axes as i64).collect();
        let places = self.optional(node, 3)?.and_then(|axes| axes.to_integers()).unwrap_or(all);
        if pads.len() != 2 * places.len() {
            return refuse(format!("{} pads for {} axes", pads.len(), places.len()));
        }
        let mut around = vec![[0; 2]; axes];
        for (index, place) in places.iter().enumerate() {
            let place = if *place < 0 { place + axes as i64 } else { *place };
            let pair = [pads[index], pads[index + places.len()]];
            let pair = pair.map(|pad| usize::try_from(pad).ok().filter(|_| pad <= MOST));
            match (usize::try_from(place).ok().and_then(|place| around.get_mut(place)), pair) {
                (Some(here), [Some(before), Some(after)]) => *here = [before, after],
                _ => return refuse(format!("pads of {pads:?} along the axes {places:?}")),
            }
        }
        match around.remove(0) {
            [0, 0] if around.iter().all(|pads| *pads == [0, 0]) => Ok(Value::Act(act)),
            [0, 0] => Ok(Value::Act(Act { pads: around, ..act })),
            _ => refuse("pads the batch"),
        }
    }

    /// The input as an image that is complete.
    fn image(&mut self, node: &'a Node) -> Result<Act, Stop> {
        let act = self.settled_image(node)?;
        match act.shape().len() {
            3 => self.as_image(&act),
            _ => refuse(format!("takes an image, but gets a tensor of shape {:?}", act.shape())),
        }
    }

    fn settled_image(&mut self, node: &'a Node) -> Result<Act, Stop> {
        let act = self.act(node, 0)?;
        act.check_unpadded()?;
        self.settle(&act, node.label())
    }

    fn pooled(
        &mut self,
        node: &'a Node,
        act: &Act,
        spec: LayerSpec,
        [rows, columns]: [usize; 2],
    ) -> Value {
        let shape = [act.shape()[0], rows, columns];
        let step = self.push(node.label(), Op::Local(spec), vec![act.step], super::natural(&shape));
        Value::Act(Act::of(step, &shape))
    }
}

fn pool(node: &Node, act: &Act) -> Result<Windows, Stop> {
    let kernel = node.integers("kernel_shape").unwrap_or_default();
    let &[height, width] = kernel else { return refuse(format!("windows of shape {kernel:?}")) };
    let side = |side: i64| usize::try_from(side).unwrap_or_default();
    Windows::new(node, [side(height), side(width)], &act.shape()[1..], &[])
}
