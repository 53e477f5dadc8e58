//! One mini-batch on its way through the server: questions up, answers down.

use std::sync::Arc;

use ndarray::Array2;
use rand_core::CryptoRng;

use super::Context;
use crate::backend::{Backend, Layout};
use crate::error::{PeerMisbehaved, Result};
use crate::fixed::centred;
use crate::mask::Masks;
use crate::message::{ClientMessage, ServerMessage};
use crate::pass::{Pass, bias_constant};
use crate::plan::{Direction, Exchange, Plan};

/// A [`Pass`] whose sums are computed by the server. With masks, the weights of trained stages that the server
/// holds are W~ = W − R, and the answers are corrected by R (Algorithm 4): W·X = W~·X + R·X, as integers or,
/// where values wrap, modulo 2^`value_bits`.
pub(super) struct Round<B: Backend> {
    pub(super) pass: Pass,
    plan: Arc<Plan<B::Layout>>,
    masks: Option<Arc<Masks>>,
}

impl<B: Backend> Round<B> {
    pub(super) fn new(
        context: &Context<B>,
        plan: Arc<Plan<B::Layout>>,
        inputs: &Array2<f64>,
        masks: Option<Arc<Masks>>,
    ) -> Result<Self> {
        let pass = Pass::new(Arc::clone(&context.network), context.precision, inputs)?;
        Ok(Self { pass, plan, masks })
    }

    /// The exchange that comes next, if the pass needs the server once more.
    fn position(&self) -> Option<(usize, Direction)> {
        let forward = self.pass.stage().map(|stage| (stage, Direction::Forward));
        forward.or_else(|| Some((self.pass.backward_stage()?, Direction::Backward)))
    }

    pub(super) fn expects_answer(&self) -> bool {
        self.position().is_some()
    }

    fn exchange(&self) -> (usize, Direction, &Exchange<B::Layout>) {
        let (stage, direction) = self.position().expect("asked only while an answer is due");
        let exchange = self.plan.exchange(stage, direction).expect("every exchange is planned");
        (stage, direction, exchange)
    }

    /// ⟦A⟧ or ⟦D⟧ of the current stage.
    pub(super) fn question(
        &self,
        context: &Context<B>,
        rng: &mut dyn CryptoRng,
    ) -> Result<ClientMessage> {
        let (stage, direction, exchange) = self.exchange();
        let layout = exchange.layout();
        let values = match direction {
            Direction::Forward => self.pass.activations(stage),
            Direction::Backward => self.pass.errors(stage),
        };
        let linear = &context.network.stages()[stage].linear;
        let ciphertexts = layout.encrypt(&context.secret, linear, values, rng)?;
        let batch = u32::try_from(self.plan.batch).expect("a planned batch is below 2^16");
        let stage = u32::try_from(stage).expect("few stages");
        let layout = layout.to_string();
        Ok(match direction {
            Direction::Forward => {
                ClientMessage::EncryptedActivations { stage, batch, ciphertexts, layout }
            }
            Direction::Backward => ClientMessage::EncryptedErrors { stage, ciphertexts, layout },
        })
    }

    /// Decrypts the sums of the current stage, removes the masks and lets the pass go on.
    pub(super) fn answer(&mut self, context: &Context<B>, message: ServerMessage) -> Result<()> {
        let (stage, direction, exchange) = self.exchange();
        let got = message.name();
        let (answered, ciphertexts) = match (direction, message) {
            (Direction::Forward, ServerMessage::WeightedSums { stage, ciphertexts })
            | (Direction::Backward, ServerMessage::PropagatedErrors { stage, ciphertexts }) => {
                (stage, ciphertexts)
            }
            _ => {
                let expected = match direction {
                    Direction::Forward => "WeightedSums",
                    Direction::Backward => "PropagatedErrors",
                };
                return Err(PeerMisbehaved::UnexpectedMessage { expected, got }.into());
            }
        };
        if answered as usize != stage {
            return Err(PeerMisbehaved::out_of_bounds("stage", answered, stage).into());
        }
        let mut sums = exchange.layout().decrypt(&context.secret, &ciphertexts)?;
        let linear = &context.network.stages()[stage].linear;
        // Frozen stages answer with the true weights.
        if let Some(masks) = self.masks.as_ref().filter(|_| context.network.trains(stage)) {
            let layer = masks.layer(stage);
            let (weights, biases) = (&layer.weights[..], &layer.biases[..]);
            let constant = bias_constant(linear, context.precision.activations);
            sums += &match direction {
                Direction::Forward => {
                    let x = self.pass.activations(stage).view();
                    match B::WRAPS {
                        true => linear.forward_modulo(weights, biases, x, constant),
                        false => linear.forward_integers(weights, biases, x, constant),
                    }
                }
                Direction::Backward => {
                    let d = self.pass.errors(stage).view();
                    match B::WRAPS {
                        true => linear.backward_modulo(weights, d),
                        false => linear.backward_integers(weights, d),
                    }
                }
            };
            if B::WRAPS {
                let value_bits = exchange.value_bits();
                sums.mapv_inplace(|sum| centred(sum, value_bits));
            }
        }
        match direction {
            Direction::Forward => self.pass.advance(&sums),
            Direction::Backward => self.pass.retreat(&sums),
        }
    }
}
