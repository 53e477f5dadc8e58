//! From steps to a network with weights: scalings are folded into the layers beside them.
//!
//! With y = s·x + t before or after a linear layer,
//! ```text
//! s·(W·x + b) + t  =  (s·W)·x + (s·b + t)               s, t for each output or filter
//! W·(s·x + t) + b  =  (W·s)·x + (W·t + b)               s, t for each input or channel
//! ```
//! so batch normalisation costs nothing. A scaling of the sample itself is not folded: its features have other ranges,
//! and it is what a client does before it encrypts.

use std::rc::Rc;

use gelu_nn::{FloatLayer, FloatParameters, LayerSpec, Sequential, Shape};

use crate::error::{Error, Result, Unsupported};
use crate::lower::{Ending, Lowered, Op, Scaling, Step};

/// A network, its weights, and what is done to a sample before.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) architecture: Sequential,
    pub(crate) weights: FloatParameters,
    pub(crate) scaling: Option<Scaling>,
}

/// Puts the steps together on which the scores depend.
///
/// # Errors
/// [`Error::Unsupported`] for scalings that fit nowhere, [`Error::Network`] for a network beyond our limits.
pub(crate) fn assemble(lowered: &Lowered) -> Result<Assembled> {
    let Ending { step, is_logistic, .. } = lowered.ending;
    let chain = chain(&lowered.steps, step)?;
    let mut network = Builder::default();
    let mut refused = Vec::new();
    for pair in chain.windows(2) {
        let [before, step] = pair else { continue };
        if let Err(why) = network.add(step, before.shape) {
            let operator = "scaling".to_owned();
            refused.push(Unsupported { node: step.name.clone(), operator, why });
        }
    }
    let last = chain.last().map_or("", |step| &step.name);
    if let Err(why) = network.end(is_logistic) {
        refused.push(Unsupported { node: last.to_owned(), operator: "ending".into(), why });
    }
    if !refused.is_empty() {
        return Err(Error::Unsupported(refused));
    }
    let Builder { layers, weights, scaling, .. } = network;
    let architecture = Sequential::new(chain[0].shape, layers)?;
    weights.check_shapes(&architecture)?;
    Ok(Assembled { architecture, weights, scaling })
}

/// The steps from the sample to the scores, which must be one after the other.
fn chain(steps: &[Step], last: usize) -> Result<Vec<&Step>> {
    let mut chain = vec![&steps[last]];
    let mut branches = Vec::new();
    while let Some(step) = chain.last().filter(|step| step.op != Op::Input) {
        if let Op::Add = step.op {
            let (node, operator) = (step.name.clone(), "Add".to_owned());
            let why = "adds two branches; networks are one layer after the other".to_owned();
            branches.push(Unsupported { node, operator, why });
        }
        chain.push(&steps[step.from[0]]);
    }
    chain.reverse();
    match branches.is_empty() {
        true => Ok(chain),
        false => Err(Error::Unsupported(branches)),
    }
}

/// The layers so far.
#[derive(Default)]
struct Builder {
    layers: Vec<LayerSpec>,
    weights: FloatParameters,
    /// Of the sample.
    scaling: Option<Scaling>,
    /// To be done after the layers so far.
    pending: Option<Scaling>,
}

impl Builder {
    /// Adds a step that takes numbers of `shape`.
    fn add(&mut self, step: &Step, shape: Shape) -> Result<(), String> {
        match &step.op {
            Op::Affine(scaling) => self.scale(scaling, shape),
            Op::Linear(spec, layer) => {
                let mut layer = FloatLayer::clone(layer);
                if let Some(scaling) = self.pending.take() {
                    scale_inputs(&mut layer, *spec, shape, &scaling)?;
                }
                self.weights.layers.push(layer);
                self.layers.push(*spec);
                Ok(())
            }
            Op::Local(spec) => {
                if let Some(scaling) = self.pending.take() {
                    self.pending = Some(scaling.past(*spec, shape, step.shape)?);
                }
                self.layers.push(*spec);
                Ok(())
            }
            Op::Input | Op::Add | Op::Refused => Err("is not a layer".into()),
        }
    }

    fn scale(&mut self, scaling: &Rc<Scaling>, shape: Shape) -> Result<(), String> {
        if self.layers.is_empty() {
            let before = self.scaling.take();
            self.scaling =
                Some(before.map_or_else(|| Scaling::clone(scaling), |first| first.then(scaling)));
            return Ok(());
        }
        if let (None, Some(spec), Some(last)) =
            (&self.pending, self.layers.last(), self.weights.layers.len().checked_sub(1))
            && is_linear(*spec)
            && let Some(Scaling { scale, shift }) = scaling.by_channel(channels(shape))
        {
            return self.weights.fold(last, &scale, &shift).map_err(|e| e.to_string());
        }
        let before = self.pending.take();
        self.pending =
            Some(before.map_or_else(|| Scaling::clone(scaling), |first| first.then(scaling)));
        Ok(())
    }

