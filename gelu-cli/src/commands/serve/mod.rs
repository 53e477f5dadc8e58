<<<<<<< Updated upstream
//! `gelu serve`: models for many clients.

mod file;
mod limits;
mod offer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::{Context, Result};
use gelu_service::certs::Identity;
use gelu_service::handshake::Mode;
use gelu_service::server::{AnyOffer, Handle, Summary};
use gelu_service::{Config, Limits, Server, ServerTls};
use gelu_store::{Location, Store};
use rand::Rng;
use rand::rngs::ChaCha20Rng;
use serde::Serialize;

use crate::args::Threads;
use crate::local::{Listening, Served};
use crate::output::Output;
use crate::phases::{bytes, say};
use crate::problem::{Advise, explain};
use crate::signals;
use file::{Settings, store_beside};
use offer::ModelArgs;

/// Serve models: encrypted training in turn, encrypted inference for everybody
#[derive(Debug, clap::Args)]
#[command(after_help = "\
=======
//! `gelu serve`: one model, many clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use gelu_core::Backend;
use gelu_core::ledger::Policy;
use gelu_core::server::{BlindTerms, LearningRate, ServedModel};
use gelu_nn::{Model, Rate};
use gelu_service::certs::Identity;
use gelu_service::handshake::Mode;
use gelu_service::server::{Summary, Terms};
use gelu_service::{Config, Server, ServerTls};
use serde::Serialize;

use crate::args::{self, Cryptosystem, FreezeArgs, Threads};
use crate::backend::{Scheme, Task};
use crate::leases;
use crate::local::Listening;
use crate::mode::{self, Answer};
use crate::model;
use crate::output::Output;
use crate::phases::{bytes, say};
use crate::problem::{Advise, problem};
use crate::rate::RateArgs;
use crate::signals;

/// Serve a model: encrypted training in turn, encrypted inference for everybody
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Serving",
    after_help = "\
>>>>>>> Stashed changes
Examples:
  gelu certs init && gelu certs add alice
  gelu serve --model mnist-dense.safetensors                queries, as many as are safe
  gelu serve --model fresh.safetensors --listen 0.0.0.0:7878 --rate 0.05
  gelu serve --model fresh.safetensors --secret-rate 4      clients are not told the rate 2^-4
  gelu serve --model fresh.safetensors --freeze 1           clients train all but the first layer
  gelu serve --model lenet5.safetensors --answer scores     blind queries: nobody sees the weights
<<<<<<< Updated upstream
  gelu serve --config server.toml                           several models, and all that can be set

`gelu train --plaintext` makes the file: with --precision training (and --epochs 0 for fresh
weights) for training under encryption, without it for queries. It is replaced by each
committed lease, all or nothing. The store beside it counts what every account has seen and
refuses what would let it solve for the weights. In a file each key is one of these options;
SIGHUP reads it again, and the models' files, and certificates, and ends no session. Ctrl-C lets
a running lease end and stops.")]
pub struct Args {
    /// Settings of several models, in a file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["PlaceArgs", "model", "name", "accounts", "new_ledger", "modes", "backend", "rate"],
        help_heading = "Serving"
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    model: ModelArgs,
    /// Stop when the standard input ends: for programs that start a server of their own
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    #[command(flatten)]
    threads: Threads,
}

