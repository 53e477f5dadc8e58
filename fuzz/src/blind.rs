//! Blind sessions: a small model, honest parties, and what must hold of both whatever their peers say.
//!
//! The two-party protocol is the mock: the target `garble_wire` has that of circuits.

use std::sync::{Arc, LazyLock};

use gelu_core::blind::{Answer, Circuits};
use gelu_core::circuit::two_party::InsecureOpen;
use gelu_core::clear::Clear;
use gelu_core::client::{BlindClient, ClientOutput};
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::pair::PairHost;
use gelu_core::server::{BlindServer, BlindTerms, Host, ServedModel};
use gelu_core::{Precision, Result};
use gelu_nn::LayerSpec;
use gelu_nn::layers::{Activation, Shape};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;

use crate::session::Party;
use crate::{convolution, key, rng, served};

/// Tickets that are made at once.
const TICKETS: usize = 2;

/// How often the client asks for tickets.
const REQUESTS: usize = 2;

/// Three stages. Their circuits have no tables, whose making would be most of a run.
fn model() -> ServedModel {
    let layers = vec![
        convolution(),
        LayerSpec::MaxPool2d { window: 2.into(), stride: None, padding: 0.into() },
        LayerSpec::Dense { outputs: 3 },
        LayerSpec::Activation { function: Activation::Relu },
        LayerSpec::Dense { outputs: 3 },
    ];
    served(Shape::image(1, 3, 3), layers, Precision::INFERENCE)
}

/// Inputs of which some are cut off.
fn inputs(samples: usize) -> Array2<f64> {
    Array2::from_shape_fn((9, samples), |(i, s)| (i as f64 - 4.0) * [0.1, 9.0][s % 2])
}

/// The parties of an honest session of this kind.
pub fn parties(kind: u8) -> (Asking, Answering) {
    let script = Script::new(kind);
    (Asking::new(script), Answering::new(script))
}

/// What a session is for.
#[derive(Clone, Copy)]
struct Script {
    answer: Answer,
    /// Samples of a query.
    samples: usize,
    /// Whether there is a new version of the model as soon as the first ticket is made.
    expires: bool,
    /// Tickets that the operator lets a session hold.
    most: usize,
}

impl Script {
    fn new(kind: u8) -> Self {
        let bit = |n: u8| kind >> n & 1 == 1;
        Self {
            answer: if bit(0) { Answer::Scores } else { Answer::Class },
            samples: if bit(1) { 1 } else { TICKETS },
            expires: bit(2),
            most: if bit(3) { TICKETS - 1 } else { 2 * TICKETS },
        }
    }
}

/// The client, and its user, who asks as long as there are tickets.
pub struct Asking {
    client: BlindClient<Clear, InsecureOpen>,
    script: Script,
    requests: usize,
    /// Samples of the current query.
    asked: usize,
    rng: ChaCha20Rng,
}

impl Asking {
    fn new(script: Script) -> Self {
        let (model, mut rng) = (model(), rng());
        let client =
            BlindClient::new(model.network, model.precision, key(), script.answer, &mut rng);
        let client = client.expect("a network with circuits");
        Self { client, script, requests: 0, asked: 0, rng }
    }

    fn ask_next(&mut self) -> Result<()> {
        match self.client.tickets() {
            0 if self.requests == REQUESTS => Ok(()),
            0 => {
                self.requests += 1;
                self.client.request_tickets(TICKETS, &mut self.rng)
            }
            held => {
                self.asked = self.script.samples.min(held);
                self.client.classify(&inputs(self.asked))
            }
        }
    }
}

impl Party for Asking {
    type Says = ClientMessage;
    type Hears = ServerMessage;

    /// As many numbers as the stage has inputs, whatever the server says.
    fn say(&mut self) -> Option<ClientMessage> {
        let message = self.client.poll_transmit()?;
        let (stage, numbers) = match &message {
            ClientMessage::HiddenInputs { numbers, .. } => (0, numbers),
            ClientMessage::HiddenActivations { stage, numbers } => (*stage as usize, numbers),
            _ => return Some(message),
        };
        assert_eq!(numbers.len(), self.asked * hidden_bytes(self.script.answer)[stage]);
        Some(message)
    }

    fn hear(&mut self, message: ServerMessage) -> Result<()> {
        self.client.handle_message(message, &mut self.rng)?;
        while let Some(output) = self.client.poll_output() {
            let refused_its_key = self.requests == 0 && matches!(output, ClientOutput::Refused(_));
            if !refused_its_key {
                self.ask_next().expect("the user asks for nothing out of turn");
            }
        }
        Ok(())
    }
}

/// Bytes of the hidden inputs of each stage, for one sample.
fn hidden_bytes(answer: Answer) -> &'static [usize] {
    static BYTES: LazyLock<[Vec<usize>; 2]> = LazyLock::new(|| {
        let model = model();
        [Answer::Class, Answer::Scores].map(|answer| {
            let circuits = Circuits::new(&model.network, &model.precision, answer);
            let circuits = circuits.expect("a network with circuits");
            let stages = circuits.stages().iter().zip(model.network.stages());
            let bytes = stages
                .map(|(blind, stage)| stage.linear.inputs() * blind.ring_bits.div_ceil(8) as usize);
            bytes.collect()
        })
    });
    &BYTES[usize::from(answer == Answer::Scores)]
}

/// The server, and its process.
pub struct Answering {
    server: BlindServer<Clear, InsecureOpen>,
    host: PairHost,
    expires: bool,
    /// Tickets that are garbled and not answered.
    unanswered: usize,
    rng: ChaCha20Rng,
}

impl Answering {
    fn new(script: Script) -> Self {
        let terms = BlindTerms { tickets: script.most, scores: true };
        let server = BlindServer::sharing(Arc::default(), terms);
        let host = PairHost::new(model(), "fuzz", Policy::AllowModelExtraction);
        Self { server, host, expires: script.expires, unanswered: 0, rng: rng() }
    }
}

impl Party for Answering {
    type Says = ServerMessage;
    type Hears = ClientMessage;

    /// Whatever the client says, no more samples are answered than tickets were garbled, and nothing is refused for a
    /// mistake of our own.
    fn say(&mut self) -> Option<ServerMessage> {
        let message = self.server.poll_transmit()?;
        match &message {
            ServerMessage::GarbledTicket { .. } => {
                self.unanswered += 1;
                if core::mem::take(&mut self.expires) {
                    self.host.commit(self.host.model().parameters.clone());
                }
            }
            ServerMessage::ShareLabels { stage: 0, samples } => {
                let left = self.unanswered.checked_sub(samples.len());
                self.unanswered = left.expect("a ticket for each sample");
            }
            ServerMessage::Refused { reason } => assert!(!reason.contains("misuse"), "{reason}"),
            _ => {}
        }
        Some(message)
    }

    fn hear(&mut self, message: ClientMessage) -> Result<()> {
        self.server.handle_message(message, &self.host, &mut self.rng)
    }
}
