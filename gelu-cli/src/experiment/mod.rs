//! A whole training on this machine: a server process, clients that train in turn under
//! encryption, and the same training again in the clear, step by step.
//!
//! ```text
//!  W₀ ── leases of client 1, 2, 1, … over TLS, under encryption ──▶ W      (the server's file)
//!     ── the same mini-batches, fixed point, in the clear ────────▶ W'     W = W' bit for bit
//!     ── the same mini-batches, floating point ───────────────────▶ W''    the accuracy to reach
//! ```

mod clients;
mod replay;
mod story;

use std::sync::Arc;

use anyhow::Result;
use gelu_core::client::DataPolicy;
use gelu_core::fixed::add_by_layer;
use gelu_core::ledger::{DataLedger, Exposure};
use gelu_core::plan::Purpose;
use gelu_core::{Format, Precision};
use gelu_nn::{Dataset, FloatTrainer, Model, Sequential, Split};
use gelu_service::client::Statistics;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::backend::{Scheme, Task};
use crate::client::{self, Lease};
use crate::cut_off::CutOff;
use crate::ending::Ended;
use crate::leases::Rules;
use crate::local::{Deployment, Terms};
use crate::machine;
use crate::phases::Phases;
use clients::Clients;
use replay::{Replay, Step};
pub(crate) use story::protocol;

/// What to train, on what, how.
#[derive(Debug, Clone)]
pub(crate) struct Experiment {
    /// The model's name.
    pub(crate) name: String,
    /// The data set's name.
    pub(crate) dataset: String,
    /// The network.
    pub(crate) architecture: Sequential,
    /// What to begin with, if not with weights drawn from the seed; of that architecture.
    pub(crate) start: Option<Model>,
    /// Rows to learn from, which the clients share out, and rows to be judged by.
    pub(crate) split: Split,
    /// How many clients.
    pub(crate) clients: usize,
    /// Samples of a mini-batch.
    pub(crate) batch: usize,
    /// Mini-batches of each client.
    pub(crate) steps: usize,
    /// Fixes the first weights, the order of samples and the lengths of leases; never keys.
    pub(crate) seed: u64,
    /// What the clients let happen to their data.
    pub(crate) data_policy: DataPolicy,
    /// The server's terms.
    pub(crate) terms: Terms,
}

/// What came out.
pub(crate) struct Outcome {
    pub(crate) experiment: Experiment,
    /// In the order of their versions.
    pub(crate) leases: Vec<Lease>,
    /// Of all clients.
    pub(crate) statistics: Statistics,
    /// The weights as the server has stored them.
    pub(crate) model: Model,
    /// Loss and accuracy of every step in floating point.
    pub(crate) float_steps: Vec<Step>,
    /// Why there is not all that was asked for.
    pub(crate) ended: Option<Ended>,
    /// New rows that were classified under encryption.
    pub(crate) answered: usize,
    /// On those rows.
    pub(crate) accuracy_encrypted: Option<f64>,
    pub(crate) accuracy_plaintext: f64,
    /// The same training in floating point, at its end.
    pub(crate) float: FloatTrainer<f64>,
    /// Of those rows; unknown where there are none.
    pub(crate) predictions_equal_plaintext: Option<bool>,
    /// Unknown when the server has stored a lease of which its client has not heard.
    pub(crate) weights_equal_oracle: Option<bool>,
    /// Values that the encrypted clients cut off at the bounds of their formats.
    pub(crate) cut_off: CutOff,
    /// What the leases gave away.
    pub(crate) exposure: Exposure,
    pub(crate) phases: Phases,
    /// Of this process and of the server's, where the system tells.
    pub(crate) peak_memory: Option<[u64; 2]>,
}

/// For training a model further: with room for activations as large as those that it was made for.
pub(crate) fn training_precision(model: &Model) -> Precision {
    let (usual, own) = (Precision::TRAINING, model.precision().activations.integer);
    let Format { integer, fraction } = usual.activations;
    Precision { activations: Format::new(integer.max(own), fraction), ..usual }
}

impl Experiment {
    /// Runs everything.
    pub(crate) fn run(self) -> Result<Outcome> {
        let backend = self.terms.cryptosystem.backend;
        backend.run(Run(self))
    }

    /// Version 0: what the server starts with.
    fn initial_model(&self) -> Result<Model> {
        if let Some(start) = &self.start {
            return Ok(start.clone());
        }
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let (name, precision) = (self.name.as_str(), Precision::TRAINING);
        Ok(Model::initialise(name, self.architecture.clone(), precision, &mut rng)?)
    }

    /// How long the leases of its clients may be.
    fn rules(&self, model: &Model) -> Rules {
        let sigma = self.terms.cryptosystem.backend.sigma(model.precision());
        let (network, policy) = (model.network(), self.data_policy);
        Rules::new(network, sigma, self.batch, policy, self.terms.lease_samples)
    }

