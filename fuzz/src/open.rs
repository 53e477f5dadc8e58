//! Open sessions: a small model, honest parties, and what their sessions are for.

use gelu_core::clear::Clear;
use gelu_core::client::{Client, ClientOutput, DataPolicy};
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::pair::PairHost;
use gelu_core::server::{Host, LearningRate, ServedModel, Server, ServerOutput};
use gelu_core::{Error, Precision, Result};
use gelu_nn::LayerSpec;
use gelu_nn::layers::{Activation, Shape};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;

use crate::session::Party;
use crate::{convolution, key, rng, served};

/// Samples of every mini-batch: more than one ciphertext holds of the widest slots.
const BATCH: usize = 3;

/// The largest exponent of a secret rate; the smaller the true one, the wider what a client may send.
const G_MAX: u32 = 12;

/// A convolution fused with a pooling, an activation, a dense layer: every kind of exchange.
fn model() -> ServedModel {
    let layers = vec![
        convolution(),
        LayerSpec::MeanPool2d { window: 2.into() },
        LayerSpec::Activation { function: Activation::Tanh },
        LayerSpec::Dense { outputs: 3 },
    ];
    served(Shape::image(1, 3, 3), layers, Precision::TRAINING)
}

fn inputs() -> Array2<f64> {
    Array2::from_shape_fn((9, BATCH), |(i, s)| (i as f64 - 4.0) / (s as f64 + 3.0))
}

/// The parties of an honest session of this kind.
pub fn parties(kind: u8) -> (Asking, Answering) {
    let script = Script::new(kind);
    (Asking::new(script), Answering::new(script))
}

/// What a session is for.
#[derive(Clone, Copy)]
struct Script {
    /// A lease of [`steps`](Self::steps) mini-batches; otherwise one inference.
    trains: bool,
    /// The exponent of the learning rate 2^-g, where it is the server's secret.
    secret_rate: Option<u32>,
    /// Whether the client ends its lease before it is over.
    finishes_early: bool,
    /// Mini-batches of the lease.
    steps: u32,
}

impl Script {
    fn new(kind: u8) -> Self {
        let bit = |n: u8| kind >> n & 1 == 1;
        let steps = 1 + u32::from(kind >> 3 & 3);
        let secret_rate = bit(1).then_some(if bit(5) { 3 } else { 0 });
        Self { trains: bit(0), secret_rate, finishes_early: bit(2), steps }
    }
}

/// The client, and what its user asks for.
pub struct Asking {
    client: Client<Clear>,
    script: Script,
    steps_done: u32,
    rng: ChaCha20Rng,
}

impl Asking {
    fn new(script: Script) -> Self {
        let model = model();
        let policy = DataPolicy::AllowInputReconstruction;
        let client = Client::new(model.network, model.precision, key(), policy);
        Self { client, script, steps_done: 0, rng: rng() }
    }

    fn ask_next(&mut self, output: &ClientOutput) -> Result<()> {
        match output {
            ClientOutput::Opened if self.script.trains => {
                self.client.request_lease(BATCH, self.script.steps)
            }
            ClientOutput::Opened => self.client.classify(&inputs(), &mut self.rng),
            ClientOutput::LeaseGranted(_) => self.train(),
            ClientOutput::StepDone(report) if !report.last => {
                self.steps_done += 1;
                match self.script.finishes_early && self.steps_done + 1 == self.script.steps {
                    true => self.client.finish(),
                    false => self.train(),
                }
            }
            _ => Ok(()),
        }
    }

    fn train(&mut self) -> Result<()> {
        self.client.train(&inputs(), &[0, 1, 2], &mut self.rng)
    }
}

impl Party for Asking {
    type Says = ClientMessage;
    type Hears = ServerMessage;

    fn say(&mut self) -> Option<ClientMessage> {
        self.client.poll_transmit()
    }

    fn hear(&mut self, message: ServerMessage) -> Result<()> {
        self.client.handle_message(message, &mut self.rng)?;
        while let Some(output) = self.client.poll_output() {
            self.ask_next(&output).expect("the script asks for nothing out of turn");
        }
        Ok(())
    }
}

/// The server, and its process, which grants every lease.
pub struct Answering {
    server: Server<Clear>,
    host: PairHost,
    rate: LearningRate<Clear>,
    rng: ChaCha20Rng,
}

impl Answering {
    fn new(script: Script) -> Self {
        let rate = match script.secret_rate {
            Some(g) => LearningRate::Secret { key: key(), g, g_max: G_MAX },
            None => LearningRate::Public(0.1),
        };
        let host = PairHost::new(model(), "fuzz", Policy::AllowModelExtraction);
        Self { server: Server::new(), host, rate, rng: rng() }
    }
}

impl Party for Answering {
    type Says = ServerMessage;
    type Hears = ClientMessage;

    fn say(&mut self) -> Option<ServerMessage> {
        self.server.poll_transmit()
    }

    fn hear(&mut self, message: ClientMessage) -> Result<()> {
        self.server.handle_message(message, &self.host, &mut self.rng)?;
        while let Some(output) = self.server.poll_output() {
            match output {
                ServerOutput::LeaseRequested { steps, .. } => {
                    let (model, rate) = (self.host.model(), self.rate.clone());
                    match self.server.grant(&model, steps, rate, &mut self.rng) {
                        // A lease too long for the slots: the process closes the session.
                        Err(error @ Error::Range(_)) => return Err(error),
                        granted => granted.expect("a client waits"),
                    }
                }
                ServerOutput::Commit { parameters, .. } => {
                    let model = self.host.model();
                    let bound = model.precision.weights;
                    model.network.check(&parameters, bound).expect("commits are within bounds");
                    self.server.committed(2).expect("a commit is due");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
