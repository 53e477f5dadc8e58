//! `gelu serve`: models for many clients.

mod file;
mod limits;
mod offer;
mod running;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use gelu_admin::{Admin, Metrics, Readiness};
use gelu_service::certs::Identity;
use gelu_service::handshake::Mode;
use gelu_service::server::{AnyOffer, Summary, Web};
use gelu_service::{Config, Limits, Server, ServerTls};
use gelu_store::{Location, Quota, Store};
use rand::Rng;
use rand::rngs::ChaCha20Rng;
use serde::Serialize;

use crate::args::Threads;
use crate::local::{Listening, Served};
use crate::output::Output;
use crate::phases::{bytes, say};
use crate::problem::Advise;
use crate::{service_manager, signals};
use file::{Fixed, Settings};
use offer::ModelArgs;
use running::{ADMIN, Running};

/// Serve models: encrypted training in turn, encrypted inference for everybody
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  gelu certs init && gelu certs add alice
  gelu serve --model mnist-dense.safetensors                queries, as many as are safe
  gelu serve --model fresh.safetensors --listen 0.0.0.0:7878 --rate 0.05
  gelu serve --model fresh.safetensors --secret-rate 4      clients are not told the rate 2^-4
  gelu serve --model fresh.safetensors --freeze 1           clients train all but the first layer
  gelu serve --model lenet5.safetensors --answer scores     blind queries: nobody sees the weights
  gelu serve --model lenet5.safetensors --backend lattice --web 127.0.0.1:7880 --web-root page
                                                            and a page for browsers
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
        conflicts_with_all = ["Place", "ModelArgs", "backend", "key_bits", "freeze", "rate", "secret_rate"],
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
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "Serving")]
struct Place {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// Folder that `gelu certs init` has made
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// The books: what every account has seen, versions, leases; a file, or postgres://… for several servers
    /// [default: the model's path with .store added]
    #[arg(long, value_name = "WHERE")]
    store: Option<Location>,
    /// Health, metrics, backup and reload, for whoever reaches this address [without an address: 127.0.0.1:9878]
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = ADMIN)]
    admin: Option<SocketAddr>,
    /// Count bytes, seconds and refusals by account as well, whose names the admin address then tells
    #[arg(long, requires = "admin")]
    metrics_by_account: bool,
    /// Address and port of the page for browsers, over TLS; whoever asks there brings a token of `gelu token`, and asks
    /// models of the backend lattice
    #[arg(long, value_name = "ADDRESS", requires = "web_root")]
    web: Option<SocketAddr>,
    /// Folder of the page, as `gelu-web/build` makes it
    #[arg(long, value_name = "DIR", requires = "web")]
    web_root: Option<PathBuf>,
}

/// Serves until told to stop.
pub fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let settings = args.settings()?;
    let models = settings.offers()?;
    let by_account = settings.fixed.place.metrics_by_account;
    let (mut config, metrics) = (settings.config()?, Arc::new(Metrics::new(by_account)));
    config.observer = Arc::clone(&metrics) as _;
    let tls = config.tls.clone();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(async {
        let readiness = Readiness::starting();
        let server = Server::bind(config, models).await?;
        // Before anybody knows that it listens and may ask it to stop.
        let stop = stop_signal(args.stop_with_stdin);
        let running = Running::new(args, &settings, tls, server.handle(), metrics);
        let hangups = running.reload_at_hangups();
        let admin = running.admin(&readiness)?;
        readiness.serve();
        announce(&settings, &server, admin.as_ref(), output)?;
        service_manager::ready();
        let stopping = async {
            stop.await;
            readiness.drain();
            service_manager::stopping();
        };
        let summary = tokio::select! {
            summary = server.run(stopping) => summary?,
            () = hangups => unreachable!("hangups come until the end"),
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
                fixed: Fixed {
                    place: self.place.clone(),
                    limits: Limits::default(),
                    quota: Quota::default(),
                    quotas_of: BTreeMap::new(),
                },
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

    /// Where the books are: beside the first model, if nowhere else.
    fn location(&self) -> Location {
        let beside = || {
            let model = self.models[0].file();
            let file = gelu_files::resolve(model).unwrap_or_else(|_| model.to_owned());
            Location::File(file.with_added_extension("store"))
        };
        self.fixed.place.store.clone().unwrap_or_else(beside)
    }

    fn config(&self) -> Result<Config> {
        let Fixed { place, limits, quota, quotas_of } = &self.fixed;
        let (tls, location) = (server_tls(&place.certs)?, self.location());
        let mut config = Config::new(place.listen, tls, Store::open(&location)?);
        (config.limits, config.quota, config.quotas_of) = (*limits, *quota, quotas_of.clone());
        let page = place.web.zip(place.web_root.as_ref());
        config.web = page.map(|(address, root)| Web::new(address, root));
        if location.is_shared() {
            config.replica = format!("{:016x}", rand::make_rng::<ChaCha20Rng>().next_u64());
        }
        Ok(config)
    }
}

fn announce(
    settings: &Settings,
    server: &Server,
    admin: Option<&Admin>,
    output: Output,
) -> Result<()> {
    let cards = server.handle().cards();
    let models = cards.into_iter().map(Served::from).collect();
    let (address, page) = (server.local_addr()?, server.web_addr()?);
    let admin = admin.map(Admin::address);
    let listening = Listening { address, page, admin, models };
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
            say(
                " Queries are answered blind alone, since the first open one could give weights away; \
                 --modes open,blind offers both",
            );
        }
        if args.allow_model_extraction {
            say(" --allow-model-extraction: the ledger counts, but refuses nothing");
        }
    }
    if listening.models.len() > 1 {
        say(&format!("Clients name the one that they want: --server {}/NAME.", listening.address));
    }
    if let Some(page) = listening.page {
        say(&format!("The page is https://{page}; `gelu token ACCOUNT` lets somebody in."));
    }
    if let Some(admin) = listening.admin {
        say(&format!("Health and metrics: http://{admin}/healthz, /readyz, /metrics."));
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

/// The identity of a server, from the folder that `gelu certs init` makes.
pub(crate) fn server_tls(certs: &Path) -> Result<ServerTls> {
    let identity =
        Identity { certificate: certs.join("server.pem"), key: certs.join("server.key") };
    ServerTls::read(&certs.join("ca.pem"), &identity)
        .advise(|| format!("make certificates with `gelu certs init --dir {}`", certs.display()))
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
