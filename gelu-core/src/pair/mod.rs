//! Both parties in one process, joined by nothing: for tests, benches and experiments.
//!
//! A [`Pair`] carries messages between a [`Client`] and a [`Server`] through their wire form, keeps
//! a transcript of every byte, and plays the host: it holds the model and the ledger.

mod blind;

use std::sync::{Arc, Mutex};

use ndarray::Array2;
use rand_core::CryptoRng;

use crate::backend::Backend;
use crate::client::{Client, ClientOutput, DataPolicy, StepReport};
use crate::error::{ApiMisuse, Error, Refused, Result};
use crate::ledger::{Exposure, Ledger, Policy};
use crate::message::Wire;
use crate::network::Parameters;
use crate::server::{Host, LearningRate, ServedModel, Server, ServerOutput};
pub use blind::BlindPair;

/// One frame that crossed between the parties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client to server.
    Up(Vec<u8>),
    /// Server to client.
    Down(Vec<u8>),
}

impl Frame {
    /// The bytes, whichever way they went.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Up(bytes) | Self::Down(bytes) => bytes,
        }
    }
}

/// The model and the ledger of a [`Pair`], for one account.
#[derive(Debug)]
pub struct PairHost {
    model: Mutex<Arc<ServedModel>>,
    ledger: Mutex<Ledger>,
    account: String,
    policy: Policy,
}

impl PairHost {
    /// A host of `model` for the client `account`.
    pub fn new(model: ServedModel, account: &str, policy: Policy) -> Self {
        Self {
            model: Mutex::new(Arc::new(model)),
            ledger: Mutex::default(),
            account: account.into(),
            policy,
        }
    }

    /// Makes `parameters` the next version of the model, and gives its number.
    pub fn commit(&self, parameters: Parameters) -> u64 {
        let mut model = self.model.lock().expect("no panic while held");
        let version = model.version + 1;
        *model = Arc::new(ServedModel { parameters, version, ..(**model).clone() });
        version
    }
}

impl Host for PairHost {
    fn model(&self) -> Arc<ServedModel> {
        Arc::clone(&self.model.lock().expect("no panic while held"))
    }

    fn charge(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused> {
        let mut ledger = self.ledger.lock().expect("no panic while held");
        ledger.charge(&self.account, version, exposure, samples, self.policy)
    }
}

/// A client and a server: see the [module](self).
pub struct Pair<B: Backend> {
    /// The client.
    pub client: Client<B>,
    /// The server.
    pub server: Server<B>,
    /// What crossed between them so far.
    pub transcript: Vec<Frame>,
    host: Arc<PairHost>,
    rate: LearningRate<B>,
}

impl<B: Backend> Pair<B> {
    /// Joins a client with `secret` to a server of the host's model, and opens the session.
    ///
    /// # Errors
    /// Whatever either machine says.
    pub fn open(
        host: Arc<PairHost>,
        secret: Arc<B::SecretKey>,
        rate: LearningRate<B>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let policy = DataPolicy::AllowInputReconstruction;
        Self::open_with(host, secret, rate, policy, rng)
    }

    /// As [`open`](Self::open), with a client that minds its data as `policy` says.
    ///
    /// # Errors
    /// Whatever either machine says.
    pub fn open_with(
        host: Arc<PairHost>,
        secret: Arc<B::SecretKey>,
        rate: LearningRate<B>,
        policy: DataPolicy,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let model = host.model();
        let client = Client::new(Arc::clone(&model.network), model.precision, secret, policy);
        let mut pair = Self { client, server: Server::new(), transcript: Vec::new(), host, rate };
        pair.run(rng)?;
        Ok(pair)
    }

    /// Carries messages until both sides wait; returns what the client had to say.
    ///
    /// # Errors
    /// Whatever either machine says.
    pub fn run(&mut self, rng: &mut dyn CryptoRng) -> Result<Vec<ClientOutput>> {
        loop {
            while let Some(message) = self.client.poll_transmit() {
                let message = crossed(&message, Frame::Up, &mut self.transcript)?;
                self.server.handle_message(message, &*self.host, rng)?;
            }
            while let Some(output) = self.server.poll_output() {
                self.serve(output, rng)?;
            }
            let mut idle = true;
            while let Some(message) = self.server.poll_transmit() {
                idle = false;
                let message = crossed(&message, Frame::Down, &mut self.transcript)?;
                self.client.handle_message(message, rng)?;
            }
            if idle {
                return Ok(core::iter::from_fn(|| self.client.poll_output()).collect());
            }
        }
    }

    /// Grants every lease in full length, if the ledger lets one mini-batch pass; stores commits.
    fn serve(&mut self, output: ServerOutput, rng: &mut dyn CryptoRng) -> Result<()> {
        match output {
            ServerOutput::LeaseRequested { steps, .. } => {
                let model = self.host.model();
                self.server.grant(&model, steps, self.rate.clone(), rng)
            }
            ServerOutput::Commit { parameters, .. } => {
                self.server.committed(self.host.commit(parameters))
            }
        }
    }

    /// The class probabilities of `inputs`, `[features, batch]`.
    ///
    /// # Errors
    /// Whatever either machine says, refusals included.
    pub fn classify(
        &mut self,
        inputs: &Array2<f64>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Array2<f64>> {
        self.client.classify(inputs, rng)?;
        match self.run(rng)?.pop() {
            Some(ClientOutput::Probabilities(probabilities)) => Ok(probabilities),
            Some(ClientOutput::Refused(refused)) => Err(refused.into()),
            _ => Err(unanswered()),
        }
    }

    /// A whole lease: one step for each mini-batch.
    ///
    /// # Errors
    /// Whatever either machine says, refusals included.
    pub fn train(
        &mut self,
        batches: &[(Array2<f64>, Vec<usize>)],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<StepReport>> {
        let (first, _) = batches.first().ok_or(ApiMisuse::Empty("a lease"))?;
        let steps = u32::try_from(batches.len()).unwrap_or(u32::MAX);
        self.client.request_lease(first.ncols(), steps)?;
        granted(&self.run(rng)?)?;
        let mut reports = Vec::new();
        for (inputs, labels) in batches {
            self.client.train(inputs, labels, rng)?;
            let outputs = self.run(rng)?;
            granted(&outputs)?;
            let report = outputs.iter().find_map(|output| match output {
                ClientOutput::StepDone(report) => Some(report.clone()),
                _ => None,
            });
            reports.push(report.ok_or_else(unanswered)?);
        }
        Ok(reports)
    }
}

/// The message as the other side reads it; what crossed is written down.
fn crossed<M: Wire>(
    message: &M,
    frame: fn(Vec<u8>) -> Frame,
    transcript: &mut Vec<Frame>,
) -> Result<M> {
    let bytes = message.to_bytes();
    let read = M::from_bytes(&bytes);
    transcript.push(frame(bytes));
    read
}

/// Nothing among these was a refusal.
fn granted(outputs: &[ClientOutput]) -> Result<()> {
    match outputs.iter().find(|output| matches!(output, ClientOutput::Refused(_))) {
        Some(ClientOutput::Refused(refused)) => Err(refused.clone().into()),
        _ => Ok(()),
    }
}

fn unanswered() -> Error {
    ApiMisuse::State { asked: "end an exchange", state: "got no answer" }.into()
}
