//! From steps to a network with weights: scalings are folded into the layers beside them.
//!
//! With y = s·x + t before or after a linear layer,
//! ```text
//! s·(W·x + b) + t  =  (s·W)·x + (s·b + t)               s, t for each output or filter
//! W·(s·x + t) + b  =  (W·s)·x + (W·t + b)               s, t for each input or channel
//! ```
//! so batch normalisation costs nothing, and neither do words that are numbers ([`Mixture`]), which are such sums themselves. A scaling of the sample itself is not folded: its features have other ranges,
//! and it is what a client does before it encrypts.

use std::collections::HashMap;
use std::rc::Rc;

use gelu_nn::{FloatLayer, FloatParameters, LayerSpec, Sequential, Shape, Sides};

use crate::error::{Error, Result, Unsupported};
use crate::lower::{Ending, Lowered, Mixture, Op, Scaling, Step};

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
    let Ending { step: last, is_logistic, .. } = lowered.ending;
    let (steps, uses) = (&lowered.steps, uses(&lowered.steps, last));
    let mut network = Builder::default();
    let mut refused = Vec::new();
    let mut refuse = |step: &Step, why: String| {
        let operator = "scaling".to_owned();
        refused.push(Unsupported { node: step.name.clone(), operator, why });
    };
    for (index, step) in steps.iter().enumerate().filter(|(index, _)| uses[*index] > 0) {
        let shape = step.from.first().map_or(step.shape, |&from| steps[from].shape);
        match network.value(step, shape, &uses) {
            Ok(value) => drop(network.values.insert(index, value)),
            Err(why) => {
                refuse(step, why);
                // So that what follows can be looked at.
                let at = network.layers.len();
                network.values.insert(index, Place::new(at, None, None));
            }
        }
    }
    if let Err(why) = network.end(last, is_logistic) {
        refuse(&steps[last], why);
    }
    if !refused.is_empty() {
        return Err(Error::Unsupported(refused));
    }
    let Builder { layers, weights, scaling, .. } = network;
    let architecture = Sequential::new(steps[0].shape, layers)?;
    weights.check_shapes(&architecture)?;
    Ok(Assembled { architecture, weights, scaling })
}

/// How often each step is needed for the last one.
fn uses(steps: &[Step], last: usize) -> Vec<usize> {
    let mut uses = vec![0; steps.len()];
    uses[last] = 1;
    for index in (0..=last).rev().filter(|&index| steps[index].op != Op::Input) {
        if uses[index] > 0 {
            steps[index].from.iter().for_each(|&from| uses[from] += 1);
        }
    }
    uses
}

/// Where the output of a step is.
#[derive(Debug, Clone)]
struct Place {
    /// After so many layers of the list.
    at: usize,
    /// The layer with weights that it is the output of.
    linear: Option<usize>,
    /// To be done to it before it is used.
    pending: Option<Scaling>,
    /// To be done then, by a dense layer.
    mixture: Option<Rc<Mixture>>,
}

impl Place {
    fn new(at: usize, linear: Option<usize>, pending: Option<Scaling>) -> Self {
        Self { at, linear, pending, mixture: None }
    }

    /// It, unless words are numbers in it.
    fn unmixed(self) -> Result<Self, String> {
        match self.mixture {
            None => Ok(self),
            Some(_) => Err("takes words as numbers (OrdinalEncoder), and is no dense layer".into()),
        }
    }
}

/// The layers so far.
#[derive(Default)]
struct Builder {
    layers: Vec<LayerSpec>,
    weights: FloatParameters,
    values: HashMap<usize, Place>,
    /// Of the sample.
    scaling: Option<Scaling>,
}

