//! What the fuzz targets share: a small model, honest parties, and a format for whole sessions.
//!
//! A session under test is not fed noise from its first byte: that would be refused at the door.
//! Instead an honest peer leads it into some state, and the fuzzer speaks from there on:
//!
//! ```text
//! byte 0    what the session is for (see [`Script`])
//! byte 1    how many honest messages come first
//! rest      frames of the fuzzer: length (2 bytes, little-endian), then so many bytes
//! ```

pub mod transfer;

use std::sync::{Arc, LazyLock};

use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::{Client, ClientOutput, DataPolicy};
use gelu_core::error::{Error, Refused};
use gelu_core::ledger::{Exposure, Ledger, Policy};
use gelu_core::message::ServerMessage;
use gelu_core::server::{Host, LearningRate, ServedModel, Server, ServerOutput};
use gelu_core::{AdditiveHE, Cryptosystem, Network, Precision};
use gelu_nn::layers::{Activation, Shape};
use gelu_nn::{LayerSpec, Sequential};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// Samples of every mini-batch: more than one ciphertext holds of the widest slots.
pub const BATCH: usize = 3;

/// The largest exponent of a secret rate; the smaller the true one, the wider what a client may send.
const G_MAX: u32 = 12;

/// The smallest ring that CKKS has: 47 bits, one level.
pub const CKKS: gelu_ckks::Chain =
    gelu_ckks::Chain { degree: 1 << 11, first: 16, scale: (14, 1), special: (17, 1), digits: 2 };

/// A generator that replays.
pub fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// A key of the mock backend whose ciphertexts are short, so that the fuzzer can write them.
pub fn key() -> Arc<ClearKey> {
    Arc::new(ClearKey::new(256).expect("a size it offers"))
}

/// A convolution fused with a pooling, an activation, a dense layer: every kind of exchange.
fn network() -> Arc<Network> {
    let layers = vec![
        LayerSpec::Conv2d { filters: 2, kernel: 2.into(), stride: 1.into(), padding: 0.into(), groups: 1 },
        LayerSpec::MeanPool2d { window: 2.into() },
        LayerSpec::Activation { function: Activation::Tanh },
        LayerSpec::Dense { outputs: 3 },
    ];
    Arc::new(Sequential::new(Shape::image(1, 3, 3), layers).expect("sizes in order").network())
}

/// The model that the server owns.
pub fn model() -> Arc<ServedModel> {
    let (network, precision) = (network(), Precision::TRAINING);
    let mut next = 0x9e37_79b9_i128;
    let parameters = network.zeros().map(|_| {
        next = (next * 6_364_136_223 + 1) % (1 << 20);
        next - (1 << 19)
    });
    Arc::new(ServedModel { network, precision, parameters, version: 1 })
}

fn inputs() -> Array2<f64> {
    Array2::from_shape_fn((9, BATCH), |(i, s)| (i as f64 - 4.0) / (s as f64 + 3.0))
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// A lease of [`steps`](Self::steps) mini-batches; otherwise one inference.
    pub trains: bool,
    /// The exponent of the learning rate 2^-g, where it is the server's secret.
    pub secret_rate: Option<u32>,
    /// Whether the client ends its lease before it is over.
    pub finishes_early: bool,
    /// Mini-batches of the lease.
    pub steps: u32,
}

/// Parts of one input of the fuzzer.
pub fn parse(data: &[u8]) -> Option<(Script, usize, Vec<&[u8]>)> {
    let [kind, honest, rest @ ..] = data else { return None };
    let bit = |n: u8| kind >> n & 1 == 1;
    let steps = 1 + u32::from(kind >> 3 & 3);
    let secret_rate = bit(1).then_some(if bit(5) { 3 } else { 0 });
    let script = Script { trains: bit(0), secret_rate, finishes_early: bit(2), steps };
    let (mut frames, mut rest) = (Vec::new(), rest);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (frame, tail) = tail.split_at(tail.len().min(u16::from_le_bytes(*length).into()));
        frames.push(frame);
        rest = tail;
    }
    Some((script, usize::from(*honest), frames))
}

/// An input of the fuzzer from its parts: for seeds.
pub fn write(kind: u8, honest: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut data = vec![kind, honest];
    for frame in frames {
        data.extend(u16::try_from(frame.len()).expect("short frames").to_le_bytes());
        data.extend_from_slice(frame);
    }
    data
}

