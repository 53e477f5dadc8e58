//! The model from answers: a client solves for the weights (the paper's section 4.1).
//!
//! ```text
//! each sample, each neuron:   z = w·a + c·b         fan-in + 1 unknowns, exact integers
//! fan-in + 1 samples:         [A; c] is square, and (w, b) = z·[A; c]⁻¹ bit for bit
//! ```
//!
//! A client that queries with noise has independent equations after fan-in + 1 samples; all
//! neurons of all layers come from the same queries. With fewer the system is underdetermined, and
//! k of n equations leave a guess with a relative error of √(1 − k/n). The ledger refuses far below
//! that, since it counts what a client could read that packs its inputs.

mod exhibit;

use gelu_algebra::{first_columns, least_norm, nearest, solve_exactly};
use gelu_core::Backend;
use gelu_core::Parameters;
use gelu_core::ledger::Policy;
use gelu_core::network::Layer;
use gelu_core::pass::bias_constant;
use gelu_core::plan::Direction;
use gelu_nn::Model;
use nalgebra::DMatrix;
use ndarray::Array2;

pub use exhibit::exhibit;

use super::scene::{Scene, Session};
use super::view::{Answer, Batch, stacked};
use crate::Error;

/// The equations of a client about the neurons of one stage: `unknowns · inputs = sums`, where the
/// last row of the inputs is the constant that biases are multiplied by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equations {
    /// `[fan-in + 1, samples]`.
    pub inputs: Array2<i128>,
    /// `[neurons, samples]`.
    pub sums: Array2<i128>,
}

impl Equations {
    /// All that `answers` say about the rows of dense stage `stage`.
    pub fn new(model: &Model, answers: &[Answer], stage: usize) -> Self {
        let linear = &model.network().stages()[stage].linear;
        let constant = bias_constant(linear, model.precision().activations);
        let (inputs, sums) = stacked(answers, stage, Direction::Forward, constant);
        Self { inputs, sums }
    }

    /// The first `samples` of them.
    pub fn head(&self, samples: usize) -> Self {
        Self {
            inputs: first_columns(&self.inputs, samples),
            sums: first_columns(&self.sums, samples),
        }
    }

    /// The layer, bit for bit, if they determine it.
    pub fn solve(&self) -> Option<Layer> {
        solve_exactly(&self.inputs, &self.sums).map(|rows| layer(&rows))
    }

    /// The likeliest layer for somebody who knows nothing else: the smallest that fits.
    pub fn guess(&self) -> DMatrix<f64> {
        least_norm(&self.inputs, &self.sums)
    }
}

/// Rows of weights with their bias at the end, as a layer.
fn layer(rows: &Array2<i128>) -> Layer {
    let inputs = rows.ncols() - 1;
    Layer {
        weights: first_columns(rows, inputs).iter().copied().collect(),
        biases: rows.column(inputs).to_vec(),
    }
}

/// The inverse of [`layer`]: the truth, to compare with.
fn rows(layer: &Layer) -> Array2<i128> {
    let inputs = layer.weights.len() / layer.biases.len();
    Array2::from_shape_fn((layer.biases.len(), inputs + 1), |(o, i)| {
        if i < inputs { layer.weights[o * inputs + i] } else { layer.biases[o] }
    })
}

/// Queries with all of `batch` at once, and everything learnt from that.
///
/// # Errors
/// What the machines say.
pub fn query<H: Backend>(
    session: &mut Session<H>,
    model: &Model,
    batch: &Batch,
) -> Result<Vec<Answer>, Error> {
    session.pair.classify(&batch.0, &mut session.rng)?;
    session.learnt(model, core::slice::from_ref(batch), false)
}

/// The whole model, if `answers` determine every layer.
pub fn extract(model: &Model, answers: &[Answer]) -> Option<Parameters> {
    let stages = 0..model.network().stages().len();
    let layers = stages.map(|stage| Equations::new(model, answers, stage).solve());
    Some(Parameters { layers: layers.collect::<Option<_>>()? })
}

/// The model that a client guesses that has seen too little.
///
/// # Errors
/// When a guess leaves the bounds of the precision.
pub fn surrogate(model: &Model, answers: &[Answer]) -> Result<Model, Error> {
    let stages = 0..model.network().stages().len();
    let layers = stages.map(|stage| {
        let guess = Equations::new(model, answers, stage).guess();
        layer(&Array2::from_shape_fn(guess.shape(), |at| nearest(guess[at])))
    });
    Ok(model.successor(Parameters { layers: layers.collect() })?)
}

/// Queries sample by sample until the ledger refuses; the samples that were answered, and what was
/// learnt.
///
/// # Errors
/// What the machines say, refusals by the ledger excepted.
pub fn until_refused(scene: &Scene, batch: &Batch) -> Result<(usize, Vec<Answer>), Error> {
    let mut session = scene.open(Policy::Enforce)?;
    let mut sent = Vec::new();
    for sample in 0..batch.1.len() {
        let one: Batch = (batch.0.select(ndarray::Axis(1), &[sample]), vec![0]);
        sent.push(one.clone());
        match session.pair.classify(&one.0, &mut session.rng) {
            Ok(_) => {}
            Err(gelu_core::Error::Refused(_)) => {
                let answers = session.learnt(&scene.model, &sent, false)?;
                return Ok((sent.len() - 1, answers));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::WrongAnswer("a ledger that refuses nothing".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::scene::noise;
    use gelu_core::client::DataPolicy;
    use gelu_core::{Cryptosystem, Precision};
    use gelu_nn::zoo;
    use gelu_paillier::InsecurePaillier;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;
    use std::sync::Arc;

    /// What decrypts under Paillier is what the mock sends: Iris, all layers, from five queries
    /// (and one more for the second layer, whose six unknowns need six).
    #[test]
    fn it_works_over_paillier() {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let model = Model::initialise("iris", zoo::iris(), Precision::INFERENCE, rng).unwrap();
        let secret = Arc::new(InsecurePaillier::keygen(512, rng).unwrap());
        let scene = Scene::new(model, 7, 512);
        let policies = (Policy::AllowModelExtraction, DataPolicy::Enforce);
        let mut session =
            scene.open_as::<InsecurePaillier>(secret, policies.0, policies.1).unwrap();
        let answers = query(&mut session, &scene.model, &noise(4, 6, 4.0, 3)).unwrap();
        assert!(Equations::new(&scene.model, &answers, 0).head(5).solve().is_some());
        assert!(extract(&scene.model, &answers).as_ref() == Some(scene.model.parameters()));
    }
}
