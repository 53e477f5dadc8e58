//! What a party has really seen: the transcript of a session, read with that party's knowledge.
//!
//! The client's view ([`equations`]) decrypts the answers with the client's key and removes the
//! masks as the client machine does. The server's view ([`Received`]) is what came to it in the
//! open.

use std::sync::Arc;

use gelu_core::backend::Layout;
use gelu_core::fixed::Saturations;
use gelu_core::message::{ClientMessage, ServerMessage, Wire};
use gelu_core::network::Layer;
use gelu_core::pair::Frame;
use gelu_core::pass::{Rounding, bias_constant, update};
use gelu_core::plan::{Direction, Purpose};
use gelu_core::{Backend, LinearMap, Network, Parameters, Pass, Plan, Precision};
use ndarray::{Array2, Axis, concatenate};

/// Inputs `[features, batch]` and labels.
pub type Batch = (Array2<f64>, Vec<usize>);

/// What a client knows beforehand: the model's public side, and its own queries.
#[derive(Debug, Clone, Copy)]
pub struct Knowledge<'a> {
    /// The architecture.
    pub network: &'a Arc<Network>,
    /// The scales.
    pub precision: Precision,
    /// What the session was for.
    pub purpose: Purpose,
    /// The learning rate, where it trained.
    pub rate: f64,
    /// All batches that it sent, in order, those that were refused included.
    pub batches: &'a [Batch],
}

/// One decrypted answer, as equations about the weights at the start of the session: forward
/// `sums = W·inputs + c·B`, backward `sums = W'·inputs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The stage whose weights it is about.
    pub stage: usize,
    /// Rows or columns.
    pub direction: Direction,
    /// What the client sent, encoded: `[features, batch]`.
    pub inputs: Array2<i128>,
    /// What came back.
    pub sums: Array2<i128>,
}

/// Everything that the owner of `secret` learns from a session of queries, or of one lease at a
/// public rate.
///
/// In a lease the weights at the server move by U + R: the client's own updates under its own
/// masks. Undoing both turns every answer into equations about the weights before the first step.
///
/// # Errors
/// What decryption and the pass say: nothing, if transcript and knowledge are of one session.
pub fn equations<H: Backend>(
    transcript: &[Frame],
    secret: &H::SecretKey,
    known: Knowledge<'_>,
) -> gelu_core::Result<Vec<Answer>> {
    let Knowledge { network, precision, purpose, rate, batches } = known;
    let mut batches = batches.iter();
    let (mut answers, mut current) = (Vec::new(), None);
    let (mut moved, mut learnt) = (network.zeros(), network.zeros());
    for frame in transcript {
        match frame {
            Frame::Up(bytes) => match ClientMessage::from_bytes(bytes)? {
                ClientMessage::EncryptedActivations { stage: 0, .. } => {
                    let (inputs, labels) = batches.next().expect("a batch for each query");
                    let pass = Pass::new(Arc::clone(network), precision, inputs)?;
                    let key = H::public_key(secret);
                    let plan = Plan::new::<H>(network, &precision, labels.len(), purpose, key)?;
                    current = Some((pass, plan, labels));
                }
                ClientMessage::MaskedUpdate(masked) => {
                    let (pass, _, labels) = current.as_ref().expect("updates follow passes");
                    let (rounding, cut) = (Rounding::Rate(rate), Saturations::default());
                    let gradient = pass.gradient()?;
                    let step = update(&gradient, labels.len(), rounding, &precision, &cut);
                    learnt.add(&step.reveal());
                    moved.add(&masked);
                }
                _ => {}
            },
            Frame::Down(bytes) => {
                let (stage, direction, block) = match ServerMessage::from_bytes(bytes)? {
                    ServerMessage::WeightedSums { stage, ciphertexts } => {
                        (stage as usize, Direction::Forward, ciphertexts)
                    }
                    ServerMessage::PropagatedErrors { stage, ciphertexts } => {
                        (stage as usize, Direction::Backward, ciphertexts)
                    }
                    _ => continue,
                };
                let (pass, plan, labels) = current.as_mut().expect("answers follow queries");
                let exchange = plan.exchange(stage, direction).expect("planned by both");
                let linear = &network.stages()[stage].linear;
                let inputs = match direction {
                    Direction::Forward => pass.activations(stage).clone(),
                    Direction::Backward => pass.errors(stage).clone(),
                };
                let shift = |by: &Parameters| {
                    apply(linear, &by.layers[stage], direction, &inputs, precision)
                };
                let sums = exchange.layout().decrypt(secret, &block)? + shift(&moved);
                let now = &sums - &shift(&learnt);
                match direction {
                    Direction::Forward => pass.advance(&now)?,
                    Direction::Backward => pass.retreat(&now)?,
                }
                if purpose != Purpose::Inference
                    && direction == Direction::Forward
                    && pass.stage().is_none()
                {
                    pass.compare(labels)?;
                }
                answers.push(Answer { stage, direction, inputs, sums });
            }
        }
    }
    Ok(answers)
}

