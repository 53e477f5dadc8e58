//! A layer of a model applied to ciphertexts.

use rand_core::CryptoRng;

use super::ServedModel;
use crate::backend::{Backend, Layout, Sealed};
use crate::error::Result;
use crate::network::Layer;
use crate::pass::bias_constant;

/// A layer of a model, true or masked, ready to be applied to ciphertexts; with or without its bias.
pub(super) fn prepare<B: Backend>(
    layout: &B::Layout,
    model: &ServedModel,
    stage: usize,
    layer: &Layer,
    biased: bool,
) -> Result<<B::Layout as Layout<B>>::Weights> {
    let linear = &model.network.stages()[stage].linear;
    let offsets = biased.then(|| offsets(model, stage, layer));
    layout.prepare(linear, &layer.weights, offsets.as_deref())
}

/// What is added to each sum of a stage: its bias in the sums' scale.
pub(super) fn offsets(model: &ServedModel, stage: usize, layer: &Layer) -> Vec<i128> {
    let linear = &model.network.stages()[stage].linear;
    let constant = bias_constant(linear, model.precision.activations);
    (0..linear.outputs()).map(|output| constant * layer.biases[linear.bias_of(output)]).collect()
}

/// Algorithm 1, line 5 and Algorithm 2, line 6: weights applied to ciphertexts.
pub(super) fn evaluate<B: Backend>(
    layout: &B::Layout,
    public: &B::PublicKey,
    weights: &<B::Layout as Layout<B>>::Weights,
    ciphertexts: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Sealed> {
    let inputs = layout.read(public, ciphertexts)?;
    let answer = layout.evaluate(public, weights, &inputs)?;
    Ok(Sealed::seal::<B, _>(layout, public, answer, rng))
}