/// A host that counts, but never refuses.
#[derive(Debug)]
pub struct OpenHost {
    model: Arc<ServedModel>,
    ledger: std::cell::RefCell<Ledger>,
}

impl OpenHost {
    /// A host of [`model`].
    pub fn new() -> Self {
        Self { model: model(), ledger: Default::default() }
    }
}

impl Default for OpenHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for OpenHost {
    fn model(&self) -> Arc<ServedModel> {
        Arc::clone(&self.model)
    }

    fn charge(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused> {
        let mut ledger = self.ledger.borrow_mut();
        ledger.charge("fuzz", version, exposure, samples, Policy::AllowModelExtraction)
    }
}

/// The client of a session, and what its user asks for.
pub struct Asking {
    /// The machine.
    pub client: Client<Clear>,
    script: Script,
    steps_done: u32,
    rng: ChaCha20Rng,
}

impl Asking {
    /// A client that follows `script`.
    pub fn new(script: Script) -> Self {
        let model = model();
        let policy = DataPolicy::AllowInputReconstruction;
        let client = Client::new(Arc::clone(&model.network), model.precision, key(), policy);
        Self { client, script, steps_done: 0, rng: rng() }
    }

    /// Hands a message to the machine, then asks for what the user wants next.
    pub fn receive(&mut self, message: ServerMessage) -> Result<(), Error> {
        self.client.handle_message(message, &mut self.rng)?;
        while let Some(output) = self.client.poll_output() {
            self.ask_next(&output).expect("the script asks for nothing out of turn");
        }
        Ok(())
    }

    fn ask_next(&mut self, output: &ClientOutput) -> Result<(), Error> {
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

    fn train(&mut self) -> Result<(), Error> {
        self.client.train(&inputs(), &[0, 1, 2], &mut self.rng)
    }
}

/// The server of a session, and what its process does.
pub struct Answering {
    /// The machine.
    pub server: Server<Clear>,
    host: OpenHost,
    rate: LearningRate<Clear>,
    rng: ChaCha20Rng,
}

impl Answering {
    /// A server that grants every lease as `script` has it.
    pub fn new(script: Script) -> Self {
        let rate = match script.secret_rate {
            Some(g) => LearningRate::Secret { key: key(), g, g_max: G_MAX },
            None => LearningRate::Public(0.1),
        };
        Self { server: Server::new(), host: OpenHost::new(), rate, rng: rng() }
    }

    /// Hands a message to the machine, then does what it asks of its process.
    pub fn receive(&mut self, message: gelu_core::message::ClientMessage) -> Result<(), Error> {
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

/// A Paillier key of 512 bits, always the same.
pub fn paillier_key() -> &'static gelu_paillier::SecretKey {
    static KEY: LazyLock<gelu_paillier::SecretKey> = LazyLock::new(|| {
        gelu_paillier::SecretKey::insecure_generate(512, &mut rng()).expect("a size it offers")
    });
    &KEY
}

/// A key pair of a scheme that has keys of one size, always the same.
pub fn key_of<H: Cryptosystem>(bits: u32) -> H::SecretKey {
    H::keygen(bits, &mut rng()).expect("a size it offers")
}

/// Reads `data` as what its first byte says, a public key or ciphertexts under [`key_of`], and what is
/// accepted is written again as it was read. `secret` is made once.
pub fn rereads<H: AdditiveHE>(secret: &H::SecretKey, data: &[u8]) {
    match data.split_first() {
        Some((0, key)) => {
            if let Ok(public) = H::public_key_from_bytes(key) {
                assert_eq!(H::public_key_to_bytes(&public), key);
            }
        }
        Some((_, block)) => {
            let public = H::public_key(secret);
            let count = block.len() / H::ciphertext_len(public);
            if let Ok(ciphertexts) = H::ciphertexts_from_bytes(public, block, count) {
                let mut again = Vec::new();
                H::ciphertexts_to_bytes(public, &ciphertexts, &mut again);
                assert_eq!(again, block);
            }
        }
        None => {}
    }
}

/// Waits for what never has to wait, such as reading from memory.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// What no byte from the network may cause.
pub fn must_not_blame_us(error: &Error) {
    assert!(!matches!(error, Error::ApiMisuse(_)), "the peer caused {error:?}");
}