/// Where a server is, and where its books are.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Serving")]
struct Place {
=======

`gelu train --plaintext` makes the file: with --precision training (and --epochs 0 for fresh
weights) for training under encryption, without it for queries. It is replaced by each
committed lease, all or nothing. The ledger beside it counts what every account has seen and
refuses what would let it solve for the weights. Ctrl-C lets a running lease end and stops."
)]
pub struct Args {
    /// The model file: served, and replaced by every committed version
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
>>>>>>> Stashed changes
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Folder that `gelu certs init` has made
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
<<<<<<< Updated upstream
    /// The books: what every account has seen, versions, leases; a file, or postgres://… for several servers
    /// [default: the model's path with .store added]
    #[arg(long, value_name = "WHERE")]
    store: Option<Location>,
=======
    /// The ledger of revealed bits [default: the model's path with .ledger added]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The server's own key for --secret-rate [default: a fresh one]
    #[arg(long, value_name = "FILE", requires = "secret_rate")]
    key: Option<PathBuf>,
    /// The most samples of a lease [default: 4096, or as many as clients of this model may need]
    #[arg(long, value_name = "N")]
    lease_samples: Option<u64>,
    /// Answer beyond the ledger's bound: clients can then solve for this model's weights
    #[arg(long)]
    allow_model_extraction: bool,
    /// How queries may be asked, the preferred mode first [default: open,blind; blind alone where the first open query
    /// could give weights away]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODES")]
    modes: Option<Vec<mode::Mode>>,
    /// What a blind query may be told
    #[arg(long, value_enum, default_value_t = Answer::Class)]
    answer: Answer,
    /// Tickets for blind queries that one session may hold
    #[arg(long, value_name = "N", default_value_t = BlindTerms::default().tickets, value_parser = args::count(1..))]
    most_tickets: usize,
    /// Use the time after a query to prepare the next one, which is then answered sooner
    #[arg(long)]
    precompute: bool,
    #[command(flatten)]
    freeze: FreezeArgs,
    /// Draw the lengths of leases from this seed, to repeat a run; clients can then predict them
    #[arg(long, value_name = "N")]
    danger_lease_seed: Option<u64>,
    /// Stop when the standard input ends: for programs that start a server of their own
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
>>>>>>> Stashed changes
}

/// Serves until told to stop.
pub fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
<<<<<<< Updated upstream
    let settings = args.settings()?;
    let models = settings.offers()?;
    let config = settings.config()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let server = Server::bind(config, models).await?;
        // Before anybody knows that it listens and may ask it to stop.
        let stop = stop_signal(args.stop_with_stdin);
        announce(&settings, &server, output)?;
        let hangups = pin!(reload_at_hangups(args, server.handle()));
        let summary = tokio::select! {
            summary = server.run(stop) => summary?,
            never = hangups => match never {},
        };
        close(&summary, output)
    })
}

impl Args {
    /// What was typed, or stands in the file that was named.
    fn settings(&self) -> Result<Settings> {
        match &self.config {
            Some(file) => Settings::read(file),
            None => Ok(Settings {
                place: self.place.clone(),
                limits: Limits::default(),
                models: vec![self.model.clone()],
            }),
        }
    }
}

impl Settings {
    /// The models as the server wants them, none of which would be of no use.
    fn offers(&self) -> Result<Vec<AnyOffer>> {
        self.models.iter().map(ModelArgs::offer).collect()
    }

    fn config(&self) -> Result<Config> {
        let tls = server_tls(&self.place.certs)?;
        let beside = || Location::File(store_beside(self.models[0].file()));
        let location = self.place.store.clone().unwrap_or_else(beside);
        let mut config = Config::new(self.place.listen, tls, Store::open(&location)?);
        config.limits = self.limits;
        if location.is_shared() {
            config.replica = format!("{:016x}", rand::make_rng::<ChaCha20Rng>().next_u64());
        }
        Ok(config)
    }
}

/// Reads the settings again whenever a SIGHUP comes. What cannot be used changes nothing.
async fn reload_at_hangups(args: &Args, server: Handle) -> Infallible {
    let mut hangups = signals::hangups();
    loop {
        hangups.next().await;
        match reload(args, &server).await {
            Ok(()) => tracing::info!("settings, models and certificates were read again"),
            Err(error) => tracing::error!("all stays as it was: {}", explain(&error)),
        }
    }
}

async fn reload(args: &Args, server: &Handle) -> Result<()> {
    let settings = args.settings()?;
    let offers = tokio::task::block_in_place(|| settings.offers())?;
    Ok(server.serve(offers).await?)
}

