//! A server on this machine: a folder of development certificates, a model, and a child process.
//!
//! Everything lies in a temporary folder and is gone with the [`Deployment`]. The server is this very
//! program, started with the command `serve` on a free port of the loopback interface; it stops when its
//! standard input ends, so it does not outlive us however we end.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_core::Backend;
use gelu_core::ledger::Policy;
use gelu_core::server::LearningRate;
use gelu_nn::Model;
use gelu_service::certs::{Authority, Identity};
use gelu_service::handshake::Mode;
use gelu_service::{ClientTls, Config, ModelCard, Offer, Server, ServerTls};
use gelu_store::Store;
use serde::{Deserialize, Serialize};

use crate::args::{Cryptosystem, Threads};
use crate::problem::problem;
use crate::rate::RateArgs;
use crate::signals::{self, TempFolder};

/// The terms on which the local server serves.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Cryptosystem and key size.
    pub cryptosystem: Cryptosystem,
    /// How many threads compute there.
    pub threads: Threads,
    /// The learning rate.
    pub rate: RateArgs,
    /// The most samples of a lease.
    pub lease_samples: u64,
    /// Fixes the lengths of leases, so that a run can be repeated.
    pub lease_seed: u64,
    /// Whether it uses idle time for the next query.
    pub precompute: bool,
}

/// A folder with an authority, a model and a ledger.
pub struct Deployment {
    folder: TempFolder,
    authority: Authority,
}

/// What a server says when it is ready, as one line of JSON.
#[derive(Debug, Serialize)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Where its page is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<SocketAddr>,
    /// Where it tells of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// What it serves.
    pub models: Vec<Served>,
}

/// A model that a server has.
#[derive(Debug, Serialize)]
pub struct Served {
    /// What clients call it.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// The cryptosystem.
    pub backend: String,
    /// How queries can be asked, the preferred mode first.
    pub modes: Vec<Mode>,
    /// The ledger's verdict on open inference and on training.
    pub verdicts: [String; 2],
    /// The same on blind inference, or why there is none.
    pub blind: String,
}

impl From<ModelCard> for Served {
    fn from(card: ModelCard) -> Self {
        let ModelCard { name, version, backend, modes, inference, training, blind, .. } = card;
        Self { name, version, backend, modes, verdicts: [inference, training], blind }
    }
}

/// What we read of it: that of any server of ours.
#[derive(Deserialize)]
struct Ready {
    address: SocketAddr,
}