    /// Each client's own rows: every `clients`-th one of a shuffled data set.
    fn shares(&self, data: &Dataset) -> Vec<Arc<Dataset>> {
        let share = |client| (client..data.len()).step_by(self.clients).collect::<Vec<_>>();
        (0..self.clients).map(|client| Arc::new(data.select(&share(client)))).collect()
    }

    /// Mini-batches of all clients that see every training row about once.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        (self.split.train.len() / self.batch).max(1)
    }
}

struct Run(Experiment);

impl Task for Run {
    type Output = Result<Outcome>;

    fn run<S: Scheme>(self) -> Result<Outcome> {
        let experiment = self.0;
        let mut phases = Phases::start();
        let initial = experiment.initial_model()?;
        // What does not fit the plaintexts is refused here, before there is a server.
        experiment.exposure::<S>(&initial, 1)?;
        let shares = experiment.shares(&experiment.split.train);
        let schedules = shares.iter().enumerate().map(|(client, share)| {
            let seed = experiment.seed.wrapping_add(client as u64);
            client::schedule(share.len(), experiment.batch, experiment.steps, seed)
        });
        let schedules = schedules.collect::<Result<Vec<_>>>()?;
        // And so is what cannot end. Every client begins with a ledger of its own.
        for (share, schedule) in shares.iter().zip(&schedules) {
            let ledger = DataLedger::new([0; 32]);
            experiment.rules(&initial).lengths(&ledger, &ledger.ids(share.features()), schedule)?;
        }

        let deployment = Deployment::create()?;
        let running = phases.begin("starting a server", 0);
        let server = deployment.serve(&initial, &experiment.terms)?;
        let said = format!("a server process listens on {} (TLS 1.3)", server.address);
        phases.end(running, "server", &said);

        let mut clients =
            Clients::<S>::open(&experiment, &deployment, server.address, &mut phases)?;
        let (leases, trained) = clients.train(&shares, &schedules, &mut phases);
        let test = &experiment.split.test;
        let (predictions, ended) = match trained {
            Ok(()) => clients.classify(&experiment.shares(test), test.len(), &mut phases),
            early => (vec![None; test.len()], early),
        };
        let mut cut_off = clients.saturations();
        for step in leases.iter().flat_map(|lease| &lease.steps) {
            add_by_layer(&mut cut_off, &step.saturations);
        }
        let statistics = clients.close();
        let peak_memory = server.peak_memory();
        let stopped = server.stop();
        let any = !leases.is_empty() || predictions.iter().any(Option::is_some);
        // A server that fails when it has nothing left to do takes nothing away.
        let ended = Ended::of(ended.and(stopped), any)?;
        let model = deployment.stored_model()?;

        let running = phases.begin("the same training in the clear", 0);
        let replayed = Replay::of(&experiment, &initial, &shares, &leases)?;
        let accuracy_plaintext = replayed.float.accuracy(test)?;
        let in_clear = model.evaluate(test)?;
        phases.end(running, "plaintext runs", "repeated the same mini-batches in the clear");

        let answers = predictions.iter().zip(test.labels().iter().zip(&in_clear.predictions));
        let answers: Vec<_> = answers.filter_map(|(p, (l, c))| Some(((*p)?, *l, *c))).collect();
        let share_of = |holds: fn(&&(usize, usize, usize)) -> bool| {
            let count = answers.iter().filter(holds).count();
            (!answers.is_empty()).then(|| count as f64 / answers.len() as f64)
        };
        let known = model.version() == leases.last().map_or(0, |lease| lease.version);
        let steps = leases.iter().map(|lease| lease.steps.len()).max().unwrap_or(1);
        Ok(Outcome {
            answered: answers.len(),
            accuracy_encrypted: share_of(|(prediction, label, _)| prediction == label),
            accuracy_plaintext,
            predictions_equal_plaintext: share_of(|(prediction, _, clear)| prediction == clear)
                .map(|share| share == 1.0),
            weights_equal_oracle: known.then(|| replayed.fixed.parameters() == model.parameters()),
            cut_off: CutOff::new(model.network(), &cut_off),
            exposure: experiment.exposure::<S>(&model, u32::try_from(steps)?)?,
            float_steps: replayed.float_steps,
            float: replayed.float,
            peak_memory: machine::peak_memory("self").zip(peak_memory).map(Into::into),
            experiment,
            ended,
            leases,
            statistics,
            model,
            phases,
        })
    }
}

impl Experiment {
    /// What leases of so many steps give away.
    fn exposure<S: Scheme>(&self, model: &Model, steps: u32) -> Result<Exposure> {
        let (network, precision) = (model.network(), model.precision());
        let (bits, purpose) = (self.terms.cryptosystem.key_bits, Purpose::Training { steps });
        let plan = S::plan(network, precision, self.batch, purpose, bits)?;
        Ok(Exposure::new(network, precision, &plan))
    }
}