fn announce(settings: &Settings, server: &Server, output: Output) -> Result<()> {
    let cards = server.handle().cards();
    let models = cards.into_iter().map(Served::from).collect();
    let listening = Listening { address: server.local_addr()?, models };
    if output.json {
        return output.line(&listening);
    }
    for (model, args) in listening.models.iter().zip(&settings.models) {
        let Served { name, version, backend, modes, verdicts: [inference, training], blind } =
            model;
        let names = modes.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ");
        say(&format!(
            "{name} version {version} on {} ({backend})\n queries:   {names}\n open:      {inference}\n \
             blind:     {blind}\n training:  {training}",
            listening.address
        ));
        if args.modes.is_none() && *modes == [Mode::Blind] {
=======
    let model = args.freeze.model(model::load(&args.model)?)?;
    args.cryptosystem.backend.run(Serve { args, output, model: &model })
}

struct Serve<'a> {
    args: &'a Args,
    output: Output,
    model: &'a Model,
}

impl Task for Serve<'_> {
    type Output = Result<()>;

    fn run<S: Scheme>(self) -> Result<()> {
        let config = config::<S>(self.args, self.model)?;
        let terms = terms(self.model, self.args, &config)?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        runtime.block_on(async {
            let server = Server::bind(config).await?;
            // Before anybody knows that it listens and may ask it to stop.
            let stop = stop_signal(self.args.stop_with_stdin);
            self.announce(&server, terms)?;
            let summary = server.run(stop).await?;
            self.close(&summary)
        })
    }
}

impl Serve<'_> {
    fn announce<H: Backend>(&self, server: &Server<H>, terms: Terms) -> Result<()> {
        let listening = Listening {
            address: server.local_addr()?,
            model: self.model.name().into(),
            version: server.card().version,
            backend: H::ID.into(),
            modes: terms.modes,
            verdicts: [terms.inference, terms.training],
            blind: terms.blind,
        };
        if self.output.json {
            return self.output.line(&listening);
        }
        let [inference, training] = &listening.verdicts;
        let modes = listening.modes.iter().map(|mode| mode.name()).collect::<Vec<_>>().join(", ");
        say(&format!(
            "{} version {} on {} ({})\n queries:   {modes}\n open:      {inference}\n blind:     {}\n \
             training:  {training}",
            listening.model,
            listening.version,
            listening.address,
            listening.backend,
            listening.blind
        ));
        if self.args.modes.is_none() && listening.modes == [Mode::Blind] {
>>>>>>> Stashed changes
            say(
                " Queries are answered blind alone, since the first open one could give weights away; \
                 --modes open,blind offers both",
            );
        }
<<<<<<< Updated upstream
        if args.allow_model_extraction {
            say(" --allow-model-extraction: the ledger counts, but refuses nothing");
        }
    }
    if listening.models.len() > 1 {
        say(&format!("Clients name the one that they want: --server {}/NAME.", listening.address));
    }
    say("Ctrl-C stops the server.");
    Ok(())
}

fn close(summary: &Summary, output: Output) -> Result<()> {
    let traffic = summary.traffic.values().map(|t| t.bytes).sum();
    let closed = Closed {
        sessions: summary.sessions,
        committed: summary.committed,
        rolled_back: summary.rolled_back,
        refused: summary.refused,
        bytes: traffic,
    };
    if output.json {
        return output.line(&closed);
    }
    say(&format!(
        "stopped after {} sessions, {} leases committed, {} rolled back, {} refusals, {}",
        closed.sessions,
        closed.committed,
        closed.rolled_back,
        closed.refused,
        bytes(traffic)
    ));
    Ok(())
=======
        if self.args.allow_model_extraction {
            say(" --allow-model-extraction: the ledger counts, but refuses nothing");
        }
        say("Ctrl-C stops the server.");
        Ok(())
    }

    fn close(&self, summary: &Summary) -> Result<()> {
        let traffic = summary.traffic.values().map(|t| t.bytes).sum();
        let closed = Closed {
            sessions: summary.sessions,
            committed: summary.committed,
            rolled_back: summary.rolled_back,
            refused: summary.refused,
            bytes: traffic,
        };
        if self.output.json {
            return self.output.line(&closed);
        }
        say(&format!(
            "stopped after {} sessions, {} leases committed, {} rolled back, {} refusals, {}",
            closed.sessions,
            closed.committed,
            closed.rolled_back,
            closed.refused,
            bytes(traffic)
        ));
        Ok(())
    }