impl Builder {
    /// Adds a step that takes numbers of `shape`.
    fn value(&mut self, step: &Step, shape: Shape, uses: &[usize]) -> Result<Place, String> {
        let mut taken = step.from.iter().map(|from| self.values.get(from).cloned());
        let mut take = || taken.next().flatten().ok_or("takes what is not there");
        match &step.op {
            Op::Input => Ok(Place::new(0, None, None)),
            Op::Affine(scaling) => {
                let place = take()?;
                if let Some(mixture) = &place.mixture {
                    let mixture = Some(Rc::new(mixture.then(scaling)));
                    return Ok(Place { mixture, ..place });
                }
                self.scale(place, scaling, shape, uses[step.from[0]] == 1)
            }
            Op::Mix(mixture) => Ok(Place { mixture: Some(Rc::clone(mixture)), ..take()? }),
            Op::Linear(spec, layer) => {
                let place = take()?;
                let mut layer = match &place.mixture {
                    Some(mixture) => mixture.before(layer, *spec)?,
                    None => FloatLayer::clone(layer),
                };
                if let Some(scaling) = &place.pending {
                    scale_inputs(&mut layer, *spec, shape, scaling)?;
                }
                self.weights.layers.push(layer);
                let linear = Some(self.weights.layers.len() - 1);
                Ok(Place::new(self.push(place.at, *spec), linear, None))
            }
            Op::Local(spec) => {
                let place = take()?.unmixed()?;
                let pending =
                    place.pending.map(|s| s.past(*spec, shape, step.shape)).transpose()?;
                Ok(Place::new(self.push(place.at, *spec), None, pending))
            }
            Op::Add => {
                let (a, b) = (take()?.unmixed()?, take()?.unmixed()?);
                if a.pending.is_some() || b.pending.is_some() {
                    return Err("adds two branches of which one is scaled by itself".into());
                }
                let (first, from) =
                    if b.at == self.layers.len() { (b.at, a.at) } else { (a.at, b.at) };
                let at = self.push(first, LayerSpec::Add { from });
                Ok(Place::new(at, None, None))
            }
            Op::Refused => Err("is not a layer".into()),
        }
    }

    /// Appends a layer that takes the value after `from` layers; how many layers there are then.
    fn push(&mut self, from: usize, spec: LayerSpec) -> usize {
        if from != self.layers.len() {
            self.layers.push(LayerSpec::Branch { from });
        }
        self.layers.push(spec);
        self.layers.len()
    }

    /// Folds a scaling into the layer before it, keeps it for the client, or for the layer after it.
    fn scale(
        &mut self,
        place: Place,
        scaling: &Scaling,
        shape: Shape,
        is_only: bool,
    ) -> Result<Place, String> {
        let is_of_channels = scaling.by_channel(channels(shape)).is_some();
        let is_clients = is_of_channels && scaling.scale.iter().all(|s| *s > 0.0);
        if place.at == 0 && place.pending.is_none() && is_only && is_clients {
            let before = self.scaling.take();
            self.scaling =
                Some(before.map_or_else(|| scaling.clone(), |first| first.then(scaling)));
            return Ok(place);
        }
        if let (None, Some(linear)) = (&place.pending, place.linear)
            && is_only
            && let Some(Scaling { scale, shift }) = scaling.by_channel(channels(shape))
        {
            self.weights.fold(linear, &scale, &shift).map_err(|e| e.to_string())?;
            return Ok(place);
        }
        let pending = place.pending.map_or_else(|| scaling.clone(), |first| first.then(scaling));
        Ok(Place { pending: Some(pending), linear: None, ..place })
    }

    /// Closes the network at a step; one score z becomes the two scores 0 and z.
    fn end(&mut self, last: usize, is_logistic: bool) -> Result<(), String> {
        let place = self.values.get(&last).cloned().ok_or("there is no layer")?.unmixed()?;
        if place.pending.is_some() {
            return Err("a scaling stands last, and no dense layer or convolution beside it".into());
        }
        if !is_logistic {
            return Ok(());
        }
        let (Some(spec), Some(linear)) = (self.layers.last_mut(), place.linear) else {
            return Err("the probability of two classes must come from a dense layer".into());
        };
        if *spec != (LayerSpec::Dense { outputs: 1 }) {
            return Err("the probability of two classes must come from one output".into());
        }
        *spec = LayerSpec::Dense { outputs: 2 };
        let layer = &mut self.weights.layers[linear];
        layer.weights.splice(0..0, vec![0.0; layer.weights.len()]);
        layer.biases.insert(0, 0.0);
        Ok(())
    }
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
        _ => (Sides::ZERO, 1, scaling.clone()),
    };
    if padding != Sides::ZERO && scaling.shift.iter().any(|t| *t != 0.0) {
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
    /// Whether it changes nothing.
    pub(crate) fn is_identity(&self) -> bool {
        self.pairs().all(|pair| pair == (1.0, 0.0))
    }

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