/// W·A + c·B or W'·D.
fn apply(
    linear: &LinearMap,
    layer: &Layer,
    direction: Direction,
    inputs: &Array2<i128>,
    precision: Precision,
) -> Array2<i128> {
    match direction {
        Direction::Forward => {
            let constant = bias_constant(linear, precision.activations);
            linear.forward(&layer.weights, &layer.biases, inputs.view(), constant)
        }
        Direction::Backward => linear.backward(&layer.weights, inputs.view()),
    }
}

/// All answers about one stage in one direction, side by side: inputs and sums.
///
/// Forward, the inputs get a last row, the constant that biases are multiplied by: biases are
/// unknowns like the weights.
///
/// # Panics
/// When there is no such answer.
pub fn stacked(
    answers: &[Answer],
    stage: usize,
    direction: Direction,
    constant: i128,
) -> (Array2<i128>, Array2<i128>) {
    let of: Vec<_> =
        answers.iter().filter(|a| a.stage == stage && a.direction == direction).collect();
    let inputs: Vec<_> = of.iter().map(|a| a.inputs.view()).collect();
    let sums: Vec<_> = of.iter().map(|a| a.sums.view()).collect();
    let inputs = concatenate(Axis(1), &inputs).expect("of one height");
    let sums = concatenate(Axis(1), &sums).expect("of one height");
    match direction {
        Direction::Backward => (inputs, sums),
        Direction::Forward => {
            let constants = Array2::from_elem((1, inputs.ncols()), constant);
            let both = concatenate(Axis(0), &[inputs.view(), constants.view()]);
            (both.expect("of one width"), sums)
        }
    }
}

/// The updates that a server has received in the open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// U + R, step by step.
    pub masked: Vec<Parameters>,
    /// ΣU, lease by lease.
    pub sums: Vec<Parameters>,
}

impl Received {
    /// Reads a transcript of this session.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::Error::PeerMisbehaved) for bytes that are no messages.
    pub fn new(transcript: &[Frame]) -> gelu_core::Result<Self> {
        let mut received = Self::default();
        for frame in transcript {
            let Frame::Up(bytes) = frame else { continue };
            match ClientMessage::from_bytes(bytes)? {
                ClientMessage::MaskedUpdate(masked) => received.masked.push((*masked).clone()),
                ClientMessage::FinalUpdate(sum) => received.sums.push(sum.into()),
                _ => {}
            }
        }
        Ok(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::scene::Scene;
    use gelu_core::ledger::Policy;
    use gelu_nn::{Model, zoo};
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// The equations of three masked steps hold for the weights before the first one.
    #[test]
    fn a_lease_becomes_equations_about_its_start() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let model = Model::initialise("iris", zoo::iris(), Precision::TRAINING, rng).unwrap();
        let scene = Scene::new(model, 2, 2048);
        let data = gelu_nn::Dataset::iris();
        let batches: Vec<Batch> = [[0, 70], [1, 90], [120, 3]].map(|s| data.batch(&s)).into();
        let mut session = scene.open(Policy::AllowModelExtraction).unwrap();
        session.pair.train(&batches, &mut session.rng).unwrap();
        let answers = session.learnt(&scene.model, &batches, true).unwrap();
        assert_eq!(answers.len(), 3 * 3);
        for answer in &answers {
            let linear = &scene.model.network().stages()[answer.stage].linear;
            let layer = &scene.model.parameters().layers[answer.stage];
            let expected =
                apply(linear, layer, answer.direction, &answer.inputs, Precision::TRAINING);
            assert!(answer.sums == expected, "{} {}", answer.stage, answer.direction);
        }
        let received = Received::new(&session.pair.transcript).unwrap();
        assert_eq!((received.masked.len(), received.sums.len()), (2, 1));
    }
}