>>>>>>> Stashed changes
}

/// What the server has done.
#[derive(Serialize)]
struct Closed {
    sessions: u64,
    committed: u64,
    rolled_back: u64,
    refused: u64,
    bytes: u64,
}

<<<<<<< Updated upstream
=======
fn config<S: Scheme>(args: &Args, model: &Model) -> Result<Config<S>> {
    let tls = server_tls(&args.certs)?;
    // Beside the model itself: one model has one ledger, whichever link leads to it.
    let file = gelu_files::resolve(&args.model).unwrap_or_else(|_| args.model.clone());
    let ledger = args.ledger.clone().unwrap_or_else(|| file.with_added_extension("ledger"));
    let mut config = Config::new(args.listen, tls, &args.model, ledger, learning_rate::<S>(args)?);
    config.key_bits = S::KEY_BITS[0]..=S::KEY_BITS[S::KEY_BITS.len() - 1];
    // Twice as many different samples as are enough, and room for a remainder.
    let needed = 4 * leases::enough(model.network());
    config.lease_samples = args.lease_samples.unwrap_or(config.lease_samples.max(needed));
    config.precompute = args.precompute;
    config.freeze = args.freeze.stages();
    config.modes = args.modes.as_ref().map(|modes| modes.iter().map(|m| (*m).into()).collect());
    config.blind = BlindTerms { tickets: args.most_tickets, scores: args.answer == Answer::Scores };
    config.danger_lease_seed = args.danger_lease_seed.map(seed);
    if args.allow_model_extraction {
        config.policy = Policy::AllowModelExtraction;
    }
    Ok(config)
}

>>>>>>> Stashed changes
/// The identity of a server, from the folder that `gelu certs init` makes.
pub(crate) fn server_tls(certs: &Path) -> Result<ServerTls> {
    let identity =
        Identity { certificate: certs.join("server.pem"), key: certs.join("server.key") };
    ServerTls::read(&certs.join("ca.pem"), &identity)
        .advise(|| format!("make certificates with `gelu certs init --dir {}`", certs.display()))
}

<<<<<<< Updated upstream
=======
fn learning_rate<S: Scheme>(args: &Args) -> Result<LearningRate<S>> {
    Ok(match args.rate.rate() {
        Rate::Public(eta) => LearningRate::Public(eta),
        Rate::Secret { g, g_max } => {
            let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
            let key = match &args.key {
                Some(path) => S::read_key(path)?,
                None => S::keygen(args.cryptosystem.for_training().key_bits, &mut rng)?,
            };
            LearningRate::Secret { key: Arc::new(key), g, g_max }
        }
    })
}

fn seed(n: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    seed
}

/// How the model will be served, and the ledger's verdicts; refuses to serve what nobody could use.
fn terms<S: Scheme>(model: &Model, args: &Args, config: &Config<S>) -> Result<Terms> {
    let terms = Terms::of(&ServedModel::from(model), config)?;
    if !terms.useful {
        return Err(problem(
            format!("the ledger would refuse every request: {}", terms.inference),
            format!(
                "`gelu audit {}` shows the table; --modes blind tells the answers of queries and no sums, where \
                 the network has circuits; --allow-model-extraction serves it all the same, if whoever may query \
                 may also have the model",
                display(&args.model)
            ),
        ));
    }
    Ok(terms)
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

>>>>>>> Stashed changes
/// Ready when the operator wants us to stop.
pub(crate) fn stop_signal(with_stdin: bool) -> impl Future<Output = ()> {
    let asked = signals::asked_to_stop();
    async move {
        tokio::select! {
            () = asked => {}
            () = stdin_ended(), if with_stdin => {}
        }
    }
}

/// A thread of its own, since reading the standard input cannot be broken off.
async fn stdin_ended() {
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
    let _ = wait.await;
}