/// A running server process.
pub struct LocalServer {
    child: Arc<Mutex<Child>>,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Deployment {
    /// Makes the folder, the authority and the server's certificate.
    pub fn create() -> Result<Self> {
        let folder = TempFolder::create()?;
        let authority = Authority::create(&folder.path().join("certs"))?;
        authority.issue_server(&[])?;
        Ok(Self { folder, authority })
    }

    /// A certificate for the account `name`.
    pub fn admit(&self, name: &str) -> Result<ClientTls> {
        let identity = self.authority.issue_client(name)?;
        Ok(ClientTls::read(&self.authority.certificate(), &identity)?)
    }

    /// The server's model file.
    pub fn model(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    /// Starts a server of `model`. Both parties are the person at this machine, so the ledger
    /// counts but does not refuse.
    pub fn serve(&self, model: &Model, terms: &Terms) -> Result<LocalServer> {
        self.begin_with(model)?;
        let mut command = self.command(&["serve"])?;
        command
            .arg("--model")
            .arg(self.model())
            .args(["--backend", terms.cryptosystem.backend.id()])
            .args(["--key-bits", &terms.cryptosystem.key_bits.to_string()])
            .args(["--lease-samples", &terms.lease_samples.to_string()])
            .args(["--danger-lease-seed", &terms.lease_seed.to_string()])
            .args(terms.rate.arguments())
            .args(terms.threads.arguments())
            .args(terms.precompute.then_some("--precompute"))
            .args(["--answer", "scores"])
            .arg("--allow-model-extraction");
        LocalServer::start(command)
    }

    /// Starts a server of what `settings` say, in the words of `gelu serve --config`, without `[server]`: its books are
    /// a file here, like everything.
    pub fn serve_settings(&self, settings: &str) -> Result<LocalServer> {
        let file = self.folder().join("server.toml");
        let place = "[server]\nlisten = \"127.0.0.1:0\"\ncerts = \"certs\"\nstore = \"store\"\n";
        std::fs::write(&file, format!("{place}{settings}"))?;
        let mut command = this_program()?;
        command.args(["serve", "--json", "--stop-with-stdin", "--config"]).arg(file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        LocalServer::start(command)
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stores `model` as version 0: nobody has seen anything of it here, so it misses no ledger.
    fn begin_with(&self, model: &Model) -> Result<()> {
        Ok(model.clone().with_version(0).save(&self.model())?)
    }

    /// Starts a process that trains heads on ciphertexts, on a base if there is one: the frozen stages of a model.
    #[cfg(feature = "lattice")]
    pub(crate) fn compute(&self, base: Option<&Model>, threads: Threads) -> Result<LocalServer> {
        let mut command = self.command(&["transfer", "compute"])?;
        if let Some(base) = base {
            base.save(&self.model())?;
            // Whoever started this has the base.
            command.arg("--base").arg(self.model()).arg("--allow-model-extraction");
        }
        command.args(threads.arguments());
        LocalServer::start(command)
    }

    /// This very program as a server that ends with us.
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = this_program()?;
        command
            .args(words)
            .args(["--json", "--listen", "127.0.0.1:0", "--stop-with-stdin", "--certs"])
            .arg(self.folder.path().join("certs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command)
    }

    /// A server of `model` in this very process, whose two parties are then seen by one clock. Like
    /// [`serve`](Self::serve), it counts but does not refuse.
    pub async fn bind<H: Backend>(&self, model: &Model, terms: &Terms) -> Result<Server> {
        self.begin_with(model)?;
        let certs = self.folder.path().join("certs");
        let identity =
            Identity { certificate: certs.join("server.pem"), key: certs.join("server.key") };
        let tls = ServerTls::read(&self.authority.certificate(), &identity)?;
        let config = Config::new((Ipv4Addr::LOCALHOST, 0).into(), tls, Store::in_memory());
        let mut offer = Offer::<H>::new(self.model(), LearningRate::Public(terms.rate.eta()));
        offer.policy = Policy::AllowModelExtraction;
        offer.lease_samples = terms.lease_samples;
        offer.blind.scores = true;
        Ok(Server::bind(config, vec![offer.into()]).await?)
    }

    /// The model as the server has stored it.
    pub fn stored_model(&self) -> Result<Model> {
        Ok(Model::load(&self.model())?)
    }
}

/// Says what starts this very program, where that is more than the file that runs: an interpreter and its module.
/// The first call decides.
pub fn started_by(words: Vec<OsString>) {
    let _ = PROGRAM.set(words);
}

fn this_program() -> Result<Command> {
    match PROGRAM.get().and_then(|words| words.split_first()) {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words);
            Ok(command)
        }
        None => {
            let program = std::env::current_exe().context("cannot find this very program")?;
            Ok(Command::new(program))
        }
    }
}

static PROGRAM: OnceLock<Vec<OsString>> = OnceLock::new();

impl LocalServer {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.spawn().context("cannot start the server process")?;
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let child = Arc::new(Mutex::new(child));
        signals::ends_with_us(&child);
        let mut line = String::new();
        output.read_line(&mut line)?;
        match serde_json::from_str::<Ready>(&line) {
            Ok(Ready { address }) => Ok(Self { child, output, address }),
            Err(_) => {
                let mut child = lock(&child);
                let _ = child.kill();
                let status = child.wait()?;
                let what = format!("the server process did not start ({status})");
                Err(problem(what, "its own message stands above; -v makes it say more"))
            }
        }
    }

    /// Ends its input, at which it stops, and waits until it has stopped.
    pub fn stop(self) -> Result<()> {
        drop(lock(&self.child).stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = lock(&self.child).try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(problem(
                        format!("the server process failed ({status})"),
                        "run again with -v to see what it did",
                    )),
                };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(problem("the server process does not stop", "run again with -v to see what it did"))
    }

    /// Processor time that the process has used, where the system tells.
    pub fn cpu_seconds(&self) -> Option<f64> {
        crate::machine::cpu_seconds(&lock(&self.child).id().to_string())
    }

    /// Bytes of memory that the process holds now, where the system tells.
    pub fn memory(&self) -> Option<u64> {
        crate::machine::memory(&lock(&self.child).id().to_string())
    }

    /// Bytes of memory that the process has held at most, where the system tells.
    pub fn peak_memory(&self) -> Option<u64> {
        crate::machine::peak_memory(&lock(&self.child).id().to_string())
    }
}

/// A server that was not stopped is killed: an error ended this run.
impl Drop for LocalServer {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        if let Ok(None) = child.try_wait() {
            let _ = child.kill();
            let _ = child.wait();
        }
        drop(child);
        let _ = std::io::copy(&mut self.output, &mut std::io::sink());
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATIENCE: Duration = Duration::from_secs(60);
