//! Many accounts at once: a server process of three models, and clients with accounts, keys and sockets of their own.
//!
//! Every client is known by a certificate of its own, asks under a key of its own, and compares every answer with that
//! of the model in the clear.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use gelu_cli::client::fresh_key;
use gelu_cli::local::{Deployment, LocalServer};
use gelu_core::blind::Answer;
use gelu_core::client::DataPolicy;
use gelu_core::{Cryptosystem, Precision};
use gelu_lattice::{Lattice, Parameters};
use gelu_nn::{Model, Sequential, zoo};
use gelu_service::client::{Answers, BlindSession};
use gelu_service::{ClientTls, Connection, Limits, Session};
use ndarray::Array2;
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use tokio::sync::{Barrier, Semaphore};

/// A server, and accounts that may ask it.
pub(crate) struct Site {
    deployment: Deployment,
    pub(crate) server: LocalServer,
    pub(crate) asked: Vec<Asked>,
    accounts: Vec<Account>,
}

/// A model, one question, and what the model says in the clear.
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    /// How it is asked, in a word.
    pub(crate) mode: &'static str,
    input: Array2<f64>,
    expected: Array2<f64>,
}

struct Account {
    tls: ClientTls,
    key: Arc<<Lattice as Cryptosystem>::SecretKey>,
}

/// What one client has seen.
pub(crate) struct Seen {
    /// Which model it asked.
    pub(crate) model: usize,
    /// Seconds of each query that was answered.
    pub(crate) times: Vec<f64>,
    pub(crate) error: Option<String>,
}

/// How many sessions a server of so many accounts should have room for.
pub(crate) struct Room {
    pub(crate) accounts: usize,
    pub(crate) sessions: usize,
}

/// Name, backend, network.
type Served = (&'static str, &'static str, fn() -> Sequential);

const MODELS: [Served; 3] = [
    ("iris", "open", zoo::iris),
    ("digits", "open", zoo::digits),
    ("lenet5", "blind", zoo::lenet5),
];

impl Site {
    /// Makes models, certificates and keys, and starts the server. Its books are a file.
    pub(crate) fn start(room: &Room) -> Result<Self> {
        let deployment = Deployment::create()?;
        let of_account = room.sessions.div_ceil(room.accounts) + 1;
        let mut settings =
            format!("[limits]\nsessions = {}\nsessions-of-account = {of_account}\n", room.sessions);
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let mut asked = Vec::new();
        for (name, mode, architecture) in MODELS {
            let model = Model::initialise(name, architecture(), Precision::INFERENCE, rng)?;
            let file = deployment.folder().join(name).with_extension("safetensors");
            model.save(&file)?;
            // The ledger counts and refuses nothing: what is measured is asked more often than is safe.
            settings += &format!(
                "[[model]]\nfile = {file:?}\nbackend = \"lattice\"\nmodes = [{mode:?}]\n\
                 allow-model-extraction = true\n"
            );
            let features = model.architecture().input().features();
            let input = Array2::from_shape_fn((features, 1), |_| rng.random_range(-1.0..1.0));
            let expected = model.probabilities(&input)?.0;
            asked.push(Asked { name, mode, input, expected });
        }
        let account = |n: usize| {
            let tls = deployment.admit(&format!("account{n}"))?;
            let key = Arc::new(fresh_key::<Lattice>(Parameters::KEY_BITS[0])?);
            Ok(Account { tls, key })
        };
        let accounts = (0..room.accounts).into_par_iter().map(account).collect::<Result<_>>()?;
        let server = deployment.serve_settings(&settings)?;
        Ok(Self { deployment, server, asked, accounts })
    }