    /// Closes the network; one score z becomes the two scores 0 and z.
    fn end(&mut self, is_logistic: bool) -> Result<(), String> {
        if self.pending.is_some() {
            return Err("a scaling stands last that no dense layer or convolution is beside".into());
        }
        if !is_logistic {
            return Ok(());
        }
        let (Some(spec), Some(layer)) = (self.layers.last_mut(), self.weights.layers.last_mut())
        else {
            return Err("there is no layer".into());
        };
        if *spec != (LayerSpec::Dense { outputs: 1 }) {
            return Err(
                "the probability of two classes must come from a dense layer of one output".into(),
            );
        }
        *spec = LayerSpec::Dense { outputs: 2 };
        layer.weights.splice(0..0, vec![0.0; layer.weights.len()]);
        layer.biases.insert(0, 0.0);
        Ok(())
    }
}

fn is_linear(spec: LayerSpec) -> bool {
    matches!(spec, LayerSpec::Dense { .. } | LayerSpec::Conv2d { .. })
}

/// How many channels a shape has; each number of a list is one.
fn channels(shape: Shape) -> usize {
    match shape {
        Shape::Image { channels, .. } => channels,
        Shape::Vector(features) => features,
    }
}

fn scale_inputs(
    layer: &mut FloatLayer,
    spec: LayerSpec,
    shape: Shape,
    scaling: &Scaling,
) -> Result<(), String> {
    let (padding, groups, scaling) = match spec {
        LayerSpec::Conv2d { padding, groups, .. } => {
            let channels = scaling.by_channel(channels(shape));
            let why = "scales the pixels of a channel differently before a convolution";
            (padding, groups, channels.ok_or(why)?)
        }
        _ => (0, 1, scaling.clone()),
    };
    if padding > 0 && scaling.shift.iter().any(|t| *t != 0.0) {
        return Err("adds a number before a convolution that pads with zeros".into());
    }
    let outputs = layer.biases.len();
    let row = layer.weights.len() / outputs;
    let seen = scaling.scale.len() / groups;
    for (output, (weights, bias)) in
        layer.weights.chunks_mut(row).zip(&mut layer.biases).enumerate()
    {
        let of_group = output / (outputs / groups) * seen;
        let inputs = scaling.pairs().skip(of_group);
        for (weights, (s, t)) in weights.chunks_mut(row / seen).zip(inputs) {
            *bias += t * weights.iter().sum::<f64>();
            weights.iter_mut().for_each(|w| *w *= s);
        }
    }
    Ok(())
}

impl Scaling {
    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.scale.iter().copied().zip(self.shift.iter().copied())
    }

    /// This one first, then the other.
    fn then(&self, other: &Self) -> Self {
        let both = self.pairs().zip(other.pairs());
        let (scale, shift) = both.map(|((s, t), (u, v))| (s * u, t * u + v)).unzip();
        Self { scale, shift }
    }

    /// One pair for each of the channels, if all pixels of a channel have the same.
    fn by_channel(&self, channels: usize) -> Option<Self> {
        let size = self.scale.len() / channels;
        let first = |list: &[f64]| {
            let same = |pixels: &[f64]| pixels.iter().all(|v| *v == pixels[0]).then_some(pixels[0]);
            list.chunks(size).map(same).collect::<Option<Vec<_>>>()
        };
        Some(Self { scale: first(&self.scale)?, shift: first(&self.shift)? })
    }

    /// g where f(s·x + t) = g(f(x)): the scaling on the other side of a pooling, or of a ReLU.
    fn past(&self, spec: LayerSpec, shape: Shape, output: Shape) -> Result<Self, String> {
        let is_positive = self.scale.iter().all(|s| *s > 0.0);
        match spec {
            LayerSpec::MaxPool2d { .. } if !is_positive => {
                return Err("scales by a negative number before the largest is taken".into());
            }
            LayerSpec::MaxPool2d { .. }
            | LayerSpec::MeanPool2d { .. }
            | LayerSpec::GlobalAveragePool => {}
            LayerSpec::Activation { .. } => {
                return Err(
                    "scales numbers between two functions that are no dense layer or convolution"
                        .into(),
                );
            }
            _ => return Err("cannot be moved past the next layer".into()),
        }
        let channels = channels(shape);
        let each = self
            .by_channel(channels)
            .ok_or("scales the pixels of a channel differently before a pooling")?;
        let size = output.features() / channels;
        let spread =
            |list: Vec<f64>| list.into_iter().flat_map(|v| core::iter::repeat_n(v, size)).collect();
        Ok(Self { scale: spread(each.scale), shift: spread(each.shift) })
    }
}
