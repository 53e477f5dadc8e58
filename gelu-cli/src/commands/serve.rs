//! `gelu serve`: one model, many clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use gelu_core::Backend;
use gelu_core::ledger::Policy;
use gelu_core::server::{BlindTerms, LearningRate, ServedModel};
use gelu_nn::{Model, Rate};
use gelu_service::certs::Identity;
use gelu_service::handshake::Mode;
use gelu_service::server::{Summary, Terms, Web};
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
Examples:
  gelu certs init && gelu certs add alice
  gelu serve --model mnist-dense.safetensors                queries, as many as are safe
  gelu serve --model fresh.safetensors --listen 0.0.0.0:7878 --rate 0.05
  gelu serve --model fresh.safetensors --secret-rate 4      clients are not told the rate 2^-4
  gelu serve --model fresh.safetensors --freeze 1           clients train all but the first layer
  gelu serve --model lenet5.safetensors --answer scores     blind queries: nobody sees the weights
  gelu serve --model lenet5.safetensors --backend lattice --web 127.0.0.1:7880 --web-root gelu-web/dist
                                                            and a page for browsers

`gelu train --plaintext` makes the file: with --precision training (and --epochs 0 for fresh
weights) for training under encryption, without it for queries. It is replaced by each
committed lease, all or nothing. The ledger beside it counts what every account has seen and
refuses what would let it solve for the weights. Ctrl-C lets a running lease end and stops."
)]
pub struct Args {
    /// The model file: served, and replaced by every committed version
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Address and port of the page for browsers, over TLS; whoever asks there brings a token of `gelu token`
    #[arg(long, value_name = "ADDRESS", requires = "web_root")]
    web: Option<SocketAddr>,
    /// Folder of the page, as `gelu-web/build` makes it
    #[arg(long, value_name = "DIR", requires = "web")]
    web_root: Option<PathBuf>,
    /// Folder that `gelu certs init` has made
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
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
}

/// Serves until told to stop.
pub fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
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
            page: server.web_addr()?,
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
        if let Some(page) = listening.page {
            say(&format!(" page:      https://{page}"));
        }
        if self.args.modes.is_none() && listening.modes == [Mode::Blind] {
            say(
                " Queries are answered blind alone, since the first open one could give weights away; \
                 --modes open,blind offers both",
            );
        }
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

fn config<S: Scheme>(args: &Args, model: &Model) -> Result<Config<S>> {
    let tls = server_tls(&args.certs)?;
    let web = web::<S>(args, &tls)?;
    // Beside the model itself: one model has one ledger, whichever link leads to it.
    let file = gelu_files::resolve(&args.model).unwrap_or_else(|_| args.model.clone());
    let ledger = args.ledger.clone().unwrap_or_else(|| file.with_added_extension("ledger"));
    let mut config = Config::new(args.listen, tls, &args.model, ledger, learning_rate::<S>(args)?);
    config.key_bits = S::KEY_BITS[0]..=S::KEY_BITS[S::KEY_BITS.len() - 1];
    // Twice as many different samples as are enough, and room for a remainder.
    let needed = 4 * leases::enough(model.network());
    config.lease_samples = args.lease_samples.unwrap_or(config.lease_samples.max(needed));
    config.web = web;
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

/// The page, if one is asked for.
fn web<S: Scheme>(args: &Args, tls: &ServerTls) -> Result<Option<Web>> {
    let (Some(address), Some(root)) = (args.web, &args.web_root) else { return Ok(None) };
    if S::ID != PAGE_BACKEND {
        return Err(problem(
            format!("the page speaks the backend {PAGE_BACKEND}, and this server {}", S::ID),
            format!("add --backend {PAGE_BACKEND}, or leave out --web"),
        ));
    }
    let tls = tls.clone();
    let account = move |token: &str| match tls.check_token(token, SystemTime::now()) {
        Ok(token) => Ok(token.account().to_owned()),
        Err(why) => Err(why.to_string()),
    };
    Ok(Some(Web::new(address, root, Arc::new(account))))
}

/// What `gelu-web` is compiled with.
const PAGE_BACKEND: &str = "lattice";

/// The identity of a server, from the folder that `gelu certs init` makes.
pub(crate) fn server_tls(certs: &Path) -> Result<ServerTls> {
    let identity =
        Identity { certificate: certs.join("server.pem"), key: certs.join("server.key") };
    ServerTls::read(&certs.join("ca.pem"), &identity)
        .advise(|| format!("make certificates with `gelu certs init --dir {}`", certs.display()))
}

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