    /// So many accounts ask at the same moment, each the model of its turn, or all of them one model.
    ///
    /// A first query of each, which makes the tables of its key, is checked and not timed. All of them wait for
    /// each other before they ask the others.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        clients: usize,
        only: Option<usize>,
        queries: usize,
    ) -> Vec<Seen> {
        let together = Arc::new(Barrier::new(clients));
        let asking = (0..clients).map(|n| {
            let (site, together) = (Arc::clone(self), Arc::clone(&together));
            let model = only.unwrap_or(n % site.asked.len());
            tokio::spawn(async move {
                let session = site.prepared(n, model).await;
                together.wait().await;
                let mut seen = Seen { model, times: Vec::new(), error: None };
                let asked = async {
                    let mut session = session?;
                    for _ in 0..queries {
                        let began = Instant::now();
                        session.ask(&site.asked[model]).await?;
                        seen.times.push(began.elapsed().as_secs_f64());
                    }
                    session.close().await;
                    Ok::<_, anyhow::Error>(())
                };
                seen.error = asked.await.err().map(|error| format!("{error:#}"));
                seen
            })
        });
        let mut all = Vec::new();
        for client in asking.collect::<Vec<_>>() {
            all.push(client.await.expect("a client does not panic"));
        }
        all
    }

    /// Sessions that have asked the first model once and then do nothing, until they are dropped.
    pub(crate) async fn idle(self: &Arc<Self>, sessions: usize) -> (Vec<Asking>, Vec<String>) {
        let few = Arc::new(Semaphore::new(AT_ONCE));
        let opening = (0..sessions).map(|n| {
            let (site, few) = (Arc::clone(self), Arc::clone(&few));
            tokio::spawn(async move {
                let _turn = few.acquire().await;
                site.prepared(n, 0).await
            })
        });
        let (mut open, mut errors) = (Vec::new(), Vec::new());
        for session in opening.collect::<Vec<_>>() {
            match session.await.expect("a client does not panic") {
                Ok(session) => open.push(session),
                Err(error) => errors.push(format!("{error:#}")),
            }
        }
        (open, errors)
    }

    /// Stops the server.
    pub(crate) fn stop(self) -> Result<()> {
        self.server.stop()?;
        drop(self.deployment);
        Ok(())
    }

    /// A session whose first answer was right.
    async fn prepared(&self, account: usize, model: usize) -> Result<Asking> {
        let Account { tls, key } = &self.accounts[account % self.accounts.len()];
        let asked = &self.asked[model];
        // A client that is one of hundreds on two processors is patient.
        let limits = Limits { handshake: PATIENCE, silence: PATIENCE, ..Limits::default() };
        let (address, name) = (self.server.address, "localhost");
        let connection =
            Connection::<Lattice>::connect(address, name, asked.name, tls, limits, |_| {}).await?;
        let key = Arc::clone(key);
        let mut session = match asked.mode {
            "blind" => Asking::Blind(Box::new(connection.open_blind(key, Answer::Class).await?)),
            _ => Asking::Open(Box::new(connection.open(key, DataPolicy::Enforce).await?)),
        };
        session.ask(asked).await?;
        Ok(session)
    }
}

/// A session of either mode.
pub(crate) enum Asking {
    Open(Box<Session<Lattice>>),
    Blind(Box<BlindSession<Lattice>>),
}

impl Asking {
    /// A query whose answer is that of the model in the clear.
    async fn ask(&mut self, asked: &Asked) -> Result<()> {
        let right = match self {
            Self::Open(session) => session.classify(&asked.input).await? == asked.expected,
            Self::Blind(session) => {
                let expected = Answers::Probabilities(asked.expected.clone());
                session.classify(&asked.input).await?.classes() == expected.classes()
            }
        };
        anyhow::ensure!(right, "{} answered wrongly", asked.name);
        Ok(())
    }

    /// Says goodbye.
    pub(crate) async fn close(self) {
        match self {
            Self::Open(session) => drop(session.close().await),
            Self::Blind(session) => drop(session.close().await),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(600);
/// Idle sessions are opened so many at a time: a server has room for 256 strangers of one address.
const AT_ONCE: usize = 64;
