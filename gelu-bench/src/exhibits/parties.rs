//! Both parties as they are deployed, for exhibits: a server process of this very program, TLS, a
//! link between them, and a client that checks every answer before its time counts.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use gelu_cli::args::{Cryptosystem, Threads};
use gelu_cli::backend::{Backend, Scheme, Task};
use gelu_cli::client;
use gelu_cli::local::{Deployment, Terms};
use gelu_cli::rate::RateArgs;
use gelu_core::client::DataPolicy;
use gelu_core::pass::argmax;
use gelu_core::stats::median;
use gelu_nn::Model;
use gelu_service::client::Phase;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::Error;
use crate::link::{Profile, Route};
use crate::setting::{Progress, Setting};

/// Queries of a model over one link after the other.
pub(super) struct Queries<'a> {
    /// Whose keys.
    pub(super) cryptosystem: Cryptosystem,
    /// What the server has.
    pub(super) model: &'a Model,
    /// The first builds the tables of the key and is not timed.
    pub(super) queries: &'a [Array2<f64>],
    /// Each with a session of its own.
    pub(super) links: &'a [Profile],
    pub(super) setting: &'a Setting,
    pub(super) progress: &'a dyn Progress,
}

/// What the timed queries over one link have cost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Seconds from the samples in the clear to their probabilities in the clear, query by query.
    pub(super) seconds: Vec<f64>,
    /// The class of each sample, of the query that was not timed first.
    pub(super) predictions: Vec<usize>,
    /// Bytes of a query, before TLS.
    pub(super) up: u64,
    /// Bytes of its answers, before TLS.
    pub(super) down: u64,
    /// Questions and answers of a query.
    pub(super) rounds: u64,
    /// Segments that the link lost.
    pub(super) lost: u64,
}

impl Queries<'_> {
    /// Asks.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`] unless all answers equal the model's in the clear, bit for bit.
    pub(super) fn ask(self) -> Result<Vec<Asked>> {
        self.cryptosystem.backend.run(self)
    }
}

impl Asked {
    /// The median time.
    pub(super) fn median(&self) -> f64 {
        median(self.seconds.iter().copied()).expect("one run at least")
    }
}

/// The cryptosystems that exhibits show side by side: Paillier with keys of the setting's size, and the lattice.
///
/// # Errors
/// A size of keys that Paillier does not offer.
pub(super) fn cryptosystems(setting: &Setting) -> Result<[Cryptosystem; 2]> {
    let key_bits = setting.key_bits;
    Backend::Paillier.check_key_bits(key_bits).map_err(anyhow::Error::msg)?;
    let paillier = Cryptosystem { backend: Backend::Paillier, key_bits, key_bits_given: true };
    Ok([paillier, Cryptosystem::default_of(Backend::Lattice)])
}

/// How a local server is started for an exhibit: it refuses nothing, both parties being ours.
pub(super) fn terms(cryptosystem: Cryptosystem, setting: &Setting) -> Terms {
    Terms {
        cryptosystem,
        threads: Threads::default(),
        rate: RateArgs::public(0.1),
        lease_samples: 1 << 40,
        lease_seed: setting.seed,
        precompute: false,
    }
}

impl Task for Queries<'_> {
    type Output = Result<Vec<Asked>>;

    fn run<S: Scheme>(self) -> Result<Vec<Asked>> {
        let Self { cryptosystem, model, queries, links, setting, progress } = self;
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let secret = Arc::new(S::keygen(cryptosystem.key_bits, rng)?);
        let deployment = Deployment::create()?;
        let server = deployment.serve(model, &terms(cryptosystem, setting))?;
        let tls = deployment.admit("client")?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let expected = queries.iter().map(|query| Ok(model.probabilities(query)?.0));
        let expected: Vec<_> = expected.collect::<Result<_>>()?;
        let mut all = Vec::new();
        for link in links {
            let route = Route::new(server.address, link, setting.seed)?;
            let (key, policy) = (Arc::clone(&secret), DataPolicy::Enforce);
            let session = client::open::<S>(&route.address, &tls, key, policy, |_| ());
            let mut session = client::wait(&runtime, session)?;
            let mut asked = Asked {
                seconds: Vec::new(),
                predictions: Vec::new(),
                up: 0,
                down: 0,
                rounds: 0,
                lost: 0,
            };
            for (query, expected) in queries.iter().zip(&expected) {
                let start = Instant::now();
                let answer = async { Ok(session.classify(query).await?) };
                let answer = client::wait(&runtime, answer)?;
                asked.seconds.push(start.elapsed().as_secs_f64());
                if answer != *expected {
                    let what = format!("an answer of {} over {}", model.name(), link.name());
                    return Err(Error::WrongAnswer(what).into());
                }
                let classes = answer.columns().into_iter();
                asked.predictions.extend(classes.map(|p| argmax(p.iter().copied())));
                progress.step();
            }
            asked.seconds.remove(0);
            let (cost, count) =
                (session.statistics().phase(Phase::Inference), queries.len() as u64);
            (asked.up, asked.down) = (cost.up / count, cost.down / count);
            asked.rounds = cost.rounds / count;
            client::complete(&runtime, session.close());
            asked.lost = route.carried().map_or(0, |carried| carried.iter().map(|c| c.lost).sum());
            all.push(asked);
        }
        server.stop()?;
        Ok(all)
    }
}
